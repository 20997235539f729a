//! Rules: what is refused, and what that leaves behind (nothing); racing creations; the source's
//! notifications; a rule's life; and what there is to see of it.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::types::{
    Event, EventBridgeConfiguration, FilterRule, FilterRuleName, NotificationConfiguration,
    NotificationConfigurationFilter, QueueConfiguration, S3KeyFilter,
};
use aws_sdk_sqs::types::QueueAttributeName;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tandem_tests::bucket::Bucket;
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::{Cloud, EAST, FunctionError, WEST, unique};
use tandem_tests::eventually::{SOON, eventually};
use tandem_tests::function_process::Start;
use tandem_tests::proxy::{Action, Proxy, Seen};

// ---- Refusals ----------------------------------------------------------------------------------

/// Asks for a rule that has to be refused: under this code, naming the field and the value, and saying
/// what to do; and leaving nothing behind.
async fn refused(cloud: &Cloud, buckets: &Buckets, fields: Value, code: &str, said: [&str; 3]) {
    let items = cloud.items_with(&buckets.source.name).await.len();
    let notifications = buckets.source.notifications().await;
    let error = cloud
        .create(buckets, fields.clone())
        .await
        .expect_err("a refusal");
    assert_eq!(error.code, code, "{fields}: {}", error.message);
    let [field, value, remedy] = said;
    assert!(
        error.message.starts_with(&format!("{field} = ")),
        "{}",
        error.message
    );
    assert!(
        error.message.contains(value),
        "{value:?} is not named: {}",
        error.message
    );
    assert!(
        error.message.contains(remedy),
        "{remedy:?} is not said: {}",
        error.message
    );
    assert_eq!(
        cloud.items_with(&buckets.source.name).await.len(),
        items,
        "{fields}"
    );
    assert_eq!(
        buckets.source.notifications().await.queue_configurations,
        notifications.queue_configurations,
        "{fields}"
    );
}

/// The pair with another bucket at one end.
fn with_source(buckets: &Buckets, name: &str) -> Value {
    json!({"source": name, "destination": buckets.destination.name})
}

async fn bucket_in(cloud: &Cloud, region: &'static str) -> Bucket {
    Bucket::create(cloud, region, unique("bucket"), false).await
}

#[tokio::test]
async fn a_bucket_is_not_replicated_to_itself() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let same = json!({"destination": buckets.source.name});
    let said = ["destination", &buckets.source.name, "name another bucket"];
    refused(&cloud, &buckets, same, "SameBucket", said).await;
}

#[tokio::test]
async fn two_buckets_of_one_region_are_refused() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::in_regions(&cloud, EAST, EAST, false).await;
    let said = [
        "destination",
        &buckets.destination.name,
        "choose a bucket in us-east-2, us-west-1, us-west-2",
    ];
    refused(&cloud, &buckets, json!({}), "SameRegion", said).await;
}

#[tokio::test]
async fn regions_of_no_common_group_are_refused() {
    let cloud = Cloud::connect().await;
    for region in ["eu-west-1", "cn-north-1"] {
        let buckets = Buckets::in_regions(&cloud, EAST, region, false).await;
        let said = [
            "destination",
            region,
            "choose a bucket in us-east-2, us-west-1, us-west-2",
        ];
        refused(&cloud, &buckets, json!({}), "RegionsNotAllowed", said).await;
    }
}

#[tokio::test]
async fn a_source_of_another_region_than_the_stack_is_refused() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::in_regions(&cloud, WEST, EAST, false).await;
    let said = [
        "source",
        &buckets.source.name,
        "deploy the stack in us-west-2",
    ];
    refused(&cloud, &buckets, json!({}), "SourceOutsideRegion", said).await;
}

#[tokio::test]
async fn a_destination_elsewhere_than_the_request_says_is_refused() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let fields = json!({"destination_region": "us-east-2"});
    let said = [
        "destination",
        &buckets.destination.name,
        "correct destination_region or leave it out",
    ];
    refused(&cloud, &buckets, fields, "DestinationRegionMismatch", said).await;
    cloud
        .rule(&buckets, json!({"destination_region": WEST}))
        .await;
}

#[tokio::test]
async fn buckets_that_do_not_exist_are_refused() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let missing = unique("missing");
    let said = ["source", missing.as_str(), "make the bucket first"];
    refused(
        &cloud,
        &buckets,
        with_source(&buckets, &missing),
        "BucketNotFound",
        said,
    )
    .await;
    let said = ["destination", missing.as_str(), "make the bucket first"];
    refused(
        &cloud,
        &buckets,
        json!({"destination": missing}),
        "BucketNotFound",
        said,
    )
    .await;
}

#[tokio::test]
async fn what_is_no_bucket_name_is_refused() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    for name in [
        "",
        "ab",
        "Photos",
        "a..b",
        "arn:aws:s3:::photos",
        &"a".repeat(64),
    ] {
        let said = ["destination", name, "3 to 63 lowercase letters"];
        refused(
            &cloud,
            &buckets,
            json!({"destination": name}),
            "InvalidBucketName",
            said,
        )
        .await;
    }
}

#[tokio::test]
async fn scopes_that_are_none_are_refused() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let long = "a".repeat(1_025);
    for (prefixes, value, remedy) in [
        (json!([]), "[]", "name one to 5"),
        (json!(["a", "b", "c", "d", "e", "f"]), "f", "at most 5"),
        (json!(["a", ""]), r#""""#, "use the scope \"all\""),
        (json!(["a/", "b/", "a/"]), r#""a/""#, "name it once"),
        (json!(["a/", "a/b/"]), r#""a/b/""#, "leave one of them out"),
        (json!([long]), "1025 bytes", "shorten it"),
    ] {
        let fields = json!({"scope": {"prefixes": prefixes}});
        let said = ["scope.prefixes", value, remedy];
        refused(&cloud, &buckets, fields, "InvalidScope", said).await;
    }
    let five = json!({"scope": {"prefixes": ["a", "b", "c", "d", "e"]}});
    cloud.rule(&buckets, five).await;
}

#[tokio::test]
async fn requests_of_another_form_are_refused() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    for (fields, named) in [
        (json!({"polcy": "full"}), "polcy"),
        (json!({"policy": "ful"}), "ful"),
        (json!({"historical": "yes"}), "historical"),
        (json!({"scope": "some"}), "some"),
        (json!({"scope": {"prefix": ["a"]}}), "prefix"),
        (json!({"destination": 3}), "3"),
        (json!({"action": "crate"}), "crate"),
    ] {
        let error = cloud
            .create(&buckets, fields.clone())
            .await
            .expect_err("a refusal");
        assert_eq!(error.code, "InvalidRequest", "{fields}: {}", error.message);
        assert!(error.message.contains(named), "{fields}: {}", error.message);
    }
    for request in [
        json!(null),
        json!([]),
        json!("create"),
        json!({}),
        json!({"action": "get"}),
    ] {
        let error = cloud
            .configure(request.clone())
            .await
            .expect_err("a refusal");
        assert_eq!(error.code, "InvalidRequest", "{request}: {}", error.message);
    }
    assert_eq!(cloud.items_with(&buckets.source.name).await.len(), 0);
}

#[tokio::test]
async fn a_bucket_in_use_at_either_end_is_refused_at_either_end() {
    let cloud = Cloud::connect().await;
    let (used, free) = futures::join!(Buckets::new(&cloud, false), Buckets::new(&cloud, false));
    let rule = cloud.rule(&used, json!({})).await;
    let said = ["source", used.source.name.as_str(), "choose another bucket"];
    let fields = json!({"source": used.source.name});
    refused(&cloud, &free, fields, "BucketInUse", said).await;
    let said = ["destination", used.destination.name.as_str(), rule.as_str()];
    let fields = json!({"destination": used.destination.name});
    refused(&cloud, &free, fields, "BucketInUse", said).await;
    // The same rule again.
    let said = [
        "source",
        used.source.name.as_str(),
        "delete that rule first",
    ];
    refused(&cloud, &used, json!({}), "BucketInUse", said).await;
}

/// The stack's sources are in one region, so a way back could only be asked of another stack or after a
/// change of the region: here the claims say that it is there.
#[tokio::test]
async fn a_source_that_is_a_destination_already_is_refused() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let table = cloud.table().await;
    let other = unique("rule-elsewhere");
    for (bucket, role) in [
        (&buckets.source, "destination"),
        (&buckets.destination, "source"),
    ] {
        let claim = [
            ("pk", "bucket"),
            ("sk", bucket.name.as_str()),
            ("rule_id", &other),
            ("role", role),
        ];
        let mut put = cloud.dynamodb.put_item().table_name(&table);
        for (attribute, value) in claim {
            put = put.item(attribute, AttributeValue::S(value.to_owned()));
        }
        put.send().await.expect("a claim");
    }
    let said = [
        "destination",
        buckets.destination.name.as_str(),
        "delete that rule first",
    ];
    refused(&cloud, &buckets, json!({}), "TwoWay", said).await;
}

#[tokio::test]
async fn a_bucket_that_may_not_be_read_is_refused() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    for bucket in [&buckets.destination, &buckets.source] {
        let arn = format!("arn:aws:s3:::{}", bucket.name);
        let policy = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": "s3:ListBucket", "Resource": arn},
        ]});
        let put = bucket
            .client
            .put_bucket_policy()
            .bucket(&bucket.name)
            .policy(policy.to_string());
        put.send().await.expect("a bucket policy");
        let role = if bucket.name == buckets.source.name {
            "source"
        } else {
            "destination"
        };
        let said = [role, bucket.name.as_str(), "its policy"];
        refused(&cloud, &buckets, json!({}), "BucketNotAccessible", said).await;
    }
}

#[tokio::test]
async fn a_bucket_of_another_account_is_refused() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    // S3 answers 403 to who is not the expected owner.
    let proxy = Proxy::start(&cloud.endpoint).await;
    let theirs = buckets.destination.name.clone();
    let expects_us = move |seen: &Seen| {
        seen.bucket == theirs && seen.headers.contains_key("x-amz-expected-bucket-owner")
    };
    proxy.script(9, expects_us, Action::s3_error(403, "AccessDenied"));
    let function = Start::of(&cloud, "configure-rule")
        .await
        .through(&proxy)
        .start()
        .await;
    let request = json!({"action": "create", "source": buckets.source.name, "destination": buckets.destination.name});
    let error = function.invoke(request).await.expect_err("a refusal");
    assert_eq!(error.code, "BucketNotAccessible", "{}", error.message);
    assert!(
        error.message.contains("another account"),
        "{}",
        error.message
    );
    assert_eq!(cloud.items_with(&buckets.source.name).await.len(), 0);
}

#[tokio::test]
async fn a_rule_that_does_not_exist_is_named() {
    let cloud = Cloud::connect().await;
    for action in ["get", "update", "pause", "resume", "delete", "progress"] {
        let mut request = json!({"action": action, "rule": "rule-nobody-made"});
        if action == "update" {
            request["policy"] = json!("full");
        }
        let error = cloud.configure(request).await.expect_err("a refusal");
        assert_eq!(error.code, "RuleNotFound", "{action}");
        assert!(
            error.message.contains("rule-nobody-made"),
            "{}",
            error.message
        );
    }
}

// ---- Races -------------------------------------------------------------------------------------

const RACERS: usize = 50;

async fn race(cloud: &Cloud, pairs: Vec<Buckets>) {
    let creations = pairs.iter().map(|pair| cloud.create(pair, json!({})));
    let answers: Vec<Result<Value, FunctionError>> = futures::future::join_all(creations).await;
    let winners: Vec<&Value> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().ok())
        .collect();
    let losers: Vec<&FunctionError> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().err())
        .collect();
    assert_eq!(winners.len(), 1, "{losers:?}");
    for loser in losers {
        let in_use = loser.code == "BucketInUse" || loser.code == "RuleStateConflict";
        assert!(in_use, "{loser:?}");
    }
    let mut names = BTreeSet::new();
    for pair in &pairs {
        names.extend([pair.source.name.clone(), pair.destination.name.clone()]);
    }
    let text = |item: &tandem_tests::cloud::Item, name: &str| {
        item.get(name)
            .and_then(|value| value.as_s().ok())
            .cloned()
            .unwrap_or_default()
    };
    let items = cloud.items_with("").await;
    let claimed: BTreeSet<String> = items
        .iter()
        .filter(|item| text(item, "pk") == "bucket" && names.contains(&text(item, "sk")))
        .map(|item| text(item, "sk"))
        .collect();
    let winner = winners[0];
    let wanted = ["source", "destination"]
        .map(|end| winner[end]["bucket"].as_str().expect("a name").to_owned());
    assert_eq!(claimed, BTreeSet::from(wanted));
    let rules = items
        .iter()
        .filter(|item| text(item, "pk") == "rule" && names.contains(&text(item, "source_bucket")));
    assert_eq!(rules.count(), 1);
    for pair in &pairs {
        let ours = pair
            .source
            .notifications()
            .await
            .queue_configurations
            .unwrap_or_default();
        let wanted = if winner["source"]["bucket"] == json!(pair.source.name) {
            2
        } else {
            0
        };
        assert_eq!(ours.len(), wanted, "{ours:?}");
    }
}

#[tokio::test]
async fn of_fifty_racing_rules_for_one_source_one_wins() {
    let cloud = Cloud::connect().await;
    let source = bucket_in(&cloud, EAST).await;
    let destinations = stream::iter((0..RACERS).map(|_| bucket_in(&cloud, WEST)));
    let destinations: Vec<Bucket> = destinations.buffer_unordered(16).collect().await;
    let pairs = destinations.into_iter().map(|destination| Buckets {
        source: source.clone(),
        destination,
    });
    race(&cloud, pairs.collect()).await;
}

#[tokio::test]
async fn of_fifty_racing_rules_for_one_destination_one_wins() {
    let cloud = Cloud::connect().await;
    let destination = bucket_in(&cloud, WEST).await;
    let sources = stream::iter((0..RACERS).map(|_| bucket_in(&cloud, EAST)));
    let sources: Vec<Bucket> = sources.buffer_unordered(16).collect().await;
    let pairs = sources.into_iter().map(|source| Buckets {
        source,
        destination: destination.clone(),
    });
    race(&cloud, pairs.collect()).await;
}

// ---- The source's notifications -----------------------------------------------------------------

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

/// The rule's entries: queue, event and prefix of each, in order.
async fn entries(buckets: &Buckets, rule: &str) -> Vec<(String, String, String)> {
    let found = buckets
        .source
        .notifications()
        .await
        .queue_configurations
        .unwrap_or_default();
    let mut entries: Vec<(String, String, String)> = found
        .iter()
        .filter(|entry| entry.id().is_some_and(|id| id.contains(rule)))
        .map(|entry| {
            let filter = entry.filter().and_then(|filter| filter.key());
            let prefix = filter
                .and_then(|filter| filter.filter_rules().first()?.value())
                .unwrap_or_default();
            let queue = entry.queue_arn().rsplit('-').next().unwrap_or_default();
            (
                queue.to_owned(),
                entry.events()[0].as_str().to_owned(),
                prefix.to_owned(),
            )
        })
        .collect();
    entries.sort();
    entries
}

fn entry(queue: &str, prefix: &str) -> (String, String, String) {
    let event = if queue == "put" {
        "s3:ObjectCreated:*"
    } else {
        "s3:ObjectRemoved:*"
    };
    (queue.to_owned(), event.to_owned(), prefix.to_owned())
}

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

#[tokio::test]
async fn prefixes_and_policy_are_told_to_s3_and_an_update_tells_it_anew() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let fields = json!({"scope": {"prefixes": ["a/", "b/"]}, "policy": "write"});
    let rule = cloud.rule(&buckets, fields).await;
    assert_eq!(
        entries(&buckets, &rule).await,
        [entry("put", "a/"), entry("put", "b/")]
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

// ---- A rule's life ------------------------------------------------------------------------------

#[tokio::test]
async fn pausing_resuming_and_deleting_can_be_repeated() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let rule = cloud.rule(&buckets, json!({})).await;
    let paused = cloud.change("pause", &rule).await;
    assert!(paused["paused_at"].is_string(), "{paused}");
    assert_eq!(cloud.change("pause", &buckets.source.name).await, paused);
    let resumed = cloud.change("resume", &rule).await;
    assert!(resumed["paused_at"].is_null(), "{resumed}");
    assert_eq!(
        cloud.change("resume", &buckets.destination.name).await,
        resumed
    );
    cloud.change("delete", &rule).await;
    let again = cloud
        .configure(json!({"action": "delete", "rule": rule}))
        .await;
    assert_eq!(again.expect_err("nothing to delete").code, "RuleNotFound");
    assert_eq!(cloud.items_with(&rule).await.len(), 0);
    assert_eq!(entries(&buckets, "tandem").await, []);
    // Both buckets are free again.
    cloud.rule(&buckets, json!({})).await;
}

#[tokio::test]
async fn a_rule_whose_source_has_changed_hands_can_be_deleted() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let rule = cloud.rule(&buckets, json!({})).await;
    let proxy = Proxy::start(&cloud.endpoint).await;
    let theirs = buckets.source.name.clone();
    let expects_us = move |seen: &Seen| {
        seen.bucket == theirs && seen.headers.contains_key("x-amz-expected-bucket-owner")
    };
    proxy.script(99, expects_us, Action::s3_error(403, "AccessDenied"));
    let function = Start::of(&cloud, "configure-rule").await;
    let function = function.through(&proxy).start().await;
    let request = json!({"action": "delete", "rule": rule});
    function.invoke(request).await.expect("the rule ends");
    assert!(cloud.items_with(&buckets.destination.name).await.is_empty());
}

#[tokio::test]
async fn a_source_that_may_not_be_read_keeps_its_rule_until_it_is_detached() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let rule = cloud.rule(&buckets, json!({})).await;
    let proxy = Proxy::start(&cloud.endpoint).await;
    proxy.script(
        1,
        |seen| seen.is("GetBucketNotificationConfiguration"),
        Action::s3_error(403, "AccessDenied"),
    );
    let function = Start::of(&cloud, "configure-rule").await;
    let function = function.through(&proxy).start().await;
    let request = json!({"action": "delete", "rule": rule});
    let error = function.invoke(request).await.expect_err("a failure");
    assert!(error.message.contains("AccessDenied"), "{}", error.message);
    assert_eq!(cloud.change("get", &rule).await["state"], "deleting");
    cloud.change("delete", &rule).await;
    nothing_is_left_of_it(&cloud, &buckets).await;
}

/// S3 looks at every queue and function that a configuration names, unless it is asked not to.
#[tokio::test]
async fn only_what_is_added_depends_on_what_others_are_notified_by() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let proxy = Proxy::start(&cloud.endpoint).await;
    let function = Start::of(&cloud, "configure-rule").await;
    let function = function.through(&proxy).start().await;
    let skips = || {
        let written = proxy.take().into_iter();
        let written = written.filter(|seen| seen.is("PutBucketNotificationConfiguration"));
        let skip = "x-amz-skip-destination-validation";
        written
            .map(|seen| seen.headers.get(skip).is_some_and(|skips| skips == "true"))
            .collect::<Vec<_>>()
    };
    function.invoke(creation(&buckets)).await.expect("a rule");
    assert_eq!(skips(), [false]);
    let request = json!({"action": "delete", "rule": buckets.source.name});
    function.invoke(request).await.expect("the rule ends");
    assert_eq!(skips(), [true]);
}

#[tokio::test]
async fn a_deleted_rule_leaves_nothing_in_the_table() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    buckets.source.put("a", "a").await;
    let rule = cloud.rule(&buckets, json!({"historical": true})).await;
    buckets.become_equal("", SOON).await;
    cloud.change("pause", &rule).await;
    cloud.change("delete", &rule).await;
    eventually("nothing is left", SOON, async || {
        let left = cloud.items_with(&rule).await;
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
}

fn creation(buckets: &Buckets) -> Value {
    json!({"action": "create", "source": buckets.source.name, "destination": buckets.destination.name})
}

async fn nothing_is_left_of_it(cloud: &Cloud, buckets: &Buckets) {
    for bucket in [&buckets.source, &buckets.destination] {
        let left = cloud.items_with(&bucket.name).await;
        assert!(left.is_empty(), "{left:?}");
    }
    let left = buckets.source.notifications().await;
    assert!(left.queue_configurations().is_empty(), "{left:?}");
    cloud.rule(buckets, json!({})).await;
}

#[tokio::test]
async fn a_creation_that_fails_half_way_leaves_nothing_behind() {
    let cloud = Cloud::connect().await;
    for (operation, times, action) in [
        (
            "PutBucketNotificationConfiguration",
            1,
            Action::s3_error(403, "AccessDenied"),
        ),
        (
            "PutBucketNotificationConfiguration",
            3,
            Action::s3_error(500, "InternalError"),
        ),
        ("PutBucketNotificationConfiguration", 3, Action::BreakAfter),
        (
            "GetBucketNotificationConfiguration",
            1,
            Action::s3_error(403, "AccessDenied"),
        ),
        ("DynamoDB.PutItem", 9, Action::Answer(500, "{}".to_owned())),
        (
            "DynamoDB.TransactWriteItems",
            9,
            Action::Answer(500, "{}".to_owned()),
        ),
    ] {
        let buckets = Buckets::new(&cloud, false).await;
        let proxy = Proxy::start(&cloud.endpoint).await;
        proxy.script(times, move |seen| seen.is(operation), action.clone());
        let function = Start::of(&cloud, "configure-rule")
            .await
            .through(&proxy)
            .start()
            .await;
        let error = function
            .invoke(creation(&buckets))
            .await
            .expect_err("a failure");
        assert_eq!(
            error.code, "Internal",
            "{operation} {action:?}: {}",
            error.message
        );
        nothing_is_left_of_it(&cloud, &buckets).await;
    }
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_made_or_not_but_never_left_behind() {
    let cloud = Cloud::connect().await;
    for times in [1, 9] {
        let buckets = Buckets::new(&cloud, false).await;
        let proxy = Proxy::start(&cloud.endpoint).await;
        let claims = |seen: &Seen| seen.is("DynamoDB.TransactWriteItems");
        proxy.script(times, claims, Action::BreakAfter);
        let function = Start::of(&cloud, "configure-rule")
            .await
            .through(&proxy)
            .start()
            .await;
        match function.invoke(creation(&buckets)).await {
            Ok(answer) => assert_eq!(answer["rule"]["state"], "enabled"),
            Err(error) => {
                assert_eq!(error.code, "Internal", "{}", error.message);
                // What could not be undone while the table did not answer is taken over later.
                make_older(&cloud, &buckets).await;
                cloud.rule(&buckets, json!({})).await;
            }
        }
    }
}

/// Lets the pair's rule, if there is one, have been written three minutes ago.
async fn make_older(cloud: &Cloud, buckets: &Buckets) {
    let then = tandem_lambda::runtime::now() - chrono::TimeDelta::minutes(3);
    for item in cloud.items_with(&buckets.source.name).await {
        if item["pk"] == AttributeValue::S("rule".to_owned()) {
            let mut older = item.clone();
            let text = serde_json::to_value(then).expect("a time");
            let text = text.as_str().expect("a text").to_owned();
            older.insert("updated_at".to_owned(), AttributeValue::S(text));
            let put = cloud.dynamodb.put_item().table_name(cloud.table().await);
            put.set_item(Some(older))
                .send()
                .await
                .expect("an older rule");
        }
    }
}

#[tokio::test]
async fn what_a_killed_creation_left_is_taken_over_by_the_next_one() {
    let cloud = Cloud::connect().await;
    for attached in [false, true] {
        let buckets = Buckets::new(&cloud, false).await;
        let proxy = Proxy::start(&cloud.endpoint).await;
        let attaches = |seen: &Seen| seen.is("PutBucketNotificationConfiguration");
        let gate = if attached {
            proxy.hold_after(attaches)
        } else {
            proxy.hold_before(attaches)
        };
        let function = Start::of(&cloud, "configure-rule")
            .await
            .through(&proxy)
            .start()
            .await;
        let killed = function.begin(creation(&buckets));
        gate.arrived().await;
        if attached {
            eventually("it is attached", SOON, async || {
                let found = buckets.source.notifications().await;
                if found.queue_configurations().len() == 2 {
                    Ok(())
                } else {
                    Err(format!("{found:?}"))
                }
            })
            .await;
        }
        function.kill();
        assert_eq!(killed.await.expect_err("no answer").code, "Killed");
        let enabling = cloud
            .configure(json!({"action": "get", "rule": buckets.source.name}))
            .await;
        assert_eq!(enabling.expect("the remains")["rule"]["state"], "enabling");
        let early = cloud
            .create(&buckets, json!({}))
            .await
            .expect_err("it could still be at work");
        assert_eq!(early.code, "BucketInUse");
        make_older(&cloud, &buckets).await;
        let rule = cloud.rule(&buckets, json!({})).await;
        assert_eq!(entries(&buckets, &rule).await.len(), 2);
        assert_eq!(
            buckets
                .source
                .notifications()
                .await
                .queue_configurations()
                .len(),
            2
        );
    }
}

#[tokio::test]
async fn what_a_killed_creation_left_can_be_deleted_at_once() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let proxy = Proxy::start(&cloud.endpoint).await;
    let gate = proxy.hold_before(|seen| seen.is("PutBucketNotificationConfiguration"));
    let function = Start::of(&cloud, "configure-rule")
        .await
        .through(&proxy)
        .start()
        .await;
    let killed = function.begin(creation(&buckets));
    gate.arrived().await;
    function.kill();
    assert!(killed.await.is_err());
    cloud.change("delete", &buckets.source.name).await;
    nothing_is_left_of_it(&cloud, &buckets).await;
}

// ---- What there is to see -----------------------------------------------------------------------

#[tokio::test]
async fn a_rule_is_shown_by_its_id_and_either_bucket_and_in_the_list() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let fields = json!({"scope": {"prefixes": ["a/"]}, "policy": "write"});
    let made = cloud.create(&buckets, fields).await.expect("a rule");
    let expected = json!({
        "id": made["id"],
        "source": {"bucket": buckets.source.name, "region": EAST},
        "destination": {"bucket": buckets.destination.name, "region": WEST},
        "scope": {"prefixes": ["a/"]},
        "policy": "write",
        "options": {
            "storage_class": "keep", "kms_key": null, "tags": true, "acl": "reset",
            "object_lock": "bucket", "lifecycle_deletes": false, "destination_account": null,
            "reconcile": "never", "rpo_secs": 900,
        },
        "historical": false,
        "state": "enabled",
        "revision": 2,
        "created_at": made["created_at"],
        "updated_at": made["updated_at"],
        "paused_at": null,
    });
    assert_eq!(made, expected);
    for name in [
        made["id"].as_str().expect("an id"),
        &buckets.source.name,
        &buckets.destination.name,
    ] {
        assert_eq!(cloud.change("get", name).await, expected);
    }
    let list = cloud
        .configure(json!({"action": "list"}))
        .await
        .expect("a list");
    assert!(list["rules"].as_array().expect("rules").contains(&expected));
}

#[tokio::test]
async fn destinations_of_a_source_are_listed_with_the_reason_against_each() {
    let cloud = Cloud::connect().await;
    let (buckets, taken) = futures::join!(Buckets::new(&cloud, false), Buckets::new(&cloud, false));
    let (near, far) = futures::join!(bucket_in(&cloud, EAST), bucket_in(&cloud, "eu-west-1"));
    let rule = cloud.rule(&taken, json!({})).await;
    let request = json!({"action": "destinations", "source": buckets.source.name});
    let shown = cloud.configure(request).await.expect("destinations");
    assert_eq!(shown["source_region"], EAST);
    assert_eq!(
        shown["regions"],
        json!(["us-east-2", "us-west-1", "us-west-2"])
    );
    let about = |name: &str| {
        let all = shown["buckets"].as_array().expect("buckets");
        all.iter()
            .find(|bucket| bucket["bucket"] == json!(name))
            .cloned()
    };
    let free = about(&buckets.destination.name).expect("the free one");
    assert_eq!(
        (&free["available"], &free["region"]),
        (&json!(true), &json!(WEST)),
        "{free}"
    );
    assert_eq!(about(&buckets.source.name), None);
    for (bucket, why) in [
        (&taken.destination.name, rule.as_str()),
        (&near.name, "in the source's region"),
        (&far.name, "not in one region group"),
    ] {
        let refused = about(bucket).expect("every bucket is listed");
        assert_eq!(refused["available"], false);
        assert!(
            refused["reason"].as_str().expect("a reason").contains(why),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn progress_shows_counts_bytes_and_lag() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let rule = cloud.rule(&buckets, json!({})).await;
    let before = cloud.progress(&rule).await;
    assert_eq!(before["live"]["watermark"], Value::Null, "{before}");
    assert_eq!(
        before["live"]["lag_ms"],
        Value::Null,
        "never a made-up zero: {before}"
    );
    assert_eq!(before["historical"], Value::Null);
    let keys: Vec<String> = (0..10).map(|n| format!("key {n}")).collect();
    buckets.source.put_all(&keys, |_| vec![1; 100]).await;
    buckets.become_equal("", SOON).await;
    buckets.source.delete_all(&keys[..3]).await;
    buckets.become_equal("", SOON).await;
    let shown = eventually("the metrics arrive", SOON, async || {
        let shown = cloud.progress(&rule).await;
        let live = &shown["live"];
        let counts = (live["replicated"].as_u64(), live["deleted"].as_u64());
        if counts == (Some(10), Some(3)) {
            Ok(shown)
        } else {
            Err(shown.to_string())
        }
    })
    .await;
    let live = &shown["live"];
    assert_eq!(
        (&live["bytes"], &live["failed"], &shown["failures"]),
        (&json!(1_000), &json!(0), &json!(0)),
        "{shown}"
    );
    let lag = |name: &str| live["lag_ms"][name].as_f64().expect("a lag");
    assert!(
        lag("p50") > 0.0 && lag("p50") <= lag("p99") && lag("p99") <= lag("max"),
        "{shown}"
    );
    assert!(lag("max") < 60_000.0, "{shown}");
}

#[tokio::test]
async fn the_watermark_moves_on_only_while_nothing_waits() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let rule = cloud.quiet_rule(&buckets, json!({})).await;
    // Queues of its own: those of the stack are used by every other test.
    let put_queue = cloud.own_queue().await;
    let mut start = Start::of(&cloud, "configure-rule").await;
    for queue in [
        "DELETE",
        "WORK",
        "PART",
        "PUT_DEAD",
        "DELETE_DEAD",
        "WORK_DEAD",
        "PART_DEAD",
    ] {
        start = start.variable(
            &format!("TANDEM_{queue}_QUEUE_URL"),
            cloud.own_queue().await,
        );
    }
    let function = start
        .variable("TANDEM_PUT_QUEUE_URL", &put_queue)
        .start()
        .await;
    let watermark = async || {
        let shown = function
            .invoke(json!({"action": "progress", "rule": rule}))
            .await
            .expect("progress");
        let at = shown["live"]["watermark"].as_str().map(|text| {
            text.parse::<tandem_replication::Timestamp>()
                .expect("a time")
        });
        (at, shown["live"]["backlog"].clone())
    };
    assert_eq!(
        watermark().await.0,
        None,
        "queue counts take a minute to settle"
    );
    let created = tandem_lambda::runtime::now() - chrono::TimeDelta::minutes(10);
    for item in cloud.items_with(&rule).await {
        if item["pk"] == AttributeValue::S("rule".to_owned()) {
            let mut older = item.clone();
            older.insert(
                "created_at".to_owned(),
                AttributeValue::S(created.to_rfc3339()),
            );
            let put = cloud.dynamodb.put_item().table_name(cloud.table().await);
            put.set_item(Some(older))
                .send()
                .await
                .expect("an older rule");
        }
    }
    let asked_at = tandem_lambda::runtime::now();
    let first = watermark().await.0.expect("nothing waits");
    let age = asked_at - first;
    assert!(
        age <= chrono::TimeDelta::seconds(60) && age > chrono::TimeDelta::seconds(50),
        "{age}"
    );
    cloud.send(&put_queue, "a change that waits").await;
    let (waiting, backlog) = watermark().await;
    assert_eq!(
        (waiting, &backlog["put"]),
        (Some(first), &json!(1)),
        "it neither moves nor is forgotten"
    );
    cloud.drain(&put_queue).await;
    assert!(watermark().await.0 > Some(first));
}

#[tokio::test]
async fn changes_of_a_rule_take_effect_within_seconds() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let rule = cloud.rule(&buckets, json!({})).await;
    buckets.source.put("before", "before").await;
    buckets.arrive("before", SOON).await;
    cloud.change("pause", &rule).await;
    let mut puts = 0;
    eventually("a put is held", Duration::from_secs(20), async || {
        puts += 1;
        buckets.source.put(&format!("put {puts}"), "").await;
        let held = cloud.progress(&rule).await["live"]["backlog"]["held"].clone();
        if held.as_u64() > Some(0) {
            Ok(())
        } else {
            Err(held.to_string())
        }
    })
    .await;
}
