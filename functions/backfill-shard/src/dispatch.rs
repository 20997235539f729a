//! Handles one message of the work queue, from its JSON to its acknowledgement.

use std::ops::Deref;
use std::time::Duration;

use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::Value;
use tandem_aws::AwsError;
use tandem_lambda::runtime::{Error, now};
use tandem_lambda::services::{Services, deferred_key};
use tandem_lambda::sqs_batch::{
    Batch, Delivery, Message, MessageResult, Retry, RetryAfter, consume_each,
};
use tandem_replication::Timestamp;
use tandem_replication::deferral::DeferredKey;
use tandem_replication::fault::Fault;
use tandem_replication::work::Work;

/// How much time an invocation must have left to begin another page.
pub(crate) const PAGE_TIME: Duration = Duration::from_mins(2);

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
    /// The message is not work.
    #[error("invalid work message: {0}")]
    Unreadable(String),
    /// An earlier delivery of the message has the shard's lease. Its worker may have died.
    #[error("an earlier delivery of this message has the shard's lease until {0}")]
    Leased(Timestamp),
    /// The worker has lost the shard's lease.
    #[error("{0}")]
    Lost(String),
    /// An object failed.
    #[error("{0}")]
    Object(String, RetryAfter),
    /// The table, a queue or a listing failed.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

impl Unfinished {
    /// Returns why an object's message is redelivered.
    pub(crate) fn object((after, fault): (RetryAfter, &Fault)) -> Self {
        Self::Object(fault.to_string(), after)
    }

    /// Returns when the message is redelivered.
    pub(crate) fn retry_after(&self, delivery: &Delivery) -> RetryAfter {
        match self {
            Self::Object(_, after) => *after,
            Self::Unreadable(_) => RetryAfter::UNREADABLE,
            Self::Leased(until) => RetryAfter::at(*until, now()),
            Self::Lost(_) | Self::Aws(_) => RetryAfter::backing_off(delivery.attempt()),
        }
    }

    fn retry(self, delivery: &Delivery) -> Retry {
        // The failure of an object was logged with its key.
        if !matches!(self, Self::Object(..)) {
            tracing::warn!(error = %self, "the message was not processed; it is redelivered");
        }
        Retry {
            after: self.retry_after(delivery),
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
            match Box::pin(self.dispatch(message, batch)).await {
                Ok(()) => Ok(None),
                Err(unfinished) => Err(unfinished.retry(&message.delivery)),
            }
        };
        consume_each(self, "backfill-shard", invocation, dispatch).await
    }

    async fn dispatch(&self, message: &Message, batch: &Batch) -> Result<(), Unfinished> {
        let delivery = &message.delivery;
        match parse(message)? {
            Work::Shard {
                rule_id,
                job_id,
                shard,
            } => {
                let shard = (&rule_id, &job_id, shard);
                self.work_on_shard(shard, delivery, batch).await
            }
            Work::Deferred {
                rule_id,
                partition,
                hops,
            } => {
                let page = (&rule_id, partition, hops);
                self.replay_partition(page, delivery, batch.deadline).await
            }
            Work::Object {
                rule_id,
                key,
                event_time,
                overwrite,
                own,
                hops,
            } => {
                let object = DeferredKey {
                    own,
                    ..deferred_key(&key, event_time, overwrite)
                };
                self.work_on_object(&rule_id, &object, hops, delivery).await
            }
        }
    }
}

fn parse(message: &Message) -> Result<Work, Unfinished> {
    let body = message.body.clone().map_err(Unfinished::Unreadable)?;
    if message.delivery == Delivery::ByHand
        && let Some(field) = unknown_field(&body)
    {
        let problem = format!("unknown field {field:?}; remove it or correct its name");
        return Err(Unfinished::Unreadable(problem));
    }
    serde_json::from_value(body).map_err(|error| Unfinished::Unreadable(error.to_string()))
}

/// Returns a field of an invocation by hand that its kind of work does not have.
fn unknown_field(body: &Value) -> Option<&str> {
    let known = Work::fields(body["kind"].as_str()?)?;
    let mut fields = body.as_object()?.keys();
    let unknown = fields.find(|field| !known.contains(&field.as_str()));
    unknown.map(String::as_str)
}
