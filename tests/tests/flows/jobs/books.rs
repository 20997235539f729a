//! The books: however often messages come, and wherever workers die, counts add up to the listing, every key is
//! carried, and the job ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::Utc;
use serde_json::json;
use tandem_memory_s3::{Attributes, Object};
use tandem_tests::function_process::FunctionProcess;
use tandem_tests::proxy::Seen;

use super::{Jobs, counts, keys, number};

/// More than a page, so that the shard gives a part away.
const OBJECTS: usize = 1_200;

#[tokio::test]
async fn messages_that_come_twice_or_to_two_workers_at_once_count_nothing_twice() {
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
            // Whoever finds that the other was faster keeps the message, which then comes again.
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

/// Lets a worker die before the request of this number that is no copy: the copies of a page are alike.
async fn dies_at(jobs: &Jobs, worker: &FunctionProcess, message: &str, at: usize) -> bool {
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

#[tokio::test]
async fn a_worker_may_die_before_any_request_and_the_books_add_up() {
    for at in 0.. {
        let jobs = Jobs::new(json!({})).await;
        jobs.fill_source(keys(OBJECTS));
        jobs.start(json!({})).await;
        let messages = jobs.messages().await;
        let died = dies_at(&jobs, &jobs.worker().await, &messages[0], at).await;
        let worker = jobs.worker().await;
        if died {
            // Its message comes again.
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

#[tokio::test]
async fn a_copy_that_is_overtaken_before_the_listing_settles_it_is_made_good() {
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
    // All three copies have landed; only now the source changes.
    let all: Vec<String> = keys(3).collect();
    assert_eq!(jobs.destination().len(), 3);
    jobs.at_source(&all[0], "newer", chrono::TimeDelta::zero());
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

/// A copy that read an object's old metadata lands when its worker is dead and another one, with a message of its
/// own, has done the shard.
#[tokio::test]
async fn what_a_dead_worker_left_is_looked_at_though_others_have_moved_on() {
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(3));
    jobs.start(json!({})).await;
    let message = jobs.messages().await.remove(0);
    let gate = jobs.s3.hold_before(|seen: &Seen| seen.is("CopyObject"));
    let dying = jobs.worker().await;
    let answer = dying.begin(jobs.batch(&message, 1));
    gate.arrived().await;
    dying.kill();
    drop(answer.await);
    gate.open();

    let worker = jobs.worker().await;
    let mut another = jobs.batch(&message, 1);
    another["Records"][0]["messageId"] = json!("another");
    worker.invoke(another).await.expect("an answer");
    let done = jobs.job().await;
    assert_eq!(done["state"], "complete", "{done}");

    let (source, destination) = (&jobs.buckets.source.name, &jobs.buckets.destination.name);
    let first = keys(1).next().expect("a key");
    let old = Attributes {
        metadata: [("written".to_owned(), "before".to_owned())].into(),
        ..Attributes::default()
    };
    let body = first.clone().into();
    jobs.memory
        .put(destination, &first, Object::new(body, old, Utc::now()));
    // While the rule is paused the work is put off, as another message.
    jobs.cloud.change("pause", &jobs.rule).await;
    jobs.aws.take();
    assert!(jobs.acknowledged(&worker, &message, 2).await);
    assert_eq!(jobs.aws.take_counts().get("SQS.SendMessage"), Some(&1));
    jobs.cloud.change("resume", &jobs.rule).await;
    let mut later = jobs.batch(&message, 1);
    later["Records"][0]["messageId"] = json!("later");
    worker.invoke(later.clone()).await.expect("an answer");
    let metadata = |bucket: &str| {
        let object = jobs.memory.object(bucket, &first).expect("an object");
        object.attributes().metadata.clone()
    };
    assert_eq!(metadata(destination), metadata(source));
    assert_eq!(counts(&jobs.job().await), counts(&done), "counted once");
    jobs.s3.take();
    worker.invoke(later).await.expect("an answer");
    assert_eq!(jobs.s3.take().len(), 0, "it is looked at once");
}
