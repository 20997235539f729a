//! How far a rule and its backfills are, as answers tell it. No I/O.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::Rule;

/// One backfill run.
#[derive(Debug, Clone, Deserialize)]
pub struct Job {
    pub id: String,
    pub rule_id: String,
    /// `planning`, `running`, `complete` or `cancelled`.
    pub state: String,
    pub fraction: Option<f64>,
    pub shards: Option<Shards>,
    pub listed: u64,
    pub copied: u64,
    pub equal: u64,
    pub gone: u64,
    pub failed: u64,
    /// Objects so large that they are copied by many invocations, perhaps after the job's end.
    #[serde(default)]
    pub transfers: u64,
    pub bytes_copied: u64,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

impl Job {
    pub fn is_finished(&self) -> bool {
        matches!(self.state.as_str(), "complete" | "cancelled")
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
}

/// Very large objects that are on their way.
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

/// What was carried since the rule was made. A number that isn't known is `None`.
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
