//! What one attempt requests, writes and relies on, while a script plays the other writers.

#![allow(clippy::unwrap_used, reason = "a test")]

mod scripted;

use chrono::TimeDelta;
use scripted::{Request, Scripted, Stored, key, listed, run, seconds, stored};
use tandem_replication::decide::KeepReason;
use tandem_replication::fault::Reason;
use tandem_replication::names::{Etag, VersionId};
use tandem_replication::object::{Grant, Grantee, PROVENANCE_KEY};
use tandem_replication::options::{AclChoice, Options};
use tandem_replication::overwrite::Overwrite;
use tandem_replication::part_layout::{PART_BYTES_MIN, PartLayout};
use tandem_replication::part_plan::CopyLimits;
use tandem_replication::put_hint::PutHint;
use tandem_replication::replicator::{Begun, Depth, Outcome, Replicator};
use tandem_replication::rule::Policy;

const COPIED: Outcome = Outcome::Replicated { bytes: 3 };

fn replicator<'a>(pair: &'a Scripted, options: &'a Options) -> Replicator<'a, Scripted> {
    Replicator::new(pair, Policy::Full, options, CopyLimits::default())
}

fn put(pair: &Scripted, options: &Options, etag: &str) -> Outcome {
    run(replicator(pair, options).put(&key(), &Etag::new(etag), 3)).unwrap()
}

fn tagged(etag: &str, value: &str) -> Stored {
    let mut object = stored(etag, 1);
    object.attributes.tags = Some([("t".to_owned(), value.to_owned())].into());
    object
}

fn untagged(etag: &str) -> Stored {
    let mut object = stored(etag, 1);
    object.attributes.tags = Some([].into());
    object
}

/// Copies an object as a listing shows it, and settles it with the source's state after the copy.
fn copy_listed(pair: &Scripted, options: &Options, source: &Stored) -> Outcome {
    let begun = run(replicator(pair, options).copy_listed(&key(), &listed(source), None));
    match begun.unwrap() {
        Begun::Ended(outcome) => outcome,
        Begun::Landed(landing) => {
            let again = pair.state.lock().unwrap().source.as_ref().map(listed);
            run(replicator(pair, options).settle(&key(), &landing, again.as_ref())).unwrap()
        }
    }
}

#[test]
fn an_undisturbed_put_costs_one_copy_and_one_head() {
    let pair = Scripted::new(Some(stored("v1", 1)), None);
    assert_eq!(put(&pair, &Options::default(), "v1"), COPIED);
    assert_eq!(pair.sent(), ["copy onto anything", "head source"]);
}

#[test]
fn an_undisturbed_listed_object_costs_one_copy() {
    let source = stored("v1", 1);
    let pair = Scripted::new(Some(source.clone()), None);
    assert_eq!(copy_listed(&pair, &Options::default(), &source), COPIED);
    assert_eq!(pair.sent(), ["copy onto anything"]);
}

#[test]
fn a_protecting_mode_applies_to_a_put_too() {
    let options = Options::default();
    let pair = Scripted::new(Some(stored("v1", 1)), Some(stored("theirs", 1)));
    let put = replicator(&pair, &options).overwriting(Overwrite::Never);
    let outcome = run(put.put(&key(), &Etag::new("v1"), 3)).unwrap();
    assert_eq!(outcome, Outcome::Kept(KeepReason::DestinationExists));
    assert_eq!(pair.count("copy"), 0);
}

// Promise: A change of tags is processed when no earlier quick copy can land any more, and a slow copy reads
// the tags again.
#[test]
fn a_slow_listed_copy_leaves_no_old_tags() {
    for read in ["2", "1"] {
        let source = tagged("v1", read);
        let pair = Scripted::new(Some(source.clone()), None)
            .behaving(|state| state.took = TimeDelta::seconds(6))
            .after(Request::Copy, 0, |state| {
                state.source = Some(tagged("v1", "2"));
            });
        let options = Options::default();
        assert_eq!(copy_listed(&pair, &options, &source), COPIED, "{read}");
        assert_eq!(
            pair.replica().unwrap().attributes,
            tagged("v1", "2").attributes
        );
    }
}

// Promise: A change of tags is processed when no earlier quick copy can land any more, and a slow copy reads
// the tags again.
#[test]
fn a_slow_put_leaves_no_old_tags() {
    let pair = Scripted::new(Some(untagged("v1")), None)
        .behaving(|state| {
            state.took = TimeDelta::seconds(6);
            state.counts_tags = false;
        })
        .after(Request::Copy, 0, |state| {
            let source = state.source.as_mut().unwrap();
            source.attributes = tagged("v1", "2").attributes;
        });
    assert_eq!(put(&pair, &Options::default(), "v1"), COPIED);
    assert_eq!(
        pair.replica().unwrap().attributes,
        tagged("v1", "2").attributes
    );
}

/// The version that the copy read is deleted by its id. The version before it has the same bytes.
#[test]
fn a_listed_copy_of_a_version_that_is_no_longer_current_is_checked_again() {
    let version = |at, id: &str, cache: &str| {
        let mut object = stored("v1", at);
        object.state.version_id = Some(VersionId::new(id));
        object.state.metadata.cache_control = Some(cache.into());
        object
    };
    let newer = version(2, "newer", "no-store");
    let pair = Scripted::new(Some(newer.clone()), None).after(Request::Copy, 0, move |state| {
        state.source = Some(version(1, "older", "public"));
    });
    assert_eq!(copy_listed(&pair, &Options::default(), &newer), COPIED);
    let replica = pair.replica().unwrap();
    let cache_control = replica.state.metadata.cache_control;
    assert_eq!(cache_control, Some("public".into()));
}

// Promise: A backfill, a repair or a job of named keys may copy the key meanwhile, and its worker may die: the
// replica becomes equal all the same.
#[test]
fn an_uncertain_listing_is_followed_by_reading_both_sides() {
    let source = stored("v1", 1);
    let later = stored("v1", 2);
    let mut longer = stored("v1", 1);
    longer.state.bytes = 4;
    let mut cheaper = stored("v1", 1);
    cheaper.state.storage_class = tandem_replication::names::StorageClass::new("STANDARD_IA");
    for again in [later, longer, cheaper, stored("v2", 1)] {
        let pair = Scripted::new(Some(source.clone()), None).after(Request::Copy, 0, {
            let again = again.clone();
            move |state| state.source = Some(again)
        });
        copy_listed(&pair, &Options::default(), &source);
        assert!(pair.count("head replica") > 0, "{again:?}");
        let replica = pair.replica().unwrap().state;
        assert_eq!(replica.etag, again.state.etag);
        assert_eq!(replica.storage_class, again.state.storage_class);
    }
}

// Promise: Where the destination's default encryption or the rule's key changes `ETag`s, the replica names its
// source's `ETag` and becomes equal too.
#[test]
fn a_replica_with_its_own_etag_names_the_sources_etag() {
    let options = Options::default();
    let encrypting = || {
        let pair = Scripted::new(Some(stored("v1", 1)), None);
        pair.behaving(|state| state.encrypts = true)
    };
    let marks = |pair: &Scripted| {
        let user = pair.replica().unwrap().state.metadata.user;
        user.get(PROVENANCE_KEY) == Some(&"v1".into())
    };

    let pair = encrypting();
    assert_eq!(put(&pair, &options, "v1"), COPIED);
    assert!(marks(&pair), "{:?}", pair.sent());

    let pair = encrypting();
    assert_eq!(copy_listed(&pair, &options, &stored("v1", 1)), COPIED);
    assert!(marks(&pair), "{:?}", pair.sent());

    let pair = encrypting();
    let reconciled = run(replicator(&pair, &options).reconcile(&key())).unwrap();
    assert_eq!(reconciled, COPIED);
    assert!(marks(&pair), "{:?}", pair.sent());

    // A put hint of the destination avoids the first copy, which would not be recognised as a replica.
    let hint = PutHint::default();
    hint.saw_etag(false);
    for is_listed in [false, true] {
        let pair = encrypting();
        let expecting = replicator(&pair, &options).with_hint(&hint);
        if is_listed {
            let source = listed(&stored("v1", 1));
            run(expecting.copy_listed(&key(), &source, None)).unwrap();
        } else {
            run(expecting.put(&key(), &Etag::new("v1"), 3)).unwrap();
        }
        assert!(marks(&pair), "{:?}", pair.sent());
        assert_eq!(pair.count("copy"), 1);
    }
    let pair = encrypting();
    let expecting = replicator(&pair, &options).with_hint(&hint);
    assert_eq!(run(expecting.reconcile(&key())).unwrap(), COPIED);
    assert!(marks(&pair), "{:?}", pair.sent());
    assert_eq!(pair.count("copy"), 1);
}

/// An object in parts whose metadata has no space for its `ETag` is copied if the replica keeps its `ETag`.
#[test]
fn a_wrong_put_hint_refuses_no_object() {
    let options = Options::default();
    let mut source = stored("v1-1", 1);
    let filling = "x".repeat(2_000);
    source.state.metadata.user = [("kept".to_owned(), filling.as_str().into())].into();
    let layout = PartLayout::of_sizes([3]);
    let hint = PutHint::default();
    hint.saw_etag(false);
    let pair = Scripted::new(Some(source), None);
    let pair = pair.behaving(|state| state.layout = Some(layout));
    let expecting = replicator(&pair, &options).with_hint(&hint);
    assert_eq!(run(expecting.reconcile(&key())).unwrap(), COPIED);
}

#[test]
fn a_rule_that_keeps_acls_copies_the_acls_of_listed_objects() {
    let options = Options {
        acl: AclChoice::Keep,
        ..Options::default()
    };
    let mut source = untagged("v1");
    source.attributes.grants = Some(
        [Grant {
            grantee: Grantee::Account("somebody".to_owned()),
            permission: "READ".to_owned(),
        }]
        .into(),
    );
    let pair = Scripted::new(Some(source.clone()), None);
    assert_eq!(copy_listed(&pair, &options, &source), COPIED);
    assert_eq!(pair.replica().unwrap().attributes, source.attributes);

    let pair = Scripted::new(Some(source.clone()), None);
    assert_eq!(put(&pair, &options, "v1"), COPIED);
    assert_eq!(pair.replica().unwrap().attributes, source.attributes);
}

/// Both sides have the same number of tags.
#[test]
fn changed_values_of_the_same_number_of_tags_are_copied() {
    let options = Options::default();
    let pair = Scripted::new(Some(tagged("v1", "2")), Some(tagged("v1", "1")));
    let reconciled = run(replicator(&pair, &options).reconcile(&key())).unwrap();
    assert_eq!(reconciled, Outcome::Adjusted);
    assert_eq!(
        pair.replica().unwrap().attributes,
        tagged("v1", "2").attributes
    );

    // The same bytes are put with another tag in the second in which the copy begins.
    let in_that_second = |value: &str| {
        let mut object = tagged("v1", value);
        object.state.last_modified = seconds(100);
        object
    };
    let pair =
        Scripted::new(Some(in_that_second("1")), None).after(Request::Copy, 0, move |state| {
            state.source = Some(in_that_second("2"));
        });
    assert_eq!(put(&pair, &options, "v1"), COPIED);
    assert_eq!(
        pair.replica().unwrap().attributes,
        tagged("v1", "2").attributes
    );
}

#[test]
fn tags_that_the_source_lost_are_removed() {
    let options = Options::default();
    let pair = Scripted::new(Some(untagged("v1")), Some(tagged("v1", "1")));
    let reconciled = run(replicator(&pair, &options).reconcile(&key())).unwrap();
    assert_eq!(reconciled, Outcome::Adjusted);
    assert_eq!(
        pair.replica().unwrap().attributes,
        untagged("v1").attributes
    );
    // The first round sets the tags; the second finds that both sides agree.
    assert_eq!(pair.count("head source"), 2);
}

/// The replica's attributes have to be compared in the round after the one that set its tags.
#[test]
fn tags_that_change_while_they_are_set_are_set_again() {
    let options = Options::default();
    let pair = Scripted::new(Some(tagged("v1", "2")), Some(tagged("v1", "1")))
        .behaving(|state| state.counts_tags = false)
        .after(Request::Adjust, 0, |state| {
            state.source = Some(tagged("v1", "3"));
        });
    let in_depth = replicator(&pair, &options).comparing(Depth::Attributes);
    let reconciled = run(in_depth.reconcile(&key())).unwrap();
    assert_eq!(reconciled, Outcome::Adjusted);
    assert_eq!(
        pair.replica().unwrap().attributes,
        tagged("v1", "3").attributes
    );
}

fn in_parts() -> Stored {
    let mut source = untagged("v1-2");
    source.state.bytes = 6 << 20;
    source
}

/// The time of an object in parts is the start of its upload. It does not show whether the object was written before
/// the copy.
#[test]
fn the_time_of_an_object_in_parts_never_proves_its_copy_current() {
    let options = Options::default();
    let pair = Scripted::new(Some(in_parts()), None).behaving(|state| {
        state.layout = Some(PartLayout::even(6 << 20, PART_BYTES_MIN));
    });
    let reconciled = run(replicator(&pair, &options).reconcile(&key())).unwrap();
    assert_eq!(reconciled, Outcome::Replicated { bytes: 6 << 20 });
    assert_eq!(pair.count("head replica"), 2, "{:?}", pair.sent());
}

/// The tags of an upload are read before its parts.
#[test]
fn the_tags_of_a_copy_in_parts_are_read_again() {
    let options = Options::default();
    let pair = Scripted::new(Some(in_parts()), None)
        .behaving(|state| {
            state.layout = Some(PartLayout::even(6 << 20, PART_BYTES_MIN));
            state.counts_tags = false;
        })
        .after(Request::Copy, 0, |state| {
            state.source.as_mut().unwrap().attributes = tagged("v1-2", "2").attributes;
        });
    let reconciled = run(replicator(&pair, &options).reconcile(&key())).unwrap();
    assert_eq!(reconciled, Outcome::Replicated { bytes: 6 << 20 });
    let replica = pair.replica().unwrap();
    assert_eq!(replica.attributes, tagged("v1-2", "2").attributes);
}

// Promise: A replica is deleted on the condition that it is the one that was seen.
#[test]
fn a_delete_is_over_only_when_the_replica_that_was_seen_is_gone() {
    let options = Options::default();
    let pair = Scripted::new(None, Some(stored("v1", 1))).before(Request::Delete, 0, |state| {
        state.replica = Some(stored("v2", 2));
    });
    let reconciled = run(replicator(&pair, &options).reconcile(&key())).unwrap();
    assert_eq!(reconciled, Outcome::Deleted);
    assert_eq!(pair.replica(), None);
    assert_eq!(pair.count("delete v2"), 1);
}

// Promise: Once a key stops changing at the source, and each of its notifications has been delivered at least
// once, its replica equals the source as the rule's options say; under policy `full` there is no replica where
// the source has no object.
#[test]
fn an_object_put_again_while_its_replica_is_deleted_is_copied() {
    let options = Options::default();
    let pair = Scripted::new(None, Some(stored("v1", 1))).after(Request::Delete, 0, |state| {
        state.source = Some(stored("v1", 2));
    });
    let reconciled = run(replicator(&pair, &options).reconcile(&key())).unwrap();
    assert_eq!(reconciled, COPIED);
    assert_eq!(pair.replica_etag().as_deref(), Some("v1"));
}

#[test]
fn an_attempt_gives_up_on_a_key_that_keeps_changing() {
    let options = Options::default();
    let mut pair = Scripted::new(Some(stored("v0", 1)), None);
    for round in 0..8 {
        pair = pair.after(Request::Copy, round, move |state| {
            state.source = Some(stored(&format!("v{}", round + 1), 1));
        });
    }
    let fault = run(replicator(&pair, &options).reconcile(&key())).unwrap_err();
    assert_eq!(fault.reason, Reason::KeptChanging);
    assert_eq!(pair.count("copy"), 4);
}

/// An object whose metadata has no space for the mark.
fn crowded(etag: &str, written: i64) -> Stored {
    let mut object = stored(etag, written);
    let user = ("m".to_owned(), "x".repeat(2_042).as_str().into());
    object.state.metadata.user = [user].into();
    object
}

#[test]
fn an_attempts_copy_of_an_earlier_object_is_not_mistaken_for_a_copy_of_the_present_one() {
    let pair = Scripted::new(Some(crowded("v1", 1)), None)
        .behaving(|state| state.encrypts = true)
        .after(Request::Copy, 0, |state| {
            // The copy of the first object lands after the second was put; nothing else distinguishes them.
            state.source = Some(crowded("v2", 50));
            if let Some(replica) = &mut state.replica {
                replica.state.last_modified = seconds(60);
                replica.state.etag_is_digest = false;
            }
        })
        .after(Request::Copy, 1, |state| {
            if let Some(replica) = &mut state.replica {
                replica.state.last_modified = seconds(70);
                replica.state.etag_is_digest = false;
            }
        });
    assert_eq!(put(&pair, &Options::default(), "v1"), COPIED);
    assert_eq!(pair.count("copy"), 2);
}
