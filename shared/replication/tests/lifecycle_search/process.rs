//! One process: its requests, its clocks and its memory.

use std::fmt::Debug;
use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tandem_replication::age::Moment;
use tandem_replication::deferral::{DeferredKey, DeferredKeys, ReplayMark, Rules};
use tandem_replication::failure_record::{Cleared, FailureRecords, FailureRevision, Recorded};
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::key_attempt::Carried;
use tandem_replication::names::{BucketName, ObjectKey, RuleId};
use tandem_replication::overwrite::Overwrite;
use tandem_replication::replicator::Outcome;
use tandem_replication::rule::{Policy, Rule, RuleState};
use tandem_replication::rule_memory::{BucketRules, Known, RuleMemory};
use tandem_replication::work::deferred_partition;

use super::world::{Answer, Began, Message, Without, World, key, time};

#[derive(Debug, Default)]
pub struct Memory {
    by_bucket: RuleMemory<BucketName, Known>,
    by_id: RuleMemory<RuleId, Rule>,
    /// The rule as the process last read it.
    last_read: Option<Rule>,
    /// The rule as the process read it before it deferred the key.
    when_deferred: Option<Rule>,
    /// A summary of the memory.
    digest: [Option<(Moment, Brief)>; 2],
    /// The latest time that the wall clock has shown.
    latest_wall: i64,
}

/// The parts of a rule that matter here: its revision, and whether it has failures.
type Brief = (u64, bool);

fn brief(rule: &Rule) -> Brief {
    (rule.revision, false)
}

fn brief_of_known(known: &Known) -> Brief {
    let revision = known.rule.as_ref().map_or(0, |rule| rule.revision);
    (revision, known.has_failures)
}

impl Memory {
    /// Stands for everything that is remembered between attempts.
    pub fn digest(&self) -> impl Hash + use<> {
        self.digest
    }
    /// Forgets what only one attempt may know.
    pub fn forget_deferral(&mut self) {
        self.when_deferred = None;
    }
}

#[derive(Debug, Clone)]
pub struct Process {
    pub id: usize,
    pub world: Arc<Mutex<World>>,
    pub memory: Arc<Mutex<Memory>>,
    /// A digest of everything that the running attempt has seen.
    pub seen: Arc<Mutex<u64>>,
}

impl Process {
    pub fn new(id: usize, world: &Arc<Mutex<World>>) -> Self {
        Self {
            id,
            world: Arc::clone(world),
            memory: Arc::default(),
            seen: Arc::default(),
        }
    }

    pub fn observe(&self, name: &str, value: &dyn Debug) {
        let mut seen = self.seen.lock().unwrap();
        let mut hasher = DefaultHasher::new();
        (*seen, name, format!("{value:?}")).hash(&mut hasher);
        *seen = hasher.finish();
    }

    /// Sends one request. It takes effect at one instant, and gets the answer that the schedule says.
    async fn request<T: Debug + Clone>(
        &self,
        name: &str,
        effect: impl FnOnce(&mut World) -> T,
    ) -> Result<T, Fault> {
        self.request_in_short(name, T::clone, effect).await
    }

    /// Sends one request as `request` does; only the result of `in_short` matters of the answer.
    async fn request_in_short<T, D: Debug>(
        &self,
        name: &str,
        in_short: impl FnOnce(&T) -> D,
        effect: impl FnOnce(&mut World) -> T,
    ) -> Result<T, Fault> {
        step().await;
        let mut world = self.world.lock().unwrap();
        let answer = std::mem::take(&mut world.answers[self.id]);
        let result = match answer {
            Answer::Given => Ok(effect(&mut world)),
            Answer::Refused => Err(Fault::because(Reason::Throttled, "refused")),
            Answer::Lost => {
                effect(&mut world);
                Err(Fault::because(Reason::Throttled, "lost"))
            }
        };
        drop(world);
        self.observe(name, &result.as_ref().ok().map(in_short));
        result
    }

    fn now(&self) -> Moment {
        let world = self.world.lock().unwrap();
        let monotonic = world.monotonic[self.id];
        let mut memory = self.memory.lock().unwrap();
        memory.latest_wall = memory.latest_wall.max(world.wall);
        let wall = match world.without {
            Without::WallClock => i64::try_from(monotonic).unwrap(),
            Without::UnknownAges => memory.latest_wall,
            _ => world.wall,
        };
        Moment {
            wall: time(wall),
            monotonic: match world.without {
                Without::MonotonicClock => Duration::from_secs(wall.unsigned_abs()),
                _ => Duration::from_secs(monotonic),
            },
        }
    }

    fn lacks(&self, rule: Without) -> bool {
        self.world.lock().unwrap().without == rule
    }

    /// One attempt at the key under a rule, with the behaviour that the protocol's own search shows.
    pub async fn carry(&self, rule: &Rule, began: Began) -> Result<Carried, Fault> {
        loop {
            let source = self.request("read source", |world| world.source).await?;
            let denied = self
                .request("write replica", |world| {
                    if world.replica == source {
                        return false;
                    }
                    if !world.denied {
                        world.write_replica(rule, began, source);
                    }
                    world.denied
                })
                .await?;
            if denied {
                return Err(Fault::because(Reason::DstPutObjectNotPermitted, "denied"));
            }
            let settled = self
                .request("verify", |world| world.source == source)
                .await?;
            if settled {
                return Ok(Carried::Settled(Outcome::InSync));
            }
        }
    }

    pub async fn write_rule(&self, rule: &Rule) -> Result<(), Fault> {
        self.request("write rule", |world| world.write_rule(rule))
            .await
    }

    /// Deletes the rule as `configure-rule` does.
    pub async fn delete_rule(&self) -> Result<(), Fault> {
        let Some(rule) = self.read_rule(&super::world::rule_id()).await? else {
            return Ok(());
        };
        let deleting = Rule {
            state: RuleState::Deleting,
            revision: rule.revision + 1,
            ..rule
        };
        self.write_rule(&deleting).await?;
        self.request("remove deferred", |world| world.deferred = None)
            .await?;
        self.request("remove failures", |world| world.record = None)
            .await?;
        self.request("remove rule", World::remove_rule).await
    }

    /// Changes the rule's state or policy.
    pub async fn change_rule(
        &self,
        state: Option<RuleState>,
        policy: Option<Policy>,
    ) -> Result<(), Fault> {
        let Some(rule) = self.read_rule(&super::world::rule_id()).await? else {
            return Ok(());
        };
        let changed = Rule {
            state: state.unwrap_or(rule.state),
            policy: policy.unwrap_or(rule.policy),
            revision: rule.revision + 1,
            ..rule
        };
        self.write_rule(&changed).await
    }
}

/// Lets any other event happen first.
async fn step() {
    let mut waited = false;
    poll_fn(|context| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl BucketRules for Process {
    type Error = Fault;

    fn remembered(&self, bucket: &BucketName) -> Option<Known> {
        let now = self.now();
        let known = self.memory.lock().unwrap().by_bucket.recall(bucket, now);
        self.observe("remembered", &known.as_ref().map(brief_of_known));
        known
    }

    async fn read(&self, bucket: &BucketName) -> Result<Known, Fault> {
        if self.lacks(Without::ReadingBeforeSkipping)
            && let Some(known) = self.remembered(bucket)
        {
            return Ok(known);
        }
        let read_at = self.now();
        let known = self
            .request_in_short("read", brief_of_known, |world| Known {
                rule: world.rule.clone().map(Arc::new),
                has_failures: world.record.is_some(),
            })
            .await?;
        let mut memory = self.memory.lock().unwrap();
        memory.last_read = known.rule.as_deref().cloned();
        memory.digest[0] = Some((read_at, brief_of_known(&known)));
        memory
            .by_bucket
            .remember(bucket.clone(), read_at, known.clone());
        Ok(known)
    }
}

impl Rules for Process {
    type Error = Fault;

    fn remembered_rule(&self, rule: &RuleId) -> Option<Rule> {
        let now = self.now();
        let known = self.memory.lock().unwrap().by_id.recall(rule, now);
        self.observe("remembered rule", &known.as_ref().map(brief));
        known
    }

    async fn read_rule(&self, id: &RuleId) -> Result<Option<Rule>, Fault> {
        let when_deferred = self.memory.lock().unwrap().when_deferred.take();
        if self.lacks(Without::ReadingAfterDeferring) && when_deferred.is_some() {
            return Ok(when_deferred);
        }
        let read_at = self.now();
        let mut rule = self
            .request_in_short(
                "read rule",
                |rule: &Option<Rule>| rule.as_ref().map(brief),
                |world| world.rule.clone(),
            )
            .await?;
        self.memory.lock().unwrap().last_read.clone_from(&rule);
        if self.lacks(Without::CheckingAfterDeferring)
            && when_deferred.is_some()
            && let Some(rule) = &mut rule
            && rule.state == RuleState::Deleting
        {
            rule.state = RuleState::Enabled;
        }
        if let Some(rule) = &rule {
            let mut memory = self.memory.lock().unwrap();
            memory.digest[1] = Some((read_at, brief(rule)));
            memory.by_id.remember(id.clone(), read_at, rule.clone());
        }
        Ok(rule)
    }
}

impl DeferredKeys for Process {
    async fn put_deferred(&self, _rule: &RuleId, key: &DeferredKey) -> Result<(), Fault> {
        self.request("defer", |world| {
            let weaker =
                |stored: &DeferredKey| strength(stored.overwrite) <= strength(key.overwrite);
            if world.deferred.as_ref().is_none_or(weaker) {
                world.deferred = Some(key.clone());
            }
        })
        .await?;
        let memory = &mut *self.memory.lock().unwrap();
        memory.when_deferred.clone_from(&memory.last_read);
        Ok(())
    }

    async fn remove_deferred(&self, _rule: &RuleId, key: &DeferredKey) -> Result<(), Fault> {
        self.request("remove", |world| {
            let any = world.without == Without::Tokens;
            world
                .deferred
                .take_if(|stored| any || stored.token == key.token);
        })
        .await
    }

    async fn deferred(
        &self,
        _rule: &RuleId,
        partition: u8,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<DeferredKey>, Fault> {
        if partition != deferred_partition(&key()) || after.is_some() {
            return Ok(Vec::new());
        }
        self.request("deferred", |world| world.deferred.iter().cloned().collect())
            .await
    }

    async fn replay_mark(
        &self,
        _rule: &RuleId,
        _partition: u8,
    ) -> Result<Option<ReplayMark>, Fault> {
        self.request("replay mark", |world| world.mark.clone())
            .await
    }

    async fn mark_replay(&self, rule: &Rule, _partition: u8) -> Result<(), Fault> {
        self.request("mark replay", |world| {
            world.mark = Some(ReplayMark {
                revision: rule.revision,
                at: time(world.wall),
            });
        })
        .await
    }

    async fn send_second_attempt(&self, _rule: &RuleId, _key: &DeferredKey) -> Result<(), Fault> {
        const DELAY_SECS: i64 = 10;
        self.request("send second attempt", |world| {
            world.send_later(Message::Object, DELAY_SECS);
        })
        .await
    }

    async fn send_replay(&self, _rule: &RuleId, _partition: u8) -> Result<(), Fault> {
        self.request("send replay", |world| world.send(Message::Replay))
            .await
    }
}

fn strength(overwrite: Overwrite) -> u8 {
    match overwrite {
        Overwrite::Always => 2,
        Overwrite::IfOlder => 1,
        Overwrite::Never => 0,
    }
}

impl FailureRecords for Process {
    async fn failure_revision(
        &self,
        _rule: &RuleId,
        _key: &ObjectKey,
    ) -> Result<Option<FailureRevision>, Fault> {
        self.request("failure revision", |world| {
            world
                .record
                .map(|record| FailureRevision::new(record.revision.to_string()))
        })
        .await
    }

    async fn record_failure(
        &self,
        _rule: &Rule,
        _key: &ObjectKey,
        _fault: &Fault,
        _overwrite: Overwrite,
    ) -> Result<Recorded, Fault> {
        let id = self.id;
        self.request("record failure", |world| {
            let unsent = world.unsent_records.contains(&true);
            let none = world.record.is_none() && !unsent;
            let first = none && world.without != Without::SecondAttempt;
            if world.without == Without::RecordBeforeAcknowledging {
                world.unsent_records[id] = true;
            } else {
                world.write_record();
            }
            if first {
                Recorded::First
            } else {
                Recorded::Again
            }
        })
        .await
    }

    async fn clear_failure(
        &self,
        _rule: &RuleId,
        _key: &ObjectKey,
        seen: &FailureRevision,
    ) -> Result<Cleared, Fault> {
        self.request("clear failure", |world| {
            let changed = world
                .record
                .is_some_and(|record| record.revision.to_string() != seen.as_str());
            if changed && world.without != Without::RevisionOfRecords {
                return match world.without {
                    Without::AttemptAfterChangedRecord => Cleared::Gone,
                    _ => Cleared::Changed,
                };
            }
            world.record = None;
            Cleared::Gone
        })
        .await
    }
}
