//! The cost of jobs in S3 requests, counted by the server.

use chrono::TimeDelta;
use serde_json::json;

use super::{Jobs, counts, keys, number};

/// The number of all requests since the last call.
fn requests(jobs: &Jobs) -> u64 {
    jobs.memory.take_counts().values().sum()
}

// Promise: A backfill costs at most 1.02 requests for each small object that it copies, and at most 2.1
// requests for 1,000 keys that are equal.
#[tokio::test]
async fn a_copied_small_object_costs_at_most_1_02_requests() {
    const OBJECTS: u64 = 5_000;
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(5_000));
    jobs.memory.take_counts();
    let job = jobs.complete(json!({})).await;
    let sent = requests(&jobs);
    assert_eq!(counts(&job), [("listed", OBJECTS), ("copied", OBJECTS)]);
    assert!(
        sent * 100 <= OBJECTS * 102,
        "{sent} requests for {OBJECTS} objects: {job}"
    );
    assert!(
        number(&job["shards"], "total") > 1,
        "the job was split: {job}"
    );
    // The job's own count equals the server's, except for the start of the job.
    assert!(
        number(&job, "s3_requests").abs_diff(sent) <= 2,
        "{sent} requests: {job}"
    );
    assert_eq!(jobs.source(), jobs.destination());
}

// Promise: A backfill costs at most 1.02 requests for each small object that it copies, and at most 2.1
// requests for 1,000 keys that are equal.
#[tokio::test]
async fn equal_buckets_cost_at_most_2_1_requests_a_thousand_keys() {
    const OBJECTS: u64 = 20_000;
    let jobs = Jobs::new(json!({})).await;
    for key in keys(20_000) {
        jobs.at_source(&key, "same", TimeDelta::days(1));
        jobs.at_destination(&key, "same", TimeDelta::days(1));
    }
    for kind in ["backfill", "verify", "repair"] {
        jobs.memory.take_counts();
        let job = jobs.complete(json!({"kind": kind})).await;
        let sent = requests(&jobs);
        assert_eq!(counts(&job), [("listed", OBJECTS), ("equal", OBJECTS)]);
        assert!(
            sent * 10_000 <= OBJECTS * 21,
            "{sent} requests for {OBJECTS} keys: {job}"
        );
    }
}
