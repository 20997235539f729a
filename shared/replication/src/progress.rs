//! The progress of jobs and rules: the counts, and the documents shown to callers. No I/O.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::key_list::KeyEncoding;
use crate::names::{JobId, RuleId};
use crate::overwrite::Overwrite;
use crate::rule::Rule;
use crate::transfer::TransferView;

/// The outcomes of the objects listed so far.
/// `listed = copied + equal + kept + gone + failed + transfers + missing + different`, always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Objects seen in the source's listing, or named by the manifest.
    pub listed: u64,
    /// Objects whose replica was written.
    pub copied: u64,
    /// Objects whose replica was already equal.
    pub equal: u64,
    /// Objects that were deleted at the source after they were listed.
    pub gone: u64,
    /// Objects that could not be replicated; each has a failure record.
    pub failed: u64,
    /// Objects too large for one invocation. Their transfers continue independently and may last longer than the job.
    #[serde(default)]
    pub transfers: u64,
    /// Objects that differ from the destination's object, which the overwrite mode keeps.
    #[serde(default)]
    pub kept: u64,
    /// Objects without a replica that a verification found and did not repair.
    #[serde(default)]
    pub missing: u64,
    /// Objects with another replica that a verification found and did not repair.
    #[serde(default)]
    pub different: u64,
    /// Objects that only the destination has. They are not among those listed.
    #[serde(default)]
    pub extra: u64,
    /// Extra objects that were deleted.
    #[serde(default)]
    pub deleted: u64,
    /// Extra objects whose source could not be read, or that could not be deleted; each has a failure record.
    #[serde(default)]
    pub extra_failed: u64,
    /// The total size of the copied objects, without those of transfers.
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
        self.kept += other.kept;
        self.missing += other.missing;
        self.different += other.different;
        self.extra += other.extra;
        self.deleted += other.deleted;
        self.extra_failed += other.extra_failed;
        self.bytes_copied += other.bytes_copied;
    }

    /// Returns whether every listed object is accounted for.
    pub fn add_up(&self) -> bool {
        let left_alone = self.kept + self.missing + self.different;
        let dealt_with = self.copied + self.equal + self.gone + self.failed + self.transfers;
        self.listed == dealt_with + left_alone
    }
}

/// A job's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Its first shards are being stored.
    Planning,
    /// Its shards are being processed.
    Running,
    /// A user has paused it.
    Paused,
    /// Every shard has ended.
    Complete,
    /// Every shard has ended, and at least one of them failed.
    Failed,
    /// A user, a newer job or the end of the rule has cancelled it.
    Cancelled,
}

impl JobState {
    /// Returns the word for the state.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns whether the job has ended.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Complete | Self::Failed | Self::Cancelled)
    }
}

/// What a job does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Replicates historical objects.
    #[default]
    Backfill,
    /// Compares both sides and changes nothing.
    Verify,
    /// Compares both sides and repairs differences.
    Repair,
}

impl JobKind {
    /// Returns the word for the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Verify => "verify",
            Self::Repair => "repair",
        }
    }
}

/// What a job was asked to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// What it does.
    #[serde(default)]
    pub kind: JobKind,
    /// Which objects of the destination a backfill may replace.
    #[serde(default)]
    pub overwrite: Overwrite,
    /// Only keys with this prefix.
    #[serde(default)]
    pub prefix: Option<String>,
    /// A list of keys to use instead of a listing of the bucket: `s3://bucket/key`.
    #[serde(default)]
    pub manifest: Option<String>,
    /// How the keys of that list are written; `None` without a list.
    #[serde(default)]
    pub keys: Option<KeyEncoding>,
    /// Where the report of what was found is written: `s3://bucket/prefix/`.
    #[serde(default)]
    pub report: Option<String>,
    /// At most this many objects a second are begun, by all shards together.
    #[serde(default)]
    pub objects_per_sec: Option<f64>,
    /// At most this many shards are processed at once.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// How many objects a repair may delete.
    #[serde(default)]
    pub deletes_max: Option<u64>,
    /// Whether the rule's own schedule started it.
    #[serde(default)]
    pub scheduled: bool,
}

/// A job as callers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// The rule whose objects it is about.
    pub rule_id: RuleId,
    /// What it was asked to do.
    #[serde(flatten)]
    pub spec: JobSpec,
    /// Its state.
    pub state: JobState,
    /// Why a shard failed.
    #[serde(default)]
    pub error: Option<String>,
    /// What is suspicious about a job that has ended without a failure.
    #[serde(default)]
    pub warning: Option<String>,
    /// Since when part of the job has made no progress, because its message is lost or is no longer retried. Hourly
    /// maintenance sends another message.
    #[serde(default)]
    pub stalled_since: Option<Timestamp>,
    /// How far it has come, 0 to 1. Until it is complete, this is an estimate from the place in the key space.
    pub fraction: f64,
    /// Its shards.
    pub shards: ShardCounts,
    /// The outcomes of its objects.
    #[serde(flatten)]
    pub counts: Counts,
    /// Requests to S3 so far.
    #[serde(default)]
    pub s3_requests: u64,
    /// When it was started.
    pub started_at: Timestamp,
    /// When its last shard ended.
    pub finished_at: Option<Timestamp>,
}

/// Returns a warning about a finished job with these counts, if most of the keys that its list names do not exist.
/// Then the list is probably of another bucket, or its keys are not encoded as the request said.
pub fn warning(spec: &JobSpec, counts: &Counts) -> Option<String> {
    let (Some(_), true) = (&spec.manifest, counts.gone > counts.listed / 2) else {
        return None;
    };
    let keys = spec.keys.unwrap_or_default();
    Some(format!(
        "{} of {} keys in the list do not exist at the source; check that the list is of this bucket, and that its \
         keys are {} (`keys` says \"{}\")",
        counts.gone,
        counts.listed,
        match keys {
            KeyEncoding::Encoded => "encoded as in a URL",
            KeyEncoding::Plain | KeyEncoding::Report => "written as they are",
        },
        keys.as_str()
    ))
}

/// How many shards there are, and how many have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardCounts {
    /// All of them.
    pub total: u64,
    /// Those that have ended.
    pub done: u64,
}

/// A rule's progress in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The rule.
    pub rule: Rule,
    /// Its newest backfill, if it had one.
    pub historical: Option<JobView>,
    /// The newest repair that its schedule asked for.
    #[serde(default)]
    pub reconciliation: Option<JobView>,
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

/// Live replication in figures; `None` if a figure is not known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// Every change received before this instant is replicated, or kept as a failure.
    pub watermark: Option<Timestamp>,
    /// The messages and keys that wait.
    pub backlog: Backlog,
    /// How many minutes the following figures cover.
    pub window_mins: u32,
    /// Replicas written.
    pub replicated: Option<u64>,
    /// Replicas deleted.
    pub deleted: Option<u64>,
    /// Objects that failed.
    pub failed: Option<u64>,
    /// The sizes of the replicas written.
    pub bytes: Option<u64>,
    /// The time from a change at the source to its replica.
    pub lag_ms: Option<Lag>,
}

/// The approximate numbers of messages and keys that wait. All rules of a stack share the queues; only `held` is the
/// rule's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backlog {
    /// Notifications of puts.
    pub put: u64,
    /// Notifications of deletes.
    pub delete: u64,
    /// Shards, large objects and deferred keys.
    pub work: u64,
    /// Ranges of large objects.
    #[serde(default)]
    pub part: u64,
    /// Keys that changed while the rule was paused.
    pub held: u64,
    /// Messages that are no longer retried, in the dead-letter queues.
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

#[cfg(test)]
mod tests {
    use super::*;

    // Promise: A finished job of which more than half of the listed keys do not exist has a warning, and the command
    // ends with exit code 1.
    #[test]
    fn a_list_of_which_more_than_half_does_not_exist_causes_a_warning() {
        let spec = JobSpec {
            manifest: Some("s3://lists/keys.csv".into()),
            keys: Some(KeyEncoding::Encoded),
            ..JobSpec::default()
        };
        let counts = |listed, gone| Counts {
            listed,
            gone,
            ..Counts::default()
        };
        for (listed, gone, is_odd) in [
            (0, 0, false),
            (1, 0, false),
            (1, 1, true),
            (2, 1, false),
            (3, 1, false),
            (3, 2, true),
            (1_000, 500, false),
            (1_000, 501, true),
        ] {
            let warning = warning(&spec, &counts(listed, gone));
            assert_eq!(warning.is_some(), is_odd, "{gone} of {listed}");
        }
        let text = warning(&spec, &counts(3, 2)).unwrap();
        assert!(text.contains("2 of 3 keys"), "{text}");
        assert!(text.contains("\"encoded\""), "{text}");
        assert_eq!(warning(&JobSpec::default(), &counts(3, 3)), None);
    }
}
