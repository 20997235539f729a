//! Verification and repair: differences are reported, and repaired through the protocol only.

use chrono::TimeDelta;
use serde_json::{Value, json};
use tandem_tests::cloud::EAST;
use tandem_tests::proxy::{Action, Seen};

use super::{Jobs, counts, number};

const DAY: TimeDelta = TimeDelta::days(1);

/// A job's buckets with one object of each kind.
async fn jobs(fields: Value) -> Jobs {
    let jobs = Jobs::new(fields).await;
    for key in ["a same", "b missing", "c other bytes", "d other size"] {
        jobs.at_source(key, "source", DAY);
    }
    jobs.at_destination("a same", "source", DAY);
    jobs.at_destination("c other bytes", "theirs", DAY);
    jobs.at_destination("d other size", "longer than that", DAY);
    jobs.at_destination("e extra", "extra", DAY);
    jobs
}

// Promise: A verification reports what differs, and changes nothing.
#[tokio::test]
async fn a_verification_reports_differences_and_changes_nothing() {
    let jobs = jobs(json!({})).await;
    let before = jobs.destination();
    let job = jobs.complete(json!({"kind": "verify"})).await;
    let found = [
        ("listed", 4),
        ("equal", 1),
        ("missing", 1),
        ("different", 2),
        ("extra", 1),
    ];
    assert_eq!(counts(&job), found);
    assert_eq!(jobs.destination(), before);
    let writes = ["CopyObject", "PutObject", "DeleteObject"];
    let sent = jobs.s3.take_counts();
    assert!(
        writes.iter().all(|write| !sent.contains_key(*write)),
        "{sent:?}"
    );
}

// Promise: A repair deletes extra objects under policy `full` only, no more than it may, and none that is put
// at the source while it lists.
#[tokio::test]
async fn a_repair_copies_what_differs_and_deletes_extras_under_policy_full() {
    let jobs = jobs(json!({})).await;
    let job = jobs.complete(json!({"kind": "repair"})).await;
    let found = [
        ("listed", 4),
        ("copied", 3),
        ("equal", 1),
        ("extra", 1),
        ("deleted", 1),
    ];
    assert_eq!(counts(&job), found);
    assert_eq!(jobs.source(), jobs.destination());
}

// Promise: A repair deletes extra objects under policy `full` only, no more than it may, and none that is put
// at the source while it lists.
#[tokio::test]
async fn a_repair_under_policy_write_deletes_nothing() {
    let jobs = jobs(json!({"policy": "write"})).await;
    let job = jobs.complete(json!({"kind": "repair"})).await;
    assert_eq!(
        (number(&job, "extra"), number(&job, "deleted")),
        (1, 0),
        "{job}"
    );
    assert!(jobs.destination().contains_key("e extra"));
}

// Promise: A repair deletes extra objects under policy `full` only, no more than it may, and none that is put
// at the source while it lists.
#[tokio::test]
async fn a_repair_deletes_no_more_than_deletes_max() {
    let jobs = Jobs::new(json!({})).await;
    for n in 0..40 {
        jobs.at_destination(&format!("extra {n:02}"), "extra", DAY);
    }
    let job = jobs
        .complete(json!({"kind": "repair", "deletes_max": 15}))
        .await;
    assert_eq!(counts(&job), [("extra", 40), ("deleted", 15)]);
    assert_eq!(jobs.destination().len(), 25);
    let job = jobs
        .complete(json!({"kind": "repair", "deletes_max": 0}))
        .await;
    assert_eq!(counts(&job), [("extra", 25)]);
}

// Promise: A replica is deleted only under policy `full`, and only when the source itself answers 404 for the
// key: a 403, an error, a missing answer or a listing is never taken for absence.
#[tokio::test]
async fn only_a_404_of_the_source_makes_an_object_extra() {
    for answer in [
        Action::s3_error(403, "AccessDenied"),
        Action::s3_error(500, "InternalError"),
        Action::BreakBefore,
    ] {
        let jobs = Jobs::new(json!({})).await;
        jobs.at_destination("extra", "extra", DAY);
        let source = jobs.buckets.source.name.clone();
        let heads = move |seen: &Seen| seen.is("HeadObject") && seen.bucket == source;
        jobs.s3.script(1_000, heads, answer.clone());
        jobs.start(json!({"kind": "repair"})).await;
        let worker = jobs.worker().await;
        for message in jobs.messages().await {
            jobs.acknowledged(&worker, &message, 1).await;
        }
        assert_eq!(jobs.destination().len(), 1, "{answer:?}");
        assert_eq!(number(&jobs.job().await, "deleted"), 0, "{answer:?}");
    }
}

// Promise: A repair deletes extra objects under policy `full` only, no more than it may, and none that is put
// at the source while it lists.
#[tokio::test]
async fn an_object_put_while_a_repair_lists_is_not_extra() {
    let jobs = Jobs::new(json!({})).await;
    jobs.at_source("a", "a", DAY);
    let source = jobs.buckets.source.name.clone();
    let lists = move |seen: &Seen| seen.is("ListObjectsV2") && seen.bucket == source;
    let gate = jobs.s3.hold_after(lists);
    jobs.start(json!({"kind": "repair"})).await;
    let worker = jobs.worker().await;
    let messages = jobs.messages().await;
    // The destination is listed at the same time. Its listing waits until the source's listing has been carried out.
    let replica = jobs.buckets.destination.name.clone();
    let replicas = jobs
        .s3
        .hold_before(move |seen: &Seen| seen.is("ListObjectsV2") && seen.bucket == replica);
    let answer = worker.begin(jobs.batch(&messages[0], 1));
    gate.arrived().await;
    replicas.arrived().await;
    jobs.at_source("b", "b", TimeDelta::zero());
    jobs.at_destination("b", "b", TimeDelta::zero());
    gate.open();
    replicas.open();
    answer.await.expect("an answer");
    assert_eq!(number(&jobs.job().await, "deleted"), 0);
    assert!(jobs.destination().contains_key("b"));
}

#[tokio::test]
async fn thousands_of_extras_are_processed_page_by_page() {
    let jobs = Jobs::new(json!({})).await;
    jobs.at_source("m", "m", DAY);
    for n in 0..2_500 {
        jobs.at_destination(&format!("{n:05}"), "extra", DAY);
        jobs.at_destination(&format!("z{n:05}"), "extra", DAY);
    }
    let job = jobs.complete(json!({"kind": "verify"})).await;
    assert_eq!(
        counts(&job),
        [("listed", 1), ("missing", 1), ("extra", 5_000)]
    );
    // A backfill does not report extra objects.
    jobs.memory.take_counts();
    let job = jobs.complete(json!({})).await;
    assert_eq!(counts(&job), [("listed", 1), ("copied", 1)]);
}

#[tokio::test]
async fn a_report_has_a_line_for_every_finding() {
    let jobs = jobs(json!({})).await;
    jobs.memory.make_bucket("tandem-reports", EAST);
    let job = jobs
        .complete(json!({"kind": "repair", "report": "s3://tandem-reports/nightly/"}))
        .await;
    let objects = jobs.memory.objects("tandem-reports");
    let id = job["id"].as_str().expect("an id");
    assert!(
        objects.contains_key(&format!("nightly/{id}/job.json")),
        "{:?}",
        objects.keys()
    );
    let lines = objects.iter().filter(|(key, _)| !key.ends_with("job.json"));
    let lines: Vec<Value> = lines
        .flat_map(|(_, object)| {
            let body = object.bytes();
            let lines = serde_json::Deserializer::from_slice(&body).into_iter::<Value>();
            lines
                .map(|line| line.expect("a line of JSON"))
                .collect::<Vec<_>>()
        })
        .collect();
    let told: Vec<[&str; 3]> = lines
        .iter()
        .map(|line| ["key", "kind", "done"].map(|field| line[field].as_str().expect("a text")))
        .collect();
    assert_eq!(
        told,
        [
            ["b missing", "missing", "copied"],
            ["c other bytes", "different", "copied"],
            ["d other size", "different", "copied"],
            ["e extra", "extra", "deleted"],
        ]
    );
    assert_eq!(lines[1]["source"]["bytes"], 6);
    assert_eq!(lines[0]["destination"], Value::Null);
}

#[tokio::test]
async fn a_job_whose_report_cannot_be_written_is_refused_at_the_start() {
    let jobs = jobs(json!({})).await;
    let request = json!({"action": "start", "rule": jobs.rule, "kind": "verify", "report": "s3://tandem-nowhere/"});
    let (code, message) = jobs.refused(request).await;
    assert_eq!(code, "InvalidRequest");
    assert!(
        message.contains("report") && message.contains("tandem-nowhere"),
        "{message}"
    );
    let (code, _) = jobs
        .refused(json!({"action": "status", "rule": jobs.rule}))
        .await;
    assert_eq!(code, "JobNotFound");
}
