//! The failure record of one object: written when it fails for good, cleared when it succeeds.

use tandem_aws::AwsError;
use tandem_aws::table::Table;
use tandem_replication::fault::{Disposition, Fault, Reason};
use tandem_replication::names::{ObjectKey, RuleId};

use crate::runtime::now;

/// Where an object's failure would be recorded.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The table.
    pub table: &'a Table,
    /// The object's rule.
    pub rule: &'a RuleId,
    /// The object.
    pub key: &'a ObjectKey,
}

/// An attempt that did not succeed.
#[derive(Debug)]
pub enum Unsuccessful {
    /// It is recorded, and another attempt would not help.
    Parked(Fault),
    /// It has to be tried again.
    TryAgain(Fault),
}

impl Record<'_> {
    /// Brings the record up to date with how an attempt ended. A failure is recorded where it is parked, or
    /// where this was the `last_chance`; a success clears the record if there may be one. What cannot be
    /// recorded has to be tried again, so that nothing is acknowledged before it is kept.
    pub async fn keep<T>(
        &self,
        attempt: Result<T, Fault>,
        may_have_failed: bool,
        last_chance: bool,
    ) -> Result<T, Unsuccessful> {
        let unrecorded = |error| Unsuccessful::TryAgain(table_fault(error));
        let fault = match attempt {
            Ok(success) => {
                if may_have_failed {
                    self.table
                        .clear_failure(self.rule, self.key)
                        .await
                        .map_err(unrecorded)?;
                }
                return Ok(success);
            }
            Err(fault) => fault,
        };
        let parked = fault.disposition() == Disposition::Park;
        if parked || last_chance {
            self.table
                .record_failure(self.rule, self.key, &fault, now())
                .await
                .map_err(unrecorded)?;
        }
        Err(if parked {
            Unsuccessful::Parked(fault)
        } else {
            Unsuccessful::TryAgain(fault)
        })
    }
}

/// A failure of our own table or queues: always worth another attempt.
pub fn table_fault(error: AwsError) -> Fault {
    Fault::new(Reason::ServiceFailed, error.to_string(), error)
}
