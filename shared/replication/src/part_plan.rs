//! How an object is copied: whole, or in which parts, so that its `ETag` is kept wherever it can be.
//! No I/O.
//!
//! S3's limits (S3 user guide, "Amazon S3 multipart upload limits"): 1 to 10,000 parts; each 5 MiB to
//! 5 GiB, the last may be smaller; the largest object has 48.8 TiB; one `CopyObject` carries 5 GiB.

use crate::object::ObjectState;

/// S3's limit on the number of parts.
pub const PARTS_MAX: u64 = 10_000;
/// S3's limit on a part's size, but for the last: 5 MiB.
pub const PART_BYTES_MIN: u64 = 5 << 20;
/// S3's limit on a part's size: 5 GiB.
pub const PART_BYTES_MAX: u64 = 5 << 30;
/// S3's limit on one `CopyObject`: 5 GiB.
pub const SINGLE_COPY_BYTES_MAX: u64 = 5 << 30;

/// The sizes by which the stack copies; S3's own limits hold besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyLimits {
    /// Up to here an object is copied by one request.
    pub single_copy_bytes_max: u64,
    /// The part size where nothing else asks for another one.
    pub part_bytes: u64,
    /// Larger objects are left to a function that has more time.
    pub carry_bytes_max: u64,
}

impl Default for CopyLimits {
    fn default() -> Self {
        Self {
            single_copy_bytes_max: SINGLE_COPY_BYTES_MAX,
            part_bytes: 64 << 20,
            carry_bytes_max: u64::MAX,
        }
    }
}

/// How to copy one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyPlan {
    /// The size of every part but the last; `None` to copy whole.
    pub part_bytes: Option<u64>,
    /// Whether the replica's `ETag` will be the source's, as far as the sizes tell.
    pub keeps_etag: bool,
}

/// The object is larger than 10,000 parts of 5 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes are more than S3 can hold in one object (10,000 parts of 5 GiB)")]
pub struct TooLarge(pub u64);

/// Plans the copy of `source`, whose first part has `first_part_bytes` where that is known.
///
/// - An object uploaded in equal parts is copied in the same parts: its `ETag` depends on them.
/// - Any other is copied whole where one request can carry it, else in parts.
pub fn plan(
    source: &ObjectState,
    first_part_bytes: Option<u64>,
    limits: CopyLimits,
) -> Result<CopyPlan, TooLarge> {
    let bytes = source.bytes;
    if let Some(parts) = source.etag.parts()
        && let Some(first) = first_part_bytes
        && reproducible(bytes, first, u64::from(parts))
    {
        return Ok(CopyPlan {
            part_bytes: Some(first),
            keeps_etag: true,
        });
    }
    if bytes <= limits.single_copy_bytes_max.min(SINGLE_COPY_BYTES_MAX) {
        return Ok(CopyPlan {
            part_bytes: None,
            keeps_etag: source.etag.parts().is_none(),
        });
    }
    if bytes > PARTS_MAX * PART_BYTES_MAX {
        return Err(TooLarge(bytes));
    }
    let wanted = limits.part_bytes.max(bytes.div_ceil(PARTS_MAX));
    Ok(CopyPlan {
        part_bytes: Some(wanted.clamp(PART_BYTES_MIN, PART_BYTES_MAX)),
        keeps_etag: false,
    })
}

/// Whether `parts` equal parts of `first` bytes, the last one smaller or equal, make up `bytes`, within
/// S3's limits.
fn reproducible(bytes: u64, first: u64, parts: u64) -> bool {
    (1..=PART_BYTES_MAX).contains(&first)
        && parts <= PARTS_MAX
        && (parts == 1 || first >= PART_BYTES_MIN)
        && bytes.div_ceil(first) == parts
}

/// The parts of a copy: number from 1, first byte, last byte (inclusive, as a range header wants it).
pub fn ranges(bytes: u64, part_bytes: u64) -> impl Iterator<Item = (i32, u64, u64)> {
    (0..bytes.div_ceil(part_bytes))
        .zip(1..)
        .map(move |(at, number)| {
            let first = at * part_bytes;
            (number, first, (first + part_bytes).min(bytes) - 1)
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Timestamp;
    use crate::names::Etag;
    use crate::object::Metadata;

    fn object(bytes: u64, etag: &str) -> ObjectState {
        ObjectState {
            etag: Etag::new(etag),
            bytes,
            last_modified: Timestamp::UNIX_EPOCH,
            version_id: None,
            metadata: Metadata::default(),
            tag_count: 0,
        }
    }

    #[test]
    fn an_object_in_equal_parts_is_copied_in_the_same_parts() {
        let plan = plan(
            &object(20 << 20, "x-3"),
            Some(8 << 20),
            CopyLimits::default(),
        )
        .unwrap();
        assert_eq!(
            plan,
            CopyPlan {
                part_bytes: Some(8 << 20),
                keeps_etag: true
            }
        );
    }

    #[test]
    fn unknown_or_uneven_parts_cannot_keep_the_etag() {
        let whole = CopyPlan {
            part_bytes: None,
            keeps_etag: false,
        };
        assert_eq!(
            plan(&object(20 << 20, "x-3"), None, CopyLimits::default()),
            Ok(whole)
        );
        assert_eq!(
            plan(
                &object(20 << 20, "x-3"),
                Some(5 << 20),
                CopyLimits::default()
            ),
            Ok(whole)
        );
    }

    #[test]
    fn a_single_part_object_is_copied_whole_up_to_5_gib() {
        let kept = CopyPlan {
            part_bytes: None,
            keeps_etag: true,
        };
        assert_eq!(plan(&object(0, "x"), None, CopyLimits::default()), Ok(kept));
        assert_eq!(
            plan(
                &object(SINGLE_COPY_BYTES_MAX, "x"),
                None,
                CopyLimits::default()
            ),
            Ok(kept)
        );
        let more = plan(
            &object(SINGLE_COPY_BYTES_MAX + 1, "x"),
            None,
            CopyLimits::default(),
        )
        .unwrap();
        assert_eq!(
            more,
            CopyPlan {
                part_bytes: Some(64 << 20),
                keeps_etag: false
            }
        );
    }

    proptest! {
        #[test]
        fn every_plan_is_within_s3s_limits_and_covers_the_object(
            bytes in prop_oneof![0..=1u64 << 36, 0..=PARTS_MAX * PART_BYTES_MAX],
            parts in proptest::option::of(1..=PARTS_MAX),
            first in proptest::option::of(1..=PART_BYTES_MAX),
            threshold in 0..=SINGLE_COPY_BYTES_MAX,
        ) {
            let etag = parts.map_or("x".to_owned(), |n| format!("x-{n}"));
            let limits = CopyLimits { single_copy_bytes_max: threshold, ..CopyLimits::default() };
            let plan = plan(&object(bytes, &etag), first, limits).unwrap();
            let Some(part_bytes) = plan.part_bytes else {
                prop_assert!(bytes <= SINGLE_COPY_BYTES_MAX);
                return Ok(());
            };
            let count = bytes.div_ceil(part_bytes);
            prop_assert!((1..=PARTS_MAX).contains(&count));
            prop_assert!(part_bytes <= PART_BYTES_MAX);
            prop_assert!(count == 1 || part_bytes >= PART_BYTES_MIN);
            let mut next = 0;
            for (number, from, to) in ranges(bytes, part_bytes) {
                prop_assert!(number >= 1 && from == next && to >= from);
                next = to + 1;
            }
            prop_assert_eq!(next, bytes);
        }
    }

    #[test]
    fn more_than_s3_can_hold_is_refused() {
        let bytes = PARTS_MAX * PART_BYTES_MAX + 1;
        assert_eq!(
            plan(&object(bytes, "x"), None, CopyLimits::default()),
            Err(TooLarge(bytes))
        );
    }
}
