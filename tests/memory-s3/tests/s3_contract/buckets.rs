//! Buckets, their regions and their owners.

use aws_sdk_s3::types::{
    BucketLocationConstraint, CreateBucketConfiguration, Event, NotificationConfiguration,
    QueueConfiguration,
};
use tandem_memory_s3::server::ACCOUNT_ID;

use crate::{EAST, WEST, client, code, refused, stage};

#[tokio::test]
async fn a_bucket_answers_only_in_its_own_region() {
    let stage = stage().await;
    let west = client(&stage.server, WEST);
    let configuration = CreateBucketConfiguration::builder()
        .location_constraint(BucketLocationConstraint::UsWest2)
        .build();
    let create = || west.create_bucket().bucket("three");
    let wrong = create().send().await;
    assert_eq!(
        refused(wrong),
        code("IllegalLocationConstraintException", 400)
    );
    let create = create().create_bucket_configuration(configuration);
    create.clone().send().await.unwrap();
    assert_eq!(
        refused(create.send().await),
        code("BucketAlreadyOwnedByYou", 409)
    );
    let head = west.head_bucket().bucket("three").send().await.unwrap();
    assert_eq!(head.bucket_region(), Some(WEST));
    let redirect = stage.s3.head_bucket().bucket("three").send().await;
    let redirect = redirect.unwrap_err();
    let redirect = redirect.raw_response().unwrap();
    assert_eq!(redirect.status().as_u16(), 301);
    assert_eq!(redirect.headers().get("x-amz-bucket-region"), Some(WEST));
    let location = stage.s3.get_bucket_location().bucket("three").send().await;
    let location = location.unwrap().location_constraint;
    assert_eq!(location, Some(BucketLocationConstraint::UsWest2));
    let all = stage.s3.list_buckets().send().await.unwrap();
    let all: Vec<_> = all
        .buckets()
        .iter()
        .filter_map(|bucket| bucket.name())
        .collect();
    assert_eq!(all, ["one", "three", "two"]);
    // A copy is sent to the region of its destination.
    stage.put("a", "a").await;
    let copy = west
        .copy_object()
        .bucket("three")
        .key("a")
        .copy_source("one/a");
    copy.send().await.unwrap();
    let full = west.delete_bucket().bucket("three").send().await;
    assert_eq!(refused(full), code("BucketNotEmpty", 409));
}

#[tokio::test]
async fn a_bucket_of_an_unexpected_owner_is_refused() {
    let stage = stage().await;
    stage.put("a", "a").await;
    stage.server.set_account("111122223333");
    stage.server.make_bucket("theirs", EAST);
    let denied = code("AccessDenied", 403);
    let put = |owner: &str| {
        let put = stage.s3.put_object().bucket("theirs").key("a");
        put.expected_bucket_owner(owner).send()
    };
    assert_eq!(refused(put(ACCOUNT_ID).await), denied);
    put("111122223333").await.unwrap();
    let copy = |owner: &str| {
        let copy = stage.s3.copy_object().bucket("theirs").key("b");
        copy.copy_source("one/a")
            .expected_source_bucket_owner(owner)
            .send()
    };
    assert_eq!(refused(copy("111122223333").await), denied);
    copy(ACCOUNT_ID).await.unwrap();
}

#[tokio::test]
async fn a_notification_configuration_is_returned_unchanged() {
    let stage = stage().await;
    let get = || {
        let get = stage.s3.get_bucket_notification_configuration();
        get.bucket("one").send()
    };
    assert!(get().await.unwrap().queue_configurations().is_empty());
    let queue = QueueConfiguration::builder()
        .id("mine")
        .queue_arn("arn:aws:sqs:us-east-1:000000000000:q")
        .events(Event::from("s3:ObjectCreated:*"));
    let configuration = NotificationConfiguration::builder();
    let configuration = configuration.queue_configurations(queue.build().unwrap());
    let put = stage
        .s3
        .put_bucket_notification_configuration()
        .bucket("one");
    let put = put.notification_configuration(configuration.build());
    put.send().await.unwrap();
    let got = get().await.unwrap();
    assert_eq!(got.queue_configurations()[0].id(), Some("mine"));
}
