//! The check of the rules: it detects what stops a rule without a failure, and reports it.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_eventbridge::types::Target;
use aws_sdk_s3::types::{
    NotificationConfiguration, QueueConfiguration, ServerSideEncryption,
    ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
};
use aws_sdk_sqs::types::QueueAttributeName;
use chrono::TimeDelta;
use serde_json::{Value, json};
use tandem_lambda::runtime::now;
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::{Cloud, unique};
use tandem_tests::eventually::eventually;
use tandem_tests::function_process::Start;
use tandem_tests::notification;
use tandem_tests::proxy::{Action, Proxy};

const SOON: Duration = Duration::from_secs(30);

struct Stage {
    cloud: Cloud,
    buckets: Buckets,
    rule: String,
}

impl Stage {
    async fn new(fields: Value) -> Self {
        let cloud = Cloud::connect().await;
        let buckets = Buckets::new(&cloud, false).await;
        let rule = cloud.rule(&buckets, fields).await;
        Self {
            cloud,
            buckets,
            rule,
        }
    }

    /// The codes of the rule's problems.
    async fn problems(&self) -> BTreeSet<String> {
        let request = json!({"action": "check", "rule": self.rule});
        let answer = self.cloud.configure(request).await.expect("a check");
        assert_eq!(
            (&answer["checked"], &answer["unchecked"]),
            (&json!(1), &json!(0))
        );
        codes(&answer["broken"][0])
    }

    async fn rule(&self) -> Value {
        self.cloud.change("get", &self.rule).await
    }

    async fn notify(&self, configuration: NotificationConfiguration) {
        self.buckets.source.set_notifications(configuration).await;
    }
}

fn codes(finding: &Value) -> BTreeSet<String> {
    let problems = finding["problems"].as_array().into_iter().flatten();
    let codes = problems.map(|problem| problem["code"].as_str().expect("a code").to_owned());
    codes.collect()
}

fn only(code: &str) -> BTreeSet<String> {
    BTreeSet::from([code.to_owned()])
}

#[tokio::test]
async fn a_working_rule_has_no_problem_whether_paused_or_not() {
    let stage = Stage::new(json!({"scope": {"prefixes": ["logs/", "red flower"]}})).await;
    assert_eq!(stage.problems().await, BTreeSet::new());
    stage.cloud.change("pause", &stage.rule).await;
    assert_eq!(stage.problems().await, BTreeSet::new());
}

// Promise: The check reports notifications that another writer has removed or narrowed, and an update of the
// rule attaches them again.
#[tokio::test]
async fn a_removed_notification_is_reported_and_an_update_of_the_rule_attaches_it_again() {
    let stage = Stage::new(json!({})).await;
    stage
        .notify(NotificationConfiguration::builder().build())
        .await;
    assert_eq!(stage.problems().await, only("NotificationMissing"));
    let again = json!({"action": "update", "rule": stage.rule, "scope": "all"});
    stage.cloud.configure(again).await.expect("an update");
    assert_eq!(stage.problems().await, BTreeSet::new());
}

/// Earlier versions of Tandem attached no entry for deletes to a rule with policy `write`.
// Promise: The check reports notifications that another writer has removed or narrowed, and an update of the
// rule attaches them again.
#[tokio::test]
async fn a_write_rule_without_notifications_of_deletes_is_reported_and_updated() {
    let stage = Stage::new(json!({"policy": "write"})).await;
    assert_eq!(stage.problems().await, BTreeSet::new());
    let found = stage.buckets.source.notifications().await;
    let puts = found
        .queue_configurations()
        .iter()
        .filter(|entry| entry.queue_arn().ends_with("-put"));
    let before = NotificationConfiguration::builder()
        .set_queue_configurations(Some(puts.cloned().collect()))
        .build();
    stage.notify(before).await;
    assert_eq!(stage.problems().await, only("NotificationMissing"));
    let again = json!({"action": "update", "rule": stage.rule, "policy": "write"});
    stage.cloud.configure(again).await.expect("an update");
    assert_eq!(stage.problems().await, BTreeSet::new());
}

// Promise: The check reports a queue that takes nothing from S3, a bucket that is gone or cannot be read, and a
// rule that is later than its objective.
#[tokio::test]
async fn a_rule_that_exceeds_its_objective_is_reported() {
    let stage = Stage::new(json!({"options": {"rpo_secs": 60}})).await;
    stage
        .notify(NotificationConfiguration::builder().build())
        .await;
    let etag = stage.buckets.source.put("a", "a").await;
    let mut late = notification::put(&stage.buckets.source, "a", &etag, 1);
    late["Records"][0]["eventTime"] = json!(now() - TimeDelta::minutes(5));
    let queue = stage.cloud.queue_url("put").await;
    stage.cloud.send(&queue, &late.to_string()).await;
    let both = BTreeSet::from(["NotificationMissing".to_owned(), "Lagging".to_owned()]);
    eventually("the lag is noticed", SOON, async || {
        let problems = stage.problems().await;
        (problems == both)
            .then_some(())
            .ok_or_else(|| format!("{problems:?}"))
    })
    .await;
    // A lag of five minutes is within this objective.
    let patient = json!({"rpo_secs": 600});
    let update = json!({"action": "update", "rule": stage.rule, "options": patient});
    stage.cloud.configure(update).await.expect("an update");
    assert_eq!(stage.problems().await, BTreeSet::new());
}

// Promise: The check reports notifications that another writer has removed or narrowed, and an update of the
// rule attaches them again.
#[tokio::test]
async fn entries_under_another_name_are_no_problem_and_missing_ones_are_named() {
    let stage = Stage::new(json!({})).await;
    let queue_arn = |queue: &'static str| {
        let cloud = &stage.cloud;
        async move { cloud.queue_arn(&cloud.queue_url(queue).await).await }
    };
    let entry = |arn: String, events: &[&str]| {
        let events = events.iter().map(|&event| event.into()).collect();
        QueueConfiguration::builder()
            .id(unique("rewritten"))
            .queue_arn(arn)
            .set_events(Some(events))
            .build()
            .expect("an entry")
    };
    let puts = entry(
        queue_arn("put").await,
        &[
            "s3:ObjectCreated:*",
            "s3:ObjectRestore:Completed",
            "s3:ObjectTagging:*",
        ],
    );
    let deletes = entry(queue_arn("delete").await, &["s3:ObjectRemoved:*"]);
    let both = NotificationConfiguration::builder()
        .queue_configurations(puts.clone())
        .queue_configurations(deletes);
    stage.notify(both.build()).await;
    assert_eq!(stage.problems().await, BTreeSet::new());
    let half = NotificationConfiguration::builder().queue_configurations(puts);
    stage.notify(half.build()).await;
    let request = json!({"action": "check", "rule": stage.rule});
    let answer = stage.cloud.configure(request).await.expect("a check");
    let said = answer["broken"][0]["problems"][0]["message"].to_string();
    assert!(
        said.contains("s3:ObjectRemoved:* of any key is not sent to the delete queue"),
        "{said}"
    );
}

// Promise: The check reports a queue that takes nothing from S3, a bucket that is gone or cannot be read, and a
// rule that is later than its objective.
#[tokio::test]
async fn a_missing_destination_is_reported() {
    let stage = Stage::new(json!({})).await;
    stage.buckets.destination.delete_bucket().await;
    assert_eq!(stage.problems().await, only("BucketNotFound"));
}

// Promise: The check reports a queue that takes nothing from S3, a bucket that is gone or cannot be read, and a
// rule that is later than its objective.
#[tokio::test]
async fn a_missing_source_is_reported_once() {
    let stage = Stage::new(json!({})).await;
    stage.buckets.source.delete_bucket().await;
    assert_eq!(stage.problems().await, only("BucketNotFound"));
}

// Promise: The check reports a queue that takes nothing from S3, a bucket that is gone or cannot be read, and a
// rule that is later than its objective.
#[tokio::test]
async fn unreadable_buckets_and_missing_answers_are_problems() {
    for (operation, action, code) in [
        (
            "ListObjectsV2",
            Action::s3_error(403, "AccessDenied"),
            "BucketNotAccessible",
        ),
        (
            "GetBucketNotificationConfiguration",
            Action::s3_error(403, "AccessDenied"),
            "NotAnswered",
        ),
        (
            "HeadBucket",
            Action::s3_error(503, "SlowDown"),
            "NotAnswered",
        ),
    ] {
        let stage = Stage::new(json!({})).await;
        let proxy = Proxy::start(&stage.cloud.endpoint).await;
        let start = Start::of(&stage.cloud, "configure-rule").await;
        let function = start.through(&proxy).start().await;
        let destination = stage.buckets.destination.name.clone();
        let source = stage.buckets.source.name.clone();
        proxy.script(
            usize::MAX,
            move |seen| seen.is(operation) && (seen.bucket == destination || seen.bucket == source),
            action,
        );
        let answer = function
            .invoke(json!({"action": "check", "rule": stage.rule}))
            .await
            .expect("a check");
        assert_eq!(codes(&answer["broken"][0]), only(code), "{answer}");
    }
}

/// The queue belongs to the stack and is shared with other tests, so the proxy changes the answer of SQS instead.
// Promise: The check reports a queue that takes nothing from S3, a bucket that is gone or cannot be read, and a
// rule that is later than its objective.
#[tokio::test]
async fn a_queue_that_no_longer_accepts_messages_of_s3_is_reported() {
    let stage = Stage::new(json!({})).await;
    let url = stage.cloud.own_queue().await;
    let start = Start::of(&stage.cloud, "configure-rule").await;
    let function = start
        .variable("TANDEM_DELETE_QUEUE_URL", &url)
        .start()
        .await;
    let check = json!({"action": "check", "rule": stage.rule});
    let answer = function.invoke(check.clone()).await.expect("a check");
    assert_eq!(codes(&answer["broken"][0]), only("QueueClosed"), "{answer}");
    let open = json!({"Statement": [{
        "Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage", "Resource": "*",
    }]});
    stage
        .cloud
        .sqs
        .set_queue_attributes()
        .queue_url(&url)
        .attributes(QueueAttributeName::Policy, open.to_string())
        .send()
        .await
        .expect("a policy");
    let answer = function.invoke(check).await.expect("a check");
    assert_eq!(answer["broken"], json!([]), "{answer}");
}

// Promise: The check reports a queue that takes nothing from S3, a bucket that is gone or cannot be read, and a
// rule that is later than its objective.
#[tokio::test]
async fn a_rule_of_policy_write_needs_the_delete_queue_too() {
    let stage = Stage::new(json!({"policy": "write"})).await;
    let start = Start::of(&stage.cloud, "configure-rule").await;
    let function = start
        .variable("TANDEM_DELETE_QUEUE_URL", stage.cloud.own_queue().await)
        .start()
        .await;
    let check = json!({"action": "check", "rule": stage.rule});
    let answer = function.invoke(check).await.expect("a check");
    assert_eq!(codes(&answer["broken"][0]), only("QueueClosed"), "{answer}");
}

// Promise: A rule with a problem is published as an event, and counted for an alarm.
#[tokio::test]
async fn a_broken_rule_is_published_as_an_event_and_counted() {
    let stage = Stage::new(json!({})).await;
    let queue = stage.cloud.own_queue().await;
    let events = aws_sdk_eventbridge::Client::new(&stage.cloud.config);
    let name = unique("broken");
    let pattern = json!({
        "source": ["tandem"],
        "detail-type": ["Replication Rule Broken"],
        "detail": {"rule_id": [stage.rule]},
    });
    let put = events
        .put_rule()
        .name(&name)
        .event_pattern(pattern.to_string());
    put.send().await.expect("a rule of the event bus");
    let target = Target::builder()
        .id("queue")
        .arn(stage.cloud.queue_arn(&queue).await)
        .build()
        .expect("a target");
    let put = events.put_targets().rule(&name).targets(target);
    put.send().await.expect("a target");
    stage.buckets.destination.delete_bucket().await;

    let start = Start::of(&stage.cloud, "configure-rule").await;
    let function = start.start().await;
    let answer = function.invoke(json!({"action": "check"})).await;
    let answer = answer.expect("a check");
    let broken = answer["broken"].as_array().expect("findings");
    let ours = broken
        .iter()
        .find(|finding| finding["rule_id"] == stage.rule);
    assert_eq!(codes(ours.expect("a finding")), only("BucketNotFound"));
    let counted = format!("\"RulesBroken\":{}", broken.len());
    assert!(
        function.log().lines().any(|line| line.contains(&counted)),
        "no {counted} in:\n{}",
        function.log()
    );
    let published = eventually("the problem is published", SOON, async || {
        let mut messages = stage.cloud.drain(&queue).await;
        messages.pop().ok_or_else(|| "nothing".to_owned())
    })
    .await;
    let event: Value = serde_json::from_str(&published).expect("an event");
    assert_eq!(codes(&event["detail"]), only("BucketNotFound"), "{event}");
    let source = format!("arn:aws:s3:::{}", stage.buckets.source.name);
    assert_eq!(event["resources"][0], source, "{event}");
}

#[tokio::test]
async fn the_destinations_default_encryption_is_stored_when_the_rule_is_made_and_by_every_check() {
    let stage = Stage::new(json!({})).await;
    let before = stage.rule().await;
    assert_eq!(before["destination_encryption"], "AES256");
    let by_default = ServerSideEncryptionByDefault::builder()
        .sse_algorithm(ServerSideEncryption::AwsKms)
        .build()
        .expect("an encryption");
    let rule = ServerSideEncryptionRule::builder()
        .apply_server_side_encryption_by_default(by_default)
        .build();
    let configuration = ServerSideEncryptionConfiguration::builder().rules(rule);
    let destination = &stage.buckets.destination;
    destination
        .client
        .put_bucket_encryption()
        .bucket(&destination.name)
        .server_side_encryption_configuration(configuration.build().expect("an encryption"))
        .send()
        .await
        .expect("an encryption");
    assert_eq!(stage.problems().await, BTreeSet::new());
    let mut after = before.clone();
    after["destination_encryption"] = json!("aws:kms");
    assert_eq!(
        stage.rule().await,
        after,
        "the check makes no new revision of the rule"
    );
}
