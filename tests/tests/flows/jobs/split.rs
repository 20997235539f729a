//! Large shards split off child shards, so that all workers have something to do.

use chrono::TimeDelta;
use serde_json::json;

use super::{Jobs, counts, keys, number};

// Promise: Keys under one prefix are spread over all shards.
#[tokio::test]
async fn keys_under_one_prefix_end_up_on_all_workers() {
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(9_000));
    jobs.start(json!({})).await;
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(jobs.worker().await);
    }
    // No more shards run at once than the stack allows, and each child shard has its own message.
    jobs.run_dry(&workers).await;
    let job = jobs.job().await;
    assert_eq!(job["state"], "complete", "{job}");
    assert_eq!(counts(&job), [("listed", 9_000), ("copied", 9_000)]);
    assert!(number(&job["shards"], "total") >= 4, "{job}");
    assert_eq!(jobs.source(), jobs.destination());
}

// Promise: The limits on a job's rate and on its concurrent shards hold for the whole job.
#[tokio::test]
async fn a_job_never_exceeds_its_concurrency() {
    let jobs = Jobs::new(json!({"scope": {"prefixes": ["a/", "b/", "c/"]}})).await;
    for prefix in ["a/", "b/", "c/"] {
        jobs.fill_source((0..1_500).map(|n| format!("{prefix}{n:05}")));
    }
    let started = jobs.start(json!({"concurrency": 1})).await;
    assert_eq!(started["shards"]["total"], 3, "{started}");
    let worker = jobs.worker().await;
    let mut rounds = 0;
    loop {
        let messages = jobs.messages().await;
        let Some(message) = messages.first() else {
            break;
        };
        assert_eq!(messages.len(), 1, "one at a time: {messages:?}");
        assert!(jobs.acknowledged(&worker, message, 1).await);
        rounds += 1;
    }
    let job = jobs.job().await;
    assert_eq!((rounds, &job["state"]), (3, &json!("complete")), "{job}");
    assert_eq!(
        job["shards"]["total"], 3,
        "no worker was free for a child shard: {job}"
    );
    assert_eq!(number(&job, "listed"), 4_500);
}

// Promise: The limits on a job's rate and on its concurrent shards hold for the whole job.
#[tokio::test]
async fn a_job_never_exceeds_its_rate() {
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(30));
    let began = std::time::Instant::now();
    let job = jobs.complete(json!({"objects_per_sec": 10})).await;
    // The job is never faster. How much slower it is depends on the machine.
    assert!(
        began.elapsed().as_secs_f64() >= 2.9,
        "{:?}",
        began.elapsed()
    );
    assert_eq!(counts(&job), [("listed", 30), ("copied", 30)]);
    // Equal objects do not count towards the rate limit.
    let job = jobs.complete(json!({"objects_per_sec": 0.01})).await;
    assert_eq!(counts(&job), [("listed", 30), ("equal", 30)]);
}

#[tokio::test]
async fn only_the_keys_of_the_jobs_prefix_are_copied() {
    let jobs = Jobs::new(json!({"scope": {"prefixes": ["a/", "b/"]}})).await;
    for key in ["a/1/x", "a/2/x", "b/1/x", "c/1/x"] {
        jobs.at_source(key, key, TimeDelta::days(1));
    }
    let job = jobs.complete(json!({"prefix": "a/1"})).await;
    assert_eq!(counts(&job), [("listed", 1), ("copied", 1)]);
    let (code, message) = jobs
        .refused(json!({"action": "start", "rule": jobs.rule, "prefix": "c/"}))
        .await;
    assert_eq!(code, "InvalidRequest");
    assert!(message.contains("outside the rule's scope"), "{message}");
    // A refused job does not replace the running one.
    assert_eq!(jobs.job().await["id"], job["id"]);
}
