//! Multipart uploads.

use std::time::SystemTime;

use aws_sdk_s3::types::{CompletedPart, ObjectAttributes, Part};
use tandem_memory_s3::Attributes;
use tandem_memory_s3::Object;

use crate::{PART, code, refused, stage};

#[tokio::test]
async fn an_upload_in_parts_has_the_etag_of_its_parts_and_shows_them() {
    let stage = stage().await;
    let id = stage.begin("a").await;
    let bodies = ["x".repeat(PART), "y".repeat(PART + 1), "z".to_owned()];
    let mut parts = Vec::new();
    for (number, body) in (1..).zip(&bodies) {
        parts.push(stage.part("a", &id, number, body.clone()).await);
    }
    let done = stage.completing("a", &id, &parts).send().await.unwrap();
    let made = bodies.iter().map(|body| body.clone().into()).collect();
    let same = Object::of_parts(made, Attributes::default(), SystemTime::now().into());
    assert_eq!(done.e_tag(), Some(&*format!("\"{}\"", same.etag())));
    assert!(same.etag().ends_with("-3"));
    assert_eq!(stage.get("one", "a").await, bodies.concat());
    for (number, body) in (1..).zip(&bodies) {
        let head = stage.s3.head_object().bucket("one").key("a");
        let head = head.part_number(number).send().await.unwrap();
        assert_eq!(head.parts_count(), Some(3));
        assert_eq!(
            head.content_length(),
            Some(i64::try_from(body.len()).unwrap())
        );
    }
    let beyond = stage.s3.head_object().bucket("one").key("a").part_number(4);
    assert_eq!(refused(beyond.send().await).1, 416);
    let attributes = stage.s3.get_object_attributes().bucket("one").key("a");
    let attributes = attributes
        .object_attributes(ObjectAttributes::ObjectParts)
        .object_attributes(ObjectAttributes::ObjectSize);
    let attributes = attributes.send().await.unwrap();
    let shown = attributes.object_parts().unwrap();
    assert_eq!(shown.total_parts_count(), Some(3));
    assert!(
        shown.parts().is_empty(),
        "S3 lists parts only if they have checksums"
    );
    // A copy in one request has another ETag.
    let copy = stage
        .s3
        .copy_object()
        .bucket("two")
        .key("a")
        .copy_source("one/a");
    copy.send().await.unwrap();
    let copied = stage.server.object("two", "a").unwrap();
    let whole = Object::new(
        copied.bytes(),
        Attributes::default(),
        SystemTime::now().into(),
    );
    assert_eq!(copied.etag(), whole.etag());
}

#[tokio::test]
async fn parts_are_copied_from_ranges_pinned_to_the_source() {
    let stage = stage().await;
    let body: String = (b'a'..=b'z')
        .map(char::from)
        .cycle()
        .take(PART * 2)
        .collect();
    let etag = stage.put("source", &body).await;
    let id = stage.begin("a").await;
    let copy = |number: i32, range: String, etag: &str| {
        let copy = stage
            .s3
            .upload_part_copy()
            .bucket("one")
            .key("a")
            .upload_id(&id);
        copy.part_number(number)
            .copy_source("one/source")
            .copy_source_range(range)
            .copy_source_if_match(etag)
            .send()
    };
    let mut parts = Vec::new();
    for (number, first) in (1..).zip([0, PART]) {
        let copied = copy(number, format!("bytes={first}-{}", first + PART - 1), &etag);
        let result = copied.await.unwrap().copy_part_result.unwrap();
        let part = CompletedPart::builder().part_number(number);
        parts.push(part.e_tag(result.e_tag.unwrap()).build());
    }
    let other = copy(3, "bytes=0-1".to_owned(), "\"x\"").await;
    assert_eq!(refused(other), code("PreconditionFailed", 412));
    let beyond = copy(3, format!("bytes=0-{}", PART * 2), &etag).await;
    assert_eq!(refused(beyond), code("InvalidRange", 416));
    let unreadable = copy(3, "bytes=5".to_owned(), &etag).await;
    assert_eq!(refused(unreadable), code("InvalidArgument", 400));
    stage.completing("a", &id, &parts).send().await.unwrap();
    assert_eq!(stage.get("one", "a").await, body);
}

#[tokio::test]
async fn an_upload_is_completed_only_from_its_own_parts_in_order() {
    let stage = stage().await;
    let id = stage.begin("a").await;
    let one = stage.part("a", &id, 1, "x".repeat(PART)).await;
    let two = stage.part("a", &id, 2, "small".to_owned()).await;
    let three = stage.part("a", &id, 3, "last".to_owned()).await;
    let refusal =
        async |parts: &[CompletedPart]| refused(stage.completing("a", &id, parts).send().await);
    let swapped = [two.clone(), one.clone()];
    assert_eq!(refusal(&swapped).await, code("InvalidPartOrder", 400));
    let small = [one.clone(), two.clone(), three];
    assert_eq!(refusal(&small).await, code("EntityTooSmall", 400));
    let other = CompletedPart::builder().part_number(1).e_tag("\"x\"");
    assert_eq!(refusal(&[other.build()]).await, code("InvalidPart", 400));
    assert_eq!(refusal(&[]).await, code("MalformedXML", 400));
    let done = stage.completing("a", &id, &[one.clone(), two]).send().await;
    done.expect("some of the parts are enough");
    assert_eq!(refusal(&[one]).await, code("NoSuchUpload", 404));
}

#[tokio::test]
async fn uploads_and_their_parts_are_listed_page_by_page_and_aborted() {
    let stage = stage().await;
    let mut begun = Vec::new();
    for key in ["b c", "b c", "a", "d"] {
        begun.push((key.to_owned(), stage.begin(key).await));
    }
    begun.sort();
    let list = || stage.s3.list_multipart_uploads().bucket("one");
    let mut listed = Vec::new();
    let (mut key, mut id) = (None, None);
    loop {
        let page = list()
            .max_uploads(1)
            .set_key_marker(key)
            .set_upload_id_marker(id);
        let page = page.send().await.unwrap();
        for upload in page.uploads() {
            let (key, id) = (upload.key().unwrap(), upload.upload_id().unwrap());
            listed.push((key.to_owned(), id.to_owned()));
        }
        if page.is_truncated() != Some(true) {
            break;
        }
        (key, id) = (page.next_key_marker, page.next_upload_id_marker);
    }
    assert_eq!(listed, begun);

    let (key, id) = &begun[0];
    for number in [5, 1, 3] {
        stage.part(key, id, number, format!("part {number}")).await;
    }
    let parts = || stage.s3.list_parts().bucket("one").key(key).upload_id(id);
    let first = parts().max_parts(2).send().await.unwrap();
    assert_eq!(first.is_truncated(), Some(true));
    let numbers = first.parts().iter().filter_map(Part::part_number);
    assert_eq!(numbers.collect::<Vec<_>>(), [1, 3]);
    let marker = first.next_part_number_marker().unwrap();
    let rest = parts().part_number_marker(marker).send().await.unwrap();
    assert_eq!(rest.parts()[0].part_number(), Some(5));
    assert_eq!(rest.is_truncated(), Some(false));

    let abort = || {
        stage
            .s3
            .abort_multipart_upload()
            .bucket("one")
            .key(key)
            .upload_id(id)
    };
    abort().send().await.unwrap();
    assert_eq!(refused(abort().send().await), code("NoSuchUpload", 404));
    assert_eq!(refused(parts().send().await), code("NoSuchUpload", 404));
}
