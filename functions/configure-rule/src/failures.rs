//! Shows failed objects, and retries them from the source's present state.

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tandem_aws::dynamodb::failures::FailureRecord;
use tandem_lambda::request::RequestError;
use tandem_lambda::runtime::Deadline;
use tandem_replication::names::{ObjectKey, RuleId};
use tandem_replication::refusal::{Refusal, RefusalCode};
use tandem_replication::work::Work;

use crate::dead_letters::DeadLetters;
use crate::request::{FailureChoice, Place, RuleName};
use crate::stack::{ENOUGH_TIME, Stack};

/// How many messages are sent at the same time.
const SENT_AT_ONCE: usize = 32;

impl Stack {
    /// Shows failures, by rule and key, at most `limit` of them.
    pub(crate) async fn failures(
        &self,
        choice: &FailureChoice,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Value, RequestError> {
        let mut shown: Vec<FailureRecord> = Vec::new();
        let mut place = choice.after.clone();
        let mut rules = self.rules_of(choice).await?.into_iter().peekable();
        while let Some(rule_id) = rules.next() {
            let mut after = resumed(&mut place, &rule_id);
            loop {
                let page = self
                    .table
                    .failures(&rule_id, &choice.filter, after.as_ref())
                    .await?;
                let room = limit - shown.len();
                let more = page.failures.len() > room;
                shown.extend(page.failures.into_iter().take(room));
                let stopped_at = if more {
                    shown.last().map(|failure| failure.key().clone())
                } else {
                    page.next
                };
                let full = shown.len() == limit || deadline.left() < ENOUGH_TIME;
                match stopped_at {
                    None => break,
                    Some(key) if full => {
                        let key = Some(key);
                        return Ok(json!({"failures": shown, "next": Place { rule_id, key }}));
                    }
                    Some(key) => after = Some(key),
                }
            }
            if shown.len() == limit && rules.peek().is_some() {
                let next = Place { rule_id, key: None };
                return Ok(json!({"failures": shown, "next": next}));
            }
        }
        Ok(json!({"failures": shown, "next": null}))
    }

    /// Shows the failure of one object.
    pub(crate) async fn failure(
        &self,
        name: &RuleName,
        key: &ObjectKey,
    ) -> Result<Value, RequestError> {
        let rule = self.find(name).await?;
        let failure = self.table.failure(&rule.id, key).await?.ok_or_else(|| {
            Refusal::new(
                RefusalCode::FailureNotFound,
                "key",
                key.as_str(),
                format!(
                    "has no failure under {}: it never failed, or has succeeded since",
                    rule.id
                ),
            )
        })?;
        Ok(json!({"failure": failure}))
    }

    /// Sends every chosen object to be reconciled, and moves dead letters back to the queues that they came from. A
    /// record stays until its object has succeeded. A caller continues from `next` until there is none.
    pub(crate) async fn retry(
        &self,
        choice: &FailureChoice,
        deadline: Deadline,
    ) -> Result<Value, RequestError> {
        let mut retried = 0;
        let mut letters = DeadLetters::default();
        let mut place = choice.after.clone();
        // Sorts before every rule's id.
        let before = || RuleId::new("");
        let mut done = place
            .as_ref()
            .map_or_else(before, |place| place.rule_id.clone());
        for rule_id in self.rules_of(choice).await? {
            let mut after = resumed(&mut place, &rule_id);
            loop {
                if deadline.left() < ENOUGH_TIME {
                    // A place without a key means that its rule is complete.
                    let next = Place {
                        rule_id: if after.is_some() { rule_id } else { done },
                        key: after,
                    };
                    return Ok(letters.told(retried, Some(&next)));
                }
                let page = self
                    .table
                    .failures(&rule_id, &choice.filter, after.as_ref())
                    .await?;
                retried += page.failures.len();
                self.send_again(&page.failures).await?;
                match page.next {
                    None => break,
                    next => after = next,
                }
            }
            done = rule_id;
        }
        let stopped = self
            .move_dead_letters(choice, &mut letters, deadline)
            .await?;
        Ok(letters.told(retried, stopped.as_ref()))
    }

    async fn send_again(&self, failures: &[FailureRecord]) -> Result<(), RequestError> {
        stream::iter(failures)
            .map(|failure| async {
                let work = Work::Object {
                    own: None,
                    rule_id: failure.rule_id.clone(),
                    key: failure.key().clone(),
                    event_time: failure.item.first_at,
                    overwrite: failure.item.overwrite,
                    hops: 0,
                };
                self.queues.send(&self.config.work_queue_url, &work).await
            })
            .buffer_unordered(SENT_AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    }

    /// Returns the ids of the chosen rules in order, from where an earlier answer stopped.
    async fn rules_of(&self, choice: &FailureChoice) -> Result<Vec<RuleId>, RequestError> {
        let mut ids: Vec<RuleId> = match &choice.rule {
            Some(name) => vec![self.find(name).await?.id],
            None => self
                .table
                .rules()
                .await?
                .into_iter()
                .map(|rule| rule.id)
                .collect(),
        };
        ids.sort();
        if let Some(Place { rule_id, key }) = &choice.after {
            ids.retain(|id| id > rule_id || (id == rule_id && key.is_some()));
        }
        Ok(ids)
    }
}

/// Returns the key of this rule after which to continue, if an earlier answer stopped within the rule.
fn resumed(place: &mut Option<Place>, rule_id: &RuleId) -> Option<ObjectKey> {
    place
        .take_if(|place| place.rule_id == *rule_id)
        .and_then(|place| place.key)
}
