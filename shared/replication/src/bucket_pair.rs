//! The port between the protocol and the two buckets of a rule. Does no I/O itself.
//!
//! Its two implementations are S3, and the simulated pair of buckets on which the protocol is explored.

use std::future::Future;

use chrono::TimeDelta;

use crate::Timestamp;
use crate::fault::Fault;
use crate::names::{Etag, ObjectKey, StorageClass, VersionId};
use crate::object::{Attributes, Lock, ObjectState};
use crate::part_layout::PartLayout;

/// Which of the two buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The source.
    Source,
    /// The destination, where the replicas are.
    Replica,
}

/// What to copy, and how.
#[derive(Debug, Clone, Copy)]
pub enum CopyOrder<'a> {
    /// Whatever object bears this `ETag`, whole, with the metadata and tags it has. The replica has neither a
    /// website redirect nor its source's lock.
    Pinned {
        /// The `ETag`.
        etag: &'a Etag,
        /// The class that the source is taken to have.
        class: &'a StorageClass,
    },
    /// The object that a HEAD has shown, with all that the HEAD has shown.
    Known {
        /// What the HEAD showed; the copy is pinned to its `ETag`.
        source: &'a ObjectState,
        /// In which parts; none to copy it whole.
        parts: Option<&'a PartLayout>,
        /// Whether the replica has to name the source's `ETag`, because its own will differ. It does not where its
        /// metadata leave no room ([`ObjectState::marked_metadata`]).
        record_etag: bool,
    },
}

/// What a copy may land on, as the service itself sees to it; a server may ignore that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onto<'a> {
    /// Whatever there is.
    Anything,
    /// Only where there is no object.
    Nothing,
    /// Only the object of this `ETag`.
    Seen(&'a Etag),
}

/// What to set on a replica without copying bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment<'a> {
    /// Tags and grants, those that the rule carries; none to leave them.
    pub attributes: Option<Attributes>,
    /// A retention and legal hold; none to leave them.
    pub lock: Option<&'a Lock>,
}

/// How an adjustment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdjustOutcome {
    /// It was made.
    Adjusted,
    /// The replica that was seen is not there any more.
    ReplicaChanged,
}

/// How a copy ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyOutcome {
    /// A replica was written.
    Landed(Landed),
    /// The source is not what the order was pinned to, or the destination not what it may land on.
    Overtaken,
    /// There is no object at the source.
    SourceGone,
}

/// What a copy's answer says of the replica it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landed {
    /// The replica's `ETag`.
    pub etag: Etag,
    /// The replica's version, in a destination that has versions.
    pub version: Option<VersionId>,
    /// Which version of the source was read, in a versioned bucket.
    pub source_version: Option<VersionId>,
    /// The copy began no earlier than this, by the service's clock; `None` if it cannot be told.
    pub began_after: Option<Timestamp>,
    /// For how long at most the copy was under way: what it read that no HEAD shows is no older.
    pub took: TimeDelta,
}

/// How a delete ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The key shows no object any more.
    Deleted,
    /// The replica is not the one that was seen.
    ReplicaChanged,
}

/// The two buckets of a rule. Every method may be repeated without harm.
pub trait BucketPair: Sync {
    /// Looks at the object; `None` only where this very bucket answered 404 for the key, a delete marker
    /// included. A 403, a timeout or any other answer is a fault, never `None`.
    fn head(
        &self,
        side: Side,
        key: &ObjectKey,
    ) -> impl Future<Output = Result<Option<ObjectState>, Fault>> + Send;

    /// What the object has besides, as far as the rule carries it; nothing where there is no object.
    fn attributes(
        &self,
        side: Side,
        key: &ObjectKey,
    ) -> impl Future<Output = Result<Attributes, Fault>> + Send;

    /// How a source that was uploaded in parts is cut; `None` if the server does not tell. What is told may
    /// be of another object by now, as the copy will find out.
    fn part_layout(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
    ) -> impl Future<Output = Result<Option<PartLayout>, Fault>> + Send;

    /// Notes durably that an attempt of a job is about to write a replica of the source's `ETag`, so that a
    /// successor of its worker recognises what the attempt wrote. Live attempts announce nothing.
    fn announce(
        &self,
        key: &ObjectKey,
        etag: &Etag,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Copies the source over. Readers of the replica see the old object or the new one, whole. A server may
    /// ignore the order's pin, so what landed has to be compared with the source again.
    fn copy(
        &self,
        key: &ObjectKey,
        order: CopyOrder<'_>,
        onto: Onto<'_>,
    ) -> impl Future<Output = Result<CopyOutcome, Fault>> + Send;

    /// Sets what is wanted on the replica that was `seen`, without copying bytes. Where the destination has
    /// no versions it may be another replica by then, so both sides have to be looked at again.
    fn adjust(
        &self,
        key: &ObjectKey,
        seen: &ObjectState,
        wanted: Adjustment<'_>,
    ) -> impl Future<Output = Result<AdjustOutcome, Fault>> + Send;

    /// Deletes the replica if it is still the one that was `seen`; a server may ignore that condition.
    /// In a versioned bucket the replica is hidden by a delete marker.
    fn delete_replica(
        &self,
        key: &ObjectKey,
        seen: &Etag,
    ) -> impl Future<Output = Result<DeleteOutcome, Fault>> + Send;
}
