//! The messages of two queues: the work queue sends to `backfill-shard` everything that may take longer than one
//! notification, and the part queue sends to `copy-parts`. No I/O.

use serde::{Deserialize, Serialize};

use crate::in_flight::OwnWrites;
use crate::names::{JobId, ObjectKey, RuleId, TransferId};
use crate::overwrite::Overwrite;

/// Over how many parts a rule's deferred keys are spread, so that no single table partition takes all writes.
pub const DEFERRED_PARTITIONS: u8 = 8;

/// How many messages may follow from one another without progress. AWS ends a chain of invocations after about 16,
/// unless a function's configuration allows longer chains. The functions of the work and part queues allow them,
/// because a long job is such a chain. This limit replaces AWS's, so that a fault cannot keep functions busy for ever.
///
/// Source: Lambda developer guide, "Use Lambda recursive loop detection to prevent infinite loops".
pub const HOPS_MAX: u32 = 100;

/// One message of the work queue. Each may be delivered twice. Fields that a newer version adds are ignored, so that a
/// deployment while jobs run loses nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Work {
    /// Continue a shard of a job from its checkpoint.
    Shard {
        /// The rule.
        rule_id: RuleId,
        /// The job.
        job_id: JobId,
        /// The index of the shard.
        shard: u32,
    },
    /// Replicate the keys that changed while the rule was paused. Messages call it `held`, so that functions of every
    /// version read them.
    #[serde(rename = "held")]
    Deferred {
        /// The rule.
        rule_id: RuleId,
        /// Which part of the deferred keys.
        partition: u8,
        /// How many messages precede it in its chain since a key was last replicated.
        #[serde(default, skip_serializing_if = "is_zero")]
        hops: u32,
    },
    /// Reconcile one object that is too large for a live function.
    Object {
        /// The rule.
        rule_id: RuleId,
        /// The key.
        key: ObjectKey,
        /// When it changed, by the service's clock.
        event_time: crate::Timestamp,
        /// What it may replace: a backfill's object keeps its job's mode.
        #[serde(default, skip_serializing_if = "Overwrite::is_always")]
        overwrite: Overwrite,
        /// For an object of a job: what the job may have written. A replica by another writer is kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        own: Option<OwnWrites>,
        /// How many transfers of the object were restarted before.
        #[serde(default, skip_serializing_if = "is_zero")]
        hops: u32,
    },
}

impl Work {
    /// Returns the names of all fields that a message of this kind may have. In an invocation by hand, any other field
    /// is a mistake.
    pub fn fields(kind: &str) -> Option<&'static [&'static str]> {
        match kind {
            "shard" => Some(&["kind", "rule_id", "job_id", "shard"]),
            "held" => Some(&["kind", "rule_id", "partition", "hops"]),
            "object" => Some(&[
                "kind",
                "rule_id",
                "key",
                "event_time",
                "overwrite",
                "own",
                "hops",
            ]),
            _ => None,
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(hops: &u32) -> bool {
    *hops == 0
}

/// One message of the part queue, or the event that the schedule sends to `copy-parts`. Each may be delivered twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum PartWork {
    /// Copy some parts of a large object.
    Range {
        /// The rule.
        rule_id: RuleId,
        /// The object's key.
        key: ObjectKey,
        /// The transfer. If it has ended, there is nothing to do.
        transfer_id: TransferId,
        /// The index of the transfer's range, from 0.
        range: u32,
        /// What the transfer may replace.
        #[serde(default, skip_serializing_if = "Overwrite::is_always")]
        overwrite: Overwrite,
    },
    /// Abort uploads that were left behind.
    Sweep {
        /// The rule whose uploads to abort; all rules if it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule_id: Option<RuleId>,
        /// How old they have to be, in seconds; an hour if it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        older_than_secs: Option<u64>,
    },
}

/// Returns the partition of the deferred keys in which `key` is stored (FNV-1a, so that every version agrees).
pub fn deferred_partition(key: &ObjectKey) -> u8 {
    let hash = key
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    u8::try_from(hash % u64::from(DEFERRED_PARTITIONS)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_written_as_it_is_read() {
        let work = Work::Shard {
            rule_id: RuleId::new("r"),
            job_id: JobId::new("j"),
            shard: 3,
        };
        let json = serde_json::to_string(&work).unwrap();
        assert_eq!(
            json,
            r#"{"kind":"shard","rule_id":"r","job_id":"j","shard":3}"#
        );
        assert_eq!(serde_json::from_str::<Work>(&json).unwrap(), work);
    }

    #[test]
    fn the_fields_of_a_kind_are_those_that_are_written() {
        let rule_id = RuleId::new("r");
        let key = ObjectKey::parse("k").unwrap();
        for work in [
            Work::Shard {
                rule_id: rule_id.clone(),
                job_id: JobId::new("j"),
                shard: 3,
            },
            Work::Deferred {
                rule_id: rule_id.clone(),
                partition: 1,
                hops: 1,
            },
            Work::Object {
                rule_id,
                event_time: crate::Timestamp::UNIX_EPOCH,
                overwrite: Overwrite::Never,
                own: Some(OwnWrites::default().with(&key, &crate::names::Etag::new("e"))),
                key,
                hops: 1,
            },
        ] {
            let json = serde_json::to_value(work).unwrap();
            let mut fields = Work::fields(json["kind"].as_str().unwrap())
                .unwrap()
                .to_vec();
            fields.sort_unstable();
            assert!(json.as_object().unwrap().keys().eq(&fields), "{json}");
        }
    }

    #[test]
    fn deferred_keys_use_every_partition() {
        let used: std::collections::BTreeSet<u8> = (0..200)
            .map(|n| deferred_partition(&ObjectKey::parse(format!("k{n}")).unwrap()))
            .collect();
        assert_eq!(used.len(), usize::from(DEFERRED_PARTITIONS));
    }
}
