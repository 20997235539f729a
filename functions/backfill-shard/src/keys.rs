//! Single keys: those that were deferred while their rule was paused, and large objects.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tandem_aws::clients::OBJECTS_AT_ONCE_MAX;
use tandem_aws::s3_pair::S3Pair;
use tandem_aws::turns::Turn;
use tandem_lambda::key_store::{Deferrals, KeyStore};
use tandem_lambda::measure::{Tally, write_stopped, write_tallies};
use tandem_lambda::runtime::{Deadline, now};
use tandem_replication::admit::SkipReason;
use tandem_replication::deferral::{DeferredKey, Reached, Replayed, replay_page};
use tandem_replication::failure_record::Redelivery;
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::key_attempt::{Carried, Settled, settle_deferred, settle_object};
use tandem_replication::names::{ObjectKey, RuleId};
use tandem_replication::replicator::Outcome;
use tandem_replication::rule::Rule;
use tandem_replication::work::{HOPS_MAX, Work};

use crate::worker::{Look, Unfinished, Worker};

/// What has to be left of an invocation to begin with a deferred key, after waiting for its turn.
const KEY_TIME: Duration = Duration::from_mins(1);
/// What has to be left of an invocation to begin another page of deferred keys.
const PAGE_TIME: Duration = Duration::from_mins(5);

impl Worker {
    /// Replays the keys of one partition that changed while the rule was paused. If the rule is paused again, the
    /// next resume sends this work again.
    pub(crate) async fn release_held(
        &self,
        (rule_id, partition, hops): (&RuleId, u8, u32),
        look: Look,
        deadline: Deadline,
    ) -> Result<(), Unfinished> {
        if hops > HOPS_MAX {
            // The keys stay. The hourly maintenance replays them again.
            tracing::error!(
                rule.id = rule_id.as_str(),
                partition,
                "a replay was stopped: {HOPS_MAX} messages followed one another and no key was replicated"
            );
            write_stopped(&self.config.stack, now());
            return Ok(());
        }
        let replicated = AtomicBool::new(false);
        let hand_on = async || {
            let hops = if replicated.load(Ordering::Relaxed) {
                0
            } else {
                hops + 1
            };
            let work = Work::Held {
                rule_id: rule_id.clone(),
                partition,
                hops,
            };
            self.queues.send(&self.config.work_queue_url, &work).await
        };
        let store = self.key_store();
        let redelivery = redelivery(look);
        let carry = async |rule: &Rule, deferred: &DeferredKey| {
            let ended = self
                .replay_key(&store, rule, deferred, redelivery, deadline)
                .await;
            replicated.fetch_or(ended.is_ok(), Ordering::Relaxed);
            ended
        };
        let mut reached: Option<Reached> = None;
        let mut to_come_again = None;
        loop {
            if reached.is_some() && deadline.left() < PAGE_TIME {
                hand_on().await?;
                return Ok(());
            }
            let page = (rule_id, partition);
            let lanes = OBJECTS_AT_ONCE_MAX;
            match replay_page(&store, page, reached.as_ref(), lanes, &carry).await? {
                Replayed::End => break,
                Replayed::Stopped => return Ok(()),
                Replayed::Page {
                    reached: here,
                    failed,
                } => {
                    if failed.iter().any(|end| matches!(end, Unfinished::NoTurn)) {
                        hand_on().await?;
                        return Ok(());
                    }
                    reached = Some(here);
                    to_come_again = failed.into_iter().next().or(to_come_again);
                }
            }
        }
        to_come_again.map_or(Ok(()), Err)
    }

    async fn replay_key(
        &self,
        store: &KeyStore,
        rule: &Rule,
        deferred: &DeferredKey,
        redelivery: Redelivery,
        deadline: Deadline,
    ) -> Result<(), Unfinished> {
        let turn = self.aws.turns().take().await;
        if turn.waited && deadline.left() < KEY_TIME {
            return Err(Unfinished::NoTurn);
        }
        let carry = async || self.reconcile_key(rule, deferred, 0, &turn).await;
        let settled = settle_deferred(store, rule, deferred, redelivery, carry).await;
        self.ended(&rule.id, deferred, settled, redelivery)
    }

    /// Reconciles one object of whatever size. While the rule is paused the key is deferred instead.
    pub(crate) async fn carry_object(
        &self,
        rule_id: &RuleId,
        object: &DeferredKey,
        hops: u32,
        look: Look,
    ) -> Result<(), Unfinished> {
        let (store, redelivery) = (self.key_store(), redelivery(look));
        let carry = async |rule: &Rule| {
            if hops > HOPS_MAX {
                write_stopped(&self.config.stack, now());
                return Err(restarted_too_often(&object.key));
            }
            let turn = self.aws.turns().take().await;
            self.reconcile_key(rule, object, hops, &turn).await
        };
        let settled = settle_object(&store, rule_id, object, redelivery, carry).await;
        if matches!(settled, Settled::Skipped(SkipReason::OutOfScope))
            && let Some(rule) = self.table.rule(rule_id).await?
        {
            let pair = S3Pair::of_rule(&self.aws, &self.table, &rule);
            self.end_what_is_over(&pair, &rule, &object.key).await?;
        }
        self.ended(rule_id, object, settled, redelivery)
    }

    fn key_store(&self) -> KeyStore {
        let deferrals = Deferrals::new(&self.table, &self.rules, &self.queues, &self.config);
        KeyStore::new(self.rules.clone(), deferrals, self.recorder.clone())
    }

    async fn reconcile_key(
        &self,
        rule: &Rule,
        object: &DeferredKey,
        hops: u32,
        _turn: &Turn<'_>,
    ) -> Result<Carried, Fault> {
        let pair = S3Pair::of_rule(&self.aws, &self.table, rule);
        let (key, at) = (&object.key, Some(object.changed_at));
        // Nothing says any more what changed about the key: it may be its tags alone.
        let closely = true;
        let mode = (object.overwrite, object.own.clone());
        let carried = self
            .carry(&pair, rule, (key, at), mode, (closely, hops))
            .await?;
        Ok(match carried {
            // The transfer brings the object's record up to date.
            Outcome::TooLargeHere { .. } => Carried::HandedOver,
            outcome => Carried::Settled(outcome),
        })
    }

    /// Counts what became of a key, and returns why its message has to be delivered again, if it has to.
    fn ended(
        &self,
        rule_id: &RuleId,
        object: &DeferredKey,
        settled: Settled,
        redelivery: Redelivery,
    ) -> Result<(), Unfinished> {
        let lag_ms = vec![(now() - object.changed_at).num_milliseconds().max(0)];
        let failed = Tally {
            failed: 1,
            ..Tally::default()
        };
        let (tally, ended) = match settled {
            Settled::Carried(outcome) => (tally_of(outcome, lag_ms), Ok(())),
            Settled::HandedOver | Settled::Deferred | Settled::Skipped(_) => return Ok(()),
            Settled::Parked(fault) => {
                log_parked(rule_id, &object.key, &fault);
                (failed, Ok(()))
            }
            Settled::AttemptedOnceMore(fault) => {
                log_parked(rule_id, &object.key, &fault);
                return Err(Unfinished::Doubted(fault));
            }
            Settled::TryAgain(fault) if redelivery == Redelivery::WasTheLast => {
                (failed, Err(fault.into()))
            }
            Settled::TryAgain(fault) => return Err(fault.into()),
        };
        if tally != Tally::default() {
            let tallies = BTreeMap::from([(rule_id.clone(), tally)]);
            write_tallies(&self.config.stack, &tallies, now());
        }
        ended
    }
}

fn tally_of(outcome: Outcome, lag_ms: Vec<i64>) -> Tally {
    match outcome {
        Outcome::Replicated { bytes } => Tally {
            replicated: 1,
            bytes,
            lag_ms,
            ..Tally::default()
        },
        Outcome::Adjusted => Tally {
            replicated: 1,
            lag_ms,
            ..Tally::default()
        },
        Outcome::Deleted => Tally {
            deleted: 1,
            lag_ms,
            ..Tally::default()
        },
        _ => Tally::default(),
    }
}

fn restarted_too_often(key: &ObjectKey) -> Fault {
    let message = format!(
        "copying {:?}: its transfer was restarted {HOPS_MAX} times, and never came to its end",
        key.as_str()
    );
    Fault::because(Reason::NoProgress, message)
}

fn log_parked(rule_id: &RuleId, key: &ObjectKey, fault: &Fault) {
    tracing::error!(rule.id = rule_id.as_str(), object.key = key.as_str(), %fault, "parked");
}

fn redelivery(look: Look) -> Redelivery {
    if look.last_chance {
        Redelivery::WasTheLast
    } else if look.comes_again {
        Redelivery::Follows
    } else {
        Redelivery::ByHand
    }
}
