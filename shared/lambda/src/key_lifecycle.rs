//! One key, from its task to the decision about its message:
//!
//! rule -> admitted? -> deferred while the rule is paused -> permit -> the protocol -> too large? handed to a function
//! with more time -> failure record -> metrics.
//!
//! A live change, a large or retried object and a deferred key all pass through here. The decisions are those of
//! [`tandem_replication::key_attempt`].

use std::collections::BTreeMap;
use std::time::Duration;

use tandem_aws::AwsError;
use tandem_aws::permits::Permit;
use tandem_aws::s3::s3_pair::S3Pair;
use tandem_replication::Timestamp;
use tandem_replication::admit::SkipReason;
use tandem_replication::deferral::DeferredKey;
use tandem_replication::event::{Change, CreatedBy, ObjectEvent};
use tandem_replication::failure_record::Redelivery;
use tandem_replication::fault::{FailedObject, Fault, Reason};
use tandem_replication::key_attempt::{
    Carried, Settled, Why, settle_change, settle_deferred, settle_object,
};
use tandem_replication::names::{ObjectKey, RuleId};
use tandem_replication::overwrite::Overwrite;
use tandem_replication::replicator::{Depth, Outcome, Replicator};
use tandem_replication::rule::Rule;
use tandem_replication::transfer::begin::{KeyChange, Origin};
use tandem_replication::work::{HOPS_MAX, Work};

use crate::metrics::{RuleMetrics, write_rule_metrics, write_stopped};
use crate::runtime::{Deadline, now};
use crate::services::{Services, deferred_key};
use crate::sqs_batch::{Delivery, RetryAfter};

/// What has to be left of an invocation to begin with a live change, after waiting for its permit.
const CHANGE_TIME: Duration = Duration::from_secs(30);
/// What has to be left of an invocation to begin with a deferred key, after waiting for its permit.
const DEFERRED_KEY_TIME: Duration = Duration::from_mins(1);

/// How a key ended.
#[derive(Debug)]
pub struct Processed {
    /// The key.
    pub key: ObjectKey,
    /// When it changed.
    pub changed_at: Timestamp,
    /// The rule that replicates its bucket; none if there is none, or if it could not be read.
    pub rule_id: Option<RuleId>,
    /// How it ended.
    pub settled: Settled,
    /// What happens if its message is not acknowledged.
    pub redelivery: Redelivery,
}

impl Processed {
    /// Returns when its message is redelivered and why; none if the message may be acknowledged.
    pub fn retry(&self, delivery: &Delivery) -> Option<(RetryAfter, &Fault)> {
        match &self.settled {
            Settled::TryAgain(fault) => Some((RetryAfter::of_fault(fault, delivery), fault)),
            Settled::AttemptedOnceMore(fault) => Some((RetryAfter::SECOND_ATTEMPT, fault)),
            _ => None,
        }
    }

    /// Whether it failed in a way that another attempt might help, and none follows.
    fn is_given_up(&self) -> bool {
        self.redelivery == Redelivery::WasTheLast && self.rule_id.is_some()
    }

    fn lag_ms(&self, at: Timestamp) -> i64 {
        (at - self.changed_at).num_milliseconds().max(0)
    }

    /// Writes to the log how it ended.
    pub fn log(&self) {
        let rule_id = self.rule_id.as_ref().map(RuleId::as_str);
        let key = self.key.as_str();
        let lag_ms = self.lag_ms(now());
        match &self.settled {
            Settled::Carried(outcome) => {
                tracing::debug!(
                    rule.id = rule_id,
                    object.key = key,
                    lag_ms,
                    ?outcome,
                    "processed"
                );
            }
            Settled::HandedOver => {
                tracing::info!(
                    rule.id = rule_id,
                    object.key = key,
                    "handed to a function with more time"
                );
            }
            Settled::Deferred => {
                tracing::debug!(
                    rule.id = rule_id,
                    object.key = key,
                    "deferred: the rule is paused"
                );
            }
            Settled::Skipped(reason) => {
                let reason = reason.as_str();
                tracing::debug!(rule.id = rule_id, object.key = key, reason, "skipped");
            }
            Settled::TryAgain(fault) if !self.is_given_up() => {
                tracing::warn!(rule.id = rule_id, object.key = key, lag_ms, %fault, "failed; retried later");
            }
            Settled::Parked(fault)
            | Settled::AttemptedOnceMore(fault)
            | Settled::TryAgain(fault) => {
                tracing::error!(rule.id = rule_id, object.key = key, lag_ms, %fault, "failed and recorded");
            }
        }
    }

    fn count_in(&self, metrics: &mut RuleMetrics, at: Timestamp) {
        match &self.settled {
            Settled::Carried(outcome) => metrics.add(*outcome, self.lag_ms(at)),
            Settled::Parked(_) => metrics.failed += 1,
            Settled::TryAgain(_) if self.is_given_up() => metrics.failed += 1,
            _ => {}
        }
    }
}

/// Writes the metrics of these keys, a document a rule.
pub fn write_metrics<'a>(services: &Services, keys: impl IntoIterator<Item = &'a Processed>) {
    let at = now();
    let mut by_rule: BTreeMap<RuleId, RuleMetrics> = BTreeMap::new();
    for processed in keys {
        if let Some(rule_id) = &processed.rule_id {
            processed.count_in(by_rule.entry(rule_id.clone()).or_default(), at);
        }
    }
    by_rule.retain(|_, metrics| *metrics != RuleMetrics::default());
    write_rule_metrics(&services.config.stack, &by_rule, at);
}

impl Services {
    /// Processes a change that S3 reported. `depth` says how much of a replica that looks equal is compared.
    pub async fn process_change(
        &self,
        event: &ObjectEvent,
        depth: Depth,
        redelivery: Redelivery,
        deadline: Deadline,
    ) -> Processed {
        let deferred = deferred_key(&event.key, event.event_time, Overwrite::Always);
        let carry = async |rule: &Rule, why: Why| {
            let depth = match why {
                Why::ThisChange => depth,
                Why::DeferredChanges => Depth::Attributes,
            };
            let carried = self.carry_change(rule, event, depth, deadline).await;
            carried.map_err(|fault| named(fault, event))
        };
        let (rule, settled) = settle_change(self, event, &deferred, redelivery, carry).await;
        let processed = Processed {
            key: event.key.clone(),
            changed_at: event.event_time,
            rule_id: rule.map(|rule| rule.id.clone()),
            settled,
            redelivery,
        };
        processed.log();
        processed
    }

    /// Processes one object of the work queue, of whatever size. `hops` says how often it was restarted.
    pub async fn process_object(
        &self,
        rule_id: &RuleId,
        object: &DeferredKey,
        hops: u32,
        redelivery: Redelivery,
    ) -> Result<Processed, AwsError> {
        let carry = async |rule: &Rule| {
            if hops > HOPS_MAX {
                write_stopped(&self.config.stack, now());
                return Err(restarted_too_often(&object.key));
            }
            let permit = self.aws.permits().take().await;
            self.carry_object(rule, object, hops, &permit).await
        };
        let settled = settle_object(self, rule_id, object, redelivery, carry).await;
        if matches!(settled, Settled::Skipped(SkipReason::OutOfScope))
            && let Some(rule) = self.table.rule(rule_id).await?
        {
            let pair = S3Pair::of_rule(&self.aws, &self.table, &rule);
            let ports = self.transfer_ports(&pair, &rule, None);
            let ended = ports.transferrer().end_if_unneeded(&object.key).await;
            ended.map_err(|fault| AwsError::unexpected("ending an unneeded transfer", fault))?;
        }
        Ok(Self::of_work(rule_id, object, settled, redelivery))
    }

    /// Processes one deferred key of a replay. Returns nothing if its permit came too late: the key stays deferred.
    pub async fn process_deferred(
        &self,
        rule: &Rule,
        deferred: &DeferredKey,
        redelivery: Redelivery,
        deadline: Deadline,
    ) -> Option<Processed> {
        let permit = self.aws.permits().take().await;
        if permit.waited && deadline.left() < DEFERRED_KEY_TIME {
            return None;
        }
        let carry = async || self.carry_object(rule, deferred, 0, &permit).await;
        let settled = settle_deferred(self, rule, deferred, redelivery, carry).await;
        Some(Self::of_work(&rule.id, deferred, settled, redelivery))
    }

    fn of_work(
        rule_id: &RuleId,
        object: &DeferredKey,
        settled: Settled,
        redelivery: Redelivery,
    ) -> Processed {
        let processed = Processed {
            key: object.key.clone(),
            changed_at: object.changed_at,
            rule_id: Some(rule_id.clone()),
            settled,
            redelivery,
        };
        processed.log();
        processed
    }

    /// Replicates a change in the time that a notification has. Larger objects go to the work queue.
    async fn carry_change(
        &self,
        rule: &Rule,
        event: &ObjectEvent,
        depth: Depth,
        deadline: Deadline,
    ) -> Result<Carried, Fault> {
        let permit = self.aws.permits().take().await;
        if permit.waited && deadline.left() < CHANGE_TIME {
            let waited = format!("no permit in time for {:?}", event.key.as_str());
            return Err(Fault::because(Reason::Throttled, waited));
        }
        let pair = S3Pair::of_rule(&self.aws, &self.table, rule);
        let hint = self.put_hints.of(rule);
        let limits = self.config.live_limits();
        let replicator = Replicator::new(&pair, rule.policy, &rule.options, limits)
            .with_hint(&hint)
            .comparing(depth);
        match replicate(&replicator, event).await? {
            Outcome::TooLargeHere { .. } => {
                let work = Work::Object {
                    own: None,
                    rule_id: rule.id.clone(),
                    key: event.key.clone(),
                    event_time: event.event_time,
                    overwrite: Overwrite::Always,
                    hops: 0,
                };
                self.send_work(&work).await.map_err(AwsError::into_fault)?;
                Ok(Carried::HandedOver)
            }
            outcome => Ok(Carried::Settled(outcome)),
        }
    }

    /// Reconciles one object, whatever its size. A transfer copies an object that is too large for one invocation.
    async fn carry_object(
        &self,
        rule: &Rule,
        object: &DeferredKey,
        hops: u32,
        _permit: &Permit<'_>,
    ) -> Result<Carried, Fault> {
        let pair = S3Pair::of_rule(&self.aws, &self.table, rule);
        let change = KeyChange {
            key: &object.key,
            event_time: Some(object.changed_at),
            overwrite: object.overwrite,
            // Nothing says any more what changed about the key: it may be its tags alone.
            depth: Depth::Attributes,
            hops,
            origin: match object.own.clone() {
                None => Origin::Live,
                Some(own) => Origin::Job { own },
            },
        };
        let ports = self.transfer_ports(&pair, rule, None);
        Ok(match ports.transferrer().carry(&change).await? {
            // The transfer brings the object's record up to date.
            Outcome::TooLargeHere { .. } => Carried::HandedOver,
            outcome => Carried::Settled(outcome),
        })
    }
}

/// Replicates one change. A put is copied at once if the notification says enough to pin the copy. An object that a
/// copy created is compared with its replica first: the copy may be Tandem's own, and a circle of rules ends there. A
/// delete is never trusted: the replica is deleted only if the source itself has no such object now. Both live
/// functions do the same, because a topic may deliver every kind of event to either queue.
async fn replicate(
    replicator: &Replicator<'_, S3Pair>,
    event: &ObjectEvent,
) -> Result<Outcome, Fault> {
    match &event.change {
        Change::Created {
            etag: Some(etag),
            bytes: Some(bytes),
            by: CreatedBy::Put,
            ..
        } => replicator.put(&event.key, etag, *bytes).await,
        Change::Attributes => replicator.reconcile_attributes(&event.key).await,
        // The source's present state decides.
        _ => replicator.reconcile(&event.key).await,
    }
}

/// Returns the failure, of the object that its notification reported, unless a HEAD of the source said more.
fn named(fault: Fault, event: &ObjectEvent) -> Fault {
    match &event.change {
        Change::Created {
            etag: Some(etag),
            bytes: Some(bytes),
            version_id,
            ..
        } => fault.of(FailedObject {
            version_id: version_id.clone(),
            etag: etag.clone(),
            bytes: *bytes,
        }),
        _ => fault,
    }
}

fn restarted_too_often(key: &ObjectKey) -> Fault {
    let message = format!(
        "copying {:?}: its transfer was restarted {HOPS_MAX} times and never completed",
        key.as_str()
    );
    Fault::because(Reason::NoProgress, message)
}
