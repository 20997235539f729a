//! What may be decided with a rule that was read a few seconds ago. No I/O.
//!
//! To replicate a change costs no read of the table, because a process remembers the rule. A remembered rule is only
//! enough to replicate a change. To skip or defer a change, the rule has to be read after the message was received: a
//! rule that was created, resumed or widened a moment ago must not lose the first change that it sends.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use crate::admit::{Admission, admit};
use crate::age::Moment;
use crate::event::{Change, ObjectEvent};
use crate::fault::Fault;
use crate::names::BucketName;
use crate::rule::{Policy, Rule};

/// How long a process remembers a rule: a change of a rule takes effect within this time.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(5);

/// What a process knows about the rule of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The rule that replicates from the bucket.
    pub rule: Option<Arc<Rule>>,
    /// Whether any of the rule's objects has a failure record. Then a success has a record to clear.
    pub has_failures: bool,
}

/// Values that a process has read, each with the moment at which its read began.
#[derive(Debug, Clone)]
pub struct RuleMemory<K, V> {
    known: HashMap<K, (Moment, V)>,
}

impl<K, V> Default for RuleMemory<K, V> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
        }
    }
}

impl<K: Eq + Hash, V: Clone> RuleMemory<K, V> {
    /// Returns what was read at most [`REMEMBERED_FOR`] before `now`. A value whose age is unknown is forgotten.
    pub fn recall(&self, key: &K, now: Moment) -> Option<V> {
        let (read_at, value) = self.known.get(key)?;
        read_at
            .is_within(REMEMBERED_FOR, now)
            .then(|| value.clone())
    }

    /// Remembers a value whose read began at `read_at`.
    pub fn remember(&mut self, key: K, read_at: Moment, value: V) {
        self.known.insert(key, (read_at, value));
    }
}

/// Access to the rules by source bucket, for a live function.
pub trait BucketRules {
    /// Why a rule cannot be read.
    type Error: Into<Fault>;

    /// Returns what this process read at most [`REMEMBERED_FOR`] ago.
    fn remembered(&self, bucket: &BucketName) -> Option<Known>;

    /// Reads the rule and remembers it. The read is strongly consistent.
    fn read(&self, bucket: &BucketName) -> impl Future<Output = Result<Known, Self::Error>> + Send;
}

/// Returns what happens to the event under the rule of its bucket. Reads the rule before it skips or defers an event,
/// and if the policy `write` may keep the replica of a deleted object.
pub async fn admission<R: BucketRules>(
    rules: &R,
    event: &ObjectEvent,
) -> Result<(Known, Admission), R::Error> {
    if let Some(known) = rules.remembered(&event.bucket)
        && admit(known.rule.as_deref(), event) == Admission::Replicate
        && was_sent_for(event, &known)
        && !keeps_a_delete(event, &known)
    {
        return Ok((known, Admission::Replicate));
    }
    let known = rules.read(&event.bucket).await?;
    let admission = admit(known.rule.as_deref(), event);
    Ok((known, admission))
}

/// Returns whether the event is a delete whose replica the known policy may keep.
fn keeps_a_delete(event: &ObjectEvent, known: &Known) -> bool {
    let policy = known.rule.as_ref().map(|rule| rule.policy);
    event.change == Change::Removed && policy == Some(Policy::Write)
}

/// Returns whether the event was sent for the known rule, as far as it names a rule.
fn was_sent_for(event: &ObjectEvent, known: &Known) -> bool {
    match (&event.sent_for, &known.rule) {
        (Some(sent_for), Some(rule)) => *sent_for == rule.id,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::Timestamp;

    // Promise: A change of a rule takes effect within seconds: a remembered rule expires by the larger of the
    // wall clock and the monotonic clock, and by a clock that was set back.
    #[test]
    fn a_remembered_rule_expires_by_either_clock_and_if_a_clock_was_set_back() {
        let moment = |wall_secs: i64, monotonic_secs: u64| Moment {
            wall: Timestamp::UNIX_EPOCH + TimeDelta::seconds(wall_secs),
            monotonic: Duration::from_secs(monotonic_secs),
        };
        let mut memory = RuleMemory::default();
        memory.remember("bucket", moment(100, 100), "rule");
        assert_eq!(memory.recall(&"bucket", moment(105, 105)), Some("rule"));
        assert_eq!(memory.recall(&"bucket", moment(3_700, 101)), None);
        assert_eq!(memory.recall(&"bucket", moment(101, 106)), None);
        assert_eq!(memory.recall(&"bucket", moment(99, 101)), None);
        assert_eq!(memory.recall(&"another", moment(100, 100)), None);
    }
}
