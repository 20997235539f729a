//! The source's notifications: the rule's are added, somebody else's stay.

use aws_sdk_s3::types::{
    Event, EventBridgeConfiguration, FilterRule, FilterRuleName, NotificationConfiguration,
    NotificationConfigurationFilter, QueueConfiguration, S3KeyFilter,
};
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::Cloud;
use tandem_tests::eventually::SOON;

use super::{entries, refused};

/// A notification of somebody else's, to a queue of their own.
async fn theirs(cloud: &Cloud, event: &str, prefix: &str) -> QueueConfiguration {
    let url = cloud.own_queue().await;
    let arn = cloud.queue_arn(&url).await;
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": arn},
    ]});
    let set = cloud.sqs.set_queue_attributes().queue_url(&url);
    set.attributes(QueueAttributeName::Policy, policy.to_string())
        .send()
        .await
        .expect("a queue policy");
    let rule = FilterRule::builder()
        .name(FilterRuleName::Prefix)
        .value(prefix)
        .build();
    let filter = NotificationConfigurationFilter::builder()
        .key(S3KeyFilter::builder().filter_rules(rule).build())
        .build();
    QueueConfiguration::builder()
        .id("theirs")
        .queue_arn(arn)
        .events(Event::from(event))
        .filter(filter)
        .build()
        .expect("an entry")
}

fn entry(queue: &str, prefix: &str) -> (String, String, String) {
    let event = if queue == "put" {
        "s3:ObjectCreated:*"
    } else {
        "s3:ObjectRemoved:*"
    };
    (queue.to_owned(), event.to_owned(), prefix.to_owned())
}

// Promise: A rule leaves the bucket's other notifications as they are.
#[tokio::test]
async fn a_rule_joins_the_notifications_that_are_there_and_leaves_them_there() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let theirs = theirs(&cloud, "s3:ObjectCreated:*", "theirs/").await;
    let before = NotificationConfiguration::builder()
        .queue_configurations(theirs.clone())
        .event_bridge_configuration(EventBridgeConfiguration::builder().build())
        .build();
    buckets.source.set_notifications(before).await;
    let before = buckets.source.notifications().await;
    let rule = cloud
        .rule(&buckets, json!({"scope": {"prefixes": ["ours/"]}}))
        .await;
    let with_ours = buckets.source.notifications().await;
    assert_eq!(with_ours.queue_configurations().len(), 3, "{with_ours:?}");
    assert!(
        with_ours
            .queue_configurations()
            .contains(&before.queue_configurations()[0]),
        "{with_ours:?}"
    );
    assert!(with_ours.event_bridge_configuration().is_some());
    buckets.source.put("ours/a", "a").await;
    buckets.arrive("ours/a", SOON).await;
    cloud.change("delete", &rule).await;
    let after = buckets.source.notifications().await;
    assert_eq!(after.queue_configurations, before.queue_configurations);
    assert!(after.event_bridge_configuration().is_some());
}

#[tokio::test]
async fn a_notification_for_the_same_keys_is_a_conflict() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let theirs = theirs(&cloud, "s3:ObjectCreated:Put", "in/deep/").await;
    let before = NotificationConfiguration::builder()
        .queue_configurations(theirs)
        .build();
    buckets.source.set_notifications(before).await;
    for fields in [
        json!({}),
        json!({"scope": {"prefixes": ["in/"]}}),
        json!({"scope": {"prefixes": ["in/deep/er"]}}),
    ] {
        let said = ["source", "theirs", "narrow or remove"];
        refused(&cloud, &buckets, fields, "NotificationConflict", said).await;
    }
    let rule = cloud
        .rule(&buckets, json!({"scope": {"prefixes": ["out/"]}}))
        .await;
    // An update that conflicts leaves the rule and its notifications as they were.
    let update = json!({"action": "update", "rule": rule, "scope": {"prefixes": ["in/"]}, "policy": "write"});
    let error = cloud.configure(update).await.expect_err("a refusal");
    assert_eq!(error.code, "NotificationConflict");
    let found = cloud.change("get", &rule).await;
    assert_eq!(
        (&found["scope"]["prefixes"], &found["policy"]),
        (&json!(["out/"]), &json!("full"))
    );
    assert_eq!(
        entries(&buckets, &rule).await,
        [entry("delete", "out/"), entry("put", "out/")]
    );
}

// Promise: If the current version of a source object is deleted by its id, the version that becomes current is
// carried over, under either policy.
#[tokio::test]
async fn prefixes_and_policy_are_told_to_s3_and_an_update_tells_it_anew() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let fields = json!({"scope": {"prefixes": ["a/", "b/"]}, "policy": "write"});
    let rule = cloud.rule(&buckets, fields).await;
    let of_versions = |prefix: &str| {
        let event = "s3:ObjectRemoved:Delete";
        ("delete".to_owned(), event.to_owned(), prefix.to_owned())
    };
    assert_eq!(
        entries(&buckets, &rule).await,
        [
            of_versions("a/"),
            of_versions("b/"),
            entry("put", "a/"),
            entry("put", "b/")
        ]
    );
    let update = |fields: Value| {
        let mut request = json!({"action": "update", "rule": rule});
        request
            .as_object_mut()
            .expect("an object")
            .extend(fields.as_object().cloned().unwrap_or_default());
        cloud.configure(request)
    };
    let updated = update(json!({"scope": {"prefixes": ["b/"]}, "policy": "full"}))
        .await
        .expect("an update");
    assert_eq!(updated["rule"]["revision"], 3, "{updated}");
    assert_eq!(
        entries(&buckets, &rule).await,
        [entry("delete", "b/"), entry("put", "b/")]
    );
    buckets.source.put("a/1", "out of scope by now").await;
    buckets.source.put("b/1", "in scope").await;
    buckets.arrive("b/1", SOON).await;
    update(json!({"scope": "all"})).await.expect("an update");
    assert_eq!(
        entries(&buckets, &rule).await,
        [entry("delete", ""), entry("put", "")]
    );
    buckets.source.put("c/1", "in scope by now").await;
    buckets.arrive("c/1", SOON).await;
    assert!(buckets.destination.head("a/1").await.is_none());
    let nothing = update(json!({})).await.expect_err("a refusal");
    assert_eq!(nothing.code, "InvalidRequest");
}
