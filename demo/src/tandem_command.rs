//! The real `tandem` command, as a user would run it. I/O: starts processes.

use std::path::PathBuf;
use std::process::Stdio;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::process::Command;

use crate::cloud::ACCESS_KEY;
use crate::console;
use crate::endpoint::LocalEndpoint;
use crate::error::Error;

/// The command's exit code for "done, but with differences or failures".
const DIFFERENCES: i32 = 1;
/// SIGINT and SIGTERM: a signal to the command ends this program too.
const INTERRUPTS: [i32; 2] = [2, 15];

/// The command, and the stack that it uses.
#[derive(Debug, Clone)]
pub struct Tandem {
    program: PathBuf,
    target: Target,
    region: String,
    stack: String,
}

/// The place of the stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// In a local cloud. The user's AWS settings are not used.
    Local(LocalEndpoint),
    /// In the user's own account, which this profile or the environment names.
    Account(Option<String>),
}

/// The outcome of a command that the user saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Done.
    Done,
    /// Done, and it found differences or failed objects.
    Differences,
}

impl Tandem {
    /// Finds the `tandem` that was built together with this program.
    pub fn beside_this_program(target: Target, region: &str, stack: &str) -> Result<Self, Error> {
        let beside = std::env::current_exe().ok().and_then(|program| {
            Some(
                program
                    .parent()?
                    .join(format!("tandem{}", std::env::consts::EXE_SUFFIX)),
            )
        });
        match beside.filter(|program| program.is_file()) {
            Some(program) => Ok(Self {
                program,
                target,
                region: region.to_owned(),
                stack: stack.to_owned(),
            }),
            None => Err(Error::Refused(
                "cannot find the tandem command in the folder of this program; build both with: \
                 cargo build --profile local --workspace"
                    .to_owned(),
            )),
        }
    }

    /// Runs the command and shows its output to the user.
    pub async fn show(&self, arguments: &[&str]) -> Result<End, Error> {
        console::print(&format!("   $ tandem {}", arguments.join(" ")));
        let status = self
            .command(arguments)
            .status()
            .await
            .map_err(|error| self.cannot_run(&error))?;
        match code(status) {
            0 => Ok(End::Done),
            DIFFERENCES => Ok(End::Differences),
            code => Err(failed(arguments, code, "")),
        }
    }

    /// Runs the command and returns its answer. Differences are an answer, not an error.
    pub async fn ask<T: DeserializeOwned>(&self, arguments: &[&str]) -> Result<T, Error> {
        let output = self
            .command(arguments)
            .args(["--output", "json"])
            .stdin(Stdio::null())
            // The command must not receive the terminal's Ctrl-C: the caller handles it, and its cleanup runs commands.
            .process_group(0)
            .output()
            .await
            .map_err(|error| self.cannot_run(&error))?;
        let code = code(output.status);
        if code != 0 && code != DIFFERENCES {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(failed(arguments, code, said.trim()));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| {
            Error::Unexpected(format!(
                "the answer of `tandem {}` cannot be read: {error}",
                arguments.join(" ")
            ))
        })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .args(["--region", &self.region])
            .args(["--stack-name", &self.stack])
            .kill_on_drop(true);
        match &self.target {
            Target::Local(endpoint) => isolate(&mut command, endpoint),
            Target::Account(profile) => {
                let profile = profile.iter().flat_map(|name| ["--profile", name]);
                command.args(profile);
            }
        }
        command
    }

    fn cannot_run(&self, error: &std::io::Error) -> Error {
        Error::Unexpected(format!("cannot run {}: {error}", self.program.display()))
    }
}

/// Removes the user's settings: the account, and everything that could lead to another address.
fn isolate(command: &mut Command, endpoint: &LocalEndpoint) {
    for (name, _) in std::env::vars_os() {
        let upper = name.to_string_lossy().to_ascii_uppercase();
        if upper.starts_with("AWS_") || upper.ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
    command
        .args(["--endpoint-url", endpoint.url()])
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", ACCESS_KEY)
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true");
}

/// Returns the exit code as a shell would.
fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(-1)
}

fn failed(arguments: &[&str], code: i32, said: &str) -> Error {
    if let Some(signal) = INTERRUPTS.into_iter().find(|signal| code == 128 + signal) {
        return Error::Interrupted { signal };
    }
    let said = if said.is_empty() {
        String::new()
    } else {
        format!(":\n{said}")
    };
    Error::Command {
        command: arguments.join(" "),
        code,
        said,
    }
}

/// The parts of `tandem backfill status` that the demo reads.
#[derive(Debug, Deserialize)]
pub struct JobAnswer {
    /// The job.
    pub job: Job,
}

/// One backfill; the fields are those of the contract, `docs/contract.md`.
#[derive(Debug, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// `running`, `complete` and so on.
    pub state: String,
    /// The source keys that it has listed.
    pub listed: u64,
    /// Keys that it copied,
    pub copied: u64,
    /// found equal,
    pub equal: u64,
    /// found deleted,
    pub gone: u64,
    /// could not copy,
    pub failed: u64,
    /// or began to copy in ranges.
    pub transfers: u64,
    /// What it copied.
    pub bytes_copied: u64,
}

/// The parts of `tandem status` that the demo reads.
#[derive(Debug, Deserialize)]
pub struct Status {
    /// The newest backfill.
    pub historical: Option<Job>,
    /// The live replication.
    pub live: Live,
    /// Objects that failed and are not retried automatically.
    pub failures: Option<u64>,
}

/// The live replication.
#[derive(Debug, Deserialize)]
pub struct Live {
    /// Messages and keys that wait.
    pub backlog: Backlog,
    /// The replication lag.
    pub lag_ms: Option<Lag>,
}

/// Messages and keys that wait.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Backlog {
    /// In the put queue.
    pub put: u64,
    /// In the delete queue.
    pub delete: u64,
    /// In the work queue.
    pub work: u64,
    /// In the part queue.
    pub part: u64,
    /// Deferred keys of the rule, which wait until it is resumed.
    pub held: u64,
    /// In all dead-letter queues.
    pub dead_letter: u64,
}

impl Backlog {
    /// Returns how many messages and keys wait.
    pub fn waiting(&self) -> u64 {
        self.put + self.delete + self.work + self.part + self.held
    }
}

/// The replication lag, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Lag {
    /// Half of the changes took no longer than this.
    pub p50: f64,
    /// 99 of 100 changes took no longer than this.
    pub p99: f64,
    /// No change took longer than this.
    pub max: f64,
}

/// The parts of `tandem verify` that the demo reads.
#[derive(Debug, Deserialize)]
pub struct Comparison {
    /// Whether the buckets agree.
    pub equal: bool,
    /// Keys with equal objects.
    pub same: u64,
    /// Keys at the source only.
    pub missing: u64,
    /// Keys with different objects.
    pub different: u64,
    /// Keys at the destination only.
    pub extra: u64,
    /// The bytes at the source.
    pub source_bytes: u64,
    /// The bytes at the destination.
    pub destination_bytes: u64,
    /// The first keys that differ.
    pub differences: Vec<Difference>,
}

/// A key that differs.
#[derive(Debug, Deserialize)]
pub struct Difference {
    /// The key.
    pub key: String,
    /// `missing`, `different` or `extra`.
    pub kind: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_in_the_form_of_the_contract_are_read() {
        let status = r#"{"rule": {}, "historical": null, "failures": 0, "live": {"watermark": null,
            "backlog": {"put": 1, "delete": 2, "work": 3, "part": 6, "held": 4, "dead_letter": 5},
            "window_mins": 60, "replicated": null, "lag_ms": {"p50": 410, "p99": 1900, "max": 2300}}}"#;
        let status: Status = serde_json::from_str(status).unwrap();
        assert_eq!(status.live.backlog.waiting(), 16);
        assert!((status.live.lag_ms.unwrap().p99 - 1900.0).abs() < 1e-9);
    }

    #[test]
    fn an_interrupted_command_is_not_a_failure() {
        for code in [130, 143] {
            assert_eq!(failed(&["status"], code, "").exit_code(), code);
        }
        let error = failed(&["status"], 3, "error: no");
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().ends_with("exit code 3:\nerror: no"));
    }
}
