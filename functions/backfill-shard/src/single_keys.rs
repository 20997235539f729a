//! Processes single keys: keys that were deferred while their rule was paused, and large objects.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tandem_aws::clients::OBJECTS_AT_ONCE_MAX;
use tandem_lambda::key_lifecycle::write_metrics;
use tandem_lambda::metrics::write_stopped;
use tandem_lambda::runtime::{Deadline, now};
use tandem_lambda::sqs_batch::{Delivery, RetryAfter};
use tandem_replication::deferral::{DeferredKey, Reached, Replayed, replay_page};
use tandem_replication::names::RuleId;
use tandem_replication::rule::Rule;
use tandem_replication::work::{HOPS_MAX, Work};

use crate::dispatch::{Unfinished, Worker};

/// How much time an invocation must have left to begin another page of deferred keys.
const PAGE_TIME: Duration = Duration::from_mins(5);

/// Why a deferred key stays deferred.
enum StaysDeferred {
    /// It got no permit before the invocation's time was nearly up.
    NoPermit,
    /// It failed, or the table failed.
    Failed(Unfinished),
}

impl<E: Into<Unfinished>> From<E> for StaysDeferred {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Worker {
    /// Replays the keys of one partition that changed while the rule was paused. If the rule is paused again, the
    /// next resume sends this work again.
    pub(crate) async fn replay_partition(
        &self,
        (rule_id, partition, hops): (&RuleId, u8, u32),
        delivery: &Delivery,
        deadline: Deadline,
    ) -> Result<(), Unfinished> {
        if hops > HOPS_MAX {
            // The keys stay. The hourly maintenance replays them again.
            tracing::error!(
                rule.id = rule_id.as_str(),
                partition,
                "stopped a replay: {HOPS_MAX} messages followed one another without replicating a key"
            );
            write_stopped(&self.config.stack, now());
            return Ok(());
        }
        let replicated = AtomicBool::new(false);
        let hand_on = async || {
            let has_progress = replicated.load(Ordering::Relaxed);
            let work = Work::Deferred {
                rule_id: rule_id.clone(),
                partition,
                hops: if has_progress { 0 } else { hops + 1 },
            };
            self.send_work(&work).await
        };
        let carry = async |rule: &Rule, deferred: &DeferredKey| {
            let ended = self.replay_key(rule, deferred, delivery, deadline).await;
            replicated.fetch_or(ended.is_ok(), Ordering::Relaxed);
            ended
        };
        let mut reached: Option<Reached> = None;
        let mut latest: Option<Unfinished> = None;
        loop {
            if reached.is_some() && deadline.left() < PAGE_TIME {
                hand_on().await?;
                return Ok(());
            }
            let page = (rule_id, partition);
            let replayed =
                replay_page(&**self, page, reached.as_ref(), OBJECTS_AT_ONCE_MAX, &carry).await;
            match replayed.map_err(failure)? {
                Replayed::End => break,
                Replayed::Stopped => return Ok(()),
                Replayed::Page {
                    reached: here,
                    failed,
                } => {
                    for stays in failed {
                        match stays {
                            StaysDeferred::NoPermit => {
                                hand_on().await?;
                                return Ok(());
                            }
                            StaysDeferred::Failed(unfinished) => {
                                // The message waits for the key that has to wait longest.
                                let after = |it: &Unfinished| it.retry_after(delivery);
                                if latest.as_ref().map(after) < Some(after(&unfinished)) {
                                    latest = Some(unfinished);
                                }
                            }
                        }
                    }
                    reached = Some(here);
                }
            }
        }
        latest.map_or(Ok(()), Err)
    }

    async fn replay_key(
        &self,
        rule: &Rule,
        deferred: &DeferredKey,
        delivery: &Delivery,
        deadline: Deadline,
    ) -> Result<(), StaysDeferred> {
        let processed = self
            .process_deferred(rule, deferred, delivery.redelivery(), deadline)
            .await
            .ok_or(StaysDeferred::NoPermit)?;
        write_metrics(self, [&processed]);
        match processed.retry(delivery) {
            None => Ok(()),
            Some(retry) => Err(Unfinished::object(retry).into()),
        }
    }

    /// Reconciles one object of any size. While the rule is paused, the key is deferred instead.
    pub(crate) async fn work_on_object(
        &self,
        rule_id: &RuleId,
        object: &DeferredKey,
        hops: u32,
        delivery: &Delivery,
    ) -> Result<(), Unfinished> {
        let processed = self
            .process_object(rule_id, object, hops, delivery.redelivery())
            .await
            .map_err(|fault| {
                Unfinished::object((RetryAfter::of_fault(&fault, delivery), &fault))
            })?;
        write_metrics(self, [&processed]);
        match processed.retry(delivery) {
            None => Ok(()),
            Some(retry) => Err(Unfinished::object(retry)),
        }
    }
}

/// Converts the error of a whole page. A page fails as a whole only if the table fails.
fn failure(stays: StaysDeferred) -> Unfinished {
    match stays {
        StaysDeferred::Failed(unfinished) => unfinished,
        StaysDeferred::NoPermit => Unfinished::Lost("waited too long for a permit".to_owned()),
    }
}
