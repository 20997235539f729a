//! The ports of transfers: the table, the uploads in S3 with their log, the queues, and the invocation. Each
//! has two implementations: the adapters, and the simulated world of the search.

use std::future::Future;

use crate::Timestamp;
use crate::bucket_pair::{BucketPair, CopyOutcome, Onto};
use crate::fault::Fault;
use crate::names::{Etag, ObjectKey, TransferId, UploadId};
use crate::object::{Checksum, ObjectState, Tags};
use crate::overwrite::Overwrite;
use crate::part_layout::{Part, PartLayout};
use crate::transfer::{Invalidated, LoggedUpload, Transfer};

/// What a port returns.
pub type Answer<T> = Result<T, Fault>;

/// The transfers of one rule in the table. Every method is atomic and may be repeated.
pub trait Transfers: Sync {
    /// Returns the key's transfer, if there is one.
    fn transfer(&self, key: &ObjectKey) -> impl Future<Output = Answer<Option<Transfer>>> + Send;

    /// Returns all transfers of the rule.
    fn transfers(&self) -> impl Future<Output = Answer<Vec<Transfer>>> + Send;

    /// Stores a new transfer if its key has none. Returns whether it was stored.
    fn store(&self, transfer: &Transfer) -> impl Future<Output = Answer<bool>> + Send;

    /// Records whether every open range has a message. Returns whether the table still has this transfer.
    fn mark_sent(
        &self,
        transfer: &Transfer,
        sent: bool,
        at: Timestamp,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// Records that a transfer has to be restarted. The first reason stays. Returns whether the table still has this
    /// transfer.
    fn invalidate(
        &self,
        transfer: &Transfer,
        why: Invalidated,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// Records that a range is done. Returns the transfer as it is then, or `None` if it is gone or another one.
    fn range_done(
        &self,
        transfer: &Transfer,
        range: u32,
        at: Timestamp,
    ) -> impl Future<Output = Answer<Option<Transfer>>> + Send;

    /// Removes a transfer if the table still has it. Returns whether it was removed.
    fn remove(&self, transfer: &Transfer) -> impl Future<Output = Answer<bool>> + Send;
}

/// A part that is in an upload.
pub trait UploadedPart: Send + Sync {
    /// Returns the part's number, from 1.
    fn number(&self) -> u32;
}

/// An upload as the service lists it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OpenUpload {
    /// S3's id.
    pub id: UploadId,
    /// When it was created, in whole seconds of the service's clock.
    pub created_at: Timestamp,
}

/// What the answer to a creation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedUpload {
    /// S3's id.
    pub id: UploadId,
    /// Whether the object's `ETag` will be a digest of its parts.
    pub makes_digest: bool,
}

/// The result of copying some parts.
#[derive(Debug)]
pub enum Filled<P> {
    /// All of them are in the upload, in the order of their numbers.
    Whole(Vec<P>),
    /// The source does not hold the object that the upload is for.
    SourceChanged(CopyOutcome),
    /// The upload does not exist any more: it was completed or aborted.
    NoUpload,
}

/// The result of completing an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completed {
    /// The object is there, under this `ETag`.
    Landed(Etag),
    /// Nothing was done: these parts make another `ETag` than the source's.
    OtherEtag,
    /// The upload does not exist any more: it was completed or aborted.
    NoUpload,
    /// Nothing was done: the destination does not hold what the upload may replace. The next attempt decides
    /// again what it may replace.
    Overtaken,
}

/// What is sent with a completion.
#[derive(Debug)]
pub struct CompletionOrder<'a, P> {
    /// All parts, in order.
    pub parts: Vec<P>,
    /// The checksum that S3 makes of the parts.
    pub checksum: Option<&'a Checksum>,
    /// The `ETag` that the object has to get, if that is known beforehand; `None` for any.
    pub wanted: Option<&'a Etag>,
    /// What the object may replace.
    pub onto: Onto<'a>,
}

/// Uploads in parts to the destination, and the rule's log of them.
pub trait Uploads: Sync {
    /// A part that is in an upload.
    type Part: UploadedPart;

    /// Returns the source's tags, if the rule replicates tags.
    fn source_tags(&self, key: &ObjectKey) -> impl Future<Output = Answer<Tags>> + Send;

    /// Returns how the source is cut into parts; `None` if the server does not say. Asks for each part if anything less
    /// would be a guess.
    fn exact_layout(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
    ) -> impl Future<Output = Answer<Option<PartLayout>>> + Send;

    /// Adds an entry without an upload id to the log.
    fn log(&self, key: &ObjectKey) -> impl Future<Output = Answer<LoggedUpload>> + Send;

    /// Writes the entry, with the id of its upload.
    fn note_id(&self, entry: &LoggedUpload) -> impl Future<Output = Answer<()>> + Send;

    /// Removes an entry from the log, if it is there.
    fn forget(&self, entry: &LoggedUpload) -> impl Future<Output = Answer<()>> + Send;

    /// Returns the whole log.
    fn logged(&self) -> impl Future<Output = Answer<Vec<LoggedUpload>>> + Send;

    /// Creates an upload for an object that looks like `source`. Not repeat-safe: each call creates one.
    fn create(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        tags: &Tags,
        record_etag: bool,
    ) -> impl Future<Output = Answer<CreatedUpload>> + Send;

    /// Copies parts of the source into an upload, each pinned to `etag`.
    fn copy_parts(
        &self,
        key: &ObjectKey,
        etag: &Etag,
        upload: &UploadId,
        parts: Vec<Part>,
    ) -> impl Future<Output = Answer<Filled<Self::Part>>> + Send;

    /// Returns the parts that an upload has among those numbered `first` to `last`, in order; `None` if the
    /// upload does not exist any more.
    fn uploaded_parts(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        first: u32,
        last: u32,
    ) -> impl Future<Output = Answer<Option<Vec<Self::Part>>>> + Send;

    /// Makes the upload's parts an object. After a fault, that may still have happened or happen later. A completed
    /// upload no longer exists, so it lands at most once.
    fn complete(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        order: CompletionOrder<'_, Self::Part>,
    ) -> impl Future<Output = Answer<Completed>> + Send;

    /// Aborts an upload. Returns whether it existed. It does not exist afterwards.
    fn abort(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// Returns the uploads of this very key that are neither completed nor aborted.
    fn open_uploads(&self, key: &ObjectKey)
    -> impl Future<Output = Answer<Vec<OpenUpload>>> + Send;

    /// Reports that an upload could not be aborted now and is left to the sweep.
    fn left_to_sweep(&self, entry: &LoggedUpload, fault: &Fault);
}

/// The queues, for messages of one rule.
pub trait TransferQueue: Sync {
    /// Sends a message for each of these ranges of a transfer.
    fn send_ranges(
        &self,
        transfer: &Transfer,
        ranges: Vec<u32>,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// Sends an object, to be reconciled from the beginning. `hops` is how many of its transfers were restarted before.
    fn send_object(
        &self,
        key: &ObjectKey,
        changed_at: Timestamp,
        overwrite: Overwrite,
        hops: u32,
    ) -> impl Future<Output = Answer<()>> + Send;
}

/// The running invocation: its clock, and its remaining time.
pub trait Invocation: Sync {
    /// Returns the present time.
    fn now(&self) -> Timestamp;

    /// Returns an id that no other transfer has.
    fn new_transfer_id(&self) -> TransferId;

    /// Returns whether there is time to begin more parts.
    fn has_time_for_parts(&self) -> bool;

    /// Returns whether there is time to continue the sweep.
    fn has_time_to_sweep(&self) -> bool;
}

/// All ports of one rule's transfers.
pub trait TransferPorts: Transfers + TransferQueue + Invocation {
    /// The two buckets.
    type Pair: BucketPair + Uploads;

    /// Returns the two buckets.
    fn pair(&self) -> &Self::Pair;
}
