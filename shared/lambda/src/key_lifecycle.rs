//! Processes one key, from its task to the decision about its message:
//!
//! rule -> admitted? -> deferred while the rule is paused -> permit -> the protocol -> too large? handed to a function
//! with a longer timeout -> failure record -> metrics.
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
use tracing::{Instrument, Span, info_span};

use crate::metrics::{RuleMetrics, write_rule_metrics, write_stopped};
use crate::runtime::{Deadline, now};
use crate::services::{Services, deferred_key};
use crate::sqs_batch::{Delivery, RetryAfter};

/// How much time an invocation must have left to begin with a live change, after it has waited for a permit.
const CHANGE_TIME: Duration = Duration::from_secs(30);
/// How much time an invocation must have left to begin with a deferred key, after it has waited for a permit.
const DEFERRED_KEY_TIME: Duration = Duration::from_mins(1);

/// The outcome of processing a key.
#[derive(Debug)]
pub struct Processed {
    /// The key.
    pub key: ObjectKey,
    /// When it changed.
    pub changed_at: Timestamp,
    /// The rule that replicates its bucket; `None` if there is no such rule, or if it could not be read.
    pub rule_id: Option<RuleId>,
    /// The outcome.
    pub settled: Settled,
    /// What happens if its message is not acknowledged.
    pub redelivery: Redelivery,
}

impl Processed {
    /// Returns when and why its message is redelivered, or `None` if the message may be acknowledged.
    pub fn retry(&self, delivery: &Delivery) -> Option<(RetryAfter, &Fault)> {
        match &self.settled {
            Settled::TryAgain(fault) => Some((RetryAfter::of_fault(fault, delivery), fault)),
            Settled::AttemptedOnceMore(fault) => Some((RetryAfter::SECOND_ATTEMPT, fault)),
            _ => None,
        }
    }

    /// Whether this was the last attempt at a key that has a rule. A failure then counts as one, even if another attempt
    /// might succeed.
    fn is_given_up(&self) -> bool {
        self.redelivery == Redelivery::WasTheLast && self.rule_id.is_some()
    }

    fn lag_ms(&self, at: Timestamp) -> i64 {
        (at - self.changed_at).num_milliseconds().max(0)
    }

    /// Writes the outcome to the log.
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
                    "handed to a function with a longer timeout"
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
            Settled::TryAgain(fault) => {
                tracing::error!(rule.id = rule_id, object.key = key, lag_ms, %fault, "failed at its last attempt");
            }
            Settled::Parked(fault) | Settled::AttemptedOnceMore(fault) => {
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

/// Writes the metrics of these keys, one document for each rule.
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
    /// Processes a change that S3 reported. `depth` says whether tags and ACLs are compared too.
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
        let settling = settle_change(self, event, &deferred, redelivery, carry);
        let (rule, settled) = settling.instrument(key_span(&event.key)).await;
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

    /// Processes one object of the work queue, of any size. `hops` says how often it was restarted.
    pub async fn process_object(
        &self,
        rule_id: &RuleId,
        object: &DeferredKey,
        hops: u32,
        redelivery: Redelivery,
    ) -> Result<Processed, Fault> {
        let carry = async |rule: &Rule| {
            if hops > HOPS_MAX {
                write_stopped(&self.config.stack, now());
                return Err(restarted_too_often(&object.key));
            }
            let permit = self.aws.permits().take().await;
            self.carry_object(rule, object, hops, &permit).await
        };
        let settling = settle_object(self, rule_id, object, redelivery, carry);
        let settled = settling.instrument(key_span(&object.key)).await;
        if matches!(settled, Settled::Skipped(SkipReason::OutOfScope))
            && let Some(rule) = self
                .table
                .rule(rule_id)
                .await
                .map_err(AwsError::into_fault)?
        {
            let pair = S3Pair::of_rule(&self.aws, &self.table, &rule);
            let ports = self.transfer_ports(&pair, &rule, None);
            ports.transferrer().end_if_unneeded(&object.key).await?;
        }
        Ok(Self::of_work(rule_id, object, settled, redelivery))
    }

    /// Processes one deferred key of a replay. Returns `None` if the permit came too late. The key then stays deferred.
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
        let settling = settle_deferred(self, rule, deferred, redelivery, carry);
        let settled = settling.instrument(key_span(&deferred.key)).await;
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
            let waited = format!("waited too long for a permit for {:?}", event.key.as_str());
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

    /// Reconciles one object of any size. A transfer copies an object that is too large for one invocation.
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
            // The task does not say what changed about the key. It may be only the tags.
            depth: Depth::Attributes,
            hops,
            origin: match object.own.clone() {
                None => Origin::Live,
                Some(own) => Origin::Job { own },
            },
        };
        let ports = self.transfer_ports(&pair, rule, None);
        Ok(match ports.transferrer().carry(&change).await? {
            // The transfer updates the object's failure record.
            Outcome::TooLargeHere { .. } => Carried::HandedOver,
            outcome => Carried::Settled(outcome),
        })
    }
}

/// Replicates one change. A put is copied at once if the notification has enough data to pin the copy. An object that a
/// copy created is compared with its replica first: the copy may be Tandem's own, and a circle of rules then ends. A
/// reported delete is checked: the replica is deleted only if the source has no such object now. Both live functions do
/// the same, because a topic may deliver every kind of event to either queue.
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

/// Returns the fault with the object that the notification reported, unless a HEAD of the source has already set it.
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

/// Returns the log span of one key. Every log line of its requests names the key.
fn key_span(key: &ObjectKey) -> Span {
    info_span!("key", object.key = key.as_str())
}

fn restarted_too_often(key: &ObjectKey) -> Fault {
    let message = format!(
        "copying {:?}: its transfer was restarted {HOPS_MAX} times without completing",
        key.as_str()
    );
    Fault::because(Reason::NoProgress, message)
}
