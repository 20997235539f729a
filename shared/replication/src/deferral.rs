//! Keys that change while their rule is paused are deferred, and replayed when the rule is resumed. No I/O.
//!
//! A notification only hints that a key changed, so only the key is stored, and only once however often it changes.
//! No key is lost: a worker stores the key and then reads the rule again; a resume writes the rule and then reads the
//! stored keys. Whatever the timing, at least one of the two sees what the other wrote.

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

/// A replay that has written no mark for longer than this has lost its message. It is twice the work queue's visibility
/// timeout.
pub const REPLAY_STALLED_AFTER: chrono::TimeDelta = chrono::TimeDelta::hours(3);
/// A repeated resume sends another message for a partition whose replay has written no mark for longer than this. A
/// second message does no harm.
const RESUME_AGAIN_AFTER: chrono::TimeDelta = chrono::TimeDelta::minutes(15);
/// How many partitions a resume checks concurrently.
const PARTITIONS_AT_ONCE: usize = DEFERRED_PARTITIONS as usize;

/// A key that waits for its rule to be resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeferredKey {
    /// The key.
    pub key: ObjectKey,
    /// When the change happened, by the service's clock.
    pub changed_at: Timestamp,
    /// Unique for each time that the key is deferred.
    pub token: String,
    /// What its copy may replace.
    #[serde(default, skip_serializing_if = "Overwrite::is_always")]
    pub overwrite: Overwrite,
    /// For an object of a job: what the job may have written. A replica by another writer is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<OwnWrites>,
}

/// The newest mark of a partition's replay, which shows that the replay is alive.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReplayMark {
    /// The revision of the rule. The replay began with the partition's first key under this revision.
    pub revision: u64,
    /// When the mark was written.
    pub at: Timestamp,
}

/// Access to the rules by id.
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
    /// Stores a key. It replaces a stored entry of the same key, unless that entry may overwrite more. Atomic and
    /// repeat-safe.
    fn put_deferred(
        &self,
        rule: &RuleId,
        key: &DeferredKey,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Removes a key, unless it was deferred again since, as its token shows. Atomic and repeat-safe.
    fn remove_deferred(
        &self,
        rule: &RuleId,
        key: &DeferredKey,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Returns the first keys of a partition after `after`, in order; empty after the last key.
    fn deferred(
        &self,
        rule: &RuleId,
        partition: u8,
        after: Option<&ObjectKey>,
    ) -> impl Future<Output = Result<Vec<DeferredKey>, Self::Error>> + Send;

    /// Returns the newest mark of a partition's replay.
    fn replay_mark(
        &self,
        rule: &RuleId,
        partition: u8,
    ) -> impl Future<Output = Result<Option<ReplayMark>, Self::Error>> + Send;

    /// Stores a mark: a partition's replay is alive under this rule.
    fn mark_replay(
        &self,
        rule: &Rule,
        partition: u8,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Sends a separate message that attempts a key once more. It is delivered only after every process has forgotten
    /// what it knew about the rule's failures.
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

/// The result of deferring a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deferred {
    /// The key is stored, and the rule is still paused: a resume will find the key.
    Kept,
    /// The rule is no longer paused, and a resume may have missed the key. The key is replicated now and removed
    /// afterwards.
    ReplicateNow(Box<Rule>),
    /// The rule no longer replicates the key. The stored key has been removed.
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
    // While the rule is paused the key stays stored, even if the rule would skip it. The replay decides about it.
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

/// What happens to a key of the work queue under a rule that was just read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admitted {
    /// The key is replicated under this rule.
    Replicate(Box<Rule>),
    /// The key was deferred, but the rule was resumed in the meantime. The key is replicated under this rule, and
    /// removed from the deferred keys afterwards.
    ReplicateDeferred(Box<Rule>),
    /// The key is deferred: a resume will find it.
    Deferred,
    /// Nothing is done about the key.
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

/// Resumes a rule and replays its deferred keys. `write` stores the rule in its new state. The rule is written before
/// the keys are read: a worker that defers a key later reads the rule again, and a key that was deferred earlier is
/// found here. A resume that failed can be repeated and continues where it stopped. If it is not repeated, hourly
/// maintenance replays the keys.
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
/// revision, or has written no mark for longer than `stalled_after`. Returns the number of messages. It may send two
/// messages for a partition, but never misses one. It sends none for a rule that is not enabled.
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
    /// The revision of the rule under which the replay began with the first key.
    revision: u64,
    /// The last key that the replay has attempted.
    last: ObjectKey,
}

/// The result of one page of a replay.
#[derive(Debug)]
pub enum Replayed<E> {
    /// The partition has no more keys.
    End,
    /// The rule is no longer enabled: a resume sends the rest again.
    Stopped,
    /// A page of keys was replayed.
    Page {
        /// Where the next page begins.
        reached: Reached,
        /// Why keys of the page are still deferred.
        failed: Vec<E>,
    },
}

/// Replays the next page of a partition's deferred keys after `reached`, `at_once` keys at a time. `carry` replicates
/// one key under the given rule, and each key that it has settled is removed. If the rule was changed, the page is the
/// partition's first: a pause that has ended may have deferred keys before `reached`, and its resume sends no message
/// for a partition whose replay is alive.
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

/// Returns whether a rule replicates now. Notifications may already flow while a rule is being enabled.
pub fn replicates(rule: &Rule) -> bool {
    matches!(rule.state, RuleState::Enabled | RuleState::Enabling)
}
