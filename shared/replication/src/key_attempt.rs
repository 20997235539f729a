//! One key, from its message to the decision whether the message may be acknowledged. No I/O.
//!
//! The functions and the search in `tests/key_lifecycle.rs` call this module. `carry` stands for the per-key protocol
//! of [`crate::replicator`], which handles one key under one rule and has its own search.

use std::sync::Arc;

use crate::admit::{Admission, SkipReason};
use crate::deferral::{Admitted, Deferred, DeferredKey, DeferredKeys, admit_or_defer, defer};
use crate::event::ObjectEvent;
use crate::failure_record::{
    Attempt, Cleared, FailureRecords, FailureRevision, Redelivery, Unsuccessful, clear_or_record,
    needs_a_second_attempt,
};
use crate::fault::Fault;
use crate::names::{ObjectKey, RuleId};
use crate::overwrite::Overwrite;
use crate::replicator::Outcome;
use crate::rule::Rule;
use crate::rule_memory::{BucketRules, admission};

/// What `carry` did with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// The protocol ended with this outcome.
    Settled(Outcome),
    /// A message of another queue, or a transfer, has taken over the key and will update its record.
    HandedOver,
}

/// How far `carry` has to check the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// It has to settle this change only.
    ThisChange,
    /// The deferred key may stand for other changes as well, for example for a change of tags alone.
    DeferredChanges,
}

/// The result of processing a key.
#[derive(Debug)]
pub enum Settled {
    /// The protocol ended with this outcome.
    Carried(Outcome),
    /// Another message or a transfer has taken over the key.
    HandedOver,
    /// The rule is paused: the key is stored.
    Deferred,
    /// There is nothing to do.
    Skipped(SkipReason),
    /// It failed, and the failure is recorded. Another attempt would not help.
    Parked(Fault),
    /// The same as `Parked`, but the message has to be delivered once more.
    AttemptedOnceMore(Fault),
    /// It failed, and the message has to be delivered again.
    TryAgain(Fault),
}

impl Settled {
    /// Returns whether the message may be acknowledged.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::AttemptedOnceMore(_) | Self::TryAgain(_))
    }
}

/// Settles a live change under its bucket's rule. `deferred` is what to store if the rule is paused. Also returns the
/// rule.
pub async fn settle_change<P, C>(
    ports: &P,
    event: &ObjectEvent,
    deferred: &DeferredKey,
    redelivery: Redelivery,
    carry: C,
) -> (Option<Arc<Rule>>, Settled)
where
    P: BucketRules + DeferredKeys + FailureRecords,
    C: AsyncFn(&Rule, Why) -> Result<Carried, Fault>,
{
    let (known, admission) = match admission(ports, event).await {
        Ok(found) => found,
        Err(error) => return (None, Settled::TryAgain(error.into())),
    };
    let Some(rule) = known.rule else {
        return (None, Settled::Skipped(SkipReason::NoRule));
    };
    let try_it = async |rule: &Rule, why| {
        let attempt = attempt_at(event, rule, known.has_failures, redelivery);
        attempt.run(ports, async || carry(rule, why).await).await
    };
    let settled = match admission {
        Admission::Skip(reason) => Settled::Skipped(reason),
        Admission::Replicate => try_it(&rule, Why::ThisChange).await,
        Admission::Defer => match defer(ports, &rule.id, deferred).await {
            Ok(Deferred::Kept) => Settled::Deferred,
            Ok(Deferred::Nothing(reason)) => Settled::Skipped(reason),
            Ok(Deferred::ReplicateNow(rule)) => {
                let settled = try_it(&rule, Why::DeferredChanges).await;
                removed_if_final(ports, &rule.id, deferred, settled).await
            }
            Err(error) => {
                // The failure is recorded if this was the last delivery.
                let fault: Fault = error.into();
                let failed = async || Err(Fault::because(fault.reason, fault.message.clone()));
                let attempt = attempt_at(event, &rule, known.has_failures, redelivery);
                attempt.run(ports, failed).await
            }
        },
    };
    (Some(rule), settled)
}

fn attempt_at<'a>(
    event: &'a ObjectEvent,
    rule: &'a Rule,
    may_have_failed: bool,
    redelivery: Redelivery,
) -> KeyAttempt<'a> {
    KeyAttempt {
        rule,
        key: &event.key,
        may_have_failed,
        redelivery,
        overwrite: Overwrite::Always,
    }
}

/// Settles one key of the work queue under a rule that is read now. If the rule no longer covers the key, its failure
/// record is cleared.
pub async fn settle_object<P, C>(
    ports: &P,
    rule_id: &RuleId,
    object: &DeferredKey,
    redelivery: Redelivery,
    carry: C,
) -> Settled
where
    P: DeferredKeys + FailureRecords,
    C: AsyncFn(&Rule) -> Result<Carried, Fault>,
{
    // The record is read before the rule: one that is written later may be of an attempt under a newer rule.
    let seen = match ports.failure_revision(rule_id, &object.key).await {
        Ok(seen) => seen,
        Err(fault) => return Settled::TryAgain(fault),
    };
    let admitted = match admit_or_defer(ports, rule_id, object).await {
        Ok(admitted) => admitted,
        Err(error) => return Settled::TryAgain(error.into()),
    };
    let attempt = async |rule: &Rule| {
        let attempt = KeyAttempt {
            rule,
            key: &object.key,
            may_have_failed: true,
            redelivery,
            overwrite: object.overwrite,
        };
        let carry = async || carry(rule).await;
        attempt.run_having_seen(seen.clone(), ports, carry).await
    };
    match admitted {
        Admitted::Replicate(rule) => attempt(&rule).await,
        Admitted::ReplicateDeferred(rule) => {
            let settled = attempt(&rule).await;
            removed_if_final(ports, rule_id, object, settled).await
        }
        Admitted::Deferred => Settled::Deferred,
        Admitted::Skip(SkipReason::OutOfScope) => {
            // A key that the rule no longer covers no longer counts as failed.
            let cleared = match &seen {
                Some(seen) => ports.clear_failure(rule_id, &object.key, seen).await.err(),
                None => None,
            };
            cleared.map_or(Settled::Skipped(SkipReason::OutOfScope), Settled::TryAgain)
        }
        Admitted::Skip(reason) => Settled::Skipped(reason),
    }
}

/// Settles one deferred key of a replay. A second attempt gets its own message, because another worker may remove the
/// deferred key before the replay's message is delivered again.
pub async fn settle_deferred<P, C>(
    ports: &P,
    rule: &Rule,
    deferred: &DeferredKey,
    redelivery: Redelivery,
    carry: C,
) -> Settled
where
    P: DeferredKeys + FailureRecords,
    C: AsyncFn() -> Result<Carried, Fault>,
{
    let attempt = KeyAttempt {
        rule,
        key: &deferred.key,
        may_have_failed: true,
        redelivery,
        overwrite: deferred.overwrite,
    };
    match attempt.run(ports, carry).await {
        Settled::AttemptedOnceMore(fault) => {
            match ports.send_second_attempt(&rule.id, deferred).await {
                Ok(()) => Settled::Parked(fault),
                Err(error) => Settled::TryAgain(error.into()),
            }
        }
        settled => settled,
    }
}

/// One attempt at a key under one rule.
#[derive(Debug, Clone, Copy)]
pub struct KeyAttempt<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// The key.
    pub key: &'a ObjectKey,
    /// Whether there may be a record to clear, as the process knew at most [`crate::rule_memory::REMEMBERED_FOR`] ago.
    pub may_have_failed: bool,
    /// Whether another delivery follows.
    pub redelivery: Redelivery,
    /// What its copy may replace.
    pub overwrite: Overwrite,
}

/// How often a key is attempted within one delivery, if another attempt at it fails in the meantime.
const ATTEMPTS: u32 = 3;

impl KeyAttempt<'_> {
    /// Runs `carry` for the key and updates its failure record.
    pub async fn run<R, C>(self, records: &R, carry: C) -> Settled
    where
        R: FailureRecords,
        C: AsyncFn() -> Result<Carried, Fault>,
    {
        let seen = if self.may_have_failed {
            match records.failure_revision(&self.rule.id, self.key).await {
                Ok(seen) => seen,
                Err(fault) => return Settled::TryAgain(fault),
            }
        } else {
            None
        };
        self.run_having_seen(seen, records, carry).await
    }

    /// Does the same as `run`; `seen` is the failure record that existed before.
    async fn run_having_seen<R, C>(
        self,
        mut seen: Option<FailureRevision>,
        records: &R,
        carry: C,
    ) -> Settled
    where
        R: FailureRecords,
        C: AsyncFn() -> Result<Carried, Fault>,
    {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let ended = match carry().await {
                Ok(Carried::HandedOver) => return Settled::HandedOver,
                Ok(Carried::Settled(outcome)) => Ok(outcome),
                Err(fault) => Err(fault),
            };
            let attempt = Attempt {
                ended,
                seen,
                redelivery: self.redelivery,
                overwrite: self.overwrite,
            };
            let success = match clear_or_record(records, self.rule, self.key, attempt).await {
                Ok(success) => success,
                Err(unsuccessful) => return self.unsuccessful(unsuccessful),
            };
            if success.cleared == Cleared::Gone || attempts == ATTEMPTS {
                return match success.unless_failed_meanwhile(self.key, self.redelivery) {
                    Ok(outcome) => Settled::Carried(outcome),
                    Err(unsuccessful) => self.unsuccessful(unsuccessful),
                };
            }
            // Another attempt failed after this one began, so this one may not have seen what made it fail.
            seen = match records.failure_revision(&self.rule.id, self.key).await {
                Ok(seen) => seen,
                Err(fault) => return Settled::TryAgain(fault),
            };
        }
    }

    fn unsuccessful(self, unsuccessful: Unsuccessful) -> Settled {
        match unsuccessful {
            Unsuccessful::Parked { fault, recorded }
                if needs_a_second_attempt(recorded, self.redelivery) =>
            {
                Settled::AttemptedOnceMore(fault)
            }
            Unsuccessful::Parked { fault, .. } => Settled::Parked(fault),
            Unsuccessful::TryAgain(fault) => Settled::TryAgain(fault),
        }
    }
}

/// Removes a deferred key that was replicated at once. If its message has to be delivered again, the key stays.
async fn removed_if_final<D: DeferredKeys>(
    store: &D,
    rule_id: &RuleId,
    deferred: &DeferredKey,
    settled: Settled,
) -> Settled {
    if !settled.is_final() {
        return settled;
    }
    match store.remove_deferred(rule_id, deferred).await {
        Ok(()) => settled,
        Err(error) => Settled::TryAgain(error.into()),
    }
}
