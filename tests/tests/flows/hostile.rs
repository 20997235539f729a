//! Hostile input for the functions themselves: invalid requests never leave half a rule, and a change whose rule cannot
//! be read stays in its queue.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    ScalarAttributeType,
};
use aws_sdk_s3::types::{EventBridgeConfiguration, NotificationConfiguration};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tandem_hostile::damage::damaged;
use tandem_replication::rule::Rule;
use tandem_replication::subscription::entries;
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::{Cloud, Item, unique};
use tandem_tests::function_process::{FunctionProcess, Start};
use tandem_tests::notification;

/// The number of requests of each kind.
const REQUESTS: usize = 300;

/// Generates requests, the same ones in every run.
fn generated(requests: Vec<Value>) -> Vec<Value> {
    let mut runner = TestRunner::deterministic();
    let hostile = damaged(requests);
    (0..REQUESTS)
        .map(|_| hostile.new_tree(&mut runner).expect("a request").current())
        .collect()
}

/// Asserts that an accepted rule is whole: stored, enabled and attached as the answer shows it.
async fn assert_whole(function: &FunctionProcess, buckets: &Buckets, rule: &Value) {
    let get = json!({"action": "get", "rule": rule["id"]});
    let shown = function.invoke(get).await.expect("a rule");
    assert_eq!(shown["rule"], *rule);
    assert_eq!(rule["state"], "enabled");
    let read: Rule = serde_json::from_value(rule.clone()).expect("a rule of the contract");
    let wanted: BTreeSet<String> = entries(&read)
        .into_iter()
        .map(|(_, entry)| entry.id)
        .collect();
    let found = buckets.source.notifications().await;
    let found = found
        .queue_configurations()
        .iter()
        .filter_map(|entry| entry.id());
    assert_eq!(found.map(str::to_owned).collect::<BTreeSet<_>>(), wanted);
}

/// The receivers of the source's notifications, as text.
async fn notified(buckets: &Buckets) -> String {
    let found = buckets.source.notifications().await;
    format!(
        "{:?} {:?} {:?} {:?}",
        found.queue_configurations(),
        found.topic_configurations(),
        found.lambda_function_configurations(),
        found.event_bridge_configuration()
    )
}

async fn assert_nothing_left(cloud: &Cloud, buckets: &Buckets) {
    for bucket in [&buckets.source, &buckets.destination] {
        let left = cloud.items_with(&bucket.name).await;
        assert!(left.is_empty(), "{left:?}");
    }
}

// Promise: Hundreds of hostile requests leave no half of a rule.
#[tokio::test]
async fn hundreds_of_hostile_requests_never_leave_half_a_rule() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let theirs = NotificationConfiguration::builder()
        .event_bridge_configuration(EventBridgeConfiguration::builder().build());
    buckets.source.set_notifications(theirs.build()).await;
    let before = notified(&buckets).await;
    let function = Start::of(&cloud, "configure-rule").await.start().await;

    let (source, destination) = (&buckets.source.name, &buckets.destination.name);
    let plain = json!({"action": "create", "source": source, "destination": destination});
    let mut full = plain.clone();
    full["destination_region"] = json!(buckets.destination.region);
    full["scope"] = json!({"prefixes": ["2025/", "2026/"]});
    full["policy"] = json!("write");
    let mut granted = 0;
    for request in generated(vec![plain.clone(), full]) {
        match function.invoke(request.clone()).await {
            Err(error) => assert!(refuses(&error.code), "{request}: {error:?}"),
            Ok(answer) => {
                granted += 1;
                assert_whole(&function, &buckets, &answer["rule"]).await;
                let delete = json!({"action": "delete", "rule": answer["rule"]["id"]});
                function.invoke(delete).await.expect("the rule is deleted");
            }
        }
    }
    assert!(
        granted < REQUESTS / 2,
        "{granted} of {REQUESTS} requests are valid"
    );
    assert_nothing_left(&cloud, &buckets).await;
    assert_eq!(notified(&buckets).await, before);

    let mut rule = function.invoke(plain).await.expect("the rule is accepted")["rule"].take();
    let update = json!({"action": "update", "rule": source, "policy": "write",
        "scope": {"prefixes": ["2025/", "2026/"]}});
    for request in generated(vec![update]) {
        match function.invoke(request.clone()).await {
            Err(error) => assert!(refuses(&error.code), "{request}: {error:?}"),
            Ok(mut answer) => rule = answer["rule"].take(),
        }
        let get = json!({"action": "get", "rule": source});
        assert_eq!(
            function.invoke(get).await.expect("the rule")["rule"],
            rule,
            "{request}"
        );
    }
    assert_whole(&function, &buckets, &rule).await;
    let delete = json!({"action": "delete", "rule": destination});
    function.invoke(delete).await.expect("the rule is deleted");
    assert_nothing_left(&cloud, &buckets).await;
    assert_eq!(notified(&buckets).await, before);
    cloud.rule(&buckets, json!({})).await;
}

/// Whether a code means that the request is wrong, and not that the function or AWS failed.
fn refuses(code: &str) -> bool {
    code != "Internal" && code.chars().all(|c| c.is_ascii_alphabetic()) && code != "Killed"
}

/// Creates a separate table with these items, so that unreadable items disturb no other test.
async fn table_with(cloud: &Cloud, items: Vec<Item>) -> String {
    let name = unique("table");
    let mut create = cloud
        .dynamodb
        .create_table()
        .table_name(&name)
        .billing_mode(BillingMode::PayPerRequest);
    for (attribute, of_key) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
        let text = AttributeDefinition::builder()
            .attribute_name(attribute)
            .attribute_type(ScalarAttributeType::S);
        let element = KeySchemaElement::builder()
            .attribute_name(attribute)
            .key_type(of_key);
        create = create
            .attribute_definitions(text.build().expect("an attribute"))
            .key_schema(element.build().expect("a key"));
    }
    create.send().await.expect("a table");
    for item in items {
        let put = cloud.dynamodb.put_item().table_name(&name);
        put.set_item(Some(item)).send().await.expect("an item");
    }
    name
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// The items of both rules. Those of `broken` have `value` in `attribute`, or no such attribute.
async fn items(
    cloud: &Cloud,
    [broken, fine]: [&Buckets; 2],
    (pk, attribute, value): (&str, &str, Option<AttributeValue>),
) -> Vec<Item> {
    let rule = cloud.items_with(&broken.source.name).await;
    let rule = rule
        .iter()
        .find(|item| item["pk"] == text("rule"))
        .expect("a rule")["sk"]
        .clone();
    let mut items = cloud.items_with(rule.as_s().expect("an id")).await;
    for item in &mut items {
        let it = item["sk"] == rule || item["sk"] == text(&broken.source.name);
        if it && item["pk"] == text(pk) {
            item.remove(attribute);
            item.extend(value.clone().map(|value| (attribute.to_owned(), value)));
        }
    }
    let id = cloud
        .configure(json!({"action": "get", "rule": fine.source.name}))
        .await;
    let id = id.expect("a rule")["rule"]["id"].clone();
    items.extend(cloud.items_with(id.as_str().expect("an id")).await);
    items
}

// Promise: A change whose rule cannot be read stays in its queue.
#[tokio::test]
async fn a_change_whose_rule_cannot_be_read_stays_in_its_queue() {
    let cloud = Cloud::connect().await;
    let (broken, fine) = futures::join!(Buckets::new(&cloud, false), Buckets::new(&cloud, false));
    let rule = cloud.quiet_rule(&broken, json!({})).await;
    cloud.quiet_rule(&fine, json!({})).await;
    let by_tag = AttributeValue::M(HashMap::from([("tags".to_owned(), text("archive"))]));
    for (at, change) in [
        ("rule", "policy", Some(text("append"))),
        ("rule", "state", Some(text("archiving"))),
        ("rule", "scope", Some(by_tag)),
        ("rule", "revision", None),
        ("rule", "source_region", Some(AttributeValue::Bool(true))),
        ("bucket", "role", Some(text("mirror"))),
    ]
    .into_iter()
    .enumerate()
    {
        let of_the_rule = change.0 == "rule";
        let items = items(&cloud, [&broken, &fine], change).await;
        let table = table_with(&cloud, items).await;
        let key = format!("key {at}");
        let mut bodies = Vec::new();
        for pair in [&broken, &fine] {
            let etag = pair.source.put(&key, "x").await;
            bodies.push(notification::put(&pair.source, &key, &etag, 1).to_string());
        }
        assert_eq!(
            kept(&cloud, "replicate-put", &table, &bodies).await,
            ["0"],
            "{key}"
        );
        fine.assert_equal("").await;
        let deletes =
            [&broken, &fine].map(|pair| notification::delete(&pair.source, &key).to_string());
        assert_eq!(
            kept(&cloud, "replicate-delete", &table, &deletes).await,
            ["0"],
            "{key}"
        );
        if of_the_rule {
            let work = json!({"kind": "object", "rule_id": rule, "key": key, "event_time": "2026-11-22T21:00:00Z"});
            assert_eq!(
                kept(&cloud, "backfill-shard", &table, &[work.to_string()]).await,
                ["0"],
                "{key}"
            );
        }
    }
    assert!(broken.destination.list("").await.is_empty());
}

/// The messages of a batch that a function returns to the queue, if it reads its rules in `table`.
async fn kept(cloud: &Cloud, function: &str, table: &str, bodies: &[String]) -> Vec<String> {
    let queue = function.rsplit('-').next().unwrap_or_default();
    let queue = if queue == "shard" { "work" } else { queue };
    let queue_arn = cloud.queue_arn(&cloud.queue_url(queue).await).await;
    let start = Start::of(cloud, function)
        .await
        .variable("TANDEM_RULE_TABLE", table);
    let function = start.start().await;
    let answer = function
        .invoke(notification::batch(&queue_arn, bodies))
        .await;
    notification::kept(&answer.expect("an answer"))
}
