//! The state that all processes share: one key in two buckets, its rule, its items in the table, and the queue.

use std::collections::BTreeMap;
use std::hash::Hash;

use chrono::TimeDelta;
use tandem_replication::Timestamp;
use tandem_replication::deferral::{DeferredKey, ReplayMark};
use tandem_replication::names::{BucketName, Etag, ObjectKey, Region, RuleId};
use tandem_replication::rule::{Bucket, Policy, Rule, RuleState};

/// The rule of the protocol that a case leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Without {
    /// No rule is left out.
    Nothing,
    /// After a key is deferred, the rule is not read again; the earlier read counts.
    ReadingAfterDeferring,
    /// After a key is deferred, the code checks only whether the rule is paused.
    CheckingAfterDeferring,
    /// A remembered rule may also decide to skip or defer.
    ReadingBeforeSkipping,
    /// A key is removed although it was deferred again meanwhile.
    Tokens,
    /// A failure is stored after its message is acknowledged.
    RecordBeforeAcknowledging,
    /// A success clears any record of the key.
    RevisionOfRecords,
    /// A success that could not clear the record does not lead to another attempt.
    AttemptAfterChangedRecord,
    /// A failure is not attempted a second time.
    SecondAttempt,
    /// Ages are measured by the monotonic clock only.
    WallClock,
    /// Ages are measured by the wall clock only.
    MonotonicClock,
    /// A resume searches for keys before it writes the rule.
    RuleBeforeKeys,
    /// A clock that was set back is treated as one that stood still.
    UnknownAges,
}

/// An object, or none (0). Every put has different bytes.
pub type Object = u8;

/// A message of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// A notification: this object was put, or the key was deleted (0).
    Live(Object),
    /// A large object is handed to the work queue.
    Object,
    /// Replay the deferred keys.
    Replay,
}

/// A message that waits in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delivery {
    pub message: Message,
    /// How often it was received.
    pub receives: u32,
    /// The time from which it is visible.
    pub due: i64,
}

/// A failure record: the number of the write that stored it, and its number of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Record {
    pub revision: u32,
    pub attempts: u32,
}

/// The answer to the next request of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Answer {
    #[default]
    Given,
    /// The request is refused, and has no effect.
    Refused,
    /// The request takes effect, but its answer is lost.
    Lost,
}

#[derive(Debug)]
pub struct World {
    pub without: Without,
    pub source: Object,
    pub replica: Object,
    /// Whether writes of the replica are denied.
    pub denied: bool,
    /// Whether the replica outlives the object, because the rule did not replicate deletes.
    pub kept: bool,
    pub rule: Option<Rule>,
    /// Every revision of the rule, with its state and when it was replaced.
    pub revisions: BTreeMap<u64, (RuleState, Option<i64>)>,
    pub deferred: Option<DeferredKey>,
    pub mark: Option<ReplayMark>,
    pub record: Option<Record>,
    /// Writes of the failure record that a process has not sent yet, by process.
    pub unsent_records: Vec<bool>,
    pub records_written: u32,
    pub queue: Vec<Delivery>,
    pub tokens: u32,
    /// Real time, in seconds.
    pub real: i64,
    /// The time that the wall clock shows.
    pub wall: i64,
    /// The time that the monotonic clock of each process shows.
    pub monotonic: Vec<u64>,
    pub answers: Vec<Answer>,
    /// The violation that happened during the run, if any.
    pub wrong: Option<String>,
}

pub fn key() -> ObjectKey {
    ObjectKey::parse("k").unwrap()
}

pub fn rule_id() -> RuleId {
    RuleId::new("r")
}

pub fn etag(object: Object) -> Etag {
    Etag::new(&format!("\"{object}\""))
}

pub fn time(secs: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + TimeDelta::seconds(secs)
}

pub fn rule(state: RuleState, policy: Policy) -> Rule {
    let bucket = |name: &str| Bucket {
        name: BucketName::parse(name).unwrap(),
        region: Region::new("us-east-1"),
    };
    Rule {
        policy,
        state,
        ..Rule::new(rule_id(), bucket("source"), bucket("replica"), time(0))
    }
}

/// When an attempt began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Began {
    /// By the real time, in seconds.
    pub at: i64,
    /// The rule's revision at that time.
    pub revision: Option<u64>,
}

impl World {
    /// Writes the rule if it is the next revision.
    pub fn write_rule(&mut self, rule: &Rule) {
        if self.rule.as_ref().map(|old| old.revision + 1) != Some(rule.revision) {
            return;
        }
        self.supersede();
        self.revisions.insert(rule.revision, (rule.state, None));
        self.rule = Some(rule.clone());
    }

    pub fn remove_rule(&mut self) {
        self.supersede();
        self.rule = None;
    }

    fn supersede(&mut self) {
        let old = self.rule.as_ref().map(|rule| rule.revision);
        if let Some((_, replaced_at)) = old.and_then(|old| self.revisions.get_mut(&old)) {
            *replaced_at = Some(self.real);
        }
    }

    /// Adds a message that can be received now.
    pub fn send(&mut self, message: Message) {
        self.send_later(message, 0);
    }

    /// Adds a message that can be received after so many seconds.
    pub fn send_later(&mut self, message: Message, secs: i64) {
        let due = self.real + secs;
        self.queue.push(Delivery {
            message,
            receives: 0,
            due,
        });
        self.queue.sort_unstable();
    }

    pub fn write_record(&mut self) {
        self.records_written += 1;
        let attempts = self.record.map_or(0, |record| record.attempts) + 1;
        self.record = Some(Record {
            revision: self.records_written,
            attempts,
        });
    }

    /// The state at the start of an attempt, which its later writes are checked against.
    pub fn began(&self) -> Began {
        Began {
            at: self.real,
            revision: self.rule.as_ref().map(|rule| rule.revision),
        }
    }

    /// Writes the replica under a rule, in an attempt that began at `began`.
    pub fn write_replica(&mut self, rule: &Rule, began: Began, object: Object) {
        const IN_FORCE_SECS: i64 = 5;
        if object == 0 && rule.policy == Policy::Write {
            // An attempt that is under way when the rule changes ends under the old rule. An attempt that began after
            // the change must not.
            self.kept |= began.revision <= Some(rule.revision);
            return;
        }
        let (state, replaced_at) = self.revisions[&rule.revision];
        if !matches!(state, RuleState::Enabled | RuleState::Enabling) {
            self.wrong = Some(format!(
                "the replica is written while the rule is {state:?}"
            ));
        }
        if replaced_at.is_some_and(|at| at + IN_FORCE_SECS < began.at) {
            let old = rule.revision;
            self.wrong = Some(format!(
                "an attempt follows revision {old}, which was replaced long before"
            ));
        }
        self.replica = object;
    }

    /// Stands for the whole state of the world.
    pub fn digest(&self) -> impl Hash + use<> {
        let deferred = self.deferred.as_ref().map(|key| key.token.clone());
        let mark = self.mark.as_ref().map(|mark| (mark.revision, mark.at));
        let rule = self.rule.as_ref().map(|rule| rule.revision);
        let revisions: Vec<(u64, Option<i64>)> = self
            .revisions
            .iter()
            .map(|(revision, &(_, replaced_at))| (*revision, replaced_at))
            .collect();
        let objects = (self.source, self.replica, self.denied, self.kept);
        let stored = (
            deferred,
            mark,
            self.record,
            self.records_written,
            self.tokens,
        );
        let clocks = (self.real, self.wall, self.monotonic.clone());
        let unsent = self.unsent_records.clone();
        (
            objects,
            rule,
            revisions,
            stored,
            self.queue.clone(),
            clocks,
            unsent,
        )
    }

    pub fn pass(&mut self, secs: u32) {
        self.real += i64::from(secs);
        self.wall += i64::from(secs);
        for clock in &mut self.monotonic {
            *clock += u64::from(secs);
        }
    }
}
