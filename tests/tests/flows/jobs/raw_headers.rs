//! Headers that are not text, metadata that has no space for Tandem's mark, and rare answers that HTTP allows: each
//! such object is replicated, compared and deleted, or fails alone.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use tandem_memory_s3::{Attributes, HeaderValue, Object};
use tandem_tests::notification;

use super::{Jobs, counts};

/// As a browser of 1999 sent it, in Latin-1.
const DISPOSITION: &[u8] = b"attachment; filename=\"1 \xa9.jpg\"";
const KEY_ARN: &str = "arn:aws:kms:us-west-2:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const MARK: &str = "tandem-source-etag";
const DAY: TimeDelta = TimeDelta::days(1);
/// S3's minimum size of a part but the last.
const PART_BYTES: usize = 5 << 20;

fn raw(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(bytes).expect("what HTTP allows")
}

fn in_latin_1() -> Attributes {
    let mut attributes = Attributes::default();
    let headers = [
        ("content-disposition", raw(DISPOSITION)),
        ("expires", raw(b"\xe9t\xe9")),
    ];
    attributes.headers.extend(headers);
    attributes
}

/// Attributes with this many bytes of user metadata, as S3 counts them.
fn with_metadata(bytes: usize) -> Attributes {
    let value = "v".repeat(bytes - "name".len());
    Attributes {
        metadata: [("name".to_owned(), raw(value.as_bytes()))].into(),
        ..Attributes::default()
    }
}

impl Jobs {
    fn source_has(&self, key: &str, attributes: Attributes, ago: TimeDelta) {
        let object = Object::new(key.to_owned().into(), attributes, Utc::now() - ago);
        self.memory.put(&self.buckets.source.name, key, object);
    }

    fn source_has_in_parts(&self, key: &str, attributes: Attributes) {
        let parts = vec![vec![b'a'; PART_BYTES].into(), vec![b'b'; 10].into()];
        let object = Object::of_parts(parts, attributes, Utc::now() - DAY);
        self.memory.put(&self.buckets.source.name, key, object);
    }

    fn replica(&self, key: &str) -> Attributes {
        let replica = self.memory.object(&self.buckets.destination.name, key);
        replica.expect("a replica").attributes().clone()
    }

    /// Hands a notification to a live function. Returns whether it is acknowledged.
    async fn live(&self, function: &str, notification: &Value) -> bool {
        let process = self.function(function).await;
        let queue = function.trim_start_matches("replicate-");
        let queue_arn = format!(
            "arn:aws:sqs:us-east-1:000000000000:{}-{queue}",
            self.cloud.stack
        );
        let bodies = [notification.to_string()];
        let batch = notification::batch_received(2, &queue_arn, &bodies);
        let answer = process.invoke(batch).await.expect("an answer");
        notification::kept(&answer).is_empty()
    }

    fn put_of(&self, key: &str) -> Value {
        let source = self.memory.object(&self.buckets.source.name, key);
        let source = source.expect("a source");
        let bytes = usize::try_from(source.size()).expect("a small object");
        notification::put(&self.buckets.source, key, source.etag(), bytes)
    }
}

// Promise: A header of the source that is not UTF-8 is carried over byte for byte where it can be sent, is compared,
// and does not prevent a delete.
#[tokio::test]
async fn headers_that_are_not_text_are_copied_byte_for_byte_whole_in_parts_and_under_a_key() {
    for options in [json!({}), json!({"kms_key": KEY_ARN})] {
        let jobs = Jobs::new(json!({"options": options})).await;
        jobs.source_has("whole", in_latin_1(), DAY);
        jobs.source_has_in_parts("parts", in_latin_1());
        let job = jobs.complete(json!({})).await;
        assert_eq!(counts(&job), [("listed", 2), ("copied", 2)], "{options}");
        for key in ["whole", "parts"] {
            assert_eq!(jobs.replica(key).headers, in_latin_1().headers, "{options}");
        }
        let job = jobs.complete(json!({"kind": "verify"})).await;
        assert_eq!(counts(&job), [("listed", 2), ("equal", 2)], "{options}");
        let job = jobs.complete(json!({"kind": "repair"})).await;
        assert_eq!(counts(&job), [("listed", 2), ("equal", 2)], "{options}");
    }
}

// Promise: A header of the source that is not UTF-8 is carried over byte for byte where it can be sent, is compared,
// and does not prevent a delete.
#[tokio::test]
async fn an_object_with_a_header_that_is_not_text_is_put_and_deleted_live() {
    let jobs = Jobs::new(json!({})).await;
    jobs.source_has("a", in_latin_1(), TimeDelta::zero());
    assert!(jobs.live("replicate-put", &jobs.put_of("a")).await);
    assert_eq!(jobs.replica("a").headers, in_latin_1().headers);
    assert_eq!(jobs.cloud.progress(&jobs.rule).await["failures"], 0);
    jobs.memory.remove(&jobs.buckets.source.name, "a");
    let deleted = notification::delete(&jobs.buckets.source, "a");
    assert!(jobs.live("replicate-delete", &deleted).await);
    assert!(jobs.destination().is_empty());
}

// Promise: A key is replicated and compared whatever bytes HTTP allows in its source's headers: a header that cannot be
// read counts as absent, and a key whose header cannot be sent fails alone, with a reason that names the header.
#[tokio::test]
async fn user_metadata_that_cannot_be_signed_fails_alone_and_only_where_it_has_to_be_sent() {
    let jobs = Jobs::new(json!({"options": {"kms_key": KEY_ARN}})).await;
    let odd = || Attributes {
        metadata: [("artist".to_owned(), raw(b"Bj\xf6rk"))].into(),
        ..Attributes::default()
    };
    jobs.source_has("a", Attributes::default(), DAY);
    jobs.source_has("whole", odd(), DAY);
    jobs.source_has_in_parts("parts", odd());
    let job = jobs.complete(json!({})).await;
    let found = [("listed", 3), ("copied", 2), ("failed", 1)];
    assert_eq!(counts(&job), found);
    assert_eq!(
        jobs.replica("whole").metadata,
        odd().metadata,
        "S3 copies it itself"
    );
    let request = json!({"action": "failure", "rule": jobs.rule, "key": "parts"});
    let answer = jobs.cloud.configure(request).await.expect("a failure");
    let failure = &answer["failure"];
    assert_eq!(failure["reason"], "MetadataNotSendable", "{failure}");
    let message = failure["message"].as_str().expect("a message");
    assert!(message.contains("x-amz-meta-artist"), "{message}");
}

// Promise: A replica whose metadata leave no room for the source's `ETag` is recognised by its size, its metadata and
// its time: it was written after its source.
#[tokio::test]
async fn metadata_without_space_for_the_mark_is_replicated_and_recognised() {
    let jobs = Jobs::new(json!({"options": {"kms_key": KEY_ARN}})).await;
    let sizes = [
        ("roomy", 1_998),
        ("full", 1_999),
        ("fuller", 2_043),
        ("fullest", 2_048),
    ];
    for (key, bytes) in sizes {
        jobs.source_has(key, with_metadata(bytes), DAY);
    }
    let job = jobs.complete(json!({})).await;
    assert_eq!(counts(&job), [("listed", 4), ("copied", 4)]);
    for (key, bytes) in sizes {
        let mut metadata = jobs.replica(key).metadata;
        let is_marked = metadata.remove(MARK).is_some();
        assert_eq!(is_marked, key == "roomy", "{key}");
        assert_eq!(metadata, with_metadata(bytes).metadata, "{key}");
    }
    for kind in ["verify", "repair"] {
        let job = jobs.complete(json!({"kind": kind})).await;
        assert_eq!(counts(&job), [("listed", 4), ("equal", 4)], "{kind}");
    }
    // An object of the same size and metadata with other bytes is different.
    let object = Object::new("FULL".into(), with_metadata(1_999), Utc::now() + DAY);
    jobs.memory.put(&jobs.buckets.source.name, "full", object);
    let job = jobs.complete(json!({"kind": "verify"})).await;
    let found = [("listed", 4), ("equal", 3), ("different", 1)];
    assert_eq!(counts(&job), found);
    // The time of an object in parts proves nothing, so nothing would identify its replica.
    jobs.source_has_in_parts("parts", with_metadata(2_043));
    jobs.complete(json!({"kind": "backfill"})).await;
    let request = json!({"action": "failure", "rule": jobs.rule, "key": "parts"});
    let failure = jobs.cloud.configure(request).await.expect("a failure");
    assert!(
        failure.to_string().contains("MetadataNotSendable"),
        "{failure}"
    );
}

// Promise: A replica whose metadata leave no room for the source's `ETag` is recognised by its size, its metadata and
// its time: it was written after its source.
#[tokio::test]
async fn an_unmarked_replica_is_copied_again_until_it_is_later_than_its_source() {
    let jobs = Jobs::new(json!({"options": {"kms_key": KEY_ARN}})).await;
    // A copy that lands now is not later than this source.
    jobs.source_has("a", with_metadata(2_043), -DAY);
    let put = jobs.put_of("a");
    assert!(!jobs.live("replicate-put", &put).await);
    jobs.source_has("a", with_metadata(2_043), DAY);
    assert!(jobs.live("replicate-put", &put).await);
    let job = jobs.complete(json!({"kind": "verify"})).await;
    assert_eq!(counts(&job), [("listed", 1), ("equal", 1)]);
}

// Promise: A key is replicated and compared whatever bytes HTTP allows in its source's headers: a header that cannot be
// read counts as absent, and a key whose header cannot be sent fails alone, with a reason that names the header.
#[tokio::test]
async fn metadata_that_s3_does_not_show_is_not_dropped_silently() {
    let jobs = Jobs::new(json!({})).await;
    let hidden = || {
        let mut attributes = Attributes::default();
        attributes.headers.insert("x-amz-missing-meta", raw(b"1"));
        attributes
    };
    jobs.source_has("whole", hidden(), DAY);
    jobs.source_has_in_parts("parts", hidden());
    let job = jobs.complete(json!({})).await;
    assert_eq!(
        counts(&job),
        [("listed", 2), ("copied", 1), ("failed", 1)],
        "S3 copies all metadata of an object in one piece"
    );
    let request = json!({"action": "failure", "rule": jobs.rule, "key": "parts"});
    let answer = jobs.cloud.configure(request).await.expect("a failure");
    let message = answer["failure"]["message"].as_str().expect("a message");
    assert!(message.contains("x-amz-missing-meta"), "{message}");
    let job = jobs.complete(json!({"kind": "verify"})).await;
    assert_eq!(counts(&job), [("listed", 2), ("equal", 1), ("missing", 1)]);
}
