//! One run: changes of the buckets, deliveries, workers, deaths and the maintenance, in the order of a schedule.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use chrono::TimeDelta;
use tandem_replication::in_flight::InFlight;
use tandem_replication::names::Etag;
use tandem_replication::shard::ShardRange;
use tandem_replication::shard_session::{Ended, Gate, ShardDelivery, Wake, wake, work};
use tandem_replication::shard_state::Shard;

mod verdict;

use super::pages::Pages;
use super::world::{FOREIGN, Key, Message, MessageState, Object, Ports, Weakness, World};

/// The changes from outside the job, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The source gets an object of these bytes and metadata.
    Put(Key, &'static str, &'static str),
    /// The source's object is deleted.
    Delete(Key),
    /// Another writer puts an object at the destination.
    Foreign(Key),
    /// The job or the rule is stopped. From now on its gate has this value.
    Stop(Gate),
    /// The job or the rule is resumed, and its shards are woken.
    Resume,
}

/// How often a message may be received before the run fails.
const RECEIVES_MAX: u32 = 7;
/// How often maintenance runs when nothing else can happen.
const MAINTENANCE_MAX: u32 = 5;

#[derive(Debug, Clone)]
pub struct Scenario {
    /// The source's keys at the start.
    pub keys: &'static [Key],
    pub changes: Vec<Change>,
    pub workers: usize,
    pub deaths: u32,
    /// How often a message that a worker has received is delivered to another worker too.
    pub duplicates: u32,
    /// How often maintenance runs in the middle of the work, and treats every shard as stalled.
    pub maintenance: u32,
    pub failures: u32,
    pub splits: u32,
    /// How many pages a worker has time for.
    pub pages_max: u32,
    /// How many keys a listing shows: to the first worker of a message, and to its successors.
    pub page_keys: [usize; 2],
    /// How many tasks of a page a successor has time for.
    pub tasks_max: usize,
    /// The number of shards at the start. The keys are divided among them, and `concurrency` of them run at once.
    pub shards: u32,
    pub concurrency: usize,
    /// Whether maintenance runs when nothing else can happen.
    pub maintained: bool,
    pub weakness: Weakness,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            keys: &["a"],
            changes: Vec::new(),
            workers: 2,
            deaths: 0,
            duplicates: 0,
            maintenance: 0,
            failures: 0,
            splits: 0,
            pages_max: 9,
            page_keys: [1, 1],
            tasks_max: 9,
            shards: 1,
            concurrency: 2,
            maintained: true,
            weakness: Weakness::None,
        }
    }
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Change,
    Notify(usize),
    Deliver { message: usize, worker: usize },
    DeliverTwice { message: usize, worker: usize },
    Step { worker: usize },
    Land { copy: u64 },
    Die { worker: usize },
    LeaseExpires { shard: u32 },
    Redeliver { message: usize },
    Maintain { worker: usize },
}

type Attempt = Pin<Box<dyn Future<Output = Option<Ended>>>>;

struct Running {
    invocation: String,
    /// The message's id, for a worker of a shard.
    message: Option<String>,
    attempt: Attempt,
}

pub struct Run<'s> {
    scenario: &'s Scenario,
    world: Arc<Mutex<World>>,
    running: Vec<Option<Running>>,
    changes_done: usize,
    deaths: u32,
    duplicates: u32,
    maintenance: u32,
    maintenance_at_rest: u32,
}

impl<'s> Run<'s> {
    pub fn new(scenario: &'s Scenario) -> Self {
        let object = Object {
            etag: "x",
            metadata: "old",
            written_secs: 0,
        };
        let whole = ShardRange::of_prefix("");
        let ranges = if scenario.shards == 1 {
            vec![whole]
        } else {
            let (low, high) = whole.cut_at("a".to_owned());
            vec![low, high]
        };
        let mut shards = BTreeMap::new();
        let mut messages = Vec::new();
        for (index, range) in (0..).zip(ranges) {
            let mut shard = Shard::new(index, range, 1.0, chrono::DateTime::UNIX_EPOCH, None);
            if usize::try_from(index).unwrap() < scenario.concurrency {
                shard = shard.raised("start", chrono::DateTime::UNIX_EPOCH);
                messages.push(Message {
                    id: format!("{index}-1-0"),
                    index,
                    epoch: 1,
                    receives: 0,
                    state: MessageState::Visible,
                });
            }
            shards.insert(index, shard);
        }
        let world = World {
            next_index: u32::try_from(shards.len()).unwrap(),
            shards,
            messages,
            gate: Gate::Open,
            source: scenario.keys.iter().map(|key| (*key, object)).collect(),
            replica: BTreeMap::new(),
            copying: BTreeMap::new(),
            next_copy: 0,
            changed: Vec::new(),
            clock_secs: 10,
            weakness: scenario.weakness,
            observed: vec![0; scenario.workers],
            excused: BTreeSet::new(),
            failures: scenario.failures,
            splits: scenario.splits,
            concurrency: scenario.concurrency,
        };
        Self {
            scenario,
            world: Arc::new(Mutex::new(world)),
            running: (0..scenario.workers).map(|_| None).collect(),
            changes_done: 0,
            deaths: scenario.deaths,
            duplicates: scenario.duplicates,
            maintenance: scenario.maintenance,
            maintenance_at_rest: 0,
        }
    }

    /// Lets a worker receive the last delivery of the shard's newest message while every listing fails. Returns the
    /// shard afterwards.
    pub fn fail_for_the_last_time(&mut self) -> Shard {
        self.fail(true, false)
    }

    /// Lets a worker receive the first delivery of the shard's newest message while every listing fails with an error
    /// that no redelivery would resolve. Returns the shard afterwards.
    pub fn fail_for_good(&mut self) -> Shard {
        self.fail(false, true)
    }

    fn fail(&mut self, is_last: bool, fails_for_good: bool) -> Shard {
        let (epoch, ports) = {
            let mut world = self.world.lock().unwrap();
            world.failures = u32::MAX;
            (world.shards[&0].epoch, self.ports(0))
        };
        let delivery = ShardDelivery {
            index: 0,
            epoch: Some(epoch),
            message: Some(format!("0-{epoch}-0")),
            invocation: "invocation/0".to_owned(),
            is_redelivery: false,
            is_last,
            lease_until: chrono::DateTime::UNIX_EPOCH + TimeDelta::days(1),
        };
        finish(Box::pin(async move {
            let pages = Pages {
                ports: ports.clone(),
                count_max: 9,
                page_keys: 1,
                tasks_max: 9,
                begun: AtomicU32::new(0),
                unanswered: AtomicBool::new(false),
                fails_for_good,
            };
            work(&ports, &pages, &delivery).await.ok()
        }));
        finish(self.woken(Wake::Stalled, 0));
        self.world.lock().unwrap().shards[&0].clone()
    }

    /// Records this object as in flight, as if a worker had died.
    pub fn leave_in_flight(&mut self, key: Key) {
        let mut world = self.world.lock().unwrap();
        let shard = world.shards[&0].clone();
        let page = InFlight::new(key, [(key, &Etag::new("x"))]);
        world.shards.insert(0, shard.with_in_flight(page));
    }

    /// The events that can happen next; empty at the end.
    pub fn events(&self) -> Vec<Event> {
        let mut events = self.events_but_maintenance();
        let idle = self.idle();
        if let Some(worker) = idle
            && self.maintenance > 0
        {
            events.push(Event::Maintain { worker });
        }
        if events.is_empty()
            && let Some(worker) = idle
            && self.scenario.maintained
            && self.maintenance_at_rest < MAINTENANCE_MAX
            && self.wrong().is_some()
        {
            events.push(Event::Maintain { worker });
        }
        events
    }

    fn events_but_maintenance(&self) -> Vec<Event> {
        let mut events = Vec::new();
        let world = self.world.lock().unwrap();
        if self.changes_done < self.scenario.changes.len() {
            events.push(Event::Change);
        }
        events.extend((0..world.changed.len()).map(Event::Notify));
        let idle = self.idle_in(&world);
        for (at, message) in world.messages.iter().enumerate() {
            match (message.state, idle) {
                (MessageState::Visible, Some(worker)) => {
                    events.push(Event::Deliver {
                        message: at,
                        worker,
                    });
                }
                (MessageState::Received(1), Some(worker)) if self.duplicates > 0 => {
                    events.push(Event::DeliverTwice {
                        message: at,
                        worker,
                    });
                }
                (MessageState::Hidden, _) if may_come_back(&world, message) => {
                    events.push(Event::Redeliver { message: at });
                }
                _ => {}
            }
        }
        events.extend(world.copying.keys().map(|&copy| Event::Land { copy }));
        for (worker, running) in self.running.iter().enumerate() {
            if running.is_some() {
                // A worker whose copy is in flight waits for its answer.
                if !is_copying(&world, worker) {
                    events.push(Event::Step { worker });
                }
                if self.deaths > 0 {
                    events.push(Event::Die { worker });
                }
            }
        }
        for shard in world.shards.values() {
            if shard.is_leased(world.now()) && self.holder_is_dead(&world, shard) {
                events.push(Event::LeaseExpires { shard: shard.index });
            }
        }
        events
    }

    fn idle(&self) -> Option<usize> {
        self.idle_in(&self.world.lock().unwrap())
    }

    /// An idle worker; all idle workers are alike. A worker whose predecessor has something in flight does not count.
    fn idle_in(&self, world: &World) -> Option<usize> {
        let mut workers = 0..self.running.len();
        workers.find(|&worker| self.running[worker].is_none() && !is_copying(world, worker))
    }

    /// Whether the holder of a lease has died and has nothing in flight any more.
    fn holder_is_dead(&self, world: &World, shard: &Shard) -> bool {
        let Some(lease) = &shard.lease else {
            return false;
        };
        let mut running = self.running.iter().flatten();
        let lives = running.any(|running| running.invocation == lease.holder);
        let slot = lease.holder.rsplit('/').next().unwrap();
        !lives && !is_copying(world, slot.parse().unwrap())
    }

    pub fn happen(&mut self, event: Event) {
        match event {
            Event::Change => self.change(),
            Event::Notify(at) => {
                let mut world = self.world.lock().unwrap();
                let key = world.changed.remove(at);
                world.replicate(key);
            }
            Event::Deliver { message, worker } => self.deliver(message, worker),
            Event::DeliverTwice { message, worker } => {
                self.duplicates -= 1;
                self.deliver(message, worker);
            }
            Event::Land { copy } => self.world.lock().unwrap().land(copy),
            Event::Die { worker } => {
                self.deaths -= 1;
                let died = self.running[worker].take();
                if let Some(message) = died.and_then(|running| running.message) {
                    self.give_back(&message);
                }
            }
            Event::LeaseExpires { shard } => {
                let mut world = self.world.lock().unwrap();
                let now = world.now();
                if let Some(shard) = world.shards.get_mut(&shard)
                    && let Some(lease) = &mut shard.lease
                {
                    lease.until = now;
                }
            }
            Event::Redeliver { message } => {
                self.world.lock().unwrap().messages[message].state = MessageState::Visible;
            }
            Event::Maintain { worker } => {
                if self.maintenance > 0 {
                    self.maintenance -= 1;
                } else {
                    self.maintenance_at_rest += 1;
                }
                let mut world = self.world.lock().unwrap();
                for shard in world.shards.values_mut() {
                    shard.progressed_at = None;
                }
                drop(world);
                self.wake(worker, Wake::Stalled);
            }
            Event::Step { worker } => self.step(worker),
        }
    }

    fn change(&mut self) {
        let change = self.scenario.changes[self.changes_done];
        self.changes_done += 1;
        let mut world = self.world.lock().unwrap();
        let written_secs = world.clock_secs;
        // So that a later copy has a later time.
        world.clock_secs += 2;
        match change {
            Change::Put(key, etag, metadata) => {
                let object = Object {
                    etag,
                    metadata,
                    written_secs,
                };
                world.source.insert(key, object);
                world.changed.push(key);
            }
            Change::Delete(key) => {
                world.source.remove(key);
                world.changed.push(key);
            }
            Change::Foreign(key) => {
                let object = Object {
                    etag: FOREIGN,
                    metadata: "",
                    written_secs,
                };
                world.put_replica(key, object);
            }
            Change::Stop(gate) => world.gate = gate,
            Change::Resume => {
                world.gate = Gate::Open;
                drop(world);
                // A resume finishes before anything else happens to the shards.
                let woken = self.woken(Wake::All, 0);
                finish(woken);
            }
        }
    }

    fn deliver(&mut self, message: usize, worker: usize) {
        let mut world = self.world.lock().unwrap();
        let now = world.now();
        let lease_until = if world.weakness == Weakness::LeaseEndsAtOnce {
            now
        } else {
            now + TimeDelta::days(1)
        };
        let message = &mut world.messages[message];
        message.state = match message.state {
            MessageState::Received(workers) => MessageState::Received(workers + 1),
            MessageState::Visible | MessageState::Hidden => MessageState::Received(1),
        };
        message.receives += 1;
        let Message {
            id,
            index,
            epoch,
            receives,
            ..
        } = message.clone();
        let invocation = format!("{id}/{receives}/{worker}");
        let sends_again = world.weakness != Weakness::NothingSentAgain;
        let ports = self.ports(worker);
        drop(world);
        let delivery = ShardDelivery {
            index,
            epoch: Some(epoch),
            message: Some(id.clone()),
            invocation: invocation.clone(),
            is_redelivery: receives > 1 && sends_again,
            is_last: false,
            lease_until,
        };
        let pages_max = self.scenario.pages_max;
        let [page_keys, of_successors] = self.scenario.page_keys;
        let (page_keys, tasks_max) = if receives > 1 {
            (of_successors, self.scenario.tasks_max)
        } else {
            (page_keys, usize::MAX)
        };
        let attempt = Box::pin(async move {
            let pages = Pages {
                ports: ports.clone(),
                count_max: pages_max,
                page_keys,
                tasks_max,
                begun: AtomicU32::new(0),
                unanswered: AtomicBool::new(false),
                fails_for_good: false,
            };
            work(&ports, &pages, &delivery).await.ok()
        });
        self.begin(worker, invocation, Some(id), attempt);
    }

    fn wake(&mut self, worker: usize, which: Wake) {
        let woken = self.woken(which, worker);
        let invocation = format!("maintenance/{worker}");
        self.begin(worker, invocation, None, woken);
    }

    fn woken(&self, which: Wake, worker: usize) -> Attempt {
        let ports = self.ports(worker);
        let nth = self.maintenance + self.maintenance_at_rest;
        let sender = format!("maintenance {nth}");
        Box::pin(async move {
            let _ = wake(&ports, &sender, which).await;
            None
        })
    }

    fn ports(&self, worker: usize) -> Ports {
        Ports {
            world: self.world.clone(),
            worker,
        }
    }

    fn begin(
        &mut self,
        worker: usize,
        invocation: String,
        message: Option<String>,
        attempt: Attempt,
    ) {
        self.world.lock().unwrap().observed[worker] = 0;
        self.running[worker] = Some(Running {
            invocation,
            message,
            attempt,
        });
    }

    fn step(&mut self, worker: usize) {
        let Some(running) = &mut self.running[worker] else {
            return;
        };
        self.world.lock().unwrap().observe(worker, "poll");
        let Poll::Ready(ended) = poll(&mut running.attempt) else {
            return;
        };
        let message = running.message.take();
        self.running[worker] = None;
        let Some(message) = message else {
            return;
        };
        if ended == Some(Ended::Acknowledge) {
            let mut world = self.world.lock().unwrap();
            world.messages.retain(|other| other.id != message);
        } else {
            self.give_back(&message);
        }
    }

    /// One of the message's workers stops without acknowledging it.
    fn give_back(&self, message: &str) {
        let mut world = self.world.lock().unwrap();
        let found = world.messages.iter_mut().find(|other| other.id == message);
        if let Some(message) = found {
            message.state = match message.state {
                MessageState::Received(workers) if workers > 1 => {
                    MessageState::Received(workers - 1)
                }
                _ => MessageState::Hidden,
            };
        }
    }

    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let world = self.world.lock().unwrap();
        world.digest(&mut hasher);
        for (worker, running) in self.running.iter().enumerate() {
            let running = running.as_ref();
            let running = running.map(|running| (&running.invocation, world.observed[worker]));
            running.hash(&mut hasher);
        }
        (self.changes_done, self.deaths, self.duplicates).hash(&mut hasher);
        (self.maintenance, self.maintenance_at_rest).hash(&mut hasher);
        hasher.finish()
    }
}

/// Whether the message can be received again. A message is hidden for longer than a lease lasts.
fn may_come_back(world: &World, message: &Message) -> bool {
    let of_message = |shard: &&Shard| {
        let lease = shard.lease.as_ref();
        lease.is_some_and(|lease| lease.message.as_ref() == Some(&message.id))
    };
    let mut leased = world.shards.values().filter(of_message);
    leased.all(|shard| !shard.is_leased(world.now()))
}

fn is_copying(world: &World, worker: usize) -> bool {
    world.copying.values().any(|copy| copy.worker == worker)
}

fn poll(attempt: &mut Attempt) -> Poll<Option<Ended>> {
    attempt
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls a future that waits only for its own steps.
fn finish(mut attempt: Attempt) {
    while poll(&mut attempt).is_pending() {}
}
