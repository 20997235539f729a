//! Keys that change while their rule is paused: deferred, and replayed when the rule is resumed. No I/O.
//!
//! A notification only hints that a key changed, so the key is all that is stored, once however often it changed.
//! Two orders make sure that no key is forgotten. A worker stores the key and then reads the rule again. A resume
//! writes the rule and then looks for stored keys. One of the two sees the other.

use std::future::Future;

use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::admit::{Admission, SkipReason, admit_key};
use crate::fault::Fault;
use crate::in_flight::OwnWrites;
use crate::names::{ObjectKey, RuleId};
use crate::overwrite::Overwrite;
use crate::rule::{Rule, RuleState};
use crate::work::DEFERRED_PARTITIONS;

/// A replay that has not shown itself for longer has no message any more: twice what the work queue hides one for.
pub const REPLAY_STALLED_AFTER: chrono::TimeDelta = chrono::TimeDelta::hours(3);
/// A resume that is repeated sends a partition again whose replay has not shown itself for longer. A second message does
/// no harm.
const RESUME_AGAIN_AFTER: chrono::TimeDelta = chrono::TimeDelta::minutes(15);
/// How many partitions a resume looks at together.
const PARTITIONS_AT_ONCE: usize = DEFERRED_PARTITIONS as usize;

/// A key that waits for its rule to be resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeferredKey {
    /// The key.
    pub key: ObjectKey,
    /// When the change happened, by the service's clock.
    pub changed_at: Timestamp,
    /// Differs for every time that the key was deferred.
    pub token: String,
    /// What its copy may replace.
    #[serde(default, skip_serializing_if = "Overwrite::is_always")]
    pub overwrite: Overwrite,
    /// Of a job's object: what the job may have written. Another writer's replica of it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<OwnWrites>,
}

/// The last sign of life of a partition's replay.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReplayMark {
    /// The revision of the rule. The replay began with the partition's first key under this revision.
    pub revision: u64,
    /// When.
    pub at: Timestamp,
}

/// The rules by their id.
pub trait Rules {
    /// Why the table or a queue cannot be used.
    type Error: Into<Fault>;

    /// Returns the rule if this process read it at most [`crate::rule_memory::REMEMBERED_FOR`] ago.
    fn remembered_rule(&self, rule: &RuleId) -> Option<Rule>;

    /// Reads the rule and remembers it. The read is strongly consistent.
    fn read_rule(
        &self,
        rule: &RuleId,
    ) -> impl Future<Output = Result<Option<Rule>, Self::Error>> + Send;
}

/// The stored keys of paused rules, and the messages that replay them.
pub trait DeferredKeys: Rules {
    /// Stores a key in place of what is stored of it, unless that may replace more. Atomic and repeat-safe.
    fn put_deferred(
        &self,
        rule: &RuleId,
        key: &DeferredKey,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Removes a key if it was not deferred again since, which its token tells. Atomic and repeat-safe.
    fn remove_deferred(
        &self,
        rule: &RuleId,
        key: &DeferredKey,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Returns the first keys of a partition after `after`, in order; none behind the last.
    fn deferred(
        &self,
        rule: &RuleId,
        partition: u8,
        after: Option<&ObjectKey>,
    ) -> impl Future<Output = Result<Vec<DeferredKey>, Self::Error>> + Send;

    /// Returns the last sign of life of a partition's replay.
    fn replay_mark(
        &self,
        rule: &RuleId,
        partition: u8,
    ) -> impl Future<Output = Result<Option<ReplayMark>, Self::Error>> + Send;

    /// Writes that a partition's replay is alive under this rule.
    fn mark_replay(
        &self,
        rule: &Rule,
        partition: u8,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Sends the message that attempts a key once more, as a key of its own, when every process has forgotten what it
    /// knew of the rule's failures.
    fn send_second_attempt(
        &self,
        rule: &RuleId,
        key: &DeferredKey,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Sends the message that replays a partition.
    fn send_replay(
        &self,
        rule: &RuleId,
        partition: u8,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// What becomes of a key whose rule was paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deferred {
    /// It is stored, and the rule is still paused: a resume will find it.
    Kept,
    /// The rule is not paused any more, and a resume may have missed the key: it is replicated now, and removed
    /// afterwards.
    ReplicateNow(Box<Rule>),
    /// The rule replicates it no more. It is not stored any more either.
    Nothing(SkipReason),
}

/// Stores a key whose rule is paused, then reads the rule again and decides.
pub async fn defer<D: DeferredKeys>(
    store: &D,
    rule_id: &RuleId,
    key: &DeferredKey,
) -> Result<Deferred, D::Error> {
    store.put_deferred(rule_id, key).await?;
    let rule = store.read_rule(rule_id).await?;
    // Whatever else a paused rule says, its replay decides about what is stored of the key.
    if let Some(rule) = &rule
        && rule.state == RuleState::Paused
    {
        return Ok(Deferred::Kept);
    }
    match admit_key(rule.as_ref(), &key.key) {
        Admission::Skip(reason) => {
            store.remove_deferred(rule_id, key).await?;
            Ok(Deferred::Nothing(reason))
        }
        Admission::Defer => Ok(Deferred::Kept),
        Admission::Replicate => Ok(match rule {
            Some(rule) => Deferred::ReplicateNow(Box::new(rule)),
            None => Deferred::Nothing(SkipReason::NoRule),
        }),
    }
}

/// What a rule that was just read says of a key of the work queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admitted {
    /// It is replicated under this rule.
    Replicate(Box<Rule>),
    /// It was deferred, but the rule was resumed meanwhile: it is replicated under this rule, and removed from the
    /// deferred keys afterwards.
    ReplicateDeferred(Box<Rule>),
    /// It is deferred: a resume will find it.
    Deferred,
    /// Nothing is done about it.
    Skip(SkipReason),
}

/// Reads the rule, and defers the key if the rule is paused.
pub async fn admit_or_defer<D: DeferredKeys>(
    store: &D,
    rule_id: &RuleId,
    key: &DeferredKey,
) -> Result<Admitted, D::Error> {
    let rule = store.read_rule(rule_id).await?;
    match (admit_key(rule.as_ref(), &key.key), rule) {
        (Admission::Skip(reason), _) => Ok(Admitted::Skip(reason)),
        (_, None) => Ok(Admitted::Skip(SkipReason::NoRule)),
        (Admission::Replicate, Some(rule)) => Ok(Admitted::Replicate(Box::new(rule))),
        (Admission::Defer, Some(_)) => Ok(match defer(store, rule_id, key).await? {
            Deferred::Kept => Admitted::Deferred,
            Deferred::ReplicateNow(rule) => Admitted::ReplicateDeferred(rule),
            Deferred::Nothing(reason) => Admitted::Skip(reason),
        }),
    }
}

/// Resumes a rule, and replays what was deferred. `write` stores the rule in its new state. The rule is written first:
/// a worker that defers a key later reads the rule again, and a key that was deferred earlier is found here. May be
/// repeated until it is through, and then goes on where it was; if it never is, hourly maintenance replays the keys.
pub async fn resume<D, E, W>(store: &D, rule: Rule, at: Timestamp, write: W) -> Result<Rule, E>
where
    D: DeferredKeys,
    E: From<D::Error>,
    W: AsyncFnOnce(&Rule) -> Result<(), E>,
{
    let mut resumed = rule;
    if resumed.state == RuleState::Paused {
        resumed.state = RuleState::Enabled;
        resumed.paused_at = None;
        resumed.revision += 1;
        resumed.updated_at = at;
        write(&resumed).await?;
    }
    send_replays(store, &resumed, at, RESUME_AGAIN_AFTER).await?;
    Ok(resumed)
}

/// Sends a message for each partition of a rule's deferred keys whose replay has not begun under the rule's present
/// revision, or has not shown itself for longer than `stalled_after`. Returns how many it sent. A partition may be sent
/// twice, and is never forgotten. A rule that is not enabled gets none.
pub async fn send_replays<D: DeferredKeys>(
    store: &D,
    rule: &Rule,
    at: Timestamp,
    stalled_after: chrono::TimeDelta,
) -> Result<u32, D::Error> {
    if !replicates(rule) {
        return Ok(0);
    }
    stream::iter(0..DEFERRED_PARTITIONS)
        .map(|partition| async move {
            if store.deferred(&rule.id, partition, None).await?.is_empty() {
                return Ok(0);
            }
            let mark = store.replay_mark(&rule.id, partition).await?;
            let is_alive = mark.is_some_and(|mark| {
                mark.revision == rule.revision && (at - mark.at).abs() <= stalled_after
            });
            if is_alive {
                return Ok(0);
            }
            store.send_replay(&rule.id, partition).await?;
            store.mark_replay(rule, partition).await?;
            Ok(1)
        })
        .buffer_unordered(PARTITIONS_AT_ONCE)
        .try_fold(0, async |sent, count: u32| Ok(sent + count))
        .await
}

/// How far a replay has come in its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The revision of the rule under which it began with the first key.
    revision: u64,
    /// The last key that it has attempted.
    last: ObjectKey,
}

/// What a page of a replay came to.
#[derive(Debug)]
pub enum Replayed<E> {
    /// The partition has no more keys.
    End,
    /// The rule is not enabled any more: a resume sends the rest again.
    Stopped,
    /// A page of keys was replayed.
    Page {
        /// Where the next page begins.
        reached: Reached,
        /// Why keys of the page are still deferred.
        failed: Vec<E>,
    },
}

/// Replays the first page of a partition's deferred keys behind `reached`, `at_once` keys at a time: `carry`
/// replicates one under the rule it is given, and each key that it has settled is removed. If the rule was changed, the
/// page is the partition's first: a pause that is over may have deferred keys before `reached`, and its resume sends no
/// message to a partition whose replay is alive.
pub async fn replay_page<D, E, C>(
    store: &D,
    (rule_id, partition): (&RuleId, u8),
    reached: Option<&Reached>,
    at_once: usize,
    carry: &C,
) -> Result<Replayed<E>, E>
where
    D: DeferredKeys,
    E: From<D::Error>,
    C: AsyncFn(&Rule, &DeferredKey) -> Result<(), E>,
{
    let rule = store.read_rule(rule_id).await?;
    let Some(rule) = rule.filter(replicates) else {
        return Ok(Replayed::Stopped);
    };
    let same = reached.filter(|reached| reached.revision == rule.revision);
    let after = same.map(|reached| &reached.last);
    let page = store.deferred(rule_id, partition, after).await?;
    let Some(last) = page.last().map(|deferred| deferred.key.clone()) else {
        return Ok(Replayed::End);
    };
    store.mark_replay(&rule, partition).await?;
    let ended: Vec<Result<Step, E>> = stream::iter(page)
        .map(|deferred| async move { replay_key(store, rule_id, &deferred, carry).await })
        .buffer_unordered(at_once)
        .collect()
        .await;
    if ended.iter().any(|step| matches!(step, Ok(Step::Stopped))) {
        return Ok(Replayed::Stopped);
    }
    let failed = ended.into_iter().filter_map(Result::err).collect();
    let reached = Reached {
        revision: rule.revision,
        last,
    };
    Ok(Replayed::Page { reached, failed })
}

enum Step {
    Settled,
    Stopped,
}

async fn replay_key<D, E, C>(
    store: &D,
    rule_id: &RuleId,
    deferred: &DeferredKey,
    carry: &C,
) -> Result<Step, E>
where
    D: DeferredKeys,
    E: From<D::Error>,
    C: AsyncFn(&Rule, &DeferredKey) -> Result<(), E>,
{
    let remembered = store
        .remembered_rule(rule_id)
        .filter(|rule| admit_key(Some(rule), &deferred.key) == Admission::Replicate);
    let rule = match remembered {
        Some(rule) => Some(rule),
        None => store.read_rule(rule_id).await?,
    };
    match (admit_key(rule.as_ref(), &deferred.key), rule) {
        (Admission::Replicate, Some(rule)) => carry(&rule, deferred).await?,
        (Admission::Skip(SkipReason::OutOfScope), _) => {}
        _ => return Ok(Step::Stopped),
    }
    store.remove_deferred(rule_id, deferred).await?;
    Ok(Step::Settled)
}

/// Whether a rule replicates now. Notifications may already flow while a rule is being enabled.
pub fn replicates(rule: &Rule) -> bool {
    matches!(rule.state, RuleState::Enabled | RuleState::Enabling)
}
