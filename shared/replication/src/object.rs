//! What an object looks like from outside, and when two of them are the same. No I/O.

use std::collections::BTreeMap;

use crate::Timestamp;
use crate::names::{Etag, VersionId};

/// The user-metadata key by which a replica names its source's `ETag`, where its own cannot be the
/// same (encryption with KMS keys, unknown part boundaries).
pub const PROVENANCE_KEY: &str = "tandem-source-etag";

/// An object as a HEAD shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectState {
    /// Its `ETag`.
    pub etag: Etag,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was written, to the second: the server's clock.
    pub last_modified: Timestamp,
    /// Its version, in a bucket that has versions.
    pub version_id: Option<VersionId>,
    /// Content headers and user metadata.
    pub metadata: Metadata,
    /// How many tags it has; the tags themselves are a request of their own.
    pub tag_count: u32,
}

/// What a user can set on an object besides its bytes and tags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// `x-amz-meta-*`, without that beginning.
    pub user: BTreeMap<String, String>,
}

/// An object's tags.
pub type Tags = BTreeMap<String, String>;

impl Metadata {
    /// Without Tandem's own mark.
    fn visible(&self) -> Self {
        let mut visible = self.clone();
        visible.user.remove(PROVENANCE_KEY);
        visible
    }
}

impl ObjectState {
    /// Whether `replica` is a replica of this source, as far as two HEADs can tell: the same size, the
    /// same `ETag` (or the source's recorded on the replica), the same metadata and number of tags.
    pub fn is_replicated_by(&self, replica: &Self) -> bool {
        self.bytes == replica.bytes
            && replica.stands_for(&self.etag)
            && self.metadata.visible() == replica.metadata.visible()
            && self.tag_count == replica.tag_count
    }

    /// Whether this replica holds the content that `source` names.
    fn stands_for(&self, source: &Etag) -> bool {
        self.etag == *source
            || self
                .metadata
                .user
                .get(PROVENANCE_KEY)
                .is_some_and(|recorded| recorded == source.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(etag: &str) -> ObjectState {
        ObjectState {
            etag: Etag::new(etag),
            bytes: 3,
            last_modified: Timestamp::UNIX_EPOCH,
            version_id: None,
            metadata: Metadata::default(),
            tag_count: 0,
        }
    }

    #[test]
    fn the_same_bytes_with_other_metadata_are_not_a_replica() {
        let source = object("a");
        let mut replica = object("a");
        assert!(source.is_replicated_by(&replica));
        replica.metadata.cache_control = Some("no-store".into());
        assert!(!source.is_replicated_by(&replica));
    }

    #[test]
    fn size_etag_and_tag_count_each_tell_a_difference() {
        let source = object("a");
        assert!(!source.is_replicated_by(&object("b")));
        assert!(!source.is_replicated_by(&ObjectState {
            bytes: 4,
            ..object("a")
        }));
        assert!(!source.is_replicated_by(&ObjectState {
            tag_count: 1,
            ..object("a")
        }));
    }

    #[test]
    fn a_recorded_source_etag_stands_for_the_etag_itself() {
        let source = object("multi-2");
        let mut replica = object("single");
        replica
            .metadata
            .user
            .insert(PROVENANCE_KEY.into(), "multi-2".into());
        assert!(source.is_replicated_by(&replica));
        assert!(!object("newer-2").is_replicated_by(&replica));
    }
}
