//! Notifications as S3, `MinIO`, Ceph, EventBridge and SNS write them, with every key and body that may be in one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use proptest::prelude::*;
use serde_json::{Value, json};
use tandem_hostile::documents::events;
use tandem_lambda::notification::parse;
use tandem_lambda::sqs_batch::parse as parse_batch;
use tandem_replication::event::{Change, CreatedBy, ObjectEvent, coalesce};
use tandem_replication::names::Etag;

const CASES: u32 = 2_000;

/// A record with only the fields that every service writes.
fn bare(event_name: &str, object: &Value) -> Value {
    json!({"eventName": event_name, "eventTime": "2026-11-22T21:00:00.000Z",
        "s3": {"bucket": {"name": "photos"}, "object": object}})
}

fn read(record: &Value) -> ObjectEvent {
    let mut events = parse(json!({"Records": [record]})).unwrap();
    assert_eq!(events.len(), 1);
    events.remove(0)
}

/// The document as the message of an SNS topic, without raw message delivery.
fn by_topic(document: &Value) -> Value {
    json!({"Type": "Notification", "MessageId": "1", "TopicArn": "arn:aws:sns:us-east-1:111122223333:photos",
        "Message": document.to_string(), "Timestamp": "2026-11-22T21:00:00.500Z"})
}

#[test]
fn records_may_lack_etag_size_version_and_sequencer() {
    let event = read(&bare("ObjectCreated:Put", &json!({"key": "a"})));
    let nothing = Change::Created {
        etag: None,
        bytes: None,
        version_id: None,
        by: CreatedBy::Put,
    };
    assert_eq!((event.change, event.sequencer), (nothing.clone(), None));
    // Some servers write an empty string instead, or null.
    for object in [
        json!({"key": "a", "eTag": ""}),
        json!({"key": "a", "eTag": null, "size": null, "versionId": null, "sequencer": null}),
    ] {
        assert_eq!(read(&bare("ObjectCreated:Put", &object)).change, nothing);
    }
    let quoted = read(&bare(
        "ObjectCreated:Put",
        &json!({"key": "a", "eTag": "\"abc-2\"", "size": 0}),
    ));
    let etag = Some(Etag::new("abc-2"));
    assert!(
        matches!(quoted.change, Change::Created { etag: found, bytes: Some(0), .. } if found == etag)
    );
}

#[test]
fn every_event_type_of_s3_is_one_change() {
    use Change::{Attributes, Expired, Other, Removed};
    for (name, wanted) in [
        ("ObjectRemoved:Delete", Removed),
        ("ObjectRemoved:DeleteMarkerCreated", Removed),
        ("s3:ObjectRemoved:Delete", Removed),
        ("LifecycleExpiration:Delete", Expired),
        ("LifecycleExpiration:DeleteMarkerCreated", Expired),
        ("ObjectTagging:Put", Attributes),
        ("ObjectTagging:Delete", Attributes),
        ("ObjectAcl:Put", Attributes),
        ("ObjectRestore:Completed", Other),
        ("ObjectRestore:Post", Other),
        ("LifecycleTransition", Other),
        ("IntelligentTiering", Other),
        ("ReducedRedundancyLostObject", Other),
        ("Replication:OperationFailedReplication", Other),
    ] {
        assert_eq!(
            read(&bare(name, &json!({"key": "a"}))).change,
            wanted,
            "{name}"
        );
    }
    for name in ["Put", "Post", "Copy", "CompleteMultipartUpload"] {
        for start in ["", "s3:"] {
            let event = read(&bare(
                &format!("{start}ObjectCreated:{name}"),
                &json!({"key": "a"}),
            ));
            assert!(matches!(event.change, Change::Created { .. }), "{name}");
        }
    }
}

/// `MinIO` adds its own fields around the records, and encodes the slashes of keys.
#[test]
fn a_notification_of_minio_is_read() {
    let mut record = bare(
        "s3:ObjectCreated:Put",
        &json!({"key": "2026%2F11%2Fred+flower.jpg", "size": 3, "eTag": "abc", "contentType": "image/jpeg",
            "userMetadata": {"content-type": "image/jpeg"}, "versionId": "1", "sequencer": "15612487A9DF732C"}),
    );
    record["eventSource"] = json!("minio:s3");
    record["eventTime"] = json!("2026-11-22T21:00:00Z");
    let document = json!({"EventName": "s3:ObjectCreated:Put", "Key": "photos/2026/11/red flower.jpg",
        "Records": [record]});
    let events = parse(document).unwrap();
    assert_eq!(events[0].key.as_str(), "2026/11/red flower.jpg");
}

/// Ceph writes an `eventId`, a zone and metadata, and times in nanoseconds.
#[test]
fn a_notification_of_ceph_is_read() {
    let mut record = bare(
        "ObjectRemoved:Delete",
        &json!({"key": "a%20b", "size": 0, "eTag": "", "versionId": "", "sequencer": "F7E6D75DC742D108",
            "metadata": [], "tags": []}),
    );
    record["eventSource"] = json!("ceph:s3");
    record["eventTime"] = json!("2026-11-22T21:00:00.123456789Z");
    record["eventId"] = json!("1575221657.102001.80dad3aad8584778352c68ab06250327");
    record["opaqueData"] = json!("");
    let event = read(&record);
    assert_eq!((event.key.as_str(), event.change), ("a b", Change::Removed));
}

#[test]
fn a_bucket_with_a_name_from_before_2018_is_read() {
    let mut record = bare("ObjectCreated:Put", &json!({"key": "a"}));
    record["s3"]["bucket"]["name"] = json!("ABCD_Central_1");
    assert_eq!(read(&record).bucket.as_str(), "ABCD_Central_1");
}

/// A FIFO queue or a redrive may deliver the newest change first. Sequencers differ in length.
#[test]
fn the_event_with_the_newest_sequencer_is_kept_whatever_its_length() {
    let event = |sequencer: &str, etag: &str| {
        read(&bare(
            "ObjectCreated:Put",
            &json!({"key": "a", "eTag": etag, "size": 1, "sequencer": sequencer}),
        ))
    };
    let batch = [
        (event("0055AED6DCD90281E5", "old"), 0),
        (event("0055AED6DCD90281E500FF", "newest"), 1),
        (event("0055aed6dcd90281e5", "old"), 2),
        (event("0055", "oldest"), 3),
    ];
    let changes = coalesce(batch);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].received_with, [0, 1, 2, 3]);
    let etag = Some(Etag::new("newest"));
    assert!(
        matches!(&changes[0].newest.change, Change::Created { etag: found, .. } if *found == etag)
    );
}

/// Keys that are easily mistaken for a path, or dropped.
#[test]
fn keys_are_never_taken_for_paths() {
    for key in [
        "/", "//", ".", "..", "a/./b", "a/..", "a//", "a/../b", "%2F", "+", "\0", "\u{fffe}",
        "\r\n", " ",
    ] {
        let encoded = percent_encode(key.as_bytes(), NON_ALPHANUMERIC).to_string();
        let event = read(&bare("ObjectCreated:Put", &json!({"key": encoded})));
        assert_eq!(event.key.as_str(), key, "{key:?}");
    }
}

// Promise: One record that cannot be read lets the whole notification be redelivered.
#[test]
fn an_empty_key_next_to_a_good_record_is_never_skipped() {
    let good = bare("ObjectCreated:Put", &json!({"key": "a"}));
    let empty = bare("ObjectCreated:Put", &json!({"key": ""}));
    for records in [json!([good, empty]), json!([empty, good])] {
        let error = parse(json!({"Records": records})).unwrap_err().to_string();
        assert!(error.contains("1 to 1024 bytes"), "{error}");
    }
    // If each record is in a message of its own, only the bad message stays in the queue.
    let message = |record: &Value| json!({"eventSource": "aws:sqs", "messageId": "m", "body": json!({"Records": [record]}).to_string()});
    let batch = json!({"Records": [message(&good), message(&empty)]});
    let read: Vec<bool> = parse_batch(batch)
        .into_iter()
        .map(|message| parse(message.body.unwrap()).is_ok())
        .collect();
    assert_eq!(read, [true, false]);
}

// Promise: A notification that an SNS topic delivers is read like one that S3 sends itself, with and without raw
// message delivery.
#[test]
fn a_notification_through_a_topic_is_read_like_a_direct_one() {
    let documents = [events("replicate-put"), events("replicate-delete")].concat();
    let documents = documents.into_iter().filter(|document| {
        document["TopicArn"].is_null() && document["Records"][0]["body"].is_null()
    });
    let mut count = 0;
    for document in documents {
        count += 1;
        let by_topic = by_topic(&document);
        // As SQS delivers it.
        let batch = json!({"Records": [
            {"eventSource": "aws:sqs", "messageId": "1", "body": by_topic.to_string()},
            {"eventSource": "aws:sqs", "messageId": "2", "body": document.to_string()},
        ]});
        for message in parse_batch(batch) {
            assert_eq!(
                parse(message.body.unwrap()).unwrap(),
                parse(document.clone()).unwrap()
            );
        }
    }
    assert!(count > 5);
}

/// As S3 encodes keys: slashes stay, spaces become plus signs.
const S3: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'*')
    .remove(b' ');
/// As `MinIO` does, with Go's `url.QueryEscape`: slashes are encoded.
const MINIO: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b' ');

fn ways_to_write(key: &[u8]) -> [String; 4] {
    let form = |set| percent_encode(key, set).to_string().replace(' ', "+");
    let lower = key.iter().map(|b| format!("%{b:02x}"));
    [
        form(S3),
        form(MINIO),
        percent_encode(key, NON_ALPHANUMERIC).to_string(),
        lower.collect(),
    ]
}

/// The key that a notification with this encoded key is read as; `None` if the notification is refused.
fn key_of(encoded: &str) -> Option<String> {
    let events = parse(json!({"Records": [bare("ObjectCreated:Put", &json!({"key": encoded}))]}));
    events.ok().map(|events| events[0].key.as_str().to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn any_key_is_read_however_it_is_encoded(key in any::<String>()) {
        let is_key = (1..=1_024).contains(&key.len());
        for written in ways_to_write(key.as_bytes()) {
            prop_assert_eq!(key_of(&written), is_key.then(|| key.clone()), "{}", written);
        }
    }

    /// S3 allows only UTF-8 in keys. Bytes that are not UTF-8 are refused and never replaced: the result would be
    /// another key.
    #[test]
    fn any_bytes_are_read_as_their_key_or_refused(bytes in prop::collection::vec(any::<u8>(), 1..40)) {
        let spelled = String::from_utf8(bytes.clone()).ok();
        for written in ways_to_write(&bytes) {
            prop_assert_eq!(key_of(&written), spelled.clone(), "{}", written);
        }
    }

    #[test]
    fn any_key_of_eventbridge_is_read_without_decoding(key in "\\PC{1,40}") {
        let document = json!({"detail-type": "Object Created", "time": "2026-11-22T21:00:00Z",
            "detail": {"bucket": {"name": "photos"}, "object": {"key": key}}});
        let wrapped = parse(by_topic(&document)).unwrap();
        prop_assert_eq!(wrapped[0].key.as_str(), key.as_str());
    }

    /// A body is text, since SQS and Lambda allow nothing else; its bytes may be any.
    #[test]
    fn any_bytes_of_a_body_are_read_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..120), document in prop::sample::select(events("replicate-put")),
        at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut damaged = document.to_string().into_bytes();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        for body in [bytes, damaged] {
            let body = String::from_utf8_lossy(&body).into_owned();
            let wrapped = json!({"Type": "Notification", "TopicArn": "arn:t", "Message": body}).to_string();
            for body in [body, wrapped] {
                for message in parse_batch(json!({"Records": [{"eventSource": "aws:sqs", "messageId": "1", "body": body}]})) {
                    if let Ok(document) = message.body && let Err(error) = parse(document) {
                        prop_assert!(error.to_string().len() > 10, "{}", error);
                    }
                }
            }
        }
    }
}
