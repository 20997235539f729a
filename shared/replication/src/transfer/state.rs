//! What the table stores about a transfer and about an upload. No I/O.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::names::{ObjectKey, TransferId, UploadId};
use crate::object::Checksum;
use crate::overwrite::Overwrite;
use crate::part_layout::PartLayout;
use crate::transfer::{PartRange, TransferSource, TransferView, ranges};

/// How long a transfer may make no progress before it counts as stalled.
const STALLED_AFTER: TimeDelta = TimeDelta::hours(2);

/// One key's transfer. A key has one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transfer {
    /// The transfer's id.
    pub id: TransferId,
    /// The object's key.
    pub key: ObjectKey,
    /// The object that is copied.
    pub source: TransferSource,
    /// The parts it is copied in.
    pub layout: PartLayout,
    /// About how many bytes a range has.
    pub range_bytes: u64,
    /// The upload that the parts go into.
    pub upload: LoggedUpload,
    /// Whether the replica will name its source's `ETag`, because its own differs.
    pub records_etag: bool,
    /// The checksum that S3 makes of the parts.
    pub checksum: Option<Checksum>,
    /// When the transfer began.
    pub started_at: Timestamp,
    /// When a range was last done, or the messages were last sent.
    pub progressed_at: Timestamp,
    /// Whether every range that is not done has a message.
    pub sent: bool,
    /// When the object changed, if a notification reported the change; `None` in jobs.
    pub event_time: Option<Timestamp>,
    /// What the transfer may replace.
    pub overwrite: Overwrite,
    /// How many transfers of the object were restarted before this one.
    pub hops: u32,
    /// Why the transfer cannot be finished and has to be restarted.
    pub invalidated: Option<Invalidated>,
    /// The ranges that are done, by their numbers.
    pub done: BTreeSet<u32>,
}

/// Why a transfer has to be restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Invalidated {
    /// The source holds another object, or the upload is gone.
    Overtaken,
    /// The parts do not make the source's `ETag`, so the replica has to name it.
    OtherEtag,
}

/// An upload in the log. It is logged before it is created, and removed when there is nothing left to abort.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LoggedUpload {
    /// The entry's own id.
    pub id: String,
    /// The object's key.
    pub key: ObjectKey,
    /// S3's id, once it is known: a function may die after it created the upload and before it logged the id.
    pub upload_id: Option<UploadId>,
    /// When the entry was made.
    pub began_at: Timestamp,
}

impl Transfer {
    /// Returns all ranges.
    pub fn ranges(&self) -> Vec<PartRange> {
        ranges(&self.layout, self.range_bytes)
    }

    /// Returns the ranges that need a message: those that are not done or, if all are done, the last one, so that a
    /// worker completes the upload.
    pub fn ranges_to_send(&self) -> Vec<PartRange> {
        let ranges = self.ranges();
        let is_open = |range: &&PartRange| !self.done.contains(&range.index);
        let open: Vec<PartRange> = ranges.iter().filter(is_open).copied().collect();
        if open.is_empty() {
            return ranges.last().copied().into_iter().collect();
        }
        open
    }

    /// Returns whether the transfer has made no progress for longer than the part queue hides a dead worker's message.
    pub fn is_stalled(&self, at: Timestamp) -> bool {
        at - self.progressed_at > STALLED_AFTER
    }

    /// Returns whether every range is done.
    pub fn is_filled(&self) -> bool {
        self.ranges()
            .iter()
            .all(|range| self.done.contains(&range.index))
    }

    /// Returns when its object changed, as far as is known.
    pub fn changed_at(&self) -> Timestamp {
        self.event_time.unwrap_or(self.started_at)
    }

    /// Returns the transfer as it is shown.
    pub fn view(&self) -> TransferView {
        let done: Vec<PartRange> = self
            .ranges()
            .into_iter()
            .filter(|range| self.done.contains(&range.index))
            .collect();
        let copied = self
            .layout
            .parts()
            .filter(|part| done.iter().any(|range| range.covers(part.number)));
        TransferView {
            id: self.id.clone(),
            key: self.key.clone(),
            bytes: self.source.bytes,
            bytes_copied: copied.map(|part| part.bytes()).sum(),
            parts: self.layout.count(),
            started_at: self.started_at,
            progressed_at: self.progressed_at,
        }
    }
}
