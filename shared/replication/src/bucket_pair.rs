//! The port between the protocol and the two buckets of a rule. Does no I/O itself.
//!
//! It has two implementations: S3, and the simulated pair of buckets with which tests explore the protocol.

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
    /// The object with this `ETag`, whole, with its metadata and tags. The replica gets neither a website redirect
    /// nor its source's lock.
    Pinned {
        /// The `ETag`.
        etag: &'a Etag,
        /// The storage class that the source is assumed to have.
        class: &'a StorageClass,
    },
    /// The object that a HEAD has shown, with everything that the HEAD has shown.
    Known {
        /// What the HEAD showed; the copy is pinned to its `ETag`.
        source: &'a ObjectState,
        /// The parts to copy it in; `None` to copy it whole.
        parts: Option<&'a PartLayout>,
        /// Whether the replica has to name the source's `ETag`, because its own will differ. It does not if its
        /// metadata leave no room for that ([`ObjectState::marked_metadata`]).
        record_etag: bool,
    },
}

/// What a copy may replace. The service enforces this condition, but some servers ignore it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onto<'a> {
    /// Any object, or none.
    Anything,
    /// Nothing: the copy lands only if the key has no object.
    Nothing,
    /// Only the object with this `ETag`.
    Seen(&'a Etag),
}

/// What to set on a replica without copying bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment<'a> {
    /// The tags and grants that the rule replicates; `None` to leave them.
    pub attributes: Option<Attributes>,
    /// A retention and legal hold; `None` to leave them.
    pub lock: Option<&'a Lock>,
}

/// How an adjustment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdjustOutcome {
    /// The replica was adjusted.
    Adjusted,
    /// The replica that was seen no longer exists.
    ReplicaChanged,
}

/// How a copy ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyOutcome {
    /// A replica was written.
    Landed(Landed),
    /// The source is not the object that the order is pinned to, or the copy may not replace the destination's object.
    Overtaken,
    /// The source has no object.
    SourceGone,
}

/// What the answer to a copy says about the replica that it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landed {
    /// The replica's `ETag`.
    pub etag: Etag,
    /// The replica's version, in a destination that has versions.
    pub version: Option<VersionId>,
    /// The version of the source that was read, in a versioned bucket.
    pub source_version: Option<VersionId>,
    /// The copy began no earlier than this, by the service's clock; `None` if unknown.
    pub began_after: Option<Timestamp>,
    /// An upper limit of the copy's duration. What the copy read and no HEAD shows is no older than this.
    pub took: TimeDelta,
}

/// How a delete ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The key no longer has a visible object.
    Deleted,
    /// The replica is not the one that was seen.
    ReplicaChanged,
}

/// The two buckets of a rule. Every method may be repeated without harm.
pub trait BucketPair: Sync {
    /// Sends a HEAD and returns the object. Returns `None` only if this very bucket answered 404 for the key, which
    /// includes a delete marker. A 403, a timeout or any other answer is a fault, never `None`.
    fn head(
        &self,
        side: Side,
        key: &ObjectKey,
    ) -> impl Future<Output = Result<Option<ObjectState>, Fault>> + Send;

    /// Returns the object's tags and grants, as far as the rule replicates them; none if there is no object.
    fn attributes(
        &self,
        side: Side,
        key: &ObjectKey,
    ) -> impl Future<Output = Result<Attributes, Fault>> + Send;

    /// Returns how a source that was uploaded in parts is cut; `None` if the server does not say. The layout may
    /// already be that of another object. The copy will detect that.
    fn part_layout(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
    ) -> impl Future<Output = Result<Option<PartLayout>, Fault>> + Send;

    /// Stores durably that an attempt of a job is about to write a replica of the source with this `ETag`. If the
    /// worker dies, its successor then recognises what the attempt wrote. Live attempts announce nothing.
    fn announce(
        &self,
        key: &ObjectKey,
        etag: &Etag,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Copies the source to the destination. Readers of the replica see either the old object or the whole new one.
    /// Some servers ignore the order's pin, so the caller has to compare what landed with the source again.
    fn copy(
        &self,
        key: &ObjectKey,
        order: CopyOrder<'_>,
        onto: Onto<'_>,
    ) -> impl Future<Output = Result<CopyOutcome, Fault>> + Send;

    /// Makes the adjustment to the replica that was `seen`, without copying bytes. If the destination has no versions,
    /// another replica may have taken its place by then, so the caller has to read both sides again.
    fn adjust(
        &self,
        key: &ObjectKey,
        seen: &ObjectState,
        wanted: Adjustment<'_>,
    ) -> impl Future<Output = Result<AdjustOutcome, Fault>> + Send;

    /// Deletes the replica if it is still the one that was `seen`. Some servers ignore that condition. In a versioned
    /// bucket a delete marker hides the replica.
    fn delete_replica(
        &self,
        key: &ObjectKey,
        seen: &Etag,
    ) -> impl Future<Output = Result<DeleteOutcome, Fault>> + Send;
}
