//! Overwrite modes: the condition of the write itself protects objects, not a HEAD before it.

use chrono::TimeDelta;
use serde_json::json;
use tandem_tests::proxy::Seen;

use super::{Jobs, counts};

const DAY: TimeDelta = TimeDelta::days(1);
const WEEK: TimeDelta = TimeDelta::days(7);

/// Objects that are missing, equal, older and newer at the destination.
async fn jobs() -> Jobs {
    let jobs = Jobs::new(json!({})).await;
    for key in ["equal", "missing", "newer there", "older there"] {
        jobs.at_source(key, "source", DAY);
    }
    jobs.at_destination("equal", "source", WEEK);
    jobs.at_destination("older there", "theirs", WEEK);
    jobs.at_destination("newer there", "theirs", TimeDelta::hours(1));
    jobs
}

fn texts(jobs: &Jobs) -> Vec<String> {
    jobs.destination().into_values().collect()
}

#[tokio::test]
async fn always_replaces_everything_that_differs() {
    let jobs = jobs().await;
    let job = jobs.complete(json!({})).await;
    assert_eq!(counts(&job), [("listed", 4), ("copied", 3), ("equal", 1)]);
    assert_eq!(texts(&jobs), ["source"; 4]);
}

#[tokio::test]
async fn if_older_replaces_what_was_written_before_its_source() {
    let jobs = jobs().await;
    let job = jobs.complete(json!({"overwrite": "if-older"})).await;
    assert_eq!(
        counts(&job),
        [("listed", 4), ("copied", 2), ("equal", 1), ("kept", 1)]
    );
    // Keys: equal, missing, newer there, older there.
    assert_eq!(texts(&jobs), ["source", "source", "theirs", "source"]);
}

#[tokio::test]
async fn never_writes_only_missing_objects() {
    let jobs = jobs().await;
    let job = jobs.complete(json!({"overwrite": "never"})).await;
    assert_eq!(
        counts(&job),
        [("listed", 4), ("copied", 1), ("equal", 1), ("kept", 2)]
    );
    assert_eq!(texts(&jobs), ["source", "source", "theirs", "theirs"]);
}

/// Another writer's object lands after the listings and before the copy.
async fn with_another_writer(mode: &str) -> (Jobs, serde_json::Value) {
    let jobs = Jobs::new(json!({})).await;
    jobs.at_source("key", "source", DAY);
    if mode == "if-older" {
        jobs.at_destination("key", "theirs!", WEEK);
    }
    let gate = jobs.s3.hold_before(|seen: &Seen| seen.is("CopyObject"));
    jobs.start(json!({"overwrite": mode})).await;
    let worker = jobs.worker().await;
    let messages = jobs.messages().await;
    let answer = worker.begin(jobs.batch(&messages[0], 1));
    gate.arrived().await;
    jobs.at_destination("key", "of another writer", TimeDelta::zero());
    gate.open();
    answer.await.expect("an answer");
    let job = jobs.job().await;
    (jobs, job)
}

// Promise: The modes `never` and `if-older` are conditions on the write itself: an object that another writer
// puts between the listing and the write stays.
#[tokio::test]
async fn an_object_that_lands_between_the_listing_and_the_write_stays() {
    for mode in ["never", "if-older"] {
        let (jobs, job) = with_another_writer(mode).await;
        assert_eq!(counts(&job), [("listed", 1), ("kept", 1)], "{mode}");
        assert_eq!(texts(&jobs), ["of another writer"], "{mode}");
    }
    let (jobs, job) = with_another_writer("always").await;
    assert_eq!(counts(&job), [("listed", 1), ("copied", 1)]);
    assert_eq!(texts(&jobs), ["source"]);
}

// Promise: An object that failed keeps its job's mode when it is tried again.
#[tokio::test]
async fn a_failed_object_keeps_its_mode_when_it_is_tried_again() {
    let jobs = Jobs::new(json!({})).await;
    jobs.at_source("key", "source", DAY);
    let denied = tandem_tests::proxy::Action::s3_error(403, "AccessDenied");
    jobs.s3
        .script(1, |seen: &Seen| seen.is("CopyObject"), denied);
    let job = jobs.complete(json!({"overwrite": "never"})).await;
    assert_eq!(counts(&job), [("listed", 1), ("failed", 1)]);
    jobs.at_destination("key", "theirs", TimeDelta::zero());
    let configure = tandem_tests::function_process::Start::of(&jobs.cloud, "configure-rule")
        .await
        .variable("TANDEM_WORK_QUEUE_URL", &jobs.queue)
        .start()
        .await;
    let retried = configure.invoke(json!({"action": "retry", "rule": jobs.rule}));
    assert_eq!(retried.await.expect("a retry")["retried"], 1);
    jobs.run_dry(&[jobs.worker().await]).await;
    assert_eq!(texts(&jobs), ["theirs"]);
    assert_eq!(jobs.cloud.progress(&jobs.rule).await["failures"], 0);
}

// Promise: The modes `never` and `if-older` are conditions on the write itself: an object that another writer
// puts between the listing and the write stays.
#[tokio::test]
async fn an_object_in_parts_is_completed_only_if_the_mode_allows_it() {
    use tandem_memory_s3::{Attributes, Object};
    let jobs = Jobs::new(json!({})).await;
    let parts = vec![vec![1_u8; 5 << 20].into(), vec![2_u8; 1 << 20].into()];
    let at = chrono::Utc::now() - DAY;
    let object = Object::of_parts(parts, Attributes::default(), at);
    jobs.memory.put(&jobs.buckets.source.name, "large", object);
    let gate = jobs
        .s3
        .hold_before(|seen: &Seen| seen.is("CompleteMultipartUpload"));
    jobs.start(json!({"overwrite": "never"})).await;
    let worker = jobs.worker().await;
    let messages = jobs.messages().await;
    let answer = worker.begin(jobs.batch(&messages[0], 1));
    gate.arrived().await;
    jobs.at_destination("large", "of another writer", TimeDelta::zero());
    gate.open();
    answer.await.expect("an answer");
    assert_eq!(counts(&jobs.job().await), [("listed", 1), ("kept", 1)]);
    assert_eq!(texts(&jobs), ["of another writer"]);
}
