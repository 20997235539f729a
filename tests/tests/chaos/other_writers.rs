//! Other writers of the destination. Where only jobs write the replicas, in the modes `never` and `if-older`, other
//! writers put their own objects at the destination, preferably right after a job's copy has landed there. The
//! users of the source delete and rewrite what was just copied.
//!
//! The S3 in memory publishes every change in order, so the promise can be checked step by step afterwards. Tandem
//! only copies; only other writers put objects at a destination.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use fastrand::Rng;
use tandem_memory_s3::{Change, ChangeKind, Object};
use tandem_tests::bucket;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use crate::deployment::TRANSFER_BYTES_MIN;
use crate::ledger::Ledger;
use crate::stage::{Pair, Promise, Stage};

/// The ledger's heading for these writers.
pub const OTHER_WRITERS: &str = "other writers";

/// The number of keys of a pair. Writers go through them in order, so that some are always new to the destination.
const KEYS: usize = 600;
/// The distance in keys between the newest key and the oldest one that is still changed.
const RECENT: usize = 60;
/// The longest pause between two changes of a source.
const REST_MAX: Duration = Duration::from_millis(250);
/// The maximum difference of the clocks of a source and a destination, plus a second because times are in whole
/// seconds.
const CLOCKS: TimeDelta = TimeDelta::seconds(5);

/// Writes to both sides of a pair until it is `over`.
pub async fn write(
    place: usize,
    stage: &Stage,
    mut dice: Rng,
    mut changes: UnboundedReceiver<Change>,
    ledger: &Ledger,
    over: impl Fn() -> bool,
) {
    let pair = &stage.pairs[place];
    let mut writers = Writers {
        pair,
        ledger,
        number: 0,
        newest: 0,
    };
    let mut next = Instant::now();
    while !over() {
        match tokio::time::timeout_at(next, changes.recv()).await {
            Ok(Some(change)) if change.bucket == pair.buckets.destination.name => {
                if is_ours(&change) {
                    writers.react(&change.key, &mut dice).await;
                }
            }
            Ok(_) => {}
            Err(_) => {
                writers.change_source(&mut dice).await;
                next = Instant::now() + REST_MAX.mul_f64(dice.f64());
            }
        }
    }
}

struct Writers<'a> {
    pair: &'a Pair,
    ledger: &'a Ledger,
    number: u64,
    newest: usize,
}

impl Writers<'_> {
    /// Changes a key whose copy has just landed.
    async fn react(&mut self, key: &str, dice: &mut Rng) {
        match dice.u8(0..12) {
            0..=3 => self.put_at_destination(key).await,
            4 | 5 => self.delete_at_source(key).await,
            6 | 7 => self.put_at_source(key, dice).await,
            _ => {}
        }
    }

    async fn change_source(&mut self, dice: &mut Rng) {
        if dice.u8(0..3) > 0 {
            self.newest += 1;
            let key = key(self.newest);
            self.put_at_source(&key, dice).await;
            return;
        }
        let oldest = self.newest.saturating_sub(RECENT);
        let key = key(dice.usize(oldest..=self.newest));
        match dice.u8(0..4) {
            0 => self.put_at_destination(&key).await,
            1 => self.delete_at_source(&key).await,
            _ => self.put_at_source(&key, dice).await,
        }
    }

    async fn put_at_source(&mut self, key: &str, dice: &mut Rng) {
        let bytes = self.bytes("of the source");
        let source = &self.pair.buckets.source;
        if dice.u8(0..16) == 0 {
            self.count("large objects put at the source");
            let object = bucket::Object::of(bytes.repeat(TRANSFER_BYTES_MIN / 16));
            source.put_in_parts(key, &object, usize::MAX).await;
        } else {
            self.count("objects put at the source");
            source.put(key, bytes).await;
        }
    }

    async fn delete_at_source(&mut self, key: &str) {
        self.count("objects deleted at the source");
        self.pair.buckets.source.delete(key).await;
    }

    async fn put_at_destination(&mut self, key: &str) {
        self.count("objects put at the destination");
        let bytes = self.bytes("of another writer");
        self.pair.buckets.destination.put(key, bytes).await;
    }

    /// Returns bytes that were never written before.
    fn bytes(&mut self, whose: &str) -> Vec<u8> {
        self.number += 1;
        format!("{whose}, {}, {}", self.pair.name, self.number).into_bytes()
    }

    fn count(&self, what: &str) {
        let kind = format!("{}: {what}", self.pair.name);
        self.ledger.count(OTHER_WRITERS, &kind);
    }
}

fn key(number: usize) -> String {
    format!("{:04}", number % KEYS)
}

/// Whether Tandem has written the present object.
fn is_ours(change: &Change) -> bool {
    matches!(change.kind, ChangeKind::Copy | ChangeKind::Complete)
}

/// The state of a key while the changes are replayed.
#[derive(Debug, Default)]
struct Key {
    source: Option<Arc<Object>>,
    source_removed: u64,
    replica: Option<Replica>,
}

#[derive(Debug)]
struct Replica {
    object: Arc<Object>,
    is_ours: bool,
    written: u64,
}

/// Returns the violations of a pair's promise, given all changes in order.
pub fn violations(pair: &Pair, changes: &[Change]) -> Vec<String> {
    let names = &pair.buckets;
    let sides = (&*names.source.name, &*names.destination.name);
    violations_between(pair.promise, sides, changes)
}

fn violations_between(
    promise: Promise,
    (source, destination): (&str, &str),
    changes: &[Change],
) -> Vec<String> {
    let mut keys: BTreeMap<&str, Key> = BTreeMap::new();
    let mut found = Vec::new();
    for change in changes {
        let key = keys.entry(&change.key).or_default();
        if change.bucket == source {
            key.follow_source(change);
        } else if change.bucket == destination {
            found.extend(key.replaced(promise, change));
            key.follow_replica(change);
        }
    }
    for (name, key) in &keys {
        found.extend(
            key.unsettled(promise)
                .map(|what| format!("{name:?} {what}")),
        );
    }
    found
}

impl Key {
    fn follow_source(&mut self, change: &Change) {
        if change.kind == ChangeKind::Removed {
            self.source = None;
            self.source_removed = change.number;
        } else {
            self.source = Some(change.object.clone());
        }
    }

    fn follow_replica(&mut self, change: &Change) {
        match change.kind {
            ChangeKind::Removed => self.replica = None,
            ChangeKind::Tagged | ChangeKind::Untagged => {}
            ChangeKind::Put | ChangeKind::Copy | ChangeKind::Complete => {
                self.replica = Some(Replica {
                    object: change.object.clone(),
                    is_ours: is_ours(change),
                    written: change.number,
                });
            }
        }
    }

    /// Returns how a change replaced another writer's object against the promise, if it did.
    fn replaced(&self, promise: Promise, change: &Change) -> Option<String> {
        let theirs = self.replica.as_ref().filter(|replica| !replica.is_ours)?;
        if change.kind == ChangeKind::Put {
            return None;
        }
        let read = change.copied_from.as_ref().or(self.source.as_ref());
        let written = theirs.object.last_modified();
        let is_older = read.is_some_and(|read| written <= read.last_modified() + CLOCKS);
        let may_replace = promise == Promise::IfOlder && is_older;
        (!may_replace || change.kind == ChangeKind::Removed).then(|| {
            format!(
                "{:?}: {:?} replaced another writer's object of {written} (change {} after {})",
                change.key, change.kind, change.number, theirs.written
            )
        })
    }

    /// Returns what is wrong with a key after the last job of its pair, if anything.
    fn unsettled(&self, promise: Promise) -> Option<String> {
        match (&self.source, &self.replica) {
            (None, None) => None,
            (Some(_), None) => Some("is missing at the destination".to_owned()),
            (None, Some(replica)) => (replica.is_ours && replica.written > self.source_removed)
                .then(|| {
                    format!(
                        "was deleted at the source (change {}) before its copy landed (change {}), which is still there",
                        self.source_removed, replica.written
                    )
                }),
            (Some(source), Some(replica)) => {
                let is_older = replica.object.last_modified() + CLOCKS < source.last_modified();
                let is_current = source.bytes() == replica.object.bytes();
                (promise == Promise::IfOlder && is_older && !is_current)
                    .then(|| "is older than its source".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use tandem_memory_s3::Attributes;

    use super::*;

    /// A change of a key this many seconds after the start. A copy reads `text`, written at `read_secs`.
    fn change(number: u64, bucket: &str, kind: ChangeKind, text: &str, read_secs: i64) -> Change {
        let at = |secs| DateTime::UNIX_EPOCH + TimeDelta::seconds(secs);
        let object = |at: DateTime<Utc>| {
            Arc::new(Object::new(
                text.to_owned().into(),
                Attributes::default(),
                at,
            ))
        };
        let now = i64::try_from(number).expect("a time") * 10;
        Change {
            number,
            bucket: bucket.to_owned(),
            key: "key".to_owned(),
            kind,
            object: object(at(now)),
            before: None,
            copied_from: (kind == ChangeKind::Copy).then(|| object(at(read_secs))),
            at: at(now),
        }
    }

    fn check(promise: Promise, changes: &[Change]) -> usize {
        violations_between(promise, ("source", "replica"), changes).len()
    }

    #[test]
    fn a_copy_onto_another_writers_object_is_found() {
        let changes = [
            change(1, "source", ChangeKind::Put, "ours", 0),
            change(2, "replica", ChangeKind::Copy, "ours", 10),
            change(3, "replica", ChangeKind::Put, "theirs", 0),
            change(4, "replica", ChangeKind::Copy, "ours", 10),
        ];
        for promise in [Promise::Never, Promise::IfOlder] {
            assert_eq!(check(promise, &changes), 1, "{promise:?}");
            assert_eq!(check(promise, &changes[..3]), 0, "{promise:?}");
        }
    }

    #[test]
    fn an_older_object_of_another_writer_may_be_replaced_if_the_mode_says_so() {
        let changes = [
            change(1, "replica", ChangeKind::Put, "theirs", 0),
            change(2, "source", ChangeKind::Put, "ours", 0),
            change(3, "replica", ChangeKind::Copy, "ours", 20),
        ];
        assert_eq!(check(Promise::IfOlder, &changes), 0);
        assert_eq!(check(Promise::Never, &changes), 1);
        // It even has to be replaced.
        assert_eq!(check(Promise::IfOlder, &changes[..2]), 1);
    }

    #[test]
    fn a_deleted_key_that_reappears_is_found() {
        let changes = [
            change(1, "source", ChangeKind::Put, "ours", 0),
            change(2, "source", ChangeKind::Removed, "ours", 0),
            change(3, "replica", ChangeKind::Copy, "ours", 10),
            change(4, "replica", ChangeKind::Removed, "ours", 10),
        ];
        assert_eq!(check(Promise::Never, &changes[..3]), 1);
        assert_eq!(check(Promise::Never, &changes), 0);
        // A copy that landed before the delete stays.
        let before = [
            changes[0].clone(),
            change(2, "replica", ChangeKind::Copy, "ours", 10),
            change(3, "source", ChangeKind::Removed, "ours", 0),
        ];
        assert_eq!(check(Promise::Never, &before), 0);
    }

    #[test]
    fn a_key_without_a_replica_and_a_deleted_object_of_another_writer_are_found() {
        let changes = [
            change(1, "source", ChangeKind::Put, "ours", 0),
            change(2, "replica", ChangeKind::Put, "theirs", 0),
            change(3, "replica", ChangeKind::Removed, "theirs", 0),
        ];
        assert_eq!(check(Promise::Never, &changes[..1]), 1);
        assert_eq!(check(Promise::Never, &changes), 2);
    }
}
