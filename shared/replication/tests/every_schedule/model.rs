//! The vocabulary of the search: objects, requests and their answers, and the scenario that is searched.
//!
//! Times are seconds since the start of the scenario.

use chrono::TimeDelta;
use tandem_replication::Timestamp;
use tandem_replication::diff::Listed;
use tandem_replication::names::{Etag, StorageClass, VersionId};
use tandem_replication::object::{Lock, Metadata, ObjectState, PROVENANCE_KEY};
use tandem_replication::overwrite::Overwrite;
use tandem_replication::rule::Policy;

/// A time step. It is longer than [`tandem_replication::replicator::QUICK_COPY`], so a copy that is under way during a
/// tick is slow, and any other copy is quick.
pub const TICK_SECS: u8 = 6;
/// The start of a scenario. Objects that exist at the start are older.
pub const START_SECS: u8 = 10;
/// Two parts, the first of which has S3's minimum size.
pub const IN_PARTS_BYTES: u64 = 6 << 20;

/// An `ETag`: it depends on the bytes and on how they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tagged {
    /// The bytes.
    pub content: char,
    pub stored: Stored,
}

/// How bytes are stored, as far as it changes the `ETag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stored {
    Whole,
    /// In two parts.
    InParts,
    /// Encrypted by a KMS key, which changes the `ETag`.
    Encrypted,
}

/// An object of either bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Object {
    pub etag: Tagged,
    pub metadata: char,
    /// The value of its one tag.
    pub tag: Option<char>,
    /// The `ETag` that the object names as its source's.
    pub mark: Option<Tagged>,
    pub version: u8,
    pub at: u8,
}

/// A write at the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Write {
    /// Puts an object: its bytes, its metadata and its tag.
    Put(char, char, Option<char>),
    /// Puts the same in two parts.
    PutInParts(char, char, Option<char>),
    /// Sets the object's only tag, or removes it.
    Tag(Option<char>),
    /// Deletes the object.
    Delete,
    /// Deletes the current version by its id, so that this older one becomes current.
    Restore(Object),
}

/// A request of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Request {
    Head(Bucket),
    Attributes(Bucket),
    /// One page of a listing. It shows what a HEAD shows, except the metadata and the version.
    List(Bucket),
    Layout,
    Announce(Tagged),
    Copy {
        pin: Tagged,
        /// The metadata to write; `None` keeps the source's metadata at the time of the copy.
        metadata: Option<char>,
        in_parts: bool,
        mark: bool,
        onto: Landable,
    },
    Adjust {
        tag: Option<char>,
        version: u8,
    },
    Delete(Tagged),
}

/// Which bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    Source,
    Replica,
}

/// What a copy may land on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Landable {
    Anything,
    Nothing,
    Seen(Tagged),
}

/// The answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// To a HEAD or a listing.
    Shown(Option<Object>),
    /// To a request for attributes.
    Tag(Option<char>),
    /// The request was carried out, and its answer has no content.
    Done,
    /// A copy read `read` and landed as `landed`, `took` seconds after it was sent at `sent`.
    Landed {
        read: Object,
        landed: Object,
        in_parts: bool,
        sent: u8,
        took: u8,
    },
    /// The condition does not hold.
    Refused,
    /// The source has no object.
    Gone,
    /// 503: nothing was done.
    Throttled,
    /// No answer, or a 5xx: the request may have been carried out, or may still be.
    NotAnswered,
}

/// What an attempt starts from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Start {
    /// A notification of a put.
    Put(Tagged),
    /// A notification of changed tags.
    Attributes,
    /// Any other notification.
    Reconcile,
    /// A page of a job lists the key.
    Listed,
    /// A list of keys names the key.
    Named,
    /// A job whose last attempt at the key failed; the attempt announced these `ETag`s.
    Successor(Vec<Tagged>),
}

/// How the two services behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one property of a server, and a case names those that it changes"
)]
pub struct Service {
    pub versioned: bool,
    /// A HEAD returns the number of tags. S3 does this; other services do not.
    pub counts_tags: bool,
    /// A copy is refused if the source is not the object that the copy is pinned to.
    pub honours_pins: bool,
    /// A copy or delete is refused if the destination does not meet its condition.
    pub honours_conditions: bool,
    /// The destination encrypts objects with a KMS key.
    pub encrypts: bool,
}

/// A job that includes the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    pub kind: JobKind,
    pub overwrite: Overwrite,
}

/// How a job reaches the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// By a listing; objects that only the destination has stay.
    Backfill,
    /// By a listing; objects that only the destination has are reconciled.
    Repair,
    /// By a list of keys.
    Named,
}

/// How often each event may happen in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Budget {
    /// A worker dies.
    pub crashes: u8,
    /// S3 sends a notification twice.
    pub duplicates: u8,
    /// SQS delivers one message to two workers.
    pub shared: u8,
    /// A request is answered 503.
    pub refusals: u8,
    /// A request gets no answer while its sender lives.
    pub timeouts: u8,
    /// Time passes.
    pub ticks: u8,
}

/// A rule of the protocol that is removed, to show that the search notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    Nothing,
    /// 1: a notification of a delete is trusted without reading the source.
    StateDecides,
    /// 3: after a copy, the source is not read again.
    ReadAgain,
    /// 3: an equal `ETag` is taken as proof of an equal object.
    EqualEtagIsNoProof,
    /// 4: a refused copy counts as a success.
    RefusedIsNoSuccess,
    /// 5: an attempt that did not settle its key is acknowledged instead of returned to the queue.
    BackToTheQueue,
    /// 6: any answer to a HEAD of the source that is not an object counts as a 404.
    OnlyThe404Deletes,
    /// 6: after a delete, the source is not read again.
    ReadAgainAfterDelete,
    /// 6: a delete has no condition.
    DeleteIfMatch,
    /// 6: a change of tags is processed as soon as its notification arrives.
    AttributesSettle,
    /// 6: every copy is assumed to be quick.
    SlowCopiesReadOldTags,
    /// 6: a redelivery compares only what a HEAD shows.
    RedeliveriesCompareAttributes,
    /// 8: a message is redelivered while a request of its dead worker is in flight.
    VisibilityTimeout,
    /// 9: the oldest message of a batch is kept instead of the newest.
    NewestOfBatch,
    /// 9: a change of tags is coalesced with the other changes of its key.
    AttributesStayApart,
    /// 10: the key's absence from a settling listing is a reason to delete.
    ListingDoesNotDelete,
    /// 11: an attempt of a job keeps what it wrote (it reconciles under policy `write`).
    OwnIsDeleted,
    /// 11: an attempt of a job deletes any replica.
    OthersAreKept,
    /// 12: a successor does not know what its predecessor announced.
    SuccessorKnows,
    /// 12: the predecessor does not announce what it writes.
    Announce,
    /// 13: the rounds after the first copy have no conditions.
    ConditionsStay,
    /// 16: after a 5xx the message is processed again at once, and never again after that.
    NoBlindRepeat,
}

/// What may happen in a run.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub source: Option<Object>,
    pub replica: Option<Object>,
    /// The writes at the source, in order.
    pub writes: Vec<Write>,
    /// The objects that another writer puts at the destination, in order.
    pub others: Vec<Object>,
    pub job: Option<Job>,
    pub policy: Policy,
    pub workers: usize,
    pub budget: Budget,
    pub service: Service,
    pub removed: Removed,
}

impl Tagged {
    pub fn whole(content: char) -> Self {
        Self {
            content,
            stored: Stored::Whole,
        }
    }

    pub fn etag(self) -> Etag {
        let text = match self.stored {
            Stored::Whole => self.content.to_string(),
            Stored::InParts => format!("{}-2", self.content),
            Stored::Encrypted => format!("{}.kms", self.content),
        };
        Etag::new(&text)
    }

    /// Reads an `ETag` from its text.
    pub fn of(etag: &Etag) -> Self {
        let text = etag.as_str();
        let content = text.chars().next().unwrap();
        let stored = match &text[content.len_utf8()..] {
            "" => Stored::Whole,
            "-2" => Stored::InParts,
            ".kms" => Stored::Encrypted,
            other => panic!("{other:?} is not a suffix of an ETag of the model"),
        };
        Self { content, stored }
    }

    pub fn in_parts(self) -> bool {
        self.stored == Stored::InParts
    }

    pub fn bytes(self) -> u64 {
        if self.in_parts() { IN_PARTS_BYTES } else { 1 }
    }
}

impl Object {
    /// An object that exists from the start.
    pub fn old(content: char, metadata: char) -> Self {
        Self {
            etag: Tagged::whole(content),
            metadata,
            tag: None,
            mark: None,
            version: 0,
            at: 5,
        }
    }

    /// Another writer's object, with bytes that the source never has.
    pub fn others() -> Self {
        Self {
            version: 99,
            ..Self::old('o', 'o')
        }
    }

    pub fn is_others(&self) -> bool {
        self.etag.content == 'o'
    }

    /// The size. A whole copy of an object in parts has another `ETag`, but the same size.
    fn bytes(&self) -> u64 {
        self.mark.unwrap_or(self.etag).bytes()
    }

    pub fn listed(&self) -> Listed {
        Listed {
            key: "key".to_owned(),
            etag: self.etag.etag(),
            bytes: self.bytes(),
            last_modified: time(self.at),
            storage_class: StorageClass::standard(),
        }
    }

    pub fn shown(&self, service: Service) -> ObjectState {
        let mark = self.mark.map(|mark| {
            let etag = mark.etag();
            (PROVENANCE_KEY.to_owned(), etag.as_str().into())
        });
        let own = ("m".to_owned(), self.metadata.to_string().into());
        ObjectState {
            etag: self.etag.etag(),
            etag_is_digest: self.etag.stored != Stored::Encrypted,
            bytes: self.bytes(),
            last_modified: time(self.at),
            version_id: service
                .versioned
                .then(|| VersionId::new(self.version.to_string())),
            metadata: Metadata {
                user: mark.into_iter().chain([own]).collect(),
                ..Metadata::default()
            },
            storage_class: StorageClass::standard(),
            checksum: None,
            lock: Lock::default(),
            tag_count: u32::from(service.counts_tags && self.tag.is_some()),
        }
    }
}

pub fn time(secs: u8) -> Timestamp {
    Timestamp::UNIX_EPOCH + TimeDelta::seconds(secs.into())
}
