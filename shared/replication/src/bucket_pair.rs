//! The port between the protocol and the two buckets of a rule. Does no I/O itself.
//!
//! Its two implementations are S3, and the simulated pair of buckets on which the protocol is explored.

use std::future::Future;

use crate::Timestamp;
use crate::fault::Fault;
use crate::names::{Etag, ObjectKey, VersionId};
use crate::object::{ObjectState, Tags};
use crate::part_plan::CopyPlan;

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
    /// Whatever object bears this `ETag`, whole, with the metadata and tags it has.
    Pinned(&'a Etag),
    /// The object that a HEAD has shown, as planned.
    Known {
        /// What the HEAD showed; the copy is pinned to its `ETag`.
        source: &'a ObjectState,
        /// Whole or in parts.
        plan: CopyPlan,
        /// Whether the replica has to name the source's `ETag`, because its own will differ.
        record_etag: bool,
    },
}

/// How a copy ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyOutcome {
    /// A replica was written.
    Landed(Landed),
    /// The source is not what the order was pinned to.
    SourceChanged,
    /// There is no object at the source.
    SourceGone,
}

/// What a copy's answer says of the replica it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landed {
    /// The replica's `ETag`.
    pub etag: Etag,
    /// Which version of the source was read, in a versioned bucket.
    pub source_version: Option<VersionId>,
    /// The copy began no earlier than this, by the service's clock; `None` if it cannot be told.
    pub began_after: Option<Timestamp>,
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

    /// The object's tags; none where there is no object.
    fn tags(&self, side: Side, key: &ObjectKey)
    -> impl Future<Output = Result<Tags, Fault>> + Send;

    /// The size of the first part of a source that was uploaded in parts; `None` if the server does
    /// not tell.
    fn first_part_bytes(
        &self,
        key: &ObjectKey,
        etag: &Etag,
    ) -> impl Future<Output = Result<Option<u64>, Fault>> + Send;

    /// Copies the source over. Readers of the replica see the old object or the new one, whole. A server may
    /// ignore the order's pin, so what landed has to be compared with the source again.
    fn copy(
        &self,
        key: &ObjectKey,
        order: CopyOrder<'_>,
    ) -> impl Future<Output = Result<CopyOutcome, Fault>> + Send;

    /// Deletes the replica if it is still the one that was `seen`; a server may ignore that condition.
    /// In a versioned bucket the replica is hidden by a delete marker.
    fn delete_replica(
        &self,
        key: &ObjectKey,
        seen: &Etag,
    ) -> impl Future<Output = Result<DeleteOutcome, Fault>> + Send;
}
