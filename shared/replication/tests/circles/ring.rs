//! Buckets in a ring, with one key in each. A rule replicates from each bucket to the next. Every write, including
//! Tandem's, is an event for the rule whose source was written.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use chrono::{SubsecRound, TimeDelta};
use tandem_replication::Timestamp;
use tandem_replication::bucket_pair::{
    AdjustOutcome, Adjustment, BucketPair, CopyOrder, CopyOutcome, DeleteOutcome, Landed, Onto,
    Side,
};
use tandem_replication::event::CreatedBy;
use tandem_replication::fault::Fault;
use tandem_replication::names::{Etag, ObjectKey, StorageClass};
use tandem_replication::object::{Attributes, Lock, Metadata, ObjectState};
use tandem_replication::part_layout::PartLayout;

/// How long a request takes.
const REQUEST: TimeDelta = TimeDelta::milliseconds(70);

/// How a bucket's service makes `ETag`s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// From the bytes.
    S3,
    /// A new one for every write.
    Kms,
}

/// What an event reports about a rule's source.
#[derive(Debug, Clone)]
pub enum Event {
    Created { etag: Etag, by: CreatedBy },
    Removed,
}

/// An object: what a HEAD shows, and its content.
#[derive(Debug, Clone)]
struct Stored {
    content: u32,
    state: ObjectState,
}

/// All buckets.
#[derive(Debug)]
pub struct State {
    buckets: Vec<(Encryption, Option<Stored>)>,
    clock: Timestamp,
    made: u32,
    /// Events that no function has received yet, with the number of their bucket.
    pub events: VecDeque<(usize, Event)>,
    /// How many copies and deletes Tandem has made.
    pub writes: u32,
}

/// A ring that several functions share.
#[derive(Debug, Clone)]
pub struct Ring(Arc<Mutex<State>>);

impl Ring {
    pub fn new(buckets: &[Encryption]) -> Self {
        let buckets = buckets.iter().map(|&encryption| (encryption, None));
        Self(Arc::new(Mutex::new(State {
            buckets: buckets.collect(),
            clock: Timestamp::UNIX_EPOCH + TimeDelta::days(1),
            made: 0,
            events: VecDeque::new(),
            writes: 0,
        })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Another writer puts this content, with a mark that it has read somewhere, if given.
    pub fn put(&self, bucket: usize, content: u32, mark: Option<&Etag>) {
        let mut metadata = Metadata::default();
        if let Some(mark) = mark {
            metadata = metadata.marked(mark);
        }
        self.state()
            .write(bucket, content, metadata, CreatedBy::Put);
    }

    /// Another writer deletes the object.
    pub fn delete(&self, bucket: usize) {
        self.state().remove(bucket);
    }

    /// The content of each bucket.
    pub fn contents(&self) -> Vec<Option<u32>> {
        let state = self.state();
        let contents = state.buckets.iter();
        contents
            .map(|(_, stored)| stored.as_ref().map(|stored| stored.content))
            .collect()
    }

    /// The `ETag` in a bucket.
    pub fn etag(&self, bucket: usize) -> Etag {
        let state = self.state();
        let stored = state.buckets[bucket].1.as_ref();
        stored.unwrap().state.etag.clone()
    }

    /// The two buckets of the rule that has this source.
    pub fn pair(&self, source: usize) -> Pair {
        let buckets = self.state().buckets.len();
        Pair {
            ring: self.clone(),
            source,
            replica: (source + 1) % buckets,
        }
    }
}

impl State {
    fn write(
        &mut self,
        bucket: usize,
        content: u32,
        metadata: Metadata,
        by: CreatedBy,
    ) -> ObjectState {
        self.made += 1;
        let encryption = self.buckets[bucket].0;
        let etag = match encryption {
            Encryption::S3 => format!("{content:032x}"),
            Encryption::Kms => format!("{:032x}", u64::from(self.made) << 32),
        };
        let state = ObjectState {
            etag: Etag::new(&etag),
            etag_is_digest: encryption == Encryption::S3,
            bytes: 3,
            last_modified: self.clock.trunc_subsecs(0),
            version_id: None,
            metadata,
            storage_class: StorageClass::standard(),
            checksum: None,
            lock: Lock::default(),
            tag_count: 0,
        };
        let stored = Stored {
            content,
            state: state.clone(),
        };
        self.buckets[bucket].1 = Some(stored);
        let etag = state.etag.clone();
        self.events.push_back((bucket, Event::Created { etag, by }));
        state
    }

    fn remove(&mut self, bucket: usize) {
        if self.buckets[bucket].1.take().is_some() {
            self.events.push_back((bucket, Event::Removed));
        }
    }
}

/// The buckets of one rule.
#[derive(Debug)]
pub struct Pair {
    ring: Ring,
    source: usize,
    replica: usize,
}

impl Pair {
    fn bucket(&self, side: Side) -> usize {
        match side {
            Side::Source => self.source,
            Side::Replica => self.replica,
        }
    }

    /// Lets other functions continue, and time pass.
    async fn take_time(&self) {
        let mut waited = false;
        poll_fn(|context| {
            if waited {
                return Poll::Ready(());
            }
            waited = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.ring.state().clock += REQUEST;
    }
}

impl BucketPair for Pair {
    async fn head(&self, side: Side, _key: &ObjectKey) -> Result<Option<ObjectState>, Fault> {
        self.take_time().await;
        let state = self.ring.state();
        let stored = state.buckets[self.bucket(side)].1.as_ref();
        Ok(stored.map(|stored| stored.state.clone()))
    }

    async fn attributes(&self, _side: Side, _key: &ObjectKey) -> Result<Attributes, Fault> {
        self.take_time().await;
        Ok(Attributes::default())
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

    /// The source is read when the copy begins, and the replica written when it ends.
    async fn copy(
        &self,
        _key: &ObjectKey,
        order: CopyOrder<'_>,
        onto: Onto<'_>,
    ) -> Result<CopyOutcome, Fault> {
        assert_eq!(onto, Onto::Anything, "a live change replaces anything");
        self.take_time().await;
        let (read, began) = {
            let state = self.ring.state();
            (state.buckets[self.source].1.clone(), state.clock)
        };
        let Some(read) = read else {
            return Ok(CopyOutcome::SourceGone);
        };
        let (wanted, metadata) = match order {
            CopyOrder::Pinned { etag, .. } => (etag, None),
            CopyOrder::Known {
                source,
                record_etag,
                ..
            } => {
                let marked = source.marked_metadata().filter(|_| record_etag);
                (&source.etag, marked)
            }
        };
        if read.state.etag != *wanted {
            return Ok(CopyOutcome::Overtaken);
        }
        self.take_time().await;
        let metadata = metadata.unwrap_or(read.state.metadata);
        let mut state = self.ring.state();
        state.writes += 1;
        let written = state.write(self.replica, read.content, metadata, CreatedBy::Copy);
        Ok(CopyOutcome::Landed(Landed {
            etag: written.etag,
            version: None,
            source_version: None,
            began_after: Some(began.trunc_subsecs(0)),
            took: REQUEST,
        }))
    }

    async fn adjust(
        &self,
        _key: &ObjectKey,
        _seen: &ObjectState,
        _wanted: Adjustment<'_>,
    ) -> Result<AdjustOutcome, Fault> {
        unreachable!("nothing has tags here")
    }

    async fn delete_replica(&self, _key: &ObjectKey, seen: &Etag) -> Result<DeleteOutcome, Fault> {
        self.take_time().await;
        let mut state = self.ring.state();
        let found = state.buckets[self.replica].1.as_ref();
        if found.is_some_and(|stored| stored.state.etag != *seen) {
            return Ok(DeleteOutcome::ReplicaChanged);
        }
        if found.is_some() {
            state.writes += 1;
            state.remove(self.replica);
        }
        Ok(DeleteOutcome::Deleted)
    }
}
