//! What one attempt remembers of a key from its first request to its last. No I/O.

use crate::bucket_pair::Landed;
use crate::names::{Etag, VersionId};
use crate::object::ObjectState;

use super::{Depth, Outcome, QUICK_COPY};

/// What the rounds of one attempt have found out and done.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// Whether the replica's `ETag` differs from the source's, so that the replica has to name the source's.
    pub(super) record_etag: bool,
    /// How much of a replica that looks equal is compared.
    pub(super) depth: Depth,
    /// The `ETag` of an object that a user put, and that Tandem did not copy.
    put: Option<Etag>,
    /// What was done to the replica.
    done: Done,
    /// The replica that the attempt's last copy wrote.
    wrote: Option<Written>,
}

/// What an attempt did to the replica, in order of importance. The most important is last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Done {
    #[default]
    Nothing,
    /// Something was set without a copy.
    Adjusted,
    /// Something was copied.
    Copied,
}

/// A replica that was written, as the copy's answer names it.
#[derive(Debug)]
struct Written {
    etag: Etag,
    /// Its version, in a destination that has versions.
    version: Option<VersionId>,
    /// The `ETag` of the source for which the copy was ordered.
    ordered: Etag,
}

impl Attempt {
    /// Creates an attempt that has done nothing yet and compares replicas to this depth.
    pub(super) fn comparing(depth: Depth) -> Self {
        Self {
            depth,
            ..Self::default()
        }
    }

    /// Returns the attempt for an object with this `ETag` that a user put.
    pub(super) fn of_put(self, etag: &Etag) -> Self {
        let put = Some(etag.clone());
        Self { put, ..self }
    }

    /// Returns the source without its mark, if a user put it. A user who puts an object with the metadata of a replica
    /// puts its mark as well. That mark says nothing about the new object.
    pub(super) fn read(&self, mut source: ObjectState) -> ObjectState {
        if self.put.as_ref() == Some(&source.etag) {
            source.metadata = source.metadata.visible();
        }
        source
    }

    /// Records that a copy landed, which was ordered for a source with this `ETag`. If the copy was not quick, the tags
    /// that it read have to be read again.
    pub(super) fn landed(&mut self, landed: &Landed, ordered: &Etag) {
        self.depth = if landed.took > QUICK_COPY {
            Depth::Attributes
        } else {
            Depth::Head
        };
        self.done = Done::Copied;
        self.wrote = Some(Written {
            etag: landed.etag.clone(),
            version: landed.version.clone(),
            ordered: ordered.clone(),
        });
    }

    /// Records that tags, grants or a lock were set.
    pub(super) fn adjusted(&mut self) {
        self.done = self.done.max(Done::Adjusted);
    }

    /// Returns whether this replica is the one that the attempt's last copy wrote.
    pub(super) fn wrote(&self, replica: &ObjectState) -> bool {
        self.wrote.as_ref().is_some_and(|written| {
            let same_version = match (&written.version, &replica.version_id) {
                (Some(written), Some(found)) => written == found,
                _ => true,
            };
            written.etag == replica.etag && same_version
        })
    }

    /// Returns whether this replica is the attempt's own copy of another source than this one, even if the two look
    /// alike.
    pub(super) fn wrote_another(&self, replica: &ObjectState, source: &Etag) -> bool {
        let ordered = self.wrote.as_ref().map(|written| &written.ordered);
        self.wrote(replica) && ordered != Some(source) && !replica.stands_for(source)
    }

    /// Returns the outcome of an attempt that found both sides in agreement.
    pub(super) fn outcome(&self, bytes: u64) -> Outcome {
        match self.done {
            Done::Copied => Outcome::Replicated { bytes },
            Done::Adjusted => Outcome::Adjusted,
            Done::Nothing => Outcome::InSync,
        }
    }
}
