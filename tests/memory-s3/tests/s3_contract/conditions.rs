//! Conditional requests, including conditions on the destination.

use crate::{PART, code, refused, stage};

#[tokio::test]
async fn a_put_obeys_its_conditions() {
    let stage = stage().await;
    let put = |body: &str| {
        let put = stage.s3.put_object().bucket("one").key("a");
        put.body(body.as_bytes().to_vec().into())
    };
    let failed = code("PreconditionFailed", 412);
    let missing = put("1").if_match("\"x\"").send().await;
    assert_eq!(refused(missing), code("NoSuchKey", 404));
    let first = put("1").if_none_match("*").send().await.unwrap();
    assert_eq!(refused(put("2").if_none_match("*").send().await), failed);
    assert_eq!(refused(put("2").if_match("\"x\"").send().await), failed);
    let etag = first.e_tag.unwrap();
    put("3").if_match(&etag).send().await.unwrap();
    assert_eq!(refused(put("4").if_match(&etag).send().await), failed);
    assert_eq!(stage.get("one", "a").await, "3");
    let guess = put("5").if_none_match(etag).send().await;
    assert_eq!(refused(guess), code("NotImplemented", 501));
}

#[tokio::test]
async fn a_copy_obeys_the_conditions_of_both_sides() {
    let stage = stage().await;
    let source = stage.put("a", "a").await;
    let other = stage.put("other", "other").await;
    let copy = || {
        let copy = stage.s3.copy_object().bucket("two").key("a");
        copy.copy_source("one/a")
    };
    let failed = code("PreconditionFailed", 412);
    let pinned = copy().copy_source_if_match(&other).send().await;
    assert_eq!(refused(pinned), failed);
    let missing = copy().if_match(&source).send().await;
    assert_eq!(refused(missing), code("NoSuchKey", 404));
    assert!(stage.server.objects("two").is_empty());
    let landed = copy().copy_source_if_match(&source).if_none_match("*");
    let landed = landed.send().await.unwrap();
    assert_eq!(landed.copy_object_result().unwrap().e_tag(), Some(&*source));
    assert_eq!(refused(copy().if_none_match("*").send().await), failed);
    assert_eq!(refused(copy().if_match(&other).send().await), failed);
    copy().if_match(&source).send().await.unwrap();
}

#[tokio::test]
async fn a_delete_obeys_its_condition() {
    let stage = stage().await;
    let etag = stage.put("a", "a").await;
    let delete = |etag: &str| {
        let delete = stage.s3.delete_object().bucket("one").key("a");
        delete.if_match(etag).send()
    };
    let other = refused(delete("\"x\"").await);
    assert_eq!(other, code("PreconditionFailed", 412));
    delete(&etag).await.unwrap();
    assert_eq!(refused(delete(&etag).await), code("NoSuchKey", 404));
}

#[tokio::test]
async fn a_complete_obeys_its_conditions_and_can_be_repeated() {
    let stage = stage().await;
    let id = stage.begin("a").await;
    let parts = [stage.part("a", &id, 1, "p".repeat(PART)).await];
    let complete = || stage.completing("a", &id, &parts);
    let missing = complete().if_match("\"x\"").send().await;
    assert_eq!(refused(missing), code("NoSuchKey", 404));
    let etag = stage.put("a", "a").await;
    let there = complete().if_none_match("*").send().await;
    assert_eq!(refused(there), code("PreconditionFailed", 412));
    complete().if_match(etag).send().await.unwrap();
    assert_eq!(stage.get("one", "a").await, "p".repeat(PART));
}

#[tokio::test]
async fn reads_obey_their_conditions() {
    let stage = stage().await;
    let etag = stage.put("a", "a").await;
    let head = || stage.s3.head_object().bucket("one").key("a");
    head().if_match(&etag).send().await.unwrap();
    assert_eq!(refused(head().if_match("\"x\"").send().await).1, 412);
    let same = head().if_none_match(&etag).send().await.unwrap_err();
    assert_eq!(same.raw_response().unwrap().status().as_u16(), 304);
}
