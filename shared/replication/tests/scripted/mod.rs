//! A pair of buckets in memory, each with one key. A test scripts the actions of other writers just before or just
//! after a request. Every request is answered at once.

use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use chrono::TimeDelta;
use tandem_replication::Timestamp;
use tandem_replication::bucket_pair::{
    AdjustOutcome, Adjustment, BucketPair, CopyOrder, CopyOutcome, DeleteOutcome, Landed, Onto,
    Side,
};
use tandem_replication::diff::Listed;
use tandem_replication::fault::Fault;
use tandem_replication::names::{Etag, ObjectKey, StorageClass, VersionId};
use tandem_replication::object::{Attributes, Lock, Metadata, ObjectState, PROVENANCE_KEY, Tags};
use tandem_replication::part_layout::PartLayout;

/// A request before or after which a script can act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    HeadSource,
    HeadReplica,
    Attributes,
    Copy,
    Adjust,
    Delete,
}

/// An object with its tags and grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub state: ObjectState,
    pub attributes: Attributes,
}

/// Both buckets, and how the service behaves.
#[derive(Debug)]
pub struct State {
    pub source: Option<Stored>,
    pub replica: Option<Stored>,
    /// Whether the destination encrypts objects with a KMS key, so that a replica has its own `ETag`.
    pub encrypts: bool,
    /// How long a copy takes.
    pub took: TimeDelta,
    /// The time at which a copy begins; `None` if the answer does not contain it.
    pub began_after: Option<Timestamp>,
    /// The number of the last replica's version, if the destination is versioned.
    pub versions: Option<u32>,
    /// How the source is cut into parts.
    pub layout: Option<PartLayout>,
    /// Whether a HEAD returns the number of tags. S3 does this; other services do not.
    pub counts_tags: bool,
    /// The requests that were sent, in order.
    pub sent: Vec<String>,
}

struct Hook {
    request: Request,
    skip: usize,
    when: When,
    change: Box<dyn FnOnce(&mut State) + Send>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Before,
    After,
}

/// The buckets and the script.
pub struct Scripted {
    pub state: Mutex<State>,
    hooks: Mutex<Vec<Hook>>,
}

/// An object of three bytes, written at `at` seconds.
pub fn stored(etag: &str, at: i64) -> Stored {
    Stored {
        state: ObjectState {
            etag: Etag::new(etag),
            etag_is_digest: true,
            bytes: 3,
            last_modified: seconds(at),
            version_id: None,
            metadata: Metadata::default(),
            storage_class: StorageClass::standard(),
            checksum: None,
            lock: Lock::default(),
            tag_count: 0,
        },
        attributes: Attributes::default(),
    }
}

/// An object as a listing shows it.
pub fn listed(stored: &Stored) -> Listed {
    Listed {
        key: "key".to_owned(),
        etag: stored.state.etag.clone(),
        bytes: stored.state.bytes,
        last_modified: stored.state.last_modified,
        storage_class: stored.state.storage_class.clone(),
    }
}

pub fn seconds(at: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + TimeDelta::seconds(at)
}

pub fn key() -> ObjectKey {
    ObjectKey::parse("key").unwrap()
}

/// Runs a future whose every request is answered at once.
pub fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("every request is answered at once"),
    }
}

impl Scripted {
    pub fn new(source: Option<Stored>, replica: Option<Stored>) -> Self {
        Self {
            state: Mutex::new(State {
                source,
                replica,
                encrypts: false,
                took: TimeDelta::zero(),
                began_after: Some(seconds(100)),
                versions: None,
                layout: None,
                counts_tags: true,
                sent: Vec::new(),
            }),
            hooks: Mutex::default(),
        }
    }

    /// Sets how the service behaves.
    pub fn behaving(self, change: impl FnOnce(&mut State)) -> Self {
        change(&mut self.state.lock().unwrap());
        self
    }

    /// Runs `change`, as another writer, before the request of this kind that follows `skip` others.
    pub fn before(
        self,
        request: Request,
        skip: usize,
        change: impl FnOnce(&mut State) + Send + 'static,
    ) -> Self {
        self.hook(request, skip, When::Before, Box::new(change))
    }

    /// Runs `change`, as another writer, after the request of this kind that follows `skip` others.
    pub fn after(
        self,
        request: Request,
        skip: usize,
        change: impl FnOnce(&mut State) + Send + 'static,
    ) -> Self {
        self.hook(request, skip, When::After, Box::new(change))
    }

    pub fn replica(&self) -> Option<Stored> {
        self.state.lock().unwrap().replica.clone()
    }

    pub fn replica_etag(&self) -> Option<String> {
        self.replica()
            .map(|stored| stored.state.etag.as_str().to_owned())
    }

    /// The requests that were sent so far.
    pub fn sent(&self) -> Vec<String> {
        self.state.lock().unwrap().sent.clone()
    }

    /// How many requests of this kind were sent.
    pub fn count(&self, word: &str) -> usize {
        let sent = self.sent();
        sent.iter().filter(|sent| sent.starts_with(word)).count()
    }

    fn hook(
        self,
        request: Request,
        skip: usize,
        when: When,
        change: Box<dyn FnOnce(&mut State) + Send>,
    ) -> Self {
        self.hooks.lock().unwrap().push(Hook {
            request,
            skip,
            when,
            change,
        });
        self
    }

    /// Carries out one request, with the scripted changes before and after it.
    fn at<T>(&self, request: Request, sent: String, carry_out: impl FnOnce(&mut State) -> T) -> T {
        let mut due = Vec::new();
        let mut hooks = self.hooks.lock().unwrap();
        let mut at = 0;
        while at < hooks.len() {
            if hooks[at].request == request && hooks[at].skip == 0 {
                due.push(hooks.remove(at));
            } else {
                if hooks[at].request == request {
                    hooks[at].skip -= 1;
                }
                at += 1;
            }
        }
        drop(hooks);
        let mut state = self.state.lock().unwrap();
        let (before, after): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|hook| hook.when == When::Before);
        for hook in before {
            (hook.change)(&mut state);
        }
        state.sent.push(sent);
        let answer = carry_out(&mut state);
        for hook in after {
            (hook.change)(&mut state);
        }
        answer
    }
}

impl State {
    fn side(&self, side: Side) -> Option<&Stored> {
        match side {
            Side::Source => self.source.as_ref(),
            Side::Replica => self.replica.as_ref(),
        }
    }

    fn allows(&self, onto: Onto<'_>) -> bool {
        match (onto, &self.replica) {
            (Onto::Anything, _) | (Onto::Nothing, None) => true,
            (Onto::Seen(etag), Some(replica)) => replica.state.etag == *etag,
            (Onto::Nothing, Some(_)) | (Onto::Seen(_), None) => false,
        }
    }

    fn copy(&mut self, order: CopyOrder<'_>, onto: Onto<'_>) -> CopyOutcome {
        let Some(source) = self.source.clone() else {
            return CopyOutcome::SourceGone;
        };
        let (pinned, class, known) = match order {
            CopyOrder::Pinned { etag, class } => (etag, class, None),
            CopyOrder::Known { source, .. } => (&source.etag, &source.storage_class, Some(source)),
        };
        if source.state.etag != *pinned || !self.allows(onto) {
            return CopyOutcome::Overtaken;
        }
        let mut replica = source.clone();
        replica.state.storage_class = class.clone();
        replica.state.lock = known.map(|known| known.lock.clone()).unwrap_or_default();
        replica.state.metadata.website_redirect =
            known.and_then(|known| known.metadata.website_redirect.clone());
        // S3 resets the ACL of what it copies.
        replica.attributes.grants = replica.attributes.grants.map(|_| [].into());
        if let CopyOrder::Known {
            record_etag: true, ..
        } = order
        {
            let mark = (PROVENANCE_KEY.to_owned(), pinned.as_str().into());
            replica.state.metadata.user.extend([mark]);
        }
        if self.encrypts {
            replica.state.etag = Etag::new(&format!("encrypted-{}", pinned.as_str()));
        }
        if let Some(versions) = &mut self.versions {
            *versions += 1;
            replica.state.version_id = Some(VersionId::new(versions.to_string()));
        }
        let landed = Landed {
            etag: replica.state.etag.clone(),
            version: replica.state.version_id.clone(),
            source_version: source.state.version_id.clone(),
            began_after: self.began_after,
            took: self.took,
        };
        self.replica = Some(replica);
        CopyOutcome::Landed(landed)
    }
}

impl BucketPair for Scripted {
    async fn head(&self, side: Side, _key: &ObjectKey) -> Result<Option<ObjectState>, Fault> {
        let (request, sent) = match side {
            Side::Source => (Request::HeadSource, "head source"),
            Side::Replica => (Request::HeadReplica, "head replica"),
        };
        Ok(self.at(request, sent.to_owned(), |state| {
            state.side(side).map(|stored| {
                let tags = stored.attributes.tags.as_ref();
                let count = tags.filter(|_| state.counts_tags).map_or(0, Tags::len);
                ObjectState {
                    tag_count: u32::try_from(count).unwrap(),
                    ..stored.state.clone()
                }
            })
        }))
    }

    async fn attributes(&self, side: Side, _key: &ObjectKey) -> Result<Attributes, Fault> {
        Ok(self.at(
            Request::Attributes,
            format!("attributes {side:?}"),
            |state| {
                state
                    .side(side)
                    .map(|stored| stored.attributes.clone())
                    .unwrap_or_default()
            },
        ))
    }

    async fn part_layout(
        &self,
        _key: &ObjectKey,
        _source: &ObjectState,
    ) -> Result<Option<PartLayout>, Fault> {
        Ok(self.state.lock().unwrap().layout.clone())
    }

    async fn announce(&self, _key: &ObjectKey, etag: &Etag) -> Result<(), Fault> {
        let announced = format!("announce {}", etag.as_str());
        self.state.lock().unwrap().sent.push(announced);
        Ok(())
    }

    async fn copy(
        &self,
        _key: &ObjectKey,
        order: CopyOrder<'_>,
        onto: Onto<'_>,
    ) -> Result<CopyOutcome, Fault> {
        let sent = match onto {
            Onto::Anything => "copy onto anything".to_owned(),
            Onto::Nothing => "copy onto nothing".to_owned(),
            Onto::Seen(etag) => format!("copy onto {}", etag.as_str()),
        };
        Ok(self.at(Request::Copy, sent, |state| state.copy(order, onto)))
    }

    async fn adjust(
        &self,
        _key: &ObjectKey,
        _seen: &ObjectState,
        wanted: Adjustment<'_>,
    ) -> Result<AdjustOutcome, Fault> {
        Ok(self.at(Request::Adjust, "adjust".to_owned(), |state| {
            let Some(replica) = &mut state.replica else {
                return AdjustOutcome::ReplicaChanged;
            };
            if let Some(attributes) = wanted.attributes {
                replica.attributes = attributes;
            }
            if let Some(lock) = wanted.lock {
                replica.state.lock = lock.clone();
            }
            AdjustOutcome::Adjusted
        }))
    }

    async fn delete_replica(&self, _key: &ObjectKey, seen: &Etag) -> Result<DeleteOutcome, Fault> {
        let sent = format!("delete {}", seen.as_str());
        Ok(self.at(Request::Delete, sent, |state| {
            let other = |replica: &Stored| replica.state.etag != *seen;
            if state.replica.as_ref().is_some_and(other) {
                return DeleteOutcome::ReplicaChanged;
            }
            state.replica = None;
            DeleteOutcome::Deleted
        }))
    }
}
