//! Failures: recorded with their reason, published as events, listed, and retried by one request.

use aws_sdk_eventbridge::types::Target;
use serde_json::{Value, json};
use tandem_tests::cloud::unique;
use tandem_tests::eventually::{SOON, eventually};
use tandem_tests::function_process::Start;
use tandem_tests::notification;
use tandem_tests::proxy::{Action, Seen};

use crate::stage::{Stage, copies};

impl Stage {
    /// Puts an object whose copy is denied.
    async fn failed(&self, key: &str) {
        let put = self.put(key, key).await;
        self.proxy
            .script(1, copies, Action::s3_error(403, "AccessDenied"));
        assert!(!self.acknowledged(put).await, "{key} gets another attempt");
    }

    pub async fn configure(&self, fields: Value) -> Value {
        let request = fields.clone();
        let answer = self.cloud.configure(request).await;
        answer.unwrap_or_else(|error| panic!("{fields}: {error:?}"))
    }

    /// The keys of the failures that a request returns, and where the next page starts.
    async fn shown(&self, mut fields: Value) -> (Vec<String>, Value) {
        fields["action"] = json!("failures");
        fields["rule"] = json!(self.rule);
        let mut answer = self.configure(fields).await;
        let failures = answer["failures"].as_array().expect("failures");
        let keys = failures
            .iter()
            .map(|failure| failure["key"].as_str().expect("a key").to_owned())
            .collect();
        (keys, answer["next"].take())
    }

    async fn failures_become(&self, count: u64) {
        eventually("failures are resolved", SOON, async || {
            match self.failures().await {
                left if left == count => Ok(()),
                left => Err(format!("{left} are left")),
            }
        })
        .await;
    }

    /// Matches requests of this operation to the bucket of the rule's source.
    fn source(&self, operation: &'static str) -> impl Fn(&Seen) -> bool + Send + Sync + 'static {
        let name = self.buckets.source.name.clone();
        move |seen| seen.is(operation) && seen.bucket == name
    }

    /// Matches requests of this operation to the rule's destination.
    fn replica(&self, operation: &'static str) -> impl Fn(&Seen) -> bool + Send + Sync + 'static {
        let name = self.buckets.destination.name.clone();
        move |seen| seen.is(operation) && seen.bucket == name
    }
}

// Promise: `tandem failures retry` has failures reconciled from the source's present state, failed deletes
// included, clears those that the rule does not cover any more, and moves messages out of the dead-letter
// queues.
#[tokio::test]
async fn failures_are_listed_filtered_shown_and_retried() {
    let stage = Stage::new("replicate-put").await;
    for key in ["a/1", "a/2 +%ü", "b/1"] {
        stage.failed(key).await;
    }
    let (all, next) = stage.shown(json!({})).await;
    assert_eq!(
        (all, next),
        (
            vec!["a/1".into(), "a/2 +%ü".into(), "b/1".into()],
            Value::Null
        )
    );
    let (chosen, _) = stage.shown(json!({"key_prefix": "a/"})).await;
    assert_eq!(chosen, ["a/1", "a/2 +%ü"]);
    let (chosen, _) = stage.shown(json!({"reason": "SrcObjectArchived"})).await;
    assert!(chosen.is_empty());
    let (first, next) = stage.shown(json!({"limit": 2})).await;
    assert_eq!(first, ["a/1", "a/2 +%ü"]);
    let (rest, next) = stage.shown(json!({"limit": 2, "after": next})).await;
    assert_eq!((rest, next), (vec!["b/1".to_owned()], Value::Null));

    let one = json!({"action": "failure", "rule": stage.rule, "key": "a/2 +%ü"});
    let failure = stage.configure(one).await["failure"].take();
    let etag = stage.buckets.source.list("a/2").await["a/2 +%ü"]
        .etag
        .clone();
    assert_eq!(failure["reason"], "DstPutObjectNotPermitted");
    assert_eq!(
        (&failure["etag"], &failure["bytes"]),
        (&json!(etag), &json!(8))
    );
    assert_eq!(
        (&failure["attempts"], &failure["rule_id"]),
        (&json!(1), &json!(stage.rule))
    );
    let none = json!({"action": "failure", "rule": stage.rule, "key": "never"});
    let refused = stage.cloud.configure(none).await.expect_err("a refusal");
    assert_eq!(refused.code, "FailureNotFound");

    let some = json!({"action": "retry", "rule": stage.rule, "key_prefix": "a/"});
    let retried = stage.configure(some).await;
    assert_eq!(
        (&retried["retried"], &retried["next"]),
        (&json!(2), &Value::Null)
    );
    stage.failures_become(1).await;
    let rest = json!({"action": "retry", "rule": stage.rule, "reason": "DstPutObjectNotPermitted"});
    assert_eq!(stage.configure(rest).await["retried"], 1);
    stage.failures_become(0).await;
    stage.buckets.assert_equal("").await;
}

#[tokio::test]
async fn a_retry_that_selects_nothing_or_too_much_is_refused() {
    let stage = Stage::new("replicate-put").await;
    for (request, says) in [
        (json!({}), "chooses nothing"),
        (json!({"all": true, "rule": "x"}), "cannot be combined"),
        (json!({"reason": "Bad"}), "SrcObjectArchived"),
        (json!({"rule": ""}), "has 0 bytes"),
    ] {
        let mut request = request;
        request["action"] = json!("retry");
        let refused = stage.cloud.configure(request).await.expect_err("a refusal");
        assert_eq!(refused.code, "InvalidRequest");
        assert!(refused.message.contains(says), "{}", refused.message);
    }
}

// Promise: `tandem failures retry` has failures reconciled from the source's present state, failed deletes
// included, clears those that the rule does not cover any more, and moves messages out of the dead-letter
// queues.
#[tokio::test]
async fn a_retry_repeats_a_failed_delete() {
    let stage = Stage::new("replicate-delete").await;
    let delete = stage.deleted("a").await;
    let denied = Action::s3_error(403, "AccessDenied");
    stage.proxy.script(1, stage.replica("DeleteObject"), denied);
    assert!(!stage.acknowledged(delete).await);
    let one = json!({"action": "failure", "rule": stage.rule, "key": "a"});
    let failure = stage.configure(one).await["failure"].take();
    assert_eq!(
        (&failure["reason"], &failure["etag"]),
        (&json!("DstDelObjNotPermitted"), &Value::Null)
    );
    stage
        .configure(json!({"action": "retry", "rule": stage.rule}))
        .await;
    stage.failures_become(0).await;
    assert!(stage.buckets.destination.head("a").await.is_none());
}

// Promise: A change of tags alone is set on the replica without a copy, also if it comes while the rule is
// paused, or fails at first.
#[tokio::test]
async fn a_retry_repeats_a_failed_change_of_tags() {
    let stage = Stage::new("replicate-put").await;
    assert!(stage.acknowledged(stage.put("a", "tagged").await).await);
    let source = &stage.buckets.source;
    assert!(source.retag("a", "new").await);
    let event = notification::settled(source, "ObjectTagging:Put", "a");
    let denied = Action::s3_error(403, "AccessDenied");
    stage
        .proxy
        .script(1, stage.replica("PutObjectTagging"), denied);
    assert!(!stage.acknowledged(event).await);
    assert_eq!(stage.failures().await, 1);
    stage
        .configure(json!({"action": "retry", "rule": stage.rule}))
        .await;
    stage.failures_become(0).await;
    stage.buckets.assert_equal("").await;
}

// Promise: `tandem failures retry` has failures reconciled from the source's present state, failed deletes
// included, clears those that the rule does not cover any more, and moves messages out of the dead-letter
// queues.
#[tokio::test]
async fn dead_letters_are_moved_back_and_unreadable_ones_are_shown() {
    let stage = Stage::new("replicate-put").await;
    let put = stage.put("given up", "once").await;
    let deleted = stage.deleted("deleted").await;
    let dead = stage.cloud.queue_url("put-dead").await;
    let unreadable = unique("not a notification");
    stage.cloud.send(&dead, &put.to_string()).await;
    stage.cloud.send(&dead, &unreadable).await;
    let dead = stage.cloud.queue_url("delete-dead").await;
    stage.cloud.send(&dead, &deleted.to_string()).await;
    let dead = stage.cloud.queue_url("work-dead").await;
    let work = json!({"kind": "held", "rule_id": stage.rule, "partition": 0});
    stage.cloud.send(&dead, &work.to_string()).await;
    let dead = stage.cloud.queue_url("part-dead").await;
    let part = json!({"kind": "range", "rule_id": stage.rule, "key": "large", "transfer_id": "over", "range": 0});
    stage.cloud.send(&dead, &part.to_string()).await;

    let elsewhere = json!({"action": "retry", "rule": stage.rule, "key_prefix": "other/"});
    let moved = stage.configure(elsewhere).await["moved"].take();
    assert_eq!(moved, json!({"put": 0, "delete": 0, "work": 0, "part": 0}));
    let answer = stage
        .configure(json!({"action": "retry", "rule": stage.rule}))
        .await;
    assert_eq!(
        answer["moved"],
        json!({"put": 1, "delete": 1, "work": 1, "part": 1}),
        "{answer}"
    );
    let shown = answer["unreadable"]["messages"]
        .as_array()
        .expect("messages");
    assert!(
        shown
            .iter()
            .any(|message| message["body"] == unreadable && message["queue"] == "put"),
        "{answer}"
    );
    stage.buckets.arrive("given up", SOON).await;
    stage.buckets.vanish("deleted", SOON).await;
}

// Promise: Every failure that is recorded is published as an event; its message is not acknowledged before both
// are done.
#[tokio::test]
async fn every_failure_is_published_as_an_event() {
    let stage = Stage::new("replicate-put").await;
    let queue = stage.cloud.own_queue().await;
    let events = aws_sdk_eventbridge::Client::new(&stage.cloud.config);
    let name = unique("failures");
    let pattern = json!({
        "source": ["tandem"],
        "detail-type": ["Object Replication Failed"],
        "detail": {"rule_id": [stage.rule]},
    });
    events
        .put_rule()
        .name(&name)
        .event_pattern(pattern.to_string())
        .send()
        .await
        .expect("a rule of the event bus");
    let target = Target::builder()
        .id("queue")
        .arn(stage.cloud.queue_arn(&queue).await)
        .build()
        .expect("a target");
    events
        .put_targets()
        .rule(&name)
        .targets(target)
        .send()
        .await
        .expect("a target");
    stage.failed("a").await;
    let published = eventually("the failure is published", SOON, async || {
        let mut messages = stage.cloud.drain(&queue).await;
        messages.pop().ok_or_else(|| "nothing".to_owned())
    })
    .await;
    let event: Value = serde_json::from_str(&published).expect("an event");
    let detail = &event["detail"];
    assert_eq!(
        (&detail["key"], &detail["reason"], &detail["attempts"]),
        (&json!("a"), &json!("DstPutObjectNotPermitted"), &json!(1)),
        "{event}"
    );
    let source = format!("arn:aws:s3:::{}", stage.buckets.source.name);
    assert_eq!(event["resources"][0], source, "{event}");
}

// Promise: Every failure that is recorded is published as an event; its message is not acknowledged before both
// are done.
#[tokio::test]
async fn a_failure_that_cannot_be_recorded_or_published_is_not_acknowledged() {
    for unreachable in [
        "DynamoDB.UpdateItem",
        "EventBridge.PutEvents",
        "AWSEvents.PutEvents",
    ] {
        let stage = Stage::new("replicate-put").await;
        let put = stage.put("a", "one").await;
        stage
            .proxy
            .script(1, copies, Action::s3_error(403, "AccessDenied"));
        let body = json!({"__type": "InternalServerError", "message": "as the test wants it"});
        let broken = Action::Answer(500, body.to_string());
        stage
            .proxy
            .script(9, move |seen| seen.is(unreachable), broken);
        let last = stage.batch_received(notification::LAST_DELIVERY, &[put]);
        let answer = stage.function.invoke(last).await.expect("an answer");
        let asked = stage.proxy.take_counts().contains_key(unreachable);
        let acknowledged = notification::kept(&answer).is_empty();
        assert_eq!(acknowledged, !asked, "{unreachable}");
    }
}

/// What happens to which requests.
type Script = Vec<(Box<dyn Fn(&Seen) -> bool + Send + Sync>, Action)>;

// Promise: A failure that another attempt would not help is recorded at once, with its reason and its object.
#[tokio::test]
async fn the_reason_of_a_denial_is_found_by_more_requests() {
    let denied = || Action::s3_error(403, "AccessDenied");
    let gone = || Action::Answer(404, String::new());
    let silent = || Action::Answer(403, String::new());
    let stage = Stage::new("replicate-put").await;
    let scripts: Vec<(&str, Script)> = vec![
        ("DstPutObjectNotPermitted", vec![]),
        (
            "SrcGetObjectNotPermitted",
            vec![(Box::new(stage.source("HeadObject")), silent())],
        ),
        (
            "SrcBucketNotFound",
            vec![(Box::new(stage.source("HeadBucket")), gone())],
        ),
        (
            "DstBucketNotFound",
            vec![(Box::new(stage.replica("HeadBucket")), gone())],
        ),
        (
            "SrcBucketOwnerChanged",
            vec![(Box::new(stage.source("HeadBucket")), silent())],
        ),
        (
            "DstBucketOwnerChanged",
            vec![(Box::new(stage.replica("HeadBucket")), silent())],
        ),
    ];
    for (reason, script) in scripts {
        let put = stage.put(reason, "one").await;
        stage.proxy.script(1, copies, denied());
        for (matches, action) in script {
            stage.proxy.script(1, matches, action);
        }
        assert!(!stage.acknowledged(put).await, "{reason}");
        let one = json!({"action": "failure", "rule": stage.rule, "key": reason});
        assert_eq!(stage.configure(one).await["failure"]["reason"], reason);
    }
}

// Promise: A failure that another attempt would not help is recorded at once, with its reason and its object.
#[tokio::test]
async fn a_failure_has_the_reason_that_aws_answered() {
    let stage = Stage::new("replicate-put").await;
    for (status, code, reason) in [
        (403, "InvalidObjectState", "SrcObjectArchived"),
        (400, "EntityTooLarge", "TooLarge"),
        (400, "KMS.DisabledException", "KmsKeyInvalidState"),
        (400, "KMS.NotFoundException", "KmsKeyNotFound"),
        (400, "InvalidRequest", "RequestRefused"),
        // The status of a copy's answer is sent before the copy has ended.
        (200, "InvalidObjectState", "SrcObjectArchived"),
    ] {
        let key = format!("{status} {code}");
        let put = stage.put(&key, "one").await;
        stage
            .proxy
            .script(1, copies, Action::s3_error(status, code));
        assert!(!stage.acknowledged(put).await, "{key}");
        let one = json!({"action": "failure", "rule": stage.rule, "key": key});
        assert_eq!(stage.configure(one).await["failure"]["reason"], reason);
    }
}

#[tokio::test]
async fn a_failed_last_delivery_is_recorded() {
    let stage = Stage::new("replicate-put").await;
    let put = stage.put("a", "one").await;
    stage
        .proxy
        .script(99, copies, Action::s3_error(503, "SlowDown"));
    let answer = stage
        .function
        .invoke(stage.batch(std::slice::from_ref(&put)));
    assert_eq!(notification::kept(&answer.await.expect("an answer")), ["0"]);
    assert_eq!(stage.failures().await, 0, "there will be other attempts");
    let answer = stage
        .function
        .invoke(stage.batch_received(notification::LAST_DELIVERY, &[put]));
    assert_eq!(notification::kept(&answer.await.expect("an answer")), ["0"]);
    let one = json!({"action": "failure", "rule": stage.rule, "key": "a"});
    assert_eq!(stage.configure(one).await["failure"]["reason"], "Throttled");
}

// Promise: `tandem failures retry` has failures reconciled from the source's present state, failed deletes
// included, clears those that the rule does not cover any more, and moves messages out of the dead-letter
// queues.
#[tokio::test]
async fn a_failure_outside_the_changed_scope_is_cleared() {
    let stage = Stage::new("replicate-put").await;
    stage.failed("out/a").await;
    let narrowed = json!({"action": "update", "rule": stage.rule, "scope": {"prefixes": ["in/"]}});
    stage.configure(narrowed).await;
    stage
        .configure(json!({"action": "retry", "rule": stage.rule}))
        .await;
    stage.failures_become(0).await;
}

/// A service that accepts only a few requests at once does not get more for long.
// Promise: A function that is asked to slow down halves the number of its concurrent requests, and nothing
// fails by that.
#[tokio::test]
async fn throttling_slows_the_sender_down_and_causes_no_failure() {
    const OBJECTS: usize = 200;
    const BEARS: usize = 3;
    let stage = Stage::new("replicate-put").await;
    let mut puts = Vec::new();
    for number in 0..OBJECTS {
        puts.push(stage.put(&format!("{number:03}"), "one").await);
    }
    stage.proxy.take();
    stage.proxy.limit(BEARS, copies);
    let function = Start::of(&stage.cloud, "replicate-put")
        .await
        .through(&stage.proxy)
        .start()
        .await;
    let mut kept = 0;
    for batch in puts.chunks(50) {
        let answer = function.invoke(stage.batch(batch)).await;
        kept += notification::kept(&answer.expect("an answer")).len();
    }
    let copies = stage.proxy.take_counts()["CopyObject"];
    println!("{OBJECTS} objects, {copies} copies, {kept} kept for later");
    assert_eq!(stage.failures().await, 0);
    assert_eq!(
        stage.buckets.destination.list("").await.len() + kept,
        OBJECTS
    );
    // With 32 at once, nine of ten requests would be refused.
    assert!(copies - OBJECTS < OBJECTS / 2, "{copies} copies");
}
