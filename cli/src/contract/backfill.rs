//! Requests to `backfill`: jobs that copy, compare or repair. No I/O.

use clap::ValueEnum;
use serde::Serialize;

/// A request to `backfill`.
#[derive(Debug, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Backfill<'a> {
    Start(Start<'a>),
    Status(JobName<'a>),
    List { rule: &'a str },
    Pause(JobName<'a>),
    Resume(JobName<'a>),
    Cancel(JobName<'a>),
}

/// A new job. Fields that the user does not set are not sent, because an older stack knows only the rule.
#[derive(Debug, Default, Serialize)]
pub struct Start<'a> {
    pub rule: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overwrite: Option<Overwrite>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<Keys>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects_per_sec: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletes_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<&'a str>,
    /// The same in every repetition of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<&'a str>,
}

/// A job of a rule; the newest if `job_id` is missing.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct JobName<'a> {
    pub rule: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<&'a str>,
}

/// What a job is for; a backfill if the field is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Verify,
    Repair,
}

/// How the keys of a list are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Keys {
    /// URL-encoded, as S3 Inventory and S3 Batch Operations write them: a+b is "a b"
    Encoded,
    /// Unencoded: a+b is "a+b"
    Plain,
}

/// What a backfill does if the destination has a different object under the same key; the most careful choice first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Overwrite {
    /// Keep the destination's object
    Never,
    /// Replace the destination's object if it was written before the source's
    IfOlder,
    /// Replace the destination's object
    Always,
}

impl Overwrite {
    pub const ALL: [Self; 3] = [Self::Always, Self::IfOlder, Self::Never];

    /// The word of the contract and of the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::IfOlder => "if-older",
            Self::Always => "always",
        }
    }
}
