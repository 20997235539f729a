//! One run: users, workers, crashes, duplicates, pauses and sweeps, in the order that `choose` selects.

use std::collections::hash_map::DefaultHasher;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use tandem_replication::in_flight::OwnWrites;
use tandem_replication::names::{BucketName, Region, RuleId, TransferId};
use tandem_replication::options::Options;
use tandem_replication::overwrite::Overwrite;
use tandem_replication::part_plan::CopyLimits;
use tandem_replication::replicator::{Depth, Outcome, Replicator};
use tandem_replication::rule::{Bucket, Policy, Rule, RuleState};
use tandem_replication::transfer::begin::{KeyChange, Origin, Transferrer};
use tandem_replication::transfer::copying::{RangeMessage, Received};
use tandem_replication::transfer::ports::{Answer, Invocation, TransferQueue};

use super::ports::{Ports, digest};
use super::world::{
    Answered, Body, Deferred, Etags, Kind, OpenUpload, PART_BYTES, Removed, World, Writer, at,
    bytes_of, key,
};

/// How often a message may be received, as in production.
const RECEIVES_MAX: u32 = 8;
/// How often the world comes to rest before the final check: one sweep aborts, a later one removes the log entry.
const RESTS: u32 = 4;

/// What a user does to the source, or another writer to the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    Put(&'static str),
    Delete,
    /// Another writer puts an object at the destination.
    PutReplica,
    /// Another writer deletes the destination's object.
    DeleteReplica,
    /// Another writer aborts the uploads that there are.
    AbortUploads,
}

/// How the first object arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Began {
    /// By a live change for which nothing has been done yet.
    Live,
    /// By a live change whose transfer has just begun.
    LiveTransfer,
    /// The same, after one of the two ranges.
    LiveLastRange,
    /// By a job in the scenario's mode whose transfer has just begun.
    JobTransfer,
    /// The same, after one of the two ranges.
    JobLastRange,
}

/// What may happen in a run.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub began: Began,
    pub mode: Overwrite,
    pub policy: Policy,
    /// Whether another writer's object is at the destination from the start.
    pub has_replica: bool,
    pub writes: &'static [Write],
    pub workers: usize,
    pub crashes: u32,
    /// How often a message may be delivered to a second worker.
    pub duplicates: u32,
    pub sweeps: u32,
    pub pauses: u32,
    /// How many completions may take effect without an answer.
    pub unanswered: u32,
    pub etags: Etags,
    pub removed: Removed,
}

/// The remaining number of each fault.
#[derive(Debug, Clone, Copy, Hash)]
struct Budget {
    written: usize,
    crashes: u32,
    duplicates: u32,
    sweeps: u32,
    pauses: u32,
    unanswered: u32,
    rests: u32,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Write,
    Deliver {
        message: usize,
        worker: usize,
    },
    /// The message is delivered to a worker while another one has it.
    DeliverTwice {
        message: usize,
        worker: usize,
    },
    Step {
        worker: usize,
    },
    /// A completion takes effect and is answered.
    Land {
        worker: usize,
    },
    /// A completion takes effect, and its answer is lost.
    LandUnanswered {
        worker: usize,
    },
    /// A worker stops waiting, and its completion takes effect later.
    GiveUp {
        worker: usize,
    },
    Crash {
        worker: usize,
    },
    /// A part that was noted before its upload is uploaded late.
    SendPart {
        worker: usize,
    },
    Pause,
    Resume,
    Sweep,
    Rest,
}

type Attempt = Pin<Box<dyn Future<Output = Answer<()>>>>;

/// A run in progress.
struct Run<'a> {
    scenario: &'a Scenario,
    world: Arc<Mutex<World>>,
    attempts: Vec<Option<Attempt>>,
    /// Workers whose attempt ended while a request of it may still take effect.
    zombies: Vec<usize>,
    budget: Budget,
}

/// Plays the scenario to its end. `choose` gets the number of possible events and the state's digest, and picks one
/// event, or `None` to stop there. Returns the events, and the violation, if there is one.
pub fn play(
    scenario: &Scenario,
    mut choose: impl FnMut(usize, &dyn Fn() -> u64) -> Option<usize>,
) -> (Vec<Event>, Option<String>) {
    let mut run = Run::new(scenario);
    let mut history = Vec::new();
    loop {
        run.redeliver();
        let events = run.possible();
        if events.is_empty() {
            return (history, run.verdict());
        }
        let Some(chosen) = choose(events.len(), &|| run.digest()) else {
            return (history, None);
        };
        history.push(events[chosen]);
        run.carry_out(events[chosen]);
        let wrong = run.world().wrong.clone();
        if wrong.is_some() {
            return (history, wrong);
        }
    }
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let Scenario {
            etags,
            mode,
            removed,
            workers,
            ..
        } = *scenario;
        let mut world = World::new(workers, etags, mode, removed);
        if scenario.has_replica {
            world.replica = Some(world.written("theirs", Writer::Another));
            world.now_secs += 60;
        }
        world.source = Some(world.written("x-2", Writer::User));
        let theirs = OpenUpload {
            is_ours: false,
            created_secs: world.now_secs - 600,
            mark: None,
            parts: std::collections::BTreeMap::new(),
        };
        world.uploads.insert(0, theirs);
        world.may_pause = scenario.pauses > 0;
        world.is_log_read = scenario.sweeps > 0;
        world.may_be_aborted = scenario.writes.contains(&Write::AbortUploads);
        let is_job = matches!(scenario.began, Began::JobTransfer | Began::JobLastRange);
        world.now_secs += 1;
        let now = at(world.now_secs);
        world.send(Body::Object {
            changed_at: (!is_job).then_some(now),
            overwrite: if is_job { mode } else { Overwrite::Always },
        });
        let mut run = Self {
            scenario,
            world: Arc::new(Mutex::new(world)),
            attempts: (0..workers).map(|_| None).collect(),
            zombies: Vec::new(),
            budget: Budget {
                written: 0,
                crashes: scenario.crashes,
                duplicates: scenario.duplicates,
                sweeps: scenario.sweeps,
                pauses: scenario.pauses,
                unanswered: scenario.unanswered,
                rests: RESTS,
            },
        };
        run.note_if_final();
        let processed = match scenario.began {
            Began::Live => 0,
            Began::LiveTransfer | Began::JobTransfer => 1,
            Began::LiveLastRange | Began::JobLastRange => 2,
        };
        for _ in 0..processed {
            run.deliver(0, 0);
            while run.attempts[0].is_some() {
                run.step(0);
            }
        }
        run
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Makes the messages of failed attempts visible again once no request of the attempt is in flight.
    fn redeliver(&mut self) {
        let world = self.world.clone();
        let mut world = world.lock().unwrap();
        self.zombies.retain(|&worker| {
            let in_flight = world.completions.contains_key(&worker);
            if !in_flight {
                for message in &mut world.queue {
                    message.holders.remove(&worker);
                }
            }
            in_flight
        });
    }

    fn possible(&self) -> Vec<Event> {
        let (world, budget) = (self.world(), self.budget);
        if let Some(worker) = world.alone {
            // It makes no difference whether this request comes before or after those of others.
            let crash = (budget.crashes > 0).then_some(Event::Crash { worker });
            return [Event::Step { worker }].into_iter().chain(crash).collect();
        }
        let mut events = Vec::new();
        if budget.written < self.scenario.writes.len() {
            events.push(Event::Write);
        }
        let is_idle =
            |worker: &usize| self.attempts[*worker].is_none() && !self.zombies.contains(worker);
        // Idle workers are alike.
        if let Some(worker) = (0..self.attempts.len()).find(is_idle) {
            for (message, queued) in world.queue.iter().enumerate() {
                // Messages with the same content are alike.
                if world.queue[..message].contains(queued) {
                    continue;
                }
                match queued.holders.len() {
                    0 => events.push(Event::Deliver { message, worker }),
                    1 if budget.duplicates > 0 && queued.body != Body::Sweep => {
                        events.push(Event::DeliverTwice { message, worker });
                    }
                    _ => {}
                }
            }
        }
        for &worker in world.completions.keys() {
            events.push(Event::Land { worker });
            if self.attempts[worker].is_some() && budget.unanswered > 0 {
                events.push(Event::LandUnanswered { worker });
                events.push(Event::GiveUp { worker });
            }
        }
        for (worker, attempt) in self.attempts.iter().enumerate() {
            if attempt.is_none() {
                continue;
            }
            if !world.completions.contains_key(&worker) {
                events.push(Event::Step { worker });
            }
            if world.unsent_parts.contains_key(&worker) {
                events.push(Event::SendPart { worker });
            }
            if budget.crashes > 0 {
                events.push(Event::Crash { worker });
            }
        }
        match world.state {
            RuleState::Paused => events.push(Event::Resume),
            _ if budget.pauses > 0 => events.push(Event::Pause),
            _ => {}
        }
        if budget.sweeps > 0 {
            events.push(Event::Sweep);
        }
        // Sweeps and pauses are optional events.
        let is_quiet = |event: &Event| matches!(event, Event::Sweep | Event::Pause);
        let is_clean = world.log.is_empty()
            && world.transfer.is_none()
            && world.uploads.len() <= 1
            && world.deferred.is_none();
        if events.iter().all(is_quiet) && budget.rests > 0 && !is_clean {
            events.push(Event::Rest);
        } else if events.iter().all(is_quiet) {
            events.clear();
        }
        events
    }

    fn carry_out(&mut self, event: Event) {
        match event {
            Event::Write => {
                self.write(self.scenario.writes[self.budget.written]);
                self.budget.written += 1;
                self.note_if_final();
            }
            Event::Deliver { message, worker } => self.deliver(message, worker),
            Event::DeliverTwice { message, worker } => {
                self.budget.duplicates -= 1;
                self.deliver(message, worker);
            }
            Event::Step { worker } => self.step(worker),
            Event::Land { worker } => self.land(worker, true),
            Event::LandUnanswered { worker } => {
                self.budget.unanswered -= 1;
                self.land(worker, false);
            }
            Event::GiveUp { worker } => {
                self.budget.unanswered -= 1;
                self.world().answers.insert(worker, Answered::NotAnswered);
                self.step(worker);
            }
            Event::Crash { worker } => {
                self.budget.crashes -= 1;
                self.attempts[worker] = None;
                self.zombies.push(worker);
                let mut world = self.world();
                world.unsent_parts.remove(&worker);
                world.alone = world.alone.filter(|alone| *alone != worker);
            }
            Event::SendPart { worker } => {
                let mut world = self.world();
                if let Some((upload, number, content)) = world.unsent_parts.remove(&worker)
                    && let Some(open) = world.uploads.get_mut(&upload)
                {
                    open.parts.insert(number, content);
                }
            }
            Event::Pause => {
                self.budget.pauses -= 1;
                self.world().state = RuleState::Paused;
            }
            Event::Resume => {
                let mut world = self.world();
                world.state = RuleState::Enabled;
                if world.deferred.is_some() {
                    world.send(Body::Replay);
                }
            }
            Event::Sweep => {
                self.budget.sweeps -= 1;
                self.world().send(Body::Sweep);
            }
            Event::Rest => {
                self.budget.rests -= 1;
                let mut world = self.world();
                world.rest();
                world.send(Body::Sweep);
                // Hourly maintenance replays a key that a dead worker left deferred.
                if world.deferred.is_some() {
                    world.send(Body::Replay);
                }
            }
        }
    }

    /// Records whether the source will be written again.
    fn note_if_final(&mut self) {
        let left = &self.scenario.writes[self.budget.written..];
        let writes_source = |write: &Write| matches!(write, Write::Put(_) | Write::Delete);
        self.world().is_source_final = !left.iter().any(writes_source);
    }

    fn write(&mut self, write: Write) {
        let mut world = self.world();
        world.now_secs += 1;
        match write {
            Write::Put(content) => {
                world.source = Some(world.written(content, Writer::User));
                // A live function only hands a large object over.
                let changed_at = Some(at(world.now_secs));
                let overwrite = Overwrite::Always;
                world.send(if bytes_of(content) > 1 {
                    Body::Object {
                        changed_at,
                        overwrite,
                    }
                } else {
                    Body::Notification
                });
            }
            Write::Delete => {
                world.source = None;
                world.send(Body::Notification);
            }
            // Other bytes than before, because a condition cannot detect that the same bytes were written again.
            Write::PutReplica => world.replica = Some(world.written("theirs too", Writer::Another)),
            Write::DeleteReplica => {
                world.replica = None;
                world.deleted_by_another = true;
            }
            Write::AbortUploads => world.uploads.retain(|_, upload| !upload.is_ours),
        }
    }

    fn deliver(&mut self, message: usize, worker: usize) {
        let mut world = self.world();
        world.observed[worker] = 0;
        let message = &mut world.queue[message];
        message.receives += 1;
        message.holders.insert(worker);
        let (body, receives) = (message.body.clone(), message.receives);
        if receives > RECEIVES_MAX {
            world.wrong = Some(format!("{body:?} became a dead letter"));
        }
        world.observe(worker, &digest(&(&body, receives)));
        let ports = Ports {
            world: self.world.clone(),
            worker,
        };
        drop(world);
        let policy = self.scenario.policy;
        self.attempts[worker] = Some(Box::pin(async move {
            process(&ports, policy, &body, receives > 1).await
        }));
        // Runs up to the first request, which is not sent yet.
        self.step(worker);
    }

    fn step(&mut self, worker: usize) {
        let Some(attempt) = &mut self.attempts[worker] else {
            return;
        };
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(ended) = attempt.as_mut().poll(&mut context) else {
            return;
        };
        self.attempts[worker] = None;
        let mut world = self.world();
        world.believed.remove(&worker);
        // If a part was still to be uploaded, it is uploaded now.
        if let Some((upload, number, content)) = world.unsent_parts.remove(&worker)
            && let Some(open) = world.uploads.get_mut(&upload)
        {
            open.parts.insert(number, content);
        }
        let is_acknowledged = ended.is_ok();
        world
            .queue
            .retain(|message| !(is_acknowledged && message.holders.contains(&worker)));
        drop(world);
        if !is_acknowledged {
            self.zombies.push(worker);
        }
    }

    fn land(&mut self, worker: usize, is_answered: bool) {
        let mut world = self.world();
        let Some(sent) = world.completions.remove(&worker) else {
            return;
        };
        let answer = world.complete(&sent);
        if self.attempts[worker].is_some() {
            let answer = if is_answered {
                answer
            } else {
                Answered::NotAnswered
            };
            world.answers.insert(worker, answer);
        }
    }

    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let world = self.world();
        world.digest(&mut hasher);
        for (worker, attempt) in self.attempts.iter().enumerate() {
            attempt
                .as_ref()
                .map(|_| world.observed[worker])
                .hash(&mut hasher);
        }
        self.zombies.hash(&mut hasher);
        self.budget.hash(&mut hasher);
        hasher.finish()
    }

    /// The violation at the end, if there is one.
    fn verdict(&self) -> Option<String> {
        let world = self.world();
        let ours = world
            .uploads
            .values()
            .filter(|upload| upload.is_ours)
            .count();
        if ours > 0 || !world.log.is_empty() || world.transfer.is_some() {
            return Some(format!(
                "{ours} uploads, {:?} and {:?} are left",
                world.log, world.transfer
            ));
        }
        if !world.uploads.contains_key(&0) {
            return Some("another writer's upload is gone".to_owned());
        }
        if world.deferred.is_some() {
            return Some("a key is still deferred".to_owned());
        }
        let replica = world.replica.as_ref();
        let is_equal = match (&world.source, replica) {
            (None, None) => true,
            (None, Some(_)) => self.scenario.policy == Policy::Write,
            (Some(source), Some(replica)) => {
                let names_it =
                    replica.etag == source.etag || replica.mark.as_ref() == Some(&source.etag);
                source.content == replica.content && names_it
            }
            (Some(_), None) => false,
        };
        let is_kept = world.holds_protected();
        let is_theirs_to_delete = replica.is_none() && world.deleted_by_another;
        (!is_equal && !is_kept && !is_theirs_to_delete).then(|| {
            format!(
                "the source holds {:?}, the replica {replica:?}",
                world.source
            )
        })
    }
}

fn rule(policy: Policy, state: RuleState) -> Rule {
    let bucket = |name: &str, region: &str| Bucket {
        name: BucketName::parse(name).unwrap(),
        region: Region::new(region),
    };
    Rule {
        policy,
        options: Options {
            tags: false,
            ..Options::default()
        },
        state,
        ..Rule::new(
            RuleId::new("rule"),
            bucket("source", "us-east-1"),
            bucket("destination", "us-west-2"),
            at(0),
        )
    }
}

/// The limits of the function that copies large objects, and of the live ones.
const LIMITS: CopyLimits = CopyLimits {
    part_bytes: PART_BYTES,
    in_parts_bytes_max: 1,
    whole_bytes_max: 1,
};

/// Processes one message as the functions do.
async fn process(ports: &Ports, policy: Policy, body: &Body, is_redelivery: bool) -> Answer<()> {
    let read = || read_state(ports);
    let rule = rule(policy, read().await);
    let transferrer = Transferrer::new(ports, &rule, LIMITS, PART_BYTES);
    match body {
        Body::Notification => notified(ports, &rule).await,
        Body::Object {
            changed_at,
            overwrite,
        } => {
            let mut deferred = None;
            if rule.state == RuleState::Paused {
                let deferral = defer(ports, changed_at.unwrap_or(ports.now()), *overwrite).await;
                if read().await == RuleState::Paused {
                    return Ok(());
                }
                deferred = Some(deferral);
            }
            transferrer.carry(&change(*changed_at, *overwrite)).await?;
            release(ports, deferred).await;
            Ok(())
        }
        Body::Range {
            transfer,
            index,
            overwrite,
        } => {
            let message = RangeMessage {
                key: &key(),
                transfer_id: &TransferId::new(transfer),
                index: *index,
                overwrite: *overwrite,
                is_redelivery,
            };
            match transferrer.receive_range(message).await? {
                Received::Done => Ok(()),
                Received::Finished(transfer, _) => transferrer.end(&transfer).await.map(|_| ()),
                Received::Failed(_, fault) => Err(fault),
                Received::Paused(transfer) => {
                    let at = transfer.changed_at();
                    let deferred = defer(ports, at, transfer.overwrite).await;
                    if read().await == RuleState::Paused {
                        return Ok(());
                    }
                    transferrer.send_object_of(&transfer).await?;
                    release(ports, Some(deferred)).await;
                    Ok(())
                }
                received => panic!("{received:?}"),
            }
        }
        Body::Replay => {
            if rule.state == RuleState::Paused {
                return Ok(());
            }
            let found = ports.request(|world| world.deferred.clone(), digest).await;
            if let Some(found) = found {
                let change = change(Some(found.changed_at), found.overwrite);
                transferrer.carry(&change).await?;
                release(ports, Some(found.token)).await;
            }
            Ok(())
        }
        Body::Sweep => transferrer.sweep(ports.now()).await.map(|_| ()),
    }
}

/// Reads the rule's state.
async fn read_state(ports: &Ports) -> RuleState {
    let never_changes = !ports.world.lock().unwrap().may_pause;
    let read = |world: &mut World| world.state;
    ports
        .alone(never_changes, read, |state| digest(&state.as_str()))
        .await
}

/// A live function: it copies and deletes, and hands over what is too large for it.
async fn notified(ports: &Ports, rule: &Rule) -> Answer<()> {
    let now = ports.now();
    if rule.state == RuleState::Paused {
        let token = defer(ports, now, Overwrite::Always).await;
        if read_state(ports).await == RuleState::Paused {
            return Ok(());
        }
        ports.send_object(&key(), now, Overwrite::Always, 0).await?;
        release(ports, Some(token)).await;
        return Ok(());
    }
    let replicator = Replicator::new(ports, rule.policy, &rule.options, LIMITS);
    if let Outcome::TooLargeHere { .. } = replicator.reconcile(&key()).await? {
        ports.send_object(&key(), now, Overwrite::Always, 0).await?;
    }
    Ok(())
}

fn change(
    changed_at: Option<tandem_replication::Timestamp>,
    overwrite: Overwrite,
) -> KeyChange<'static> {
    static KEY: std::sync::OnceLock<tandem_replication::names::ObjectKey> =
        std::sync::OnceLock::new();
    let is_live = changed_at.is_some() && overwrite.is_always();
    KeyChange {
        key: KEY.get_or_init(key),
        event_time: changed_at,
        overwrite,
        depth: Depth::Attributes,
        hops: 0,
        origin: if is_live {
            Origin::Live
        } else {
            Origin::Job {
                own: OwnWrites::default(),
            }
        },
    }
}

/// Defers the key; a live change replaces a job's. Returns the token.
async fn defer(
    ports: &Ports,
    changed_at: tandem_replication::Timestamp,
    overwrite: Overwrite,
) -> u32 {
    ports
        .request(
            |world| {
                let token = world.new_id(Kind::Token);
                let found = world.deferred.as_ref();
                let is_kept = found.is_some_and(|found| found.overwrite.is_always());
                if overwrite.is_always() || !is_kept {
                    world.deferred = Some(Deferred {
                        token,
                        changed_at,
                        overwrite,
                    });
                }
                token
            },
            digest,
        )
        .await
}

/// Removes the deferred key if it was not deferred again.
async fn release(ports: &Ports, token: Option<u32>) {
    if let Some(token) = token {
        ports
            .request(
                |world| {
                    if world.deferred.as_ref().map(|found| found.token) == Some(token) {
                        world.deferred = None;
                    }
                },
                digest,
            )
            .await;
    }
}
