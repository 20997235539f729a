//! What an object looks like from outside. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use crate::Timestamp;
use crate::names::{Etag, StorageClass, VersionId};

/// The user-metadata key by which a replica names its source's `ETag`, where its own cannot be the
/// same (encryption with KMS keys, unknown part boundaries).
pub const PROVENANCE_KEY: &str = "tandem-source-etag";

/// An object as a HEAD shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectState {
    /// Its `ETag`.
    pub etag: Etag,
    /// Whether the `ETag` is made from the bytes alone; with KMS or customer's keys it is not.
    pub etag_is_digest: bool,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was written, to the second: the server's clock.
    pub last_modified: Timestamp,
    /// Its version, in a bucket that has versions.
    pub version_id: Option<VersionId>,
    /// Content headers and user metadata.
    pub metadata: Metadata,
    /// Its storage class.
    pub storage_class: StorageClass,
    /// The checksum that it was uploaded with, if it was asked for.
    pub checksum: Option<Checksum>,
    /// Until when, and how, it cannot be deleted.
    pub lock: Lock,
    /// How many tags it has; the tags themselves are a request of their own.
    pub tag_count: u32,
}

/// What a user can set on an object besides its bytes, tags, class and protection.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Metadata {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Expires`, as it was written.
    pub expires: Option<String>,
    /// `x-amz-website-redirect-location`. A copy has none unless it is told.
    pub website_redirect: Option<String>,
    /// `x-amz-meta-*`, without that beginning.
    pub user: BTreeMap<String, String>,
}

/// By which checksum the service can check an object, besides its `ETag`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Checksum {
    /// The algorithm, by S3's word.
    pub algorithm: String,
    /// Whether it is of the bytes as a whole, or made of the parts' checksums.
    pub full_object: bool,
}

/// Object Lock: a retention, a legal hold, both or neither.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// How and until when the version is retained.
    pub retention: Option<Retention>,
    /// Whether there is a legal hold.
    pub legal_hold: bool,
}

/// How and until when a version is retained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Whether nobody at all can shorten it (`COMPLIANCE`), or those who are allowed to (`GOVERNANCE`).
    pub compliance: bool,
    /// Until when.
    pub until: Timestamp,
}

/// An object's tags.
pub type Tags = BTreeMap<String, String>;

/// What an object has that no HEAD shows, as far as the rule carries it over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// Its tags, where the rule carries tags.
    pub tags: Option<Tags>,
    /// What it grants to others than its owner, where the rule carries ACLs.
    pub grants: Option<BTreeSet<Grant>>,
}

/// One line of an ACL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// To whom: an account's canonical id, or the URI of a group.
    pub grantee: Grantee,
    /// What, by S3's word.
    pub permission: String,
}

/// To whom something is granted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grantee {
    /// An account, by its canonical id.
    Account(String),
    /// A group, by its URI.
    Group(String),
}

impl Metadata {
    /// Without Tandem's own mark.
    #[must_use]
    pub fn visible(&self) -> Self {
        let mut visible = self.clone();
        visible.user.remove(PROVENANCE_KEY);
        visible
    }
}

impl Lock {
    /// Whether `other` protects at least as long and as strictly as this does.
    pub fn is_within(&self, other: &Self) -> bool {
        let retained = match (&self.retention, &other.retention) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(theirs)) => {
                mine.until <= theirs.until && mine.compliance <= theirs.compliance
            }
        };
        retained && self.legal_hold <= other.legal_hold
    }
}

impl ObjectState {
    /// Whether this replica holds the content that `source` names.
    pub fn stands_for(&self, source: &Etag) -> bool {
        self.etag == *source
            || self
                .metadata
                .user
                .get(PROVENANCE_KEY)
                .is_some_and(|recorded| recorded == source.as_str())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An object of three bytes without anything else.
    pub(crate) fn object(etag: &str) -> ObjectState {
        ObjectState {
            etag: Etag::new(etag),
            etag_is_digest: true,
            bytes: 3,
            last_modified: Timestamp::UNIX_EPOCH,
            version_id: None,
            metadata: Metadata::default(),
            storage_class: StorageClass::standard(),
            checksum: None,
            lock: Lock::default(),
            tag_count: 0,
        }
    }

    #[test]
    fn a_recorded_source_etag_stands_for_the_etag_itself() {
        let mut replica = object("single");
        replica
            .metadata
            .user
            .insert(PROVENANCE_KEY.into(), "multi-2".into());
        assert!(replica.stands_for(&Etag::new("multi-2")));
        assert!(!replica.stands_for(&Etag::new("newer-2")));
        assert_eq!(replica.metadata.visible(), Metadata::default());
    }

    #[test]
    fn a_lock_is_within_one_that_holds_as_strictly_and_as_long() {
        let lock = |compliance, days| Lock {
            retention: Some(Retention {
                compliance,
                until: Timestamp::UNIX_EPOCH + chrono::TimeDelta::days(days),
            }),
            legal_hold: false,
        };
        assert!(Lock::default().is_within(&lock(true, 1)));
        assert!(lock(false, 1).is_within(&lock(false, 1)));
        assert!(lock(false, 1).is_within(&lock(true, 2)));
        assert!(!lock(true, 1).is_within(&lock(false, 2)));
        assert!(!lock(false, 2).is_within(&lock(false, 1)));
        let held = Lock {
            legal_hold: true,
            ..Lock::default()
        };
        assert!(!held.is_within(&Lock::default()));
        assert!(Lock::default().is_within(&held));
    }
}
