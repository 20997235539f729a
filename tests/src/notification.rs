//! Notifications as S3 writes them, and the SQS messages that deliver them.

use std::sync::atomic::{AtomicU64, Ordering};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tandem_replication::Timestamp;

use crate::bucket::Bucket;
use crate::cloud::{QueuedMessage, unique};

/// S3 form-encodes keys.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'/')
    .remove(b' ');

/// A put. It reports that the bucket holds this object now.
pub fn put(bucket: &Bucket, key: &str, etag: &str, bytes: usize) -> Value {
    let event = json!({"Records": [record(bucket, "ObjectCreated:Put", key)]});
    of_object(event, etag, bytes as u64)
}

/// Adds to an event which object was written.
pub fn of_object(mut event: Value, etag: &str, bytes: u64) -> Value {
    let object = &mut event["Records"][0]["s3"]["object"];
    object["eTag"] = json!(etag);
    object["size"] = json!(bytes);
    event
}

/// Removes the sequencer, which S3 adds to puts and deletes only.
pub fn without_sequencer(mut event: Value) -> Value {
    let object = event["Records"][0]["s3"]["object"].as_object_mut();
    object.expect("an object").remove("sequencer");
    event
}

/// A change of tags.
pub fn retagged(bucket: &Bucket, key: &str) -> Value {
    without_sequencer(json!({"Records": [record(bucket, "ObjectTagging:Put", key)]}))
}

/// A delete.
pub fn delete(bucket: &Bucket, key: &str) -> Value {
    json!({"Records": [record(bucket, "ObjectRemoved:Delete", key)]})
}

/// Any other event of S3 at this time, such as `ObjectTagging:Put` or `LifecycleExpiration:Delete`.
pub fn event(bucket: &Bucket, event_name: &str, key: &str, at: Timestamp) -> Value {
    let mut record = record(bucket, event_name, key);
    record["eventTime"] = json!(at);
    json!({"Records": [record]})
}

/// The same event, old enough that no copy which read the earlier state can still be under way.
pub fn settled(bucket: &Bucket, event_name: &str, key: &str) -> Value {
    let at = tandem_lambda::runtime::now() - chrono::TimeDelta::seconds(20);
    event(bucket, event_name, key, at)
}

/// The event as an SNS topic delivers it without raw message delivery.
pub fn by_topic(event: &Value) -> Value {
    json!({
        "Type": "Notification",
        "MessageId": "0216b511-4ade-5a33-8ebb-ea1b34659891",
        "TopicArn": "arn:aws:sns:us-east-1:000000000000:tandem-notifications",
        "Subject": "Amazon S3 Notification",
        "Message": event.to_string(),
        "Timestamp": tandem_lambda::runtime::now(),
        "SignatureVersion": "1",
    })
}

/// The receive count of a message's last delivery, as in `template.yaml`.
pub const LAST_DELIVERY: u32 = 100;

/// A batch of SQS messages, received for the first time. [`kept`] names them by their indices: `"0"`, `"1"`, ...
pub fn batch(queue_arn: &str, bodies: &[String]) -> Value {
    batch_received(1, queue_arn, bodies)
}

/// A batch of SQS messages with this receive count.
pub fn batch_received(receives: u32, queue_arn: &str, bodies: &[String]) -> Value {
    let records = bodies.iter().enumerate().map(|(place, body)| {
        json!({
            // The stack counts the attempts at a message by its id.
            "messageId": format!("{place}/{}", unique("message")),
            "receiptHandle": "of a message in no queue",
            "body": body,
            "attributes": {"ApproximateReceiveCount": receives.to_string()},
            "eventSource": "aws:sqs",
            "eventSourceARN": queue_arn,
            "awsRegion": "us-east-1",
        })
    });
    json!({"Records": records.collect::<Vec<_>>()})
}

/// A batch of one message with this receive count.
pub fn redelivered(receives: u32, queue_arn: &str, message: &QueuedMessage) -> Value {
    let mut batch = batch_received(receives, queue_arn, std::slice::from_ref(&message.body));
    let record = &mut batch["Records"][0];
    record["messageId"] = json!(message.id);
    if let Some(epoch) = &message.epoch {
        record["messageAttributes"] =
            json!({"epoch": {"stringValue": epoch, "dataType": "Number"}});
    }
    batch
}

/// The messages that a function returns to the queue: the indices of those of a [`batch`], the ids of others.
pub fn kept(answer: &Value) -> Vec<String> {
    let failures = answer["batchItemFailures"]
        .as_array()
        .expect("an answer to a batch");
    failures
        .iter()
        .map(|failure| {
            let id = failure["itemIdentifier"].as_str().unwrap_or_default();
            id.split('/').next().unwrap_or_default().to_owned()
        })
        .collect()
}

fn record(bucket: &Bucket, event_name: &str, key: &str) -> Value {
    static SEQUENCE: AtomicU64 = AtomicU64::new(1);
    let sequencer = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    json!({
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": bucket.region,
        "eventTime": tandem_lambda::runtime::now(),
        "eventName": event_name,
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "",
            "bucket": {"name": bucket.name, "arn": format!("arn:aws:s3:::{}", bucket.name)},
            "object": {
                "key": utf8_percent_encode(key, FORM).to_string().replace(' ', "+"),
                "sequencer": format!("{sequencer:018X}"),
            },
        },
    })
}
