//! The exit codes, which mean the same for every command. No I/O.

use std::process::ExitCode;

/// How the command ended, as the shell sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; for `verify`, the two buckets agree.
    Ok = 0,
    /// Not everything was done: `verify` found differences, could not compare a key or found none under `--prefix`, a
    /// repair left differences, a backfill failed or has a warning, a job that the command waited for had failures or
    /// was cancelled, or dead letters remain.
    Differences = 1,
    /// Nothing was done: wrong usage, or the request was refused.
    Refused = 2,
    /// AWS, the network or the credentials failed.
    Failed = 3,
    /// Ctrl-C while watching or waiting (128 + SIGINT).
    Interrupted = 130,
    /// The reader of the output closed its pipe (128 + SIGPIPE).
    BrokenPipe = 141,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
