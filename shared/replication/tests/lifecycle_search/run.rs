//! One run: changes, deliveries, the administrator, deaths, freezes and clocks, in the order that `choose` selects.

use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tandem_replication::deferral::DeferredKey;
use tandem_replication::overwrite::Overwrite;
use tandem_replication::rule::{Policy, RuleState};

use super::activities::{large, live, maintain, operate, replay};
use super::process::Process;
use super::world::{Answer, Delivery, Message, Object, Record, Without, World, key, rule, time};

/// The administrator's operations, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Pause,
    Resume,
    Policy(Policy),
    Delete,
    /// Forbids writes of the replica, or allows them again.
    Deny(bool),
}

/// What may happen in a run.
#[derive(Debug, Clone)]
pub struct Case {
    pub without: Without,
    /// The objects that are put in this order; 0 deletes the object.
    pub writes: Vec<Object>,
    pub ops: Vec<Op>,
    pub state: RuleState,
    pub policy: Policy,
    pub workers: usize,
    /// Deaths of workers.
    pub crashes: u32,
    /// Deaths of the administrator in the middle of an operation, which is then not repeated.
    pub half_ops: u32,
    /// Additional deliveries of a message that stays in the queue.
    pub duplicates: u32,
    /// Requests that are refused, or whose answer is lost.
    pub errors: u32,
    /// Idle processes that are frozen for an hour.
    pub freezes: u32,
    /// How often the wall clock is set back.
    pub set_backs: u32,
    /// Whether the key has failed before.
    pub failed_before: bool,
    /// Whether there is a message of the work queue besides the notifications.
    pub object: bool,
    /// The maximum number of maintenance runs at the end.
    pub maintenance_max: u32,
}

impl Case {
    pub fn new(writes: &[Object], ops: &[Op]) -> Self {
        Self {
            without: Without::Nothing,
            writes: writes.to_vec(),
            ops: ops.to_vec(),
            state: RuleState::Enabled,
            policy: Policy::Full,
            workers: 2,
            crashes: 0,
            half_ops: 0,
            duplicates: 0,
            errors: 0,
            freezes: 0,
            set_backs: 0,
            failed_before: false,
            object: false,
            maintenance_max: 5,
        }
    }
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Write,
    Op,
    Deliver {
        message: usize,
        worker: usize,
    },
    DeliverCopy {
        message: usize,
        worker: usize,
    },
    Step {
        process: usize,
        answer: Answer,
    },
    Crash {
        worker: usize,
    },
    HalfOp,
    Flush {
        worker: usize,
    },
    Freeze {
        worker: usize,
    },
    /// The process is frozen for an hour and the wall clock is set back, to before or after its last reading.
    SetBack {
        worker: usize,
        secs: i64,
    },
    Wait,
    Maintenance,
}

type Work = Pin<Box<dyn Future<Output = Ended>>>;

/// How the work on a message ended.
pub(super) enum Ended {
    Acknowledged,
    /// The message is delivered again after this number of seconds.
    After(i64),
}

struct Run<'a> {
    case: &'a Case,
    world: Arc<Mutex<World>>,
    /// The workers, followed by the administrator.
    processes: Vec<Process>,
    work: Vec<Option<(Option<Delivery>, Work)>>,
    written: usize,
    done: usize,
    crashes: u32,
    half_ops: u32,
    duplicates: u32,
    errors: u32,
    freezes: u32,
    set_backs: u32,
    maintained: u32,
}

const HOUR: u32 = 3_600;
/// The delay of `RetryAfter::SECOND_ATTEMPT`, which is also that of the first retry.
pub(super) const SECOND_ATTEMPT_SECS: i64 = 10;

/// Plays the case to its end. `choose` picks one of the events that can happen next, or stops. Returns what happened,
/// and the violation at the end, if there is one.
pub fn play(
    case: &Case,
    mut choose: impl FnMut(usize, &dyn Fn() -> u64) -> Option<usize>,
) -> (Vec<Event>, Option<String>) {
    let mut run = Run::new(case);
    let mut history = Vec::new();
    loop {
        if let Some(wrong) = run.world.lock().unwrap().wrong.take() {
            return (history, Some(wrong));
        }
        let events = run.possible();
        if events.is_empty() {
            return (history, run.verdict());
        }
        let digest = || run.digest();
        let Some(chosen) = choose(events.len(), &digest) else {
            return (history, None);
        };
        history.push(events[chosen]);
        run.happen(events[chosen]);
    }
}

impl<'a> Run<'a> {
    fn new(case: &'a Case) -> Self {
        let processes = case.workers + 1;
        let rule = rule(case.state, case.policy);
        let mut world = World {
            without: case.without,
            source: 0,
            replica: 0,
            denied: false,
            kept: false,
            revisions: [(1, (case.state, None))].into(),
            rule: Some(rule),
            deferred: None,
            mark: None,
            record: case.failed_before.then_some(Record {
                revision: 1,
                attempts: 1,
            }),
            unsent_records: vec![false; processes],
            records_written: 1,
            queue: Vec::new(),
            tokens: 0,
            real: 100_000,
            wall: 100_000,
            monotonic: vec![1_000; processes],
            answers: vec![Answer::Given; processes],
            wrong: None,
        };
        if case.object {
            world.source = 9;
            world.send(Message::Object);
        }
        let world = Arc::new(Mutex::new(world));
        Self {
            case,
            processes: (0..processes).map(|id| Process::new(id, &world)).collect(),
            work: (0..processes).map(|_| None).collect(),
            world,
            written: 0,
            done: 0,
            crashes: case.crashes,
            half_ops: case.half_ops,
            duplicates: case.duplicates,
            errors: case.errors,
            freezes: case.freezes,
            set_backs: case.set_backs,
            maintained: 0,
        }
    }

    fn admin(&self) -> usize {
        self.case.workers
    }

    fn possible(&self) -> Vec<Event> {
        let world = self.world.lock().unwrap();
        let mut events = Vec::new();
        if self.written < self.case.writes.len() {
            events.push(Event::Write);
        }
        if self.work[self.admin()].is_none() && self.done < self.case.ops.len() {
            events.push(Event::Op);
        }
        let due = |delivery: &Delivery| delivery.due <= world.real;
        for (message, delivery) in world.queue.iter().enumerate() {
            // Workers that know the same are the same, but for their number.
            for worker in (0..self.case.workers).filter(|&worker| self.work[worker].is_none()) {
                if due(delivery) {
                    events.push(Event::Deliver { message, worker });
                    if self.duplicates > 0 {
                        events.push(Event::DeliverCopy { message, worker });
                    }
                }
            }
        }
        self.add_steps(&world, &mut events);
        let busy = self.work.iter().any(Option::is_some);
        if self.freezes > 0 {
            let idle = (0..self.case.workers).filter(|&worker| self.work[worker].is_none());
            events.extend(idle.map(|worker| Event::Freeze { worker }));
        }
        if self.set_backs > 0 {
            let idle = (0..self.case.workers).filter(|&worker| self.work[worker].is_none());
            for worker in idle {
                events.extend([-2, 2].map(|secs| Event::SetBack { worker, secs }));
            }
        }
        if world.queue.iter().any(|delivery| !due(delivery)) && !busy {
            events.push(Event::Wait);
        }
        if events.is_empty()
            && world.deferred.is_some()
            && self.maintained < self.case.maintenance_max
        {
            events.push(Event::Maintenance);
        }
        events
    }

    fn add_steps(&self, world: &World, events: &mut Vec<Event>) {
        for (process, work) in self.work.iter().enumerate() {
            if work.is_some() {
                events.push(Event::Step {
                    process,
                    answer: Answer::Given,
                });
                if self.errors > 0 {
                    for answer in [Answer::Refused, Answer::Lost] {
                        events.push(Event::Step { process, answer });
                    }
                }
                if process == self.admin() {
                    if self.half_ops > 0 {
                        events.push(Event::HalfOp);
                    }
                } else if self.crashes > 0 {
                    events.push(Event::Crash { worker: process });
                }
            } else if world.unsent_records[process] {
                events.push(Event::Flush { worker: process });
                if self.crashes > 0 {
                    events.push(Event::Crash { worker: process });
                }
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Write => {
                let object = self.case.writes[self.written];
                self.written += 1;
                let mut world = self.world.lock().unwrap();
                world.source = object;
                let policy = world.rule.as_ref().map(|rule| rule.policy);
                world.kept = object == 0 && policy == Some(Policy::Write);
                world.send(Message::Live(object));
            }
            Event::Op => {
                let op = self.case.ops[self.done];
                self.done += 1;
                let admin = self.processes[self.admin()].clone();
                self.begin(self.admin(), None, Box::pin(operate(admin, op)));
            }
            Event::Deliver { message, worker } => {
                let delivery = self.world.lock().unwrap().queue.remove(message);
                self.deliver(worker, delivery);
            }
            Event::DeliverCopy { message, worker } => {
                self.duplicates -= 1;
                let delivery = self.world.lock().unwrap().queue[message];
                self.deliver(worker, delivery);
            }
            Event::Step { process, answer } => {
                if answer != Answer::Given {
                    self.errors -= 1;
                }
                self.world.lock().unwrap().answers[process] = answer;
                self.step(process);
            }
            Event::Crash { worker } => {
                self.crashes -= 1;
                self.processes[worker].memory = Arc::default();
                self.world.lock().unwrap().unsent_records[worker] = false;
                if let Some((Some(delivery), _)) = self.work[worker].take() {
                    self.again(delivery, 0);
                }
            }
            Event::HalfOp => {
                self.half_ops -= 1;
                let admin = self.admin();
                self.work[admin] = None;
            }
            Event::Flush { worker } => {
                let mut world = self.world.lock().unwrap();
                world.unsent_records[worker] = false;
                world.write_record();
            }
            _ => self.pass(event),
        }
    }

    /// Lets time pass, or sets clocks.
    fn pass(&mut self, event: Event) {
        let mut world = self.world.lock().unwrap();
        match event {
            Event::Freeze { worker } => {
                self.freezes -= 1;
                world.pass(HOUR);
                world.monotonic[worker] -= u64::from(HOUR);
            }
            Event::SetBack { worker, secs } => {
                self.set_backs -= 1;
                world.pass(HOUR);
                world.wall += secs - i64::from(HOUR);
                if secs < 0 {
                    // No clock shows the hour, but one of them shows that the clocks cannot be trusted.
                    world.monotonic[worker] -= u64::from(HOUR);
                }
            }
            Event::Wait => {
                let dues = world.queue.iter().map(|delivery| delivery.due);
                let next = dues.filter(|due| *due > world.real).min();
                let secs = next.unwrap_or(world.real) - world.real;
                world.pass(u32::try_from(secs).unwrap());
            }
            _ => {
                self.maintained += 1;
                world.pass(HOUR);
                drop(world);
                let admin = self.processes[self.admin()].clone();
                self.begin(self.admin(), None, Box::pin(maintain(admin)));
            }
        }
    }

    fn begin(&mut self, process: usize, delivery: Option<Delivery>, work: Work) {
        let process_seen = &self.processes[process];
        *process_seen.seen.lock().unwrap() = 0;
        process_seen.observe("begin", &(delivery, self.world.lock().unwrap().began()));
        self.work[process] = Some((delivery, work));
    }

    fn deliver(&mut self, worker: usize, delivery: Delivery) {
        let process = self.processes[worker].clone();
        let (began, token) = {
            let mut world = self.world.lock().unwrap();
            world.tokens += 1;
            (world.began(), world.tokens.to_string())
        };
        process.memory.lock().unwrap().forget_deferral();
        let deferred = DeferredKey {
            key: key(),
            changed_at: time(0),
            token,
            overwrite: Overwrite::Always,
            own: None,
        };
        let work: Work = match delivery.message {
            Message::Live(object) => Box::pin(live(process, object, deferred, began)),
            Message::Object => Box::pin(large(process, deferred, began)),
            Message::Replay => Box::pin(replay(process, began)),
        };
        self.begin(worker, Some(delivery), work);
        self.processes[worker].observe("token", &self.world.lock().unwrap().tokens);
    }

    fn step(&mut self, process: usize) {
        let Some((delivery, work)) = &mut self.work[process] else {
            return;
        };
        let delivery = *delivery;
        self.processes[process].observe("poll", &());
        let polled = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(ended) = polled {
            self.work[process] = None;
            self.world.lock().unwrap().answers[process] = Answer::Given;
            if let (Some(delivery), Ended::After(secs)) = (delivery, ended) {
                self.again(delivery, secs);
            }
        }
    }

    fn again(&self, delivery: Delivery, secs: i64) {
        let mut world = self.world.lock().unwrap();
        let due = world.real + secs;
        world.queue.push(Delivery {
            receives: delivery.receives + 1,
            due,
            ..delivery
        });
        world.queue.sort_unstable();
    }

    /// The violation in a state where nothing more can happen, if there is one.
    fn verdict(&self) -> Option<String> {
        let world = self.world.lock().unwrap();
        let Some(rule) = &world.rule else {
            return None;
        };
        if rule.state == RuleState::Deleting {
            return None;
        }
        let keeps = world.source == 0 && (world.kept || rule.policy == Policy::Write);
        let in_sync = world.replica == world.source || keeps;
        let (source, replica) = (world.source, world.replica);
        let stored = rule.state == RuleState::Paused && world.deferred.is_some();
        if !in_sync && !stored && world.record.is_none() {
            return Some(format!(
                "the source holds {source}, the replica {replica}, and no record shows it"
            ));
        }
        if in_sync && world.record.is_some() && !keeps {
            return Some("a failure is recorded for a key that is in sync".to_owned());
        }
        if rule.state == RuleState::Enabled && world.deferred.is_some() {
            return Some("a key is deferred though the rule is enabled".to_owned());
        }
        None
    }

    fn digest(&self) -> u64 {
        let world = self.world.lock().unwrap();
        let mut hasher = DefaultHasher::new();
        world.digest().hash(&mut hasher);
        for (process, work) in self.processes.iter().zip(&self.work) {
            process.memory.lock().unwrap().digest().hash(&mut hasher);
            let delivery = work.as_ref().map(|(delivery, _)| *delivery);
            let seen = work.as_ref().map(|_| *process.seen.lock().unwrap());
            (delivery, seen).hash(&mut hasher);
        }
        (self.written, self.done, self.crashes, self.half_ops).hash(&mut hasher);
        (self.duplicates, self.errors, self.freezes, self.set_backs).hash(&mut hasher);
        self.maintained.hash(&mut hasher);
        hasher.finish()
    }
}
