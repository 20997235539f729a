//! Puts, reads, deletes and tags of objects, and refused requests.

use std::time::Duration;
use std::time::SystemTime;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Delete, ObjectCannedAcl, ObjectIdentifier, StorageClass, Tag, Tagging};

use crate::{code, refused, stage};

#[tokio::test]
async fn an_object_is_read_as_it_was_put() {
    let stage = stage().await;
    let before = SystemTime::now() - Duration::from_secs(1);
    let put = stage
        .s3
        .put_object()
        .bucket("one")
        .key("a")
        .body(b"0123456789".to_vec().into())
        .content_type("text/x-test")
        .content_encoding("gzip")
        .cache_control("max-age=1")
        .metadata("written-by", "me")
        .tagging("a+b=c%2Fd")
        .storage_class(StorageClass::StandardIa)
        .website_redirect_location("/elsewhere")
        .send()
        .await
        .unwrap();
    // The MD5 digest of these bytes.
    let etag = "\"781e5e245d69b566979b86e28d23f2c7\"";
    assert_eq!(put.e_tag(), Some(etag));
    let head = stage.s3.head_object().bucket("one").key("a");
    let head = head.send().await.unwrap();
    assert_eq!(head.e_tag(), Some(etag));
    assert_eq!(head.content_length(), Some(10));
    assert_eq!(head.content_type(), Some("text/x-test"));
    assert_eq!(head.content_encoding(), Some("gzip"), "and not aws-chunked");
    assert_eq!(head.cache_control(), Some("max-age=1"));
    assert_eq!(head.metadata().unwrap()["written-by"], "me");
    assert_eq!(head.tag_count(), Some(1));
    assert_eq!(head.storage_class(), Some(&StorageClass::StandardIa));
    assert_eq!(head.website_redirect_location(), Some("/elsewhere"));
    let modified = SystemTime::try_from(*head.last_modified().unwrap()).unwrap();
    assert!(before <= modified && modified <= SystemTime::now());
    assert_eq!(stage.get("one", "a").await, "0123456789");
}

#[tokio::test]
async fn a_body_in_signed_chunks_with_a_trailer_is_its_bytes() {
    let stage = stage().await;
    // The SDK streams a body of more than one chunk; this body has more.
    let folder = std::env::temp_dir().join(format!("tandem-memory-s3-{}", std::process::id()));
    std::fs::write(&folder, "x".repeat(200_000)).unwrap();
    let body = ByteStream::from_path(&folder).await.unwrap();
    let put = stage.s3.put_object().bucket("one").key("a").body(body);
    put.send().await.unwrap();
    std::fs::remove_file(&folder).unwrap();
    assert_eq!(stage.get("one", "a").await, "x".repeat(200_000));
}

#[tokio::test]
async fn ranges_of_an_object_are_read() {
    let stage = stage().await;
    stage.put("a", "0123456789").await;
    let read = async |range: &str| {
        let get = stage.s3.get_object().bucket("one").key("a").range(range);
        let got = get
            .send()
            .await
            .map_err(|error| refused::<(), _>(Err(error)))?;
        let range = got.content_range.clone().unwrap_or_default();
        let bytes = got.body.collect().await.unwrap().to_vec();
        Ok((String::from_utf8(bytes).unwrap(), range))
    };
    let text = |body: &str, range: &str| Ok((body.to_owned(), range.to_owned()));
    assert_eq!(read("bytes=2-4").await, text("234", "bytes 2-4/10"));
    assert_eq!(read("bytes=8-99").await, text("89", "bytes 8-9/10"));
    assert_eq!(read("bytes=7-").await, text("789", "bytes 7-9/10"));
    assert_eq!(read("bytes=-2").await, text("89", "bytes 8-9/10"));
    assert_eq!(read("bytes=10-").await, Err(code("InvalidRange", 416)));
}

#[tokio::test]
async fn missing_things_are_answered_with_their_code() {
    let stage = stage().await;
    let s3 = &stage.s3;
    let get = s3.get_object().bucket("one").key("none").send().await;
    assert_eq!(refused(get), code("NoSuchKey", 404));
    let get = s3.get_object().bucket("none").key("a").send().await;
    assert_eq!(refused(get), code("NoSuchBucket", 404));
    let head = s3.head_object().bucket("one").key("none").send().await;
    assert_eq!(refused(head).1, 404);
    let copy = s3.copy_object().bucket("one").key("b");
    let copy = copy.copy_source("one/none").send().await;
    assert_eq!(refused(copy), code("NoSuchKey", 404));
    let website = s3.get_bucket_website().bucket("one").send().await;
    assert_eq!(refused(website), code("NoSuchWebsiteConfiguration", 404));
    let version = s3.head_object().bucket("one").key("a").version_id("v");
    assert_eq!(refused(version.send().await).1, 404);
}

#[tokio::test]
async fn unimplemented_requests_are_answered_501() {
    let stage = stage().await;
    stage.put("a", "a").await;
    let s3 = &stage.s3;
    let unknown = code("NotImplemented", 501);
    let acl = s3.get_object_acl().bucket("one").key("a").send().await;
    assert_eq!(refused(acl), unknown);
    let policy = s3.get_bucket_policy().bucket("one").send().await;
    assert_eq!(refused(policy), unknown);
    let public = s3.put_object().bucket("one").key("b");
    let public = public.acl(ObjectCannedAcl::PublicRead).send().await;
    assert_eq!(refused(public), unknown);
    let locked = s3.put_object().bucket("one").key("b");
    let locked = locked.object_lock_legal_hold_status("ON".into()).send();
    assert_eq!(refused(locked.await), unknown);
    let versions = s3.list_object_versions().bucket("one").send().await;
    assert_eq!(refused(versions), unknown);
    let versioning = s3.get_bucket_versioning().bucket("one").send().await;
    assert_eq!(versioning.unwrap().status(), None);
    assert!(stage.server.object("one", "b").is_none());
}

#[tokio::test]
async fn objects_are_deleted_one_by_one_and_many_at_once() {
    let stage = stage().await;
    let etag = stage.put("a & <b>", "a").await;
    stage.put("c", "c").await;
    let s3 = &stage.s3;
    for _ in 0..2 {
        let delete = s3.delete_object().bucket("one").key("c").send().await;
        delete.expect("deleting a missing object succeeds");
    }
    let named = |key: &str, etag: &str| {
        let named = ObjectIdentifier::builder().key(key).e_tag(etag);
        named.build().unwrap()
    };
    let many = Delete::builder()
        .objects(named("a & <b>", &etag))
        .objects(named("none", &etag))
        .build()
        .unwrap();
    let deleted = s3.delete_objects().bucket("one").delete(many);
    let deleted = deleted.send().await.unwrap();
    assert_eq!(deleted.deleted()[0].key(), Some("a & <b>"));
    assert_eq!(deleted.errors()[0].code(), Some("NoSuchKey"));
    assert!(stage.server.objects("one").is_empty());
}

#[tokio::test]
async fn tags_are_changed_without_changing_the_object() {
    let stage = stage().await;
    let etag = stage.put("a", "a").await;
    let tag = Tag::builder().key("k").value("<v>").build().unwrap();
    let tagging = Tagging::builder().tag_set(tag).build().unwrap();
    let put = stage.s3.put_object_tagging().bucket("one").key("a");
    put.tagging(tagging).send().await.unwrap();
    let tags = || stage.s3.get_object_tagging().bucket("one").key("a").send();
    assert_eq!(tags().await.unwrap().tag_set()[0].value(), "<v>");
    let delete = stage.s3.delete_object_tagging().bucket("one").key("a");
    delete.send().await.unwrap();
    assert!(tags().await.unwrap().tag_set().is_empty());
    let head = stage.s3.head_object().bucket("one").key("a").send().await;
    assert_eq!(head.unwrap().e_tag, Some(etag));
}
