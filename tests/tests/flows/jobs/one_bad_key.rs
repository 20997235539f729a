//! S3 refuses to read, copy or delete one object: its key fails with a reason, and no other key does.

use chrono::TimeDelta;
use serde_json::{Value, json};
use tandem_tests::proxy::{Action, Seen};

use super::schedule::{MAINTENANCE, maintain, set_back};
use super::{Jobs, counts};

const DAY: TimeDelta = TimeDelta::days(1);

impl Jobs {
    /// Denies this operation on one key of a bucket, at every attempt.
    fn deny(&self, operation: &'static str, bucket: &str, key: &'static str) {
        let bucket = bucket.to_owned();
        let denied =
            move |seen: &Seen| seen.is(operation) && seen.bucket == bucket && seen.key == key;
        self.s3
            .script(1_000, denied, Action::s3_error(403, "AccessDenied"));
    }

    /// The key and the reason of each of the rule's failures.
    async fn failures(&self) -> Vec<(String, String)> {
        let request = json!({"action": "failures", "rule": self.rule});
        let answer = self.cloud.configure(request).await.expect("failures");
        let failures = answer["failures"].as_array().expect("a list");
        let text =
            |failure: &Value, field: &str| failure[field].as_str().expect("a text").to_owned();
        failures
            .iter()
            .map(|failure| (text(failure, "key"), text(failure, "reason")))
            .collect()
    }
}

fn failed(key: &str, reason: &str) -> Vec<(String, String)> {
    vec![(key.to_owned(), reason.to_owned())]
}

/// What a verification of [`jobs_with_uncertain_objects`] counts if it cannot compare one of them.
const ONE_FAILED: [(&str, u64); 4] = [
    ("listed", 3),
    ("failed", 1),
    ("missing", 1),
    ("different", 1),
];

/// Two objects whose listings do not show whether they are equal, and one that is missing.
async fn jobs_with_uncertain_objects() -> Jobs {
    let jobs = Jobs::new(json!({})).await;
    for key in ["a", "secret", "z"] {
        jobs.at_source(key, "source", DAY);
    }
    jobs.at_destination("a", "theirs", DAY);
    jobs.at_destination("secret", "theirs", DAY);
    jobs
}

// Promise: A key that a job may not read, copy or delete fails alone, with its reason; the job processes all other
// keys and ends.
#[tokio::test]
async fn a_verification_counts_a_key_that_it_may_not_read_as_failed() {
    let jobs = jobs_with_uncertain_objects().await;
    jobs.deny("HeadObject", &jobs.buckets.destination.name, "secret");
    let before = jobs.destination();
    let job = jobs.complete(json!({"kind": "verify"})).await;
    assert_eq!(counts(&job), ONE_FAILED);
    assert_eq!(
        jobs.failures().await,
        failed("secret", "DstHeadObjectNotPermitted")
    );
    assert_eq!(jobs.destination(), before, "a verification changes nothing");
}

// Promise: A key that a job may not read, copy or delete fails alone, with its reason; the job processes all other
// keys and ends.
#[tokio::test]
async fn a_verification_that_s3_does_not_answer_for_one_key_changes_nothing_and_ends() {
    for answer in [Action::s3_error(500, "InternalError"), Action::BreakBefore] {
        let jobs = jobs_with_uncertain_objects().await;
        let bucket = jobs.buckets.destination.name.clone();
        let heads = move |seen: &Seen| {
            seen.is("HeadObject") && seen.bucket == bucket && seen.key == "secret"
        };
        jobs.s3.script(1_000, heads, answer.clone());
        let before = jobs.destination();
        let job = jobs.complete(json!({"kind": "verify"})).await;
        assert_eq!(counts(&job), ONE_FAILED, "{answer:?}");
        assert_eq!(jobs.failures().await.len(), 1, "{answer:?}");
        assert_eq!(jobs.destination(), before, "{answer:?}");
        assert!(jobs.messages().await.is_empty(), "{answer:?}");
    }
}

// Promise: A key that a job may not read, copy or delete fails alone, with its reason; the job processes all other
// keys and ends.
#[tokio::test]
async fn a_repair_keeps_an_extra_object_whose_source_it_may_not_read() {
    let jobs = jobs_with_uncertain_objects().await;
    jobs.at_destination("extra", "extra", DAY);
    jobs.at_destination("locked", "extra", DAY);
    jobs.deny("HeadObject", &jobs.buckets.source.name, "locked");
    jobs.deny("HeadObject", &jobs.buckets.source.name, "secret");
    let job = jobs.complete(json!({"kind": "repair"})).await;
    let found = [
        ("listed", 3),
        ("copied", 2),
        ("failed", 1),
        ("extra", 2),
        ("deleted", 1),
        ("extra_failed", 1),
    ];
    assert_eq!(counts(&job), found);
    let reason = "SrcHeadObjectNotPermitted";
    let both = [failed("locked", reason), failed("secret", reason)].concat();
    assert_eq!(jobs.failures().await, both);
    assert!(jobs.destination().contains_key("locked"));
}

// Promise: A key that a job may not read, copy or delete fails alone, with its reason; the job processes all other
// keys and ends.
#[tokio::test]
async fn a_repair_counts_an_extra_object_that_it_may_not_delete_as_failed() {
    let jobs = Jobs::new(json!({})).await;
    for key in ["extra", "locked"] {
        jobs.at_destination(key, "extra", DAY);
    }
    jobs.deny("DeleteObject", &jobs.buckets.destination.name, "locked");
    let job = jobs.complete(json!({"kind": "repair"})).await;
    let found = [("extra", 2), ("deleted", 1), ("extra_failed", 1)];
    assert_eq!(counts(&job), found);
    assert_eq!(
        jobs.failures().await,
        failed("locked", "DstDelObjNotPermitted")
    );
}

// Promise: A reconciliation that ended with failed keys is followed by the next one when that is due.
#[tokio::test]
async fn a_reconciliation_with_a_denied_key_ends_and_the_next_one_starts() {
    let _alone = MAINTENANCE.lock().await;
    let jobs = Jobs::new(json!({"options": {"reconcile": "daily"}})).await;
    jobs.at_source("a", "a", DAY);
    jobs.at_destination("locked", "extra", DAY);
    jobs.deny("HeadObject", &jobs.buckets.source.name, "locked");
    for round in 1..=2 {
        let day = TimeDelta::hours(25);
        set_back(&jobs, "rule", &jobs.rule, "updated_at", day).await;
        set_back(&jobs, "job#", &jobs.rule, "started_at", day).await;
        maintain(&jobs).await;
        jobs.run_dry(&[jobs.worker().await]).await;
        let listed = jobs.ask(json!({"action": "list", "rule": jobs.rule})).await;
        let states: Vec<&Value> = listed["jobs"]
            .as_array()
            .expect("jobs")
            .iter()
            .map(|job| &job["state"])
            .collect();
        assert_eq!(states, vec![&json!("complete"); round]);
    }
}
