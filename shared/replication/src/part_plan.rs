//! Plans how an object is copied, whole or in which parts, so that it keeps its `ETag` wherever possible. No I/O.

use crate::object::ObjectState;
use crate::part_layout::{OBJECT_BYTES_MAX, PART_BYTES_MAX, PART_BYTES_MIN, PARTS_MAX, PartLayout};

/// S3's limit on one `CopyObject`: 5 GiB (API reference, "`CopyObject`").
pub const SINGLE_COPY_BYTES_MAX: u64 = 5 << 30;

/// The stack's limits on copies. S3's own limits apply as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyLimits {
    /// The part size if nothing requires another one.
    pub part_bytes: u64,
    /// Objects larger than this are handed to a function with a longer timeout, if they are copied in parts.
    pub in_parts_bytes_max: u64,
    /// The same for objects that are copied whole.
    pub whole_bytes_max: u64,
}

impl Default for CopyLimits {
    fn default() -> Self {
        Self {
            part_bytes: 64 << 20,
            in_parts_bytes_max: u64::MAX,
            whole_bytes_max: u64::MAX,
        }
    }
}

/// How to copy one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyPlan {
    /// The parts to copy it in; `None` to copy it whole.
    pub parts: Option<PartLayout>,
    /// Whether the replica's `ETag` will be the source's, as far as the source shows.
    pub keeps_etag: bool,
}

/// The object is larger than 10,000 parts of 5 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes are more than S3 can hold in one object (10,000 parts of 5 GiB)")]
pub struct TooLarge(pub u64);

/// Returns whether the copy of an object is more than these limits allow.
pub fn is_too_large(in_parts: bool, bytes: u64, limits: CopyLimits) -> bool {
    if in_parts || bytes > SINGLE_COPY_BYTES_MAX {
        bytes > limits.in_parts_bytes_max
    } else {
        bytes > limits.whole_bytes_max
    }
}

/// Plans the copy of `source`. `layout` says how its parts are cut, if that is known.
///
/// - An object uploaded in parts is copied in the same parts: its `ETag` depends on them.
/// - Any other object is copied whole if one request can copy it, else in parts.
pub fn plan(
    source: &ObjectState,
    layout: Option<PartLayout>,
    limits: CopyLimits,
) -> Result<CopyPlan, TooLarge> {
    let bytes = source.bytes;
    if let Some(parts) = source.etag.parts()
        && let Some(layout) = layout
        && layout.count() == parts
        && layout.is_possible_for(bytes)
    {
        return Ok(CopyPlan {
            parts: Some(layout),
            keeps_etag: source.etag_is_digest,
        });
    }
    if bytes <= SINGLE_COPY_BYTES_MAX {
        return Ok(CopyPlan {
            parts: None,
            keeps_etag: source.etag_is_digest && source.etag.parts().is_none(),
        });
    }
    if bytes > OBJECT_BYTES_MAX {
        return Err(TooLarge(bytes));
    }
    let wanted = limits.part_bytes.max(bytes.div_ceil(u64::from(PARTS_MAX)));
    Ok(CopyPlan {
        parts: Some(PartLayout::even(
            bytes,
            wanted.clamp(PART_BYTES_MIN, PART_BYTES_MAX),
        )),
        keeps_etag: false,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::names::Etag;
    use crate::object::tests::object;

    fn sized(bytes: u64, etag: &str) -> ObjectState {
        ObjectState {
            bytes,
            etag: Etag::new(etag),
            ..object("")
        }
    }

    // Promise: An object in parts is copied in the same parts, and so keeps its `ETag`; it becomes equal
    // although a worker dies.
    #[test]
    fn an_object_in_parts_is_copied_in_the_same_parts_even_or_not() {
        for sizes in [[8 << 20, 8 << 20, 4 << 20], [8 << 20, 5 << 20, 7 << 20]] {
            let layout = PartLayout::of_sizes(sizes);
            let plan = plan(
                &sized(20 << 20, "x-3"),
                Some(layout.clone()),
                CopyLimits::default(),
            );
            let wanted = CopyPlan {
                parts: Some(layout),
                keeps_etag: true,
            };
            assert_eq!(plan, Ok(wanted));
        }
    }

    #[test]
    fn an_object_whose_parts_are_not_known_is_copied_whole() {
        let whole = CopyPlan {
            parts: None,
            keeps_etag: false,
        };
        let source = sized(20 << 20, "x-3");
        let misleading = [
            None,
            Some(PartLayout::even(20 << 20, 5 << 20)),
            Some(PartLayout::even(21 << 20, 8 << 20)),
            Some(PartLayout::of_sizes([4 << 20, 8 << 20, 8 << 20])),
        ];
        for layout in misleading {
            assert_eq!(
                plan(&source, layout, CopyLimits::default()),
                Ok(whole.clone())
            );
        }
    }

    #[test]
    fn an_object_in_one_part_is_copied_whole_up_to_s3s_limit() {
        let kept = CopyPlan {
            parts: None,
            keeps_etag: true,
        };
        for bytes in [0, SINGLE_COPY_BYTES_MAX] {
            assert_eq!(
                plan(&sized(bytes, "x"), None, CopyLimits::default()),
                Ok(kept.clone())
            );
        }
        let more = plan(
            &sized(SINGLE_COPY_BYTES_MAX + 1, "x"),
            None,
            CopyLimits::default(),
        );
        assert_eq!(more.unwrap().parts.unwrap().count(), 81);
    }

    #[test]
    fn an_etag_that_is_not_a_digest_is_not_kept() {
        let encrypted = ObjectState {
            etag_is_digest: false,
            ..sized(20 << 20, "x-3")
        };
        let layout = PartLayout::even(20 << 20, 8 << 20);
        let plan = plan(&encrypted, Some(layout), CopyLimits::default()).unwrap();
        assert!(plan.parts.is_some() && !plan.keeps_etag);
    }

    #[test]
    fn whole_copies_have_their_own_limit() {
        let limits = CopyLimits {
            in_parts_bytes_max: 10,
            whole_bytes_max: 1 << 40,
            ..CopyLimits::default()
        };
        assert!(is_too_large(true, 11, limits));
        assert!(!is_too_large(false, 11, limits));
        assert!(is_too_large(false, SINGLE_COPY_BYTES_MAX + 1, limits));
    }

    /// Sizes of every magnitude, with the largest and the smallest.
    fn any_bytes() -> impl Strategy<Value = u64> {
        prop_oneof![
            0..=1_u64 << 20,
            0..=1_u64 << 36,
            0..=OBJECT_BYTES_MAX,
            Just(OBJECT_BYTES_MAX),
        ]
    }

    proptest! {
        #[test]
        fn every_plan_is_within_s3s_limits_and_covers_the_object(
            bytes in any_bytes(),
            parts in proptest::option::of(1..=PARTS_MAX),
            sizes in proptest::option::of(proptest::collection::vec(0..=PART_BYTES_MAX + 1, 1..5)),
            part_bytes in 0..=PART_BYTES_MAX * 2,
        ) {
            let etag = parts.map_or("x".to_owned(), |n| format!("x-{n}"));
            let limits = CopyLimits { part_bytes, ..CopyLimits::default() };
            let layout = sizes.map(PartLayout::of_sizes);
            let plan = plan(&sized(bytes, &etag), layout, limits).unwrap();
            match plan.parts {
                Some(layout) => prop_assert!(layout.is_possible_for(bytes)),
                None => prop_assert!(bytes <= SINGLE_COPY_BYTES_MAX),
            }
        }

        #[test]
        fn an_object_that_s3_could_have_made_is_copied_in_its_own_parts(
            sizes in proptest::collection::vec(PART_BYTES_MIN..=PART_BYTES_MAX, 0..40),
            last in 1..=PART_BYTES_MAX,
        ) {
            let layout = PartLayout::of_sizes(sizes.iter().copied().chain([last]));
            let source = sized(layout.bytes(), &format!("x-{}", layout.count()));
            let plan = plan(&source, Some(layout.clone()), CopyLimits::default()).unwrap();
            prop_assert_eq!(plan, CopyPlan { parts: Some(layout), keeps_etag: true });
        }
    }

    #[test]
    fn more_than_s3_can_hold_is_refused() {
        let bytes = OBJECT_BYTES_MAX + 1;
        assert_eq!(
            plan(&sized(bytes, "x"), None, CopyLimits::default()),
            Err(TooLarge(bytes))
        );
    }
}
