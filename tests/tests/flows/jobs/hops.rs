//! Messages that follow from one another without progress. AWS does not stop them, because the template allows them.
//! Tandem stops them.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use tandem_replication::work::HOPS_MAX;

use super::{Jobs, keys};

/// Makes the shard of the newest job appear as handed on this many times.
async fn handed_on(jobs: &Jobs, hops: u32) {
    let job = jobs.change("status").await;
    let id = job["id"].as_str().expect("an id");
    let items = jobs.cloud.items_with(id).await;
    let of_shard = |item: &&std::collections::HashMap<String, AttributeValue>| {
        item["pk"].as_s().is_ok_and(|pk| pk.starts_with("shard#"))
    };
    let shard = items.iter().find(of_shard).expect("a shard");
    let hops = AttributeValue::N(hops.to_string());
    let request = jobs.cloud.dynamodb.update_item();
    request
        .table_name(jobs.cloud.table().await)
        .key("pk", shard["pk"].clone())
        .key("sk", shard["sk"].clone())
        .update_expression("SET hops = :hops")
        .expression_attribute_values(":hops", hops)
        .send()
        .await
        .expect("a shard with hops");
}

// Promise: A shard that was handed on 100 times without progress is given up with that reason, and a metric that
// has an alarm counts it.
#[tokio::test]
async fn a_shard_that_is_handed_on_without_end_is_stopped() {
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(3));
    jobs.start(json!({})).await;
    let message = jobs.messages().await.remove(0);
    handed_on(&jobs, HOPS_MAX + 1).await;
    let worker = jobs.worker().await;
    assert!(jobs.acknowledged(&worker, &message, 1).await);
    let job = jobs.job().await;
    assert_eq!(job["state"], "failed", "{job}");
    let said = job.to_string();
    assert!(said.contains("workers handed it on 100 times"), "{said}");
    assert!(
        worker.log().contains("WorkStopped"),
        "the alarm uses this metric"
    );
    assert!(jobs.messages().await.is_empty(), "nothing follows");
}

#[tokio::test]
async fn a_shard_that_makes_progress_may_be_handed_on_again() {
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(3));
    jobs.start(json!({})).await;
    handed_on(&jobs, HOPS_MAX).await;
    jobs.run_dry(&[jobs.worker().await]).await;
    assert_eq!(jobs.job().await["state"], "complete");
    assert_eq!(jobs.destination(), jobs.source());
}

// Promise: An object whose transfer was restarted 100 times is recorded with the reason `NoProgress`.
#[tokio::test]
async fn an_object_whose_transfer_restarts_without_end_is_parked() {
    let jobs = Jobs::new(json!({})).await;
    jobs.fill_source(keys(1));
    let key = jobs.source().keys().next().expect("a key").clone();
    let work = json!({"kind": "object", "rule_id": jobs.rule, "key": key,
        "event_time": "2026-11-22T21:00:00Z", "hops": HOPS_MAX + 1});
    jobs.cloud.send(&jobs.queue, &work.to_string()).await;
    let worker = jobs.worker().await;
    jobs.run_dry(std::slice::from_ref(&worker)).await;
    let asked = json!({"action": "failure", "rule": jobs.rule, "key": key});
    let failure = jobs.cloud.configure(asked).await.expect("a failure");
    assert_eq!(failure["failure"]["reason"], "NoProgress", "{failure}");
    assert!(
        worker.log().contains("WorkStopped"),
        "the alarm uses this metric"
    );
    assert!(jobs.destination().is_empty(), "it was not copied");
}
