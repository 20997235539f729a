//! What follows a range: outcomes and failures are recorded, keys of paused rules deferred.

use std::collections::BTreeMap;

use tandem_lambda::key_store::{Deferrals, deferred_key};
use tandem_lambda::measure::{Tally, write_tallies};
use tandem_lambda::record::{Attempt, Redelivery, Unsuccessful};
use tandem_lambda::rule_cache::RuleCache;
use tandem_lambda::runtime::now;
use tandem_lambda::transfers::RuleTransferPorts;
use tandem_replication::deferral::{Deferred, DeferredKeys, defer};
use tandem_replication::failure_record::FailureRevision;
use tandem_replication::fault::{FailedObject, Fault};
use tandem_replication::replicator::Outcome;
use tandem_replication::rule::Rule;
use tandem_replication::transfer::Transfer;

use crate::worker::{Look, Unfinished, Worker};

impl Worker {
    /// Records the outcome of a finished transfer, removes the transfer, and counts it once.
    pub(crate) async fn finished(
        &self,
        ports: &RuleTransferPorts<'_>,
        transfer: &Transfer,
        seen: Option<FailureRevision>,
        outcome: Outcome,
    ) -> Result<(), Unfinished> {
        let rule = ports.rule;
        let attempt = Attempt {
            ended: Ok(outcome),
            seen,
            redelivery: Redelivery::Follows,
            overwrite: transfer.overwrite,
        };
        if let Err(unsuccessful) = self.recorder.keep(rule, &transfer.key, attempt).await {
            return Err(unsuccessful.into_fault().into());
        }
        let ended = ports.transferrer().end(transfer).await?;
        let carried = matches!(
            outcome,
            Outcome::InSync | Outcome::Adjusted | Outcome::Replicated { .. }
        );
        if ended.was_current && carried {
            let since_event = transfer.event_time.map(|event_time| now() - event_time);
            let lag_ms = since_event.map(|lag| lag.num_milliseconds().max(0));
            let tally = Tally {
                replicated: 1,
                bytes: transfer.source.bytes,
                lag_ms: lag_ms.into_iter().collect(),
                ..Tally::default()
            };
            let tallies = BTreeMap::from([(rule.id.clone(), tally)]);
            write_tallies(&self.config.stack, &tallies, now());
        }
        Ok(())
    }

    /// Defers the key of a transfer while its rule is paused. Its replay finds the transfer again, with the
    /// parts that it has.
    pub(crate) async fn defer(
        &self,
        ports: &RuleTransferPorts<'_>,
        transfer: &Transfer,
    ) -> Result<(), Unfinished> {
        let key = deferred_key(&transfer.key, transfer.changed_at(), transfer.overwrite);
        let rules = RuleCache::new(self.table.clone());
        let store = Deferrals::new(&self.table, &rules, &self.queues, &self.config);
        match defer(&store, &ports.rule.id, &key).await? {
            Deferred::Kept | Deferred::Nothing(_) => Ok(()),
            Deferred::ReplicateNow(rule) => {
                ports.transferrer().send_object_of(transfer).await?;
                Ok(store.remove_deferred(&rule.id, &key).await?)
            }
        }
    }

    /// Records a failure. With one that does not go away by itself the transfer ends, and nothing of it is
    /// left.
    pub(crate) async fn failed(
        &self,
        ports: &RuleTransferPorts<'_>,
        transfer: &Transfer,
        fault: Fault,
        look: Look,
    ) -> Result<(), Unfinished> {
        let rule = ports.rule;
        let attempt = Attempt {
            ended: Err::<Outcome, Fault>(fault.of(FailedObject {
                version_id: None,
                etag: transfer.source.etag.clone(),
                bytes: transfer.source.bytes,
            })),
            seen: None,
            redelivery: if look.last_chance {
                Redelivery::WasTheLast
            } else {
                Redelivery::Follows
            },
            overwrite: transfer.overwrite,
        };
        match self.recorder.keep(rule, &transfer.key, attempt).await {
            Ok(_) => Ok(()),
            Err(Unsuccessful::TryAgain(fault)) if look.last_chance => {
                // The parts stay: a retry, or the sweep, carries the transfer on.
                count_failure(&self.config.stack, rule);
                ports.transferrer().without_messages(transfer).await?;
                Err(fault.into())
            }
            Err(Unsuccessful::TryAgain(fault)) => Err(fault.into()),
            Err(Unsuccessful::Parked { fault, .. }) => {
                tracing::error!(rule.id = rule.id.as_str(), object.key = transfer.key.as_str(), %fault, "parked");
                count_failure(&self.config.stack, rule);
                ports.transferrer().end(transfer).await?;
                Ok(())
            }
        }
    }
}

/// Counts an object that failed for good.
fn count_failure(stack: &str, rule: &Rule) {
    let tally = Tally {
        failed: 1,
        ..Tally::default()
    };
    write_tallies(stack, &BTreeMap::from([(rule.id.clone(), tally)]), now());
}
