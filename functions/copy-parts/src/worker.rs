//! One message of the part queue, or the schedule's word, from its JSON to its acknowledgement.

use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use tandem_aws::queues::Queues;
use tandem_aws::table::Table;
use tandem_aws::{Aws, AwsError};
use tandem_lambda::attempts::Attempts;
use tandem_lambda::config::Config;
use tandem_lambda::inbox::{ComesAgain, Message};
use tandem_lambda::measure::write_requests;
use tandem_lambda::postpone::postpone;
use tandem_lambda::record::Recorder;
use tandem_lambda::runtime::{Deadline, Error, now};
use tandem_replication::fault::Fault;
use tandem_replication::transfer::copying::RangeMessage;
use tandem_replication::work::PartWork;

/// The function: everything it needs, built once.
#[derive(Debug)]
pub struct Worker {
    pub(crate) config: Config,
    pub(crate) aws: Aws,
    pub(crate) table: Table,
    pub(crate) recorder: Recorder,
    pub(crate) queues: Queues,
}

/// Which of the looks that a message gives this is.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// The last.
    pub last_chance: bool,
}

/// Why a message has to come again.
#[derive(Debug, thiserror::Error)]
pub enum Unfinished {
    /// The message is no work of this function.
    #[error("not a range of parts: {0}")]
    Unreadable(String),
    /// The object failed, and another attempt may help.
    #[error(transparent)]
    Object(#[from] Fault),
    /// The invocation's time was nearly up. What is copied stays copied.
    #[error("no time for the rest of the range")]
    NoTime,
    /// The table or a queue failed.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

impl Worker {
    /// Reads the environment and builds the clients.
    pub async fn start() -> Result<Self, Error> {
        let config = Config::from_environment()?;
        let aws = Aws::from_environment(config.account_id.clone()).await?;
        let table = Table::new(&aws, &config.rule_table);
        Ok(Self {
            recorder: Recorder::new(&aws, table.clone()),
            table,
            queues: Queues::new(&aws),
            config,
            aws,
        })
    }

    /// Handles one invocation.
    pub async fn handle(&self, invocation: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
        let deadline = Deadline::of(invocation.context.deadline());
        self.aws.begin(deadline);
        let mut told = None;
        let mut failed = Vec::new();
        let attempts = Attempts {
            table: &self.table,
            queues: &self.queues,
            config: &self.config,
        };
        let opened = attempts.open(invocation.payload).await;
        for message in &opened.messages {
            match self.work(message, deadline).await {
                Ok(answer) => told = answer.or(told),
                Err(unfinished) => {
                    tracing::warn!(error = %unfinished, "the work has to come again");
                    self.put_off(message, &unfinished).await;
                    failed.push((message, unfinished));
                }
            }
        }
        write_requests("copy-parts", &self.aws.take_request_counts(), now());
        match (failed.first(), told) {
            (Some((Message { envelope: None, .. }, unfinished)), _) => Err(Diagnostic {
                error_type: "Unfinished".to_owned(),
                error_message: unfinished.to_string(),
            }),
            (None, Some(told)) => Ok(told),
            _ => Ok(json!(
                opened.answer(failed.iter().map(|(message, _)| *message))
            )),
        }
    }

    /// Does what a message says; answers what there is to tell whoever sent it by hand.
    async fn work(
        &self,
        message: &Message,
        deadline: Deadline,
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
                let look = Look {
                    last_chance: message.is_last(),
                };
                let range = RangeMessage {
                    key: &key,
                    transfer_id: &transfer_id,
                    index: range,
                    overwrite,
                    is_redelivery: message.is_redelivery(),
                };
                self.copy_range(&rule_id, range, (look, deadline)).await?;
                Ok(None)
            }
            PartWork::Sweep {
                rule_id,
                older_than_secs,
            } => {
                let swept = self
                    .sweep(rule_id.as_ref(), older_than_secs, deadline)
                    .await?;
                Ok(Some(json!(swept)))
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
            Unfinished::Unreadable(_) => ComesAgain::UNREADABLE,
            Unfinished::Aws(_) | Unfinished::NoTime => ComesAgain::after_retries(envelope.attempt),
        };
        postpone(&self.queues, &self.config, envelope, again).await;
    }
}
