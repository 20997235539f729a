//! How far a backfill and a rule have come: the counts, and the documents shown to callers. No I/O.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::names::{JobId, RuleId};
use crate::rule::Rule;
use crate::transfer::TransferView;

/// What became of the objects listed so far. `listed = copied + equal + gone + failed + transfers`, always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Objects seen in the source's listing.
    pub listed: u64,
    /// Objects whose replica was written.
    pub copied: u64,
    /// Objects whose replica was right already.
    pub equal: u64,
    /// Objects that were deleted at the source after they were listed.
    pub gone: u64,
    /// Objects that could not be replicated; each has a failure record.
    pub failed: u64,
    /// Objects too large for one invocation: their transfers go on by themselves, and may last longer than
    /// the job.
    #[serde(default)]
    pub transfers: u64,
    /// The sizes of the copied objects, those of transfers not among them.
    pub bytes_copied: u64,
}

impl Counts {
    /// Adds what another page or shard counted.
    pub fn add(&mut self, other: &Self) {
        self.listed += other.listed;
        self.copied += other.copied;
        self.equal += other.equal;
        self.gone += other.gone;
        self.failed += other.failed;
        self.transfers += other.transfers;
        self.bytes_copied += other.bytes_copied;
    }

    /// Whether every listed object is accounted for.
    pub fn add_up(&self) -> bool {
        self.listed == self.copied + self.equal + self.gone + self.failed + self.transfers
    }
}

/// Where a backfill job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// The key space is being cut into shards.
    Planning,
    /// Shards are at work.
    Running,
    /// Every shard has ended.
    Complete,
    /// A newer job, or the end of the rule, took its place.
    Cancelled,
}

/// A backfill job as callers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// The rule whose objects it carries over.
    pub rule_id: RuleId,
    /// Where it is.
    pub state: JobState,
    /// How far it has come, 0 to 1; an estimate from the place in the key space until it is complete.
    pub fraction: f64,
    /// Its shards.
    pub shards: ShardCounts,
    /// What became of the objects.
    #[serde(flatten)]
    pub counts: Counts,
    /// When it was started.
    pub started_at: Timestamp,
    /// When its last shard ended.
    pub finished_at: Option<Timestamp>,
}

/// How many shards there are, and how many have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardCounts {
    /// All of them.
    pub total: u64,
    /// Those that have ended.
    pub done: u64,
}

/// Everything there is to know about a rule's progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The rule.
    pub rule: Rule,
    /// Its newest backfill, if it had one.
    pub historical: Option<JobView>,
    /// Live replication.
    pub live: Live,
    /// Objects that failed and have not succeeded since.
    pub failures: u64,
    /// Large objects that are being copied by many invocations.
    pub transfers: Transfers,
}

/// The transfers of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfers {
    /// How many there are.
    pub count: u64,
    /// Some of them, by key.
    pub shown: Vec<TransferView>,
}

/// Live replication in figures; `None` where a figure is not known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// Every change received before this instant is replicated, or kept as a failure.
    pub watermark: Option<Timestamp>,
    /// What waits.
    pub backlog: Backlog,
    /// How many minutes back the following figures go.
    pub window_mins: u32,
    /// Replicas written.
    pub replicated: Option<u64>,
    /// Replicas deleted.
    pub deleted: Option<u64>,
    /// Objects that failed.
    pub failed: Option<u64>,
    /// The sizes of the replicas written.
    pub bytes: Option<u64>,
    /// From a change at the source to its replica.
    pub lag_ms: Option<Lag>,
}

/// Messages and keys that wait, approximately. The queues are shared by the rules of a stack; `held`
/// is the rule's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backlog {
    /// Notifications of puts.
    pub put: u64,
    /// Notifications of deletes.
    pub delete: u64,
    /// Shards, large objects and held keys.
    pub work: u64,
    /// Ranges of large objects.
    #[serde(default)]
    pub part: u64,
    /// Keys that changed while the rule was paused.
    pub held: u64,
    /// Messages that were given up.
    pub dead_letter: u64,
}

/// Percentiles of the lag in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lag {
    /// Half of the changes were faster.
    pub p50: f64,
    /// 99 of 100 changes were faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}
