//! The failure records: written, and published on the event bus, when an object fails for good; cleared when it
//! succeeds. What is decided about them is in [`tandem_replication::failure_record`].

use tandem_aws::dynamodb::failures::SeenFailures;
use tandem_aws::dynamodb::table::Table;
use tandem_aws::eventbridge::event_bus::EventBus;
use tandem_aws::{Aws, AwsError};
use tandem_replication::failure_record::{
    Cleared, FailureRecords, FailureRevision, Recorded, keep,
};
use tandem_replication::fault::Fault;
use tandem_replication::names::{ObjectKey, RuleId};
use tandem_replication::overwrite::Overwrite;
use tandem_replication::rule::Rule;

pub use tandem_replication::failure_record::{Attempt, Redelivery, Unsuccessful};

use crate::runtime::now;

/// Keeps the failure records of all rules.
#[derive(Debug, Clone)]
pub struct Recorder {
    table: Table,
    bus: EventBus,
}

impl Recorder {
    /// Records in `table`.
    pub fn new(aws: &Aws, table: Table) -> Self {
        Self {
            table,
            bus: EventBus::new(aws),
        }
    }

    /// Brings an object's record up to date with how an attempt ended.
    pub async fn keep<T>(
        &self,
        rule: &Rule,
        key: &ObjectKey,
        attempt: Attempt<T>,
    ) -> Result<T, Unsuccessful> {
        keep(self, rule, key, attempt).await
    }

    /// Returns the first records of keys from `from` on. Read before the source of these keys is, they say which
    /// records their successes may clear.
    pub async fn seen_from(&self, rule: &RuleId, from: &str) -> Result<SeenFailures, AwsError> {
        self.table.failure_revisions(rule, from).await
    }
}

impl FailureRecords for Recorder {
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
