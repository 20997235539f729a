//! Which attempt at a message this is, and the end of a message after its last one.
//!
//! Only deliveries that a function has seen are attempts. If Lambda cannot deliver a message, because the account's
//! concurrency is used up, the message is redelivered without being counted. The queue itself moves a message to the
//! dead-letter queue only after [`Config::receives_max`] deliveries: such a message ends every process that receives
//! it.

use aws_lambda_events::sqs::SqsBatchResponse;
use chrono::TimeDelta;
use futures::{StreamExt, stream};
use serde_json::Value;
use tandem_aws::queues::Queues;
use tandem_aws::table::Table;

use crate::config::Config;
use crate::inbox::{ComesAgain, Message, answer, open};
use crate::postpone::postpone;
use crate::runtime::now;

/// For how long a message's count is kept: one day longer than SQS keeps a message at most.
const COUNT_KEPT: TimeDelta = TimeDelta::days(15);

/// How many messages are counted at once: a batch.
const COUNTED_AT_ONCE: usize = 10;

/// What counting needs.
#[derive(Debug, Clone, Copy)]
pub struct Attempts<'a> {
    /// Where attempts are counted.
    pub table: &'a Table,
    /// Where messages come from and go to.
    pub queues: &'a Queues,
    /// How many attempts there are.
    pub config: &'a Config,
}

/// An invocation's messages.
#[derive(Debug, Default)]
pub struct Opened {
    /// Those to process.
    pub messages: Vec<Message>,
    /// Those to keep: their attempts are over, and they could not be moved to the dead-letter queue.
    pub stuck: Vec<Message>,
}

impl Opened {
    /// The answer that lets SQS keep these messages that failed, and those that could not be moved.
    pub fn answer<'a>(&'a self, failed: impl IntoIterator<Item = &'a Message>) -> SqsBatchResponse {
        let kept = failed.into_iter().chain(&self.stuck);
        answer(kept.filter_map(|message| message.envelope.as_ref()))
    }
}

impl Attempts<'_> {
    /// Takes an invocation apart. Each message says which attempt at it this is, and whether it is the last. A message
    /// whose last attempt is over is moved to the dead-letter queue.
    pub async fn open(self, invocation: Value) -> Opened {
        let counted = stream::iter(open(invocation))
            .map(|message| self.counted(message))
            .buffered(COUNTED_AT_ONCE);
        let mut opened = Opened::default();
        for message in counted.collect::<Vec<_>>().await {
            if !self.is_over(&message) {
                opened.messages.push(message);
            } else if !self.give_up(&message).await {
                opened.stuck.push(message);
            }
        }
        opened
    }

    /// Returns the message with the number of its attempt. A first delivery is not counted, so that a healthy message
    /// costs no request. If the table cannot count the attempt, it is not the last one, so that no message is given up
    /// by mistake.
    async fn counted(self, mut message: Message) -> Message {
        let Some(envelope) = &mut message.envelope else {
            return message;
        };
        let (attempts_max, receives_max) = (self.config.attempts_max, self.config.receives_max);
        if envelope.receives > 1 {
            let expires_at = now() + COUNT_KEPT;
            let (id, receives) = (&envelope.message_id, envelope.receives);
            match self.table.count_redelivery(id, receives, expires_at).await {
                Ok(redeliveries) => {
                    envelope.attempt = u32::try_from(redeliveries + 1).unwrap_or(u32::MAX);
                }
                Err(error) => {
                    tracing::warn!(%error, "the attempt is not counted");
                    let not_the_last = attempts_max.saturating_sub(1).max(1);
                    envelope.attempt = envelope.receives.min(not_the_last);
                }
            }
        }
        envelope.is_last = envelope.attempt >= attempts_max || envelope.receives >= receives_max;
        message
    }

    fn is_over(self, message: &Message) -> bool {
        let envelope = message.envelope.as_ref();
        envelope.is_some_and(|envelope| envelope.attempt > self.config.attempts_max)
    }

    /// Moves a message to the dead-letter queue. Returns whether it is there, so that it may be acknowledged.
    async fn give_up(self, message: &Message) -> bool {
        let Some(envelope) = &message.envelope else {
            return true;
        };
        let attempts = self.config.attempts_max;
        let dead = self.config.dead_queue(&envelope.queue_arn);
        let Some(dead) = dead else {
            tracing::error!(
                queue = envelope.queue_arn,
                "a queue that is not the stack's"
            );
            return false;
        };
        let sent = self
            .queues
            .give_up(&dead.url, &envelope.body, envelope.epoch)
            .await;
        match sent {
            Ok(()) => {
                tracing::error!(
                    message_id = envelope.message_id,
                    attempts,
                    "given up: the message is in the dead-letter queue"
                );
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the message is not given up yet");
                let again = ComesAgain::after_retries(envelope.attempt);
                postpone(self.queues, self.config, envelope, again).await;
                false
            }
        }
    }
}
