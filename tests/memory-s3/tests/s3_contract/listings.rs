//! Listings of keys.

use aws_sdk_s3::types::EncodingType;

use crate::{code, refused, stage};

#[tokio::test]
async fn odd_keys_are_stored_and_listed_in_the_order_of_their_bytes() {
    let stage = stage().await;
    let mut keys = [
        "a+b %2B&<c>\"'.jpg",
        "ü/é",
        "a//b",
        "~",
        "日本",
        "\u{10000}",
        "\u{ffee}",
        "a?b#c;d=e",
        ".",
        "a/../b",
        "e\u{301}",
        " x ",
        "/",
        "a=b&c",
        "\\",
        "{}[]^`|",
    ];
    for key in keys {
        stage.put(key, key).await;
    }
    keys.sort_unstable();
    assert_eq!(stage.keys("").await, keys);
    for key in keys {
        assert_eq!(stage.get("one", key).await, key);
    }
    let long = stage.s3.put_object().bucket("one").key("k".repeat(1_025));
    assert_eq!(refused(long.send().await), code("KeyTooLongError", 400));
}

#[tokio::test]
async fn keys_that_xml_cannot_contain_are_listed_url_encoded() {
    let stage = stage().await;
    stage.put("a\n\u{1}b +c/*", "").await;
    let list = stage.s3.list_objects_v2().bucket("one");
    let list = list.encoding_type(EncodingType::Url).send().await.unwrap();
    assert_eq!(list.contents()[0].key(), Some("a%0A%01b+%2Bc/*"));
    assert_eq!(list.encoding_type(), Some(&EncodingType::Url));
}

#[tokio::test]
async fn a_listing_obeys_its_prefix_start_delimiter_and_size() {
    let stage = stage().await;
    for key in ["a", "a/1", "a/2", "a/b/1", "a0", "b/1", "b/2", "c"] {
        stage.put(key, key).await;
    }
    assert_eq!(stage.keys("a/").await, ["a/1", "a/2", "a/b/1"]);
    let list = || stage.s3.list_objects_v2().bucket("one");
    let after = list().start_after("a/2").max_keys(3).send().await.unwrap();
    let keys = |contents: &[aws_sdk_s3::types::Object]| -> Vec<String> {
        contents
            .iter()
            .filter_map(|object| object.key.clone())
            .collect()
    };
    assert_eq!(keys(after.contents()), ["a/b/1", "a0", "b/1"]);
    assert_eq!(after.is_truncated(), Some(true));
    let none = list().max_keys(0).send().await.unwrap();
    assert_eq!(
        (none.key_count(), none.is_truncated()),
        (Some(0), Some(false))
    );
    let mut pages = list().delimiter("/").max_keys(1).into_paginator().send();
    let mut seen = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.unwrap();
        assert_eq!(page.key_count(), Some(1));
        seen.extend(keys(page.contents()));
        let prefixes = page.common_prefixes().iter();
        seen.extend(prefixes.filter_map(|common| common.prefix.clone()));
    }
    assert_eq!(seen, ["a", "a/", "a0", "b/", "c"]);
    let within = list().prefix("a/").delimiter("/").send().await.unwrap();
    assert_eq!(keys(within.contents()), ["a/1", "a/2"]);
    assert_eq!(within.common_prefixes()[0].prefix(), Some("a/b/"));
    let token = list().continuation_token("nonsense").send().await;
    assert_eq!(refused(token), code("InvalidArgument", 400));
}
