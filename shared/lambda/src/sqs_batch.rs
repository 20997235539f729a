//! The loop of every function that consumes messages: open the batch, process it, back off, answer.
//!
//! Usually SQS delivers a batch of messages. A person or a schedule may also invoke a function with one document that
//! is not inside a message ("by hand").

use std::time::Duration;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse};
use chrono::TimeDelta;
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use tandem_aws::sqs::EPOCH_ATTRIBUTE;
use tandem_replication::Timestamp;
use tandem_replication::failure_record::Redelivery;
use tandem_replication::fault::{Fault, Reason};
use tracing::{Instrument, info_span};

use crate::attempts::open;
use crate::metrics::write_requests;
use crate::runtime::{Deadline, now};
use crate::services::Services;

/// One document to process, and how it was delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The document, or why there is none.
    pub body: Result<Value, String>,
    /// How it was delivered.
    pub delivery: Delivery,
}

/// How a document was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// A person or a schedule invoked the function with it. It is not delivered again.
    ByHand,
    /// SQS delivered it.
    Sqs(Received),
}

/// The data of a message that SQS delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The message's id. A batch response names failed messages by it.
    pub message_id: String,
    /// Identifies this delivery, to change the message's visibility timeout.
    pub receipt_handle: String,
    /// The queue.
    pub queue_arn: String,
    /// How often SQS has delivered the message, including this delivery, whether or not a function received it.
    pub receives: u32,
    /// Which attempt at the message this is, from 1. The module `attempts` counts.
    pub attempt: u32,
    /// Whether this attempt is the last.
    pub is_last: bool,
    /// The epoch of a shard's message; `None` in other messages.
    pub epoch: Option<u64>,
    /// The body as SQS delivered it.
    pub body: String,
}

impl Delivery {
    /// Returns the data of the message, or `None` if the function was invoked by hand.
    pub const fn received(&self) -> Option<&Received> {
        match self {
            Self::ByHand => None,
            Self::Sqs(received) => Some(received),
        }
    }

    /// Whether the message was delivered before. The function that received it may have died.
    pub fn is_redelivery(&self) -> bool {
        self.received().is_some_and(|it| it.receives > 1)
    }

    /// Returns which attempt at the message this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.received().map_or(1, |received| received.attempt)
    }

    /// Whether this is the last attempt at a message.
    pub fn is_last(&self) -> bool {
        self.received().is_some_and(|received| received.is_last)
    }

    /// Returns what happens if the message is not acknowledged.
    pub fn redelivery(&self) -> Redelivery {
        match self {
            Self::ByHand => Redelivery::ByHand,
            Self::Sqs(received) if received.is_last => Redelivery::WasTheLast,
            Self::Sqs(_) => Redelivery::Follows,
        }
    }
}

/// The messages of one invocation.
#[derive(Debug)]
pub struct Batch {
    /// The messages to process.
    pub messages: Vec<Message>,
    /// When the invocation's time is up.
    pub deadline: Deadline,
    /// The invocation's request id.
    pub invocation_id: String,
}

/// The outcome of a message. `Ok` acknowledges it, and may contain the answer to an invocation by hand. With `Err` it
/// is redelivered.
pub type MessageResult = Result<Option<Value>, Retry>;

/// Why a message is redelivered, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// When.
    pub after: RetryAfter,
    /// Why.
    pub reason: String,
}

/// Processes one invocation. `process` returns the outcome of each message of the batch, in the same order.
///
/// # Errors
///
/// If the function was invoked by hand and the document was not processed.
pub async fn consume<P>(
    services: &Services,
    function: &str,
    invocation: LambdaEvent<Value>,
    process: P,
) -> Result<Value, Diagnostic>
where
    P: AsyncFnOnce(&Batch) -> Vec<MessageResult>,
{
    let deadline = Deadline::of(invocation.context.deadline());
    services.aws.begin(deadline);
    let opened = open(services, invocation.payload).await;
    let batch = Batch {
        messages: opened.messages,
        deadline,
        invocation_id: invocation.context.request_id,
    };
    let span = info_span!("batch", function, invocation.id = batch.invocation_id);
    let processed = process(&batch).instrument(span).await;
    let mut kept: Vec<&Received> = opened.stuck.iter().collect();
    let mut by_hand = None;
    for (message, ended) in batch.messages.iter().zip(processed) {
        match &message.delivery {
            Delivery::ByHand => by_hand = Some(ended),
            Delivery::Sqs(received) => {
                if let Err(retry) = ended {
                    back_off(services, received, retry.after).await;
                    kept.push(received);
                }
            }
        }
    }
    write_requests(function, &services.aws.take_request_counts(), now());
    match by_hand {
        None => Ok(json!(batch_response(kept))),
        Some(Ok(answer)) => Ok(answer.unwrap_or_else(|| json!(batch_response([])))),
        Some(Err(retry)) => Err(Diagnostic {
            error_type: "Unfinished".to_owned(),
            error_message: retry.reason,
        }),
    }
}

/// Processes one invocation like [`consume`], one message after the other.
///
/// # Errors
///
/// As [`consume`].
pub async fn consume_each<P>(
    services: &Services,
    function: &str,
    invocation: LambdaEvent<Value>,
    process: P,
) -> Result<Value, Diagnostic>
where
    P: AsyncFn(&Message, &Batch) -> MessageResult,
{
    let one_by_one = async |batch: &Batch| {
        let mut results = Vec::with_capacity(batch.messages.len());
        for message in &batch.messages {
            results.push(process(message, batch).await);
        }
        results
    };
    consume(services, function, invocation, one_by_one).await
}

/// Returns the messages of an invocation. Messages are read field by field, so that a message of an unexpected form
/// does not affect the other messages of its batch.
pub fn parse(invocation: Value) -> Vec<Message> {
    let from_sqs = |record: &Value| record["eventSource"] == "aws:sqs";
    match invocation["Records"].as_array() {
        Some(records) if records.iter().any(from_sqs) => records.iter().map(message).collect(),
        _ => vec![Message {
            body: Ok(invocation),
            delivery: Delivery::ByHand,
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
        delivery: Delivery::Sqs(Received {
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

/// Returns the answer that makes SQS keep exactly these messages.
pub fn batch_response<'a>(kept: impl IntoIterator<Item = &'a Received>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for received in kept {
        let mut failure = BatchItemFailure::default();
        failure.item_identifier.clone_from(&received.message_id);
        response.batch_item_failures.push(failure);
    }
    response
}

/// Sets when a message is redelivered. If that fails, the message is redelivered after the queue's visibility timeout,
/// which is later and harmless.
pub(crate) async fn back_off(services: &Services, received: &Received, after: RetryAfter) {
    let RetryAfter::Delay(delay) = after else {
        return;
    };
    let Some(queue_url) = services.config.queue_url(&received.queue_arn) else {
        return;
    };
    let handle = &received.receipt_handle;
    let changed = services.queues.change_visibility(queue_url, handle, delay);
    if let Err(error) = changed.await {
        tracing::warn!(%error, "the message is redelivered after the queue's visibility timeout");
    }
}

/// After this time every process has dropped its cached knowledge of a rule's failures.
pub const SECOND_ATTEMPT_AFTER: Duration = Duration::from_secs(10);

/// When a failed message is redelivered. Of several reasons, the greatest in this order counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetryAfter {
    /// After this time.
    Delay(Duration),
    /// After the queue's visibility timeout, when no request of this attempt can still be in flight.
    VisibilityTimeout,
}

impl RetryAfter {
    /// For a message that is invalid: soon, so that it reaches the dead-letter queue, where an operator can read it.
    pub const UNREADABLE: Self = Self::Delay(Duration::from_secs(1));

    /// For an object that failed permanently for the first time: when every process has dropped what it had cached of
    /// the rule before the failure. A process then knows that there is a failure record to clear.
    pub const SECOND_ATTEMPT: Self = Self::Delay(SECOND_ATTEMPT_AFTER);

    /// For an object that failed. After the last attempt its message goes to the dead-letter queue at once, unless a
    /// request of the attempt may still be in flight.
    pub fn of_fault(fault: &Fault, delivery: &Delivery) -> Self {
        if fault.reason == Reason::NotAnswered {
            Self::VisibilityTimeout
        } else if delivery.is_last() {
            Self::Delay(Duration::from_secs(1))
        } else {
            Self::backing_off(delivery.attempt())
        }
    }

    /// After 5, 10, 20, ... seconds, up to 15 minutes.
    pub fn backing_off(attempt: u32) -> Self {
        const FIRST: Duration = Duration::from_secs(5);
        const LONGEST: Duration = Duration::from_mins(15);
        let doublings = attempt.saturating_sub(1).min(12);
        Self::Delay((FIRST * (1 << doublings)).min(LONGEST))
    }

    /// After this time, rounded up to whole seconds.
    pub fn in_whole_seconds(delay: TimeDelta) -> Self {
        let secs = u64::try_from(delay.num_milliseconds() / 1_000 + 1).unwrap_or_default();
        Self::Delay(Duration::from_secs(secs))
    }

    /// A few seconds after `at`.
    pub fn at(at: Timestamp, now: Timestamp) -> Self {
        const GRACE: Duration = Duration::from_secs(5);
        Self::Delay((at - now).to_std().unwrap_or_default() + GRACE)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_batch_is_parsed_message_by_message() {
        let messages = parse(json!({"Records": [
            {"eventSource": "aws:sqs", "messageId": "1", "body": "{\"a\":1}", "eventSourceARN": "arn:q",
             "receiptHandle": "r", "attributes": {"ApproximateReceiveCount": "3"},
             "messageAttributes": {"epoch": {"stringValue": "7", "dataType": "Number"}}},
            {"eventSource": "aws:sqs", "messageId": "2", "body": "not json"},
        ]}));
        assert_eq!(messages[0].body, Ok(json!({"a": 1})));
        let first = messages[0].delivery.received().unwrap();
        assert_eq!((first.receives, first.epoch), (3, Some(7)));
        assert!(messages[0].delivery.is_redelivery());
        assert!(messages[1].body.is_err());
        assert_eq!(messages[1].delivery.received().unwrap().message_id, "2");
    }

    #[test]
    fn an_invocation_without_sqs_messages_is_one_document_by_hand() {
        for document in [
            json!({"Event": "s3:TestEvent"}),
            json!({"Records": []}),
            json!(null),
            json!(3),
        ] {
            let by_hand = Message {
                body: Ok(document.clone()),
                delivery: Delivery::ByHand,
            };
            assert_eq!(parse(document), [by_hand]);
        }
    }

    fn delivery(attempt: u32, is_last: bool) -> Delivery {
        Delivery::Sqs(Received {
            message_id: "1".to_owned(),
            receipt_handle: "r".to_owned(),
            queue_arn: "arn:q".to_owned(),
            receives: attempt,
            attempt,
            is_last,
            epoch: None,
            body: String::new(),
        })
    }

    #[test]
    fn a_delivery_knows_whether_a_redelivery_follows() {
        assert_eq!(Delivery::ByHand.redelivery(), Redelivery::ByHand);
        assert_eq!(delivery(1, false).redelivery(), Redelivery::Follows);
        assert_eq!(delivery(8, true).redelivery(), Redelivery::WasTheLast);
    }

    #[test]
    fn a_message_waits_for_the_longest_of_its_delays() {
        let fault = |reason| Fault::because(reason, "");
        let throttled = RetryAfter::of_fault(&fault(Reason::Throttled), &delivery(3, false));
        let unanswered = RetryAfter::of_fault(&fault(Reason::NotAnswered), &delivery(8, true));
        assert_eq!(throttled, RetryAfter::Delay(Duration::from_secs(20)));
        assert_eq!(throttled.max(unanswered), RetryAfter::VisibilityTimeout);
        assert_eq!(throttled.max(RetryAfter::UNREADABLE), throttled);
    }

    #[test]
    fn a_message_goes_to_the_dead_letter_queue_soon_after_its_last_attempt() {
        let throttled = Fault::because(Reason::Throttled, "");
        let after = RetryAfter::of_fault(&throttled, &delivery(8, true));
        assert_eq!(after, RetryAfter::Delay(Duration::from_secs(1)));
    }

    // Promise: A failure that another attempt may help is tried again at growing distances: after 5, 10, 20
    // seconds and so on, up to 15 minutes.
    #[test]
    fn the_delay_between_retries_doubles_up_to_15_minutes() {
        let secs = [1, 2, 3, 8, 99].map(|attempt| match RetryAfter::backing_off(attempt) {
            RetryAfter::Delay(delay) => delay.as_secs(),
            RetryAfter::VisibilityTimeout => 0,
        });
        assert_eq!(secs, [5, 10, 20, 640, 900]);
    }
}
