//! The ports of one key's life ([`tandem_replication::key_attempt`], [`tandem_replication::deferral`]), over the
//! table and the work queue.

use tandem_aws::AwsError;
use tandem_aws::queues::Queues;
use tandem_aws::table::Table;
use tandem_replication::Timestamp;
use tandem_replication::deferral::{
    DeferredKey, DeferredKeys, REPLAY_STALLED_AFTER, ReplayMark, Rules, send_replays,
};
use tandem_replication::failure_record::{Cleared, FailureRecords, FailureRevision, Recorded};
use tandem_replication::fault::Fault;
use tandem_replication::names::{BucketName, ObjectKey, RuleId};
use tandem_replication::overwrite::Overwrite;
use tandem_replication::rule::Rule;
use tandem_replication::rule_memory::{BucketRules, Known};
use tandem_replication::work::Work;
use uuid::Uuid;

use crate::config::Config;
use crate::inbox::SECOND_ATTEMPT_SECS;
use crate::record::Recorder;
use crate::rule_cache::RuleCache;
use crate::runtime::now;

/// The deferred keys of all rules.
#[derive(Debug, Clone)]
pub struct Deferrals {
    table: Table,
    rules: RuleCache,
    queues: Queues,
    work_queue_url: String,
}

impl Deferrals {
    /// In `table`, replayed by messages of the work queue. Shares what `rules` remembers.
    pub fn new(table: &Table, rules: &RuleCache, queues: &Queues, config: &Config) -> Self {
        Self {
            table: table.clone(),
            rules: rules.clone(),
            queues: queues.clone(),
            work_queue_url: config.work_queue_url.clone(),
        }
    }
}

/// A key as it is deferred now, under a token of its own.
pub fn deferred_key(key: &ObjectKey, changed_at: Timestamp, overwrite: Overwrite) -> DeferredKey {
    DeferredKey {
        key: key.clone(),
        changed_at,
        token: Uuid::now_v7().to_string(),
        overwrite,
        own: None,
    }
}

/// Replays what an enabled rule has deferred, for hourly maintenance: sends a message for each partition with
/// deferred keys whose replay has stopped, or was never sent because the resume died. Returns how many it sent.
pub async fn replay_deferred(
    table: &Table,
    queues: &Queues,
    config: &Config,
    rule: &Rule,
) -> Result<u32, AwsError> {
    let rules = RuleCache::new(table.clone());
    let deferrals = Deferrals::new(table, &rules, queues, config);
    send_replays(&deferrals, rule, now(), REPLAY_STALLED_AFTER).await
}

impl Rules for Deferrals {
    type Error = AwsError;

    fn remembered_rule(&self, rule: &RuleId) -> Option<Rule> {
        self.rules.remembered_rule(rule)
    }

    async fn read_rule(&self, rule: &RuleId) -> Result<Option<Rule>, AwsError> {
        self.rules.read_rule(rule).await
    }
}

impl DeferredKeys for Deferrals {
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
        let delay_secs = SECOND_ATTEMPT_SECS;
        self.queues
            .send_later(&self.work_queue_url, &work, delay_secs)
            .await
    }

    async fn send_replay(&self, rule: &RuleId, partition: u8) -> Result<(), AwsError> {
        let work = Work::Held {
            rule_id: rule.clone(),
            partition,
            hops: 0,
        };
        self.queues.send(&self.work_queue_url, &work).await
    }
}

/// All that one key's life needs: rules, deferred keys and failure records.
#[derive(Debug, Clone)]
pub struct KeyStore {
    rules: RuleCache,
    deferrals: Deferrals,
    recorder: Recorder,
}

impl KeyStore {
    /// Over these.
    pub fn new(rules: RuleCache, deferrals: Deferrals, recorder: Recorder) -> Self {
        Self {
            rules,
            deferrals,
            recorder,
        }
    }
}

impl BucketRules for KeyStore {
    type Error = AwsError;

    fn remembered(&self, bucket: &BucketName) -> Option<Known> {
        self.rules.remembered(bucket)
    }

    async fn read(&self, bucket: &BucketName) -> Result<Known, AwsError> {
        self.rules.fresh(bucket).await
    }
}

impl Rules for KeyStore {
    type Error = AwsError;

    fn remembered_rule(&self, rule: &RuleId) -> Option<Rule> {
        self.deferrals.remembered_rule(rule)
    }

    async fn read_rule(&self, rule: &RuleId) -> Result<Option<Rule>, AwsError> {
        self.deferrals.read_rule(rule).await
    }
}

impl DeferredKeys for KeyStore {
    async fn put_deferred(&self, rule: &RuleId, key: &DeferredKey) -> Result<(), AwsError> {
        self.deferrals.put_deferred(rule, key).await
    }

    async fn remove_deferred(&self, rule: &RuleId, key: &DeferredKey) -> Result<(), AwsError> {
        self.deferrals.remove_deferred(rule, key).await
    }

    async fn deferred(
        &self,
        rule: &RuleId,
        partition: u8,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<DeferredKey>, AwsError> {
        self.deferrals.deferred(rule, partition, after).await
    }

    async fn replay_mark(
        &self,
        rule: &RuleId,
        partition: u8,
    ) -> Result<Option<ReplayMark>, AwsError> {
        self.deferrals.replay_mark(rule, partition).await
    }

    async fn mark_replay(&self, rule: &Rule, partition: u8) -> Result<(), AwsError> {
        self.deferrals.mark_replay(rule, partition).await
    }

    async fn send_second_attempt(&self, rule: &RuleId, key: &DeferredKey) -> Result<(), AwsError> {
        self.deferrals.send_second_attempt(rule, key).await
    }

    async fn send_replay(&self, rule: &RuleId, partition: u8) -> Result<(), AwsError> {
        self.deferrals.send_replay(rule, partition).await
    }
}

impl FailureRecords for KeyStore {
    async fn failure_revision(
        &self,
        rule: &RuleId,
        key: &ObjectKey,
    ) -> Result<Option<FailureRevision>, Fault> {
        self.recorder.failure_revision(rule, key).await
    }

    async fn record_failure(
        &self,
        rule: &Rule,
        key: &ObjectKey,
        fault: &Fault,
        overwrite: Overwrite,
    ) -> Result<Recorded, Fault> {
        self.recorder
            .record_failure(rule, key, fault, overwrite)
            .await
    }

    async fn clear_failure(
        &self,
        rule: &RuleId,
        key: &ObjectKey,
        seen: &FailureRevision,
    ) -> Result<Cleared, Fault> {
        self.recorder.clear_failure(rule, key, seen).await
    }
}
