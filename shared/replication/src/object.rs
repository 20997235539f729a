//! An object as S3 shows it. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use crate::Timestamp;
use crate::fault::{Fault, Reason};
use crate::header_value::HeaderValue;
use crate::names::{Etag, ObjectKey, StorageClass, VersionId};

/// The user-metadata key under which a replica names its source's `ETag`, if its own cannot be the same (encryption
/// with KMS keys, unknown part boundaries).
pub const PROVENANCE_KEY: &str = "tandem-source-etag";

/// How many bytes an object's user metadata may have: the sum of the bytes of each name and each value, the names
/// without `x-amz-meta-`.
///
/// Source: S3 user guide, "Working with object metadata", "User-defined object metadata": "limited to 2 KB in size",
/// "measured by taking the sum of the number of bytes in the UTF-8 encoding of each key and value".
pub const USER_METADATA_BYTES_MAX: usize = 2_048;

/// The time of an object whose server does not say when it was written: it may have been just now. It is the last
/// second of the year 9999, later than any other time.
pub const WRITTEN_AT_UNKNOWN: Timestamp = match Timestamp::from_timestamp(253_402_300_799, 0) {
    Some(at) => at,
    None => Timestamp::MAX_UTC,
};

/// An object as a HEAD shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectState {
    /// Its `ETag`.
    pub etag: Etag,
    /// Whether the `ETag` is made from the bytes alone. With KMS keys or customers' keys it is not.
    pub etag_is_digest: bool,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was written, in whole seconds of the server's clock. [`WRITTEN_AT_UNKNOWN`] if the server does not say.
    pub last_modified: Timestamp,
    /// Its version, in a bucket that has versions.
    pub version_id: Option<VersionId>,
    /// Content headers and user metadata.
    pub metadata: Metadata,
    /// Its storage class.
    pub storage_class: StorageClass,
    /// The checksum that it was uploaded with, if it was asked for.
    pub checksum: Option<Checksum>,
    /// How, and until when, it is protected from deletion.
    pub lock: Lock,
    /// How many tags it has. Reading the tags themselves takes another request.
    pub tag_count: u32,
}

/// What a user can set on an object besides its bytes, tags, class and protection.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Metadata {
    /// `Content-Type`.
    pub content_type: Option<HeaderValue>,
    /// `Content-Encoding`.
    pub content_encoding: Option<HeaderValue>,
    /// `Content-Language`.
    pub content_language: Option<HeaderValue>,
    /// `Content-Disposition`.
    pub content_disposition: Option<HeaderValue>,
    /// `Cache-Control`.
    pub cache_control: Option<HeaderValue>,
    /// `Expires`, as it was written.
    pub expires: Option<HeaderValue>,
    /// `x-amz-website-redirect-location`. A copy has none unless the request sets it.
    pub website_redirect: Option<HeaderValue>,
    /// `x-amz-meta-*`, without that prefix.
    pub user: BTreeMap<String, HeaderValue>,
    /// The server's own header `x-amz-missing-meta`: how much user metadata it keeps but does not show.
    #[serde(default)]
    pub unshown: Option<HeaderValue>,
}

/// A header that is among an object's metadata and cannot be sent with a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its header {header} {problem}")]
pub struct Unsendable {
    /// The header's name.
    pub header: String,
    /// Why it cannot be sent.
    pub problem: &'static str,
}

/// The checksum by which the service can check an object, besides its `ETag`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Checksum {
    /// The algorithm, under S3's name.
    pub algorithm: String,
    /// Whether it is computed from the bytes as a whole, or else from the parts' checksums.
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
    /// Whether no user can shorten it (`COMPLIANCE`), or else only users with permission (`GOVERNANCE`).
    pub compliance: bool,
    /// Until when.
    pub until: Timestamp,
}

/// An object's tags.
pub type Tags = BTreeMap<String, String>;

/// An object's tags and grants, which no HEAD shows, as far as the rule replicates them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Its tags, if the rule replicates tags.
    pub tags: Option<Tags>,
    /// What it grants to others than its owner, if the rule replicates ACLs.
    pub grants: Option<BTreeSet<Grant>>,
}

/// One line of an ACL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// Who gets the permission: an account's canonical id, or the URI of a group.
    pub grantee: Grantee,
    /// The permission, under S3's name.
    pub permission: String,
}

/// Who gets a permission.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grantee {
    /// An account, by its canonical id.
    Account(String),
    /// A group, by its URI.
    Group(String),
}

impl Metadata {
    /// Returns the metadata without Tandem's own mark.
    #[must_use]
    pub fn visible(&self) -> Self {
        let mut visible = self.clone();
        visible.user.remove(PROVENANCE_KEY);
        visible
    }

    /// Returns the metadata with Tandem's mark for a source with this `ETag`.
    #[must_use]
    pub fn marked(&self, source: &Etag) -> Self {
        let mut marked = self.visible();
        let mark = HeaderValue::from(source.as_str());
        marked.user.insert(PROVENANCE_KEY.to_owned(), mark);
        marked
    }

    /// Returns the source's `ETag` that a replica names.
    pub fn mark(&self) -> Option<&HeaderValue> {
        self.user.get(PROVENANCE_KEY)
    }

    /// Returns whether these metadata name a source with this `ETag`.
    pub fn names(&self, source: &Etag) -> bool {
        self.mark().is_some_and(|mark| *mark == *source.as_str())
    }

    /// Returns whether a replica can have all of these metadata and also the mark for a source with this `ETag`. A copy
    /// that is not marked leaves the metadata to S3, which copies them whatever they are.
    fn can_be_marked(&self, source: &Etag) -> bool {
        let marked = self.marked(source);
        marked.unsendable().is_none() && marked.user_bytes() <= USER_METADATA_BYTES_MAX
    }

    /// Returns a header that a request cannot write, if there is one. The signature of a request has to include each of
    /// its `x-amz-` headers (S3 API reference, "Signature calculations for the authorization header"), and the AWS SDK
    /// signs only text.
    pub fn unsendable(&self) -> Option<Unsendable> {
        const NOT_TEXT: &str = "is not UTF-8, so a request with it cannot be signed";
        if self.unshown.is_some() {
            return Some(Unsendable {
                header: "x-amz-missing-meta".to_owned(),
                problem: "says that S3 does not show all of its user metadata",
            });
        }
        let is_text = |value: &HeaderValue| value.as_str().is_some();
        if self
            .website_redirect
            .as_ref()
            .is_some_and(|value| !is_text(value))
        {
            return Some(Unsendable {
                header: "x-amz-website-redirect-location".to_owned(),
                problem: NOT_TEXT,
            });
        }
        let (name, _) = self.user.iter().find(|(_, value)| !is_text(value))?;
        Some(Unsendable {
            header: format!("x-amz-meta-{name}"),
            problem: NOT_TEXT,
        })
    }

    /// Returns how many bytes its user metadata have, as S3 counts them.
    fn user_bytes(&self) -> usize {
        let bytes = self
            .user
            .iter()
            .map(|(name, value)| name.len() + value.len());
        bytes.sum()
    }
}

impl Lock {
    /// Returns whether `other` protects at least as long and as strictly as this lock does.
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
    /// Returns whether this replica has the content of a source with this `ETag`.
    pub fn stands_for(&self, source: &Etag) -> bool {
        self.etag == *source || self.metadata.names(source)
    }

    /// Returns whether this replica has the content of `source`: it stands for the source's `ETag`, or it looks like a
    /// copy that could not be marked.
    ///
    /// The metadata of some objects leave no room for the mark ([`Self::marked_metadata`]), and the `ETag`s of both
    /// sides cannot be compared. Then size, metadata and times decide: a replica that was written after its source is a
    /// copy of it.
    ///
    /// If rules form a circle, the source may itself be a copy: of this replica, or of an object of which both are
    /// copies ([`Self::origin`]).
    pub fn is_copy_of(&self, source: &Self) -> bool {
        let is_later =
            self.last_modified != WRITTEN_AT_UNKNOWN && self.last_modified > source.last_modified;
        self.stands_for(&source.etag)
            || self.has_same_origin(source)
            || (is_later && self.looks_like_an_unmarked_copy_of(source))
    }

    /// Returns whether the source's mark says that it is a copy of this replica, or that both are copies of one object.
    fn has_same_origin(&self, source: &Self) -> bool {
        let origin = source.origin();
        origin != source.etag && self.stands_for(&origin)
    }

    /// Returns the `ETag` that a replica of this object names if it cannot have the same one. If this object's own
    /// `ETag` is not a digest because of encryption, that is the `ETag` of the object of which this one is a copy, so
    /// that a ring of rules passes the first `ETag` on. Otherwise it is this object's own `ETag`, because its mark may
    /// be that of an earlier object.
    pub fn origin(&self) -> Etag {
        let mark = self.metadata.mark().and_then(HeaderValue::as_str);
        let mark = mark.filter(|_| !self.etag_is_digest).map(Etag::new);
        mark.unwrap_or_else(|| self.etag.clone())
    }

    /// Returns the metadata of a replica that cannot have the same `ETag`: the object's own with the mark. Returns
    /// `None` if they leave no room for the mark.
    pub fn marked_metadata(&self) -> Option<Metadata> {
        let origin = self.origin();
        self.metadata
            .can_be_marked(&origin)
            .then(|| self.metadata.marked(&origin))
    }

    /// Refuses a source whose replica will have another `ETag`, and could not be distinguished from a copy of another
    /// source.
    ///
    /// # Errors
    /// Fails if the metadata leave no room for the mark, and the object is in parts, so that its time proves nothing.
    pub fn check_recognisable(&self, key: &ObjectKey) -> Result<(), Fault> {
        // A header that cannot be sent is refused elsewhere, under its own name.
        let fits = self.marked_metadata().is_some() || self.metadata.unsendable().is_some();
        if self.etag.parts().is_none() || fits {
            return Ok(());
        }
        let message = format!(
            "cannot copy {:?}: its x-amz-meta- headers leave no room for the source's ETag, which the replica of an \
             object in parts has to name if it cannot have the same ETag; shorten these headers",
            key.as_str()
        );
        Err(Fault::because(Reason::MetadataNotSendable, message))
    }

    /// Returns whether this would be a copy of `source` if it had been written later.
    pub fn is_too_early_for(&self, source: &Self) -> bool {
        !self.is_copy_of(source) && self.looks_like_an_unmarked_copy_of(source)
    }

    fn looks_like_an_unmarked_copy_of(&self, source: &Self) -> bool {
        // The time of an object in parts is when its upload began, which proves nothing.
        source.etag.parts().is_none()
            && source.marked_metadata().is_none()
            && self.metadata.mark().is_none()
            && !self.has_comparable_etag(source)
            && self.bytes == source.bytes
            && self.metadata == source.metadata.visible()
    }

    /// Returns whether equal bytes would have equal `ETag`s on both sides.
    fn has_comparable_etag(&self, other: &Self) -> bool {
        self.etag_is_digest && other.etag_is_digest && self.etag.parts() == other.etag.parts()
    }
}

#[cfg(test)]
pub(crate) mod tests;
