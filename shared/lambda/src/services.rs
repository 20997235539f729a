//! The configuration, clients and caches of a function, built once. Implements the ports of
//! [`tandem_replication::key_attempt`] and [`tandem_replication::deferral`] with the table and the work queue.

use tandem_aws::dynamodb::table::Table;
use tandem_aws::eventbridge::event_bus::EventBus;
use tandem_aws::s3::s3_pair::S3Pair;
use tandem_aws::sqs::Queues;
use tandem_aws::{Aws, AwsError};
use tandem_replication::Timestamp;
use tandem_replication::deferral::{DeferredKey, DeferredKeys, ReplayMark, Rules};
use tandem_replication::failure_record::{Cleared, FailureRecords, FailureRevision, Recorded};
use tandem_replication::fault::Fault;
use tandem_replication::names::{BucketName, ObjectKey, RuleId};
use tandem_replication::overwrite::Overwrite;
use tandem_replication::rule::Rule;
use tandem_replication::rule_memory::{BucketRules, Known};
use tandem_replication::work::Work;
use uuid::Uuid;

use crate::config::Config;
use crate::put_hints::PutHints;
use crate::rule_cache::RuleCache;
use crate::runtime::{Error, now};
use crate::sqs_batch::SECOND_ATTEMPT_AFTER;

/// The stack as a function sees it: its configuration, its clients and the caches of this process.
#[derive(Debug)]
pub struct Services {
    /// The configuration from the environment.
    pub config: Config,
    /// The clients of S3 and of the other services.
    pub aws: Aws,
    /// The table.
    pub table: Table,
    /// The queues.
    pub queues: Queues,
    /// The rules that this process read a few seconds ago.
    pub rules: RuleCache,
    /// The event bus on which failures are published.
    pub bus: EventBus,
    /// What this process has learned about each rule's replicas.
    pub put_hints: PutHints,
}

impl Services {
    /// Reads the environment and builds the clients.
    ///
    /// # Errors
    ///
    /// If an environment variable is missing or invalid.
    pub async fn start() -> Result<Self, Error> {
        let config = Config::from_environment()?;
        let aws = Aws::from_environment(config.account_id.clone()).await?;
        let table = Table::new(&aws, &config.rule_table);
        Ok(Self {
            queues: Queues::new(&aws),
            rules: RuleCache::new(table.clone()),
            bus: EventBus::new(&aws),
            put_hints: PutHints::default(),
            config,
            aws,
            table,
        })
    }

    /// Sends work to the work queue.
    ///
    /// # Errors
    ///
    /// If the queue does not accept the message.
    pub async fn send_work(&self, work: &Work) -> Result<(), AwsError> {
        self.queues.send(&self.config.work_queue_url, work).await
    }
}

/// Returns a key to be deferred now, with a token of its own.
pub fn deferred_key(key: &ObjectKey, changed_at: Timestamp, overwrite: Overwrite) -> DeferredKey {
    DeferredKey {
        key: key.clone(),
        changed_at,
        token: Uuid::now_v7().to_string(),
        overwrite,
        own: None,
    }
}

impl BucketRules for Services {
    type Error = AwsError;

    fn remembered(&self, bucket: &BucketName) -> Option<Known> {
        self.rules.remembered(bucket)
    }

    async fn read(&self, bucket: &BucketName) -> Result<Known, AwsError> {
        self.rules.fresh(bucket).await
    }
}

impl Rules for Services {
    type Error = AwsError;

    fn remembered_rule(&self, rule: &RuleId) -> Option<Rule> {
        self.rules.remembered_rule(rule)
    }

    async fn read_rule(&self, rule: &RuleId) -> Result<Option<Rule>, AwsError> {
        self.rules.read_rule(rule).await
    }
}

impl DeferredKeys for Services {
    async fn put_deferred(&self, rule: &RuleId, key: &DeferredKey) -> Result<(), AwsError> {
        self.table.put_deferred(rule, key).await
    }

    async fn remove_deferred(&self, rule: &RuleId, key: &DeferredKey) -> Result<(), AwsError> {
        self.table.remove_deferred(rule, key).await
    }

    async fn deferred(
        &self,
        rule: &RuleId,
        partition: u8,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<DeferredKey>, AwsError> {
        self.table.deferred_keys(rule, partition, after).await
    }

    async fn replay_mark(
        &self,
        rule: &RuleId,
        partition: u8,
    ) -> Result<Option<ReplayMark>, AwsError> {
        self.table.replay_mark(rule, partition).await
    }

    async fn mark_replay(&self, rule: &Rule, partition: u8) -> Result<(), AwsError> {
        let mark = ReplayMark {
            revision: rule.revision,
            at: now(),
        };
        self.table.mark_replay(&rule.id, partition, &mark).await
    }

    async fn send_second_attempt(&self, rule: &RuleId, key: &DeferredKey) -> Result<(), AwsError> {
        let work = Work::Object {
            rule_id: rule.clone(),
            key: key.key.clone(),
            event_time: key.changed_at,
            overwrite: key.overwrite,
            own: key.own.clone(),
            hops: 0,
        };
        let queue_url = &self.config.work_queue_url;
        self.queues
            .send_later(queue_url, &work, SECOND_ATTEMPT_AFTER)
            .await
    }

    async fn send_replay(&self, rule: &RuleId, partition: u8) -> Result<(), AwsError> {
        let work = Work::Deferred {
            rule_id: rule.clone(),
            partition,
            hops: 0,
        };
        self.send_work(&work).await
    }
}

impl FailureRecords for Services {
    async fn explain(&self, rule: &Rule, key: &ObjectKey, fault: Fault) -> Fault {
        let pair = S3Pair::of_rule(&self.aws, &self.table, rule);
        pair.explained(key, fault).await
    }

    async fn failure_revision(
        &self,
        rule: &RuleId,
        key: &ObjectKey,
    ) -> Result<Option<FailureRevision>, Fault> {
        let read = self.table.failure_revision(rule, key).await;
        read.map_err(AwsError::into_fault)
    }

    async fn record_failure(
        &self,
        rule: &Rule,
        key: &ObjectKey,
        fault: &Fault,
        overwrite: Overwrite,
    ) -> Result<Recorded, Fault> {
        let record = self
            .table
            .record_failure(&rule.id, key, fault, overwrite, now())
            .await
            .map_err(AwsError::into_fault)?;
        self.bus
            .tell_failure(rule, &record)
            .await
            .map_err(AwsError::into_fault)?;
        Ok(if record.item.attempts == 1 {
            Recorded::First
        } else {
            Recorded::Again
        })
    }

    async fn clear_failure(
        &self,
        rule: &RuleId,
        key: &ObjectKey,
        seen: &FailureRevision,
    ) -> Result<Cleared, Fault> {
        let cleared = self.table.clear_failure(rule, key, seen).await;
        cleared.map_err(AwsError::into_fault)
    }
}
