//! Copies in one.

use std::collections::BTreeMap;
use std::time::SystemTime;

use aws_sdk_s3::types::{MetadataDirective, StorageClass, TaggingDirective};
use tandem_memory_s3::Attributes;
use tandem_memory_s3::Object;

use crate::{code, refused, stage};

#[tokio::test]
async fn a_copy_has_its_sources_metadata_and_tags_but_not_its_class_or_redirect() {
    let stage = stage().await;
    let attributes = Attributes {
        headers: BTreeMap::from([
            ("content-language", "de".to_owned()),
            ("x-amz-website-redirect-location", "/x".to_owned()),
        ]),
        metadata: BTreeMap::from([("m".to_owned(), "1".to_owned())]),
        tags: BTreeMap::from([("t".to_owned(), "1".to_owned())]),
        storage_class: "ONEZONE_IA".to_owned(),
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
        headers: BTreeMap::from([("content-language", "de".to_owned())]),
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
