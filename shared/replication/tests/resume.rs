//! What a resume sends, and where a replay continues.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use chrono::TimeDelta;
use tandem_replication::Timestamp;
use tandem_replication::deferral::{
    DeferredKey, DeferredKeys, REPLAY_STALLED_AFTER, Reached, ReplayMark, Replayed, Rules,
    replay_page, resume, send_replays,
};
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::names::{BucketName, ObjectKey, Region, RuleId};
use tandem_replication::overwrite::Overwrite;
use tandem_replication::rule::{Bucket, Rule, RuleState};
use tandem_replication::work::{DEFERRED_PARTITIONS, deferred_partition};

fn at(minutes: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + TimeDelta::minutes(minutes)
}

fn rule(state: RuleState, revision: u64) -> Rule {
    let bucket = |name: &str| Bucket {
        name: BucketName::parse(name).unwrap(),
        region: Region::new("eu-west-1"),
    };
    Rule {
        state,
        revision,
        ..Rule::new(
            RuleId::new("rule"),
            bucket("source"),
            bucket("destination"),
            at(0),
        )
    }
}

fn key(number: usize) -> ObjectKey {
    ObjectKey::parse(format!("key-{number:03}")).unwrap()
}

/// A table and a queue in memory.
struct Store {
    rule: Mutex<Rule>,
    keys: Mutex<BTreeMap<String, DeferredKey>>,
    marks: Mutex<BTreeMap<u8, ReplayMark>>,
    sent: Mutex<Vec<u8>>,
    /// How many more messages can be sent.
    sends_left: Mutex<usize>,
    wall: Mutex<Timestamp>,
}

impl Store {
    /// A store with keys in all partitions.
    fn with_keys(state: RuleState) -> Self {
        let keys = (0..100).map(|number| {
            let deferred = DeferredKey {
                key: key(number),
                changed_at: at(0),
                token: "token".to_owned(),
                overwrite: Overwrite::Always,
                own: None,
            };
            (deferred.key.as_str().to_owned(), deferred)
        });
        Self {
            rule: Mutex::new(rule(state, 1)),
            keys: Mutex::new(keys.collect()),
            marks: Mutex::default(),
            sent: Mutex::default(),
            sends_left: Mutex::new(usize::MAX),
            wall: Mutex::new(at(0)),
        }
    }

    fn rule(&self) -> Rule {
        self.rule.lock().unwrap().clone()
    }

    fn take_sent(&self) -> Vec<u8> {
        let mut sent = std::mem::take(&mut *self.sent.lock().unwrap());
        sent.sort_unstable();
        sent
    }

    async fn resume(&self, minutes: i64) -> Result<Rule, Fault> {
        *self.wall.lock().unwrap() = at(minutes);
        let write = async |next: &Rule| {
            *self.rule.lock().unwrap() = next.clone();
            Ok::<_, Fault>(())
        };
        resume(self, self.rule(), at(minutes), write).await
    }

    /// Replays one page of the first partition. Every key fails, so it stays deferred.
    async fn replay(&self, reached: Option<&Reached>, replayed: &Mutex<Vec<String>>) -> Reached {
        let carry = async |_: &Rule, deferred: &DeferredKey| {
            replayed
                .lock()
                .unwrap()
                .push(deferred.key.as_str().to_owned());
            Err::<(), _>(fault())
        };
        let id = RuleId::new("rule");
        let page = replay_page(self, (&id, 0), reached, 1, &carry).await;
        match page.unwrap() {
            Replayed::Page { reached, .. } => reached,
            other => panic!("{other:?}"),
        }
    }
}

fn fault() -> Fault {
    Fault::because(Reason::ServiceFailed, "503")
}

impl Rules for Store {
    type Error = Fault;

    fn remembered_rule(&self, _: &RuleId) -> Option<Rule> {
        None
    }

    async fn read_rule(&self, _: &RuleId) -> Result<Option<Rule>, Fault> {
        Ok(Some(self.rule()))
    }
}

impl DeferredKeys for Store {
    async fn put_deferred(&self, _: &RuleId, key: &DeferredKey) -> Result<(), Fault> {
        let mut keys = self.keys.lock().unwrap();
        keys.insert(key.key.as_str().to_owned(), key.clone());
        Ok(())
    }

    async fn remove_deferred(&self, _: &RuleId, key: &DeferredKey) -> Result<(), Fault> {
        self.keys.lock().unwrap().remove(key.key.as_str());
        Ok(())
    }

    /// Two keys per page.
    async fn deferred(
        &self,
        _: &RuleId,
        partition: u8,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<DeferredKey>, Fault> {
        let keys = self.keys.lock().unwrap();
        let inside = keys
            .values()
            .filter(|deferred| deferred_partition(&deferred.key) == partition)
            .filter(|deferred| after.is_none_or(|after| deferred.key.as_str() > after.as_str()));
        Ok(inside.take(2).cloned().collect())
    }

    async fn replay_mark(&self, _: &RuleId, partition: u8) -> Result<Option<ReplayMark>, Fault> {
        Ok(self.marks.lock().unwrap().get(&partition).cloned())
    }

    async fn mark_replay(&self, rule: &Rule, partition: u8) -> Result<(), Fault> {
        let mark = ReplayMark {
            revision: rule.revision,
            at: *self.wall.lock().unwrap(),
        };
        self.marks.lock().unwrap().insert(partition, mark);
        Ok(())
    }

    async fn send_second_attempt(&self, _: &RuleId, _: &DeferredKey) -> Result<(), Fault> {
        Ok(())
    }

    async fn send_replay(&self, _: &RuleId, partition: u8) -> Result<(), Fault> {
        let mut left = self.sends_left.lock().unwrap();
        *left = left.checked_sub(1).ok_or_else(fault)?;
        self.sent.lock().unwrap().push(partition);
        Ok(())
    }
}

/// Runs a future that never waits.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(work).poll(&mut context) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("the store never waits"),
    }
}

fn partitions() -> Vec<u8> {
    (0..DEFERRED_PARTITIONS).collect()
}

// Promise: A repeated resume continues where the last one stopped: it sends no message again for deferred keys whose
// replay is under way.
#[test]
fn a_repeated_resume_sends_what_the_first_one_did_not() {
    block_on(async {
        let store = Store::with_keys(RuleState::Paused);
        *store.sends_left.lock().unwrap() = 3;
        store.resume(0).await.unwrap_err();
        let mut sent = store.take_sent();
        assert_eq!(sent.len(), 3);
        *store.sends_left.lock().unwrap() = usize::MAX;
        store.resume(1).await.unwrap();
        sent.extend(store.take_sent());
        sent.sort_unstable();
        assert_eq!(sent, partitions());
        store.resume(2).await.unwrap();
        assert_eq!(store.take_sent(), [0_u8; 0], "everything has been sent");
        store.resume(60).await.unwrap();
        assert_eq!(store.take_sent(), partitions(), "no replay has left a mark");
    });
}

#[test]
fn another_pause_and_resume_sends_every_partition_again() {
    block_on(async {
        let store = Store::with_keys(RuleState::Paused);
        store.resume(0).await.unwrap();
        assert_eq!(store.take_sent(), partitions());
        {
            let mut rule = store.rule.lock().unwrap();
            rule.state = RuleState::Paused;
            rule.revision += 1;
        }
        store.resume(1).await.unwrap();
        assert_eq!(store.take_sent(), partitions());
    });
}

#[test]
fn a_rule_that_is_not_enabled_replays_nothing() {
    block_on(async {
        for state in [RuleState::Paused, RuleState::Deleting] {
            let store = Store::with_keys(state);
            let sent = send_replays(&store, &store.rule(), at(0), REPLAY_STALLED_AFTER).await;
            assert_eq!((sent.unwrap(), store.take_sent()), (0, Vec::new()));
            let carry = async |_: &Rule, _: &DeferredKey| -> Result<(), Fault> {
                panic!("{state:?} and replays")
            };
            let id = RuleId::new("rule");
            let page = replay_page(&store, (&id, 0), None, 1, &carry).await;
            assert!(matches!(page, Ok(Replayed::Stopped)), "{page:?}");
        }
        for state in [RuleState::Enabled, RuleState::Enabling] {
            let store = Store::with_keys(state);
            let sent = send_replays(&store, &store.rule(), at(0), REPLAY_STALLED_AFTER).await;
            assert_eq!(sent.unwrap(), u32::from(DEFERRED_PARTITIONS));
        }
    });
}

/// The resume after the second pause sends no message to a partition whose replay is still running. That replay must
/// not skip the keys that the second pause deferred.
#[test]
fn a_replay_starts_again_if_the_rule_was_changed() {
    block_on(async {
        let store = Store::with_keys(RuleState::Enabled);
        let replayed = Mutex::default();
        let first = store.replay(None, &replayed).await;
        let second = store.replay(Some(&first), &replayed).await;
        let keys = replayed.lock().unwrap().clone();
        assert_eq!(keys.len(), 4);
        assert!(keys.is_sorted());
        store.rule.lock().unwrap().revision += 2;
        store.replay(Some(&second), &replayed).await;
        let again = replayed.lock().unwrap().split_off(4);
        assert_eq!(again, keys[..2], "the page after the change is the first");
    });
}
