//! Notifications through an SNS topic: S3 -> SNS -> SQS, for buckets whose changes have several consumers.

use aws_sdk_cloudformation::types::StackStatus;
use aws_sdk_s3::types::{Event, NotificationConfiguration, TopicConfiguration};
use serde_json::{Value, json};
use tandem_tests::bucket::tags;
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::{Cloud, unique};
use tandem_tests::eventually::SOON;
use tandem_tests::notification;

use crate::rules_as_code::stacks::TestStack;

/// All events that a rule with policy `full` needs.
const ALL: [&str; 4] = [
    "s3:ObjectCreated:*",
    "s3:ObjectRemoved:*",
    "s3:ObjectTagging:*",
    "s3:ObjectRestore:Completed",
];

/// A topic that the local stack's parameter `NotificationTopics` names, with a subscription of the put queue.
async fn topic(cloud: &Cloud, name: &str, raw: bool) -> (TestStack, String) {
    let arn = format!("arn:aws:sns:us-east-1:000000000000:{name}");
    let queue = cloud.queue_arn(&cloud.queue_url("put").await).await;
    let template = json!({"Resources": {
        "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": name}},
        "Policy": {"Type": "AWS::SNS::TopicPolicy", "Properties": {
            "Topics": [{"Ref": "Topic"}],
            "PolicyDocument": {"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sns:Publish",
                "Resource": {"Ref": "Topic"}, "Condition": {"StringEquals": {"aws:SourceAccount": "000000000000"}},
            }]},
        }},
        "Subscription": {"Type": "AWS::SNS::Subscription", "Properties": {
            "TopicArn": {"Ref": "Topic"}, "Protocol": "sqs", "Endpoint": queue, "RawMessageDelivery": raw,
        }},
    }});
    let stack = TestStack::new(cloud, unique("topic"));
    stack.create(&template).await;
    stack.comes_to(&StackStatus::CreateComplete).await;
    (stack, arn)
}

/// Makes the source send these events of all keys to the topic, and nothing anywhere else.
async fn notify(buckets: &Buckets, topic: &str, events: &[&str]) {
    let entry = TopicConfiguration::builder()
        .id("everybody")
        .topic_arn(topic)
        .set_events(Some(events.iter().copied().map(Event::from).collect()))
        .build()
        .expect("an entry");
    let configuration = NotificationConfiguration::builder().topic_configurations(entry);
    buckets
        .source
        .set_notifications(configuration.build())
        .await;
}

async fn no_problem_of(cloud: &Cloud, rule: &str) {
    let request = json!({"action": "check", "rule": rule});
    let answer = cloud.configure(request).await.expect("a check");
    assert_eq!(answer["broken"], json!([]));
}

async fn changes_arrive_through_a_topic(name: &str, raw: bool) {
    let cloud = Cloud::connect().await;
    let (stack, topic) = topic(&cloud, name, raw).await;
    let buckets = Buckets::new(&cloud, false).await;
    notify(&buckets, &topic, &ALL).await;
    let before = buckets.source.notifications().await;

    let rule = cloud.rule(&buckets, json!({})).await;
    let with_rule = buckets.source.notifications().await;
    assert_eq!(
        with_rule.queue_configurations(),
        [],
        "the topic delivers every event"
    );
    assert_eq!(with_rule.topic_configurations, before.topic_configurations);
    no_problem_of(&cloud, &rule).await;

    for key in ["a", "red flower+%.jpg"] {
        buckets.source.put(key, "by a topic").await;
        buckets.arrive(key, SOON).await;
        // The removal arrives through the put queue.
        buckets.source.delete(key).await;
        buckets.vanish(key, SOON).await;
    }
    cloud.change("delete", &rule).await;

    // Events that the topic does not get are attached to the queues.
    notify(&buckets, &topic, &["s3:ObjectCreated:*"]).await;
    let rule = cloud.rule(&buckets, json!({})).await;
    let found = buckets.source.notifications().await;
    let events: Vec<&str> = found
        .queue_configurations()
        .iter()
        .flat_map(|entry| entry.events().iter().map(Event::as_str))
        .collect();
    assert!(events.contains(&"s3:ObjectRemoved:*"), "{events:?}");
    assert!(!events.contains(&"s3:ObjectCreated:*"), "{events:?}");
    no_problem_of(&cloud, &rule).await;
    buckets.source.put("b", "by a topic").await;
    buckets.arrive("b", SOON).await;
    buckets.source.delete("b").await;
    buckets.vanish("b", SOON).await;
    cloud.change("delete", &rule).await;
    stack.delete().await;
}

// Promise: A notification that an SNS topic delivers is read like one that S3 sends itself, with and without raw
// message delivery.
// Promise: Events that a bucket sends to a topic in `NotificationTopics` are not attached a second time.
#[tokio::test]
async fn changes_arrive_through_a_topic_without_raw_message_delivery() {
    changes_arrive_through_a_topic("tandem-notifications", false).await;
}

// Promise: A notification that an SNS topic delivers is read like one that S3 sends itself, with and without raw
// message delivery.
// Promise: Events that a bucket sends to a topic in `NotificationTopics` are not attached a second time.
#[tokio::test]
async fn changes_arrive_through_a_topic_with_raw_message_delivery() {
    changes_arrive_through_a_topic("tandem-notifications-raw", true).await;
}

/// The topic gets half of the events of a kind. S3 accepts no second entry for these.
#[tokio::test]
async fn a_topic_that_gets_only_some_events_of_a_kind_is_a_conflict_with_a_remedy() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    for (topic, remedy) in [
        (
            "tandem-notifications-raw",
            "let it send every event of all the rule's keys",
        ),
        ("of-another-team", "NotificationTopics"),
    ] {
        let topic = format!("arn:aws:sns:us-east-1:000000000000:{topic}");
        let entry = TopicConfiguration::builder()
            .id("everybody")
            .topic_arn(&topic)
            .events(Event::from("s3:ObjectCreated:Put"))
            .build()
            .expect("an entry");
        let configuration = NotificationConfiguration::builder().topic_configurations(entry);
        buckets
            .source
            .set_notifications_untried(configuration.build())
            .await;
        let error = cloud.create(&buckets, json!({})).await;
        let error = error.expect_err("a refusal");
        assert_eq!(error.code, "NotificationConflict");
        for part in ["everybody", topic.as_str(), remedy] {
            assert!(error.message.contains(part), "{part}: {}", error.message);
        }
    }
}

/// Hands one message to a function, as its queue does, and asserts that it is acknowledged.
async fn deliver(cloud: &Cloud, function: &str, queue: &str, event: &Value) {
    let queue = cloud.queue_arn(&cloud.queue_url(queue).await).await;
    for body in [event.to_string(), notification::by_topic(event).to_string()] {
        let batch = notification::batch(&queue, &[body]);
        let answer = cloud.invoke(function, batch).await.expect("an answer");
        assert_eq!(notification::kept(&answer), Vec::<String>::new(), "{event}");
    }
}

// Promise: Either queue takes every kind of event: puts, removals and changes of tags.
#[tokio::test]
async fn both_queues_accept_every_kind_of_event() {
    let cloud = Cloud::connect().await;
    for (function, queue) in [("replicate-put", "put"), ("replicate-delete", "delete")] {
        let buckets = Buckets::new(&cloud, false).await;
        cloud.quiet_rule(&buckets, json!({})).await;
        let source = &buckets.source;
        let etag = source.put("a", "a").await;
        deliver(
            &cloud,
            function,
            queue,
            &notification::put(source, "a", &etag, 1),
        )
        .await;
        buckets.assert_equal("").await;

        let wanted = tags(&[("since", "then = & + ü")]);
        source.set_tags("a", &wanted).await;
        let retagged = notification::settled(source, "ObjectTagging:Put", "a");
        deliver(&cloud, function, queue, &retagged).await;
        assert_eq!(buckets.destination.tags("a").await, wanted, "{function}");

        source.delete("a").await;
        deliver(&cloud, function, queue, &notification::delete(source, "a")).await;
        assert!(buckets.destination.list("").await.is_empty(), "{function}");
    }
}

#[tokio::test]
async fn a_subscription_confirmation_stays_in_the_queue_for_an_operator() {
    let cloud = Cloud::connect().await;
    let queue = cloud.queue_arn(&cloud.queue_url("put").await).await;
    let mut asks = notification::by_topic(&json!({}));
    asks["Type"] = json!("SubscriptionConfirmation");
    let answer = cloud.invoke("replicate-put", asks.clone()).await;
    let error = answer.expect_err("nothing to replicate");
    assert!(error.message.contains("SubscribeURL"), "{}", error.message);
    let batch = notification::batch(&queue, &[asks.to_string()]);
    let answer = cloud
        .invoke("replicate-put", batch)
        .await
        .expect("an answer");
    assert_eq!(notification::kept(&answer), ["0"]);
}
