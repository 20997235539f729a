//! Processes one batch of notifications:
//!
//! message -> notification -> object events, coalesced by key -> each key processed -> every message of a key
//! acknowledged or kept.

use chrono::TimeDelta;
use futures::{StreamExt, stream};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use tandem_aws::clients::OBJECTS_AT_ONCE_MAX;
use tandem_replication::event::{Change, KeyChange, ObjectEvent, coalesce};
use tandem_replication::failure_record::Redelivery;
use tandem_replication::key_attempt::Settled;
use tandem_replication::replicator::{ATTRIBUTES_SETTLE, Depth, Outcome};

use crate::key_lifecycle::{Processed, write_metrics};
use crate::notification::parse;
use crate::runtime::now;
use crate::services::Services;
use crate::sqs_batch::{Batch, Delivery, Message, MessageResult, Retry, RetryAfter, consume};

/// A change that is older than this may have been attempted before by a function that died, because its message is
/// redelivered after the queue's visibility timeout, which is longer. The receive count does not show all such
/// attempts: it restarts when a message is moved out of a dead-letter queue.
const ATTEMPTED_AFTER: TimeDelta = TimeDelta::seconds(30);

/// Handles one invocation of a live function.
///
/// # Errors
///
/// If the function was invoked by hand and the notification was not processed.
pub async fn handle(
    services: &Services,
    function: &str,
    invocation: LambdaEvent<Value>,
) -> Result<Value, Diagnostic> {
    let process = async |batch: &Batch| process(services, batch).await;
    consume(services, function, invocation, process).await
}

async fn process(services: &Services, batch: &Batch) -> Vec<MessageResult> {
    let messages = &batch.messages;
    let mut events = Vec::new();
    let mut results: Vec<MessageResult> = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        results.push(match read(message) {
            Err(retry) => Err(retry),
            Ok(read) => {
                events.extend(read.into_iter().map(|event| (event, index)));
                Ok(None)
            }
        });
    }
    let processed: Vec<(KeyChange<usize>, Processed)> = stream::iter(coalesce(events))
        .map(|change| process_key(services, batch, change))
        .buffer_unordered(OBJECTS_AT_ONCE_MAX)
        .collect()
        .await;
    for (change, processed) in &processed {
        for &index in &change.received_with {
            if let Some((after, fault)) = processed.retry(&messages[index].delivery) {
                add_retry(&mut results[index], after, fault.to_string());
            }
        }
    }
    write_metrics(services, processed.iter().map(|(_, processed)| processed));
    for (message, result) in messages.iter().zip(&mut results) {
        if message.delivery == Delivery::ByHand && result.is_ok() {
            *result = Ok(Some(answer_by_hand(&processed)));
        }
    }
    results
}

/// Adds a reason why a message is redelivered. The message is redelivered at the latest of all times.
fn add_retry(result: &mut MessageResult, after: RetryAfter, reason: String) {
    *result = Err(match std::mem::replace(result, Ok(None)) {
        Ok(_) => Retry { after, reason },
        Err(earlier) => Retry {
            after: earlier.after.max(after),
            reason: format!("{}; {reason}", earlier.reason),
        },
    });
}

async fn process_key(
    services: &Services,
    batch: &Batch,
    change: KeyChange<usize>,
) -> (KeyChange<usize>, Processed) {
    let event = &change.newest;
    let deliveries = || {
        let indexes = change.received_with.iter();
        indexes.map(|&index| &batch.messages[index].delivery)
    };
    let may_have_been_attempted =
        deliveries().any(Delivery::is_redelivery) || now() - event.event_time > ATTEMPTED_AFTER;
    let depth = if may_have_been_attempted {
        Depth::Attributes
    } else {
        Depth::Head
    };
    let redelivery = redelivery_of(deliveries().map(Delivery::redelivery));
    let processed = services.process_change(event, depth, redelivery, batch.deadline);
    (change.clone(), processed.await)
}

/// Returns what happens if the key fails and its messages are not acknowledged. If this is the last attempt at one of
/// them, the key's failure is recorded.
fn redelivery_of(mut of_messages: impl Iterator<Item = Redelivery> + Clone) -> Redelivery {
    if of_messages.clone().any(|it| it == Redelivery::ByHand) {
        Redelivery::ByHand
    } else if of_messages.any(|it| it == Redelivery::WasTheLast) {
        Redelivery::WasTheLast
    } else {
        Redelivery::Follows
    }
}

/// Reads the events of a message, or returns when the message is redelivered instead.
fn read(message: &Message) -> Result<Vec<ObjectEvent>, Retry> {
    let body = message.body.clone();
    let parsed = body.and_then(|body| parse(body).map_err(|error| error.to_string()));
    match parsed {
        Err(reason) => {
            let message_id = message.delivery.received().map(|it| it.message_id.as_str());
            tracing::error!(message_id, reason, "cannot read the message");
            Err(Retry {
                after: RetryAfter::UNREADABLE,
                reason,
            })
        }
        Ok(events) => match attributes_settle_in(&events, &message.delivery) {
            Some(after) => Err(Retry {
                after,
                reason: "a copy that read the earlier tags may still be in flight".to_owned(),
            }),
            None => Ok(events),
        },
    }
}

/// Returns after what delay to process a message that reports changed tags or ACLs, or `None` to process it now. A copy
/// that read the earlier ones may still be in flight (see [`ATTRIBUTES_SETTLE`]). An invocation by hand does not wait,
/// and neither does a message at its last attempt.
fn attributes_settle_in(events: &[ObjectEvent], delivery: &Delivery) -> Option<RetryAfter> {
    if delivery.redelivery() != Redelivery::Follows {
        return None;
    }
    let at = now();
    let changed = events
        .iter()
        .filter(|event| event.change == Change::Attributes);
    let left = changed
        .map(|event| event.event_time - at + ATTRIBUTES_SETTLE)
        .max()?;
    // If S3's clock is far ahead, the message must still not be hidden for long.
    let left = left.min(ATTRIBUTES_SETTLE);
    (left > TimeDelta::zero()).then(|| RetryAfter::in_whole_seconds(left))
}

/// Returns the outcome of every object, for an invocation by hand.
fn answer_by_hand(processed: &[(KeyChange<usize>, Processed)]) -> Value {
    let objects: Vec<Value> = processed
        .iter()
        .map(|(_, processed)| {
            json!({
                "key": processed.key.as_str(),
                "outcome": outcome_by_hand(&processed.settled),
            })
        })
        .collect();
    json!({ "objects": objects })
}

fn outcome_by_hand(settled: &Settled) -> String {
    match settled {
        Settled::Carried(Outcome::Replicated { .. }) => "Replicated".to_owned(),
        Settled::Carried(Outcome::Adjusted) => "Adjusted".to_owned(),
        Settled::Carried(Outcome::Deleted) => "Deleted".to_owned(),
        Settled::Carried(Outcome::InSync) => "InSync".to_owned(),
        Settled::Carried(Outcome::BothAbsent) => "BothAbsent".to_owned(),
        Settled::Carried(Outcome::Kept(_)) => "Kept(PolicyKeepsDeletes)".to_owned(),
        Settled::Carried(Outcome::TooLargeHere { .. }) | Settled::HandedOver => {
            "HandedOver".to_owned()
        }
        Settled::Deferred => "Held".to_owned(),
        Settled::Skipped(reason) => format!("Skipped({})", reason.as_str()),
        Settled::Parked(fault) | Settled::AttemptedOnceMore(fault) | Settled::TryAgain(fault) => {
            format!("Parked({fault})")
        }
    }
}
