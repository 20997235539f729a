//! Jobs are paused, resumed, cancelled and listed; a job that cannot continue ends.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tandem_tests::notification::LAST_DELIVERY;
use tandem_tests::proxy::{Action, Seen};

use super::{Jobs, counts, keys, number};

// Promise: A paused job, or a backfill whose rule is paused, continues where it was; a cancelled job copies
// nothing more.
#[tokio::test]
async fn a_paused_job_waits_and_continues_where_it_was() {
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(2_500));
    jobs.start(json!({"concurrency": 1})).await;
    let worker = jobs.worker().await;
    let messages = jobs.messages().await;
    // The job is paused while its first page is copied.
    let gate = jobs.s3.hold_before(|seen: &Seen| seen.is("CopyObject"));
    let answer = worker.begin(jobs.batch(&messages[0], 1));
    gate.arrived().await;
    assert_eq!(jobs.change("pause").await["state"], "paused");
    gate.open();
    answer.await.expect("an answer");
    let job = jobs.job().await;
    assert_eq!(
        (number(&job, "listed"), &job["state"]),
        (1_000, &json!("paused")),
        "{job}"
    );
    assert_eq!(
        jobs.change("pause").await["state"],
        "paused",
        "a second pause changes nothing"
    );
    jobs.run_dry(&[jobs.worker().await]).await;
    assert_eq!(number(&jobs.job().await, "listed"), 1_000);

    assert_eq!(jobs.change("resume").await["state"], "running");
    jobs.run_dry(&[worker]).await;
    let job = jobs.job().await;
    assert_eq!(job["state"], "complete", "{job}");
    assert_eq!(counts(&job), [("listed", 2_500), ("copied", 2_500)]);
    let again = jobs
        .refused(json!({"action": "pause", "rule": jobs.rule}))
        .await;
    assert_eq!(again.0, "JobStateConflict", "{}", again.1);
}

// Promise: A pause, resume or deletion of a rule, or a change of a job, is not refused because the table's answer was
// lost.
#[tokio::test]
async fn a_change_whose_answer_is_lost_is_not_mistaken_for_another_requests() {
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(5));
    jobs.start(json!({})).await;
    for (action, state) in [
        ("pause", "paused"),
        ("resume", "running"),
        ("cancel", "cancelled"),
    ] {
        jobs.aws.take();
        let updates = |seen: &Seen| seen.is("DynamoDB.UpdateItem");
        jobs.aws.script(1, updates, Action::BreakAfter);
        assert_eq!(jobs.change(action).await["state"], state);
        let writes = jobs.aws.take_counts()["DynamoDB.UpdateItem"];
        assert!(writes >= 2, "{action}: the client sent its write once only");
    }
}

// Promise: A paused job, or a backfill whose rule is paused, continues where it was; a cancelled job copies
// nothing more.
#[tokio::test]
async fn a_cancelled_job_copies_nothing_more() {
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(50));
    jobs.start(json!({})).await;
    assert_eq!(jobs.change("cancel").await["state"], "cancelled");
    assert_eq!(
        jobs.change("cancel").await["state"],
        "cancelled",
        "a second cancellation changes nothing"
    );
    jobs.run_dry(&[jobs.worker().await]).await;
    assert!(jobs.destination().is_empty());
    let (code, message) = jobs
        .refused(json!({"action": "resume", "rule": jobs.rule}))
        .await;
    assert_eq!(code, "JobStateConflict");
    assert!(message.contains("start a new one"), "{message}");
}

#[tokio::test]
async fn jobs_are_listed_newest_first_and_a_job_of_another_kind_replaces_none() {
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(3));
    let backfill = jobs.start(json!({})).await;
    let verify = jobs.start(json!({"kind": "verify"})).await;
    let listed = jobs.ask(json!({"action": "list", "rule": jobs.rule})).await;
    let shown: Vec<_> = listed["jobs"]
        .as_array()
        .expect("jobs")
        .iter()
        .map(|job| (job["id"].clone(), job["state"].clone()))
        .collect();
    let running = json!("running");
    assert_eq!(
        shown,
        [
            (verify["id"].clone(), running.clone()),
            (backfill["id"].clone(), running)
        ]
    );
    // `progress` reports the backfill.
    let progress = jobs.cloud.progress(&jobs.rule).await;
    assert_eq!(progress["historical"]["id"], backfill["id"]);
    let newer = jobs.start(json!({})).await;
    let older = json!({"action": "status", "rule": jobs.rule, "job_id": backfill["id"]});
    assert_eq!(jobs.ask(older).await["job"]["state"], "cancelled");
    assert_ne!(newer["id"], backfill["id"]);
}

// Promise: A shard that may not be listed makes its job `failed`, with the reason, and resuming carries the job
// on.
#[tokio::test]
async fn a_job_that_may_not_list_ends_as_failed_and_continues_after_a_resume() {
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(20));
    jobs.start(json!({})).await;
    let worker = jobs.worker().await;
    let messages = jobs.messages().await;
    let denied = Action::s3_error(403, "AccessDenied");
    jobs.s3
        .script(2, |seen: &Seen| seen.is("ListObjectsV2"), denied);
    // At a delivery before the last one, and at the last one.
    assert!(!jobs.acknowledged(&worker, &messages[0], 1).await);
    assert_eq!(jobs.job().await["state"], "running");
    jobs.s3.script(
        2,
        |seen: &Seen| seen.is("ListObjectsV2"),
        Action::s3_error(403, "AccessDenied"),
    );
    assert!(
        jobs.acknowledged(&worker, &messages[0], LAST_DELIVERY)
            .await
    );
    let job = jobs.job().await;
    assert_eq!(job["state"], "failed", "{job}");
    assert!(
        job["error"]
            .as_str()
            .expect("an error")
            .contains("AccessDenied"),
        "{job}"
    );
    assert!(job["finished_at"].is_string(), "{job}");

    // The next attempt must not meet the rest of the script.
    let worker = jobs.worker().await;
    jobs.change("resume").await;
    jobs.run_dry(&[worker]).await;
    let job = jobs.job().await;
    assert_eq!(job["state"], "complete", "{job}");
    assert_eq!(counts(&job), [("listed", 20), ("copied", 20)]);
}

// Promise: A shard that may not be listed makes its job `failed`, with the reason, and resuming carries the job
// on.
#[tokio::test]
async fn a_job_that_may_no_longer_list_after_its_first_page_ends_as_failed_too() {
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(1_200));
    // One listing of each side, and another one of the source when the first page is copied.
    let listings = AtomicUsize::new(0);
    let beyond =
        move |seen: &Seen| seen.is("ListObjectsV2") && listings.fetch_add(1, Ordering::SeqCst) >= 3;
    let denied = Action::s3_error(403, "AccessDenied");
    jobs.s3.script(4, beyond, denied);
    jobs.start(json!({"concurrency": 1})).await;
    let worker = jobs.worker().await;
    let message = jobs.messages().await.remove(0);
    assert!(!jobs.acknowledged(&worker, &message, 1).await);
    assert_eq!(jobs.job().await["copied"], 1_000);
    assert!(jobs.acknowledged(&worker, &message, LAST_DELIVERY).await);
    let job = jobs.job().await;
    assert_eq!(job["state"], "failed", "{job}");

    let worker = jobs.worker().await;
    jobs.change("resume").await;
    jobs.run_dry(&[worker]).await;
    let job = jobs.job().await;
    assert_eq!(counts(&job), [("listed", 1_200), ("copied", 1_200)]);
}

#[tokio::test]
async fn a_job_whose_bucket_is_gone_ends_as_failed_at_the_first_delivery() {
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(20));
    jobs.start(json!({})).await;
    let worker = jobs.worker().await;
    let messages = jobs.messages().await;
    let gone = Action::s3_error(404, "NoSuchBucket");
    jobs.s3
        .script(1, |seen: &Seen| seen.is("ListObjectsV2"), gone);
    assert!(jobs.acknowledged(&worker, &messages[0], 1).await);
    let job = jobs.job().await;
    assert_eq!(job["state"], "failed", "{job}");
    let error = job["error"].as_str().expect("an error");
    assert!(error.contains("NoSuchBucket"), "{error}");
}
