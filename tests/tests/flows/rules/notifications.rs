//! The source's notifications: the rule's entries are added, and those of other writers stay.

use aws_sdk_s3::types::{
    Event, EventBridgeConfiguration, FilterRule, FilterRuleName, LambdaFunctionConfiguration,
    NotificationConfiguration, NotificationConfigurationFilter, QueueConfiguration, S3KeyFilter,
    TopicConfiguration,
};
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::Cloud;
use tandem_tests::eventually::SOON;
use tandem_tests::function_process::Start;
use tandem_tests::proxy::{Action, Proxy};

use super::{entries, refused};

fn prefix_filter(prefix: &str) -> NotificationConfigurationFilter {
    let rule = FilterRule::builder()
        .name(FilterRuleName::Prefix)
        .value(prefix)
        .build();
    NotificationConfigurationFilter::builder()
        .key(S3KeyFilter::builder().filter_rules(rule).build())
        .build()
}

/// An entry of another writer, for the writer's own queue.
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
    QueueConfiguration::builder()
        .id("theirs")
        .queue_arn(arn)
        .events(Event::from(event))
        .filter(prefix_filter(prefix))
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
async fn a_rule_is_added_to_the_existing_notifications_and_keeps_them() {
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
    // An update that conflicts changes neither the rule nor its notifications.
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
async fn the_notifications_follow_prefixes_and_policy_and_every_update() {
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

/// A trigger for another writer's Lambda function.
fn trigger(prefix: &str) -> LambdaFunctionConfiguration {
    LambdaFunctionConfiguration::builder()
        .id("hive")
        .lambda_function_arn("arn:aws:lambda:us-east-1:000000000000:function:theirs")
        .events(Event::from("s3:ObjectCreated:*"))
        .filter(prefix_filter(prefix))
        .build()
        .expect("an entry")
}

// Promise: Filters are compared by the keys that they mean to S3: notifications for other keys are no conflict.
#[tokio::test]
async fn a_rule_for_one_partition_fits_beside_a_trigger_on_another() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let before = NotificationConfiguration::builder()
        .lambda_function_configurations(trigger("snap/schemaVersion%3D1/"))
        .build();
    buckets.source.set_notifications_untried(before).await;
    let said = ["source", "snap/schemaVersion%3D1/", "narrow or remove"];
    let taken = json!({"scope": {"prefixes": ["snap/schemaVersion=1/today/"]}});
    refused(&cloud, &buckets, taken, "NotificationConflict", said).await;

    let prefixes = ["snap/schemaVersion=2/", "red flower+/", "ü/"];
    let rule = cloud
        .rule(&buckets, json!({"scope": {"prefixes": prefixes}}))
        .await;
    let found = entries(&buckets, &rule).await;
    for written in ["snap/schemaVersion%3D2/", "red+flower%2B/", "%C3%BC/"] {
        assert!(found.contains(&entry("put", written)), "{found:?}");
    }
    let check = json!({"action": "check", "rule": rule});
    let answer = cloud.configure(check).await.expect("a check");
    assert_eq!(answer["broken"], json!([]));
    for prefix in prefixes {
        let key = format!("{prefix}part");
        buckets.source.put(&key, "in scope").await;
        buckets.arrive(&key, SOON).await;
        buckets.source.delete(&key).await;
        buckets.vanish(&key, SOON).await;
    }
    cloud.change("delete", &rule).await;
    let after = buckets.source.notifications().await;
    assert_eq!(after.lambda_function_configurations().len(), 1);
}

/// Entries of other writers whose destinations no longer exist.
fn stale() -> NotificationConfiguration {
    let arn =
        |service: &str, name: &str| format!("arn:aws:{service}:us-east-1:000000000000:{name}");
    let queue = QueueConfiguration::builder()
        .id("reporting")
        .queue_arn(arn("sqs", "was-deleted"))
        .events(Event::from("s3:ObjectCreated:*"))
        .filter(prefix_filter("uploads/"))
        .build();
    let topic = TopicConfiguration::builder()
        .id("audit")
        .topic_arn(arn("sns", "was-deleted"))
        .events(Event::from("s3:ObjectAcl:Put"))
        .build();
    NotificationConfiguration::builder()
        .queue_configurations(queue.expect("an entry"))
        .topic_configurations(topic.expect("an entry"))
        .lambda_function_configurations(trigger("thumbnails/"))
        .build()
}

// Promise: A rule is made, changed and deleted although another entry of its source notifies a queue, a topic or a
// function that is gone.
// Promise: An update that changes no notification writes none.
#[tokio::test]
async fn an_entry_for_a_missing_queue_blocks_no_rule() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    buckets.source.set_notifications_untried(stale()).await;
    let before = buckets.source.notifications().await;
    let proxy = Proxy::start(&cloud.endpoint).await;
    let function = Start::of(&cloud, "configure-rule").await;
    let function = function.through(&proxy).start().await;
    let writes = || {
        let sent = proxy.take().into_iter();
        sent.filter(|seen| seen.is("PutBucketNotificationConfiguration"))
            .count()
    };
    let create = json!({"action": "create", "source": buckets.source.name,
        "destination": buckets.destination.name, "scope": {"prefixes": ["a/"]}});
    let rule = function.invoke(create).await.expect("a rule")["rule"]["id"].take();
    // The first request asks S3 to validate the destinations; the second one does not.
    assert_eq!(writes(), 2);
    let update = |fields: Value| {
        let mut request = json!({"action": "update", "rule": rule});
        let fields = fields.as_object().cloned().unwrap_or_default();
        request.as_object_mut().expect("an object").extend(fields);
        function.invoke(request)
    };
    for fields in [
        json!({"options": {"rpo_secs": 3_600}}),
        json!({"options": {"storage_class": "STANDARD_IA"}}),
        json!({"scope": {"prefixes": ["a/"]}, "policy": "full"}),
    ] {
        update(fields.clone()).await.expect("an update");
        assert_eq!(writes(), 0, "{fields}");
    }
    update(json!({"scope": {"prefixes": ["b=/"]}}))
        .await
        .expect("an update");
    assert_eq!(writes(), 2);
    buckets.source.put("b=/1", "in scope").await;
    buckets.arrive("b=/1", SOON).await;
    function
        .invoke(json!({"action": "delete", "rule": rule}))
        .await
        .expect("the rule is deleted");
    let after = buckets.source.notifications().await;
    assert_eq!(after.queue_configurations, before.queue_configurations);
    assert_eq!(after.topic_configurations, before.topic_configurations);
    assert_eq!(
        after.lambda_function_configurations,
        before.lambda_function_configurations
    );
}

#[tokio::test]
async fn notifications_that_s3_rejects_are_refused_with_the_names_of_all_other_entries() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    buckets.source.set_notifications_untried(stale()).await;
    let proxy = Proxy::start(&cloud.endpoint).await;
    let function = Start::of(&cloud, "configure-rule").await;
    let function = function.through(&proxy).start().await;
    proxy.script(
        2,
        |seen| seen.is("PutBucketNotificationConfiguration"),
        Action::s3_error(400, "InvalidArgument"),
    );
    let create = json!({"action": "create", "source": buckets.source.name,
        "destination": buckets.destination.name, "scope": {"prefixes": ["a/"]}});
    let error = function.invoke(create).await.expect_err("a refusal");
    assert_eq!(error.code, "NotificationConflict", "{}", error.message);
    for part in [
        "reporting",
        "sqs:us-east-1:000000000000:was-deleted",
        "audit",
        "hive",
        "correct or remove",
    ] {
        assert!(error.message.contains(part), "{part}: {}", error.message);
    }
    let left = cloud.items_with(&buckets.source.name).await;
    assert!(left.is_empty(), "{left:?}");
}
