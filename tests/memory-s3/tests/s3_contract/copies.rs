//! Copies in one request.

use std::collections::BTreeMap;
use std::time::SystemTime;

use aws_sdk_s3::types::{MetadataDirective, ServerSideEncryption, StorageClass, TaggingDirective};
use tandem_memory_s3::{Attributes, HeaderValue, Object};

use crate::{code, refused, stage};

#[tokio::test]
async fn a_copy_has_its_sources_metadata_and_tags_but_not_its_class_or_redirect() {
    let stage = stage().await;
    let attributes = Attributes {
        headers: BTreeMap::from([
            ("content-language", HeaderValue::from_static("de")),
            (
                "x-amz-website-redirect-location",
                HeaderValue::from_static("/x"),
            ),
        ]),
        metadata: BTreeMap::from([("m".to_owned(), HeaderValue::from_static("1"))]),
        tags: BTreeMap::from([("t".to_owned(), "1".to_owned())]),
        storage_class: "ONEZONE_IA".to_owned(),
        kms_key: None,
    };
    let object = Object::new("a".into(), attributes.clone(), SystemTime::now().into());
    stage.server.put("one", "a b", object);
    let copy = || {
        let copy = stage.s3.copy_object().bucket("two").key("c");
        copy.copy_source("one/a%20b")
    };
    copy().send().await.unwrap();
    let kept = stage.server.object("two", "c").unwrap();
    let expected = Attributes {
        headers: BTreeMap::from([("content-language", HeaderValue::from_static("de"))]),
        storage_class: "STANDARD".to_owned(),
        ..attributes
    };
    assert_eq!(*kept.attributes(), expected);
    let replaced = copy()
        .metadata_directive(MetadataDirective::Replace)
        .metadata("n", "2")
        .tagging_directive(TaggingDirective::Replace)
        .storage_class(StorageClass::GlacierIr);
    replaced.send().await.unwrap();
    let replaced = stage.server.object("two", "c").unwrap();
    assert!(replaced.attributes().tags.is_empty());
    assert_eq!(replaced.attributes().metadata["n"], "2");
    assert_eq!(replaced.attributes().metadata.len(), 1);
    assert_eq!(replaced.attributes().storage_class, "GLACIER_IR");
}

#[tokio::test]
async fn a_copy_under_a_kms_key_has_an_etag_that_is_not_a_digest() {
    let stage = stage().await;
    stage.put("a", "a").await;
    let copied = |key: &'static str, from: &'static str| {
        let copy = stage.s3.copy_object().bucket("one").key(key);
        copy.copy_source(format!("one/{from}"))
    };
    let encrypted = copied("b", "a").server_side_encryption(ServerSideEncryption::AwsKms);
    encrypted.ssekms_key_id("key").send().await.unwrap();
    copied("c", "b").send().await.unwrap();
    let etag = |key| stage.server.object("one", key).unwrap().etag().to_owned();
    assert_ne!(etag("a"), etag("b"));
    assert_eq!(
        etag("a"),
        etag("c"),
        "a copy does not keep the source's encryption"
    );
    let head = stage.s3.head_object().bucket("one").key("b").send().await;
    let head = head.unwrap();
    assert_eq!(
        (head.server_side_encryption(), head.ssekms_key_id()),
        (Some(&ServerSideEncryption::AwsKms), Some("key"))
    );
}

#[tokio::test]
async fn a_bucket_applies_its_default_to_writes_that_name_no_encryption() {
    let stage = stage().await;
    stage.put("a", "a").await;
    let default = || async {
        let got = stage.s3.get_bucket_encryption().bucket("two").send().await;
        let configuration = got.unwrap().server_side_encryption_configuration.unwrap();
        let rule = configuration.rules.into_iter().next().unwrap();
        rule.apply_server_side_encryption_by_default.unwrap()
    };
    assert_eq!(default().await.sse_algorithm, ServerSideEncryption::Aes256);
    stage.server.set_default_encryption("two", Some("key"));
    let set = default().await;
    assert_eq!(set.sse_algorithm, ServerSideEncryption::AwsKms);
    assert_eq!(set.kms_master_key_id.as_deref(), Some("key"));
    let copy = |key: &'static str, encryption: Option<ServerSideEncryption>| {
        let copy = stage.s3.copy_object().bucket("two").key(key);
        let copy = copy.copy_source("one/a");
        copy.set_server_side_encryption(encryption).send()
    };
    copy("by default", None).await.unwrap();
    copy("named", Some(ServerSideEncryption::Aes256))
        .await
        .unwrap();
    let upload = stage.s3.create_multipart_upload().bucket("two").key("c");
    let upload = upload.send().await.unwrap();
    assert_eq!(upload.ssekms_key_id(), Some("key"));
    let key = |object: &str| {
        let object = stage.server.object("two", object).unwrap();
        object.attributes().kms_key.clone()
    };
    assert_eq!(key("by default").as_deref(), Some("key"));
    assert_eq!(key("named"), None);
    stage.server.require_encryption("two", "aws:kms");
    let denied = code("AccessDenied", 403);
    assert_eq!(refused(copy("d", None).await), denied);
    assert_eq!(
        refused(copy("d", Some(ServerSideEncryption::Aes256)).await),
        denied
    );
    copy("d", Some(ServerSideEncryption::AwsKms)).await.unwrap();
}

#[tokio::test]
async fn user_metadata_of_more_than_2_kib_is_refused_in_every_write() {
    let stage = stage().await;
    stage.put("a", "a").await;
    let value = |bytes: usize| "v".repeat(bytes - "name".len());
    let put = |bytes| {
        let put = stage.s3.put_object().bucket("one").key("put");
        put.metadata("name", value(bytes)).send()
    };
    let copy = |bytes| {
        let copy = stage.s3.copy_object().bucket("one").key("copy");
        let copy = copy.copy_source("one/a").metadata("name", value(bytes));
        copy.metadata_directive(MetadataDirective::Replace).send()
    };
    let upload = |bytes| {
        let upload = stage.s3.create_multipart_upload();
        let upload = upload.bucket("one").key("upload");
        upload.metadata("name", value(bytes)).send()
    };
    put(2_048).await.unwrap();
    copy(2_048).await.unwrap();
    upload(2_048).await.unwrap();
    let too_large = code("MetadataTooLarge", 400);
    assert_eq!(refused(put(2_049).await), too_large);
    assert_eq!(refused(copy(2_049).await), too_large);
    assert_eq!(refused(upload(2_049).await), too_large);
}

#[tokio::test]
async fn an_archived_object_is_neither_read_nor_copied() {
    let stage = stage().await;
    let put = stage.s3.put_object().bucket("one").key("a");
    let put = put.storage_class(StorageClass::Glacier);
    put.send().await.unwrap();
    let archived = code("InvalidObjectState", 403);
    let get = stage.s3.get_object().bucket("one").key("a").send().await;
    assert_eq!(refused(get), archived);
    let copy = stage.s3.copy_object().bucket("two").key("a");
    let copy = copy.copy_source("one/a").send().await;
    assert_eq!(refused(copy), archived);
}

#[tokio::test]
async fn a_copy_onto_itself_has_to_change_something() {
    let stage = stage().await;
    stage.put("a", "a").await;
    let copy = || {
        stage
            .s3
            .copy_object()
            .bucket("one")
            .key("a")
            .copy_source("one/a")
    };
    let same = copy().send().await;
    assert_eq!(refused(same), code("InvalidRequest", 400));
    let replaced = copy().metadata_directive(MetadataDirective::Replace);
    replaced.send().await.unwrap();
}
