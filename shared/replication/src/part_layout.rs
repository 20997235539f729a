//! The boundaries of an object's parts, as runs of equal ones. No I/O.
//!
//! S3's limits (S3 user guide, "Amazon S3 multipart upload limits"): 1 to 10,000 parts; each 5 MiB to
//! 5 GiB, the last may be smaller; the largest object has 48.8 TiB.

use serde::{Deserialize, Serialize};

/// S3's limit on the number of parts.
pub const PARTS_MAX: u32 = 10_000;
/// S3's lower limit on a part's size, except for the last part: 5 MiB.
pub const PART_BYTES_MIN: u64 = 5 << 20;
/// S3's upper limit on a part's size: 5 GiB.
pub const PART_BYTES_MAX: u64 = 5 << 30;
/// The largest object: 10,000 parts of 5 GiB.
pub const OBJECT_BYTES_MAX: u64 = PARTS_MAX as u64 * PART_BYTES_MAX;

/// How an object is cut into parts: runs of parts of one size. Most objects have two runs, the second
/// being the last part.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Vec<Run>", try_from = "Vec<Run>")]
pub struct PartLayout {
    runs: Vec<Run>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Run {
    part_bytes: u64,
    parts: u32,
}

/// The error for runs that are not a layout: more parts than S3 allows, or larger ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no object can have these parts")]
pub struct Impossible;

impl From<PartLayout> for Vec<Run> {
    fn from(layout: PartLayout) -> Self {
        layout.runs
    }
}

impl TryFrom<Vec<Run>> for PartLayout {
    type Error = Impossible;

    fn try_from(runs: Vec<Run>) -> Result<Self, Impossible> {
        let layout = Self { runs };
        if layout.count() <= PARTS_MAX && layout.part_bytes_max() <= PART_BYTES_MAX {
            Ok(layout)
        } else {
            Err(Impossible)
        }
    }
}

/// One part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 1.
    pub number: u32,
    /// Its first byte.
    pub first: u64,
    /// Its last byte, inclusive as in a range header.
    pub last: u64,
    /// Whether it is the object's only part.
    pub is_only: bool,
}

impl PartLayout {
    /// Creates a layout of parts of `part_bytes` each. The last part has the rest. There is at least one part.
    pub fn even(bytes: u64, part_bytes: u64) -> Self {
        let whole = u32::try_from(bytes / part_bytes).unwrap_or(u32::MAX);
        let rest = bytes % part_bytes;
        let mut layout = Self { runs: Vec::new() };
        layout.push(part_bytes, whole);
        if rest > 0 || whole == 0 {
            layout.push(rest, 1);
        }
        layout
    }

    /// Creates a layout of parts with these sizes.
    pub fn of_sizes(sizes: impl IntoIterator<Item = u64>) -> Self {
        let mut layout = Self { runs: Vec::new() };
        for part_bytes in sizes {
            layout.push(part_bytes, 1);
        }
        layout
    }

    fn push(&mut self, part_bytes: u64, parts: u32) {
        if parts == 0 {
            return;
        }
        match self.runs.last_mut() {
            Some(run) if run.part_bytes == part_bytes => {
                run.parts = run.parts.saturating_add(parts);
            }
            _ => self.runs.push(Run { part_bytes, parts }),
        }
    }

    /// Returns how many parts there are.
    pub fn count(&self) -> u32 {
        let parts = self.runs.iter().map(|run| run.parts);
        parts.fold(0, u32::saturating_add)
    }

    /// Returns how many bytes the parts have together.
    pub fn bytes(&self) -> u64 {
        self.runs.iter().fold(0, |sum: u64, run| {
            sum.saturating_add(run.part_bytes.saturating_mul(u64::from(run.parts)))
        })
    }

    /// Returns the size of the largest part.
    pub fn part_bytes_max(&self) -> u64 {
        let sizes = self.runs.iter().map(|run| run.part_bytes);
        sizes.max().unwrap_or_default()
    }

    /// Returns all parts, in order.
    pub fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        let sizes = self
            .runs
            .iter()
            .flat_map(|run| (0..run.parts).map(|_| run.part_bytes));
        let is_only = self.count() == 1;
        sizes.zip(1..).scan(0, move |next, (part_bytes, number)| {
            let first: u64 = *next;
            *next += part_bytes;
            Some(Part {
                number,
                first,
                last: next.saturating_sub(1),
                is_only,
            })
        })
    }

    /// Returns whether S3 accepts an upload in these parts, and its object has `bytes`.
    pub fn is_possible_for(&self, bytes: u64) -> bool {
        let last = self.count();
        (1..=PARTS_MAX).contains(&last)
            && self.bytes() == bytes
            && self.part_bytes_max() <= PART_BYTES_MAX
            && self.parts().all(|part| {
                let part_bytes = part.bytes();
                part_bytes > 0 && (part.number == last || part_bytes >= PART_BYTES_MIN)
            })
    }
}

impl Part {
    /// Returns how many bytes the part has.
    pub fn bytes(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn most_layouts_are_two_runs() {
        let layout = PartLayout::even(20 << 20, 8 << 20);
        let sizes = [8 << 20, 8 << 20, 4 << 20];
        assert_eq!(layout, PartLayout::of_sizes(sizes));
        assert_eq!(layout.runs.len(), 2);
        let json = serde_json::to_string(&layout).unwrap();
        assert_eq!(serde_json::from_str::<PartLayout>(&json).unwrap(), layout);
        let endless = r#"[{"part_bytes": 1, "parts": 4294967295}]"#;
        assert!(serde_json::from_str::<PartLayout>(endless).is_err());
    }

    #[test]
    fn layouts_beyond_s3s_limits_are_not_possible() {
        let possible = |sizes: &[u64]| {
            PartLayout::of_sizes(sizes.iter().copied()).is_possible_for(sizes.iter().sum())
        };
        assert!(possible(&[1]));
        assert!(possible(&[PART_BYTES_MIN, 1]));
        assert!(possible(&[PART_BYTES_MIN, PART_BYTES_MAX, 7 << 20, 1]));
        assert!(!possible(&[]));
        assert!(!possible(&[PART_BYTES_MIN - 1, 1]));
        assert!(!possible(&[PART_BYTES_MAX + 1]));
        assert!(!PartLayout::even(3, 1).is_possible_for(4));
    }

    proptest! {
        #[test]
        fn parts_follow_each_other_and_cover_the_object(
            sizes in proptest::collection::vec(1..=PART_BYTES_MAX, 1..60),
        ) {
            let layout = PartLayout::of_sizes(sizes.iter().copied());
            prop_assert_eq!(layout.bytes(), sizes.iter().sum::<u64>());
            prop_assert_eq!(usize::try_from(layout.count()).unwrap(), sizes.len());
            let mut next = 0;
            for (part, (number, size)) in layout.parts().zip((1..).zip(sizes)) {
                prop_assert_eq!(part.number, number);
                prop_assert_eq!(part.first, next);
                prop_assert_eq!(part.bytes(), size);
                next = part.last + 1;
            }
        }
    }
}
