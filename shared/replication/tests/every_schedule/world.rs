//! The state that is searched (both buckets, the queue, the attempts and what is in flight), and the events that
//! may happen next in it.
//!
//! A read request is carried out at one instant. A write request reads what it needs at one instant and lands at a
//! later one. Lists whose order has no meaning are kept sorted, so that states that differ only in that order are
//! equal.

use tandem_replication::decide::KeepReason;
use tandem_replication::fault::Reason;
use tandem_replication::overwrite::Overwrite;
use tandem_replication::replicator::{ATTRIBUTES_SETTLE, Depth, Outcome};
use tandem_replication::rule::Policy;

use super::model::{
    Answer, Bucket, Budget, Job, JobKind, Landable, Object, Removed, Request, START_SECS, Scenario,
    Start, Stored, TICK_SECS, Tagged, Write,
};
use super::notifications;
use super::program::{Ended, Next, Node, Program};

/// Everything that can make a difference later.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub now: u8,
    /// How many of the scenario's writes have happened.
    pub written: usize,
    /// How many of the other writer's puts have happened.
    pub put_by_others: usize,
    pub source: Option<Object>,
    pub replica: Option<Object>,
    /// The `ETag`s that attempts of the job have announced.
    pub announced: Vec<Tagged>,
    pub queue: Vec<Message>,
    pub running: Vec<Running>,
    /// Requests whose senders are dead or have stopped waiting. Their messages are redelivered once the request has
    /// landed or is lost.
    pub orphans: Vec<Orphan>,
    pub left: Budget,
}

/// A message of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Message {
    /// Identifies a message that may be delivered twice.
    pub id: u8,
    pub about: About,
    /// When a change of tags happened.
    pub at: u8,
    /// Whether it was delivered before.
    pub tried: bool,
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum About {
    /// The scenario's write of this number.
    Write(usize),
    Job,
}

/// An attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Running {
    pub messages: Vec<Message>,
    pub history: Node,
    pub flight: Option<Flight>,
}

/// A request whose sender is dead or has stopped waiting.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Orphan {
    pub messages: Vec<Message>,
    pub flight: Flight,
}

/// A write request that has been carried out in part, and what lands later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flight {
    pub lands: Lands,
    pub sent: u8,
    pub is_of_job: bool,
}

/// What lands later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lands {
    Copy {
        read: Object,
        writes: Object,
        in_parts: bool,
        onto: Landable,
    },
    Tag {
        tag: Option<char>,
        version: u8,
    },
    Delete(Tagged),
}

/// One thing that happens. Numbers are indices in the state's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The next write at the source. S3 sends this many notifications of it.
    Write {
        notifications: u8,
    },
    /// Another writer's next object at the destination.
    Other,
    /// A worker receives a message, or a batch of two.
    Deliver {
        first: usize,
        second: Option<usize>,
    },
    /// SQS delivers a message that a worker has already received.
    Share {
        running: usize,
    },
    /// A request is carried out.
    Step {
        running: usize,
    },
    /// A request is answered 503 instead.
    Refuse {
        running: usize,
    },
    /// What is in flight lands, and its sender gets the answer.
    Land {
        running: usize,
    },
    /// The sender of what is in flight gets no answer, or a 5xx.
    NoAnswer {
        running: usize,
    },
    Crash {
        running: usize,
    },
    LandOrphan {
        orphan: usize,
    },
    /// What is in flight never lands.
    LoseOrphan {
        orphan: usize,
    },
    Tick,
    /// Time passes until a change of tags may be processed.
    Wait,
}

impl State {
    pub fn first(scenario: &Scenario) -> Self {
        let job = Message {
            id: 0,
            about: About::Job,
            at: 0,
            tried: false,
        };
        Self {
            now: START_SECS,
            written: 0,
            put_by_others: 0,
            source: scenario.source,
            replica: scenario.replica,
            announced: Vec::new(),
            queue: scenario.job.iter().map(|_| job).collect(),
            running: Vec::new(),
            orphans: Vec::new(),
            left: scenario.budget,
        }
    }

    /// The events that may happen next; empty at the end.
    pub fn events(&self, scenario: &Scenario) -> Vec<Event> {
        let mut events = Vec::new();
        if self.written < scenario.writes.len() {
            events.push(Event::Write { notifications: 1 });
            if self.left.duplicates > 0 {
                events.push(Event::Write { notifications: 2 });
            }
        }
        if self.put_by_others < scenario.others.len() {
            events.push(Event::Other);
        }
        self.deliveries(scenario, &mut events);
        for (at, running) in self.running.iter().enumerate() {
            if at > 0 && *running == self.running[at - 1] {
                continue;
            }
            self.of_running(at, running, scenario, &mut events);
        }
        for (at, orphan) in self.orphans.iter().enumerate() {
            if at == 0 || *orphan != self.orphans[at - 1] {
                events.push(Event::LandOrphan { orphan: at });
                events.push(Event::LoseOrphan { orphan: at });
            }
        }
        let over = events.is_empty();
        if self.left.ticks > 0 && !over {
            events.push(Event::Tick);
        }
        if self
            .queue
            .iter()
            .any(|message| !self.is_due(message, scenario))
        {
            events.push(Event::Wait);
        }
        events
    }

    fn deliveries(&self, scenario: &Scenario, events: &mut Vec<Event>) {
        if self.running.len() == scenario.workers {
            return;
        }
        let due: Vec<usize> = (0..self.queue.len())
            .filter(|&at| self.is_due(&self.queue[at], scenario))
            .filter(|&at| at == 0 || self.queue[at] != self.queue[at - 1])
            .collect();
        for (place, &first) in due.iter().enumerate() {
            events.push(Event::Deliver {
                first,
                second: None,
            });
            for &second in &due[place + 1..] {
                // Two changes of a batch that are not coalesced are processed as if two workers had received them.
                let batch = [self.queue[first], self.queue[second]];
                if notifications::coalesced(scenario, &batch).is_some() {
                    events.push(Event::Deliver {
                        first,
                        second: Some(second),
                    });
                }
            }
        }
    }

    fn of_running(
        &self,
        at: usize,
        running: &Running,
        scenario: &Scenario,
        events: &mut Vec<Event>,
    ) {
        if running.flight.is_some() {
            events.push(Event::Land { running: at });
            if self.left.timeouts > 0 {
                events.push(Event::NoAnswer { running: at });
            }
        } else {
            events.push(Event::Step { running: at });
            if self.left.refusals > 0 {
                events.push(Event::Refuse { running: at });
            }
        }
        if self.left.crashes > 0 {
            events.push(Event::Crash { running: at });
        }
        let is_job = |message: &Message| message.about == About::Job;
        if self.left.shared > 0
            && self.running.len() < scenario.workers
            && running.messages.len() == 1
            && !running.messages.iter().any(is_job)
        {
            events.push(Event::Share { running: at });
        }
    }

    fn is_due(&self, message: &Message, scenario: &Scenario) -> bool {
        self.now >= due(message, scenario)
    }

    /// The state after an event, or the violation.
    pub fn after(
        &self,
        event: Event,
        program: &mut Program<'_>,
        scenario: &Scenario,
    ) -> Result<Self, String> {
        let mut next = self.clone();
        match event {
            Event::Write { notifications } => next.write(scenario, notifications),
            Event::Other => {
                next.replica = Some(Object {
                    at: next.now,
                    ..scenario.others[next.put_by_others]
                });
                next.put_by_others += 1;
            }
            Event::Deliver { first, second } => next.deliver(first, second, program, scenario),
            Event::Share { running } => {
                next.left.shared -= 1;
                let mut message = next.running[running].messages[0];
                message.tried = true;
                next.begin(vec![message], program, scenario);
            }
            Event::Step { running } => next.step(running, program, scenario)?,
            Event::Refuse { running } => {
                next.left.refusals -= 1;
                next.answer(running, Answer::Throttled, program, scenario)?;
            }
            Event::Land { running } => {
                let flight = next.running[running].flight.take();
                let flight = flight.ok_or("nothing is in flight")?;
                let answer = next.land(flight, scenario)?;
                next.answer(running, answer, program, scenario)?;
            }
            Event::NoAnswer { running } => {
                next.left.timeouts -= 1;
                next.answer(running, Answer::NotAnswered, program, scenario)?;
            }
            Event::Crash { running } => {
                next.left.crashes -= 1;
                let dead = next.running.remove(running);
                next.redeliver_after(dead.messages, dead.flight, scenario);
            }
            Event::LandOrphan { orphan } => {
                let orphan = next.orphans.remove(orphan);
                next.land(orphan.flight, scenario)?;
                next.queue.extend(orphan.messages);
            }
            Event::LoseOrphan { orphan } => {
                let orphan = next.orphans.remove(orphan);
                next.queue.extend(orphan.messages);
            }
            Event::Tick => {
                next.left.ticks -= 1;
                next.now += TICK_SECS;
            }
            Event::Wait => {
                let waiting = next.queue.iter().map(|message| due(message, scenario));
                next.now = waiting
                    .filter(|&due| due > next.now)
                    .min()
                    .unwrap_or(next.now);
            }
        }
        next.queue.sort_unstable();
        next.running.sort_unstable();
        next.orphans.sort_unstable();
        Ok(next)
    }

    fn write(&mut self, scenario: &Scenario, notifications: u8) {
        let version = u8::try_from(self.written + 1).unwrap();
        let put = |content, stored, metadata, tag| Object {
            etag: Tagged { content, stored },
            metadata,
            tag,
            mark: None,
            version,
            at: self.now,
        };
        let write = scenario.writes[self.written];
        match write {
            Write::Put(content, metadata, tag) => {
                self.source = Some(put(content, Stored::Whole, metadata, tag));
            }
            Write::PutInParts(content, metadata, tag) => {
                self.source = Some(put(content, Stored::InParts, metadata, tag));
            }
            Write::Tag(tag) => {
                if let Some(source) = &mut self.source {
                    source.tag = tag;
                }
            }
            Write::Delete => self.source = None,
            Write::Restore(older) => self.source = Some(older),
        }
        for copy in 0..notifications {
            let apart = scenario.budget.shared > 0;
            self.queue.push(Message {
                id: if apart { version + 100 * copy } else { 0 },
                about: About::Write(self.written),
                at: if matches!(write, Write::Tag(_)) {
                    self.now
                } else {
                    0
                },
                tried: false,
            });
        }
        self.left.duplicates -= notifications - 1;
        self.written += 1;
    }

    fn deliver(
        &mut self,
        first: usize,
        second: Option<usize>,
        program: &mut Program<'_>,
        scenario: &Scenario,
    ) {
        let second = second.map(|second| self.queue.remove(second));
        let first = self.queue.remove(first);
        let messages = [Some(first), second].into_iter().flatten().collect();
        self.begin(messages, program, scenario);
    }

    /// Starts an attempt, if the rule admits it.
    fn begin(&mut self, messages: Vec<Message>, program: &mut Program<'_>, scenario: &Scenario) {
        let tried = messages.iter().any(|message| message.tried);
        let start = match (messages[0].about, scenario.job) {
            (About::Job, Some(Job { kind, .. })) => Some(match kind {
                _ if tried => Start::Successor(self.announced.clone()),
                JobKind::Named => Start::Named,
                JobKind::Backfill | JobKind::Repair => Start::Listed,
            }),
            _ => notifications::admitted(scenario, &messages),
        };
        match start {
            Some(start) => self.running.push(Running {
                messages,
                history: program.start(
                    start,
                    if tried {
                        Depth::Attributes
                    } else {
                        Depth::Head
                    },
                ),
                flight: None,
            }),
            None => self.acknowledge(&messages),
        }
    }

    /// Carries out a request, or the part of it that happens at once.
    fn step(
        &mut self,
        at: usize,
        program: &mut Program<'_>,
        scenario: &Scenario,
    ) -> Result<(), String> {
        let history = self.running[at].history;
        let Next::Sends(request) = program.next(history) else {
            return Err("an attempt that has ended took a step".to_owned());
        };
        let answer = match request {
            Request::Head(bucket) | Request::List(bucket) => Answer::Shown(self.object(bucket)),
            Request::Attributes(bucket) => {
                Answer::Tag(self.object(bucket).and_then(|object| object.tag))
            }
            Request::Layout => Answer::Done,
            Request::Announce(etag) => {
                if !self.announced.contains(&etag) {
                    self.announced.push(etag);
                    self.announced.sort_unstable();
                }
                Answer::Done
            }
            Request::Copy { .. } | Request::Adjust { .. } | Request::Delete(_) => {
                if matches!(request, Request::Delete(_)) && scenario.policy == Policy::Write {
                    return Err("a delete under policy write".to_owned());
                }
                match self.sent(request, scenario) {
                    Ok(lands) => {
                        self.running[at].flight = Some(Flight {
                            lands,
                            sent: self.now,
                            is_of_job: program.is_of_job(history),
                        });
                        return Ok(());
                    }
                    Err(answer) => answer,
                }
            }
        };
        self.answer(at, answer, program, scenario)
    }

    /// What a write puts into flight, or its answer if it is refused at once.
    fn sent(&self, request: Request, scenario: &Scenario) -> Result<Lands, Answer> {
        match request {
            Request::Copy {
                pin,
                metadata,
                in_parts,
                mark,
                onto,
            } => {
                let read = self.source.ok_or(Answer::Gone)?;
                if read.etag != pin && scenario.service.honours_pins {
                    return Err(Answer::Refused);
                }
                let stored = match (scenario.service.encrypts, in_parts) {
                    (true, _) => Stored::Encrypted,
                    (false, true) => Stored::InParts,
                    (false, false) => Stored::Whole,
                };
                let writes = Object {
                    etag: Tagged {
                        content: read.etag.content,
                        stored,
                    },
                    metadata: metadata.unwrap_or(read.metadata),
                    mark: mark.then_some(pin),
                    ..read
                };
                Ok(Lands::Copy {
                    read,
                    writes,
                    in_parts,
                    onto,
                })
            }
            Request::Adjust { tag, version } => match self.replica {
                Some(_) => Ok(Lands::Tag { tag, version }),
                None => Err(Answer::Refused),
            },
            Request::Delete(etag) => Ok(Lands::Delete(etag)),
            _ => unreachable!("only writes are in flight"),
        }
    }

    /// Lands what is in flight. Returns the answer for its sender, or the violation.
    fn land(&mut self, flight: Flight, scenario: &Scenario) -> Result<Answer, String> {
        let honours = scenario.service.honours_conditions;
        match flight.lands {
            Lands::Copy {
                read,
                writes,
                in_parts,
                onto,
            } => {
                let may = match (onto, self.replica) {
                    (Landable::Anything, _) | (Landable::Nothing, None) => true,
                    (Landable::Seen(seen), Some(replica)) => replica.etag == seen,
                    (Landable::Nothing, Some(_)) | (Landable::Seen(_), None) => false,
                };
                if honours && !may {
                    return Ok(Answer::Refused);
                }
                self.may_replace(flight, &read, scenario)?;
                // The time of a write matters only in the mode that replaces older objects.
                let mode = scenario.job.map(|job| job.overwrite);
                let at = if mode == Some(Overwrite::IfOlder) {
                    self.now
                } else {
                    0
                };
                let landed = Object { at, ..writes };
                self.replica = Some(landed);
                Ok(Answer::Landed {
                    read,
                    landed,
                    in_parts,
                    sent: flight.sent,
                    took: self.now - flight.sent,
                })
            }
            Lands::Tag { tag, version } => {
                if let Some(replica) = &mut self.replica
                    && (!scenario.service.versioned || replica.version == version)
                {
                    replica.tag = tag;
                }
                Ok(Answer::Done)
            }
            Lands::Delete(seen) => {
                let other = self.replica.is_some_and(|replica| replica.etag != seen);
                if other && honours && scenario.removed != Removed::DeleteIfMatch {
                    return Ok(Answer::Refused);
                }
                // A repair may delete what only the destination has.
                let repairs = scenario.job.is_some_and(|job| job.kind == JobKind::Repair);
                let others = self.replica.is_some_and(|replica| replica.is_others());
                if flight.is_of_job && !repairs && honours && others {
                    return Err("a job deleted another writer's object".to_owned());
                }
                self.replica = None;
                Ok(Answer::Done)
            }
        }
    }

    /// Returns an error if a copy of a job replaced what its mode protects, on a server that honours conditions.
    fn may_replace(
        &self,
        flight: Flight,
        read: &Object,
        scenario: &Scenario,
    ) -> Result<(), String> {
        let (Some(there), Some(job)) = (self.replica, scenario.job) else {
            return Ok(());
        };
        let protected = match job.overwrite {
            Overwrite::Always => false,
            Overwrite::IfOlder => there.at >= read.at,
            Overwrite::Never => true,
        };
        let honours = scenario.service.honours_conditions;
        if flight.is_of_job && honours && protected && there.is_others() {
            return Err(format!(
                "a job that overwrites {:?} replaced another writer's object",
                job.overwrite.as_str()
            ));
        }
        Ok(())
    }

    /// Delivers an answer to an attempt, which ends if that was the last one.
    fn answer(
        &mut self,
        at: usize,
        answer: Answer,
        program: &mut Program<'_>,
        scenario: &Scenario,
    ) -> Result<(), String> {
        let history = program.answered(self.running[at].history, answer);
        self.running[at].history = history;
        let Next::Ends(ended) = program.next(history) else {
            return Ok(());
        };
        let attempt = self.running.remove(at);
        match ended {
            Ended::Well(Outcome::TooLargeHere { .. }) => Err("too large".to_owned()),
            Ended::Well(Outcome::Kept(KeepReason::PolicyKeepsDeletes))
                if scenario.policy == Policy::Full && scenario.removed == Removed::Nothing =>
            {
                Err("policy full keeps deletes".to_owned())
            }
            Ended::Well(_) => {
                self.acknowledge(&attempt.messages);
                Ok(())
            }
            Ended::Failed(reason) => {
                let expected = matches!(
                    reason,
                    Reason::Throttled | Reason::NotAnswered | Reason::KeptChanging
                );
                if !expected {
                    return Err(format!("an attempt failed: {reason:?}"));
                }
                if scenario.removed == Removed::BackToTheQueue {
                    self.acknowledge(&attempt.messages);
                } else {
                    self.redeliver_after(attempt.messages, attempt.flight, scenario);
                }
                Ok(())
            }
        }
    }

    /// SQS deletes the messages for all workers that have received them.
    fn acknowledge(&mut self, messages: &[Message]) {
        let gone =
            |message: &Message| message.id != 0 && messages.iter().any(|it| it.id == message.id);
        self.queue.retain(|message| !gone(message));
        for running in &mut self.running {
            running.messages.retain(|message| !gone(message));
        }
        for orphan in &mut self.orphans {
            orphan.messages.retain(|message| !gone(message));
        }
    }

    /// Redelivers the messages once no request of their attempt is in flight.
    fn redeliver_after(
        &mut self,
        mut messages: Vec<Message>,
        flight: Option<Flight>,
        scenario: &Scenario,
    ) {
        for message in &mut messages {
            message.tried = true;
        }
        let at_once = matches!(
            scenario.removed,
            Removed::VisibilityTimeout | Removed::NoBlindRepeat
        );
        match flight {
            Some(flight) => {
                if at_once {
                    self.queue.append(&mut messages);
                }
                self.orphans.push(Orphan { messages, flight });
            }
            None => self.queue.append(&mut messages),
        }
    }

    fn object(&self, bucket: Bucket) -> Option<Object> {
        match bucket {
            Bucket::Source => self.source,
            Bucket::Replica => self.replica,
        }
    }

    /// The violation in a state where nothing more can happen, if there is one.
    pub fn verdict(&self, scenario: &Scenario) -> Option<String> {
        let content = |object: &Object| (object.etag.content, object.metadata, object.tag);
        let wanted = self.source.as_ref().map(content);
        let found = self.replica.as_ref().map(content);
        let kept = scenario.policy == Policy::Write && self.source.is_none();
        // The last writer of the destination may be another one.
        let others = self.replica.is_some_and(|replica| replica.is_others());
        if wanted != found && !kept && !others {
            return Some(format!(
                "the source holds {wanted:?}, the replica {found:?}"
            ));
        }
        // The replica's ETag is the source's, or the replica names it.
        let (source, replica) = (self.source?, self.replica?);
        let named = replica.mark.unwrap_or(replica.etag);
        (!others && named != source.etag).then(|| {
            format!(
                "the replica names {named:?}, the source is {:?}",
                source.etag
            )
        })
    }
}

/// The time from which a message may be processed: the start, except for a change of tags.
fn due(message: &Message, scenario: &Scenario) -> u8 {
    let is_of_tags =
        matches!(message.about, About::Write(at) if matches!(scenario.writes[at], Write::Tag(_)));
    if is_of_tags && scenario.removed != Removed::AttributesSettle {
        message.at + u8::try_from(ATTRIBUTES_SETTLE.num_seconds()).unwrap()
    } else {
        0
    }
}
