//! Follows up on a range: records outcomes and failures, and defers keys of paused rules.

use std::collections::BTreeMap;

use tandem_lambda::metrics::{RuleMetrics, write_rule_metrics};
use tandem_lambda::runtime::now;
use tandem_lambda::services::deferred_key;
use tandem_lambda::transfers::RuleTransferPorts;
use tandem_replication::deferral::{Deferred, DeferredKeys, defer};
use tandem_replication::failure_record::{
    Attempt, FailureRevision, Redelivery, Unsuccessful, keep,
};
use tandem_replication::fault::{FailedObject, Fault};
use tandem_replication::names::RuleId;
use tandem_replication::replicator::Outcome;
use tandem_replication::rule::Rule;
use tandem_replication::transfer::Transfer;

use crate::dispatch::{Unfinished, Worker};

/// A transfer whose last attempt has ended, with its rule and ports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finished<'a> {
    pub(crate) ports: &'a RuleTransferPorts<'a>,
    pub(crate) rule: &'a Rule,
    pub(crate) transfer: &'a Transfer,
}

impl Worker {
    /// Records the outcome of a finished transfer, removes the transfer, and counts it once.
    pub(crate) async fn finished(
        &self,
        Finished {
            ports,
            rule,
            transfer,
        }: Finished<'_>,
        seen: Option<FailureRevision>,
        outcome: Outcome,
    ) -> Result<(), Unfinished> {
        let attempt = Attempt {
            ended: Ok(outcome),
            seen,
            redelivery: Redelivery::Follows,
            overwrite: transfer.overwrite,
        };
        if let Err(unsuccessful) = keep(&**self, rule, &transfer.key, attempt).await {
            return Err(unsuccessful.into_fault().into());
        }
        let ended = ports.transferrer().end(transfer).await?;
        let replicated = matches!(
            outcome,
            Outcome::InSync | Outcome::Adjusted | Outcome::Replicated { .. }
        );
        if ended.was_current && replicated {
            let since_event = transfer.event_time.map(|event_time| now() - event_time);
            let lag_ms = since_event.map(|lag| lag.num_milliseconds().max(0));
            self.write_metrics_of(
                rule,
                RuleMetrics {
                    replicated: 1,
                    bytes: transfer.source.bytes,
                    lag_ms: lag_ms.into_iter().collect(),
                    ..RuleMetrics::default()
                },
            );
        }
        Ok(())
    }

    /// Defers the key of a transfer while its rule is paused. The replay continues the transfer with the parts that
    /// have been copied.
    pub(crate) async fn defer(
        &self,
        ports: &RuleTransferPorts<'_>,
        rule_id: &RuleId,
        transfer: &Transfer,
    ) -> Result<(), Unfinished> {
        let key = deferred_key(&transfer.key, transfer.changed_at(), transfer.overwrite);
        match defer(&**self, rule_id, &key).await? {
            Deferred::Kept | Deferred::Nothing(_) => Ok(()),
            Deferred::ReplicateNow(rule) => {
                ports.transferrer().send_object_of(transfer).await?;
                Ok(self.remove_deferred(&rule.id, &key).await?)
            }
        }
    }

    /// Records a failure. A permanent failure also ends the transfer and removes its upload.
    pub(crate) async fn failed(
        &self,
        Finished {
            ports,
            rule,
            transfer,
        }: Finished<'_>,
        fault: Fault,
        redelivery: Redelivery,
    ) -> Result<(), Unfinished> {
        let object = FailedObject {
            version_id: None,
            etag: transfer.source.etag.clone(),
            bytes: transfer.source.bytes,
        };
        let attempt = Attempt {
            ended: Err::<Outcome, Fault>(fault.of(object)),
            seen: None,
            redelivery: match redelivery {
                Redelivery::ByHand => Redelivery::Follows,
                other => other,
            },
            overwrite: transfer.overwrite,
        };
        match keep(&**self, rule, &transfer.key, attempt).await {
            Ok(_) => Ok(()),
            Err(Unsuccessful::TryAgain(fault)) if redelivery == Redelivery::WasTheLast => {
                // The parts stay. A retry or the sweep continues the transfer.
                self.count_failure(rule);
                ports.transferrer().without_messages(transfer).await?;
                Err(fault.into())
            }
            Err(Unsuccessful::TryAgain(fault)) => Err(fault.into()),
            Err(Unsuccessful::Parked { fault, .. }) => {
                let key = transfer.key.as_str();
                tracing::error!(rule.id = rule.id.as_str(), object.key = key, %fault, "failed and recorded");
                self.count_failure(rule);
                ports.transferrer().end(transfer).await?;
                Ok(())
            }
        }
    }

    /// Counts an object that failed permanently.
    fn count_failure(&self, rule: &Rule) {
        self.write_metrics_of(
            rule,
            RuleMetrics {
                failed: 1,
                ..RuleMetrics::default()
            },
        );
    }

    fn write_metrics_of(&self, rule: &Rule, metrics: RuleMetrics) {
        let by_rule = BTreeMap::from([(rule.id.clone(), metrics)]);
        write_rule_metrics(&self.config.stack, &by_rule, now());
    }
}
