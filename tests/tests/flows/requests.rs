//! The cost of a change: every request of the real binaries, counted on its way to AWS.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tandem_tests::bucket::Object;
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::Cloud;
use tandem_tests::function_process::{FunctionProcess, Start};
use tandem_tests::notification;
use tandem_tests::proxy::Proxy;

/// The reads of the rule table before a function's first request to a bucket.
const RULE_READ: [&str; 3] = ["DynamoDB.GetItem", "DynamoDB.GetItem", "DynamoDB.Query"];

struct Stage {
    cloud: Cloud,
    buckets: Buckets,
    proxy: Proxy,
    function: FunctionProcess,
    queue_arn: String,
}

impl Stage {
    /// Makes a rule that gets its events only from the test, and starts the function of this name behind a proxy.
    async fn new(name: &str, versioned: bool, fields: Value) -> Self {
        let cloud = Cloud::connect().await;
        let buckets = Buckets::new(&cloud, versioned).await;
        cloud.quiet_rule(&buckets, fields).await;
        let proxy = Proxy::start(&cloud.endpoint).await;
        let start = Start::of(&cloud, name).await.through(&proxy);
        let queue = if name == "replicate-put" {
            "put"
        } else {
            "delete"
        };
        Self {
            queue_arn: format!("arn:aws:sqs:us-east-1:000000000000:{}-{queue}", cloud.stack),
            function: start.start().await,
            cloud,
            buckets,
            proxy,
        }
    }

    /// Hands one batch to the function, and panics if any of it fails. Returns the requests.
    async fn story(&self, notifications: &[Value]) -> Vec<String> {
        let bodies: Vec<String> = notifications.iter().map(Value::to_string).collect();
        let answer = self
            .function
            .invoke(notification::batch(&self.queue_arn, &bodies))
            .await;
        let kept = notification::kept(&answer.expect("a batch is answered"));
        assert!(
            kept.is_empty(),
            "kept {kept:?}; log:\n{}",
            self.function.log()
        );
        self.proxy.take_story(&self.buckets)
    }

    /// Puts an object. Returns its notification.
    async fn put(&self, key: &str, body: &str) -> Value {
        let etag = self.buckets.source.put(key, body).await;
        notification::put(&self.buckets.source, key, &etag, body.len())
    }
}

fn after_rule_read(story: &[String]) -> Vec<&str> {
    let (read, rest) = story.split_at(RULE_READ.len());
    assert_eq!(read, RULE_READ, "of {story:?}");
    rest.iter().map(String::as_str).collect()
}

/// Waits until the source's `Last-Modified` is two seconds old, because it is given in whole seconds.
async fn grow_old() {
    let beginning = SystemTime::now();
    tandem_tests::eventually::eventually("two seconds pass", Duration::from_secs(5), async || {
        let age = beginning.elapsed().unwrap_or_default();
        if age > Duration::from_millis(2_100) {
            Ok(())
        } else {
            Err(format!("{age:?}"))
        }
    })
    .await;
}

// Promise: A small put on a versioned source costs one COPY and one HEAD, and no write to the table.
#[tokio::test]
async fn a_small_put_costs_one_copy_and_one_head_and_no_write_to_the_table() {
    let stage = Stage::new("replicate-put", true, json!({})).await;
    let first = stage.put("a", "one").await;
    let story = stage.story(&[first]).await;
    assert_eq!(
        after_rule_read(&story),
        ["CopyObject replica", "HeadObject source"]
    );
    let second = stage.put("b", "two").await;
    assert_eq!(
        stage.story(&[second]).await,
        ["CopyObject replica", "HeadObject source"]
    );
    stage.buckets.assert_equal("").await;
}

#[tokio::test]
async fn metadata_and_tags_cost_no_more_requests() {
    let stage = Stage::new("replicate-put", true, json!({})).await;
    let object = Object::of("dressed").dressed("mark");
    let etag = stage.buckets.source.put_object("a", &object).await;
    let put = notification::put(&stage.buckets.source, "a", &etag, object.body.len());
    let story = stage.story(&[put]).await;
    assert_eq!(
        after_rule_read(&story),
        ["CopyObject replica", "HeadObject source"]
    );
    stage.buckets.assert_equal("").await;
}

// Promise: Without versions it costs one HEAD more if the object was written within the last two seconds.
#[tokio::test]
async fn without_versions_an_object_older_than_two_seconds_costs_no_more() {
    let stage = Stage::new("replicate-put", false, json!({})).await;
    let put = stage.put("a", "one").await;
    grow_old().await;
    let story = stage.story(&[put]).await;
    assert_eq!(
        after_rule_read(&story),
        ["CopyObject replica", "HeadObject source"]
    );
}

// Promise: Without versions it costs one HEAD more if the object was written within the last two seconds.
#[tokio::test]
async fn without_versions_an_object_just_written_costs_a_head_of_the_replica() {
    let stage = Stage::new("replicate-put", false, json!({})).await;
    let put = stage.put("a", "one").await;
    let story = stage.story(&[put]).await;
    assert_eq!(
        after_rule_read(&story),
        [
            "CopyObject replica",
            "HeadObject source",
            "HeadObject replica"
        ]
    );
}

// Promise: A delete costs three HEAD and one DELETE.
#[tokio::test]
async fn a_delete_costs_three_heads_and_one_delete() {
    for versioned in [true, false] {
        let stage = Stage::new("replicate-delete", versioned, json!({})).await;
        stage.buckets.source.put("a", "one").await;
        stage.buckets.destination.put("a", "one").await;
        stage.buckets.source.delete("a").await;
        let delete = notification::delete(&stage.buckets.source, "a");
        let story = stage.story(&[delete]).await;
        assert_eq!(
            after_rule_read(&story),
            [
                "HeadObject source",
                "HeadObject replica",
                "DeleteObject replica",
                "HeadObject source"
            ],
            "versioned: {versioned}"
        );
        stage.buckets.assert_equal("").await;
    }
}

// Promise: Changes of one key in one batch are carried over once; the result acknowledges all their messages.
#[tokio::test]
async fn changes_of_one_key_in_a_batch_are_one_copy_of_the_newest() {
    let stage = Stage::new("replicate-put", true, json!({})).await;
    let mut puts = Vec::new();
    for body in ["one", "two", "three"] {
        puts.push(stage.put("a", body).await);
    }
    puts.rotate_left(1); // The newest need not be the last.
    let story = stage.story(&puts).await;
    assert_eq!(
        after_rule_read(&story),
        ["CopyObject replica", "HeadObject source"]
    );
    stage.buckets.assert_equal("").await;
}

// Promise: Notifications may come in any order, late, and more than once: the source's present state decides.
#[tokio::test]
async fn an_outdated_put_changes_nothing_and_ends_in_agreement() {
    let stage = Stage::new("replicate-put", true, json!({})).await;
    let outdated = stage.put("a", "one").await;
    let newest = stage.put("a", "two").await;
    stage.story(&[newest]).await;
    let story = stage.story(&[outdated]).await;
    assert_eq!(
        story,
        [
            "CopyObject replica",
            "HeadObject source",
            "HeadObject replica"
        ]
    );
    stage.buckets.assert_equal("").await;
}

// Promise: What the rule does not cover costs no request to S3.
#[tokio::test]
async fn a_key_outside_the_scope_costs_no_request_to_s3() {
    let stage = Stage::new(
        "replicate-put",
        true,
        json!({"scope": {"prefixes": ["in/"]}}),
    )
    .await;
    let out = stage.put("out/a", "one").await;
    let story = stage.story(std::slice::from_ref(&out)).await;
    assert!(
        story.iter().all(|request| request.starts_with("DynamoDB.")),
        "{story:?}"
    );
    assert!(
        !story.iter().any(|request| writes_to_the_table(request)),
        "{story:?}"
    );
    assert!(stage.buckets.destination.list("").await.is_empty());
}

#[tokio::test]
async fn a_delete_that_the_policy_keeps_costs_two_heads() {
    let stage = Stage::new("replicate-delete", true, json!({"policy": "write"})).await;
    stage.buckets.destination.put("a", "one").await;
    let story = stage
        .story(&[notification::delete(&stage.buckets.source, "a")])
        .await;
    let to_s3: Vec<&String> = story
        .iter()
        .filter(|request| !request.starts_with("DynamoDB."))
        .collect();
    assert_eq!(to_s3, ["HeadObject source", "HeadObject replica"]);
    assert!(
        !story.iter().any(|request| writes_to_the_table(request)),
        "{story:?}"
    );
}

#[tokio::test]
async fn a_batch_of_many_keys_reads_the_rule_once_and_costs_two_requests_for_each_key() {
    let stage = Stage::new("replicate-put", true, json!({})).await;
    let mut puts = vec![stage.put("first", "").await];
    stage.story(&puts).await;
    puts.clear();
    for n in 0..10 {
        puts.push(stage.put(&format!("key {n}"), "body").await);
    }
    let mut story = stage.story(&puts).await;
    story.sort();
    let wanted = [
        vec!["CopyObject replica"; 10],
        vec!["HeadObject source"; 10],
    ]
    .concat();
    assert_eq!(story, wanted);
    stage.buckets.assert_equal("").await;
    // A rule is remembered for five seconds only.
    let rules = stage.cloud.items_with(&stage.buckets.source.name).await;
    assert_eq!(
        rules.len(),
        2,
        "the rule and the claim on its source: {rules:?}"
    );
}

fn writes_to_the_table(request: &str) -> bool {
    [
        "PutItem",
        "UpdateItem",
        "DeleteItem",
        "BatchWriteItem",
        "TransactWriteItems",
    ]
    .iter()
    .any(|operation| request.ends_with(operation))
}
