//! The changes of objects, in the order in which they happen. S3 makes its notifications from these. No I/O.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::object::Object;

/// One change of one object.
#[derive(Debug, Clone)]
pub struct Change {
    /// Later changes of any bucket have larger numbers.
    pub number: u64,
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// What happened.
    pub kind: ChangeKind,
    /// The present object, or the one that was removed.
    pub object: Arc<Object>,
    /// The object that was replaced or removed.
    pub before: Option<Arc<Object>>,
    /// The object that was copied.
    pub copied_from: Option<Arc<Object>>,
    /// When it happened, by this server's clock.
    pub at: DateTime<Utc>,
}

/// What can happen to an object. The names are those of S3's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// `PutObject` wrote it.
    Put,
    /// `CopyObject` wrote it.
    Copy,
    /// `CompleteMultipartUpload` wrote it.
    Complete,
    /// Its tags were replaced.
    Tagged,
    /// Its tags were deleted.
    Untagged,
    /// It was deleted.
    Removed,
}

impl ChangeKind {
    /// S3's name of the event.
    pub fn event_name(self) -> &'static str {
        match self {
            Self::Put => "ObjectCreated:Put",
            Self::Copy => "ObjectCreated:Copy",
            Self::Complete => "ObjectCreated:CompleteMultipartUpload",
            Self::Tagged => "ObjectTagging:Put",
            Self::Untagged => "ObjectTagging:Delete",
            Self::Removed => "ObjectRemoved:Delete",
        }
    }
}

/// Passes changes on to its followers. Clones are the same feed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Feed(Arc<Mutex<Followers>>);

#[derive(Debug, Default)]
struct Followers {
    numbered: u64,
    senders: Vec<UnboundedSender<Change>>,
}

/// The objects of a change.
pub(crate) struct Changed {
    pub(crate) object: Arc<Object>,
    pub(crate) before: Option<Arc<Object>>,
    pub(crate) copied_from: Option<Arc<Object>>,
}

impl Feed {
    /// Returns every change from now on.
    pub(crate) fn follow(&self) -> UnboundedReceiver<Change> {
        let (sender, receiver) = unbounded_channel();
        self.followers().senders.push(sender);
        receiver
    }

    /// Passes a change on. The caller has locked the store, so changes are passed on in the order in which they happen.
    pub(crate) fn publish(&self, bucket: &str, key: &str, kind: ChangeKind, changed: Changed) {
        let mut followers = self.followers();
        if followers.senders.is_empty() {
            return;
        }
        followers.numbered += 1;
        let change = Change {
            number: followers.numbered,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            kind,
            object: changed.object,
            before: changed.before,
            copied_from: changed.copied_from,
            at: std::time::SystemTime::now().into(),
        };
        followers
            .senders
            .retain(|sender| sender.send(change.clone()).is_ok());
    }

    fn followers(&self) -> std::sync::MutexGuard<'_, Followers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
