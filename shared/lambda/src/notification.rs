//! Parses S3's notifications, S3's events from EventBridge, and S3's test event, each also inside a message of an SNS
//! topic. Declares only the fields that Tandem uses. Only this module knows that S3 form-encodes keys in notifications.

use chrono::TimeDelta;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;
use tandem_replication::Timestamp;
use tandem_replication::event::{Change, CreatedBy, ObjectEvent};
use tandem_replication::event_pattern::LIFECYCLE_EXPIRATION;
use tandem_replication::names::{BucketName, Etag, NameError, ObjectKey, Sequencer, VersionId};
use tandem_replication::subscription::rule_of_entry;

/// Why a document is not a notification.
#[derive(Debug, thiserror::Error)]
pub enum NotificationError {
    /// Neither `Records`, nor EventBridge's `detail`, nor a test event.
    #[error(
        "not a notification: it has neither \"Records\", nor \"detail-type\" and \"detail\", nor is it an s3:TestEvent"
    )]
    Unknown,
    /// SNS delivered a message whose text is not a notification.
    #[error("reading a message of the SNS topic {topic}: {inner}")]
    Forwarded {
        /// The topic's ARN.
        topic: String,
        /// What is wrong with the text.
        #[source]
        inner: Box<NotificationError>,
    },
    /// SNS sent a request to the queue's owner instead of a notification.
    #[error(
        "SNS sent a {kind} of {topic}, which Tandem does not answer; to confirm a subscription, open the SubscribeURL \
         in this message, then remove the message"
    )]
    Unconfirmed {
        /// `SubscriptionConfirmation` or `UnsubscribeConfirmation`.
        kind: String,
        /// The topic's ARN.
        topic: String,
    },
    /// A field is missing or of the wrong type.
    #[error("invalid notification: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The bucket's name or the key is invalid.
    #[error("invalid bucket or key in a notification: {0}")]
    Name(#[from] NameError),
    /// The key's bytes are not text.
    #[error("invalid key in a notification: {0:?} does not decode to UTF-8")]
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

/// What SNS wraps around a message, unless the subscription enables raw message delivery.
///
/// Source: SNS developer guide, "Amazon SNS message and JSON formats".
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SnsEnvelope {
    r#type: String,
    topic_arn: String,
    message: String,
}

/// Reads one document. If one of its records is invalid, the whole document is an error and is redelivered. A test
/// event has no object events.
pub fn parse(document: Value) -> Result<Vec<ObjectEvent>, NotificationError> {
    if !tells_of_an_object(&document)
        && document["TopicArn"].is_string()
        && document["Type"].is_string()
    {
        return forwarded(serde_json::from_value(document)?);
    }
    notification(document)
}

/// Reads a message of SNS. The text in it must be a notification and not another message of SNS.
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
    // Checked last, so that a document about an object never counts as a test event.
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
                Some("ObjectTagging" | "ObjectAcl") => Change::Attributes,
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
            "Object Tags Added" | "Object Tags Deleted" | "Object ACL Updated" => {
                Change::Attributes
            }
            _ => Change::Other,
        };
        Ok(Self {
            bucket: BucketName::parse(&bucket.name)?,
            // EventBridge does not encode keys.
            key: ObjectKey::parse(object.key)?,
            event_time: event_time(&change, event.time),
            change,
            sequencer: object.sequencer.as_deref().map(Sequencer::new),
            sent_for: None,
        })
    }
}

/// Returns the time of an event of EventBridge, which has whole seconds. A function waits for some time after a change
/// of tags or ACLs. So the time of such a change is the end of its second.
fn event_time(change: &Change, told: Timestamp) -> Timestamp {
    match change {
        Change::Attributes => told + TimeDelta::seconds(1),
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

/// Decodes a form-encoded key. `red+flower%2B.jpg` is the key `red flower+.jpg`.
fn form_decoded(key: &str) -> Result<String, NotificationError> {
    let spaced = key.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(NotificationError::Encoding(key.to_owned())),
    }
}

#[cfg(test)]
mod tests;
