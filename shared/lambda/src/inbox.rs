//! What a function was invoked with: a batch of SQS messages, or one document by hand.

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse};
use serde_json::Value;
use tandem_aws::queues::EPOCH_ATTRIBUTE;
use tandem_replication::Timestamp;
use tandem_replication::fault::{Fault, Reason};

/// One document to work on, and the message that brought it.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The document, or why there is none.
    pub body: Result<Value, String>,
    /// Where it came from; `None` for an invocation by hand.
    pub envelope: Option<Envelope>,
}

/// The parts of an SQS message that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The message's id, by which a batch names its failures.
    pub message_id: String,
    /// By which a message is put off.
    pub receipt_handle: String,
    /// The queue.
    pub queue_arn: String,
    /// How often it was received, this time included, whether or not a function saw it.
    pub receives: u32,
    /// Which attempt at it this is, from 1; [`crate::attempts`] counts.
    pub attempt: u32,
    /// Whether it is not attempted again.
    pub is_last: bool,
    /// The epoch of a shard's message, where it has one.
    pub epoch: Option<u64>,
    /// The body as it came.
    pub body: String,
}

impl Message {
    /// Whether it was received before: a function that had it may have died.
    pub fn is_redelivery(&self) -> bool {
        self.envelope
            .as_ref()
            .is_some_and(|envelope| envelope.receives > 1)
    }

    /// Which attempt at it this is; the first if it came by hand.
    pub fn attempt(&self) -> u32 {
        self.envelope
            .as_ref()
            .map_or(1, |envelope| envelope.attempt)
    }

    /// Whether this is its last attempt. That of an invocation by hand never is.
    pub fn is_last(&self) -> bool {
        self.envelope
            .as_ref()
            .is_some_and(|envelope| envelope.is_last)
    }
}

/// Takes an invocation apart. Envelopes are read field by field, so that one of another form than SQS's
/// takes nothing away from the rest of its batch.
pub fn open(invocation: Value) -> Vec<Message> {
    let from_sqs = |record: &Value| record["eventSource"] == "aws:sqs";
    match invocation["Records"].as_array() {
        Some(records) if records.iter().any(from_sqs) => records.iter().map(message).collect(),
        _ => vec![Message {
            body: Ok(invocation),
            envelope: None,
        }],
    }
}

fn message(record: &Value) -> Message {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let body = serde_json::from_str(record["body"].as_str().unwrap_or_default());
    let receives = record["attributes"]["ApproximateReceiveCount"]
        .as_str()
        .and_then(|n| n.parse().ok());
    Message {
        body: body.map_err(|error| format!("the body is not JSON: {error}")),
        envelope: Some(Envelope {
            message_id: text(&record["messageId"]),
            receipt_handle: text(&record["receiptHandle"]),
            queue_arn: text(&record["eventSourceARN"]),
            receives: receives.unwrap_or(1),
            attempt: 1,
            is_last: false,
            body: text(&record["body"]),
            epoch: record["messageAttributes"][EPOCH_ATTRIBUTE]["stringValue"]
                .as_str()
                .and_then(|epoch| epoch.parse().ok()),
        }),
    }
}

/// The answer that lets SQS keep the messages that failed, and only those.
pub fn answer<'a>(failed: impl IntoIterator<Item = &'a Envelope>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for envelope in failed {
        let mut failure = BatchItemFailure::default();
        failure.item_identifier.clone_from(&envelope.message_id);
        response.batch_item_failures.push(failure);
    }
    response
}

/// After this time every process has forgotten what it knew of a rule's failures.
pub const SECOND_ATTEMPT_SECS: i32 = 10;

/// When a message that failed comes again. Of several reasons the last in this order counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ComesAgain {
    /// After so many seconds.
    After(i32),
    /// After the queue's visibility timeout, when nothing of this attempt can be at work any more.
    WhenNothingIsInFlight,
}

impl ComesAgain {
    /// When to try again what failed for this reason at this attempt.
    pub fn after_fault(fault: &Fault, attempt: u32) -> Self {
        if fault.reason == Reason::NotAnswered {
            Self::WhenNothingIsInFlight
        } else {
            Self::after_retries(attempt)
        }
    }

    /// When to try again what failed at this attempt.
    pub fn after_retries(attempt: u32) -> Self {
        Self::After(retry_delay_secs(attempt))
    }

    /// At this time, or a few seconds after it.
    pub fn at(at: Timestamp, now: Timestamp) -> Self {
        const GRACE_SECS: i64 = 5;
        let secs = (at - now).num_seconds().max(0) + GRACE_SECS;
        Self::After(i32::try_from(secs).unwrap_or(i32::MAX))
    }

    /// When to try again what can never be read: soon, so that it reaches the dead-letter queue, where it
    /// can be looked at.
    pub const UNREADABLE: Self = Self::After(1);

    /// When what failed for the last time goes to the dead-letter queue: at once, unless something of it may
    /// still be at work.
    pub fn for_the_last_time(fault: &Fault) -> Self {
        if fault.reason == Reason::NotAnswered {
            Self::WhenNothingIsInFlight
        } else {
            Self::After(1)
        }
    }

    /// When to look again at what failed for good: when every function has forgotten what it knew of the
    /// rule at the time of the failure, and so knows that there is a record to clear.
    pub const SECOND_LOOK: Self = Self::After(SECOND_ATTEMPT_SECS);
}

/// After how many seconds a message that failed comes again: 5, 10, 20, ... up to 15 minutes.
fn retry_delay_secs(attempt: u32) -> i32 {
    const FIRST_SECS: i32 = 5;
    const LONGEST_SECS: i32 = 900;
    FIRST_SECS
        .saturating_mul(1 << attempt.saturating_sub(1).min(12))
        .min(LONGEST_SECS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_batch_is_opened_message_by_message() {
        let messages = open(json!({"Records": [
            {"eventSource": "aws:sqs", "messageId": "1", "body": "{\"a\":1}", "eventSourceARN": "arn:q",
             "receiptHandle": "r", "attributes": {"ApproximateReceiveCount": "3"},
             "messageAttributes": {"epoch": {"stringValue": "7", "dataType": "Number"}}},
            {"eventSource": "aws:sqs", "messageId": "2", "body": "not json"},
        ]}));
        assert_eq!(messages[0].body, Ok(json!({"a": 1})));
        let first = messages[0].envelope.as_ref().unwrap();
        assert_eq!((first.receives, first.epoch), (3, Some(7)));
        assert!(messages[1].body.is_err());
        assert_eq!(messages[1].envelope.as_ref().unwrap().message_id, "2");
    }

    #[test]
    fn anything_else_is_one_document_by_hand() {
        for document in [
            json!({"Event": "s3:TestEvent"}),
            json!({"Records": []}),
            json!(null),
            json!(3),
        ] {
            let messages = open(document.clone());
            assert_eq!(
                messages,
                [Message {
                    body: Ok(document),
                    envelope: None
                }]
            );
        }
    }

    #[test]
    fn a_message_waits_for_the_longest_of_its_reasons() {
        let fault = |reason| Fault::because(reason, "");
        let throttled = ComesAgain::after_fault(&fault(Reason::Throttled), 3);
        let unanswered = ComesAgain::after_fault(&fault(Reason::NotAnswered), 1);
        assert_eq!(throttled, ComesAgain::After(20));
        assert_eq!(throttled.max(unanswered), ComesAgain::WhenNothingIsInFlight);
        assert_eq!(throttled.max(ComesAgain::UNREADABLE), throttled);
    }

    // Promise: A failure that another attempt may help is tried again at growing distances: after 5, 10, 20
    // seconds and so on, up to 15 minutes.
    #[test]
    fn retries_come_at_growing_distances() {
        assert_eq!(
            [1, 2, 3, 8, 99].map(retry_delay_secs),
            [5, 10, 20, 640, 900]
        );
    }
}
