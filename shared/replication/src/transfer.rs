//! The copy of a large object by many invocations: its parts are grouped into ranges, and one invocation copies one
//! range. All I/O goes through the ports in [`ports`].
//!
//! These are the rules of a transfer. The search in `tests/transfers.rs` removes each of them once:
//!
//! 1. An upload is logged before it is created, so that the sweep finds the uploads of functions that died.
//! 2. A range is recorded as done only when all its parts are in the upload.
//! 3. After a completion, answered or not, the source is read again; its present state decides.
//! 4. A transfer that has to be restarted is invalidated before its object is sent, so that the receiver does
//!    not join it.
//! 5. **The upload is the fence.** A worker that abandons a transfer aborts its upload before the source is read for
//!    the next step. A completion that is still in flight has either landed by then, and is seen, or never lands.
//! 6. In modes that protect the destination's objects, a completion is conditional, and what follows it may
//!    replace only what this transfer wrote.
//! 7. The sweep aborts only uploads that the log names.
//!
//! In reading order: what the table stores ([`state`]), the ports ([`ports`]), uploads whether or not they belong
//! to a transfer ([`uploads`]), the beginning ([`begin`]), one range ([`copying`]), completion and restart
//! ([`ending`]), the sweep ([`sweep`]).

pub mod begin;
pub mod copying;
pub mod ending;
pub mod ports;
pub mod state;
pub mod sweep;
pub mod uploads;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::names::{Etag, ObjectKey, TransferId};
use crate::object::ObjectState;
use crate::part_layout::PartLayout;

pub use self::state::{Invalidated, LoggedUpload, Transfer};

/// The maximum number of ranges of a transfer, because its state lists those that are done.
pub const RANGES_MAX: u32 = 1_000;

/// Consecutive parts, for which there is one message, and which one invocation copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartRange {
    /// Its number, from 0.
    pub index: u32,
    /// The number of its first part.
    pub first_part: u32,
    /// The number of its last part.
    pub last_part: u32,
}

impl PartRange {
    /// Returns whether a part belongs to the range.
    pub fn covers(&self, part: u32) -> bool {
        (self.first_part..=self.last_part).contains(&part)
    }
}

/// Cuts the parts into ranges of about `range_bytes`, but into no more than [`RANGES_MAX`].
pub fn ranges(layout: &PartLayout, range_bytes: u64) -> Vec<PartRange> {
    let range_bytes = range_bytes.max(layout.bytes().div_ceil(u64::from(RANGES_MAX)));
    let mut ranges: Vec<PartRange> = Vec::new();
    let mut filled = u64::MAX;
    for part in layout.parts() {
        if filled >= range_bytes {
            ranges.push(PartRange {
                index: ranges.last().map_or(0, |range| range.index + 1),
                first_part: part.number,
                last_part: part.number,
            });
            filled = 0;
        }
        if let Some(range) = ranges.last_mut() {
            range.last_part = part.number;
        }
        filled = filled.saturating_add(part.bytes());
    }
    ranges
}

/// The object that a transfer copies: any change of it invalidates the transfer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TransferSource {
    /// Its `ETag`, to which every part is pinned.
    pub etag: Etag,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was written.
    pub last_modified: Timestamp,
}

impl TransferSource {
    /// Returns the source of a transfer for the object that a HEAD has shown.
    pub fn of(source: &ObjectState) -> Self {
        Self {
            etag: source.etag.clone(),
            bytes: source.bytes,
            last_modified: source.last_modified,
        }
    }
}

/// The progress of a transfer, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferView {
    /// Its id.
    pub id: TransferId,
    /// The object's key.
    pub key: ObjectKey,
    /// The object's size in bytes.
    pub bytes: u64,
    /// How many of them are copied, in whole ranges.
    pub bytes_copied: u64,
    /// How many parts the object has.
    pub parts: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// When it last made progress.
    pub progressed_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::part_layout::{OBJECT_BYTES_MAX, PART_BYTES_MAX, PART_BYTES_MIN};

    #[test]
    fn the_largest_object_has_no_more_ranges_than_its_state_can_list() {
        let layout = PartLayout::even(OBJECT_BYTES_MAX, PART_BYTES_MAX);
        assert_eq!(ranges(&layout, 1).len(), RANGES_MAX as usize);
    }

    #[test]
    fn a_range_has_at_least_one_part() {
        let layout = PartLayout::even(30 << 20, 8 << 20);
        let cut = ranges(&layout, 1);
        assert_eq!(cut.len(), 4);
        assert!(cut.iter().all(|range| range.first_part == range.last_part));
        assert_eq!(ranges(&layout, u64::MAX).len(), 1);
    }

    proptest! {
        #[test]
        fn ranges_cover_every_part_exactly_once_in_order(
            sizes in proptest::collection::vec(PART_BYTES_MIN..=PART_BYTES_MAX, 1..3_000),
            range_bytes in 0..=PART_BYTES_MAX * 20,
        ) {
            let layout = PartLayout::of_sizes(sizes);
            let cut = ranges(&layout, range_bytes);
            prop_assert!(cut.len() <= RANGES_MAX as usize + 1);
            let mut next = 1;
            for (range, index) in cut.iter().zip(0..) {
                prop_assert_eq!(range.index, index);
                prop_assert_eq!(range.first_part, next);
                prop_assert!(range.last_part >= range.first_part);
                next = range.last_part + 1;
            }
            prop_assert_eq!(next, layout.count() + 1);
        }
    }
}
