//! A rule's life, from a creation that fails halfway to its deletion.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::Cloud;
use tandem_tests::eventually::{SOON, eventually};
use tandem_tests::function_process::Start;
use tandem_tests::proxy::{Action, Proxy, Seen};

use super::entries;

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
    // Both buckets can be used again.
    cloud.rule(&buckets, json!({})).await;
}

// Promise: A rule can be deleted although its source has changed hands; if the source may not be read, a later
// delete ends the rule once it may.
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
    function.invoke(request).await.expect("the rule is deleted");
    assert!(cloud.items_with(&buckets.destination.name).await.is_empty());
}

/// On AWS, the account condition of the function's role denies every request to a bucket of another account. Only the list
/// of the account's own buckets then shows that the source has changed hands.
// Promise: A rule can be deleted although its source has changed hands; if the source may not be read, a later
// delete ends the rule once it may.
#[tokio::test]
async fn a_rule_whose_source_has_changed_hands_can_be_deleted_although_every_request_is_denied() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let rule = cloud.rule(&buckets, json!({})).await;
    let proxy = Proxy::start(&cloud.endpoint).await;
    let theirs = buckets.source.name.clone();
    proxy.script(
        99,
        move |seen| seen.bucket == theirs,
        Action::s3_error(403, "AccessDenied"),
    );
    let no_buckets = "<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>";
    let lists_buckets = |seen: &Seen| seen.is("ListBuckets");
    proxy.script(9, lists_buckets, Action::Answer(200, no_buckets.to_owned()));
    let function = Start::of(&cloud, "configure-rule").await;
    let function = function.through(&proxy).start().await;
    let request = json!({"action": "delete", "rule": rule});
    function.invoke(request).await.expect("the rule is deleted");
    assert!(cloud.items_with(&rule).await.is_empty());
}

// Promise: A rule can be deleted although its source has changed hands; if the source may not be read, a later
// delete ends the rule once it may.
#[tokio::test]
async fn the_rule_of_an_unreadable_source_stays_until_it_can_be_detached() {
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

/// S3 validates every queue and function of a configuration, unless the request skips this.
#[tokio::test]
async fn only_added_entries_depend_on_the_destinations_of_other_entries() {
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
    function.invoke(request).await.expect("the rule is deleted");
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

// Promise: A rule is made wholly or not at all: the next creation takes over what a killed one has left, and of
// racing rules for one bucket one wins.
#[tokio::test]
async fn a_creation_that_fails_halfway_leaves_nothing_behind() {
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
        // The destination's notifications need not be readable; the source's have to be.
        (
            "GetBucketNotificationConfiguration",
            2,
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
async fn a_claim_whose_answer_is_lost_is_never_left_without_a_rule() {
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
                // The next creation takes over what could not be undone while the table did not answer.
                make_older(&cloud, &buckets).await;
                cloud.rule(&buckets, json!({})).await;
            }
        }
    }
}

/// Sets the last write of the pair's rule, if there is one, back by three minutes.
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

// Promise: A rule is made wholly or not at all: the next creation takes over what a killed one has left, and of
// racing rules for one bucket one wins.
#[tokio::test]
async fn the_next_creation_takes_over_what_a_killed_one_has_left() {
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
            eventually("the rule is attached", SOON, async || {
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
            .expect_err("the creation may still be running");
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
async fn the_rest_of_a_killed_creation_can_be_deleted_at_once() {
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

// Promise: A pause, resume or deletion of a rule, or a change of a job, is not refused because the table's answer was
// lost.
#[tokio::test]
async fn a_change_whose_answer_is_lost_is_not_mistaken_for_another_requests() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let rule = cloud.rule(&buckets, json!({})).await;
    let proxy = Proxy::start(&cloud.endpoint).await;
    let function = Start::of(&cloud, "configure-rule").await;
    let function = function.through(&proxy).start().await;
    for (action, state) in [
        ("pause", "paused"),
        ("resume", "enabled"),
        ("delete", "deleting"),
    ] {
        proxy.script(1, |seen| seen.is("DynamoDB.PutItem"), Action::BreakAfter);
        let request = json!({"action": action, "rule": rule});
        let answer = function.invoke(request).await;
        let changed = answer.unwrap_or_else(|error| panic!("{action}: {error:?}"));
        assert_eq!(changed["rule"]["state"], state);
        let writes = proxy.take_counts()["DynamoDB.PutItem"];
        assert!(writes >= 2, "{action}: the client sent its write once only");
    }
    nothing_is_left_of_it(&cloud, &buckets).await;
}
