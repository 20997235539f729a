//! Handles one message of the part queue, or a scheduled sweep, from its JSON to its acknowledgement.

use std::ops::Deref;

use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use tandem_aws::AwsError;
use tandem_lambda::runtime::Error;
use tandem_lambda::services::Services;
use tandem_lambda::sqs_batch::{
    Batch, Delivery, Message, MessageResult, Retry, RetryAfter, consume_each,
};
use tandem_replication::fault::Fault;
use tandem_replication::transfer::copying::RangeMessage;
use tandem_replication::work::PartWork;

/// The function, with everything that it needs, built once.
#[derive(Debug)]
pub struct Worker(Services);

impl Deref for Worker {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.0
    }
}

/// Why a message has to be redelivered.
#[derive(Debug, thiserror::Error)]
pub enum Unfinished {
    /// The message is not work for this function.
    #[error("invalid part message: {0}")]
    Unreadable(String),
    /// The object failed, and another attempt may succeed.
    #[error(transparent)]
    Object(#[from] Fault),
    /// The invocation's time was nearly up. Parts that were copied stay.
    #[error("not enough time for the rest of the range; another attempt copies it")]
    NoTime,
    /// The table or a queue failed.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

impl Unfinished {
    fn retry(self, delivery: &Delivery) -> Retry {
        tracing::warn!(error = %self, "the message was not processed; it is redelivered");
        Retry {
            after: match &self {
                Self::Object(fault) => RetryAfter::of_fault(fault, delivery),
                Self::Unreadable(_) => RetryAfter::UNREADABLE,
                Self::Aws(_) | Self::NoTime => RetryAfter::backing_off(delivery.attempt()),
            },
            reason: self.to_string(),
        }
    }
}

impl Worker {
    /// Reads the environment and builds the clients.
    pub async fn start() -> Result<Self, Error> {
        Services::start().await.map(Self)
    }

    /// Handles one invocation.
    pub async fn handle(&self, invocation: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
        let dispatch = async |message: &Message, batch: &Batch| -> MessageResult {
            let dispatched = Box::pin(self.dispatch(message, batch)).await;
            dispatched.map_err(|unfinished| unfinished.retry(&message.delivery))
        };
        consume_each(self, "copy-parts", invocation, dispatch).await
    }

    /// Carries out the work of a message. Returns the answer for an invocation by hand.
    async fn dispatch(
        &self,
        message: &Message,
        batch: &Batch,
    ) -> Result<Option<Value>, Unfinished> {
        let body = message.body.clone().map_err(Unfinished::Unreadable)?;
        let work = serde_json::from_value(body)
            .map_err(|error| Unfinished::Unreadable(error.to_string()))?;
        match work {
            PartWork::Range {
                rule_id,
                key,
                transfer_id,
                range,
                overwrite,
            } => {
                let range = RangeMessage {
                    key: &key,
                    transfer_id: &transfer_id,
                    index: range,
                    overwrite,
                    is_redelivery: message.delivery.is_redelivery(),
                };
                let delivered = (&message.delivery, batch.deadline);
                self.copy_range(&rule_id, range, delivered).await?;
                Ok(None)
            }
            PartWork::Sweep {
                rule_id,
                older_than_secs,
            } => {
                let swept = self
                    .sweep(rule_id.as_ref(), older_than_secs, batch.deadline)
                    .await?;
                Ok(Some(json!(swept)))
            }
        }
    }
}
