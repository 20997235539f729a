//! Caches rules for a few seconds, so that a healthy change costs no read of the table.

use std::sync::{Arc, Mutex, PoisonError};

use tandem_aws::AwsError;
use tandem_aws::clock::Clock;
use tandem_aws::dynamodb::table::Table;
use tandem_replication::names::{BucketName, RuleId};
use tandem_replication::rule::Rule;
use tandem_replication::rule_memory::RuleMemory;

pub use tandem_replication::rule_memory::Known;

/// Reads rules and caches them. Clones share the cache.
#[derive(Debug, Clone)]
pub struct RuleCache {
    table: Table,
    clock: Clock,
    by_bucket: Arc<Mutex<RuleMemory<BucketName, Known>>>,
    by_id: Arc<Mutex<RuleMemory<RuleId, Rule>>>,
}

impl RuleCache {
    /// Returns an empty cache over `table`.
    pub fn new(table: Table) -> Self {
        Self {
            table,
            clock: Clock::default(),
            by_bucket: Arc::default(),
            by_id: Arc::default(),
        }
    }

    /// Returns the cached value if it is at most a few seconds old, or reads it from the table.
    pub async fn recent(&self, bucket: &BucketName) -> Result<Known, AwsError> {
        match self.remembered(bucket) {
            Some(known) => Ok(known),
            None => self.fresh(bucket).await,
        }
    }

    /// Returns the cached value for the bucket's rule, unless it is too old.
    pub fn remembered(&self, bucket: &BucketName) -> Option<Known> {
        let known = self.by_bucket.lock();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        known.recall(bucket, self.clock.now())
    }

    /// Reads the bucket's rule from the table, and whether it has failures.
    pub async fn fresh(&self, bucket: &BucketName) -> Result<Known, AwsError> {
        let read_at = self.clock.now();
        let rule = self.table.rule_from(bucket).await?;
        let has_failures = match &rule {
            Some(rule) => self.table.has_failures(&rule.id).await?,
            None => false,
        };
        let read = Known {
            rule: rule.map(Arc::new),
            has_failures,
        };
        let known = self.by_bucket.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        known.remember(bucket.clone(), read_at, read.clone());
        Ok(read)
    }

    /// Returns the cached rule with this id, unless it is too old.
    pub fn remembered_rule(&self, rule: &RuleId) -> Option<Rule> {
        let known = self.by_id.lock();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        known.recall(rule, self.clock.now())
    }

    /// Reads the rule with this id from the table.
    pub async fn read_rule(&self, id: &RuleId) -> Result<Option<Rule>, AwsError> {
        let read_at = self.clock.now();
        let rule = self.table.rule(id).await?;
        if let Some(rule) = &rule {
            let known = self.by_id.lock();
            let mut known = known.unwrap_or_else(PoisonError::into_inner);
            known.remember(id.clone(), read_at, rule.clone());
        }
        Ok(rule)
    }
}
