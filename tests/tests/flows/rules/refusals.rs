//! Refusals: each has its code, the field, the value and what to do, and leaves nothing behind.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::{Cloud, EAST, WEST, unique};
use tandem_tests::function_process::Start;
use tandem_tests::proxy::{Action, Proxy, Seen};

use super::refused;

/// The pair with another source bucket.
fn with_source(buckets: &Buckets, name: &str) -> Value {
    json!({"source": name, "destination": buckets.destination.name})
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
async fn a_destination_in_another_region_than_the_request_names_is_refused() {
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
async fn an_invalid_bucket_name_is_refused() {
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
async fn invalid_scopes_are_refused() {
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
async fn malformed_requests_are_refused() {
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
async fn a_bucket_in_use_is_refused_as_source_and_as_destination() {
    let cloud = Cloud::connect().await;
    let (used, free) = futures::join!(Buckets::new(&cloud, false), Buckets::new(&cloud, false));
    let rule = cloud.rule(&used, json!({})).await;
    let said = ["source", used.source.name.as_str(), "choose another bucket"];
    let fields = json!({"source": used.source.name});
    refused(&cloud, &free, fields, "BucketInUse", said).await;
    let said = ["destination", used.destination.name.as_str(), rule.as_str()];
    let fields = json!({"destination": used.destination.name});
    refused(&cloud, &free, fields, "BucketInUse", said).await;
    // The same rule for the second time.
    let said = [
        "source",
        used.source.name.as_str(),
        "delete that rule first",
    ];
    refused(&cloud, &used, json!({}), "BucketInUse", said).await;
}

/// The sources of a stack are in one region, so a rule in the opposite direction could only belong to another stack,
/// or be older than a change of the region. Here only its claims exist.
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
async fn an_unreadable_bucket_is_refused() {
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
    // S3 answers 403 if the bucket has another owner than the request expects.
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
async fn a_request_for_a_missing_rule_names_it() {
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
