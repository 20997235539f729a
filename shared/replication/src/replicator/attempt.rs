//! What one attempt remembers of a key from its first request to its last. No I/O.

use crate::bucket_pair::Landed;
use crate::names::{Etag, VersionId};
use crate::object::ObjectState;

use super::{Depth, Outcome, QUICK_COPY};

/// What the rounds of one attempt have found out, and what they have done.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// The replica's `ETag` differs from the source's, so it has to name the source's.
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

/// What an attempt did to the replica, the more important last.
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
    /// The `ETag` of the source that it was ordered for.
    ordered: Etag,
}

impl Attempt {
    /// An attempt that has done nothing yet.
    pub(super) fn comparing(depth: Depth) -> Self {
        Self {
            depth,
            ..Self::default()
        }
    }

    /// The same attempt, at an object of this `ETag` that a user put.
    pub(super) fn of_put(self, etag: &Etag) -> Self {
        let put = Some(etag.clone());
        Self { put, ..self }
    }

    /// The source as the attempt has to see it. A user who puts an object with the metadata of a replica puts its mark
    /// as well. That mark says nothing about the new object.
    pub(super) fn read(&self, mut source: ObjectState) -> ObjectState {
        if self.put.as_ref() == Some(&source.etag) {
            source.metadata = source.metadata.visible();
        }
        source
    }

    /// A copy landed that was ordered for a source of this `ETag`. Tags that it read long ago are to be read again.
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

    /// Tags, grants or a lock were set.
    pub(super) fn adjusted(&mut self) {
        self.done = self.done.max(Done::Adjusted);
    }

    /// Whether this replica is the one that the attempt's last copy wrote.
    pub(super) fn wrote(&self, replica: &ObjectState) -> bool {
        self.wrote.as_ref().is_some_and(|written| {
            let same_version = match (&written.version, &replica.version_id) {
                (Some(written), Some(found)) => written == found,
                _ => true,
            };
            written.etag == replica.etag && same_version
        })
    }

    /// Whether this replica is the attempt's own copy of another source than this one, whatever the two look like.
    pub(super) fn wrote_another(&self, replica: &ObjectState, source: &Etag) -> bool {
        let ordered = self.wrote.as_ref().map(|written| &written.ordered);
        self.wrote(replica) && ordered != Some(source) && !replica.stands_for(source)
    }

    /// What to call the end of an attempt that found both sides in agreement.
    pub(super) fn outcome(&self, bytes: u64) -> Outcome {
        match self.done {
            Done::Copied => Outcome::Replicated { bytes },
            Done::Adjusted => Outcome::Adjusted,
            Done::Nothing => Outcome::InSync,
        }
    }
}
