//! Single keys: those that were held while their rule was paused, and large objects.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, stream};
use tandem_aws::clients::OBJECTS_AT_ONCE_MAX;
use tandem_aws::held::HeldKey;
use tandem_aws::s3_pair::S3Pair;
use tandem_aws::turns::Turn;
use tandem_lambda::measure::{Tally, write_tallies};
use tandem_lambda::record::{Attempt, Unsuccessful};
use tandem_lambda::runtime::{Deadline, now};
use tandem_replication::Timestamp;
use tandem_replication::in_flight::OwnWrites;
use tandem_replication::names::{ObjectKey, RuleId};
use tandem_replication::overwrite::Overwrite;
use tandem_replication::replicator::Outcome;
use tandem_replication::rule::{Rule, RuleState};
use tandem_replication::work::Work;

use crate::worker::{Look, Unfinished, Worker};

/// What has to be left of an invocation to begin with a held key, after waiting for its turn.
const KEY_TIME: Duration = Duration::from_mins(1);
/// What has to be left of an invocation to begin another page of held keys.
const PAGE_TIME: Duration = Duration::from_mins(5);

impl Worker {
    /// Replicates the keys of one partition that changed while the rule was paused, and lets each go when
    /// it is done. If the rule is paused again, whoever resumes it sends this work again.
    pub(crate) async fn release_held(
        &self,
        work: &Work,
        rule_id: &RuleId,
        partition: u8,
        look: Look,
        deadline: Deadline,
    ) -> Result<(), Unfinished> {
        let mut after: Option<ObjectKey> = None;
        let mut to_come_again = None;
        let mut first_page = true;
        loop {
            let Some(rule) = self.enabled(rule_id).await? else {
                return Ok(());
            };
            if !first_page && deadline.left() < PAGE_TIME {
                self.queues.send(&self.config.work_queue_url, work).await?;
                return Ok(());
            }
            first_page = false;
            let page = self
                .table
                .held_keys(rule_id, partition, after.as_ref())
                .await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            let ended: Vec<Result<(), Unfinished>> = stream::iter(page)
                .map(|held| self.release_key(&rule, held, look, deadline))
                .buffer_unordered(OBJECTS_AT_ONCE_MAX)
                .collect()
                .await;
            if ended
                .iter()
                .any(|end| matches!(end, Err(Unfinished::NoTurn)))
            {
                self.queues.send(&self.config.work_queue_url, work).await?;
                return Ok(());
            }
            to_come_again = ended.into_iter().find_map(Result::err).or(to_come_again);
        }
        to_come_again.map_or(Ok(()), Err)
    }

    async fn release_key(
        &self,
        rule: &Rule,
        held: HeldKey,
        look: Look,
        deadline: Deadline,
    ) -> Result<(), Unfinished> {
        if rule.scope.covers(&held.key) {
            let turn = self.aws.turns().take().await;
            if turn.waited && deadline.left() < KEY_TIME {
                return Err(Unfinished::NoTurn);
            }
            let (key, at) = (&held.key, held.changed_at);
            self.reconcile_key(rule, key, at, (held.overwrite, None), look, turn)
                .await?;
        }
        Ok(self.table.release(&rule.id, &held).await?)
    }

    /// Reconciles one object of whatever size. While the rule is paused the key is held instead.
    pub(crate) async fn carry_object(
        &self,
        rule_id: &RuleId,
        key: &ObjectKey,
        event_time: Timestamp,
        (overwrite, own): (Overwrite, Option<OwnWrites>),
        look: Look,
    ) -> Result<(), Unfinished> {
        let Some(rule) = self.table.rule(rule_id).await? else {
            return Ok(());
        };
        let mut held = None;
        if rule.state == RuleState::Paused {
            let token = now().timestamp_micros().to_string();
            let key = HeldKey {
                key: key.clone(),
                changed_at: event_time,
                token,
                overwrite,
            };
            self.table.hold(rule_id, &key).await?;
            held = Some(key);
        }
        // A rule that was resumed before the key was held may have been resumed without it.
        let Some(rule) = self.enabled(rule_id).await? else {
            return Ok(());
        };
        if rule.scope.covers(key) {
            let turn = self.aws.turns().take().await;
            self.reconcile_key(&rule, key, event_time, (overwrite, own), look, turn)
                .await?;
        } else {
            // What the rule does not cover any more has not failed any more.
            self.table.clear_failure(rule_id, key).await?;
            let pair = S3Pair::of_rule(&self.aws, &self.table, &rule);
            self.end_what_is_over(&pair, &rule, key).await?;
        }
        if let Some(held) = held {
            self.table.release(rule_id, &held).await?;
        }
        Ok(())
    }

    async fn enabled(&self, rule_id: &RuleId) -> Result<Option<Rule>, Unfinished> {
        Ok(self
            .table
            .rule(rule_id)
            .await?
            // Notifications may already flow while a rule is being enabled.
            .filter(|rule| matches!(rule.state, RuleState::Enabled | RuleState::Enabling)))
    }

    async fn reconcile_key(
        &self,
        rule: &Rule,
        key: &ObjectKey,
        event_time: Timestamp,
        (overwrite, own): (Overwrite, Option<OwnWrites>),
        look: Look,
        _turn: Turn<'_>,
    ) -> Result<(), Unfinished> {
        let pair = S3Pair::of_rule(&self.aws, &self.table, rule);
        // Nobody knows any more what changed about the key: it may be its tags alone.
        let closely = true;
        let ended = self
            .carry(
                &pair,
                rule,
                key,
                Some(event_time),
                (overwrite, own),
                closely,
            )
            .await;
        if matches!(ended, Ok(Outcome::TooLargeHere { .. })) {
            // The transfer will say what became of it.
            return Ok(());
        }
        let attempt = Attempt {
            ended,
            may_have_failed: true,
            last_chance: look.last_chance,
            overwrite,
        };
        let lag_ms = vec![(now() - event_time).num_milliseconds().max(0)];
        let failed = Tally {
            failed: 1,
            ..Tally::default()
        };
        let (tally, ended) = match self.recorder.keep(rule, key, attempt).await {
            Ok(Outcome::Replicated { bytes }) => {
                let replicated = Tally {
                    replicated: 1,
                    bytes,
                    lag_ms,
                    ..Tally::default()
                };
                (replicated, Ok(()))
            }
            Ok(Outcome::Adjusted) => {
                let adjusted = Tally {
                    replicated: 1,
                    lag_ms,
                    ..Tally::default()
                };
                (adjusted, Ok(()))
            }
            Ok(Outcome::Deleted) => {
                let deleted = Tally {
                    deleted: 1,
                    lag_ms,
                    ..Tally::default()
                };
                (deleted, Ok(()))
            }
            Ok(_) => return Ok(()),
            Err(Unsuccessful::Parked { fault, is_news }) => {
                tracing::error!(rule.id = rule.id.as_str(), object.key = key.as_str(), %fault, "parked");
                if is_news && look.comes_again {
                    return Err(Unfinished::Doubted(fault));
                }
                (failed, Ok(()))
            }
            Err(Unsuccessful::TryAgain(fault)) if look.last_chance => (failed, Err(fault.into())),
            Err(Unsuccessful::TryAgain(fault)) => return Err(fault.into()),
        };
        let tallies = BTreeMap::from([(rule.id.clone(), tally)]);
        write_tallies(&self.config.stack, &tallies, now());
        ended
    }
}
