//! Counts what a backfill would find and do, for each choice of `--overwrite`. Keeps counts and a few
//! examples in memory, whatever the size of the buckets. No I/O.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::Serialize;

use crate::compare::{Listed, Verdict};
use crate::contract::Overwrite;

/// Keys on a page of a listing, S3's own limit.
pub const PAGE_KEYS: u64 = 1000;

/// The largest object that S3 copies with one request, 5 GiB.
pub const SINGLE_COPY_BYTES_MAX: u64 = 5 << 30;

/// The default of the stack's `TransferBytesMin`: an object in parts of at least this size is a transfer.
pub const TRANSFER_BYTES_MIN: u64 = 8 << 30;

/// The default of the stack's `PartBytes`.
const PART_BYTES: u64 = 64 << 20;

/// The most parts that S3 accepts for an object.
const PARTS_MAX: u64 = 10_000;

/// The smallest size that S3 bills for an object in a class of infrequent access.
const BILLED_BYTES_MIN: u64 = 128 << 10;

/// Classes whose objects cannot be copied before they are restored.
const ARCHIVES: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Volume {
    pub objects: u64,
    pub bytes: u64,
}

impl Volume {
    fn add(&mut self, listed: &Listed) {
        self.objects += 1;
        self.bytes += listed.size;
    }
}

/// Objects to copy, of one storage class of the source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ClassLoad {
    pub objects: u64,
    pub bytes: u64,
    /// The sum of sizes as classes of infrequent access bill them.
    #[serde(skip)]
    pub billed_bytes: u64,
    /// The number of objects that are copied in parts, and of these parts.
    pub in_parts: u64,
    pub parts: u64,
    /// Objects in parts that are so large that many invocations copy them.
    pub transfers: u64,
    pub transfer_bytes: u64,
}

impl AddAssign for ClassLoad {
    fn add_assign(&mut self, other: Self) {
        self.objects += other.objects;
        self.bytes += other.bytes;
        self.billed_bytes += other.billed_bytes;
        self.in_parts += other.in_parts;
        self.parts += other.parts;
        self.transfers += other.transfers;
        self.transfer_bytes += other.transfer_bytes;
    }
}

impl ClassLoad {
    fn of(listed: &Listed) -> Self {
        let parts = parts(listed);
        let is_transfer = parts > 1 && listed.size >= TRANSFER_BYTES_MIN;
        Self {
            objects: 1,
            bytes: listed.size,
            billed_bytes: listed.size.max(BILLED_BYTES_MIN),
            in_parts: u64::from(parts > 0),
            parts,
            transfers: u64::from(is_transfer),
            transfer_bytes: if is_transfer { listed.size } else { 0 },
        }
    }
}

/// Returns the number of parts in which an object is copied; 0 if one request copies it.
fn parts(listed: &Listed) -> u64 {
    let named = listed
        .etag
        .rsplit_once('-')
        .and_then(|(_, parts)| parts.parse().ok());
    match named {
        Some(parts @ 1..=PARTS_MAX) => parts,
        _ if listed.size > SINGLE_COPY_BYTES_MAX => listed.size.div_ceil(PART_BYTES).min(PARTS_MAX),
        _ => 0,
    }
}

/// Objects to copy, by their storage class at the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Load {
    pub classes: BTreeMap<String, ClassLoad>,
}

impl Load {
    fn add(&mut self, listed: &Listed) {
        // Most objects have a class that is in the map already.
        if let Some(class) = self.classes.get_mut(&listed.storage_class) {
            *class += ClassLoad::of(listed);
        } else {
            let class = listed.storage_class.clone();
            self.classes.insert(class, ClassLoad::of(listed));
        }
    }

    pub fn total(&self) -> ClassLoad {
        let mut total = ClassLoad::default();
        for class in self.classes.values() {
            total += *class;
        }
        total
    }

    fn and(mut self, other: &Self) -> Self {
        for (class, load) in &other.classes {
            *self.classes.entry(class.clone()).or_default() += *load;
        }
        self
    }
}

/// Which of two objects of one key was written later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Newer {
    Source,
    Destination,
    /// Written in the same second, or a listing does not show the time.
    Neither,
}

impl Newer {
    fn of(source: &Listed, destination: &Listed) -> Self {
        match (source.modified_at, destination.modified_at) {
            (Some(source), Some(destination)) if destination < source => Self::Source,
            (Some(source), Some(destination)) if source < destination => Self::Destination,
            _ => Self::Neither,
        }
    }
}

/// A key under which the destination has a different object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    pub source: Listed,
    pub destination: Listed,
    pub newer: Newer,
}

/// What was found, and what would be copied.
#[derive(Debug, Clone)]
pub struct Survey {
    pub source: Volume,
    pub destination: Volume,
    pub equal: Volume,
    /// At the source only, and can be copied.
    pub missing: Load,
    /// The destination has a different object under the key, and it is older.
    pub older: Load,
    /// The destination has a different object under the key, and it is not older.
    pub not_older: Load,
    pub extra: Volume,
    /// Missing or different, and archived: cannot be copied before they are restored.
    pub archived: Volume,
    pub examples: Vec<Example>,
    pub examples_left_out: u64,
    examples_max: usize,
    pages: Pages,
}

impl Survey {
    pub fn new(examples_max: usize) -> Self {
        Self {
            source: Volume::default(),
            destination: Volume::default(),
            equal: Volume::default(),
            missing: Load::default(),
            older: Load::default(),
            not_older: Load::default(),
            extra: Volume::default(),
            archived: Volume::default(),
            examples: Vec::new(),
            examples_left_out: 0,
            examples_max,
            pages: Pages::default(),
        }
    }

    /// Counts one key. A key that was not compared counts as different.
    pub fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Same {
                source,
                destination,
            } => {
                self.source.add(&source);
                self.destination.add(&destination);
                self.equal.add(&source);
                self.pages.pass(None);
            }
            Verdict::Extra(destination) => {
                self.destination.add(&destination);
                self.extra.add(&destination);
            }
            Verdict::Missing(source) => {
                self.source.add(&source);
                if self.copyable(&source) {
                    self.missing.add(&source);
                    self.pages.pass(Some(Overwrite::Never));
                }
            }
            Verdict::Different {
                source,
                destination,
                ..
            }
            | Verdict::NotCompared {
                source,
                destination,
                ..
            }
            | Verdict::AskReplica {
                source,
                destination,
            } => self.add_different(source, destination),
        }
    }

    fn add_different(&mut self, source: Listed, destination: Listed) {
        self.source.add(&source);
        self.destination.add(&destination);
        let newer = Newer::of(&source, &destination);
        if self.copyable(&source) {
            let (load, least) = match newer {
                Newer::Source => (&mut self.older, Overwrite::IfOlder),
                _ => (&mut self.not_older, Overwrite::Always),
            };
            load.add(&source);
            self.pages.pass(Some(least));
        }
        if self.examples.len() < self.examples_max {
            self.examples.push(Example {
                source,
                destination,
                newer,
            });
        } else {
            self.examples_left_out += 1;
        }
    }

    /// Returns whether an object can be copied; counts it as archived if not.
    fn copyable(&mut self, source: &Listed) -> bool {
        let is_archived = ARCHIVES.contains(&source.storage_class.as_str());
        if is_archived {
            self.archived.add(source);
            self.pages.pass(None);
        }
        !is_archived
    }

    /// Returns what is copied with this choice of `--overwrite`.
    pub fn load(&self, overwrite: Overwrite) -> Load {
        let missing = self.missing.clone();
        match overwrite {
            Overwrite::Never => missing,
            Overwrite::IfOlder => missing.and(&self.older),
            Overwrite::Always => missing.and(&self.older).and(&self.not_older),
        }
    }

    /// At the source only, and can be copied.
    pub fn missing_objects(&self) -> u64 {
        self.missing.total().objects
    }

    /// Returns how many objects at the destination are replaced.
    pub fn replaced(&self, overwrite: Overwrite) -> u64 {
        self.load(overwrite).total().objects - self.missing_objects()
    }

    /// Returns how many keys have a different object at the destination, without those whose source is archived.
    pub fn different(&self) -> u64 {
        self.replaced(Overwrite::Always)
    }

    /// Returns how many pages of the source's listing have copies, and so are listed again.
    pub fn pages_with_copies(&self, overwrite: Overwrite) -> u64 {
        self.pages.with_copies(overwrite)
    }
}

/// Pages of the source's listing with copies, by the most careful `--overwrite` that copies an object of the page.
#[derive(Debug, Clone, Default)]
struct Pages {
    keys: u64,
    least: Option<Overwrite>,
    done: [u64; 3],
}

impl Pages {
    /// Adds another key of the source; `least` is the most careful `--overwrite` that copies it.
    fn pass(&mut self, least: Option<Overwrite>) {
        self.least = self.least.into_iter().chain(least).min();
        self.keys += 1;
        if self.keys.is_multiple_of(PAGE_KEYS)
            && let Some(least) = self.least.take()
        {
            self.done[least as usize] += 1;
        }
    }

    fn with_copies(&self, overwrite: Overwrite) -> u64 {
        let done: u64 = self.done[..=overwrite as usize].iter().sum();
        done + u64::from(self.least.is_some_and(|least| least <= overwrite))
    }
}

#[cfg(test)]
pub mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;

    pub fn object(key: &str, size: u64, etag: &str, class: &str, at: i64) -> Listed {
        Listed {
            key: key.to_owned(),
            size,
            etag: etag.to_owned(),
            modified_at: DateTime::from_timestamp(1_800_000_000 + at, 0),
            storage_class: class.to_owned(),
        }
    }

    pub fn different(source: Listed, destination: Listed) -> Verdict {
        Verdict::Different {
            source,
            destination,
            by: Vec::new(),
        }
    }

    fn plain(key: &str, at: i64) -> Listed {
        object(key, 10, "e", "STANDARD", at)
    }

    #[test]
    fn each_overwrite_mode_replaces_what_it_should() {
        let mut survey = Survey::new(2);
        survey.add(Verdict::Missing(plain("a", 0)));
        survey.add(different(plain("b", 5), plain("b", 4)));
        survey.add(different(plain("c", 5), plain("c", 5)));
        survey.add(different(plain("d", 5), plain("d", 6)));
        survey.add(Verdict::Same {
            source: plain("e", 0),
            destination: plain("e", 1),
        });
        survey.add(Verdict::Extra(plain("f", 0)));
        let copies = |way| survey.load(way).total().objects;
        assert_eq!(
            [Overwrite::Never, Overwrite::IfOlder, Overwrite::Always].map(copies),
            [1, 2, 4]
        );
        assert_eq!(survey.replaced(Overwrite::IfOlder), 1);
        assert_eq!((survey.different(), survey.examples_left_out), (3, 1));
        let newer: Vec<_> = survey.examples.iter().map(|found| found.newer).collect();
        assert_eq!(newer, [Newer::Source, Newer::Neither]);
        assert_eq!((survey.source.objects, survey.destination.objects), (5, 5));
        assert_eq!((survey.equal.objects, survey.extra.objects), (1, 1));
    }

    #[test]
    fn archived_objects_are_counted_and_not_copied() {
        let mut survey = Survey::new(9);
        survey.add(Verdict::Missing(object("a", 7, "e", "GLACIER", 0)));
        survey.add(different(
            object("b", 8, "e", "DEEP_ARCHIVE", 5),
            plain("b", 0),
        ));
        survey.add(Verdict::Missing(object("c", 9, "e", "GLACIER_IR", 0)));
        assert_eq!((survey.archived.objects, survey.archived.bytes), (2, 15));
        assert_eq!(survey.load(Overwrite::Always).total().bytes, 9);
        assert_eq!(survey.pages_with_copies(Overwrite::Always), 1);
    }

    #[test]
    fn the_etag_or_the_size_gives_the_number_of_parts() {
        let of = |size, etag: &str| ClassLoad::of(&object("a", size, etag, "STANDARD", 0));
        let whole = of(5 << 30, "9a0364b9");
        assert_eq!((whole.in_parts, whole.parts), (0, 0));
        let small = of(20 << 20, "9a0364b9-3");
        assert_eq!((small.in_parts, small.parts, small.transfers), (1, 3, 0));
        let unnamed = of((5 << 30) + 1, "9a0364b9");
        assert_eq!((unnamed.in_parts, unnamed.parts), (1, 81));
        let large = of(8 << 30, "9a0364b9-1024");
        assert_eq!((large.transfers, large.transfer_bytes), (1, 8 << 30));
        assert_eq!(of(1, "odd-etag").parts, 0);
        assert_eq!(of(1, "odd-20000").parts, 0);
    }

    #[test]
    fn pages_are_read_again_only_where_something_was_copied() {
        let mut survey = Survey::new(0);
        for page in 0..4 {
            for key in 0..PAGE_KEYS {
                let name = format!("{page}/{key:04}");
                survey.add(match (page, key) {
                    (1, 500) => Verdict::Missing(plain(&name, 0)),
                    (2, 0) => different(plain(&name, 1), plain(&name, 0)),
                    (2, 999) => different(plain(&name, 0), plain(&name, 1)),
                    _ => Verdict::Same {
                        source: plain(&name, 0),
                        destination: plain(&name, 0),
                    },
                });
            }
        }
        survey.add(different(plain("9", 0), plain("9", 1)));
        let pages = |way| survey.pages_with_copies(way);
        assert_eq!(
            [Overwrite::Never, Overwrite::IfOlder, Overwrite::Always].map(pages),
            [1, 2, 3]
        );
    }

    fn verdict() -> impl Strategy<Value = Verdict> {
        let listed = || {
            (0_u64..10 << 30, "[ab](-[1-9])?", 0_usize..3, 0_i64..3).prop_map(
                |(size, etag, class, at)| {
                    let class = ["STANDARD", "GLACIER", "STANDARD_IA"][class];
                    object("k", size, &etag, class, at)
                },
            )
        };
        (0_u8..4, listed(), listed()).prop_map(|(kind, source, destination)| match kind {
            0 => Verdict::Missing(source),
            1 => Verdict::Extra(destination),
            2 => Verdict::Same {
                source,
                destination,
            },
            _ => different(source, destination),
        })
    }

    proptest! {
        #[test]
        fn every_object_of_the_source_is_counted_once(verdicts in proptest::collection::vec(verdict(), 0..60)) {
            let mut survey = Survey::new(3);
            for verdict in verdicts {
                survey.add(verdict);
            }
            let all = survey.load(Overwrite::Always).total();
            let counted = survey.equal.objects + survey.archived.objects + all.objects;
            prop_assert_eq!(counted, survey.source.objects);
            let bytes = survey.equal.bytes + survey.archived.bytes + all.bytes;
            prop_assert_eq!(bytes, survey.source.bytes);
            let ways = [Overwrite::Never, Overwrite::IfOlder, Overwrite::Always];
            prop_assert!(ways.map(|way| survey.load(way).total().objects).is_sorted());
            prop_assert!(ways.map(|way| survey.pages_with_copies(way)).is_sorted());
        }
    }
}
