//! One run: source writes, notifications, workers, crashes and duplicates, in the order that `choose` says.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tandem_replication::expectation::Expectation;
use tandem_replication::fault::Fault;
use tandem_replication::names::{Etag, ObjectKey};
use tandem_replication::options::Options;
use tandem_replication::part_plan::CopyLimits;
use tandem_replication::replicator::{Begun, LABELS_SETTLE, Outcome, Replicator};
use tandem_replication::rule::Policy;

use super::buckets::{Object, Pair, Weakness, World, step};

/// What is done to the source, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// Put an object with these bytes and metadata, without a tag.
    Put(&'static str, &'static str),
    /// Give the object this tag, or none.
    Tag(Option<&'static str>),
    /// Delete the object.
    Delete,
}

/// What may happen in a run.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub writes: Vec<Write>,
    pub workers: usize,
    pub crashes: u32,
    pub duplicates: u32,
    pub versioned: bool,
    /// Whether the server's HEAD tells how many tags there are.
    pub counts_tags: bool,
    pub policy: Policy,
    /// How much time passes with each step.
    pub tick_ms: i64,
    /// An old object at the destination, and a backfill that listed the source before the first write.
    pub backfill_of: Option<Object>,
    /// Whether the worker of that backfill is dead by then, with its copy under way.
    pub backfill_died: bool,
    pub weakness: Weakness,
}

/// A notification that waits or is being worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Put(&'static str),
    /// A backfill listed the object.
    Listed(Object),
    /// A backfill whose worker died lists the source again.
    ListAgain,
    /// The tag was changed at this time.
    Tag(i64),
    Delete,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Write,
    Deliver {
        message: usize,
        worker: usize,
    },
    DeliverCopy {
        message: usize,
        worker: usize,
    },
    Step {
        worker: usize,
    },
    Land {
        copy: u64,
    },
    Crash {
        worker: usize,
    },
    /// Nothing but time, until a change of tags may be looked at.
    Wait,
}

/// A message that comes, or comes again.
#[derive(Debug, Clone, Copy)]
struct Delivery {
    message: Message,
    /// Whether somebody may have died of it.
    is_another: bool,
}

type Attempt = Pin<Box<dyn Future<Output = Result<Outcome, Fault>>>>;

struct Worker {
    attempt: Option<(Delivery, Attempt)>,
}

/// Plays the scenario to its end. `choose` picks one of the events that can happen next. Answers what
/// happened, and what is wrong in the end, if anything is.
pub fn play(
    scenario: &Scenario,
    mut choose: impl FnMut(usize) -> usize,
) -> (Vec<Event>, Option<String>) {
    let world = Arc::new(Mutex::new(World {
        source: scenario.backfill_of,
        replica: None,
        versioned: scenario.versioned,
        counts_tags: scenario.counts_tags,
        clock_ms: 10_000,
        in_flight: std::collections::BTreeMap::new(),
        next_id: 0,
    }));
    let mut queue: Vec<Delivery> = scenario
        .backfill_of
        .iter()
        .map(|object| Message::Listed(*object).told())
        .collect();
    // Messages of attempts that died; they come again when nothing of the attempt is in flight.
    let mut dead: Vec<(usize, Message)> = Vec::new();
    let mut workers: Vec<Worker> = (0..scenario.workers)
        .map(|_| Worker { attempt: None })
        .collect();
    if scenario.backfill_died
        && let Some(Delivery { message, .. }) = queue.pop()
    {
        world.lock().unwrap().begin_copy(0);
        dead.push((0, message));
    }
    let (mut written, mut crashes, mut duplicates) = (0, scenario.crashes, scenario.duplicates);
    let mut history = Vec::new();
    loop {
        dead.retain(|&(worker, message)| {
            let at_work = world
                .lock()
                .unwrap()
                .in_flight
                .values()
                .any(|copy| copy.worker == worker);
            if !at_work {
                let message = match message {
                    Message::Listed(_) => Message::ListAgain,
                    message => message,
                };
                queue.push(Delivery {
                    message,
                    is_another: true,
                });
            }
            at_work
        });
        let events = possible(
            scenario, &world, &queue, &workers, written, crashes, duplicates,
        );
        if events.is_empty() {
            return (history, verdict(scenario, &world));
        }
        let event = events[choose(events.len())];
        history.push(event);
        world.lock().unwrap().clock_ms += scenario.tick_ms;
        match event {
            Event::Write => {
                queue.push(write(&world, scenario.writes[written], written).told());
                written += 1;
            }
            Event::Deliver { message, worker } => {
                let delivery = queue.remove(message);
                workers[worker].attempt = Some(attempt(scenario, &world, worker, delivery));
            }
            Event::DeliverCopy { message, worker } => {
                duplicates -= 1;
                let delivery = queue[message];
                workers[worker].attempt = Some(attempt(scenario, &world, worker, delivery));
            }
            Event::Land { copy } => world.lock().unwrap().land(copy),
            Event::Wait => {
                let due = queue.iter().filter_map(Delivery::due_ms).min();
                let mut world = world.lock().unwrap();
                world.clock_ms = due.unwrap_or_default().max(world.clock_ms);
            }
            Event::Crash { worker } => {
                crashes -= 1;
                if let Some((delivery, _)) = workers[worker].attempt.take() {
                    dead.push((worker, delivery.message));
                }
            }
            Event::Step { worker } => {
                let Some((delivery, attempt)) = &mut workers[worker].attempt else {
                    continue;
                };
                let delivery = *delivery;
                match attempt
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                {
                    Poll::Pending => {}
                    Poll::Ready(Ok(_)) => workers[worker].attempt = None,
                    Poll::Ready(Err(_)) => {
                        workers[worker].attempt = None;
                        queue.push(delivery);
                    }
                }
            }
        }
    }
}

fn possible(
    scenario: &Scenario,
    world: &Mutex<World>,
    queue: &[Delivery],
    workers: &[Worker],
    written: usize,
    crashes: u32,
    duplicates: u32,
) -> Vec<Event> {
    let mut events = Vec::new();
    if written < scenario.writes.len() {
        events.push(Event::Write);
    }
    let world = world.lock().unwrap();
    let zombie = |worker: usize| world.in_flight.values().any(|copy| copy.worker == worker);
    // Idle workers are alike: the first one takes the message. Not where something of a dead one is under way.
    let idle =
        (0..workers.len()).find(|&worker| workers[worker].attempt.is_none() && !zombie(worker));
    if let Some(worker) = idle {
        let due = |message: &usize| {
            let settled = scenario.weakness == Weakness::LabelsUnsettled;
            settled || queue[*message].due_ms() <= Some(world.clock_ms)
        };
        let due: Vec<usize> = (0..queue.len()).filter(due).collect();
        events.extend(
            due.iter()
                .map(|&message| Event::Deliver { message, worker }),
        );
        if duplicates > 0 {
            events.extend(
                due.iter()
                    .map(|&message| Event::DeliverCopy { message, worker }),
            );
        }
    }
    events.extend(world.in_flight.keys().map(|&copy| Event::Land { copy }));
    for (worker, _) in workers
        .iter()
        .enumerate()
        .filter(|(_, worker)| worker.attempt.is_some())
    {
        // A worker whose copy is under way waits for its answer.
        if !zombie(worker) {
            events.push(Event::Step { worker });
        }
        if crashes > 0 {
            events.push(Event::Crash { worker });
        }
    }
    let waits = |delivery: &Delivery| delivery.due_ms() > Some(world.clock_ms);
    if queue.iter().any(waits) && scenario.weakness != Weakness::LabelsUnsettled {
        events.push(Event::Wait);
    }
    events
}

impl Message {
    /// For the first time.
    fn told(self) -> Delivery {
        Delivery {
            message: self,
            is_another: false,
        }
    }
}

impl Delivery {
    /// When the message may be looked at; at once, but for a change of tags.
    fn due_ms(&self) -> Option<i64> {
        match self.message {
            Message::Tag(changed_ms) => Some(changed_ms + LABELS_SETTLE.num_milliseconds()),
            Message::Put(_) | Message::Listed(_) | Message::ListAgain | Message::Delete => None,
        }
    }
}

fn write(world: &Mutex<World>, write: Write, count: usize) -> Message {
    let mut world = world.lock().unwrap();
    let (version, written_ms) = (count as u64 + 1, world.clock_ms);
    match write {
        Write::Put(etag, metadata) => {
            world.source = Some(Object {
                etag,
                metadata,
                tag: None,
                version,
                written_ms,
            });
            Message::Put(etag)
        }
        Write::Tag(tag) => {
            if let Some(source) = &mut world.source {
                source.tag = tag;
            }
            Message::Tag(written_ms)
        }
        Write::Delete => {
            world.source = None;
            Message::Delete
        }
    }
}

fn attempt(
    scenario: &Scenario,
    world: &Arc<Mutex<World>>,
    worker: usize,
    delivery: Delivery,
) -> (Delivery, Attempt) {
    let Delivery {
        message,
        is_another,
    } = delivery;
    let closely = is_another && scenario.weakness != Weakness::DeadLeaveNothing;
    let pair = Pair {
        world: world.clone(),
        worker,
        weakness: scenario.weakness,
        believed: Mutex::new(None),
    };
    let policy = scenario.policy;
    let attempt = Box::pin(async move {
        let key = ObjectKey::parse("key").unwrap();
        let (options, expectation) = (Options::default(), Expectation::default());
        let limits = CopyLimits::default();
        let replicator = Replicator::new(&pair, policy, &options, limits)
            .expecting(&expectation)
            .looking_closely(closely);
        match (message, policy) {
            (Message::Tag(_), _) => replicator.reconcile_labels(&key).await,
            (Message::Put(etag), _) => replicator.put(&key, &Etag::new(etag), 1).await,
            (Message::Listed(listed), _) => backfill(&pair, &replicator, listed).await,
            (Message::ListAgain, _) => {
                step().await;
                let (source, replica) = {
                    let world = pair.world.lock().unwrap();
                    (world.source, world.replica)
                };
                let same =
                    |source: &Object| replica.map(|replica| replica.etag) == Some(source.etag);
                match source {
                    None => Ok(Outcome::BothAbsent),
                    Some(source)
                        if same(&source) && pair.weakness == Weakness::ListedSameIsSame =>
                    {
                        Ok(Outcome::InSync)
                    }
                    Some(source) if same(&source) => replicator.reconcile(&key).await,
                    Some(source) => backfill(&pair, &replicator, source).await,
                }
            }
            (Message::Delete, _) => replicator.reconcile(&key).await,
        }
    });
    (delivery, attempt)
}

/// As a shard of a backfill carries an object over that its listing has shown.
async fn backfill(
    pair: &Pair,
    replicator: &Replicator<'_, Pair>,
    listed: Object,
) -> Result<Outcome, Fault> {
    let key = ObjectKey::parse("key").unwrap();
    match replicator.copy_listed(&key, &listed.listed(), None).await? {
        Begun::Ended(outcome) => Ok(outcome),
        Begun::Landed(landing) => {
            let again = pair.list_again().await;
            replicator.settle(&key, &landing, again.as_ref()).await
        }
    }
}

fn verdict(scenario: &Scenario, world: &Mutex<World>) -> Option<String> {
    let world = world.lock().unwrap();
    let content = |object: &Object| (object.etag, object.metadata, object.tag);
    let (source, replica) = (
        world.source.as_ref().map(content),
        world.replica.as_ref().map(content),
    );
    let kept = scenario.policy == Policy::Write && source.is_none();
    (source != replica && !kept)
        .then(|| format!("the source holds {source:?}, the replica {replica:?}"))
}
