//! One change of one object, and how several changes of a key in one batch are merged into one. No I/O.

use std::collections::HashMap;

use crate::Timestamp;
use crate::names::{BucketName, Etag, ObjectKey, RuleId, Sequencer, VersionId};

/// A notification record, parsed. It is a hint that the key changed; the source's present state
/// decides what is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectEvent {
    /// The bucket in which it happened.
    pub bucket: BucketName,
    /// The key, decoded.
    pub key: ObjectKey,
    /// What happened.
    pub change: Change,
    /// When it happened, by the service's clock.
    pub event_time: Timestamp,
    /// Its place among the changes of the same key, if the service says so.
    pub sequencer: Option<Sequencer>,
    /// The rule whose notification entry sent it, if the entry's name says so.
    pub sent_for: Option<RuleId>,
}

/// What happened to the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An object was put, copied or completed.
    Created {
        /// The object's `ETag`.
        etag: Option<Etag>,
        /// Its size in bytes.
        bytes: Option<u64>,
        /// Its version, in a versioned bucket.
        version_id: Option<VersionId>,
        /// The request that created it.
        by: CreatedBy,
    },
    /// The object was deleted, or hidden by a delete marker.
    Removed,
    /// A lifecycle rule of the bucket expired the object.
    Expired,
    /// Its tags or its ACL changed, which a HEAD may not show.
    Attributes,
    /// The object was restored from an archive, or the event is one that this version does not know. The objects have
    /// to be compared.
    Other,
}

/// The request that created an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreatedBy {
    /// `PutObject` or a form's POST. Tandem sends neither to a bucket of a rule.
    Put,
    /// `CopyObject`, `CompleteMultipartUpload`, or a request that this version does not know. Tandem itself may have
    /// sent it: if rules form a circle, the source may already be a copy of its replica.
    Copy,
}

/// A family of changes. An event can replace another event of its key only within a family, because a rule may skip
/// the changes of one family and replicate those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Family {
    Attributes,
    Expired,
    Content,
}

impl Family {
    fn of(change: &Change) -> Self {
        match change {
            Change::Attributes => Self::Attributes,
            Change::Expired => Self::Expired,
            Change::Created { .. } | Change::Removed | Change::Other => Self::Content,
        }
    }
}

/// The events of one key in a batch: the newest, and what each event was received with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange<T> {
    /// The newest event of the key.
    pub newest: ObjectEvent,
    /// What each of the key's events was received with (its message), oldest received first.
    pub received_with: Vec<T>,
}

/// Groups events by key and keeps the newest of each. All of a key's messages share its one result.
///
/// If two events have sequencers, these decide which is newer, otherwise the event times do. If they are equal, the
/// event received later counts as newer. Keys keep the order in which they first appear. A change of tags or ACL stays
/// separate from the other changes of its key, because processing one of them does not include the other.
pub fn coalesce<T>(events: impl IntoIterator<Item = (ObjectEvent, T)>) -> Vec<KeyChange<T>> {
    let mut places: HashMap<(BucketName, ObjectKey, Family), usize> = HashMap::new();
    let mut changes: Vec<KeyChange<T>> = Vec::new();
    for (event, received_with) in events {
        let family = Family::of(&event.change);
        let place = (event.bucket.clone(), event.key.clone(), family);
        if let Some(&at) = places.get(&place) {
            let change = &mut changes[at];
            change.received_with.push(received_with);
            if !event.is_older_than(&change.newest) {
                change.newest = event;
            }
        } else {
            places.insert(place, changes.len());
            changes.push(KeyChange {
                newest: event,
                received_with: vec![received_with],
            });
        }
    }
    changes
}

impl ObjectEvent {
    fn is_older_than(&self, other: &Self) -> bool {
        match (&self.sequencer, &other.sequencer) {
            (Some(mine), Some(theirs)) => mine < theirs,
            _ => self.event_time < other.event_time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: &str, sequencer: &str, etag: &str) -> ObjectEvent {
        ObjectEvent {
            bucket: BucketName::parse("source").unwrap(),
            key: ObjectKey::parse(key).unwrap(),
            change: Change::Created {
                etag: Some(Etag::new(etag)),
                bytes: Some(1),
                version_id: None,
                by: CreatedBy::Put,
            },
            event_time: Timestamp::UNIX_EPOCH,
            sequencer: Some(Sequencer::new(sequencer)),
            sent_for: None,
        }
    }

    // Promise: Changes of one key in one batch are carried over once; the result acknowledges all their
    // messages.
    #[test]
    fn events_of_one_key_become_the_newest_by_sequencer_and_keep_every_message() {
        let batch = [
            (event("a", "02", "two"), 1),
            (event("b", "01", "b"), 2),
            (event("a", "01FF", "one"), 3),
        ];
        let changes = coalesce(batch);
        assert_eq!(changes.len(), 2);
        assert_eq!(changes[0].newest, event("a", "02", "two"));
        assert_eq!(changes[0].received_with, [1, 3]);
        assert_eq!(changes[1].received_with, [2]);
    }

    // Promise: A change of tags and a put of one key in one batch do not replace each other.
    #[test]
    fn a_change_of_tags_and_a_put_do_not_replace_each_other() {
        let retagged = |at| ObjectEvent {
            change: Change::Attributes,
            sequencer: None,
            event_time: at,
            ..event("a", "", "")
        };
        let late = Timestamp::UNIX_EPOCH + chrono::TimeDelta::seconds(1);
        let batch = [
            (event("a", "01", "one"), 1),
            (retagged(late), 2),
            (event("a", "02", "two"), 3),
            (retagged(Timestamp::UNIX_EPOCH), 4),
        ];
        let changes = coalesce(batch);
        assert_eq!(changes.len(), 2);
        assert_eq!(changes[0].newest, event("a", "02", "two"));
        assert_eq!(changes[0].received_with, [1, 3]);
        assert_eq!(changes[1].newest, retagged(late));
        assert_eq!(changes[1].received_with, [2, 4]);
    }

    /// A rule skips expirations unless it asks for them.
    #[test]
    fn an_expiration_replaces_no_other_change_of_its_key() {
        let with = |change, sequencer| ObjectEvent {
            change,
            ..event("k", sequencer, "a")
        };
        for other in [event("k", "01", "a"), with(Change::Removed, "01")] {
            let expired = with(Change::Expired, "02");
            let changes = coalesce([(other.clone(), 0), (expired.clone(), 1)]);
            let newest: Vec<&ObjectEvent> = changes.iter().map(|change| &change.newest).collect();
            assert_eq!(newest, [&other, &expired]);
        }
    }

    #[test]
    fn of_equal_sequencers_the_event_received_later_is_kept() {
        let changes = coalesce([(event("a", "01", "one"), 1), (event("a", "0100", "two"), 2)]);
        assert_eq!(changes[0].newest, event("a", "0100", "two"));
    }
}
