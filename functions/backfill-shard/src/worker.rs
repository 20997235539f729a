//! One message of the work queue, from its JSON to its acknowledgement.

use std::time::Duration;

use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use tandem_aws::queues::Queues;
use tandem_aws::s3_pair::S3Pair;
use tandem_aws::table::Table;
use tandem_aws::{Aws, AwsError};
use tandem_lambda::config::Config;
use tandem_lambda::expectations::Expectations;
use tandem_lambda::inbox::{ComesAgain, Message, answer, open};
use tandem_lambda::measure::write_requests;
use tandem_lambda::postpone::postpone;
use tandem_lambda::record::Recorder;
use tandem_lambda::rule_cache::RuleCache;
use tandem_lambda::runtime::{Deadline, Error, now};
use tandem_replication::fault::Fault;
use tandem_replication::names::{JobId, RuleId};
use tandem_replication::replicator::Replicator;
use tandem_replication::rule::Rule;
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

/// Why a piece of work has to come again.
#[derive(Debug, thiserror::Error)]
pub enum Unfinished {
    /// The message is not work.
    #[error("not a piece of work: {0}")]
    Unreadable(String),
    /// Another worker is at the same shard.
    #[error("another worker has moved shard {shard} of {job} on")]
    Overtaken {
        /// The job.
        job: String,
        /// The shard.
        shard: u32,
    },
    /// One object failed, and another attempt may help.
    #[error(transparent)]
    Object(#[from] Fault),
    /// There was no turn for an object before the invocation's time was nearly up.
    #[error("no turn in time")]
    NoTurn,
    /// One object failed for good, of which there was no record: it is looked at once more.
    #[error("{0}")]
    Doubted(Fault),
    /// The table, a queue or a listing failed.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

/// Which of the looks that a message gives this is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// Not the last, if the message is kept.
    pub comes_again: bool,
    /// The last.
    pub last_chance: bool,
    /// Not the first: whoever had the message before may have died in the middle of it.
    pub is_another: bool,
    /// How often the message was received.
    pub receives: u32,
}

/// A shard to be carried on.
pub(crate) struct ShardWork<'a> {
    /// The piece of work, as its message has it.
    pub(crate) work: &'a Work,
    pub(crate) rule_id: &'a RuleId,
    pub(crate) job_id: &'a JobId,
    /// Which of the job's shards.
    pub(crate) index: u32,
    pub(crate) look: Look,
    pub(crate) deadline: Deadline,
    /// Who does it: the invocation.
    pub(crate) visitor: &'a str,
    /// The message that brought it, if one did.
    pub(crate) message: Option<&'a str>,
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
        let visitor = invocation.context.request_id;
        let messages = open(invocation.payload);
        let mut failed = Vec::new();
        for message in &messages {
            if let Err(unfinished) = self.work(message, &visitor, deadline).await {
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
            _ => Ok(json!(answer(
                failed
                    .iter()
                    .filter_map(|(message, _)| message.envelope.as_ref())
            ))),
        }
    }

    async fn work(
        &self,
        message: &Message,
        visitor: &str,
        deadline: Deadline,
    ) -> Result<(), Unfinished> {
        let body = message.body.clone().map_err(Unfinished::Unreadable)?;
        let work = serde_json::from_value(body)
            .map_err(|error| Unfinished::Unreadable(error.to_string()))?;
        let look = Look {
            comes_again: message.envelope.is_some()
                && message.receives() < self.config.receives_max,
            last_chance: message.receives() >= self.config.receives_max,
            is_another: message.receives() > 1,
            receives: message.receives(),
        };
        match &work {
            Work::Shard {
                rule_id,
                job_id,
                shard,
            } => {
                let envelope = message.envelope.as_ref();
                let work = ShardWork {
                    work: &work,
                    rule_id,
                    job_id,
                    index: *shard,
                    look,
                    deadline,
                    visitor,
                    message: envelope.map(|envelope| envelope.message_id.as_str()),
                };
                self.carry_shard_on(&work).await
            }
            Work::Held { rule_id, partition } => {
                self.release_held(&work, rule_id, *partition, look, deadline)
                    .await
            }
            Work::Object {
                rule_id,
                key,
                event_time,
                overwrite,
            } => {
                self.carry_object(rule_id, key, *event_time, *overwrite, look)
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
            Unfinished::Object(fault) if envelope.receives >= self.config.receives_max => {
                ComesAgain::for_the_last_time(fault)
            }
            Unfinished::Object(fault) => ComesAgain::after_fault(fault, envelope.receives),
            Unfinished::Doubted(_) => ComesAgain::SECOND_LOOK,
            Unfinished::Unreadable(_) => ComesAgain::UNREADABLE,
            Unfinished::Overtaken { .. } | Unfinished::Aws(_) | Unfinished::NoTurn => {
                ComesAgain::after_retries(envelope.receives)
            }
        };
        postpone(&self.queues, &self.config, envelope, again).await;
    }

    /// A replicator for objects of any size.
    pub(crate) fn replicator<'a>(
        &self,
        pair: &'a S3Pair,
        rule: &'a Rule,
    ) -> Replicator<'a, S3Pair> {
        Replicator::new(pair, rule.policy, &rule.options, self.config.work_limits())
    }
}
