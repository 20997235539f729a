//! Buckets as they occur in practice: old names, odd keys, versions that become current again.

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use serde_json::json;
use tandem_tests::bucket::{Bucket, Object, tags};
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::{Cloud, unique};
use tandem_tests::eventually::SOON;

// Promise: A source in us-east-1, or a destination there, may have a name from before March 2018.
#[tokio::test]
async fn a_source_with_a_name_from_before_2018_is_replicated() {
    let cloud = Cloud::connect().await;
    let mut buckets = Buckets::new(&cloud, false).await;
    let name = unique("ABCD_Central_1");
    buckets.source = Bucket::create(&cloud, "us-east-1", name.clone(), false).await;
    buckets.source.put("before", "there already").await;
    let rule = cloud.rule(&buckets, json!({"historical": true})).await;
    buckets.source.put("a b+c", "live").await;
    buckets.become_equal("", SOON).await;
    buckets.source.delete("a b+c").await;
    buckets.vanish("a b+c", SOON).await;
    let request = json!({"action": "get", "rule": name});
    let shown = cloud.configure(request).await.expect("the rule");
    assert_eq!(shown["rule"]["id"], json!(rule));
}

#[tokio::test]
async fn a_destination_of_a_stack_in_us_east_1_cannot_have_such_a_name() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let fields = json!({"destination": "ABCD_Central_1"});
    let error = cloud.create(&buckets, fields).await.expect_err("a refusal");
    assert_eq!(error.code, "InvalidBucketName");
    assert!(
        error.message.contains("only buckets in us-east-1"),
        "{}",
        error.message
    );
}

/// Keys that are easily mistaken for paths. (HTTP clients and servers may resolve `.` and `..`; unit tests cover
/// those.) Directory markers and keys with similar names are separate objects.
// Promise: Awkward keys, keys with line breaks and empty objects are carried over and deleted.
#[tokio::test]
async fn markers_and_keys_with_similar_names_are_separate_objects() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    cloud.rule(&buckets, json!({})).await;
    let keys = [
        "a",
        "a/",
        "a//",
        "a/ ",
        "A/",
        "a_$folder$",
        "a%2F",
        "a+",
        "a ",
    ]
    .map(str::to_owned);
    buckets
        .source
        .put_all(&keys, |key| key.as_bytes().to_vec())
        .await;
    buckets.source.put("empty/", "").await;
    buckets.become_equal("", SOON).await;
    assert_eq!(buckets.destination.list("").await.len(), keys.len() + 1);
    buckets.source.delete("a/").await;
    buckets.vanish("a/", SOON).await;
    buckets.become_equal("", SOON).await;
    assert_eq!(buckets.destination.list("").await.len(), keys.len());
}

/// Deletes the delete marker that hides an object.
async fn undelete(bucket: &Bucket, key: &str) {
    let versions = bucket.client.list_object_versions().bucket(&bucket.name);
    let versions = versions.prefix(key).send().await.expect("versions");
    let marker = versions.delete_markers().first().expect("a delete marker");
    let deletion = bucket.client.delete_object().bucket(&bucket.name).key(key);
    deletion
        .set_version_id(marker.version_id().map(str::to_owned))
        .send()
        .await
        .expect("the marker is deleted");
}

// Promise: If the current version of a source object is deleted by its id, the version that becomes current is carried
// over, under either policy.
#[tokio::test]
async fn an_undeleted_object_is_replicated_again() {
    let cloud = Cloud::connect().await;
    for policy in ["full", "write"] {
        let buckets = Buckets::new(&cloud, true).await;
        cloud.rule(&buckets, json!({"policy": policy})).await;
        buckets.source.put("a", "one").await;
        buckets.arrive("a", SOON).await;
        buckets.source.delete("a").await;
        if policy == "full" {
            buckets.vanish("a", SOON).await;
        }
        buckets.source.put("sign", "of life").await;
        buckets.arrive("sign", SOON).await;
        undelete(&buckets.source, "a").await;
        buckets.arrive("a", SOON).await;
    }
}

/// A bucket whose versioning is suspended has one version `null`, which each put replaces.
#[tokio::test]
async fn a_source_whose_versioning_is_suspended_is_replicated() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, true).await;
    cloud.rule(&buckets, json!({})).await;
    buckets.source.put("a", "versioned").await;
    buckets.arrive("a", SOON).await;
    let suspended = VersioningConfiguration::builder()
        .status(BucketVersioningStatus::Suspended)
        .build();
    buckets
        .source
        .client
        .put_bucket_versioning()
        .bucket(&buckets.source.name)
        .versioning_configuration(suspended)
        .send()
        .await
        .expect("versioning is suspended");
    for body in ["null version", "another null version"] {
        buckets.source.put("a", body).await;
        buckets.arrive("a", SOON).await;
    }
    buckets.source.put("b", "only null").await;
    buckets.arrive("b", SOON).await;
    for key in ["a", "b"] {
        buckets.source.delete(key).await;
        buckets.vanish(key, SOON).await;
    }
}

#[tokio::test]
async fn odd_headers_metadata_and_tags_are_copied() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    cloud.rule(&buckets, json!({})).await;
    let object = Object {
        content_encoding: Some(String::new()),
        metadata: [
            ("spaces", "two  spaces   three"),
            ("empty", ""),
            ("equals", "a=b&c+d"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        tags: tags(&[("a=b & c+d", "1 + 1 = 2"), ("größe", "日本語")]),
        ..Object::of("odd")
    };
    buckets.source.put_object("a", &object).await;
    buckets.become_equal("", SOON).await;
    assert_eq!(buckets.destination.tags("a").await, object.tags);
}
