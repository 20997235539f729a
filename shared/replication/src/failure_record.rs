//! When an object's failure is recorded, and when a success clears the record. No I/O.
//!
//! A failure is recorded before its message is acknowledged. A success clears only the record that the attempt saw
//! before it read the source: a record that was written since may be of a newer failure.

use std::future::Future;

use serde::{Deserialize, Serialize};

use crate::fault::{Disposition, Fault, Reason};
use crate::names::{ObjectKey, RuleId};
use crate::overwrite::Overwrite;
use crate::rule::Rule;

/// Identifies one write of a failure record. No two writes have the same revision.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FailureRevision(String);

impl FailureRevision {
    /// Creates a revision from its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether an object had a record before its failure was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// The object had no record. Other processes may not know yet that it has one now.
    First,
    /// The object already had a record.
    Again,
}

/// The result of clearing a record after a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleared {
    /// The record is gone.
    Gone,
    /// The record was written again since it was seen, so it stays.
    Changed,
}

/// The failure records of a rule's objects.
pub trait FailureRecords {
    /// Returns the failure with the reason that only further requests to S3 can find out. Called once for a failure
    /// that is recorded.
    fn explain(
        &self,
        _rule: &Rule,
        _key: &ObjectKey,
        fault: Fault,
    ) -> impl Future<Output = Fault> + Send {
        std::future::ready(fault)
    }

    /// Returns the revision of an object's record, if it has one. The read is strongly consistent.
    fn failure_revision(
        &self,
        rule: &RuleId,
        key: &ObjectKey,
    ) -> impl Future<Output = Result<Option<FailureRevision>, Fault>> + Send;

    /// Writes an object's record under a new revision and publishes the failure. Both are durable when this
    /// returns. Repeat-safe.
    fn record_failure(
        &self,
        rule: &Rule,
        key: &ObjectKey,
        fault: &Fault,
        overwrite: Overwrite,
    ) -> impl Future<Output = Result<Recorded, Fault>> + Send;

    /// Deletes an object's record if it still has the revision `seen`. Atomic and repeat-safe: a record that is
    /// gone already is [`Cleared::Gone`].
    fn clear_failure(
        &self,
        rule: &RuleId,
        key: &ObjectKey,
        seen: &FailureRevision,
    ) -> impl Future<Output = Result<Cleared, Fault>> + Send;
}

/// Whether the message of an attempt is delivered again if it is not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Redelivery {
    /// It is delivered again.
    Follows,
    /// This was its last delivery: the message goes to the dead-letter queue.
    WasTheLast,
    /// There is no message: a person invoked the function by hand.
    ByHand,
}

/// How an attempt to replicate an object ended, and what is needed to update the record.
#[derive(Debug)]
pub struct Attempt<T> {
    /// How it ended.
    pub ended: Result<T, Fault>,
    /// The revision of the object's record before the attempt read the source.
    pub seen: Option<FailureRevision>,
    /// Whether another attempt follows even if nothing is recorded.
    pub redelivery: Redelivery,
    /// What the attempt may replace.
    pub overwrite: Overwrite,
}

/// An attempt that did not succeed.
#[derive(Debug)]
pub enum Unsuccessful {
    /// The failure is recorded, and another attempt would not help.
    Parked {
        /// The failure.
        fault: Fault,
        /// Whether there was a record before.
        recorded: Recorded,
    },
    /// The attempt has to be repeated.
    TryAgain(Fault),
}

impl Unsuccessful {
    /// Returns the failure itself.
    pub fn into_fault(self) -> Fault {
        match self {
            Self::Parked { fault, .. } | Self::TryAgain(fault) => fault,
        }
    }
}

/// Returns whether a parked object is attempted once more. In the meantime another process may have replicated the
/// object without knowing about the record that it had to clear (decision 13).
pub fn needs_a_second_attempt(recorded: Recorded, redelivery: Redelivery) -> bool {
    recorded == Recorded::First && redelivery == Redelivery::Follows
}

/// A success, and whether its record was cleared.
pub(crate) struct Success<T> {
    pub(crate) value: T,
    pub(crate) cleared: Cleared,
}

impl<T> Success<T> {
    /// Returns the success. If a record was written in the meantime and the message can be delivered again, returns an
    /// error, so that another attempt finds out whether that record still applies.
    pub(crate) fn unless_failed_meanwhile(
        self,
        key: &ObjectKey,
        redelivery: Redelivery,
    ) -> Result<T, Unsuccessful> {
        match (self.cleared, redelivery) {
            (Cleared::Changed, Redelivery::Follows) => {
                Err(Unsuccessful::TryAgain(failed_meanwhile(key)))
            }
            _ => Ok(self.value),
        }
    }
}

/// Updates an object's record after an attempt. A failure is recorded if it is parked, or if no other delivery
/// follows. If it cannot be recorded, the attempt has to be repeated, so that no message is acknowledged before its
/// failure is stored.
pub async fn keep<R: FailureRecords, T>(
    records: &R,
    rule: &Rule,
    key: &ObjectKey,
    attempt: Attempt<T>,
) -> Result<T, Unsuccessful> {
    let redelivery = attempt.redelivery;
    let success = clear_or_record(records, rule, key, attempt).await?;
    success.unless_failed_meanwhile(key, redelivery)
}

/// Does the same as [`keep`], and also returns whether another attempt failed in the meantime.
pub(crate) async fn clear_or_record<R: FailureRecords, T>(
    records: &R,
    rule: &Rule,
    key: &ObjectKey,
    attempt: Attempt<T>,
) -> Result<Success<T>, Unsuccessful> {
    let fault = match attempt.ended {
        Ok(value) => {
            let cleared = match &attempt.seen {
                Some(seen) => records.clear_failure(&rule.id, key, seen).await,
                None => Ok(Cleared::Gone),
            };
            let cleared = cleared.map_err(Unsuccessful::TryAgain)?;
            return Ok(Success { value, cleared });
        }
        Err(fault) => fault,
    };
    let parked = fault.disposition() == Disposition::Park;
    if !parked && attempt.redelivery != Redelivery::WasTheLast {
        return Err(Unsuccessful::TryAgain(fault));
    }
    let fault = records.explain(rule, key, fault).await;
    let recorded = records
        .record_failure(rule, key, &fault, attempt.overwrite)
        .await
        .map_err(Unsuccessful::TryAgain)?;
    Err(if parked {
        Unsuccessful::Parked { fault, recorded }
    } else {
        Unsuccessful::TryAgain(fault)
    })
}

fn failed_meanwhile(key: &ObjectKey) -> Fault {
    Fault::because(
        Reason::KeptChanging,
        format!(
            "cannot settle {:?}: another attempt at it failed in the meantime; it is tried again",
            key.as_str()
        ),
    )
}
