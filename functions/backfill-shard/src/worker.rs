//! One message of the work queue, from its JSON to its acknowledgement.

use std::time::Duration;

use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use tandem_aws::queues::Queues;
use tandem_aws::table::Table;
use tandem_aws::{Aws, AwsError};
use tandem_lambda::attempts::Attempts;
use tandem_lambda::config::Config;
use tandem_lambda::expectations::Expectations;
use tandem_lambda::inbox::{ComesAgain, Message};
use tandem_lambda::key_store::deferred_key;
use tandem_lambda::measure::write_requests;
use tandem_lambda::postpone::postpone;
use tandem_lambda::record::Recorder;
use tandem_lambda::rule_cache::RuleCache;
use tandem_lambda::runtime::{Deadline, Error, now};
use tandem_replication::Timestamp;
use tandem_replication::deferral::DeferredKey;
use tandem_replication::fault::Fault;
use tandem_replication::work::Work;

/// What has to be left of an invocation to begin another page.
pub(crate) const PAGE_TIME: Duration = Duration::from_mins(2);

/// The function: everything it needs, built once.
#[derive(Debug)]
pub struct Worker {
    pub(crate) config: Config,
    pub(crate) aws: Aws,
    pub(crate) table: Table,
    pub(crate) recorder: Recorder,
    pub(crate) rules: RuleCache,
    pub(crate) queues: Queues,
    pub(crate) expectations: Expectations,
}

/// Why a message has to be redelivered.
#[derive(Debug, thiserror::Error)]
pub enum Unfinished {
    /// The message is not work.
    #[error("not a piece of work: {0}")]
    Unreadable(String),
    /// An earlier delivery of the message has the shard's lease, and may have died.
    #[error("an earlier delivery of this message has the shard until {0}")]
    Leased(Timestamp),
    /// The shard's lease is gone.
    #[error("{0}")]
    Lost(String),
    /// One object failed, and another attempt may help.
    #[error(transparent)]
    Object(#[from] Fault),
    /// There was no permit for an object before the invocation's time was nearly up.
    #[error("no permit in time")]
    NoTurn,
    /// One object failed for good, of which there was no record: it is looked at once more.
    #[error("{0}")]
    Doubted(Fault),
    /// The table, a queue or a listing failed.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

/// A message as one invocation received it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery<'a> {
    /// The invocation.
    pub(crate) invocation: &'a str,
    /// The message's id; none where the function was invoked by hand.
    pub(crate) message: Option<&'a str>,
    /// The epoch of a shard's message.
    pub(crate) epoch: Option<u64>,
    /// How often the message was received.
    pub(crate) receives: u32,
    /// Whether the message is not received again.
    pub(crate) is_last: bool,
    /// When the invocation's time is up.
    pub(crate) deadline: Deadline,
}

impl Delivery<'_> {
    /// Whether the message was received before: an earlier worker may have died.
    pub(crate) const fn is_redelivery(&self) -> bool {
        self.receives > 1
    }

    fn look(&self) -> Look {
        Look {
            comes_again: self.message.is_some() && !self.is_last,
            last_chance: self.is_last,
        }
    }
}

/// What the work on single keys has to know of a delivery.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// Not the last, if the message is kept.
    pub comes_again: bool,
    /// The last.
    pub last_chance: bool,
}

impl Worker {
    /// Reads the environment and builds the clients.
    pub async fn start() -> Result<Self, Error> {
        let config = Config::from_environment()?;
        let aws = Aws::from_environment(config.account_id.clone()).await?;
        let table = Table::new(&aws, &config.rule_table);
        Ok(Self {
            recorder: Recorder::new(&aws, table.clone()),
            rules: RuleCache::new(table.clone()),
            table,
            queues: Queues::new(&aws),
            expectations: Expectations::default(),
            config,
            aws,
        })
    }

    /// Handles one invocation.
    pub async fn handle(&self, invocation: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
        let deadline = Deadline::of(invocation.context.deadline());
        self.aws.begin(deadline);
        let id = invocation.context.request_id;
        let attempts = Attempts {
            table: &self.table,
            queues: &self.queues,
            config: &self.config,
        };
        let opened = attempts.open(invocation.payload).await;
        let mut failed = Vec::new();
        for message in &opened.messages {
            if let Err(unfinished) = self.work(message, &id, deadline).await {
                tracing::warn!(error = %unfinished, "the work has to come again");
                self.put_off(message, &unfinished).await;
                failed.push((message, unfinished));
            }
        }
        write_requests("backfill-shard", &self.aws.take_request_counts(), now());
        match failed.first() {
            Some((Message { envelope: None, .. }, unfinished)) => Err(Diagnostic {
                error_type: "Unfinished".to_owned(),
                error_message: unfinished.to_string(),
            }),
            _ => Ok(json!(
                opened.answer(failed.iter().map(|(message, _)| *message))
            )),
        }
    }

    async fn work(
        &self,
        message: &Message,
        invocation: &str,
        deadline: Deadline,
    ) -> Result<(), Unfinished> {
        let body = message.body.clone().map_err(Unfinished::Unreadable)?;
        if message.envelope.is_none()
            && let Some(field) = unknown_field(&body)
        {
            let problem = format!("it has no field {field:?}; remove it, or correct its name");
            return Err(Unfinished::Unreadable(problem));
        }
        let work = serde_json::from_value(body)
            .map_err(|error| Unfinished::Unreadable(error.to_string()))?;
        let envelope = message.envelope.as_ref();
        let delivery = Delivery {
            invocation,
            message: envelope.map(|envelope| envelope.message_id.as_str()),
            epoch: envelope.and_then(|envelope| envelope.epoch),
            receives: envelope.map_or(1, |envelope| envelope.receives),
            is_last: message.is_last(),
            deadline,
        };
        match &work {
            Work::Shard {
                rule_id,
                job_id,
                shard,
            } => {
                self.work_on_shard((rule_id, job_id, *shard), &delivery)
                    .await
            }
            Work::Held {
                rule_id,
                partition,
                hops,
            } => {
                let page = (rule_id, *partition, *hops);
                self.release_held(page, delivery.look(), deadline).await
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
                    own: own.clone(),
                    ..deferred_key(key, *event_time, *overwrite)
                };
                self.carry_object(rule_id, &object, *hops, delivery.look())
                    .await
            }
        }
    }

    /// Lets a message come again sooner than after the visibility timeout, which is for crashes, unless a
    /// request may still be at work.
    async fn put_off(&self, message: &Message, unfinished: &Unfinished) {
        let Some(envelope) = &message.envelope else {
            return;
        };
        let again = match unfinished {
            Unfinished::Object(fault) if envelope.is_last => ComesAgain::for_the_last_time(fault),
            Unfinished::Object(fault) => ComesAgain::after_fault(fault, envelope.attempt),
            Unfinished::Doubted(_) => ComesAgain::SECOND_LOOK,
            Unfinished::Unreadable(_) => ComesAgain::UNREADABLE,
            Unfinished::Leased(until) => ComesAgain::at(*until, now()),
            Unfinished::Lost(_) | Unfinished::Aws(_) | Unfinished::NoTurn => {
                ComesAgain::after_retries(envelope.attempt)
            }
        };
        postpone(&self.queues, &self.config, envelope, again).await;
    }
}

/// A field of an invocation by hand that no work has.
fn unknown_field(body: &Value) -> Option<&str> {
    let known = Work::fields(body["kind"].as_str()?)?;
    let mut fields = body.as_object()?.keys();
    let unknown = fields.find(|field| !known.contains(&field.as_str()));
    unknown.map(String::as_str)
}
