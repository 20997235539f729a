//! Decides what one key needs, from the present state of its source and its replica. No I/O.

use crate::object::ObjectState;
use crate::options::{ClassChoice, LockChoice, Options};
use crate::rule::Policy;

/// What to do about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Do nothing: the replica agrees with the source, as far as a HEAD shows.
    InSync,
    /// Set tags or protection without copying bytes: nothing else differs.
    Adjust,
    /// Copy the source to the destination.
    Copy,
    /// Delete the replica.
    Delete,
    /// Keep the replica, although it does not agree with the source.
    Keep(KeepReason),
}

/// Why a replica is kept as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepReason {
    /// The rule's policy is `write`: a replica outlives its source.
    PolicyKeepsDeletes,
    /// A backfill that never overwrites found an object with this key.
    DestinationExists,
    /// A backfill that overwrites only older objects found an object that is not older.
    DestinationIsNewer,
    /// The source has no object, and a job found a replica that it did not write.
    OtherWriter,
}

/// Decides what a key needs. `source` is `None` only if the source itself answered 404 for the key.
///
/// | source | replica | policy | decision |
/// |---|---|---|---|
/// | none | none | any | in sync |
/// | none | some | `full` | delete |
/// | none | some | `write` | keep: the policy keeps deletes |
/// | some | none | any | copy |
/// | some | the same | any | in sync |
/// | some | the same except for tags or lock | any | adjust |
/// | some | different | any | copy |
pub fn decide(
    policy: Policy,
    options: &Options,
    source: Option<&ObjectState>,
    replica: Option<&ObjectState>,
) -> Decision {
    match (source, replica) {
        (None, None) => Decision::InSync,
        (None, Some(_)) => match policy {
            Policy::Full => Decision::Delete,
            Policy::Write => Decision::Keep(KeepReason::PolicyKeepsDeletes),
        },
        (Some(source), Some(replica)) if same_object(options, source, replica) => {
            if same_attributes(options, source, replica) {
                Decision::InSync
            } else {
                Decision::Adjust
            }
        }
        (Some(_), _) => Decision::Copy,
    }
}

/// Returns whether everything that only a copy can change is the same: content, headers and user metadata, storage
/// class.
///
/// An archived source cannot be copied, so its class alone does not make it another object. The KMS key does not
/// either: a rule's new key is used for objects that are written from then on.
pub fn same_object(options: &Options, source: &ObjectState, replica: &ObjectState) -> bool {
    source.bytes == replica.bytes
        && replica.is_copy_of(source)
        && source.metadata.visible() == replica.metadata.visible()
        && match &options.storage_class {
            ClassChoice::Keep => {
                source.storage_class.is_archive() || source.storage_class == replica.storage_class
            }
            ClassChoice::Always(class) => *class == replica.storage_class,
        }
}

/// Returns whether everything that can be changed without a copy is the same, as far as a HEAD shows.
pub fn same_attributes(options: &Options, source: &ObjectState, replica: &ObjectState) -> bool {
    (!options.tags || source.tag_count == replica.tag_count)
        && (options.object_lock == LockChoice::Bucket || source.lock.is_within(&replica.lock))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::StorageClass;
    use crate::object::Lock;
    use crate::object::tests::object;

    // Promise: A replica is deleted only under policy `full`, and only when the source itself answers 404 for
    // the key: a 403, an error, a missing answer or a listing is never taken for absence.
    // Promise: Under policy `write` nothing is deleted: a replica outlives its source.
    #[test]
    fn the_decision_follows_the_table() {
        let (a, b) = (object("a"), object("b"));
        let tagged = ObjectState {
            tag_count: 1,
            ..object("a")
        };
        let keep = Decision::Keep(KeepReason::PolicyKeepsDeletes);
        for (source, replica, full, write) in [
            (None, None, Decision::InSync, Decision::InSync),
            (None, Some(&a), Decision::Delete, keep),
            (Some(&a), None, Decision::Copy, Decision::Copy),
            (Some(&a), Some(&a), Decision::InSync, Decision::InSync),
            (Some(&a), Some(&tagged), Decision::Adjust, Decision::Adjust),
            (Some(&a), Some(&b), Decision::Copy, Decision::Copy),
        ] {
            let options = Options::default();
            assert_eq!(decide(Policy::Full, &options, source, replica), full);
            assert_eq!(decide(Policy::Write, &options, source, replica), write);
        }
    }

    fn between(options: &Options, source: &ObjectState, replica: &ObjectState) -> Decision {
        decide(Policy::Full, options, Some(source), Some(replica))
    }

    // Promise: An equal `ETag` does not prove an equal object: other metadata and other tags of the same bytes
    // arrive.
    #[test]
    fn another_size_etag_or_metadata_needs_a_copy() {
        let source = object("a");
        let mut uncached = object("a");
        uncached.metadata.cache_control = Some("no-store".into());
        let longer = ObjectState {
            bytes: 4,
            ..object("a")
        };
        for replica in [uncached, longer, object("b")] {
            let decision = between(&Options::default(), &source, &replica);
            assert_eq!(decision, Decision::Copy);
        }
    }

    #[test]
    fn tags_are_compared_only_if_the_rule_replicates_them() {
        let tagged = ObjectState {
            tag_count: 1,
            ..object("a")
        };
        let without = Options {
            tags: false,
            ..Options::default()
        };
        assert_eq!(between(&without, &tagged, &object("a")), Decision::InSync);
    }

    // Promise: An archived source counts as equal to a replica of another class; without a replica it is
    // recorded as a failure, and carried over once it is restored.
    #[test]
    fn the_class_is_the_sources_or_the_rules_and_an_archived_source_is_not_copied() {
        let of = |class: &str| ObjectState {
            storage_class: StorageClass::new(class),
            ..object("a")
        };
        let keep = Options::default();
        let always = Options {
            storage_class: ClassChoice::Always(StorageClass::new("GLACIER_IR")),
            ..Options::default()
        };
        for (options, source, replica, wanted) in [
            (&keep, "STANDARD_IA", "STANDARD_IA", Decision::InSync),
            (&keep, "STANDARD_IA", "STANDARD", Decision::Copy),
            (&keep, "GLACIER", "STANDARD", Decision::InSync),
            (&always, "STANDARD", "GLACIER_IR", Decision::InSync),
            (&always, "GLACIER_IR", "STANDARD", Decision::Copy),
        ] {
            assert_eq!(between(options, &of(source), &of(replica)), wanted);
        }
    }

    #[test]
    fn locks_are_compared_only_if_the_rule_keeps_locks() {
        let held = ObjectState {
            lock: Lock {
                legal_hold: true,
                ..Lock::default()
            },
            ..object("a")
        };
        let keep = Options {
            object_lock: LockChoice::Keep,
            ..Options::default()
        };
        let bucket = Options::default();
        assert_eq!(between(&keep, &held, &object("a")), Decision::Adjust);
        assert_eq!(between(&bucket, &held, &object("a")), Decision::InSync);
    }
}
