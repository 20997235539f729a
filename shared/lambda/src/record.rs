//! The failure records: written, and told to the event bus, when an object fails for good; cleared when it
//! succeeds.

use tandem_aws::event_bus::EventBus;
use tandem_aws::table::Table;
use tandem_aws::{Aws, AwsError};
use tandem_replication::fault::{Disposition, Fault};
use tandem_replication::names::ObjectKey;
use tandem_replication::overwrite::Overwrite;
use tandem_replication::rule::Rule;

use crate::runtime::now;

/// Keeps the failure records of all rules.
#[derive(Debug, Clone)]
pub struct Recorder {
    table: Table,
    bus: EventBus,
}

/// How an attempt to replicate an object ended, and what that depends on.
#[derive(Debug)]
pub struct Attempt<T> {
    /// How it ended.
    pub ended: Result<T, Fault>,
    /// Whether there may be a record that a success has to clear.
    pub may_have_failed: bool,
    /// Whether no other attempt follows by itself.
    pub last_chance: bool,
    /// What it might replace.
    pub overwrite: Overwrite,
}

/// An attempt that did not succeed.
#[derive(Debug)]
pub enum Unsuccessful {
    /// It is recorded, and another attempt would not help.
    Parked {
        /// The failure.
        fault: Fault,
        /// Whether there was no record of it before: somebody may not know yet that there is one now.
        is_news: bool,
    },
    /// It has to be tried again.
    TryAgain(Fault),
}

impl Unsuccessful {
    /// The failure itself.
    pub fn into_fault(self) -> Fault {
        match self {
            Self::Parked { fault, .. } | Self::TryAgain(fault) => fault,
        }
    }
}

impl Recorder {
    /// Records in `table`.
    pub fn new(aws: &Aws, table: Table) -> Self {
        Self {
            table,
            bus: EventBus::new(aws),
        }
    }

    /// Brings an object's record up to date with how an attempt ended. A failure is recorded where it is
    /// parked, or where this was the last chance. What cannot be recorded and told has to be tried again,
    /// so that nothing is acknowledged before it is kept.
    pub async fn keep<T>(
        &self,
        rule: &Rule,
        key: &ObjectKey,
        attempt: Attempt<T>,
    ) -> Result<T, Unsuccessful> {
        let unrecorded = |error: AwsError| Unsuccessful::TryAgain(error.into_fault());
        let fault = match attempt.ended {
            Ok(success) => {
                if attempt.may_have_failed {
                    self.table
                        .clear_failure(&rule.id, key)
                        .await
                        .map_err(unrecorded)?;
                }
                return Ok(success);
            }
            Err(fault) => fault,
        };
        let parked = fault.disposition() == Disposition::Park;
        if !parked && !attempt.last_chance {
            return Err(Unsuccessful::TryAgain(fault));
        }
        let record = self
            .table
            .record_failure(&rule.id, key, &fault, attempt.overwrite, now())
            .await
            .map_err(unrecorded)?;
        self.bus
            .tell_failure(rule, &record)
            .await
            .map_err(unrecorded)?;
        Err(if parked {
            let is_news = record.item.attempts == 1;
            Unsuccessful::Parked { fault, is_news }
        } else {
            Unsuccessful::TryAgain(fault)
        })
    }
}
