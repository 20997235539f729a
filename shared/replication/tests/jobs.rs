//! What an attempt of a job may delete and replace: rules 11 and 13 of the protocol.

#![allow(clippy::unwrap_used, reason = "a test")]

mod scripted;

use chrono::TimeDelta;
use scripted::{Request, Scripted, key, listed, run, seconds, stored};
use tandem_replication::decide::KeepReason;
use tandem_replication::in_flight::OwnWrites;
use tandem_replication::names::Etag;
use tandem_replication::object::PROVENANCE_KEY;
use tandem_replication::options::Options;
use tandem_replication::overwrite::Overwrite;
use tandem_replication::part_plan::CopyLimits;
use tandem_replication::replicator::{Begun, Depth, Outcome, Replicator};
use tandem_replication::rule::Policy;

fn replicator<'a>(
    pair: &'a Scripted,
    policy: Policy,
    options: &'a Options,
) -> Replicator<'a, Scripted> {
    Replicator::new(pair, policy, options, CopyLimits::default())
}

const OTHER_WRITER: Outcome = Outcome::Kept(KeepReason::OtherWriter);

// Promise: Under policy `full` what a job copies is deleted again if its key is deleted meanwhile, also if the
// worker dies or its page fails with the copy in flight: the successor knows what the worker may have written.
#[test]
fn a_job_deletes_its_own_copy_of_a_key_that_was_deleted_meanwhile() {
    let options = Options::default();
    let pair = Scripted::new(Some(stored("v1", 1)), None).after(Request::Copy, 0, |state| {
        // The live delete found nothing on either side, and was acknowledged.
        state.source = None;
    });
    let job = replicator(&pair, Policy::Full, &options).in_job(OwnWrites::default());
    assert_eq!(run(job.reconcile(&key())).unwrap(), Outcome::Deleted);
    assert_eq!(pair.replica(), None);
    assert_eq!(pair.count("delete v1"), 1);
}

#[test]
fn a_listed_copy_of_a_key_that_was_deleted_meanwhile_is_deleted_when_it_is_settled() {
    let options = Options::default();
    let source = stored("v1", 1);
    let pair = Scripted::new(Some(source.clone()), None).after(Request::Copy, 0, |state| {
        state.source = None;
    });
    let job = || replicator(&pair, Policy::Full, &options).in_job(OwnWrites::default());
    let begun = run(job().copy_listed(&key(), &listed(&source), None)).unwrap();
    let Begun::Landed(landing) = begun else {
        panic!("{begun:?}")
    };
    let settled = run(job().settle(&key(), &landing, None)).unwrap();
    assert_eq!(settled, Outcome::Deleted);
    assert_eq!(pair.replica(), None);
}

// Promise: A backfill, or the successor of its dead worker, deletes no object of another writer, whether or not
// the source has the key.
#[test]
fn a_job_leaves_another_writers_object_of_a_key_without_a_source() {
    let options = Options::default();
    let pair = Scripted::new(None, Some(stored("theirs", 1)));
    let job = replicator(&pair, Policy::Full, &options)
        .in_job(OwnWrites::default().with(&key(), &Etag::new("v1")));
    assert_eq!(run(job.reconcile(&key())).unwrap(), OTHER_WRITER);
    assert_eq!(pair.replica_etag().as_deref(), Some("theirs"));
}

#[test]
fn a_job_leaves_what_another_writer_put_over_its_copy() {
    let options = Options::default();
    let pair = Scripted::new(Some(stored("v1", 1)), None).after(Request::Copy, 0, |state| {
        state.source = None;
        state.replica = Some(stored("theirs", 9));
    });
    let job = replicator(&pair, Policy::Full, &options).in_job(OwnWrites::default());
    assert_eq!(run(job.reconcile(&key())).unwrap(), OTHER_WRITER);
    assert_eq!(pair.replica_etag().as_deref(), Some("theirs"));
}

#[test]
fn a_job_leaves_another_version_of_the_bytes_that_it_wrote() {
    let options = Options::default();
    let pair = Scripted::new(Some(stored("v1", 1)), None)
        .behaving(|state| state.versions = Some(0))
        .after(Request::Copy, 0, |state| {
            state.source = None;
            let replica = state.replica.as_mut().unwrap();
            replica.state.version_id = Some(tandem_replication::names::VersionId::new("theirs"));
        });
    let job = replicator(&pair, Policy::Full, &options).in_job(OwnWrites::default());
    assert_eq!(run(job.reconcile(&key())).unwrap(), OTHER_WRITER);
}

// Promise: Under policy `full` what a job copies is deleted again if its key is deleted meanwhile, also if the
// worker dies or its page fails with the copy in flight: the successor knows what the worker may have written.
#[test]
fn a_successor_deletes_what_its_predecessor_announced() {
    let options = Options::default();
    let mut marked = stored("encrypted", 1);
    let mark = (PROVENANCE_KEY.to_owned(), "v1".into());
    marked.state.metadata.user.extend([mark]);
    for replica in [stored("v1", 1), marked] {
        let pair = Scripted::new(None, Some(replica));
        let job = replicator(&pair, Policy::Full, &options)
            .in_job(OwnWrites::default().with(&key(), &Etag::new("v1")));
        assert_eq!(run(job.reconcile(&key())).unwrap(), Outcome::Deleted);
        assert_eq!(pair.replica(), None);
    }
}

// Promise: Under policy `write` nothing is deleted: a replica outlives its source.
#[test]
fn under_policy_write_a_job_deletes_nothing() {
    let options = Options::default();
    let pair = Scripted::new(Some(stored("v1", 1)), None)
        .after(Request::Copy, 0, |state| state.source = None);
    let job = replicator(&pair, Policy::Write, &options)
        .in_job(OwnWrites::default().with(&key(), &Etag::new("v1")));
    let kept = Outcome::Kept(KeepReason::PolicyKeepsDeletes);
    assert_eq!(run(job.reconcile(&key())).unwrap(), kept);
    assert_eq!(pair.count("delete"), 0);
}

// Promise: A replica is deleted only under policy `full`, and only when the source itself answers 404 for the
// key: a 403, an error, a missing answer or a listing is never taken for absence.
#[test]
fn a_live_attempt_deletes_any_replica_of_a_key_without_a_source() {
    let options = Options::default();
    let pair = Scripted::new(None, Some(stored("any", 1)));
    let live = replicator(&pair, Policy::Full, &options);
    assert_eq!(run(live.reconcile(&key())).unwrap(), Outcome::Deleted);
}

// Promise: Under policy `full` what a job copies is deleted again if its key is deleted meanwhile, also if the
// worker dies or its page fails with the copy in flight: the successor knows what the worker may have written.
#[test]
fn a_job_announces_every_copy_before_it_sends_it_and_a_live_attempt_none() {
    let options = Options::default();
    let changing = || {
        Scripted::new(Some(stored("v1", 1)), None).after(Request::Copy, 0, |state| {
            state.source = Some(stored("v2", 2));
        })
    };
    let writes = |pair: &Scripted| {
        let mut sent = pair.sent();
        sent.retain(|sent| sent.starts_with("copy") || sent.starts_with("announce"));
        sent
    };
    let announced = [
        "announce v1",
        "copy onto anything",
        "announce v2",
        "copy onto anything",
    ];
    let copied = Outcome::Replicated { bytes: 3 };

    let pair = changing();
    let job = replicator(&pair, Policy::Full, &options).in_job(OwnWrites::default());
    assert_eq!(run(job.reconcile(&key())).unwrap(), copied);
    assert_eq!(writes(&pair), announced);

    let pair = changing();
    let job = replicator(&pair, Policy::Full, &options).in_job(OwnWrites::default());
    assert_eq!(run(job.put(&key(), &Etag::new("v1"), 3)).unwrap(), copied);
    assert_eq!(writes(&pair), announced);

    let pair = changing();
    let job = || replicator(&pair, Policy::Full, &options).in_job(OwnWrites::default());
    let v1 = listed(&stored("v1", 1));
    let begun = run(job().copy_listed(&key(), &v1, None)).unwrap();
    let Begun::Landed(landing) = begun else {
        panic!("{begun:?}")
    };
    let v2 = listed(&stored("v2", 2));
    let settled = run(job().settle(&key(), &landing, Some(&v2)));
    assert_eq!(settled.unwrap(), copied);
    assert_eq!(writes(&pair), announced);

    let pair = changing();
    let live = replicator(&pair, Policy::Full, &options);
    assert_eq!(run(live.reconcile(&key())).unwrap(), copied);
    assert_eq!(writes(&pair), ["copy onto anything", "copy onto anything"]);
}

/// The source is written in the same second in which its copy begins, so that the settling listing proves nothing.
// Promise: In the modes `never` and `if-older` a later round of an attempt replaces only what the attempt
// itself, or a dead worker of its job, has written.
#[test]
fn a_protecting_mode_keeps_what_another_writer_puts_over_the_attempts_copy() {
    for mode in [Overwrite::Never, Overwrite::IfOlder] {
        let options = Options::default();
        let source = stored("v1", 100);
        let pair = Scripted::new(Some(source.clone()), None).after(Request::Copy, 0, |state| {
            state.replica = Some(stored("theirs", 999));
        });
        let job = || replicator(&pair, Policy::Full, &options).overwriting(mode);
        let begun = run(job().copy_listed(&key(), &listed(&source), None)).unwrap();
        let Begun::Landed(landing) = begun else {
            panic!("{begun:?}")
        };
        let settled = run(job().settle(&key(), &landing, Some(&listed(&source)))).unwrap();
        assert!(matches!(settled, Outcome::Kept(_)), "{mode:?}: {settled:?}");
        assert_eq!(pair.replica_etag().as_deref(), Some("theirs"), "{mode:?}");
        assert_eq!(pair.count("copy"), 1);
    }
}

/// Another writer's object lands between the HEAD that shows the attempt's copy and the next copy.
// Promise: In the modes `never` and `if-older` a later round of an attempt replaces only what the attempt
// itself, or a dead worker of its job, has written.
#[test]
fn a_protecting_mode_replaces_the_attempts_copy_on_condition_that_it_is_still_there() {
    for mode in [Overwrite::Never, Overwrite::IfOlder] {
        let options = Options::default();
        let pair = Scripted::new(Some(stored("v1", 1)), None)
            .after(Request::Copy, 0, |state| {
                state.source = Some(stored("v2", 2));
            })
            .before(Request::Copy, 1, |state| {
                state.replica = Some(stored("theirs", 999));
            });
        let job = replicator(&pair, Policy::Full, &options).overwriting(mode);
        let outcome = run(job.reconcile(&key())).unwrap();
        assert!(matches!(outcome, Outcome::Kept(_)), "{mode:?}: {outcome:?}");
        assert_eq!(pair.replica_etag().as_deref(), Some("theirs"), "{mode:?}");
        assert_eq!(pair.count("copy onto v1"), 1, "{:?}", pair.sent());
    }
}

#[test]
fn in_a_protecting_mode_a_later_round_may_replace_the_attempts_own_copy() {
    for mode in [Overwrite::Never, Overwrite::IfOlder] {
        let options = Options::default();
        let pair = Scripted::new(Some(stored("v1", 1)), None).after(Request::Copy, 0, |state| {
            state.source = Some(stored("v2", 2));
        });
        let job = replicator(&pair, Policy::Full, &options).overwriting(mode);
        let copied = Outcome::Replicated { bytes: 3 };
        assert_eq!(run(job.reconcile(&key())).unwrap(), copied);
        assert_eq!(pair.replica_etag().as_deref(), Some("v2"), "{mode:?}");
    }
}

// Promise: In the modes `never` and `if-older` a later round of an attempt replaces only what the attempt
// itself, or a dead worker of its job, has written.
#[test]
fn a_protecting_mode_treats_a_predecessors_copy_as_the_jobs_own() {
    for mode in [Overwrite::Never, Overwrite::IfOlder] {
        let options = Options::default();
        let pair = || Scripted::new(Some(stored("v2", 2)), Some(stored("v1", 9)));
        let copied = Outcome::Replicated { bytes: 3 };

        let known = pair();
        let job = replicator(&known, Policy::Full, &options).overwriting(mode);
        let outcome = run(job
            .in_job(OwnWrites::default().with(&key(), &Etag::new("v1")))
            .reconcile(&key()));
        assert_eq!(outcome.unwrap(), copied, "{mode:?}");
        assert_eq!(known.count("copy onto v1"), 1);

        let seen = pair();
        let job = replicator(&seen, Policy::Full, &options).overwriting(mode);
        let (source, replica) = (stored("v2", 2), stored("v1", 9));
        let job = job.in_job(OwnWrites::default().with(&key(), &Etag::new("v1")));
        let begun = run(job.copy_listed(&key(), &listed(&source), Some(&listed(&replica))));
        assert!(matches!(begun.unwrap(), Begun::Landed(_)), "{mode:?}");
        assert_eq!(seen.count("copy onto v1"), 1);

        let unknown = pair();
        let job = replicator(&unknown, Policy::Full, &options).overwriting(mode);
        let outcome = run(job
            .in_job(OwnWrites::default().with(&key(), &Etag::new("v0")))
            .reconcile(&key()));
        assert!(matches!(outcome.unwrap(), Outcome::Kept(_)), "{mode:?}");
        assert_eq!(unknown.replica_etag().as_deref(), Some("v1"));
    }
}

/// In every mode an attempt sets the tags of its own replica. It leaves those of another writer's object.
#[test]
fn a_protecting_mode_sets_the_tags_of_the_attempts_own_copy_only() {
    for own in [true, false] {
        let options = Options::default();
        let tagged = |value: &str, at| {
            let mut object = stored("v1", at);
            object.attributes.tags = Some([("t".to_owned(), value.to_owned())].into());
            object
        };
        let pair = Scripted::new(Some(tagged("2", 1)), Some(tagged("1", 9)));
        let announced = if own {
            OwnWrites::default().with(&key(), &Etag::new("v1"))
        } else {
            OwnWrites::default()
        };
        let job = replicator(&pair, Policy::Full, &options)
            .overwriting(Overwrite::Never)
            .comparing(Depth::Attributes)
            .in_job(announced);
        let outcome = run(job.reconcile(&key())).unwrap();
        let wanted = if own {
            Outcome::Adjusted
        } else {
            Outcome::Kept(KeepReason::DestinationExists)
        };
        assert_eq!(outcome, wanted);
    }
}

#[test]
fn a_slow_copy_onto_nothing_is_settled_on_its_own_replica() {
    let options = Options::default();
    let source = stored("v1", 1);
    let pair = Scripted::new(Some(source.clone()), None).behaving(|state| {
        state.took = TimeDelta::seconds(30);
        state.began_after = Some(seconds(50));
    });
    let job = || {
        replicator(&pair, Policy::Full, &options)
            .overwriting(Overwrite::Never)
            .in_job(OwnWrites::default())
    };
    let begun = run(job().copy_listed(&key(), &listed(&source), None)).unwrap();
    let Begun::Landed(landing) = begun else {
        panic!("{begun:?}")
    };
    let settled = run(job().settle(&key(), &landing, Some(&listed(&source)))).unwrap();
    assert_eq!(settled, Outcome::Replicated { bytes: 3 });
    assert_eq!(pair.count("attributes"), 2);
}
