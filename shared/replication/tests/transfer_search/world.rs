//! The simulated world: both buckets with one key, the uploads, the table and the queue.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

use chrono::TimeDelta;
use tandem_replication::Timestamp;
use tandem_replication::names::{Etag, ObjectKey, StorageClass, UploadId};
use tandem_replication::object::{Lock, Metadata, ObjectState, PROVENANCE_KEY};
use tandem_replication::overwrite::Overwrite;
use tandem_replication::rule::RuleState;
use tandem_replication::transfer::{LoggedUpload, Transfer};

/// The size of a part: S3's minimum.
pub const PART_BYTES: u64 = 5 << 20;
/// The time at which a run begins.
const START_SECS: i64 = 1_000_000;
/// How long nothing happens at rest. This is longer than a transfer may stall, and than a creation may be in flight.
const REST_SECS: i64 = 3 * 3_600;

/// An object on either side.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Object {
    /// The `ETag` of the source object that has this content. Another writer's object has its own content.
    pub content: &'static str,
    /// The object's own `ETag`.
    pub etag: String,
    /// The source's `ETag`, where the replica names it.
    pub mark: Option<String>,
    pub written_secs: i64,
    pub writer: Writer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Writer {
    User,
    Tandem,
    Another,
}

/// An upload to the destination.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OpenUpload {
    pub is_ours: bool,
    pub created_secs: i64,
    pub mark: Option<String>,
    /// The content of each part.
    pub parts: BTreeMap<u32, &'static str>,
}

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Body {
    /// A notification, for a function that copies no large objects.
    Notification,
    /// Reconciles the object, whatever its size. Jobs send no time of the change.
    Object {
        changed_at: Option<Timestamp>,
        overwrite: Overwrite,
    },
    Range {
        transfer: String,
        index: u32,
        overwrite: Overwrite,
    },
    /// Replay the deferred key.
    Replay,
    Sweep,
}

/// A message, which may be at two workers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Message {
    pub body: Body,
    pub receives: u32,
    /// The workers that have received it.
    pub holders: BTreeSet<usize>,
}

/// The things that have ids.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Entry,
    Upload,
    Transfer,
    Token,
}

/// A completion that a worker has sent and that has not taken effect yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Completion {
    pub upload: u32,
    pub parts: Vec<u32>,
    pub condition: Condition,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Condition {
    Anything,
    Nothing,
    Seen(String),
}

/// The result of a completion, for a worker that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answered {
    Landed(String),
    NoUpload,
    Overtaken,
    /// It may have been carried out.
    NotAnswered,
}

/// A key that was deferred while the rule was paused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Deferred {
    pub token: u32,
    pub changed_at: Timestamp,
    pub overwrite: Overwrite,
}

/// How the destination makes `ETag`s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Etags {
    /// They are digests of the parts.
    Digests,
    /// They are no digests, and the answer to the creation shows this.
    Hidden,
    /// They are no digests, and only the completed object shows this.
    HiddenUnannounced,
}

/// A rule of transfers that is removed, to show that the search notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    Nothing,
    /// The upload is logged only when its id is known.
    LogBeforeCreation,
    /// A range is noted as done before its parts are in the upload.
    PartsBeforeNote,
    /// After a completion, the source is assumed to hold what was copied.
    ReadAfterCompletion,
    /// A restarted transfer is not invalidated.
    InvalidateBeforeSending,
    /// The upload of an abandoned transfer is left to the sweep.
    AbortBeforeDecision,
    /// The sweep aborts every upload to the key.
    OnlyLoggedUploads,
    /// A completion replaces any object.
    Conditions,
}

/// Everything outside the workers.
#[derive(Debug, Clone)]
pub struct World {
    pub now_secs: i64,
    pub source: Option<Object>,
    pub replica: Option<Object>,
    pub uploads: BTreeMap<u32, OpenUpload>,
    pub log: BTreeMap<String, LoggedUpload>,
    pub transfer: Option<Transfer>,
    pub queue: Vec<Message>,
    pub deferred: Option<Deferred>,
    pub state: RuleState,
    pub completions: BTreeMap<usize, Completion>,
    /// The answers that workers have not received yet.
    pub answers: BTreeMap<usize, Answered>,
    /// The number of entries, uploads, transfers and tokens so far. The counters are separate, so that states that
    /// differ in nothing else are equal.
    pub made: [u32; 4],
    pub etags: Etags,
    pub removed: Removed,
    /// What a job's transfer may replace; live changes replace anything.
    pub mode: Overwrite,
    /// For each worker, a digest of what it has observed since its attempt began.
    pub observed: Vec<u64>,
    /// What a worker without rule 3 assumes about the source.
    pub believed: BTreeMap<usize, Object>,
    /// Parts that a worker without rule 2 has yet to copy.
    pub unsent_parts: BTreeMap<usize, (u32, u32, &'static str)>,
    pub deleted_by_another: bool,
    /// The worker whose next request concerns no other actor.
    pub alone: Option<usize>,
    /// Whether sweeps read the log.
    pub is_log_read: bool,
    /// Whether another writer may abort uploads.
    pub may_be_aborted: bool,
    /// Whether the rule's state may change.
    pub may_pause: bool,
    /// Whether the source has had its last write.
    pub is_source_final: bool,
    pub wrong: Option<String>,
}

pub fn key() -> ObjectKey {
    ObjectKey::parse("key").unwrap()
}

pub fn at(secs: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + TimeDelta::seconds(secs)
}

impl World {
    pub fn new(workers: usize, etags: Etags, mode: Overwrite, removed: Removed) -> Self {
        Self {
            now_secs: START_SECS,
            source: None,
            replica: None,
            uploads: BTreeMap::new(),
            log: BTreeMap::new(),
            transfer: None,
            queue: Vec::new(),
            deferred: None,
            state: RuleState::Enabled,
            completions: BTreeMap::new(),
            answers: BTreeMap::new(),
            made: [0; 4],
            etags,
            removed,
            mode,
            observed: vec![0; workers],
            believed: BTreeMap::new(),
            unsent_parts: BTreeMap::new(),
            deleted_by_another: false,
            alone: None,
            is_log_read: false,
            may_be_aborted: false,
            may_pause: false,
            is_source_final: false,
            wrong: None,
        }
    }

    pub fn new_id(&mut self, kind: Kind) -> u32 {
        let made = &mut self.made[kind as usize];
        *made += 1;
        *made
    }

    pub fn send(&mut self, body: Body) {
        self.queue.push(Message {
            body,
            receives: 0,
            holders: BTreeSet::new(),
        });
    }

    /// A user's object, written now.
    pub fn written(&self, content: &'static str, writer: Writer) -> Object {
        Object {
            content,
            etag: content.to_owned(),
            mark: None,
            written_secs: self.now_secs,
            writer,
        }
    }

    /// Returns the object as a HEAD shows it.
    pub fn shown(object: &Object) -> ObjectState {
        let mark = object.mark.iter();
        let user = mark.map(|mark| (PROVENANCE_KEY.to_owned(), mark.clone().into()));
        ObjectState {
            etag: Etag::new(&object.etag),
            bytes: bytes_of(object.content),
            last_modified: at(object.written_secs),
            etag_is_digest: true,
            version_id: None,
            metadata: Metadata {
                user: user.collect(),
                ..Metadata::default()
            },
            storage_class: StorageClass::standard(),
            checksum: None,
            lock: Lock::default(),
            tag_count: 0,
        }
    }

    /// Whether the destination holds another writer's object that the mode protects.
    pub fn holds_protected(&self) -> bool {
        let source_secs = self.source.as_ref().map(|source| source.written_secs);
        let replica = self.replica.as_ref();
        replica.is_some_and(|replica| match self.mode {
            _ if replica.writer != Writer::Another => false,
            Overwrite::Always => false,
            Overwrite::Never => true,
            Overwrite::IfOlder => Some(replica.written_secs) >= source_secs,
        })
    }

    /// Writes a replica of `content`.
    pub fn land(&mut self, content: &'static str, etag: String, mark: Option<String>) {
        if self.holds_protected() {
            self.wrong = Some("another writer's object was replaced".to_owned());
        }
        self.replica = Some(Object {
            content,
            etag,
            mark,
            written_secs: self.now_secs,
            writer: Writer::Tandem,
        });
    }

    /// Lets a completion take effect. Returns the answer to it.
    pub fn complete(&mut self, completion: &Completion) -> Answered {
        let Some(upload) = self.uploads.get(&completion.upload) else {
            return Answered::NoUpload;
        };
        let holds = match (&completion.condition, &self.replica) {
            (Condition::Anything, _) | (Condition::Nothing, None) => true,
            (Condition::Nothing, Some(_)) | (Condition::Seen(_), None) => false,
            (Condition::Seen(etag), Some(replica)) => *etag == replica.etag,
        };
        if !holds && self.removed != Removed::Conditions {
            return Answered::Overtaken;
        }
        let contents: Vec<&'static str> = completion
            .parts
            .iter()
            .filter_map(|part| upload.parts.get(part).copied())
            .collect();
        let content = match contents[..] {
            [first, second] if first == second => first,
            _ => {
                self.wrong = Some(format!("an object was completed from {contents:?}"));
                "mixed-2"
            }
        };
        let mark = upload.mark.clone();
        self.uploads.remove(&completion.upload);
        let etag = if self.etags == Etags::Digests {
            content.to_owned()
        } else {
            format!("hidden {content}")
        };
        self.land(content, etag.clone(), mark);
        Answered::Landed(etag)
    }

    /// Whether no other actor can see what is logged.
    pub fn is_log_unread(&self) -> bool {
        let mut bodies = self.queue.iter().map(|message| &message.body);
        !self.is_log_read && bodies.all(|body| *body != Body::Sweep)
    }

    /// Time passes at rest.
    pub fn rest(&mut self) {
        self.now_secs += REST_SECS;
    }

    /// Remembers what a worker has seen: two attempts that have seen the same go on alike.
    pub fn observe(&mut self, worker: usize, seen: &impl Hash) {
        let mut hasher = DefaultHasher::new();
        (self.observed[worker], seen).hash(&mut hasher);
        self.observed[worker] = hasher.finish();
    }

    /// Hashes everything that distinguishes this state from others.
    pub fn digest(&self, hasher: &mut impl Hasher) {
        (self.now_secs, &self.source, &self.replica, &self.uploads).hash(hasher);
        (&self.log, &self.deferred, self.made).hash(hasher);
        (&self.completions, &self.answers, &self.believed).hash(hasher);
        (&self.unsent_parts, self.deleted_by_another).hash(hasher);
        self.state.as_str().hash(hasher);
        self.transfer.hash(hasher);
        // The order of messages does not matter.
        let one = |message: &Message| {
            let mut hasher = DefaultHasher::new();
            message.hash(&mut hasher);
            hasher.finish()
        };
        let mut messages: Vec<u64> = self.queue.iter().map(one).collect();
        messages.sort_unstable();
        messages.hash(hasher);
    }
}

/// Objects in two parts have the ETag of two parts.
pub fn bytes_of(content: &str) -> u64 {
    if content.ends_with("-2") {
        2 * PART_BYTES
    } else {
        1
    }
}

pub fn upload_number(id: &UploadId) -> u32 {
    id.as_str().parse().unwrap()
}
