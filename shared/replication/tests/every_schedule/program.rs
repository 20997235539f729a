//! The real code as a function from answers to the next request.
//!
//! An attempt is a future and cannot be copied. But it depends only on the answers that it has received, so the
//! search keeps those instead: a history is a node in a tree of answers. To find the next request of an attempt
//! with a new history, the real code is run from its start on the answers of that history. This is done once per
//! history.

use std::collections::HashMap;
use std::future::pending;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use chrono::TimeDelta;
use tandem_replication::bucket_pair::{
    AdjustOutcome, Adjustment, BucketPair, CopyOrder, CopyOutcome, DeleteOutcome, Landed, Onto,
    Side,
};
use tandem_replication::diff::{Finding, Verdict, diff};
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::in_flight::OwnWrites;
use tandem_replication::names::{Etag, ObjectKey, VersionId};
use tandem_replication::object::{Attributes, ObjectState, Tags};
use tandem_replication::options::Options;
use tandem_replication::part_layout::{PART_BYTES_MIN, PartLayout};
use tandem_replication::part_plan::CopyLimits;
use tandem_replication::put_hint::PutHint;
use tandem_replication::replicator::{Begun, Depth, Outcome, Replicator};
use tandem_replication::rule::Policy;

use super::model::{
    Answer, Bucket, IN_PARTS_BYTES, JobKind, Landable, Object, Removed, Request, Scenario, Start,
    Tagged, time,
};

/// A node of the tree: the history of an attempt.
pub type Node = u32;

/// What an attempt does next.
#[derive(Debug, Clone, Copy)]
pub enum Next {
    Sends(Request),
    Ends(Ended),
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Well(Outcome),
    Failed(Reason),
}

/// Every history that the search has met, with the next step of the real code.
pub struct Program<'a> {
    scenario: &'a Scenario,
    starts: HashMap<(Start, Depth), Node>,
    children: HashMap<(Node, Answer), Node>,
    histories: Vec<History>,
}

struct History {
    start: Start,
    depth: Depth,
    parent: Option<(Node, Answer)>,
    next: Next,
}

impl<'a> Program<'a> {
    pub fn new(scenario: &'a Scenario) -> Self {
        Self {
            scenario,
            starts: HashMap::new(),
            children: HashMap::new(),
            histories: Vec::new(),
        }
    }

    /// The history of an attempt that starts.
    pub fn start(&mut self, start: Start, depth: Depth) -> Node {
        let known = (start, depth);
        if let Some(&node) = self.starts.get(&known) {
            return node;
        }
        let node = self.add(known.0.clone(), depth, None);
        self.starts.insert(known, node);
        node
    }

    /// The history that results when this answer follows.
    pub fn answered(&mut self, node: Node, answer: Answer) -> Node {
        if let Some(&child) = self.children.get(&(node, answer)) {
            return child;
        }
        let History { start, depth, .. } = &self.histories[at(node)];
        let (start, depth) = (start.clone(), *depth);
        let child = self.add(start, depth, Some((node, answer)));
        self.children.insert((node, answer), child);
        child
    }

    pub fn next(&self, node: Node) -> Next {
        self.histories[at(node)].next
    }

    /// Whether the attempt belongs to a job.
    pub fn is_of_job(&self, node: Node) -> bool {
        matches!(
            self.histories[at(node)].start,
            Start::Listed | Start::Named | Start::Successor(_)
        )
    }

    /// The number of histories.
    pub fn len(&self) -> usize {
        self.histories.len()
    }

    fn add(&mut self, start: Start, depth: Depth, parent: Option<(Node, Answer)>) -> Node {
        let mut answers = Vec::new();
        let mut link = parent;
        while let Some((node, answer)) = link {
            answers.push(answer);
            link = self.histories[at(node)].parent;
        }
        answers.reverse();
        let next = run(self.scenario, &start, depth, answers);
        self.histories.push(History {
            start,
            depth,
            parent,
            next,
        });
        Node::try_from(self.histories.len() - 1).unwrap()
    }
}

fn at(node: Node) -> usize {
    usize::try_from(node).unwrap()
}

/// Runs the real code on these answers, up to the first request that has no answer.
fn run(scenario: &Scenario, start: &Start, depth: Depth, answers: Vec<Answer>) -> Next {
    let pair = Replayed {
        scenario,
        start: start.clone(),
        answers: Mutex::new(answers.into_iter()),
        unanswered: Mutex::new(None),
        believed: Mutex::new(Believed::Nothing),
        has_copied: Mutex::new(false),
    };
    let ended = {
        let mut attempt = pin!(attempt(&pair, start, depth));
        attempt
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    };
    match ended {
        Poll::Ready(Ok(outcome)) => Next::Ends(Ended::Well(outcome)),
        Poll::Ready(Err(fault)) => Next::Ends(Ended::Failed(fault.reason)),
        Poll::Pending => Next::Sends(pair.unanswered.into_inner().unwrap().unwrap()),
    }
}

/// One attempt at the key, as the functions make it.
async fn attempt(pair: &Replayed<'_>, start: &Start, depth: Depth) -> Result<Outcome, Fault> {
    let Scenario {
        policy, removed, ..
    } = pair.scenario;
    let key = ObjectKey::parse("key").unwrap();
    let (options, hint) = (Options::default(), PutHint::default());
    let replicator = |policy| {
        Replicator::new(pair, policy, &options, CopyLimits::default())
            .with_hint(&hint)
            .comparing(if *removed == Removed::RedeliveriesCompareAttributes {
                Depth::Head
            } else {
                depth
            })
    };
    let job = |own: &[Tagged]| {
        let overwrite = pair.scenario.job.map(|job| job.overwrite);
        let of = match removed {
            Removed::OwnIsDeleted => Policy::Write,
            _ => *policy,
        };
        let replicator = replicator(of).overwriting(overwrite.unwrap_or_default());
        if *removed == Removed::OthersAreKept {
            return replicator;
        }
        let known = *removed != Removed::SuccessorKnows;
        let own = own.iter().filter(|_| known).map(|own| own.etag());
        replicator.in_job(own.fold(OwnWrites::default(), |all, etag| all.with(&key, &etag)))
    };
    match start {
        Start::Put(etag) => {
            let put = replicator(*policy);
            put.put(&key, &etag.etag(), etag.bytes()).await
        }
        Start::Attributes => replicator(*policy).reconcile_attributes(&key).await,
        Start::Reconcile => replicator(*policy).reconcile(&key).await,
        Start::Named => job(&[]).reconcile(&key).await,
        Start::Successor(own) => job(own).comparing(Depth::Attributes).reconcile(&key).await,
        Start::Listed => {
            let extras = replicator(*policy);
            listed(pair, &key, &job(&[]), &extras).await
        }
    }
}

/// A page of a job: lists both sides, copies, and lists the source again to settle what landed.
async fn listed(
    pair: &Replayed<'_>,
    key: &ObjectKey,
    job: &Replicator<'_, Replayed<'_>>,
    extras: &Replicator<'_, Replayed<'_>>,
) -> Result<Outcome, Fault> {
    let source = pair.list(Bucket::Source).await?;
    let replica = pair.list(Bucket::Replica).await?;
    let (source, replica) = (source.as_slice(), replica.as_slice());
    let begun = match diff(source, replica).first() {
        None => return Ok(Outcome::BothAbsent),
        Some(Finding::Extra(_)) => {
            let repairs = pair.scenario.job.map(|job| job.kind) == Some(JobKind::Repair);
            return if repairs {
                extras.reconcile(key).await
            } else {
                Ok(Outcome::BothAbsent)
            };
        }
        Some(Finding::Source {
            verdict: Verdict::Same,
            ..
        }) => return Ok(Outcome::InSync),
        Some(Finding::Source {
            verdict: Verdict::NeedsLook,
            ..
        }) => return job.reconcile(key).await,
        Some(Finding::Source {
            source, replica, ..
        }) => job.copy_listed(key, source, *replica).await?,
    };
    match begun {
        Begun::Ended(outcome) => Ok(outcome),
        Begun::Landed(landing) => {
            let again = pair.list(Bucket::Source).await?;
            if again.is_empty() && pair.scenario.removed == Removed::ListingDoesNotDelete {
                pair.delete_replica(key, &source[0].etag).await?;
                return Ok(Outcome::Deleted);
            }
            job.settle(key, &landing, again.first()).await
        }
    }
}

/// What a weakened protocol assumes about the source without asking.
#[derive(Debug, Clone, Copy)]
enum Believed {
    Nothing,
    /// The source holds this object, or none.
    Source(Option<Object>),
}

/// The buckets as an attempt with this history sees them.
struct Replayed<'a> {
    scenario: &'a Scenario,
    start: Start,
    answers: Mutex<std::vec::IntoIter<Answer>>,
    unanswered: Mutex<Option<Request>>,
    believed: Mutex<Believed>,
    has_copied: Mutex<bool>,
}

impl Replayed<'_> {
    async fn ask(&self, request: Request) -> Result<Answer, Fault> {
        let answer = self.answers.lock().unwrap().next();
        match answer {
            Some(Answer::Throttled) => Err(Fault::because(Reason::Throttled, "503")),
            Some(Answer::NotAnswered) => Err(Fault::because(Reason::NotAnswered, "no answer")),
            Some(answer) => Ok(answer),
            None => {
                *self.unanswered.lock().unwrap() = Some(request);
                pending().await
            }
        }
    }

    async fn list(&self, bucket: Bucket) -> Result<Vec<tandem_replication::diff::Listed>, Fault> {
        if let (Bucket::Source, Believed::Source(believed)) =
            (bucket, *self.believed.lock().unwrap())
        {
            return Ok(believed.iter().map(Object::listed).collect());
        }
        let Answer::Shown(object) = self.ask(Request::List(bucket)).await? else {
            unreachable!("a listing shows")
        };
        Ok(object.iter().map(Object::listed).collect())
    }

    fn shown(&self, object: Option<Object>) -> Option<ObjectState> {
        object.map(|object| object.shown(self.scenario.service))
    }

    fn removed(&self, rule: Removed) -> bool {
        self.scenario.removed == rule
    }

    fn believe(&self, source: Option<Object>) {
        *self.believed.lock().unwrap() = Believed::Source(source);
    }

    /// The outcome that a copy's answer reports, falsified where the protocol is weakened.
    fn landed(&self, answer: Answer) -> CopyOutcome {
        let Answer::Landed {
            read,
            landed,
            in_parts,
            sent,
            took,
        } = answer
        else {
            return match answer {
                Answer::Gone => CopyOutcome::SourceGone,
                _ => CopyOutcome::Overtaken,
            };
        };
        let version = |object: &Object| {
            let versioned = self.scenario.service.versioned;
            versioned.then(|| VersionId::new(object.version.to_string()))
        };
        let mut answer = Landed {
            etag: landed.etag.etag(),
            version: version(&landed),
            source_version: version(&read).filter(|_| !in_parts),
            began_after: (!in_parts).then(|| time(sent)),
            took: TimeDelta::seconds(took.into()),
        };
        if self.removed(Removed::ReadAgain) {
            self.believe(Some(read));
            answer.began_after = Some(time(u8::MAX));
        }
        if self.removed(Removed::EqualEtagIsNoProof) {
            answer.began_after = Some(time(u8::MAX));
            answer.source_version = None;
        }
        if self.removed(Removed::SlowCopiesReadOldTags) {
            answer.took = TimeDelta::zero();
        }
        *self.has_copied.lock().unwrap() = true;
        CopyOutcome::Landed(answer)
    }

    /// The outcome of a refused copy where the protocol takes it for a success.
    fn taken_for_success(&self, pin: Tagged) -> CopyOutcome {
        let ordered = Object {
            etag: pin,
            ..Object::old('-', '-')
        };
        self.believe(Some(ordered));
        CopyOutcome::Landed(Landed {
            etag: pin.etag(),
            version: None,
            source_version: None,
            began_after: Some(time(u8::MAX)),
            took: TimeDelta::zero(),
        })
    }
}

impl BucketPair for Replayed<'_> {
    async fn head(&self, side: Side, _key: &ObjectKey) -> Result<Option<ObjectState>, Fault> {
        let bucket = match side {
            Side::Source => Bucket::Source,
            Side::Replica => Bucket::Replica,
        };
        if side == Side::Source {
            let believed = *self.believed.lock().unwrap();
            if let Believed::Source(believed) = believed {
                return Ok(self.shown(believed));
            }
            if self.removed(Removed::StateDecides) && self.start == Start::Reconcile {
                return Ok(None);
            }
        }
        match self.ask(Request::Head(bucket)).await {
            Ok(Answer::Shown(object)) => Ok(self.shown(object)),
            Err(_) if self.removed(Removed::OnlyThe404Deletes) && side == Side::Source => Ok(None),
            Err(fault) => Err(fault),
            Ok(_) => unreachable!("a HEAD shows"),
        }
    }

    async fn attributes(&self, side: Side, _key: &ObjectKey) -> Result<Attributes, Fault> {
        let bucket = match side {
            Side::Source => Bucket::Source,
            Side::Replica => Bucket::Replica,
        };
        let Answer::Tag(tag) = self.ask(Request::Attributes(bucket)).await? else {
            unreachable!("the attributes are a tag")
        };
        let tags = tag.map(|tag| ("t".to_owned(), tag.to_string()));
        Ok(Attributes {
            tags: Some(Tags::from_iter(tags)),
            grants: None,
        })
    }

    async fn part_layout(
        &self,
        _key: &ObjectKey,
        _source: &ObjectState,
    ) -> Result<Option<PartLayout>, Fault> {
        self.ask(Request::Layout).await?;
        Ok(Some(PartLayout::even(IN_PARTS_BYTES, PART_BYTES_MIN)))
    }

    async fn announce(&self, _key: &ObjectKey, etag: &Etag) -> Result<(), Fault> {
        if !self.removed(Removed::Announce) {
            self.ask(Request::Announce(Tagged::of(etag))).await?;
        }
        Ok(())
    }

    async fn copy(
        &self,
        _key: &ObjectKey,
        order: CopyOrder<'_>,
        onto: Onto<'_>,
    ) -> Result<CopyOutcome, Fault> {
        let unconditional =
            self.removed(Removed::ConditionsStay) && *self.has_copied.lock().unwrap();
        let onto = match onto {
            Onto::Anything => Landable::Anything,
            _ if unconditional => Landable::Anything,
            Onto::Nothing => Landable::Nothing,
            Onto::Seen(etag) => Landable::Seen(Tagged::of(etag)),
        };
        let request = match order {
            CopyOrder::Pinned { etag, .. } => Request::Copy {
                pin: Tagged::of(etag),
                metadata: None,
                in_parts: false,
                mark: false,
                onto,
            },
            CopyOrder::Known {
                source,
                parts,
                record_etag,
            } => {
                // Only a copy in parts, or one that records the ETag, writes the metadata from an earlier HEAD.
                let known = source.metadata.user["m"].as_str();
                let known = known.and_then(|text| text.chars().next());
                Request::Copy {
                    pin: Tagged::of(&source.etag),
                    metadata: known.filter(|_| parts.is_some() || record_etag),
                    in_parts: parts.is_some(),
                    mark: record_etag,
                    onto,
                }
            }
        };
        let Request::Copy { pin, .. } = request else {
            unreachable!("a copy is a copy")
        };
        let outcome = self.landed(self.ask(request).await?);
        if self.removed(Removed::RefusedIsNoSuccess) && !matches!(outcome, CopyOutcome::Landed(_)) {
            return Ok(self.taken_for_success(pin));
        }
        Ok(outcome)
    }

    async fn adjust(
        &self,
        _key: &ObjectKey,
        seen: &ObjectState,
        wanted: Adjustment<'_>,
    ) -> Result<AdjustOutcome, Fault> {
        let tags = wanted.attributes.and_then(|attributes| attributes.tags);
        let tag = tags.and_then(|tags| tags.get("t").and_then(|tag| tag.chars().next()));
        let version = seen.version_id.as_ref().map(VersionId::as_str);
        let version = version.map_or(0, |version| version.parse().unwrap());
        match self.ask(Request::Adjust { tag, version }).await? {
            Answer::Done => Ok(AdjustOutcome::Adjusted),
            _ => Ok(AdjustOutcome::ReplicaChanged),
        }
    }

    async fn delete_replica(&self, _key: &ObjectKey, seen: &Etag) -> Result<DeleteOutcome, Fault> {
        match self.ask(Request::Delete(Tagged::of(seen))).await? {
            Answer::Done => {
                if self.removed(Removed::ReadAgainAfterDelete) {
                    self.believe(None);
                }
                Ok(DeleteOutcome::Deleted)
            }
            _ => Ok(DeleteOutcome::ReplicaChanged),
        }
    }
}
