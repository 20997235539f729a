//! Rule 3: after a write, the source is read again. The key is settled only if the source still has what was written.

use chrono::TimeDelta;

use crate::Timestamp;
use crate::bucket_pair::{BucketPair, Landed, Side};
use crate::decide::{Decision, decide};
use crate::fault::{Fault, Reason};
use crate::names::{Etag, ObjectKey, StorageClass};
use crate::object::{Attributes, Lock, ObjectState};
use crate::options::{AclChoice, LockChoice};

use super::attempt::Attempt;
use super::{Depth, Replicator};

/// The resolution of `Last-Modified`, which is given in whole seconds.
const LAST_MODIFIED_RESOLUTION: TimeDelta = TimeDelta::seconds(1);

/// What the copy that landed was ordered for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ordered<'a> {
    /// A source with this `ETag` and class, which no HEAD had shown.
    Unseen(&'a Etag, &'a StorageClass),
    /// A source that a HEAD had shown like this.
    Seen(&'a ObjectState),
}

/// Whether what landed is what the source has now.
pub(super) enum Verified {
    /// It is; the size is the source's.
    Settled { bytes: u64 },
    /// It is not, or not for certain.
    Unsettled,
}

impl<P: BucketPair> Replicator<'_, P> {
    /// Reads the source again after a copy landed.
    ///
    /// An equal `ETag` is not enough: the same bytes may have been written with other metadata since. A version is
    /// conclusive, and so is a `Last-Modified` before the copy began. If there is neither, the replica is read too.
    pub(super) async fn verify_after_write(
        &self,
        key: &ObjectKey,
        landed: &Landed,
        ordered: Ordered<'_>,
        attempt: &Attempt,
    ) -> Result<Verified, Fault> {
        let Some(source) = self.pair.head(Side::Source, key).await? else {
            return Ok(Verified::Unsettled);
        };
        let (source, depth) = (attempt.read(source), attempt.depth);
        if let Some(hint) = self.hint {
            hint.saw_class(&source.storage_class);
        }
        let ordered_as_it_is = match ordered {
            Ordered::Seen(known) => self.would_copy_alike(known, &source),
            Ordered::Unseen(etag, class) => {
                source.etag == *etag && self.would_copy_alike_unseen(class, &source)
            }
        };
        if !ordered_as_it_is {
            return Ok(Verified::Unsettled);
        }
        let certain = source.etag == landed.etag && read_for_certain(&source, landed);
        if !certain {
            let replica = self.pair.head(Side::Replica, key).await?;
            let is_landed = |replica: &&ObjectState| replica.etag == landed.etag;
            let landed_replica = replica.as_ref().filter(is_landed);
            if landed_replica.is_some_and(|replica| replica.is_too_early_for(&source)) {
                return Err(too_early(key));
            }
            let decision = decide(self.policy, self.options, Some(&source), replica.as_ref());
            if decision != Decision::InSync {
                return Ok(Verified::Unsettled);
            }
        }
        let settled = if certain && depth == Depth::Head && self.options.acl == AclChoice::Reset {
            true
        } else {
            self.wanted_attributes(key, &source, depth).await?.is_none()
        };
        Ok(if settled {
            Verified::Settled {
                bytes: source.bytes,
            }
        } else {
            Verified::Unsettled
        })
    }

    /// Returns the source's tags and grants, if the replica has others. If a HEAD shows no tags of the source, tags are
    /// read only at [`Depth::Attributes`].
    pub(super) async fn wanted_attributes(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        depth: Depth,
    ) -> Result<Option<Attributes>, Fault> {
        let any_tags = self.options.tags && (source.tag_count > 0 || depth == Depth::Attributes);
        if !any_tags && self.options.acl == AclChoice::Reset {
            return Ok(None);
        }
        let wanted = self.pair.attributes(Side::Source, key).await?;
        let found = self.pair.attributes(Side::Replica, key).await?;
        Ok((wanted != found).then_some(wanted))
    }

    /// Returns whether [`crate::bucket_pair::CopyOrder::Pinned`] with this class orders the copy that the source needs.
    fn would_copy_alike_unseen(&self, class: &StorageClass, source: &ObjectState) -> bool {
        source.metadata.website_redirect.is_none()
            && self.options.class_for(&source.storage_class) == self.options.class_for(class)
            && (self.options.object_lock == LockChoice::Bucket || source.lock == Lock::default())
    }

    /// Returns whether the copy ordered for `known` is the one that `source` needs.
    fn would_copy_alike(&self, known: &ObjectState, source: &ObjectState) -> bool {
        source.etag == known.etag
            && source.metadata == known.metadata
            && self.options.class_for(&source.storage_class)
                == self.options.class_for(&known.storage_class)
            && (self.options.object_lock == LockChoice::Bucket || source.lock == known.lock)
    }
}

/// Returns the failure of a copy that landed in the second in which its source was written. A replica that names no
/// source is recognised by a later time than its source's, in whole seconds.
fn too_early(key: &ObjectKey) -> Fault {
    let message = format!(
        "cannot settle {:?}: it was copied within the second in which its source was written, and its metadata leave no \
         room for the source's ETag, so the copy cannot be distinguished from an older one; it is copied again",
        key.as_str()
    );
    Fault::because(Reason::KeptChanging, message)
}

/// Returns whether the present source is certainly what the copy read.
fn read_for_certain(source: &ObjectState, landed: &Landed) -> bool {
    if landed.source_version.is_some() && source.version_id.is_some() {
        return landed.source_version == source.version_id;
    }
    // The time of an object in parts is when its upload began, which proves nothing.
    source.etag.parts().is_none() && was_written_before(source.last_modified, landed)
}

/// Returns whether an object that was last modified then had been written before the copy that landed began.
pub(super) fn was_written_before(last_modified: Timestamp, landed: &Landed) -> bool {
    let began_after = landed.began_after;
    began_after.is_some_and(|began_after| last_modified + LAST_MODIFIED_RESOLUTION <= began_after)
}
