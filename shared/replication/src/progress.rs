//! How far a backfill and a rule have come: the counts, and the documents shown to callers. No I/O.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::key_list::KeyEncoding;
use crate::names::{JobId, RuleId};
use crate::overwrite::Overwrite;
use crate::rule::Rule;
use crate::transfer::TransferView;

/// What became of the objects listed so far.
/// `listed = copied + equal + kept + gone + failed + transfers + missing + different`, always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Objects seen in the source's listing, or named by the manifest.
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
    /// Objects that differ from what the destination has, which the overwrite mode keeps.
    #[serde(default)]
    pub kept: u64,
    /// Objects without a replica that a verification left alone.
    #[serde(default)]
    pub missing: u64,
    /// Objects with another replica that a verification left alone.
    #[serde(default)]
    pub different: u64,
    /// Objects at the destination only; not among those listed.
    #[serde(default)]
    pub extra: u64,
    /// Those of them that were deleted.
    #[serde(default)]
    pub deleted: u64,
    /// Those of them whose source could not be read, or that could not be deleted; each has a failure record.
    #[serde(default)]
    pub extra_failed: u64,
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
        self.kept += other.kept;
        self.missing += other.missing;
        self.different += other.different;
        self.extra += other.extra;
        self.deleted += other.deleted;
        self.extra_failed += other.extra_failed;
        self.bytes_copied += other.bytes_copied;
    }

    /// Whether every listed object is accounted for.
    pub fn add_up(&self) -> bool {
        let left_alone = self.kept + self.missing + self.different;
        let dealt_with = self.copied + self.equal + self.gone + self.failed + self.transfers;
        self.listed == dealt_with + left_alone
    }
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Its first shards are being stored.
    Planning,
    /// Shards are at work.
    Running,
    /// Somebody has stopped it for now.
    Paused,
    /// Every shard has ended.
    Complete,
    /// Every shard has ended, some of them before their end.
    Failed,
    /// Somebody, a newer job or the end of the rule has ended it.
    Cancelled,
}

impl JobState {
    /// The word for it.
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

    /// Whether there is nothing to come.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Complete | Self::Failed | Self::Cancelled)
    }
}

/// What a job does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Carries historical objects over.
    #[default]
    Backfill,
    /// Compares both sides and changes nothing.
    Verify,
    /// Compares both sides, and makes good what differs.
    Repair,
}

impl JobKind {
    /// The word for it.
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
    /// Only keys that begin so.
    #[serde(default)]
    pub prefix: Option<String>,
    /// Where the keys are listed, instead of in the bucket itself: `s3://bucket/key`.
    #[serde(default)]
    pub manifest: Option<String>,
    /// How the keys of that list are written; none without a list.
    #[serde(default)]
    pub keys: Option<KeyEncoding>,
    /// Where what was found is written: `s3://bucket/prefix/`.
    #[serde(default)]
    pub report: Option<String>,
    /// How many objects a second are begun at most, by all shards together.
    #[serde(default)]
    pub objects_per_sec: Option<f64>,
    /// How many shards are worked on at once at most.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// How many objects a repair may delete.
    #[serde(default)]
    pub deletes_max: Option<u64>,
    /// Whether the rule's own schedule asked for it.
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
    /// Where it is.
    pub state: JobState,
    /// Why a shard ended before its end.
    #[serde(default)]
    pub error: Option<String>,
    /// What is odd about a job that is over, though nothing failed.
    #[serde(default)]
    pub warning: Option<String>,
    /// Since when part of the job stands still, because its message is lost or was given up. Hourly maintenance sends
    /// another.
    #[serde(default)]
    pub stalled_since: Option<Timestamp>,
    /// How far it has come, 0 to 1; an estimate from the place in the key space until it is complete.
    pub fraction: f64,
    /// Its shards.
    pub shards: ShardCounts,
    /// What became of the objects.
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

/// Returns what is odd about a finished job with this outcome: most of the keys that its list names do not exist.
/// Then the list is probably of another bucket, or its keys are written in another way than was said.
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

/// Everything there is to know about a rule's progress.
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
    /// Shards, large objects and deferred keys.
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

#[cfg(test)]
mod tests {
    use super::*;

    // Promise: A finished job of which more than half of the listed keys do not exist has a warning, and the command
    // ends with exit code 1.
    #[test]
    fn a_list_of_which_more_than_half_is_not_there_has_a_warning() {
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
