//! Counts the attempts at a message, and ends a message after its last one.
//!
//! Only deliveries that a function received are attempts. If Lambda cannot deliver a message, because the account's
//! concurrency is used up, SQS redelivers it, and this delivery does not count. The queue itself moves a message to the
//! dead-letter queue only after [`Config::receives_max`](crate::config::Config::receives_max) deliveries. This happens
//! to messages that kill every process that receives them.

use chrono::TimeDelta;
use futures::{StreamExt, stream};
use serde_json::Value;

use crate::runtime::now;
use crate::services::Services;
use crate::sqs_batch::{Delivery, Message, Received, RetryAfter, back_off, parse};

/// For how long a message's count is stored: one day longer than SQS keeps a message at most.
const COUNT_KEPT: TimeDelta = TimeDelta::days(15);

/// How many messages are counted at the same time: a whole batch.
const COUNTED_AT_ONCE: usize = 10;

/// The messages of an invocation.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    /// The messages to process.
    pub(crate) messages: Vec<Message>,
    /// The messages to keep: all their attempts have failed, and moving them to the dead-letter queue has failed too.
    pub(crate) stuck: Vec<Received>,
}

/// Reads the messages of an invocation. Sets the number of each message's attempt, and whether it is the last. Moves a
/// message to the dead-letter queue if its last attempt is over.
pub(crate) async fn open(services: &Services, invocation: Value) -> Opened {
    let counted = stream::iter(parse(invocation))
        .map(|message| counted(services, message))
        .buffered(COUNTED_AT_ONCE);
    let mut opened = Opened::default();
    for message in counted.collect::<Vec<_>>().await {
        match message.delivery {
            Delivery::Sqs(received) if received.attempt > services.config.attempts_max => {
                if !give_up(services, &received).await {
                    opened.stuck.push(received);
                }
            }
            _ => opened.messages.push(message),
        }
    }
    opened
}

/// Returns the message with the number of its attempt. A first delivery is not counted in the table, so that a healthy
/// message costs no request. If the table cannot count the attempt, the attempt does not count as the last one, so that
/// the message is not moved to the dead-letter queue by mistake.
async fn counted(services: &Services, mut message: Message) -> Message {
    let Delivery::Sqs(received) = &mut message.delivery else {
        return message;
    };
    let (attempts_max, receives_max) = (services.config.attempts_max, services.config.receives_max);
    if received.receives > 1 {
        let expires_at = now() + COUNT_KEPT;
        let (id, count) = (&received.message_id, received.receives);
        match services.table.count_redelivery(id, count, expires_at).await {
            Ok(redeliveries) => {
                received.attempt = u32::try_from(redeliveries + 1).unwrap_or(u32::MAX);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot count the attempt");
                let not_the_last = attempts_max.saturating_sub(1).max(1);
                received.attempt = received.receives.min(not_the_last);
            }
        }
    }
    received.is_last = received.attempt >= attempts_max || received.receives >= receives_max;
    message
}

/// Moves a message to the dead-letter queue. Returns whether it did so; the message may then be acknowledged.
async fn give_up(services: &Services, received: &Received) -> bool {
    let attempts = services.config.attempts_max;
    let Some(dead) = services.config.dead_queue(&received.queue_arn) else {
        let queue = &received.queue_arn;
        tracing::error!(queue, "the message comes from a queue of another stack");
        return false;
    };
    let message_id = &received.message_id;
    let sent = services
        .queues
        .give_up(&dead.url, &received.body, received.epoch);
    match sent.await {
        Ok(()) => {
            tracing::error!(
                message_id,
                attempts,
                "moved the message to the dead-letter queue after its last attempt"
            );
            true
        }
        Err(error) => {
            tracing::warn!(message_id, %error, "cannot move the message to the dead-letter queue yet");
            back_off(
                services,
                received,
                RetryAfter::backing_off(received.attempt),
            )
            .await;
            false
        }
    }
}
