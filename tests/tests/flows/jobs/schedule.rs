//! Work that no operator starts: reconciliations that are due, and jobs that are stalled.

use chrono::TimeDelta;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{Jobs, counts, keys, number};

/// Serialises maintenance, which concerns the jobs of every rule of the stack, including other tests' rules.
pub static MAINTENANCE: Mutex<()> = Mutex::const_new(());

/// Sets an attribute of some items to a time this long ago: of the items whose partition begins so and that contain
/// `id`.
pub async fn set_back(jobs: &Jobs, partition: &str, id: &str, attribute: &str, ago: TimeDelta) {
    jobs.cloud.set_back(partition, id, attribute, ago).await;
}

pub async fn maintain(jobs: &Jobs) -> Value {
    jobs.ask(json!({"action": "tend"})).await
}

#[tokio::test]
async fn a_reconciliation_that_is_due_is_started_once_and_shown() {
    let _alone = MAINTENANCE.lock().await;
    let jobs = Jobs::new(json!({"options": {"reconcile": "daily"}})).await;
    jobs.fill_source(keys(2));
    jobs.at_destination("extra", "extra", TimeDelta::days(1));
    maintain(&jobs).await;
    assert_eq!(
        jobs.cloud.progress(&jobs.rule).await["reconciliation"],
        Value::Null
    );

    set_back(
        &jobs,
        "rule",
        &jobs.rule,
        "updated_at",
        TimeDelta::hours(25),
    )
    .await;
    maintain(&jobs).await;
    maintain(&jobs).await;
    jobs.run_dry(&[jobs.worker().await]).await;
    let listed = jobs.ask(json!({"action": "list", "rule": jobs.rule})).await;
    assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(1), "{listed}");
    let shown = jobs.cloud.progress(&jobs.rule).await["reconciliation"].take();
    assert_eq!(
        (&shown["kind"], &shown["scheduled"], &shown["state"]),
        (&json!("repair"), &json!(true), &json!("complete")),
        "{shown}"
    );
    assert_eq!(
        counts(&shown),
        [("listed", 2), ("copied", 2), ("extra", 1), ("deleted", 1)]
    );
    // It is not started again before it is due.
    maintain(&jobs).await;
    let listed = jobs.ask(json!({"action": "list", "rule": jobs.rule})).await;
    assert_eq!(listed["jobs"].as_array().map(Vec::len), Some(1), "{listed}");
}

// Promise: The redelivery of a shard's message recovers the page of a dead worker; if the message is gone,
// hourly maintenance sends one once the lease has expired.
// Promise: A job that has stood still for an hour says so in its status, until a worker takes it up again.
#[tokio::test]
async fn maintenance_sends_a_lost_message_again() {
    let _alone = MAINTENANCE.lock().await;
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(5));
    let job = jobs.start(json!({})).await;
    let id = job["id"].as_str().expect("an id");
    // The message is received, and lost.
    assert_eq!(jobs.messages().await.len(), 1);
    maintain(&jobs).await;
    assert!(
        jobs.messages().await.is_empty(),
        "a worker may have the message"
    );
    assert_eq!(jobs.job().await["stalled_since"], Value::Null);
    set_back(&jobs, "shard#", id, "progressed_at", TimeDelta::hours(4)).await;
    let stalled = jobs.job().await;
    assert!(stalled["stalled_since"].is_string(), "{stalled}");
    let maintained = maintain(&jobs).await;
    let helped = maintained["helped_on"].as_array().expect("jobs");
    assert!(helped.contains(&json!(id)), "{maintained}");
    jobs.run_dry(&[jobs.worker().await]).await;
    let job = jobs.job().await;
    assert_eq!(job["state"], "complete", "{job}");
    assert_eq!(job["stalled_since"], Value::Null, "{job}");
    assert_eq!(number(&job, "copied"), 5);
}
