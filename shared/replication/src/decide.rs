//! What one key needs, from what its source and its replica look like now. No I/O.

use crate::object::ObjectState;
use crate::rule::Policy;

/// What to do about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The replica agrees with the source: nothing.
    InSync,
    /// Copy the source over.
    Copy,
    /// Delete the replica.
    Delete,
    /// Leave the replica, although it does not agree.
    Keep(KeepReason),
}

/// Why a replica is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepReason {
    /// The rule's policy is `write`: a replica outlives its source.
    PolicyKeepsDeletes,
}

/// Decides. `source` is `None` only where the source itself answered 404 for the key.
///
/// | source | replica | policy | decision |
/// |---|---|---|---|
/// | none | none | any | in sync |
/// | none | some | `full` | delete |
/// | none | some | `write` | keep: the policy keeps deletes |
/// | some | none | any | copy |
/// | some | the same | any | in sync |
/// | some | different | any | copy |
pub fn decide(
    policy: Policy,
    source: Option<&ObjectState>,
    replica: Option<&ObjectState>,
) -> Decision {
    match (source, replica) {
        (None, None) => Decision::InSync,
        (None, Some(_)) => match policy {
            Policy::Full => Decision::Delete,
            Policy::Write => Decision::Keep(KeepReason::PolicyKeepsDeletes),
        },
        (Some(source), Some(replica)) if source.is_replicated_by(replica) => Decision::InSync,
        (Some(_), _) => Decision::Copy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::names::Etag;
    use crate::object::Metadata;

    #[test]
    fn the_truth_table_holds() {
        let object = |etag: &str| ObjectState {
            etag: Etag::new(etag),
            bytes: 1,
            last_modified: Timestamp::UNIX_EPOCH,
            version_id: None,
            metadata: Metadata::default(),
            tag_count: 0,
        };
        let (a, b) = (object("a"), object("b"));
        let keep = Decision::Keep(KeepReason::PolicyKeepsDeletes);
        for (source, replica, full, write) in [
            (None, None, Decision::InSync, Decision::InSync),
            (None, Some(&a), Decision::Delete, keep),
            (Some(&a), None, Decision::Copy, Decision::Copy),
            (Some(&a), Some(&a), Decision::InSync, Decision::InSync),
            (Some(&a), Some(&b), Decision::Copy, Decision::Copy),
        ] {
            assert_eq!(decide(Policy::Full, source, replica), full);
            assert_eq!(decide(Policy::Write, source, replica), write);
        }
    }
}
