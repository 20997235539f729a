//! A pair of buckets in memory, as S3 behaves: every request is atomic at one instant, but a copy reads at
//! one and lands at a later one.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use chrono::TimeDelta;
use tandem_replication::Timestamp;
use tandem_replication::bucket_pair::{
    BucketPair, CopyOrder, CopyOutcome, DeleteOutcome, Landed, Side,
};
use tandem_replication::fault::Fault;
use tandem_replication::names::{Etag, ObjectKey, VersionId};
use tandem_replication::object::{Metadata, ObjectState, Tags};

/// An object: its bytes (told by the `ETag`) and its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub etag: &'static str,
    pub metadata: &'static str,
    pub version: u64,
    pub written_ms: i64,
}

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
}

/// A copy that has read the source and not yet landed.
#[derive(Debug, Clone)]
pub struct InFlight {
    pub object: Object,
    pub worker: usize,
}

/// Both buckets, with one key.
#[derive(Debug)]
pub struct World {
    pub source: Option<Object>,
    pub replica: Option<Object>,
    pub versioned: bool,
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

impl World {
    fn shown(&self, object: &Object) -> ObjectState {
        let user = BTreeMap::from([("m".to_owned(), object.metadata.to_owned())]);
        ObjectState {
            etag: Etag::new(object.etag),
            bytes: 1,
            last_modified: seconds(object.written_ms),
            version_id: self
                .versioned
                .then(|| VersionId::new(object.version.to_string())),
            metadata: Metadata {
                user,
                ..Metadata::default()
            },
            tag_count: 0,
        }
    }

    /// The copy's replica becomes visible.
    pub fn land(&mut self, id: u64) {
        if let Some(copy) = self.in_flight.remove(&id) {
            self.replica = Some(Object {
                written_ms: self.clock_ms,
                ..copy.object
            });
        }
    }
}

/// A time as S3's headers give it.
fn seconds(ms: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + TimeDelta::seconds(ms.div_euclid(1000))
}

/// Lets the scheduler choose what happens next.
async fn step() {
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

    async fn tags(&self, _side: Side, _key: &ObjectKey) -> Result<Tags, Fault> {
        Ok(Tags::new())
    }

    async fn first_part_bytes(&self, _key: &ObjectKey, _etag: &Etag) -> Result<Option<u64>, Fault> {
        Ok(None)
    }

    async fn copy(&self, _key: &ObjectKey, order: CopyOrder<'_>) -> Result<CopyOutcome, Fault> {
        let pinned = match order {
            CopyOrder::Pinned(etag) => etag.clone(),
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
                    Some(CopyOutcome::SourceChanged)
                }
                Some(_) => None,
            };
            match (refused, world.source.clone()) {
                (None, Some(object)) => {
                    let id = world.next_id;
                    world.next_id += 1;
                    world.in_flight.insert(
                        id,
                        InFlight {
                            object: object.clone(),
                            worker: self.worker,
                        },
                    );
                    (id, object)
                }
                (refused, _) => {
                    if self.weakness != Weakness::RefusedIsDone {
                        return Ok(refused.unwrap_or(CopyOutcome::SourceGone));
                    }
                    let done = Object {
                        etag: "done",
                        metadata: "",
                        version: 0,
                        written_ms: 0,
                    };
                    let shown = world.shown(&done);
                    let landed = landed(&shown, None);
                    *self.believed.lock().unwrap() = Some(ObjectState {
                        last_modified: seconds(0),
                        ..shown
                    });
                    return Ok(CopyOutcome::Landed(Landed {
                        began_after: Some(seconds(1_000_000)),
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
        let mut landed = landed(&shown, Some(began_after));
        match self.weakness {
            Weakness::NoReread => {
                *self.believed.lock().unwrap() = Some(shown);
                landed.began_after = Some(seconds(1_000_000_000));
            }
            Weakness::SameEtagIsSame => {
                landed.began_after = Some(seconds(1_000_000_000));
                landed.source_version = None;
            }
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

fn landed(shown: &ObjectState, began_after: Option<Timestamp>) -> Landed {
    Landed {
        etag: shown.etag.clone(),
        source_version: shown.version_id.clone(),
        began_after,
    }
}
