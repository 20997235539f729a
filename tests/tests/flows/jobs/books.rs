//! The accounting: however often messages are delivered, and wherever workers die, the counts add up to the listing,
//! every key is replicated, and the job ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{TimeDelta, Utc};
use serde_json::json;
use tandem_memory_s3::{Attributes, HeaderValue, Object};
use tandem_tests::cloud::QueuedMessage;
use tandem_tests::function_process::FunctionProcess;
use tandem_tests::proxy::Seen;

use super::manifest::store_list;
use super::{Jobs, counts, keys, number};

/// More than a page, so that the shard splits off a child shard.
const OBJECTS: usize = 1_200;

// Promise: The counts of a job add up, `listed = copied + equal + kept + gone + failed + transfers + missing +
// different`, although messages come twice and workers die.
#[tokio::test]
async fn messages_delivered_twice_or_to_two_workers_at_once_count_nothing_twice() {
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(3_300));
    jobs.start(json!({})).await;
    let workers = [jobs.worker().await, jobs.worker().await];
    let mut again = Vec::new();
    loop {
        let mut messages = jobs.messages().await;
        messages.append(&mut again);
        if messages.is_empty() {
            break;
        }
        for message in messages {
            // The worker that finds the lease taken does not acknowledge the message, so that it is redelivered.
            let both = workers
                .each_ref()
                .map(|worker| jobs.acknowledged(worker, &message, 1));
            if !futures::future::join_all(both).await.contains(&true) {
                again.push(message.clone());
            }
            jobs.acknowledged(&workers[0], &message, 2).await;
        }
    }
    let job = jobs.job().await;
    assert_eq!(job["state"], "complete", "{job}");
    assert_eq!(
        (number(&job, "listed"), number(&job, "failed")),
        (3_300, 0),
        "{job}"
    );
    assert_eq!(jobs.source(), jobs.destination());
}

/// Kills a worker before its request with this number. Copies do not count, because the copies of a page are alike.
async fn dies_at(
    jobs: &Jobs,
    worker: &FunctionProcess,
    message: &QueuedMessage,
    at: usize,
) -> bool {
    let seen = Arc::new(AtomicUsize::new(0));
    let of_number = move |seen: &Arc<AtomicUsize>| {
        let seen = seen.clone();
        move |request: &Seen| !request.is("CopyObject") && seen.fetch_add(1, Ordering::SeqCst) == at
    };
    let gates = [
        jobs.s3.hold_before(of_number(&seen)),
        jobs.aws.hold_before(of_number(&seen)),
    ];
    let mut answer = Box::pin(worker.begin(jobs.batch(message, 1)));
    let died = tokio::select! {
        () = gates[0].arrived() => true,
        () = gates[1].arrived() => true,
        answer = &mut answer => {
            answer.expect("an answer");
            false
        }
    };
    if died {
        worker.kill();
        drop(answer.await);
    }
    for gate in gates {
        gate.open();
    }
    died
}

// Promise: The counts of a job add up, `listed = copied + equal + kept + gone + failed + transfers + missing +
// different`, although messages come twice and workers die.
#[tokio::test]
async fn a_worker_may_die_before_any_request_and_the_counts_add_up() {
    for at in 0.. {
        let jobs = Jobs::new(json!({})).await;
        jobs.fill_source(keys(OBJECTS));
        jobs.start(json!({})).await;
        let messages = jobs.messages().await;
        let died = dies_at(&jobs, &jobs.worker().await, &messages[0], at).await;
        let worker = jobs.worker().await;
        if died {
            // Its message is redelivered when the lease has expired.
            jobs.expire_leases().await;
            assert!(
                jobs.acknowledged(&worker, &messages[0], 2).await,
                "before request {at}"
            );
        }
        jobs.run_dry(&[worker]).await;
        let job = jobs.job().await;
        assert_eq!(job["state"], "complete", "before request {at}: {job}");
        let listed = number(&job, "copied") + number(&job, "equal");
        assert_eq!(
            (number(&job, "listed"), listed),
            (1_200, 1_200),
            "before request {at}: {job}"
        );
        assert_eq!(jobs.source(), jobs.destination(), "before request {at}");
        if !died {
            assert!(at > 12, "only {at} requests");
            assert!(number(&job["shards"], "total") > 1, "{job}");
            return;
        }
    }
}

// Promise: A backfill, a repair or a job of named keys may copy the key meanwhile, and its worker may die: the
// replica becomes equal all the same.
#[tokio::test]
async fn a_copy_that_is_overtaken_before_the_settling_listing_is_corrected() {
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(3));
    let source = jobs.buckets.source.name.clone();
    let listings = AtomicUsize::new(0);
    let gate = jobs.s3.hold_before(move |seen: &Seen| {
        let lists = seen.is("ListObjectsV2") && seen.bucket == source;
        lists && listings.fetch_add(1, Ordering::SeqCst) == 1
    });
    jobs.start(json!({})).await;
    let worker = jobs.worker().await;
    let messages = jobs.messages().await;
    let answer = worker.begin(jobs.batch(&messages[0], 1));
    gate.arrived().await;
    // All three copies have landed. Only now does the source change.
    let all: Vec<String> = keys(3).collect();
    assert_eq!(jobs.destination().len(), 3);
    jobs.at_source(&all[0], "newer", TimeDelta::zero());
    jobs.memory.remove(&jobs.buckets.source.name, &all[1]);
    gate.open();
    answer.await.expect("an answer");
    let job = jobs.job().await;
    assert_eq!(
        counts(&job),
        [("listed", 3), ("copied", 2), ("gone", 1)],
        "{job}"
    );
    assert_eq!(jobs.source(), jobs.destination());
}

/// Kills a worker with a copy in flight, and lets the copy land. Returns the message.
async fn dies_with_a_copy_in_flight(jobs: &Jobs) -> QueuedMessage {
    let message = jobs.messages().await.remove(0);
    let gate = jobs.s3.hold_before(|seen: &Seen| seen.is("CopyObject"));
    let dying = jobs.worker().await;
    let answer = dying.begin(jobs.batch(&message, 1));
    gate.arrived().await;
    dying.kill();
    drop(answer.await);
    gate.open();
    message
}

/// Cases A1 and A2 of a backfill: the key is deleted while its copy is in flight, the delete finds nothing on either
/// side, and then the copy lands.
// Promise: A job is complete only when none of its pages is in flight.
// Promise: Under policy `full` what a job copies is deleted again if its key is deleted meanwhile, also if the
// worker dies or its page fails with the copy in flight: the successor knows what the worker may have written.
// Promise: A backfill, or the successor of its dead worker, deletes no object of another writer, whether or not
// the source has the key.
#[tokio::test]
async fn a_copy_of_a_dead_worker_does_not_restore_a_deleted_key() {
    for manifest in [false, true] {
        let jobs = Jobs::new(json!({})).await;
        jobs.fill_source(keys(3));
        let fields = if manifest {
            let lines: String = keys(3).map(|key| key + "\n").collect();
            json!({"manifest": store_list(&jobs, &lines)})
        } else {
            json!({})
        };
        jobs.start(fields).await;
        let message = dies_with_a_copy_in_flight(&jobs).await;
        let (source, destination) = (&jobs.buckets.source.name, &jobs.buckets.destination.name);
        let [first, other] = [0, 2].map(|nth| keys(3).nth(nth).expect("a key"));
        for key in [&first, &other] {
            jobs.memory.remove(source, key);
            jobs.memory.remove(destination, key);
        }
        // The dead worker's copy lands late; another writer has an object where the other key was.
        jobs.at_destination(&first, &first, TimeDelta::zero());
        jobs.at_destination(&other, "of another writer", TimeDelta::zero());
        let worker = jobs.worker().await;
        assert!(
            !jobs.acknowledged(&worker, &message, 2).await,
            "the dead worker may have something in flight"
        );
        assert_eq!(jobs.job().await["state"], "running");
        jobs.expire_leases().await;
        assert!(jobs.acknowledged(&worker, &message, 3).await);
        let job = jobs.job().await;
        assert_eq!(job["state"], "complete", "{job}");
        let left = jobs.destination();
        assert!(!left.contains_key(&first), "manifest: {manifest}, {left:?}");
        assert_eq!(
            left.get(&other).map(String::as_str),
            Some("of another writer")
        );
    }
}

// Promise: A second message of a shard is acknowledged and does nothing.
#[tokio::test]
async fn a_second_message_of_a_shard_is_acknowledged_and_does_nothing() {
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(3));
    jobs.start(json!({})).await;
    let first = jobs.messages().await.remove(0);
    // Resuming sends a message to every shard whose message may be lost.
    jobs.change("pause").await;
    jobs.change("resume").await;
    let second = jobs.messages().await.remove(0);
    assert_ne!(first.epoch, second.epoch);
    let worker = jobs.worker().await;
    assert!(
        jobs.acknowledged(&worker, &first, 1).await,
        "the message has an old epoch"
    );
    assert!(jobs.destination().is_empty());
    assert!(jobs.acknowledged(&worker, &second, 1).await);
    assert_eq!(jobs.job().await["state"], "complete");
}

/// A message of the previous version has no epoch.
// Promise: A message of the older version, which has no epoch, is worked on under the lease.
#[tokio::test]
async fn a_message_without_an_epoch_is_processed_under_the_lease() {
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(3));
    jobs.start(json!({})).await;
    let message = QueuedMessage {
        epoch: None,
        ..jobs.messages().await.remove(0)
    };
    let gate = jobs.s3.hold_before(|seen: &Seen| seen.is("CopyObject"));
    let (worker, other) = (jobs.worker().await, jobs.worker().await);
    let answer = worker.begin(jobs.batch(&message, 1));
    gate.arrived().await;
    let another = QueuedMessage {
        id: "another".to_owned(),
        ..message.clone()
    };
    assert!(
        jobs.acknowledged(&other, &another, 1).await,
        "the shard is leased"
    );
    gate.open();
    answer.await.expect("an answer");
    let job = jobs.job().await;
    assert_eq!(counts(&job), [("listed", 3), ("copied", 3)], "{job}");
}

// Promise: A dead worker's page is verified although the job is paused or cancelled meanwhile.
#[tokio::test]
async fn old_metadata_of_a_dead_worker_is_found_although_the_job_was_paused_or_cancelled() {
    for stop in ["rule", "job"] {
        let jobs = Jobs::new(json!({})).await;
        jobs.fill_source(keys(3));
        jobs.start(json!({})).await;
        let message = dies_with_a_copy_in_flight(&jobs).await;
        let (source, destination) = (&jobs.buckets.source.name, &jobs.buckets.destination.name);
        let first = keys(1).next().expect("a key");
        let old = Attributes {
            metadata: [("written".to_owned(), HeaderValue::from_static("before"))].into(),
            ..Attributes::default()
        };
        let body = first.clone().into();
        jobs.memory
            .put(destination, &first, Object::new(body, old, Utc::now()));
        let worker = jobs.worker().await;
        jobs.expire_leases().await;
        if stop == "rule" {
            jobs.cloud.change("pause", &jobs.rule).await;
            assert!(jobs.acknowledged(&worker, &message, 2).await);
            jobs.cloud.change("resume", &jobs.rule).await;
        } else {
            jobs.change("cancel").await;
            assert!(jobs.acknowledged(&worker, &message, 2).await);
        }
        jobs.run_dry(&[worker]).await;
        let metadata = |bucket: &str| {
            let object = jobs.memory.object(bucket, &first).expect("an object");
            object.attributes().metadata.clone()
        };
        assert_eq!(metadata(destination), metadata(source), "{stop}");
    }
}

// Promise: The redelivery of a shard's message recovers the page of a dead worker; if the message is gone,
// hourly maintenance sends one once the lease has expired.
#[tokio::test]
async fn maintenance_sends_a_message_for_a_dead_workers_shard_whose_message_is_gone() {
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(3));
    jobs.start(json!({})).await;
    // Another worker had the same message and acknowledged it.
    dies_with_a_copy_in_flight(&jobs).await;
    jobs.ask(json!({"action": "tend"})).await;
    assert!(jobs.messages().await.is_empty(), "the worker may be alive");
    jobs.expire_leases().await;
    jobs.ask(json!({"action": "tend"})).await;
    jobs.run_dry(&[jobs.worker().await]).await;
    let job = jobs.job().await;
    assert_eq!(job["state"], "complete", "{job}");
    assert_eq!(jobs.source(), jobs.destination());
}
