//! How a shard moves from one state to the next.

use super::*;
use crate::names::Etag;

pub(crate) fn whole() -> Shard {
    let range = ShardRange::of_prefix("k/");
    Shard::new(0, range, 1.0, Timestamp::UNIX_EPOCH, None)
}

pub(crate) fn step(checkpoint: &str) -> Step {
    Step {
        checkpoint: Some(checkpoint.to_owned()),
        counts: Counts {
            listed: 1,
            equal: 1,
            ..Counts::default()
        },
        s3_requests: 2,
        ..Step::default()
    }
}

#[test]
fn a_shard_that_is_split_keeps_its_counts_and_its_place() {
    let at = Timestamp::UNIX_EPOCH;
    let etag = Etag::new("e");
    let dead = InFlight::new("k/7", [("k/3", &etag), ("k/7", &etag)]);
    let before = whole()
        .after(&step("k/1"), None, at)
        .with_in_flight(dead.clone());
    let (kept, child) = before.cut("k/5", Hint::default(), 1, "message", at);
    assert_eq!(kept.counts, before.counts);
    assert_eq!((kept.pages, kept.splits), (1, 1));
    assert_eq!(kept.rest().after.as_deref(), Some("k/1"));
    assert_eq!(kept.rest().until.as_deref(), Some("k/5"));
    assert_eq!(child.rest().after.as_deref(), Some("k/5"));
    assert_eq!(child.rest().until, None);
    assert_eq!(child.counts, Counts::default());
    assert!(child.is_under_way());
    assert_eq!(
        (child.epoch, child.sent_by.as_deref()),
        (1, Some("message"))
    );
    assert_eq!(kept.in_flight, Some(dead.clone()));
    assert_eq!(child.in_flight, Some(dead));
    let (_, far) = before.cut("k/8", Hint::default(), 1, "message", at);
    assert_eq!(far.in_flight, None, "nothing in flight lies behind the cut");
}

// Promise: What is in flight stays recorded until the checkpoint has passed it, across hand-ons, splits and
// further deaths.
#[test]
fn what_is_in_flight_stays_until_the_checkpoint_has_passed_it() {
    let at = Timestamp::UNIX_EPOCH;
    let etag = Etag::new("e");
    let dead = InFlight::new("k/5", [("k/5", &etag)]);
    let page = whole().with_in_flight(dead.clone());
    let begun = page.with_in_flight(InFlight::new("k/3", [("k/3", &etag)]));
    let both = begun.in_flight.clone().unwrap();
    assert!(both.suspects("k/3") && both.suspects("k/5"));
    assert_eq!(both.last, "k/5");
    let stepped = begun.after(&step("k/3"), page.in_flight.clone(), at);
    assert_eq!(stepped.in_flight, Some(dead));
    let passed = stepped.after(&step("k/5"), stepped.in_flight.clone(), at);
    assert_eq!(passed.in_flight, None);
}

#[test]
fn places_of_a_manifest_are_numbers() {
    let part = ManifestPart {
        bucket: "lists".to_owned(),
        region: "us-east-1".to_owned(),
        key: "keys.csv".to_owned(),
        etag: "e".to_owned(),
        gzip: false,
        layout: Layout::default(),
        from: 0,
        until: None,
    };
    let shard = Shard {
        manifest: Some(part),
        checkpoint: Some("1000".to_owned()),
        ..whole()
    };
    let page = |last: &str| Some(InFlight::new(last, []));
    assert_eq!(shard.ahead(page("900")), None);
    assert_eq!(shard.ahead(page("1001")), page("1001"));
}

#[test]
fn a_guard_allows_only_writes_that_meet_its_condition() {
    let at = Timestamp::UNIX_EPOCH;
    let later = at + chrono::TimeDelta::seconds(1);
    let lease = |until| Lease {
        holder: "me".to_owned(),
        message: None,
        until,
    };
    let free = whole();
    let held = free.leased(lease(later));
    let raised = held.raised("message", at);
    let wants = |holder| Guard::Free {
        holder,
        epoch: 0,
        at,
    };
    for (guard, shard, allowed) in [
        (wants("other"), &free, true),
        (wants("other"), &held, false),
        (wants("me"), &held, true),
        (wants("me"), &raised, false),
        (wants("other"), &free.leased(lease(at)), true),
        (Guard::HeldBy("me"), &held, true),
        (Guard::HeldBy("me"), &raised, true),
        (Guard::HeldBy("other"), &held, false),
        (Guard::HeldBy("me"), &free, false),
        (Guard::HeldAt("me", 0), &held, true),
        (Guard::HeldAt("me", 0), &raised, false),
        (Guard::Epoch(0), &held, true),
        (Guard::Epoch(0), &raised, false),
        (Guard::Unsent(0), &free, true),
        (Guard::Unsent(1), &raised, false),
        (Guard::Failed, &free, false),
        (Guard::Failed, &free.given_up("denied".into(), at), true),
    ] {
        assert_eq!(guard.allows(shard), allowed, "{guard:?} {shard:?}");
    }
}

#[test]
fn a_shard_without_worker_or_progress_for_an_hour_has_stalled() {
    let at = Timestamp::UNIX_EPOCH;
    let later = at + STALLED_AFTER + chrono::TimeDelta::seconds(1);
    let waiting = Shard::new(0, ShardRange::of_prefix(""), 1.0, at, None);
    let sent = waiting.raised("sender", at);
    let leased = sent.leased(Lease {
        holder: "me".to_owned(),
        message: None,
        until: later + chrono::TimeDelta::seconds(1),
    });
    for (shard, now, since) in [
        (&waiting, later, None),
        (&sent, at + STALLED_AFTER, None),
        (&sent, later, Some(at)),
        (&leased, later, None),
        (&sent.given_up("denied".to_owned(), at), later, None),
    ] {
        assert_eq!(shard.stalled_since(now), since, "{shard:?}");
    }
}
