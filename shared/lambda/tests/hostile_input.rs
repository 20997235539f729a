//! Malformed notifications, EventBridge events and SQS messages: each is read or refused without a panic, and does
//! not affect the others.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use tandem_hostile::damage::{damaged, damaged_text, with_unknown_fields};
use tandem_hostile::documents::{bodies, events};
use tandem_hostile::json::{any_text, any_value, odd_value};
use tandem_lambda::notification::parse;
use tandem_lambda::sqs_batch::{Message, batch_response, parse as parse_batch};
use tandem_replication::Timestamp;
use tandem_replication::event::{ObjectEvent, coalesce};
use tandem_replication::names::{BucketName, ObjectKey};

const CASES: u32 = 4_000;

/// Every payload with which the live functions can be invoked.
fn invocations() -> Vec<Value> {
    [events("replicate-put"), events("replicate-delete")].concat()
}

/// The notifications of S3 and EventBridge, without the SQS messages around them.
fn notifications() -> Vec<Value> {
    let bare = invocations().into_iter().filter(|event| {
        event["Records"][0]["eventSource"] != "aws:sqs" && event["Event"].is_null()
    });
    bare.chain(bodies("replicate-put"))
        .chain(bodies("replicate-delete"))
        .collect()
}

fn batches() -> Vec<Value> {
    let all = invocations().into_iter().chain(events("backfill-shard"));
    all.filter(|event| event["Records"][0]["eventSource"] == "aws:sqs")
        .collect()
}

/// Records of S3's own notifications.
fn records() -> Vec<Value> {
    let notifications = notifications().into_iter();
    notifications
        .filter_map(|mut document| document["Records"].as_array_mut().map(std::mem::take))
        .flatten()
        .collect()
}

/// Asserts what all code behind the parser relies on.
fn assert_sound(events: &[ObjectEvent]) {
    for event in events {
        assert!(
            BucketName::parse(event.bucket.as_str()).is_ok(),
            "{event:?}"
        );
        assert!(ObjectKey::parse(event.key.as_str()).is_ok(), "{event:?}");
        // Events are forwarded as JSON, and their age is computed.
        let handed_on = serde_json::to_string(&event.event_time).unwrap();
        assert_eq!(
            serde_json::from_str::<Timestamp>(&handed_on).unwrap(),
            event.event_time
        );
        let _ = (Timestamp::UNIX_EPOCH - event.event_time).num_milliseconds();
    }
    // `coalesce` compares the events of one key; here each event meets itself.
    let of_one_key = events.iter().chain(events).map(|event| {
        let (bucket, key) = (BucketName::parse("one"), ObjectKey::parse("key"));
        let moved = ObjectEvent {
            bucket: bucket.unwrap(),
            key: key.unwrap(),
            ..event.clone()
        };
        (moved, ())
    });
    let changes = coalesce(of_one_key);
    let kept: usize = changes
        .iter()
        .map(|change| change.received_with.len())
        .sum();
    assert_eq!(kept, 2 * events.len());
}

/// Reads all messages of an invocation, as a live function does.
fn read(invocation: Value) {
    let messages = parse_batch(invocation);
    for message in &messages {
        if let Ok(body) = message.body.clone()
            && let Ok(events) = parse(body)
        {
            assert_sound(&events);
        }
    }
    let received = messages
        .iter()
        .filter_map(|message| message.delivery.received());
    let kept = batch_response(received);
    assert!(kept.batch_item_failures.len() <= messages.len());
}

/// Replaces the message at `place` of a batch.
fn with_message(batch: &Value, place: usize, message: Value) -> Value {
    let mut batch = batch.clone();
    batch["Records"][place] = message;
    batch
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    // Promise: A function reads a notification wholly or refuses it; what it reads names a valid bucket and a
    // valid key.
    #[test]
    fn anything_is_read_or_refused(document in any_value(), text in any_text()) {
        read(document.clone());
        read(json!({"Records": document}));
        read(json!({"Records": [{"eventSource": "aws:sqs", "messageId": "1", "body": text}]}));
        if let Ok(document) = serde_json::from_str(&text) {
            read(document);
        }
    }

    // Promise: A function reads a notification wholly or refuses it; what it reads names a valid bucket and a
    // valid key.
    #[test]
    fn a_damaged_notification_is_read_with_valid_names_or_refused(document in damaged(notifications())) {
        let records = document["Records"].as_array().map(Vec::len);
        if let Ok(events) = parse(document.clone()) {
            if let Some(records) = records {
                assert_eq!(events.len(), records, "a record was skipped: {document}");
            }
            assert_sound(&events);
        }
    }

    // Promise: A function reads a notification wholly or refuses it; what it reads names a valid bucket and a
    // valid key.
    #[test]
    fn a_record_with_any_value_in_a_field_is_read_with_valid_names_or_refused(
        record in prop::sample::select(records()), at in any::<Index>(), value in odd_value(),
    ) {
        const FIELDS: &[&str] = &["/eventName", "/eventTime", "/s3/configurationId", "/s3/bucket/name",
            "/s3/object/key", "/s3/object/size", "/s3/object/eTag", "/s3/object/versionId",
            "/s3/object/sequencer"];
        let mut record = record;
        if let Some(field) = record.pointer_mut(FIELDS[at.index(FIELDS.len())]) {
            *field = value;
        }
        if let Ok(events) = parse(json!({"Records": [record]})) {
            assert_sound(&events);
        }
    }

    #[test]
    fn a_damaged_body_is_read_or_refused(body in damaged_text(notifications())) {
        read(json!({"Records": [{"eventSource": "aws:sqs", "messageId": "1", "body": body}]}));
    }

    // Promise: One record that cannot be read lets the whole notification be redelivered.
    #[test]
    fn a_bad_record_among_good_ones_is_never_skipped(
        good in prop::sample::subsequence(records(), 1..4), bad in damaged(records()), place in any::<Index>(),
    ) {
        let mut all = good.clone();
        all.insert(place.index(good.len() + 1), bad.clone());
        // Either the whole notification is refused, so that its message stays in the queue, or the record is readable.
        match parse(json!({"Records": all})) {
            Ok(events) => {
                assert_eq!(events.len(), all.len());
                assert!(parse(json!({"Records": [bad]})).is_ok());
            }
            Err(_) => assert!(parse(json!({"Records": [bad]})).is_err(), "the good ones are refused: {bad}"),
        }
    }

    // Promise: Fields that S3, EventBridge or SQS add to a notification change nothing.
    #[test]
    fn unknown_fields_change_no_notification(
        (document, extended) in with_unknown_fields(notifications(), |_| true),
    ) {
        assert_eq!(parse(extended).unwrap(), parse(document).unwrap());
    }

    // Promise: Fields that S3, EventBridge or SQS add to a notification change nothing.
    #[test]
    fn unknown_fields_change_no_batch(
        (document, extended) in with_unknown_fields(batches(), |_| true),
    ) {
        assert_eq!(parse_batch(extended), parse_batch(document));
    }

    // Promise: A message that cannot be read fails alone, and ends in the dead-letter queue.
    #[test]
    fn a_damaged_message_affects_no_other_message_of_its_batch(
        batch in prop::sample::select(batches()), bad in damaged(batches().iter().map(|batch| batch["Records"][0].clone()).collect()),
        place in any::<Index>(),
    ) {
        let mut batch = batch;
        let good = batch["Records"][0].clone();
        batch["Records"] = json!([good, good, good]);
        let whole: Vec<Message> = parse_batch(batch.clone());
        let place = place.index(whole.len());
        let read = parse_batch(with_message(&batch, place, bad));
        assert_eq!(read.len(), whole.len());
        for (at, message) in read.iter().enumerate() {
            assert!(message.delivery.received().is_some());
            assert!(at == place || *message == whole[at]);
        }
    }

    #[test]
    fn a_damaged_batch_is_read_or_refused(invocation in damaged(invocations())) {
        read(invocation);
    }
}

/// A notification with an additional field called `Event` must not be taken for a test event.
#[test]
fn a_notification_with_records_is_not_a_test_event() {
    for record in records() {
        let document = json!({"Event": "s3:TestEvent", "Records": [record]});
        assert_eq!(parse(document).unwrap().len(), 1);
    }
}
