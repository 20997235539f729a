//! Single requests of CloudFormation as it may send them: in order, twice, at once, late, wrong.

use aws_sdk_s3::types::NotificationConfiguration;
use futures::future::join_all;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tandem_hostile::damage::damaged;
use tandem_hostile::documents::events;
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::unique;
use tandem_tests::function_process::Start;
use tandem_tests::proxy::{Action, Proxy};

use super::Declared;

#[tokio::test]
async fn a_resource_is_a_rule_from_its_creation_to_its_deletion() {
    let declared = Declared::new().await;
    let create = declared.event(
        "Create",
        &json!({"Prefixes": ["in/"], "Policy": "write", "Options": {"Tags": "false"}}),
    );
    let created = declared.succeeds(&create).await;
    let id = &created["PhysicalResourceId"];
    assert_eq!(created["Data"]["RuleId"], *id);
    assert_eq!(created["Data"]["State"], "enabled");
    assert_eq!(created["Data"]["SourceRegion"], "us-east-1");
    assert_eq!(created["Data"]["DestinationRegion"], "us-west-2");
    let rule = declared.rule(id).await;
    assert_eq!(rule["scope"], json!({"prefixes": ["in/"]}));
    assert_eq!(
        (&rule["policy"], &rule["options"]["tags"]),
        (&json!("write"), &json!(false))
    );

    // A property that the request no longer has gets its default again.
    let mut update = declared.event(
        "Update",
        &json!({"Options": {"StorageClass": "STANDARD_IA"}}),
    );
    update["PhysicalResourceId"] = id.clone();
    update["OldResourceProperties"] = create["ResourceProperties"].clone();
    let updated = declared.succeeds(&update).await;
    assert_eq!(updated["PhysicalResourceId"], *id);
    let rule = declared.rule(id).await;
    assert_eq!(
        (&rule["scope"], &rule["policy"]),
        (&json!("all"), &json!("full"))
    );
    assert_eq!(rule["options"]["storage_class"], "STANDARD_IA");
    assert_eq!(rule["options"]["tags"], true);

    let mut delete = declared.event("Delete", &json!({}));
    delete["PhysicalResourceId"] = id.clone();
    let deleted = declared.succeeds(&delete).await;
    assert_eq!(deleted["PhysicalResourceId"], *id);
    assert_eq!(declared.counts().await, (0, 0));
    declared.succeeds(&delete).await;

    let put = &declared.answers.put()[0];
    assert_eq!(put.content_type.as_deref(), Some(""));
    assert!(
        put.target.contains("%7CRule?X-Amz-Signature=1%2F2"),
        "{}",
        put.target
    );
}

// Promise: A resource of a stack is one rule, although its requests come twice or at once.
#[tokio::test]
async fn a_repeated_or_concurrent_request_makes_one_rule() {
    let declared = Declared::new().await;
    let create = declared.event("Create", &json!({"Historical": "true"}));
    let at_once = (0..6).map(|_| declared.cloud.configure(create.clone()));
    for answer in join_all(at_once).await {
        answer.expect("an answer");
    }
    let again = declared.succeeds(&create).await;
    for put in declared.answers.put() {
        assert_eq!(put.document["Status"], "SUCCESS", "{}", put.document);
        assert_eq!(
            put.document["PhysicalResourceId"],
            again["PhysicalResourceId"]
        );
    }
    assert_eq!(declared.counts().await, (1, 2));
    let jobs = declared.answers.put().into_iter();
    let mut jobs: Vec<Value> = jobs
        .map(|put| put.document["Data"]["JobId"].clone())
        .collect();
    jobs.dedup();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    let rule = again["PhysicalResourceId"].as_str().expect("an id");
    declared.cloud.change("delete", rule).await;
}

#[tokio::test]
async fn another_pair_makes_another_rule_and_cloudformation_deletes_the_old_one() {
    let declared = Declared::new().await;
    let create = declared.event("Create", &json!({}));
    let first = declared.succeeds(&create).await["PhysicalResourceId"].take();
    let others = Buckets::new(&declared.cloud, false).await;
    let pair = json!({"Source": others.source.name, "Destination": others.destination.name});
    let mut update = declared.event("Update", &pair);
    update["PhysicalResourceId"] = first.clone();
    update["OldResourceProperties"] = create["ResourceProperties"].clone();
    let second = declared.succeeds(&update).await["PhysicalResourceId"].take();
    assert_ne!(first, second);
    assert_eq!(declared.rule(&first).await["state"], "enabled");
    assert_eq!(declared.rule(&second).await["state"], "enabled");

    let mut clean_up = declared.event("Delete", &json!({}));
    clean_up["PhysicalResourceId"] = first;
    declared.succeeds(&clean_up).await;
    assert_eq!(declared.counts().await, (0, 0));
    assert_eq!(declared.rule(&second).await["state"], "enabled");
}

#[tokio::test]
async fn a_bucket_of_the_old_rule_is_refused_with_a_remedy() {
    let declared = Declared::new().await;
    let create = declared.event("Create", &json!({}));
    let first = declared.succeeds(&create).await["PhysicalResourceId"].take();
    let others = Buckets::new(&declared.cloud, false).await;
    let mut update = declared.event("Update", &json!({"Destination": others.destination.name}));
    update["PhysicalResourceId"] = first.clone();
    update["OldResourceProperties"] = create["ResourceProperties"].clone();
    let answer = declared.send(&update).await;
    assert_eq!(
        (&answer["Status"], &answer["PhysicalResourceId"]),
        (&json!("FAILED"), &first)
    );
    let reason = answer["Reason"].as_str().expect("a reason");
    for said in [
        "Source = ",
        "BucketInUse",
        "is this resource's own rule",
        "Change both buckets at once",
    ] {
        assert!(reason.contains(said), "{said}: {reason}");
    }
    // CloudFormation then requests the previous properties.
    let mut back = declared.event("Update", &json!({}));
    back["PhysicalResourceId"] = first.clone();
    back["OldResourceProperties"] = update["ResourceProperties"].clone();
    assert_eq!(declared.succeeds(&back).await["PhysicalResourceId"], first);
    assert_eq!(declared.counts().await, (1, 2));
}

#[tokio::test]
async fn an_update_that_is_rolled_back_leaves_no_unreported_rule() {
    let declared = Declared::new().await;
    let create = declared.event("Create", &json!({}));
    let first = declared.succeeds(&create).await["PhysicalResourceId"].take();
    let others = Buckets::new(&declared.cloud, false).await;
    let pair = json!({"Source": others.source.name, "Destination": others.destination.name});
    let mut update = declared.event("Update", &pair);
    update["PhysicalResourceId"] = first.clone();
    update["OldResourceProperties"] = create["ResourceProperties"].clone();
    declared.succeeds(&update).await;
    // As if CloudFormation had never received that answer.
    let mut back = declared.event("Update", &json!({}));
    back["PhysicalResourceId"] = first.clone();
    back["OldResourceProperties"] = update["ResourceProperties"].clone();
    assert_eq!(declared.succeeds(&back).await["PhysicalResourceId"], first);
    assert_eq!(declared.counts().await, (1, 2));
    assert_eq!(super::counts(&declared.cloud, &others).await, (0, 0));
}

// Promise: A replacement that is rolled back does not backfill the old rule again.
#[tokio::test]
async fn a_replacement_that_is_rolled_back_does_not_backfill_the_old_rule_again() {
    let declared = Declared::new().await;
    let create = declared.event("Create", &json!({"Historical": true}));
    let made = declared.succeeds(&create).await;
    assert_ne!(made["Data"]["JobId"], "");
    let others = Buckets::new(&declared.cloud, false).await;
    let pair = json!({
        "Source": others.source.name, "Destination": others.destination.name, "Historical": true,
    });
    let mut update = declared.event("Update", &pair);
    update["PhysicalResourceId"] = made["PhysicalResourceId"].clone();
    update["OldResourceProperties"] = create["ResourceProperties"].clone();
    let replaced = declared.succeeds(&update).await;
    assert_ne!(replaced["Data"]["JobId"], "");
    // Another resource of the stack fails: CloudFormation requests the previous properties, then deletes the new rule.
    let mut back = declared.event("Update", &json!({"Historical": true}));
    back["PhysicalResourceId"] = replaced["PhysicalResourceId"].clone();
    back["OldResourceProperties"] = update["ResourceProperties"].clone();
    let answer = declared.succeeds(&back).await;
    assert_eq!(
        (&answer["PhysicalResourceId"], &answer["Data"]["JobId"]),
        (&made["PhysicalResourceId"], &json!(""))
    );
    let request = json!({"action": "list", "rule": made["PhysicalResourceId"]});
    let listed = declared.cloud.invoke("backfill", request).await;
    let jobs = listed.expect("jobs")["jobs"].as_array().map(Vec::len);
    assert_eq!(jobs, Some(1));
}

// Promise: CloudFormation is answered whatever it sends, and what is refused leaves nothing; neither does a
// creation whose backfill cannot be requested.
#[tokio::test]
async fn a_rule_whose_backfill_cannot_be_requested_is_not_made() {
    let declared = Declared::new().await;
    let proxy = Proxy::start(&declared.cloud.endpoint).await;
    let refusal = Action::Answer(403, "{\"Message\": \"as the test wants it\"}".to_owned());
    proxy.script(9, |seen| seen.is("Lambda.Invoke"), refusal);
    let function = Start::of(&declared.cloud, "configure-rule").await;
    let function = function.through(&proxy).start().await;
    let create = declared.event("Create", &json!({"Historical": true}));
    let answer = function.invoke(create).await.expect("an answer");
    assert_eq!(answer["Status"], "FAILED", "{answer}");
    assert_eq!(declared.counts().await, (0, 0));
}

#[tokio::test]
async fn a_resource_that_was_never_made_can_be_deleted() {
    let declared = Declared::new().await;
    for physical_id in [
        "photos-Replication-1ABCDEFGHIJK",
        "rule-00000000000000000000",
        "",
    ] {
        let mut delete = declared.event("Delete", &json!({"Source": "not a bucket", "Policy": 3}));
        delete["PhysicalResourceId"] = json!(physical_id);
        declared.succeeds(&delete).await;
    }
    // A creation without an answer has an id that CloudFormation made. Its rule is deleted all the same.
    declared
        .succeeds(&declared.event("Create", &json!({})))
        .await;
    let mut delete = declared.event("Delete", &json!({}));
    delete["PhysicalResourceId"] = json!("photos-Replication-1ABCDEFGHIJK");
    declared.succeeds(&delete).await;
    assert_eq!(declared.counts().await, (0, 0));
}

// Promise: CloudFormation is answered whatever it sends, and what is refused leaves nothing; neither does a
// creation whose backfill cannot be requested.
#[tokio::test]
async fn bad_properties_are_answered_with_the_property_and_leave_nothing() {
    let declared = Declared::new().await;
    for (properties, said) in [
        (
            json!({"Polcy": "full"}),
            "\"Polcy\": is not a property of a rule",
        ),
        (json!({"Policy": "ful"}), "Policy = \"ful\": is not known"),
        (
            json!({"Source": unique("missing")}),
            "make the bucket first, or correct the name (BucketNotFound)",
        ),
        (
            json!({"Destination": declared.buckets.source.name}),
            "(SameBucket)",
        ),
        (
            json!({"DestinationRegion": "us-east-2"}),
            "correct DestinationRegion or leave it out",
        ),
        (
            json!({"Options": {"StorageClass": "COLD"}}),
            "Options.StorageClass = \"COLD\"",
        ),
        (json!({"Prefixes": ["a/", "a/b"]}), "lies inside"),
        (json!({"Source": "x".repeat(20_000)}), "Source = "),
    ] {
        let create = declared.event("Create", &properties);
        let answer = declared.send(&create).await;
        let reason = answer["Reason"].as_str().unwrap_or_default();
        assert_eq!(answer["Status"], "FAILED", "{properties}: {answer}");
        assert!(reason.contains(said), "{said}: {reason}");
        let put = declared.answers.put().pop().expect("an answer");
        assert!(put.bytes <= 4_096, "{} bytes", put.bytes);
        // CloudFormation then deletes the resource by the id of the answer.
        let mut delete = create.clone();
        delete["RequestType"] = json!("Delete");
        delete["PhysicalResourceId"] = answer["PhysicalResourceId"].clone();
        declared.succeeds(&delete).await;
    }
    assert_eq!(declared.counts().await, (0, 0));
    let mut other = declared.event("Create", &json!({}));
    other["ResourceType"] = json!("Custom::Replication");
    assert!(
        declared
            .fails(&other)
            .await
            .contains("use Custom::ReplicationRule")
    );
}

// Promise: CloudFormation is answered whatever it sends, and what is refused leaves nothing; neither does a
// creation whose backfill cannot be requested.
#[tokio::test]
async fn hostile_events_are_answered_and_leave_no_half_a_rule() {
    let declared = Declared::new().await;
    let mut runner = TestRunner::deterministic();
    let create = declared.event(
        "Create",
        &json!({"Prefixes": ["a/"], "Options": {"Tags": "true"}}),
    );
    let hostile = damaged(vec![create.clone()]);
    for _ in 0..60 {
        let mut event = hostile.new_tree(&mut runner).expect("an event").current();
        if !event.is_object() {
            continue;
        }
        for kept in ["ResponseURL", "StackId", "RequestId", "RequestType"] {
            event[kept] = create[kept].clone();
        }
        let answer = declared.send(&event).await;
        if answer["Status"] == "SUCCESS" {
            let mut delete = event.clone();
            delete["RequestType"] = json!("Delete");
            delete["PhysicalResourceId"] = answer["PhysicalResourceId"].clone();
            declared.succeeds(&delete).await;
        }
        assert_eq!(declared.counts().await, (0, 0), "{event}");
    }
}

#[tokio::test]
async fn an_answer_is_repeated_until_it_is_accepted() {
    let declared = Declared::new().await;
    let create = declared.event("Create", &json!({}));
    declared.answers.refuse(&[503, 500]);
    declared.succeeds(&create).await;
    // Lambda repeats the request when the function fails.
    declared.answers.refuse(&[403]);
    let error = declared
        .cloud
        .configure(create.clone())
        .await
        .expect_err("a failure");
    assert!(error.message.contains("HTTP status 403"), "{error:?}");
    assert!(!error.message.contains("Signature"), "{error:?}");
    declared.succeeds(&create).await;
    assert_eq!(declared.counts().await, (1, 2));
}

#[tokio::test]
async fn a_creation_that_fails_halfway_is_answered_and_undone() {
    let declared = Declared::new().await;
    let proxy = Proxy::start(&declared.cloud.endpoint).await;
    let function = Start::of(&declared.cloud, "configure-rule").await;
    let function = function.through(&proxy).start().await;
    let create = declared.event("Create", &json!({}));
    let refusal = || Action::s3_error(403, "AccessDenied");
    proxy.script(
        1,
        |seen| seen.is("PutBucketNotificationConfiguration"),
        refusal(),
    );
    let answer = function.invoke(create.clone()).await.expect("an answer");
    assert_eq!(answer["Status"], "FAILED", "{answer}");
    assert!(
        answer["Reason"].to_string().contains("AccessDenied"),
        "{answer}"
    );
    assert_eq!(declared.counts().await, (0, 0));
    declared.succeeds(&create).await;

    // A failed change leaves the rule as it was.
    let mut update = declared.event("Update", &json!({"Prefixes": ["a/"]}));
    update["OldResourceProperties"] = create["ResourceProperties"].clone();
    proxy.script(
        1,
        |seen| seen.is("PutBucketNotificationConfiguration"),
        refusal(),
    );
    let answer = function.invoke(update).await.expect("an answer");
    assert_eq!(answer["Status"], "FAILED", "{answer}");
    let rule = declared.rule(&json!(declared.buckets.source.name)).await;
    assert_eq!(
        (&rule["scope"], &rule["state"]),
        (&json!("all"), &json!("enabled"))
    );
}

// Promise: If a function dies half-way, the repetition of its request carries it on.
#[tokio::test]
async fn the_next_attempt_continues_the_work_of_a_dead_function() {
    let declared = Declared::new().await;
    let proxy = Proxy::start(&declared.cloud.endpoint).await;
    let function = Start::of(&declared.cloud, "configure-rule").await;
    let function = function.through(&proxy).start().await;
    let create = declared.event("Create", &json!({}));
    let gate = proxy.hold_before(|seen| seen.is("PutBucketNotificationConfiguration"));
    let answer = function.begin(create.clone());
    gate.arrived().await;
    function.kill();
    assert!(answer.await.is_err());
    let empty = NotificationConfiguration::builder().build();
    declared.buckets.source.set_notifications(empty).await;
    let answer = declared.succeeds(&create).await;
    assert_eq!(answer["Data"]["State"], "enabled");
    assert_eq!(declared.counts().await, (1, 2));
}

#[tokio::test]
async fn the_files_in_events_are_accepted_although_their_buckets_do_not_exist() {
    let declared = Declared::new().await;
    for mut event in events("cloudformation") {
        event["ResponseURL"] = json!(declared.answers.url());
        let answer = declared.send(&event).await;
        let made = ["Create", "Update"]
            .iter()
            .any(|made| event["RequestType"] == *made);
        if made {
            assert!(
                answer["Reason"].to_string().contains("BucketNotFound"),
                "{answer}"
            );
        } else if event["ResourceType"] == "Custom::ReplicationRule" {
            assert_eq!(answer["Status"], "SUCCESS", "{answer}");
        }
    }
    for event in events("terraform") {
        match declared.cloud.configure(event.clone()).await {
            Ok(answer) => assert_eq!(answer, json!({"rule": null}), "{event}"),
            Err(error) => assert_eq!(error.code, "BucketNotFound", "{event}: {error:?}"),
        }
    }
}
