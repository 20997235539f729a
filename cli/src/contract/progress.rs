//! The progress of a rule and its backfills, as answers report it. No I/O.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::Rule;

/// One run over a rule's historical objects.
#[derive(Debug, Clone, Deserialize)]
pub struct Job {
    pub id: String,
    pub rule_id: String,
    /// `backfill`, `verify` or `repair`.
    #[serde(default = "backfill")]
    pub kind: String,
    pub overwrite: Option<String>,
    pub prefix: Option<String>,
    pub manifest: Option<String>,
    /// How the keys of the manifest are written.
    pub keys: Option<String>,
    pub report: Option<String>,
    pub objects_per_sec: Option<f64>,
    pub concurrency: Option<u64>,
    pub deletes_max: Option<u64>,
    /// Whether the rule's own schedule started it.
    #[serde(default)]
    pub scheduled: bool,
    /// `planning`, `running`, `paused`, `complete`, `failed` or `cancelled`.
    pub state: String,
    /// Why it failed.
    pub error: Option<String>,
    /// A problem of a finished job in which nothing failed.
    pub warning: Option<String>,
    /// Since when a part of it has made no progress.
    pub stalled_since: Option<DateTime<Utc>>,
    pub fraction: Option<f64>,
    pub shards: Option<Shards>,
    pub listed: u64,
    pub copied: u64,
    pub equal: u64,
    /// Keys under which the destination keeps a different object.
    #[serde(default)]
    pub kept: u64,
    pub gone: u64,
    pub failed: u64,
    /// Objects so large that they are copied by many invocations, perhaps after the job's end.
    #[serde(default)]
    pub transfers: u64,
    /// Found by a comparison, and not repaired.
    #[serde(default)]
    pub missing: u64,
    #[serde(default)]
    pub different: u64,
    /// At the destination only.
    #[serde(default)]
    pub extra: u64,
    /// Extra objects that were deleted.
    #[serde(default)]
    pub deleted: u64,
    /// Extra objects whose source could not be read, or that could not be deleted.
    #[serde(default)]
    pub extra_failed: u64,
    pub bytes_copied: u64,
    pub s3_requests: Option<u64>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

fn backfill() -> String {
    "backfill".to_owned()
}

impl Job {
    pub fn is_finished(&self) -> bool {
        matches!(self.state.as_str(), "complete" | "failed" | "cancelled")
    }

    /// Returns whether the job is complete, with no failure and no warning.
    pub fn has_succeeded(&self) -> bool {
        self.state == "complete" && self.failures() == 0 && self.warning.is_none()
    }

    /// Returns how many keys failed.
    pub fn failures(&self) -> u64 {
        self.failed + self.extra_failed
    }

    /// Returns how many differences a comparison found; `extras_count` says whether extra objects count.
    pub fn differences(&self, extras_count: bool) -> u64 {
        self.missing + self.different + if extras_count { self.extra } else { 0 }
    }

    /// Returns how many objects a repair has left that only the destination has.
    pub fn extras_left(&self) -> u64 {
        self.extra.saturating_sub(self.deleted)
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct Shards {
    pub total: Option<u64>,
    pub done: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Progress {
    pub rule: Rule,
    pub historical: Option<Job>,
    pub live: Live,
    pub failures: Option<u64>,
    #[serde(default)]
    pub transfers: Transfers,
    /// The newest job that the rule's own schedule started.
    pub reconciliation: Option<Job>,
}

/// Very large objects that are being copied.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Transfers {
    pub count: u64,
    /// Some of them.
    pub shown: Vec<Transfer>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Transfer {
    pub key: String,
    pub bytes: u64,
    pub bytes_copied: u64,
    pub started_at: DateTime<Utc>,
    pub progressed_at: DateTime<Utc>,
}

/// What was replicated since the rule was created. A number that is not known is `None`.
#[derive(Debug, Clone, Deserialize)]
pub struct Live {
    pub watermark: Option<DateTime<Utc>>,
    pub backlog: Option<Backlog>,
    pub window_mins: Option<u64>,
    pub replicated: Option<u64>,
    pub deleted: Option<u64>,
    pub failed: Option<u64>,
    pub bytes: Option<u64>,
    pub lag_ms: Option<Lag>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Backlog {
    pub put: Option<u64>,
    pub delete: Option<u64>,
    pub work: Option<u64>,
    pub part: Option<u64>,
    pub held: Option<u64>,
    pub dead_letter: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Lag {
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
}
