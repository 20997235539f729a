//! The table, the queue and the two buckets. Every request is atomic at one instant, except a copy, which reads at one
//! instant and lands at a later one.
//!
//! A live change is treated as atomic: the search of single keys shows that the live path converges.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use chrono::TimeDelta;
use tandem_replication::Timestamp;
use tandem_replication::bucket_pair::Side;
use tandem_replication::progress::Counts;
use tandem_replication::shard_session::{Gate, ShardPorts};
use tandem_replication::shard_state::{Guard, Shard};

pub type Key = &'static str;

/// The bytes of another writer's object.
pub const FOREIGN: &str = "foreign";

/// An object: its bytes (named by the `ETag`) and its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Object {
    pub etag: &'static str,
    pub metadata: &'static str,
    pub written_secs: i64,
}

/// The rule of the protocol that is removed, to show that the search notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weakness {
    None,
    /// A page does not record what it may write.
    PageNotRecorded,
    /// A successor treats every leftover as Tandem's own.
    EveryLeftoverIsOwn,
    /// The lease does not exclude other workers.
    NoLease,
    /// A lease is taken over while its holder may still have something in flight.
    LeaseEndsAtOnce,
    /// A release does not notice that the epoch was raised.
    ReleaseIgnoresEpoch,
    /// A successor does not send the message for the epoch that its predecessor raised.
    NothingSentAgain,
    /// A step forgets the objects that were in flight before it.
    StepForgetsSuspects,
    /// A child shard inherits nothing.
    ChildInheritsNothing,
}

/// A message of the work queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Message {
    pub id: String,
    pub index: u32,
    pub epoch: u64,
    pub receives: u32,
    pub state: MessageState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageState {
    Visible,
    /// This many workers have it.
    Received(u32),
    /// Its last worker failed or died. It can be received again when no lease on the shard is for this message.
    Hidden,
}

/// A copy that has read the source and not yet landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Copying {
    pub worker: usize,
    pub key: Key,
    pub object: Object,
}

#[derive(Debug)]
pub struct World {
    pub shards: BTreeMap<u32, Shard>,
    pub next_index: u32,
    pub messages: Vec<Message>,
    pub gate: Gate,
    pub source: BTreeMap<Key, Object>,
    pub replica: BTreeMap<Key, Object>,
    pub copying: BTreeMap<u64, Copying>,
    pub next_copy: u64,
    /// Keys that changed at the source and whose notification was not delivered.
    pub changed: Vec<Key>,
    pub clock_secs: i64,
    pub weakness: Weakness,
    /// For each worker, a digest of everything that it has observed since it began.
    pub observed: Vec<u64>,
    /// Keys whose object of another writer was replaced or deleted by a live change, or by a copy in flight. Nothing
    /// protects the destination from these.
    pub excused: BTreeSet<Key>,
    /// How many more requests of pages will fail.
    pub failures: u32,
    pub splits: u32,
    pub concurrency: usize,
}

/// The error of a page's request that fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the service failed")]
pub struct Failed;

impl World {
    pub fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + TimeDelta::seconds(self.clock_secs)
    }

    pub fn observe(&mut self, worker: usize, what: impl Hash) {
        let mut hasher = DefaultHasher::new();
        (self.observed[worker], what).hash(&mut hasher);
        self.observed[worker] = hasher.finish();
    }

    pub fn side(&self, side: Side) -> &BTreeMap<Key, Object> {
        match side {
            Side::Source => &self.source,
            Side::Replica => &self.replica,
        }
    }

    /// A live worker makes the replica what the source is, at one instant.
    pub fn replicate(&mut self, key: Key) {
        match self.source.get(key).copied() {
            None => {
                self.excuse(key);
                self.replica.remove(key);
            }
            Some(object) => self.put_replica(key, object),
        }
    }

    fn excuse(&mut self, key: Key) {
        let replica = self.replica.get(key);
        if replica.is_some_and(|replica| replica.etag == FOREIGN) {
            self.excused.insert(key);
        }
    }

    pub fn put_replica(&mut self, key: Key, object: Object) {
        let written_secs = self.clock_secs;
        let object = Object {
            written_secs,
            ..object
        };
        self.replica.insert(key, object);
    }

    pub fn land(&mut self, copy: u64) {
        if let Some(copying) = self.copying.remove(&copy) {
            self.excuse(copying.key);
            self.put_replica(copying.key, copying.object);
        }
    }

    fn send(&mut self, index: u32, epoch: u64) {
        let same = |message: &&Message| (message.index, message.epoch) == (index, epoch);
        let copies = self.messages.iter().filter(same).count();
        self.messages.push(Message {
            id: format!("{index}-{epoch}-{copies}"),
            index,
            epoch,
            receives: 0,
            state: MessageState::Visible,
        });
    }

    /// Whether the job reports completion: every shard has ended and has nothing in flight.
    pub fn is_complete(&self) -> bool {
        let mut shards = self.shards.values();
        shards.all(|shard| shard.has_ended() && shard.in_flight.is_none())
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for shard in self.shards.values() {
            counts.add(&shard.counts);
        }
        counts
    }

    /// Hashes everything that decides how the world continues, without the times that differ between equal schedules.
    pub fn digest(&self, hasher: &mut impl Hasher) {
        for shard in self.shards.values() {
            let lease = shard.lease.as_ref();
            let lease = lease.map(|lease| (&lease.holder, shard.is_leased(self.now())));
            (&shard.after, &shard.until, &shard.checkpoint, shard.epoch).hash(hasher);
            (&shard.sent_by, lease, &shard.in_flight, shard.sent).hash(hasher);
            (shard.has_ended(), &shard.error, shard.recoveries_failed).hash(hasher);
            (shard.counts.listed, shard.counts.copied, shard.counts.equal).hash(hasher);
        }
        (&self.messages, self.gate, &self.source, &self.replica).hash(hasher);
        let mut copying: Vec<Copying> = self.copying.values().copied().collect();
        copying.sort_by_key(|copy| (copy.worker, copy.key, copy.object.etag));
        (copying, &self.changed, self.failures, self.splits).hash(hasher);
        self.excused.hash(hasher);
    }
}

/// Lets the scheduler choose what happens next.
pub async fn step() {
    let mut stepped = false;
    poll_fn(|_| {
        if stepped {
            return Poll::Ready(());
        }
        stepped = true;
        Poll::Pending
    })
    .await;
}

/// The table and the queue, as one worker uses them.
#[derive(Debug, Clone)]
pub struct Ports {
    pub world: Arc<Mutex<World>>,
    pub worker: usize,
}

impl Ports {
    async fn request<T>(
        &self,
        answer: impl FnOnce(&mut World) -> T,
        seen: impl FnOnce(&T) -> u64,
    ) -> T {
        step().await;
        let mut world = self.world.lock().unwrap();
        let answer = answer(&mut world);
        let digest = seen(&answer);
        world.observe(self.worker, digest);
        answer
    }
}

/// A digest of a shard's item as a worker observes it.
fn digest_of(shard: &Shard) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&shard.until, &shard.checkpoint, shard.epoch, &shard.sent_by).hash(&mut hasher);
    (
        shard.lease.as_ref().map(|lease| &lease.holder),
        &shard.in_flight,
    )
        .hash(&mut hasher);
    (shard.has_ended(), shard.sent, shard.recoveries_failed).hash(&mut hasher);
    hasher.finish()
}

impl ShardPorts for Ports {
    type Error = Failed;

    async fn gate(&self) -> Result<Gate, Failed> {
        let gate = self.request(|world| world.gate, |gate| *gate as u64).await;
        Ok(gate)
    }

    async fn shard(&self, index: u32) -> Result<Option<Shard>, Failed> {
        let read = |world: &mut World| world.shards.get(&index).cloned();
        let seen = |shard: &Option<Shard>| shard.as_ref().map_or(0, digest_of);
        Ok(self.request(read, seen).await)
    }

    async fn shards(&self) -> Result<Vec<Shard>, Failed> {
        let read = |world: &mut World| world.shards.values().cloned().collect::<Vec<Shard>>();
        let seen = |shards: &Vec<Shard>| {
            shards
                .iter()
                .map(digest_of)
                .fold(7, |all: u64, one| all.rotate_left(9) ^ one)
        };
        Ok(self.request(read, seen).await)
    }

    async fn update(&self, guard: Guard<'_>, seen: &Shard, next: &Shard) -> Result<bool, Failed> {
        let write = |world: &mut World| {
            let allowed = world.allows(guard, seen.index);
            if allowed {
                world.change(seen, next);
            }
            allowed
        };
        Ok(self.request(write, |allowed| u64::from(*allowed)).await)
    }

    async fn new_index(&self) -> Result<Option<u32>, Failed> {
        let number = |world: &mut World| {
            world.next_index += 1;
            world.next_index - 1
        };
        Ok(Some(self.request(number, |index| u64::from(*index)).await))
    }

    async fn split(
        &self,
        guard: Guard<'_>,
        seen: &Shard,
        kept: &Shard,
        child: &Shard,
    ) -> Result<bool, Failed> {
        let write = |world: &mut World| {
            let allowed = world.allows(guard, seen.index);
            if allowed {
                world.change(seen, kept);
                let mut child = child.clone();
                if world.weakness == Weakness::ChildInheritsNothing {
                    child.in_flight = None;
                }
                world.shards.insert(child.index, child);
            }
            allowed
        };
        Ok(self.request(write, |allowed| u64::from(*allowed)).await)
    }

    async fn send(&self, index: u32, epoch: u64, _delay_secs: i32) -> Result<(), Failed> {
        self.request(|world| world.send(index, epoch), |()| 0).await;
        Ok(())
    }

    fn concurrency(&self) -> usize {
        self.world.lock().unwrap().concurrency
    }

    fn now(&self) -> Timestamp {
        self.world.lock().unwrap().now()
    }
}

impl World {
    fn allows(&self, guard: Guard<'_>, index: u32) -> bool {
        let Some(shard) = self.shards.get(&index) else {
            return false;
        };
        match (guard, self.weakness) {
            (Guard::HeldBy(_), Weakness::NoLease) => true,
            (Guard::Free { epoch, .. } | Guard::HeldAt(_, epoch), Weakness::NoLease) => {
                shard.epoch == epoch
            }
            (Guard::HeldAt(holder, _), Weakness::ReleaseIgnoresEpoch) => {
                Guard::HeldBy(holder).allows(shard)
            }
            _ => guard.allows(shard),
        }
    }

    /// Writes only the attributes that differ.
    fn change(&mut self, seen: &Shard, next: &Shard) {
        let Some(shard) = self.shards.get_mut(&seen.index) else {
            return;
        };
        macro_rules! set {
            ($($field:ident),*) => {
                $(if seen.$field != next.$field { shard.$field = next.$field.clone(); })*
            };
        }
        set!(
            until,
            checkpoint,
            pages,
            splits,
            probes,
            known,
            empty_above,
            sent,
            epoch,
            sent_by
        );
        set!(
            lease,
            in_flight,
            recoveries_failed,
            progressed_at,
            ended_at,
            error,
            s3_requests,
            counts
        );
    }
}
