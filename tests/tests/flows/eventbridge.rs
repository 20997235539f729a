//! Changes through EventBridge: S3 -> EventBridge -> SQS, for buckets whose own notifications have no space for a
//! rule.

use chrono::TimeDelta;
use std::collections::BTreeSet;

use aws_sdk_eventbridge::Client;
use aws_sdk_s3::types::{
    Event, EventBridgeConfiguration, NotificationConfiguration, QueueConfiguration,
};
use serde_json::{Value, json};
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::Cloud;
use tandem_tests::eventually::SOON;

/// A pair of buckets. The source has another writer's entry for every put.
struct Stage {
    cloud: Cloud,
    events: Client,
    buckets: Buckets,
}

impl Stage {
    /// Makes the buckets; the source sends to EventBridge, or does not.
    async fn new(sends_to_eventbridge: bool) -> Self {
        let cloud = Cloud::connect().await;
        let buckets = Buckets::new(&cloud, false).await;
        let stage = Self {
            events: Client::new(&cloud.config),
            cloud,
            buckets,
        };
        stage.notify(vec![theirs()], sends_to_eventbridge).await;
        stage
    }

    /// Sets the source's notifications as another writer.
    async fn notify(&self, entries: Vec<QueueConfiguration>, sends_to_eventbridge: bool) {
        let switch = sends_to_eventbridge.then(|| EventBridgeConfiguration::builder().build());
        let configuration = NotificationConfiguration::builder()
            .set_queue_configurations(Some(entries))
            .set_event_bridge_configuration(switch)
            .build();
        self.buckets
            .source
            .set_notifications_untried(configuration)
            .await;
    }

    /// The names of the source's entries, and whether it sends to EventBridge.
    async fn notifications(&self) -> (Vec<String>, bool) {
        let found = self.buckets.source.notifications().await;
        let entries = found.queue_configurations().iter();
        let names = entries.filter_map(|entry| entry.id().map(str::to_owned));
        (
            names.collect(),
            found.event_bridge_configuration().is_some(),
        )
    }

    /// Makes a rule. Returns the whole answer.
    async fn create(&self, fields: Value) -> Value {
        let mut request = json!({
            "action": "create",
            "source": self.buckets.source.name,
            "destination": self.buckets.destination.name,
        });
        let fields = fields.as_object().cloned().expect("fields");
        request.as_object_mut().expect("an object").extend(fields);
        let answer = self.cloud.configure(request).await;
        answer.expect("the rule is accepted")
    }

    /// Changes options of a rule. Returns the whole answer.
    async fn update(&self, rule: &str, changes: Value) -> Value {
        let mut request = json!({"action": "update", "rule": rule});
        let changes = changes.as_object().cloned().expect("changes");
        request.as_object_mut().expect("an object").extend(changes);
        let answer = self.cloud.configure(request).await;
        answer.expect("the update is accepted")
    }

    /// The names of the EventBridge rules of a rule.
    async fn event_rules(&self, rule: &str) -> Vec<String> {
        let prefix = format!("{}-{rule}-", self.cloud.stack);
        let found = self.events.list_rules().name_prefix(prefix).send().await;
        let found = found.expect("rules").rules.unwrap_or_default();
        found.into_iter().filter_map(|rule| rule.name).collect()
    }

    /// The pattern of the EventBridge rule that sends puts.
    async fn pattern(&self, rule: &str) -> Value {
        let name = format!("{}-{rule}-put", self.cloud.stack);
        let found = self.events.describe_rule().name(name).send().await;
        let pattern = found.expect("a rule").event_pattern.expect("a pattern");
        serde_json::from_str(&pattern).expect("JSON")
    }

    /// The problems of a rule: their codes, and their text.
    async fn problems(&self, rule: &str) -> (BTreeSet<String>, String) {
        let request = json!({"action": "check", "rule": rule});
        let answer = self.cloud.configure(request).await.expect("a check");
        let problems = answer["broken"][0]["problems"].as_array().cloned();
        let problems = problems.unwrap_or_default();
        let texts = |field: &str| {
            let texts = problems
                .iter()
                .filter_map(|problem| problem[field].as_str());
            texts.map(str::to_owned).collect::<Vec<_>>()
        };
        (
            texts("code").into_iter().collect(),
            texts("message").join("\n"),
        )
    }

    async fn has_one_problem(&self, rule: &str, said: &str) {
        let (codes, messages) = self.problems(rule).await;
        assert_eq!(codes, BTreeSet::from(["NotificationMissing".to_owned()]));
        assert!(messages.contains(said), "{said}: {messages}");
    }

    async fn has_no_problem(&self, rule: &str) {
        let (codes, messages) = self.problems(rule).await;
        assert_eq!(codes, BTreeSet::new(), "{messages}");
    }

    /// Asserts that a put and a delete of this key are replicated.
    async fn carries(&self, key: &str) {
        self.buckets.source.put(key, "by an event").await;
        self.buckets.arrive(key, SOON).await;
        self.buckets.source.delete(key).await;
        self.buckets.vanish(key, SOON).await;
    }
}

/// An entry of another writer for every put, to the writer's own queue.
fn theirs() -> QueueConfiguration {
    QueueConfiguration::builder()
        .id("theirs")
        .queue_arn("arn:aws:sqs:us-east-1:000000000000:of-another-team")
        .events(Event::from("s3:ObjectCreated:*"))
        .build()
        .expect("an entry")
}

fn id(answer: &Value) -> String {
    answer["rule"]["id"].as_str().expect("an id").to_owned()
}

// Promise: If a source's own notifications do not take a rule's entries, and the bucket sends to EventBridge, the rule
// is notified by EventBridge, and says so.
// Promise: A change that EventBridge delivers is carried over like one that S3 notifies itself.
#[tokio::test]
async fn a_rule_uses_eventbridge_if_the_buckets_own_notifications_leave_no_space() {
    let stage = Stage::new(true).await;
    let answer = stage.create(json!({})).await;
    let rule = id(&answer);
    assert_eq!(answer["rule"]["notified_by"], "eventbridge", "{answer}");
    let remarks = answer["remarks"].to_string();
    assert!(remarks.contains("of-another-team"), "{remarks}");
    assert_eq!(stage.notifications().await, (vec!["theirs".into()], true));
    assert_eq!(stage.event_rules(&rule).await.len(), 2);
    stage.has_no_problem(&rule).await;
    for key in ["a", "red flower+%.jpg", "ü/%2B"] {
        stage.carries(key).await;
    }

    stage.cloud.change("pause", &rule).await;
    assert_eq!(stage.event_rules(&rule).await.len(), 2);
    stage.cloud.change("resume", &rule).await;
    stage.carries("after a pause").await;

    // Nothing has changed, so the rule keeps its kind of notifications.
    let answer = stage.update(&rule, json!({"policy": "full"})).await;
    assert_eq!(answer["rule"]["notified_by"], "eventbridge", "{answer}");
    stage.cloud.change("delete", &rule).await;
    assert_eq!(stage.event_rules(&rule).await, Vec::<String>::new());
    assert_eq!(stage.notifications().await, (vec!["theirs".into()], true));
}

// Promise: Tandem turns on a bucket's notifications to EventBridge only if the rule's option `enable_eventbridge` says
// so, and it never turns them off.
#[tokio::test]
async fn eventbridge_is_turned_on_only_on_request_and_never_off() {
    let stage = Stage::new(false).await;
    for (options, field) in [
        (json!({}), "source"),
        (json!({"notifications": "bucket"}), "source"),
        (
            json!({"notifications": "eventbridge"}),
            "options.notifications",
        ),
    ] {
        let error = stage
            .cloud
            .create(&stage.buckets, json!({"options": options}))
            .await
            .expect_err("a refusal");
        assert_eq!(error.code, "NotificationConflict", "{options}");
        assert!(error.message.starts_with(field), "{}", error.message);
        let remedy = if options["notifications"] == "bucket" {
            "options.notifications"
        } else {
            "options.enable_eventbridge"
        };
        assert!(error.message.contains(remedy), "{}", error.message);
        assert_eq!(stage.notifications().await, (vec!["theirs".into()], false));
    }

    let answer = stage
        .create(json!({"options": {"enable_eventbridge": true}}))
        .await;
    let rule = id(&answer);
    assert_eq!(answer["rule"]["notified_by"], "eventbridge", "{answer}");
    let remarks = answer["remarks"].to_string();
    assert!(remarks.contains("has turned on"), "{remarks}");
    assert_eq!(stage.notifications().await, (vec!["theirs".into()], true));
    stage.carries("a").await;
    stage.cloud.change("delete", &rule).await;
    assert_eq!(stage.notifications().await, (vec!["theirs".into()], true));
}

// Promise: The prefixes of a rule that is notified by EventBridge are in the patterns of its rules there, and follow
// the rule's updates.
#[tokio::test]
async fn eventbridge_filters_by_prefix_and_updates_change_its_filters() {
    let stage = Stage::new(true).await;
    let scope = json!({"prefixes": ["a b=ü/"]});
    let answer = stage.create(json!({"scope": scope})).await;
    let rule = id(&answer);
    let prefixes = |prefix: &str| json!([{"prefix": prefix}]);
    let pattern = stage.pattern(&rule).await;
    assert_eq!(pattern["detail"]["object"]["key"], prefixes("a b=ü/"));
    stage.carries("a b=ü/1").await;
    let scope = json!({"prefixes": ["later/"]});
    stage.update(&rule, json!({"scope": scope})).await;
    let pattern = stage.pattern(&rule).await;
    assert_eq!(pattern["detail"]["object"]["key"], prefixes("later/"));
    stage.buckets.source.put("a b=ü/2", "no longer").await;
    stage.carries("later/1").await;
    assert_eq!(stage.buckets.destination.bytes("a b=ü/2").await, None);
    stage.has_no_problem(&rule).await;
    stage.cloud.change("delete", &rule).await;
}

// Promise: The check reports a rule of EventBridge that is missing, disabled or changed, and a bucket that does not send
// to EventBridge any more; an update of the rule writes its rules there again.
#[tokio::test]
async fn whatever_stops_the_events_is_reported_and_an_update_repairs_it() {
    let stage = Stage::new(true).await;
    let rule = id(&stage.create(json!({})).await);
    let name = format!("{}-{rule}-delete", stage.cloud.stack);
    let repaired = async || {
        stage.update(&rule, json!({"policy": "full"})).await;
        stage.has_no_problem(&rule).await;
    };

    let disabled = stage.events.disable_rule().name(&name).send().await;
    disabled.expect("a rule that is disabled");
    stage.has_one_problem(&rule, "is disabled").await;
    repaired().await;

    let other = json!({"source": ["aws.s3"], "detail-type": ["Object Created"]});
    let changed = stage.events.put_rule().name(&name);
    let changed = changed.event_pattern(other.to_string()).send().await;
    changed.expect("a rule that is changed");
    stage.has_one_problem(&rule, "does not choose").await;
    repaired().await;

    let removed = stage.events.remove_targets().rule(&name).ids("delete");
    removed.send().await.expect("a target that is removed");
    stage.has_one_problem(&rule, "to the delete queue").await;
    let deleted = stage.events.delete_rule().name(&name).send().await;
    deleted.expect("a rule that is deleted");
    stage.has_one_problem(&rule, "does not exist").await;
    repaired().await;
    stage.carries("a").await;

    stage.notify(vec![theirs()], false).await;
    let said = "does not send notifications to EventBridge";
    stage.has_one_problem(&rule, said).await;
    let options = json!({"enable_eventbridge": true});
    stage.update(&rule, json!({"options": options})).await;
    stage.has_no_problem(&rule).await;
    stage.cloud.change("delete", &rule).await;
}

// Promise: A rule that takes the place of another is not mistaken for it, although events of EventBridge name no rule.
#[tokio::test]
async fn a_rule_that_replaces_another_gets_the_changes_after_its_creation() {
    let stage = Stage::new(true).await;
    let first = id(&stage.create(json!({})).await);
    stage.carries("a").await;
    let other = Buckets::new(&stage.cloud, false).await;
    stage.cloud.change("delete", &first).await;
    let request = json!({
        "action": "create", "source": stage.buckets.source.name, "destination": other.destination.name,
    });
    let answer = stage.cloud.configure(request).await.expect("a rule");
    let second = Buckets {
        source: stage.buckets.source.clone(),
        destination: other.destination,
    };
    second.source.put("b", "of the second rule").await;
    second.arrive("b", SOON).await;
    assert_eq!(stage.buckets.destination.bytes("b").await, None);
    stage.cloud.change("delete", &id(&answer)).await;
}

// Promise: A rule that moves between its bucket's own notifications and EventBridge keeps both for ten minutes,
// and until an update after that.
#[tokio::test]
async fn a_rule_moves_to_eventbridge_and_back_without_a_gap() {
    let stage = Stage::new(true).await;
    stage.notify(Vec::new(), true).await;
    let answer = stage.create(json!({})).await;
    let rule = id(&answer);
    assert_eq!(answer["rule"]["notified_by"], "bucket", "{answer}");
    assert_eq!(answer["remarks"], json!([]));
    assert_eq!(stage.event_rules(&rule).await, Vec::<String>::new());
    let (own_entries, _) = stage.notifications().await;
    assert_eq!(own_entries.len(), 2);

    let to_eventbridge = json!({"options": {"notifications": "eventbridge"}});
    let answer = stage.update(&rule, to_eventbridge.clone()).await;
    assert_eq!(answer["rule"]["notified_by"], "eventbridge", "{answer}");
    assert_eq!(stage.notifications().await, (own_entries, true));
    let remarks = answer["remarks"].to_string();
    assert!(remarks.contains("in ten minutes or later"), "{remarks}");
    stage.carries("by both").await;
    // Sending the request again changes nothing.
    stage.update(&rule, to_eventbridge.clone()).await;
    assert_eq!(stage.notifications().await.0.len(), 2);

    let ago = TimeDelta::minutes(11);
    let settle = async || {
        stage
            .cloud
            .set_back("rule", &rule, "notified_since", ago)
            .await;
    };
    settle().await;
    let answer = stage.update(&rule, to_eventbridge).await;
    assert_eq!(answer["remarks"], json!([]));
    assert_eq!(stage.notifications().await, (Vec::new(), true));
    stage.carries("by events").await;

    let to_bucket = json!({"options": {"notifications": "bucket"}});
    let answer = stage.update(&rule, to_bucket.clone()).await;
    assert_eq!(answer["rule"]["notified_by"], "bucket", "{answer}");
    assert_eq!(stage.event_rules(&rule).await.len(), 2);
    assert_eq!(stage.notifications().await.0.len(), 2);
    settle().await;
    stage.update(&rule, to_bucket).await;
    assert_eq!(stage.event_rules(&rule).await, Vec::<String>::new());
    assert_eq!(stage.notifications().await.0.len(), 2);
    stage.carries("by the bucket").await;
    stage.has_no_problem(&rule).await;
    stage.cloud.change("delete", &rule).await;
}
