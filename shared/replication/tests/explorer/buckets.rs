//! A pair of buckets in memory, as S3 behaves: every request is atomic at one instant, but a copy reads at
//! one and lands at a later one.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use chrono::TimeDelta;
use tandem_replication::Timestamp;
use tandem_replication::bucket_pair::{
    AdjustOutcome, Adjustment, BucketPair, CopyOrder, CopyOutcome, DeleteOutcome, Landed, Onto,
    Side,
};
use tandem_replication::diff::Listed;
use tandem_replication::fault::Fault;
use tandem_replication::names::{Etag, ObjectKey, StorageClass, VersionId};
use tandem_replication::object::{Labels, Lock, Metadata, ObjectState, Tags};
use tandem_replication::part_layout::PartLayout;

/// An object: its bytes (told by the `ETag`), its metadata and its one tag, if it has any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    pub etag: &'static str,
    pub metadata: &'static str,
    pub tag: Option<&'static str>,
    pub version: u64,
    pub written_ms: i64,
}

/// The values that the tag may have.
pub const TAGS: [&str; 2] = ["1", "2"];

/// How the server and the protocol are weakened, to see that the check notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weakness {
    None,
    /// After something landed, the source is not read again: what was copied is believed to be there.
    NoReread,
    /// A pinned copy that finds another object, or none, is taken for success.
    RefusedIsDone,
    /// The same `ETag` is believed to be the same object, whatever was written since.
    SameEtagIsSame,
    /// The server ignores the pin of a copy. This the protocol has to bear.
    PinIgnored,
    /// Every copy is believed to be quick, so that its tags are those of now.
    AllCopiesAreQuick,
    /// A change of tags is looked at as soon as it is told of.
    LabelsUnsettled,
    /// A backfill that comes again believes that what has the same `ETag` is the same.
    ListedSameIsSame,
    /// Whoever follows an attempt that died believes a HEAD.
    DeadLeaveNothing,
}

/// What has read the source and not yet landed.
#[derive(Debug, Clone)]
pub struct InFlight {
    pub what: Landing,
    pub worker: usize,
}

/// What lands.
#[derive(Debug, Clone)]
pub enum Landing {
    Copy(Object),
    /// The tag that whatever replica there is gets; of this version, where there are versions.
    Tag(Option<&'static str>, u64),
}

/// Both buckets, with one key.
#[derive(Debug)]
pub struct World {
    pub source: Option<Object>,
    pub replica: Option<Object>,
    pub versioned: bool,
    /// Whether a HEAD tells how many tags there are, as S3's does and others' do not.
    pub counts_tags: bool,
    pub clock_ms: i64,
    pub in_flight: BTreeMap<u64, InFlight>,
    pub next_id: u64,
}

/// The buckets as one attempt of one worker sees them.
pub struct Pair {
    pub world: Arc<Mutex<World>>,
    pub worker: usize,
    pub weakness: Weakness,
    /// What a weakened protocol believes the source to be.
    pub believed: Mutex<Option<ObjectState>>,
}

impl Object {
    /// As a listing shows it.
    pub fn listed(&self) -> Listed {
        Listed {
            key: "key".to_owned(),
            etag: Etag::new(self.etag),
            bytes: 1,
            last_modified: seconds(self.written_ms),
            storage_class: StorageClass::standard(),
        }
    }
}

impl World {
    fn shown(&self, object: &Object) -> ObjectState {
        let user = BTreeMap::from([("m".to_owned(), object.metadata.to_owned())]);
        ObjectState {
            etag: Etag::new(object.etag),
            bytes: 1,
            last_modified: seconds(object.written_ms),
            etag_is_digest: true,
            version_id: self
                .versioned
                .then(|| VersionId::new(object.version.to_string())),
            metadata: Metadata {
                user,
                ..Metadata::default()
            },
            storage_class: StorageClass::standard(),
            checksum: None,
            lock: Lock::default(),
            tag_count: u32::from(self.counts_tags && object.tag.is_some()),
        }
    }

    /// A copy of what the source holds is under way, for this worker.
    pub fn begin_copy(&mut self, worker: usize) {
        if let Some(object) = self.source {
            self.begin(worker, Landing::Copy(object));
        }
    }

    /// What is under way becomes visible at the destination.
    pub fn land(&mut self, id: u64) {
        match self.in_flight.remove(&id).map(|landing| landing.what) {
            Some(Landing::Copy(object)) => {
                self.replica = Some(Object {
                    written_ms: self.clock_ms,
                    ..object
                });
            }
            Some(Landing::Tag(tag, version)) => {
                if let Some(replica) = &mut self.replica
                    && (!self.versioned || replica.version == version)
                {
                    replica.tag = tag;
                }
            }
            None => {}
        }
    }

    fn begin(&mut self, worker: usize, what: Landing) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.in_flight.insert(id, InFlight { what, worker });
        id
    }
}

/// A time as S3's headers give it.
fn seconds(ms: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + TimeDelta::seconds(ms.div_euclid(1000))
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

impl Pair {
    /// The source's object as a listing shows it now, or as a weakened protocol believes it to be.
    pub async fn list_again(&self) -> Option<Listed> {
        if let Some(believed) = self.believed.lock().unwrap().clone() {
            return Some(Listed {
                key: "key".to_owned(),
                etag: believed.etag,
                bytes: believed.bytes,
                last_modified: believed.last_modified,
                storage_class: believed.storage_class,
            });
        }
        step().await;
        let world = self.world.lock().unwrap();
        world.source.as_ref().map(Object::listed)
    }

    async fn landed(&self, id: u64) {
        poll_fn(|_| {
            if self.world.lock().unwrap().in_flight.contains_key(&id) {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }
}

impl BucketPair for Pair {
    async fn head(&self, side: Side, _key: &ObjectKey) -> Result<Option<ObjectState>, Fault> {
        if side == Side::Source
            && let Some(believed) = self.believed.lock().unwrap().clone()
        {
            return Ok(Some(believed));
        }
        step().await;
        let world = self.world.lock().unwrap();
        let object = match side {
            Side::Source => &world.source,
            Side::Replica => &world.replica,
        };
        Ok(object.as_ref().map(|object| world.shown(object)))
    }

    async fn labels(&self, side: Side, _key: &ObjectKey) -> Result<Labels, Fault> {
        step().await;
        let world = self.world.lock().unwrap();
        let object = match side {
            Side::Source => &world.source,
            Side::Replica => &world.replica,
        };
        let tag = object.as_ref().and_then(|object| object.tag);
        let tags = tag.map(|tag| ("t".to_owned(), tag.to_owned()));
        Ok(Labels {
            tags: Some(Tags::from_iter(tags)),
            grants: None,
        })
    }

    async fn part_layout(
        &self,
        _key: &ObjectKey,
        _source: &ObjectState,
    ) -> Result<Option<PartLayout>, Fault> {
        Ok(None)
    }

    async fn announce(&self, _key: &ObjectKey, _etag: &Etag) -> Result<(), Fault> {
        Ok(())
    }

    async fn adjust(
        &self,
        _key: &ObjectKey,
        seen: &ObjectState,
        wanted: Adjustment<'_>,
    ) -> Result<AdjustOutcome, Fault> {
        step().await;
        let id = {
            let mut world = self.world.lock().unwrap();
            if world.replica.is_none() {
                return Ok(AdjustOutcome::ReplicaChanged);
            }
            let tags = wanted.labels.and_then(|labels| labels.tags);
            let tag = tags.unwrap_or_default().remove("t");
            let tag = tag.map(|tag| TAGS.into_iter().find(|known| *known == tag).unwrap());
            let version = seen.version_id.as_ref().map(VersionId::as_str);
            let version = version.and_then(|version| version.parse().ok());
            world.begin(self.worker, Landing::Tag(tag, version.unwrap_or_default()))
        };
        self.landed(id).await;
        Ok(AdjustOutcome::Adjusted)
    }

    /// Onto whatever there is: no scenario keeps anything, and a server may ignore the condition.
    async fn copy(
        &self,
        _key: &ObjectKey,
        order: CopyOrder<'_>,
        _onto: Onto<'_>,
    ) -> Result<CopyOutcome, Fault> {
        let pinned = match order {
            CopyOrder::Pinned { etag, .. } => etag.clone(),
            CopyOrder::Known { source, .. } => source.etag.clone(),
        };
        let sent_ms = self.world.lock().unwrap().clock_ms;
        step().await;
        let (id, read) = {
            let mut world = self.world.lock().unwrap();
            let refused = match &world.source {
                None => Some(CopyOutcome::SourceGone),
                Some(object)
                    if object.etag != pinned.as_str() && self.weakness != Weakness::PinIgnored =>
                {
                    Some(CopyOutcome::Overtaken)
                }
                Some(_) => None,
            };
            match (refused, world.source) {
                (None, Some(object)) => {
                    let id = world.begin(self.worker, Landing::Copy(object));
                    (id, object)
                }
                (refused, _) => {
                    if self.weakness != Weakness::RefusedIsDone {
                        return Ok(refused.unwrap_or(CopyOutcome::SourceGone));
                    }
                    let done = Object {
                        etag: "",
                        metadata: "",
                        tag: None,
                        version: 0,
                        written_ms: 0,
                    };
                    let ordered = match order {
                        CopyOrder::Pinned { .. } => ObjectState {
                            etag: pinned,
                            ..world.shown(&done)
                        },
                        CopyOrder::Known { source, .. } => source.clone(),
                    };
                    let landed = landed(&ordered, None, TimeDelta::zero());
                    *self.believed.lock().unwrap() = Some(ordered);
                    return Ok(CopyOutcome::Landed(Landed {
                        began_after: Some(seconds(1_000_000_000)),
                        ..landed
                    }));
                }
            }
        };
        self.landed(id).await;
        let world = self.world.lock().unwrap();
        let shown = world.shown(&read);
        // The answer's Date, less the time since the request was sent.
        let began_after =
            seconds(world.clock_ms) - TimeDelta::milliseconds(world.clock_ms - sent_ms);
        let took = TimeDelta::milliseconds(world.clock_ms - sent_ms);
        let mut landed = landed(&shown, Some(began_after), took);
        match self.weakness {
            Weakness::NoReread => {
                *self.believed.lock().unwrap() = Some(shown);
                landed.began_after = Some(seconds(1_000_000_000));
            }
            Weakness::SameEtagIsSame => {
                landed.began_after = Some(seconds(1_000_000_000));
                landed.source_version = None;
            }
            Weakness::AllCopiesAreQuick => landed.took = TimeDelta::zero(),
            _ => {}
        }
        Ok(CopyOutcome::Landed(landed))
    }

    async fn delete_replica(&self, _key: &ObjectKey, seen: &Etag) -> Result<DeleteOutcome, Fault> {
        step().await;
        let mut world = self.world.lock().unwrap();
        if world
            .replica
            .as_ref()
            .is_some_and(|replica| replica.etag != seen.as_str())
        {
            return Ok(DeleteOutcome::ReplicaChanged);
        }
        world.replica = None;
        Ok(DeleteOutcome::Deleted)
    }
}

fn landed(shown: &ObjectState, began_after: Option<Timestamp>, took: TimeDelta) -> Landed {
    Landed {
        etag: shown.etag.clone(),
        version: None,
        source_version: shown.version_id.clone(),
        began_after,
        took,
    }
}
