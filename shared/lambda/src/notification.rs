//! What S3 says: its own notifications, the same through EventBridge, and the test event, each also in the envelope of
//! an SNS topic. Only the fields that are used; only this module knows that keys arrive form-encoded.

use chrono::TimeDelta;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;
use tandem_replication::Timestamp;
use tandem_replication::event::{Change, CreatedBy, ObjectEvent};
use tandem_replication::event_pattern::LIFECYCLE_EXPIRATION;
use tandem_replication::names::{BucketName, Etag, NameError, ObjectKey, Sequencer, VersionId};
use tandem_replication::subscription::rule_of_entry;

/// Why a document is no notification.
#[derive(Debug, thiserror::Error)]
pub enum NotificationError {
    /// Neither `Records`, nor EventBridge's `detail`, nor a test event.
    #[error(
        "not a notification: it has neither \"Records\", nor \"detail-type\" and \"detail\", nor is it an s3:TestEvent"
    )]
    Unknown,
    /// SNS delivered a message whose text is no notification.
    #[error("SNS delivered from {topic}: {inner}")]
    Forwarded {
        /// The topic's ARN.
        topic: String,
        /// What is wrong with the text.
        #[source]
        inner: Box<NotificationError>,
    },
    /// SNS asks the queue's owner something instead of delivering a message.
    #[error(
        "SNS sent a {kind} of {topic}, which only a person can follow: to confirm a subscription, open the SubscribeURL \
         in this message; then remove the message"
    )]
    Unconfirmed {
        /// `SubscriptionConfirmation` or `UnsubscribeConfirmation`.
        kind: String,
        /// The topic's ARN.
        topic: String,
    },
    /// A field is missing or of the wrong type.
    #[error("a notification that cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A bucket or key that cannot be one.
    #[error("a notification that names no object: {0}")]
    Name(#[from] NameError),
    /// A key whose bytes are no text.
    #[error("a notification whose key {0:?} does not decode to UTF-8")]
    Encoding(String),
}

#[derive(Deserialize)]
struct S3Notification {
    #[serde(rename = "Records")]
    records: Vec<S3Record>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct S3Record {
    event_name: String,
    event_time: Timestamp,
    s3: S3Part,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct S3Part {
    #[serde(default)]
    configuration_id: Option<String>,
    bucket: BucketPart,
    object: ObjectPart,
}

#[derive(Deserialize)]
struct BucketPart {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectPart {
    key: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    e_tag: Option<String>,
    #[serde(default)]
    version_id: Option<String>,
    #[serde(default)]
    sequencer: Option<String>,
}

#[derive(Deserialize)]
struct BridgeEvent {
    #[serde(rename = "detail-type")]
    detail_type: String,
    time: Timestamp,
    detail: BridgeDetail,
}

#[derive(Deserialize)]
struct BridgeDetail {
    bucket: BucketPart,
    object: BridgeObject,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize)]
struct BridgeObject {
    key: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    etag: Option<String>,
    #[serde(rename = "version-id", default)]
    version_id: Option<String>,
    #[serde(default)]
    sequencer: Option<String>,
}

/// What SNS writes around a message, unless the subscription asks for raw message delivery.
///
/// Source: SNS developer guide, "Amazon SNS message and JSON formats".
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SnsEnvelope {
    r#type: String,
    topic_arn: String,
    message: String,
}

/// Reads one document, wholly or not at all: where one of its records cannot be read, all of it is redelivered.
/// A test event is no object event at all.
pub fn parse(document: Value) -> Result<Vec<ObjectEvent>, NotificationError> {
    if !tells_of_an_object(&document)
        && document["TopicArn"].is_string()
        && document["Type"].is_string()
    {
        return forwarded(serde_json::from_value(document)?);
    }
    notification(document)
}

/// Reads what SNS delivered. What is in the envelope is no envelope itself.
fn forwarded(envelope: SnsEnvelope) -> Result<Vec<ObjectEvent>, NotificationError> {
    let SnsEnvelope {
        r#type: kind,
        topic_arn: topic,
        message,
    } = envelope;
    if kind != "Notification" {
        return Err(NotificationError::Unconfirmed { kind, topic });
    }
    let read = serde_json::from_str(&message).map_err(NotificationError::from);
    read.and_then(notification)
        .map_err(|inner| NotificationError::Forwarded {
            topic,
            inner: Box::new(inner),
        })
}

fn tells_of_an_object(document: &Value) -> bool {
    document["Records"].is_array()
        || (document["detail-type"].is_string() && document["detail"].is_object())
}

fn notification(document: Value) -> Result<Vec<ObjectEvent>, NotificationError> {
    if document["Records"].is_array() {
        let notification: S3Notification = serde_json::from_value(document)?;
        return notification
            .records
            .into_iter()
            .map(ObjectEvent::try_from)
            .collect();
    }
    if tells_of_an_object(&document) {
        let event: BridgeEvent = serde_json::from_value(document)?;
        return Ok(vec![event.try_into()?]);
    }
    // Last, so that nothing that tells of an object is taken for it.
    if document["Event"] == "s3:TestEvent" {
        return Ok(Vec::new());
    }
    Err(NotificationError::Unknown)
}

impl TryFrom<S3Record> for ObjectEvent {
    type Error = NotificationError;

    fn try_from(record: S3Record) -> Result<Self, NotificationError> {
        let S3Part {
            configuration_id,
            bucket,
            object,
        } = record.s3;
        let kind = record.event_name.trim_start_matches("s3:");
        Ok(Self {
            bucket: BucketName::parse(&bucket.name)?,
            key: ObjectKey::parse(form_decoded(&object.key)?)?,
            change: match kind.split(':').next() {
                Some("ObjectCreated") => {
                    let by = match kind {
                        "ObjectCreated:Put" | "ObjectCreated:Post" => CreatedBy::Put,
                        _ => CreatedBy::Copy,
                    };
                    created(object.e_tag, object.size, object.version_id, by)
                }
                Some("ObjectRemoved") => Change::Removed,
                Some("LifecycleExpiration") => Change::Expired,
                Some("ObjectTagging" | "ObjectAcl") => Change::Labels,
                _ => Change::Other,
            },
            event_time: record.event_time,
            sequencer: object.sequencer.as_deref().map(Sequencer::new),
            sent_for: configuration_id.as_deref().and_then(rule_of_entry),
        })
    }
}

impl TryFrom<BridgeEvent> for ObjectEvent {
    type Error = NotificationError;

    fn try_from(event: BridgeEvent) -> Result<Self, NotificationError> {
        let BridgeDetail {
            bucket,
            object,
            reason,
        } = event.detail;
        let change = match event.detail_type.as_str() {
            "Object Created" => {
                let by = match reason.as_deref() {
                    Some("PutObject" | "POST Object") => CreatedBy::Put,
                    _ => CreatedBy::Copy,
                };
                created(object.etag, object.size, object.version_id, by)
            }
            "Object Deleted" if reason.as_deref() == Some(LIFECYCLE_EXPIRATION) => Change::Expired,
            "Object Deleted" => Change::Removed,
            "Object Tags Added" | "Object Tags Deleted" | "Object ACL Updated" => Change::Labels,
            _ => Change::Other,
        };
        Ok(Self {
            bucket: BucketName::parse(&bucket.name)?,
            // EventBridge writes keys as they are.
            key: ObjectKey::parse(object.key)?,
            event_time: event_time(&change, event.time),
            change,
            sequencer: object.sequencer.as_deref().map(Sequencer::new),
            sent_for: None,
        })
    }
}

/// The time of an event of EventBridge, which tells whole seconds only. A function waits for some time after a change of
/// tags or ACLs, so the latest time that may be meant counts there.
fn event_time(change: &Change, told: Timestamp) -> Timestamp {
    match change {
        Change::Labels => told + TimeDelta::seconds(1),
        _ => told,
    }
}

fn created(
    etag: Option<String>,
    bytes: Option<u64>,
    version_id: Option<String>,
    by: CreatedBy,
) -> Change {
    Change::Created {
        etag: etag
            .filter(|etag| !etag.is_empty())
            .map(|etag| Etag::new(&etag)),
        bytes,
        version_id: version_id.map(VersionId::new),
        by,
    }
}

/// `red+flower%2B.jpg` is the key `red flower+.jpg`.
fn form_decoded(key: &str) -> Result<String, NotificationError> {
    let spaced = key.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(NotificationError::Encoding(key.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(name: &str, key: &str) -> Value {
        json!({"eventName": name, "eventTime": "2026-11-22T21:00:00.123Z", "s3": {
            "configurationId": "tandem-rule-7-put-0",
            "bucket": {"name": "photos"},
            "object": {"key": key, "size": 3, "eTag": "abc", "sequencer": "0055"}}})
    }

    #[test]
    fn every_record_is_read_and_keys_are_form_decoded() {
        let events = parse(json!({"Records": [record("ObjectCreated:Put", "red+flower%2B%25.jpg"), record("ObjectRemoved:Delete", "b")]})).unwrap();
        assert_eq!(events[0].key.as_str(), "red flower+%.jpg");
        assert_eq!(events[0].sent_for.as_ref().unwrap().as_str(), "rule-7");
        assert_eq!(events[1].change, Change::Removed);
    }

    #[test]
    fn eventbridge_keys_are_taken_as_they_are() {
        let events = parse(json!({"detail-type": "Object Created", "time": "2026-11-22T21:00:00Z",
            "detail": {"bucket": {"name": "photos"}, "object": {"key": "a+b%20c", "etag": "abc", "size": 1}}}))
        .unwrap();
        assert_eq!(events[0].key.as_str(), "a+b%20c");
    }

    // Promise: An object that a copy created is compared with its replica first, and nothing is written if they agree.
    #[test]
    fn only_a_put_is_known_not_to_be_a_copy_of_tandems() {
        let by = |event: &ObjectEvent| match event.change {
            Change::Created { by, .. } => by,
            _ => panic!("{event:?}"),
        };
        for (name, reason, wanted) in [
            ("ObjectCreated:Put", "PutObject", CreatedBy::Put),
            ("ObjectCreated:Post", "POST Object", CreatedBy::Put),
            ("ObjectCreated:Copy", "CopyObject", CreatedBy::Copy),
            (
                "ObjectCreated:CompleteMultipartUpload",
                "CompleteMultipartUpload",
                CreatedBy::Copy,
            ),
            ("ObjectCreated:New", "NewRequest", CreatedBy::Copy),
        ] {
            let events = parse(json!({"Records": [record(name, "a")]})).unwrap();
            assert_eq!(by(&events[0]), wanted, "{name}");
            let event = bridged("Object Created", &json!({"reason": reason}));
            assert_eq!(by(&event), wanted, "{reason}");
        }
    }

    fn bridged(detail_type: &str, detail: &Value) -> ObjectEvent {
        let mut document = json!({"version": "0", "source": "aws.s3", "detail-type": detail_type,
            "time": "2026-11-22T21:00:00Z", "detail": {"version": "0", "bucket": {"name": "photos"},
            "object": {"key": "a", "size": 3, "etag": "abc", "version-id": "v1", "sequencer": "0055"}}});
        for (name, value) in detail.as_object().unwrap() {
            document["detail"][name] = value.clone();
        }
        parse(document).unwrap().remove(0)
    }

    /// The events are those of the S3 user guide, "EventBridge event message structure".
    #[test]
    fn every_event_of_eventbridge_is_read_for_what_it_is() {
        let created = bridged(
            "Object Created",
            &json!({"reason": "CompleteMultipartUpload"}),
        );
        let wanted = Change::Created {
            etag: Some(Etag::new("abc")),
            bytes: Some(3),
            version_id: Some(VersionId::new("v1".to_owned())),
            by: CreatedBy::Copy,
        };
        assert_eq!(created.change, wanted);
        assert_eq!(created.sequencer, Some(Sequencer::new("0055")));
        for (detail_type, detail, change) in [
            (
                "Object Deleted",
                json!({"reason": "DeleteObject", "deletion-type": "Delete Marker Created"}),
                Change::Removed,
            ),
            (
                "Object Deleted",
                json!({"reason": "Lifecycle Expiration", "deletion-type": "Permanently Deleted"}),
                Change::Expired,
            ),
            ("Object Tags Added", json!({}), Change::Labels),
            ("Object Tags Deleted", json!({}), Change::Labels),
            ("Object ACL Updated", json!({}), Change::Labels),
            (
                "Object Restore Completed",
                json!({"restore-expiry-time": "2026-11-25T00:00:00Z", "source-storage-class": "GLACIER"}),
                Change::Other,
            ),
        ] {
            let read = bridged(detail_type, &detail);
            assert_eq!(read.change, change, "{detail_type}: {detail}");
        }
    }

    #[test]
    fn a_change_of_tags_is_as_late_as_its_second_allows() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let tagged = bridged("Object Tags Added", &json!({}));
        assert_eq!(tagged.event_time, at("2026-11-22T21:00:01Z"));
        let created = bridged("Object Created", &json!({}));
        assert_eq!(created.event_time, at("2026-11-22T21:00:00Z"));
    }

    // Promise: Deletes by the source's lifecycle rules are carried over only if the rule says so
    // (`lifecycle_deletes`).
    #[test]
    fn a_lifecycle_expiration_is_told_from_a_delete() {
        let events =
            parse(json!({"Records": [record("LifecycleExpiration:Delete", "a")]})).unwrap();
        assert_eq!(events[0].change, Change::Expired);
    }

    #[test]
    fn a_test_event_is_no_object_event() {
        let events =
            parse(json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos"}))
                .unwrap();
        assert!(events.is_empty());
    }

    fn in_sns(message: &str) -> Value {
        json!({"Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:us-east-1:111122223333:photos",
            "Subject": "Amazon S3 Notification", "Message": message, "Timestamp": "2026-11-22T21:00:00.000Z",
            "SignatureVersion": "1", "Signature": "x", "SigningCertURL": "x", "UnsubscribeURL": "x"})
    }

    // Promise: A notification that an SNS topic delivers is read like one that S3 sends itself, with and without raw
    // message delivery.
    #[test]
    fn what_sns_delivers_is_what_it_was_sent() {
        let test_event =
            json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos"});
        let bridge = json!({"detail-type": "Object Deleted", "time": "2026-11-22T21:00:00Z",
            "detail": {"bucket": {"name": "photos"}, "object": {"key": "a+b"}}});
        let records = json!({"Records": [record("ObjectCreated:Put", "red+flower.jpg"),
            record("ObjectRemoved:Delete", "b")]});
        for document in [records, bridge, test_event] {
            let raw = parse(document.clone()).unwrap();
            assert_eq!(
                parse(in_sns(&document.to_string())).unwrap(),
                raw,
                "{document}"
            );
        }
        // The publisher may have written one line or several.
        let pretty =
            serde_json::to_string_pretty(&json!({"Records": [record("ObjectCreated:Put", "a")]}));
        assert_eq!(parse(in_sns(&pretty.unwrap())).unwrap().len(), 1);
    }

    #[test]
    fn what_sns_delivers_and_is_no_notification_is_refused_with_its_topic() {
        let twice = in_sns(&in_sns("{}").to_string()).to_string();
        for (message, said) in [
            ("", "EOF"),
            ("hello", "expected"),
            ("{}", "neither"),
            ("[]", "neither"),
            (&twice, "neither"),
            (r#"{"Records": [{}]}"#, "missing field"),
        ] {
            let error = parse(in_sns(message)).unwrap_err().to_string();
            assert!(
                error.contains(said) && error.contains("photos"),
                "{message}: {error}"
            );
        }
        let mut no_text = in_sns("");
        no_text["Message"] = json!({"Records": []});
        assert!(parse(no_text).is_err());
    }

    #[test]
    fn a_subscription_that_waits_for_its_confirmation_is_no_object_event() {
        for kind in ["SubscriptionConfirmation", "UnsubscribeConfirmation"] {
            let mut asks = in_sns("You have chosen to subscribe to the topic");
            asks["Type"] = json!(kind);
            asks["SubscribeURL"] =
                json!("https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription");
            let error = parse(asks).unwrap_err().to_string();
            assert!(
                error.contains(kind) && error.contains("SubscribeURL"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_envelope_around_records_is_no_envelope() {
        let mut document = in_sns("{}");
        document["Records"] = json!([record("ObjectCreated:Put", "a")]);
        assert_eq!(parse(document).unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_notification_is_refused_with_a_reason() {
        for (document, said) in [
            (json!({}), "neither"),
            (json!([1]), "neither"),
            (
                json!({"Records": [{"eventName": "ObjectCreated:Put"}]}),
                "missing field",
            ),
            (
                json!({"Records": [record("ObjectCreated:Put", "%ff")]}),
                "UTF-8",
            ),
            (
                json!({"Records": [record("ObjectCreated:Put", "")]}),
                "1 to 1024",
            ),
        ] {
            let error = parse(document.clone()).unwrap_err().to_string();
            assert!(error.contains(said), "{document}: {error}");
        }
    }
}
