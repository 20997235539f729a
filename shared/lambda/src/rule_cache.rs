//! The rule of a bucket, remembered for a few seconds, so that a healthy change costs no read of the table.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tandem_aws::AwsError;
use tandem_aws::table::Table;
use tandem_replication::names::BucketName;
use tandem_replication::rule::Rule;

/// How long a rule is believed to be what it was: a change of a rule takes effect within this time.
pub const RULE_CACHE_TTL: Duration = Duration::from_secs(5);

/// What was known of a bucket's rule at some instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The rule that replicates from the bucket.
    pub rule: Option<Arc<Rule>>,
    /// Whether any of its objects has failed; then a success has a record to clear.
    pub has_failures: bool,
}

/// Looks rules up by source bucket.
#[derive(Debug)]
pub struct RuleCache {
    table: Table,
    known: Mutex<HashMap<BucketName, (Instant, Known)>>,
}

impl RuleCache {
    /// An empty cache over `table`.
    pub fn new(table: Table) -> Self {
        Self {
            table,
            known: Mutex::default(),
        }
    }

    /// What was known no longer than [`RULE_CACHE_TTL`] ago.
    pub async fn recent(&self, bucket: &BucketName) -> Result<Known, AwsError> {
        let cached = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(bucket)
            .cloned();
        match cached {
            Some((at, known)) if at.elapsed() < RULE_CACHE_TTL => Ok(known),
            _ => self.fresh(bucket).await,
        }
    }

    /// What is known now.
    pub async fn fresh(&self, bucket: &BucketName) -> Result<Known, AwsError> {
        let read_at = Instant::now();
        let rule = self.table.rule_from(bucket).await?;
        let has_failures = match &rule {
            Some(rule) => self.table.has_failures(&rule.id).await?,
            None => false,
        };
        let known = Known {
            rule: rule.map(Arc::new),
            has_failures,
        };
        let mut cache = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        cache.insert(bucket.clone(), (read_at, known.clone()));
        Ok(known)
    }
}
