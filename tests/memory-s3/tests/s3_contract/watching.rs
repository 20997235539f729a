//! The interface for tests and the bench that needs no HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

use tandem_memory_s3::Attributes;
use tandem_memory_s3::ChangeKind;
use tandem_memory_s3::Object;
use tandem_memory_s3::Operation;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{refused, stage};

#[tokio::test]
async fn requests_are_counted_and_recorded() {
    let stage = stage().await;
    stage.server.keep_journal();
    stage.put("a", "a").await;
    let head = stage.s3.head_object().bucket("one").key("none").send();
    assert_eq!(refused(head.await).1, 404);
    let counted = |operation| (("one".to_owned(), operation), 1);
    let expected = [
        counted(Operation::HeadObject),
        counted(Operation::PutObject),
    ];
    assert_eq!(stage.server.take_counts(), BTreeMap::from(expected));
    assert!(stage.server.take_counts().is_empty());
    let journal = stage.server.take_journal();
    let story: Vec<_> = journal
        .iter()
        .map(|seen| (seen.operation, &*seen.key, seen.status))
        .collect();
    assert_eq!(
        story,
        [
            (Operation::PutObject, "a", 200),
            (Operation::HeadObject, "none", 404)
        ]
    );
}

#[tokio::test]
async fn each_operation_has_its_own_latency() {
    let stage = stage().await;
    stage.server.set_latency_of_all(Duration::from_mins(10));
    stage
        .server
        .set_latency(Operation::PutObject, Duration::from_millis(50));
    let began = Instant::now();
    stage.put("a", "a").await;
    assert!(began.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn fixtures_share_their_bytes() {
    let stage = stage().await;
    let object = Object::new(
        "shared".into(),
        Attributes::default(),
        SystemTime::now().into(),
    );
    let object = Arc::new(object);
    let keys = (0..2_500).map(|n| (format!("{n:05}"), object.clone()));
    stage.server.put_all("one", keys);
    assert_eq!(stage.get("one", "02499").await, "shared");
    let list = stage.s3.list_objects_v2().bucket("one");
    let mut pages = list.into_paginator().send();
    let mut listed = Vec::new();
    while let Some(page) = pages.next().await {
        let contents = page.unwrap().contents.unwrap_or_default();
        listed.extend(contents.into_iter().filter_map(|object| object.key));
    }
    let expected: Vec<String> = (0..2_500).map(|n| format!("{n:05}")).collect();
    assert_eq!(listed, expected);
    assert!(stage.server.remove("one", "00000"));
    assert_eq!(
        stage.server.take_counts()[&("one".to_owned(), Operation::ListObjectsV2)],
        3
    );
}

#[tokio::test]
async fn changes_are_published_in_their_order() {
    let stage = stage().await;
    let mut changes = stage.server.follow_changes();
    stage.put("a", "first").await;
    stage.put("a", "second").await;
    let copy = stage.s3.copy_object().bucket("two").key("b");
    copy.copy_source("one/a").send().await.unwrap();
    let tags = stage.s3.delete_object_tagging().bucket("one").key("a");
    tags.send().await.unwrap();
    // There is nothing to remove.
    for key in ["none", "a"] {
        let delete = stage.s3.delete_object().bucket("one").key(key);
        delete.send().await.unwrap();
    }
    let mut found = Vec::new();
    while let Ok(change) = changes.try_recv() {
        let text = |object: &Object| String::from_utf8(object.bytes().to_vec()).unwrap();
        let read = change.copied_from.as_deref().map(text);
        let before = change.before.as_deref().map(text);
        assert_eq!(change.number, found.len() as u64 + 1);
        found.push((change.bucket, change.key, change.kind, before, read));
    }
    let change = |bucket: &str, key: &str, kind, before: Option<&str>, read: Option<&str>| {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        (
            bucket.to_owned(),
            key.to_owned(),
            kind,
            owned(before),
            owned(read),
        )
    };
    assert_eq!(
        found,
        [
            change("one", "a", ChangeKind::Put, None, None),
            change("one", "a", ChangeKind::Put, Some("first"), None),
            change("two", "b", ChangeKind::Copy, None, Some("second")),
            change("one", "a", ChangeKind::Untagged, Some("second"), None),
            change("one", "a", ChangeKind::Removed, Some("second"), None),
        ]
    );
}

#[tokio::test]
async fn the_body_of_an_answer_can_be_delayed_after_its_headers() {
    let stage = stage().await;
    stage.put("a", "a").await;
    let delay = Duration::from_millis(700);
    stage.server.set_body_delay(Operation::CopyObject, delay);
    let ask = async |source: &str| {
        let address = stage.server.url().replace("http://", "");
        let mut connection = TcpStream::connect(&address).await.unwrap();
        let request = format!(
            "PUT /one/copy HTTP/1.1\r\nHost: {address}\r\nx-amz-copy-source: one/{source}\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        let began = Instant::now();
        let mut first = [0; 1_024];
        let length = connection.read(&mut first).await.unwrap();
        let headers_came = began.elapsed();
        let mut rest = String::new();
        connection.read_to_string(&mut rest).await.unwrap();
        let headers = String::from_utf8_lossy(&first[..length]).into_owned();
        (headers, headers_came, rest, began.elapsed())
    };
    let (headers, headers_came, body, ended) = ask("a").await;
    assert!(headers.starts_with("HTTP/1.1 200"), "{headers}");
    assert!(!headers.contains("CopyObjectResult"), "{headers}");
    assert!(headers_came < delay, "{headers_came:?}");
    assert!(body.contains("</CopyObjectResult>"), "{body}");
    assert!(ended >= delay, "{ended:?}");
    let (refusal, _, _, ended) = ask("none").await;
    assert!(refusal.starts_with("HTTP/1.1 404"), "{refusal}");
    assert!(ended < delay, "a refusal is not delayed: {ended:?}");
}
