//! What a backfill will cost and how long it will take, from what it has to do. No I/O.
//!
//! The assumptions are the constants of this module; what they are is said with every estimate.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::prices::{ForClass, Prices, STANDARD, Service};
use crate::survey::{ClassLoad, Load, PAGE_KEYS};

/// Requests of an object in parts besides its parts: those that write (create, complete), billed as
/// the part copies are, and those that look at both sides and at the parts.
const WRITES_IN_PARTS: u64 = 2;
const READS_IN_PARTS: u64 = 8;

/// Looks at both sides for an object that differs from another of its name.
const READS_DIFFERENT: u64 = 2;

/// Listings more for shards that are cut while they run.
const SPLIT_SHARE: f64 = 0.02;

/// Objects that one invocation copies at once.
const OBJECTS_AT_ONCE: f64 = 32.0;

/// A small object's copy from region to region.
pub const COPY_SECS: f64 = 0.2;

/// One copy's throughput from region to region.
pub const COPY_BYTES_PER_SEC: f64 = 50.0 * 1024.0 * 1024.0;

/// One page of a listing.
const LIST_SECS: f64 = 0.2;

/// Cutting the key space, and the first invocations' start.
const PLAN_SECS: f64 = 5.0;

/// Writes a second that S3 takes under one prefix.
pub const WRITES_PER_SEC_MAX: f64 = 3500.0;

/// Parts that one invocation copies at once, and `TransferConcurrency` of the stack by default.
const PARTS_AT_ONCE: f64 = 16.0;
const RANGES_AT_ONCE: f64 = 16.0;

/// `RangeBytes` of the stack by default.
const RANGE_BYTES: u64 = 4 << 30;

/// What an invocation has before it hands the rest on: 15 minutes less 2.
const INVOCATION_SECS: f64 = 780.0;

/// Memory of `backfill-shard` and of `copy-parts`.
const SHARD_GB: f64 = 0.5;
const RANGE_GB: f64 = 0.25;

/// A message is sent, received and deleted.
const REQUESTS_PER_MESSAGE: f64 = 3.0;

/// Of the table, for a page of a shard, an object in parts, a transfer.
const READS_PER_PAGE: f64 = 3.0;
const WRITES_PER_PAGE: f64 = 1.0;
const WRITES_PER_UPLOAD: f64 = 3.0;
const WRITES_PER_TRANSFER: f64 = 3.0;

/// Bytes of a GB as AWS bills it.
const GB: f64 = 1024.0 * 1024.0 * 1024.0;

/// What an archived object is billed for besides its bytes: in its class, and as `STANDARD`.
const ARCHIVED_EXTRA_BYTES: f64 = 32.0 * 1024.0;
const ARCHIVED_NAME_BYTES: f64 = 8.0 * 1024.0;

/// What a backfill has to do, where, and with which of the rule's options.
#[derive(Debug, Clone)]
pub struct Work {
    pub source_region: String,
    pub destination_region: String,
    /// Keys that are listed on each side, in so many prefixes.
    pub source_keys: u64,
    pub destination_keys: u64,
    pub prefixes: u64,
    /// Pages that are listed again, because something of them was copied.
    pub pages_with_copies: u64,
    /// Objects whose name another one has at the destination, whatever becomes of it.
    pub different: u64,
    pub load: Load,
    /// The replicas' storage class, where it is not their source's.
    pub storage_class: Option<String>,
    /// Looks at an object that is copied whole, as some options need.
    pub reads_per_copy: u64,
    /// Shards at once.
    pub concurrency: u64,
    pub objects_per_sec: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    pub lines: Vec<Line>,
    pub usd: f64,
    /// Storage of what is added, each month from then on.
    pub storage_usd_per_month: f64,
    pub secs: f64,
    /// What is not known and what was taken instead.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    pub what: String,
    pub quantity: f64,
    pub unit: &'static str,
    pub usd: f64,
}

/// Requests of S3, by the class they are billed in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Requests {
    lists: u64,
    copies: BTreeMap<String, u64>,
    reads: BTreeMap<String, u64>,
}

/// The cost in USD and the time of `work`.
pub fn estimate(work: &Work, prices: &Prices) -> Estimate {
    let secs = Seconds::of(work);
    let mut lines = requests_lines(work, prices);
    lines.extend(bytes_lines(work, prices));
    lines.extend(service_lines(work, &secs, prices));
    lines.retain(|line| line.quantity > 0.0);
    Estimate {
        usd: lines.iter().map(|line| line.usd).sum(),
        storage_usd_per_month: storage(work, prices),
        secs: secs.whole,
        notes: notes(work, prices),
        lines,
    }
}

/// What the numbers rest on, to be shown with them.
pub fn assumptions(work: &Work) -> String {
    let limit = work
        .objects_per_sec
        .map(|limit| format!(", at most {limit} objects a second"))
        .unwrap_or_default();
    format!(
        "{} shards at once, {OBJECTS_AT_ONCE} copies at once each, {COPY_SECS} s a copy and \
         {} MiB/s within it, {WRITES_PER_SEC_MAX} writes a second at most{limit}",
        work.concurrency,
        COPY_BYTES_PER_SEC / (1024.0 * 1024.0),
    )
}

impl Work {
    /// The class that replicas of this class of the source have.
    fn class_of<'a>(&'a self, source_class: &'a str) -> &'a str {
        self.storage_class.as_deref().unwrap_or(source_class)
    }

    fn source_pages(&self) -> u64 {
        self.source_keys.div_ceil(PAGE_KEYS).max(self.prefixes)
    }

    fn ranges(&self) -> u64 {
        let total = self.load.total();
        total
            .transfer_bytes
            .div_ceil(RANGE_BYTES)
            .max(total.transfers)
    }

    fn requests(&self) -> Requests {
        let pages = self.source_pages();
        let destination_pages = self.destination_keys.div_ceil(PAGE_KEYS).max(pages);
        let listed = pages + destination_pages + self.pages_with_copies;
        let mut requests = Requests {
            lists: with_splits(listed),
            ..Requests::default()
        };
        for (source_class, load) in &self.load.classes {
            let class = self.class_of(source_class);
            let whole = load.objects - load.in_parts;
            let written = |requests: &mut Requests, class: &str, copies| {
                *requests.copies.entry(class.to_owned()).or_default() += copies;
            };
            if is_archive(class) {
                // An archive takes parts in as STANDARD, and the object when it is complete.
                written(&mut requests, class, whole + load.in_parts);
                let parts = load.parts + load.in_parts * (WRITES_IN_PARTS - 1);
                written(&mut requests, STANDARD, parts);
            } else {
                let copies = whole + load.parts + load.in_parts * WRITES_IN_PARTS;
                written(&mut requests, class, copies);
            }
            let reads = load.in_parts * READS_IN_PARTS + whole * self.reads_per_copy;
            *requests.reads.entry(class.to_owned()).or_default() += reads;
        }
        *requests.reads.entry(STANDARD.to_owned()).or_default() += self.different * READS_DIFFERENT;
        requests
    }
}

fn is_archive(class: &str) -> bool {
    matches!(class, "GLACIER" | "DEEP_ARCHIVE")
}

fn with_splits(listed: u64) -> u64 {
    // Exact for fewer pages than any bucket has.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let more = (listed as f64 * SPLIT_SHARE).ceil() as u64;
    listed + more
}

fn requests_lines(work: &Work, prices: &Prices) -> Vec<Line> {
    let region = work.destination_region.as_str();
    let requests = work.requests();
    let line = |what: String, quantity: u64, usd: f64| Line {
        what,
        quantity: quantity as f64,
        unit: "requests",
        usd: quantity as f64 * usd,
    };
    // Both sides' listings, at the dearer side's price.
    let list = |region| prices.class(region, STANDARD, ForClass::Writes);
    let list = list(region).max(list(&work.source_region));
    let mut lines = vec![line("S3 LIST".to_owned(), requests.lists, list)];
    for (class, copies) in requests.copies {
        let usd = prices.class(region, &class, ForClass::Writes);
        lines.push(line(format!("S3 COPY {class}"), copies, usd));
    }
    for (class, reads) in requests.reads {
        let usd = prices.class(region, &class, ForClass::Reads);
        lines.push(line(format!("S3 HEAD {class}"), reads, usd));
    }
    lines
}

fn bytes_lines(work: &Work, prices: &Prices) -> Vec<Line> {
    let (source, destination) = (&work.source_region, &work.destination_region);
    let gb = work.load.total().bytes as f64 / GB;
    let (usd, _) = prices.transfer(source, destination);
    let mut lines = vec![Line {
        what: format!("transfer {source} -> {destination}"),
        quantity: gb,
        unit: "GB",
        usd: gb * usd,
    }];
    for (class, load) in &work.load.classes {
        let usd = prices.class(source, class, ForClass::RetrievedGb);
        let gb = load.bytes as f64 / GB;
        if usd > 0.0 {
            lines.push(Line {
                what: format!("S3 retrieval {class}"),
                quantity: gb,
                unit: "GB",
                usd: gb * usd,
            });
        }
    }
    lines
}

fn service_lines(work: &Work, secs: &Seconds, prices: &Prices) -> Vec<Line> {
    let region = work.source_region.as_str();
    let total = work.load.total();
    let shard_invocations = (secs.shards / INVOCATION_SECS).ceil() + work.concurrency as f64;
    let ranges = work.ranges() as f64;
    let invocations = 1.0 + shard_invocations + ranges;
    let gb_seconds = secs.shards * SHARD_GB + secs.ranges * RANGE_GB;
    let pages = work.source_pages() as f64;
    let uploads = total.in_parts as f64 * WRITES_PER_UPLOAD;
    let writes =
        pages * WRITES_PER_PAGE + uploads + total.transfers as f64 * WRITES_PER_TRANSFER + ranges;
    let reads = pages * READS_PER_PAGE + ranges;
    let messages = (shard_invocations + ranges) * REQUESTS_PER_MESSAGE;
    [
        ("Lambda", invocations, "requests", Service::LambdaRequests),
        (
            "Lambda arm64",
            gb_seconds,
            "GB-seconds",
            Service::LambdaGbSeconds,
        ),
        ("SQS", messages, "requests", Service::SqsRequests),
        ("DynamoDB", writes, "writes", Service::DynamodbWrites),
        ("DynamoDB", reads, "reads", Service::DynamodbReads),
    ]
    .map(|(what, quantity, unit, service)| Line {
        what: what.to_owned(),
        quantity,
        unit,
        usd: quantity * prices.service(region, service),
    })
    .into()
}

/// What is copied, as it is billed by the month. What it replaces is not taken off: its class at the
/// destination may be another.
fn storage(work: &Work, prices: &Prices) -> f64 {
    let region = work.destination_region.as_str();
    let price = |class: &str| prices.class(region, class, ForClass::StoredGbMonths);
    let of_class = |class: &str, load: &ClassLoad| {
        let objects = load.objects as f64;
        match class {
            "STANDARD_IA" | "ONEZONE_IA" | "GLACIER_IR" => load.billed_bytes as f64 * price(class),
            "GLACIER" | "DEEP_ARCHIVE" => {
                let bytes = load.bytes as f64 + objects * ARCHIVED_EXTRA_BYTES;
                bytes * price(class) + objects * ARCHIVED_NAME_BYTES * price(STANDARD)
            }
            _ => load.bytes as f64 * price(class),
        }
    };
    let classes = work.load.classes.iter();
    let usd: f64 = classes
        .map(|(class, load)| of_class(work.class_of(class), load))
        .sum();
    usd / GB
}

fn notes(work: &Work, prices: &Prices) -> Vec<String> {
    let (source, destination) = (&work.source_region, &work.destination_region);
    let mut notes = Vec::new();
    for region in [source, destination] {
        if !prices.knows_region(region) {
            notes.push(format!(
                "the price table does not know {region}; it is taken to cost what {} does",
                prices.default_region()
            ));
        }
    }
    let (usd, is_known) = prices.transfer(source, destination);
    if !is_known {
        notes.push(format!(
            "the price table does not know transfer from {source} to {destination}; \
             its default, {usd} USD a GB, is taken"
        ));
    }
    notes
}

/// How long the job takes, and how long all its invocations together.
#[derive(Debug, Clone, Copy)]
struct Seconds {
    whole: f64,
    shards: f64,
    ranges: f64,
}

impl Seconds {
    fn of(work: &Work) -> Self {
        let total = work.load.total();
        let small = (total.objects - total.transfers) as f64;
        let bytes = (total.bytes - total.transfer_bytes) as f64;
        let shards_at_once = work.concurrency.max(1) as f64;
        let listing = (work.source_pages() * 2 + work.pages_with_copies) as f64 * LIST_SECS;
        let looking = work.different as f64 * COPY_SECS;
        let copying = small * COPY_SECS + bytes / COPY_BYTES_PER_SEC + looking;
        let busy = listing + copying / OBJECTS_AT_ONCE;
        let rate = work
            .objects_per_sec
            .map_or(WRITES_PER_SEC_MAX, |limit| limit.min(WRITES_PER_SEC_MAX));
        let shards_whole = (busy / shards_at_once).max(small / rate);
        let ranges = total.transfer_bytes as f64 / (COPY_BYTES_PER_SEC * PARTS_AT_ONCE);
        let ranges_at_once = RANGES_AT_ONCE.min(work.ranges().max(1) as f64);
        Self {
            whole: PLAN_SECS + shards_whole.max(ranges / ranges_at_once),
            // A shard that has to wait for its rate is paid for all the same.
            shards: busy.max(shards_whole.min(small / rate) * shards_at_once),
            ranges,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::prices::TABLE;
    use crate::prices::tests::prices;

    fn load(class: &str, load: ClassLoad) -> Load {
        Load {
            classes: [(class.to_owned(), load)].into(),
        }
    }

    fn whole(objects: u64, bytes: u64) -> ClassLoad {
        ClassLoad {
            objects,
            bytes,
            billed_bytes: bytes.max(objects * (128 << 10)),
            ..ClassLoad::default()
        }
    }

    fn work(load: Load) -> Work {
        let objects = load.total().objects;
        Work {
            source_region: "us-east-1".into(),
            destination_region: "us-west-2".into(),
            source_keys: objects,
            destination_keys: 0,
            prefixes: 1,
            pages_with_copies: objects.div_ceil(PAGE_KEYS),
            different: 0,
            load,
            storage_class: None,
            reads_per_copy: 0,
            concurrency: 16,
            objects_per_sec: None,
        }
    }

    fn line<'a>(estimate: &'a Estimate, what: &str) -> &'a Line {
        let found = estimate.lines.iter().find(|line| line.what == what);
        found.unwrap_or_else(|| panic!("no {what} in {estimate:?}"))
    }

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9 * right.abs().max(1.0)
    }

    #[test]
    fn a_million_small_objects_cost_a_copy_each_and_three_lists_a_thousand() {
        let estimate = estimate(
            &work(load("STANDARD", whole(1_000_000, 10 << 30))),
            &prices(),
        );
        assert!(near(line(&estimate, "S3 COPY STANDARD").quantity, 1e6));
        assert!(near(line(&estimate, "S3 COPY STANDARD").usd, 5.0));
        assert!(near(line(&estimate, "S3 LIST").quantity, 3060.0));
        assert!(near(line(&estimate, "S3 LIST").usd, 0.0153));
        let transfer = line(&estimate, "transfer us-east-1 -> us-west-2");
        assert!(near(transfer.quantity, 10.0) && near(transfer.usd, 0.2));
        assert!(near(estimate.storage_usd_per_month, 0.23));
        assert!(estimate.notes.is_empty(), "{:?}", estimate.notes);
        // 6,250 s of copies, 600 s of lists, 16 at once: what S3 takes a second is less of a limit.
        assert!((400.0..500.0).contains(&estimate.secs), "{}", estimate.secs);
    }

    #[test]
    fn an_object_in_parts_costs_its_parts_and_ten_requests() {
        let parts = ClassLoad {
            in_parts: 1,
            parts: 100,
            ..whole(1, 1 << 30)
        };
        let estimate = estimate(&work(load("STANDARD", parts)), &prices());
        assert!(near(line(&estimate, "S3 COPY STANDARD").quantity, 102.0));
        assert!(near(line(&estimate, "S3 HEAD STANDARD").quantity, 8.0));
    }

    #[test]
    fn the_replicas_class_decides_what_requests_and_storage_cost() {
        let mut archive = work(load("STANDARD", whole(1000, 1000)));
        archive.storage_class = Some("DEEP_ARCHIVE".into());
        let parts = ClassLoad {
            in_parts: 1,
            parts: 9,
            ..whole(1, 1 << 30)
        };
        archive.load.classes.insert("STANDARD_IA".into(), parts);
        let estimate = estimate(&archive, &prices());
        let copies = line(&estimate, "S3 COPY DEEP_ARCHIVE");
        assert!(near(copies.quantity, 1001.0) && near(copies.usd, 0.05005));
        // Parts, and the request that begins them.
        assert!(near(line(&estimate, "S3 COPY STANDARD").quantity, 10.0));
        assert!(near(line(&estimate, "S3 retrieval STANDARD_IA").usd, 0.01));
    }

    #[test]
    fn small_objects_are_stored_as_large_as_their_class_bills_them() {
        let stored = |class| {
            let mut work = work(load("STANDARD", whole(8192, 8192)));
            work.storage_class = Some(class);
            estimate(&work, &prices()).storage_usd_per_month
        };
        assert!(near(stored("STANDARD_IA".to_owned()), 0.0125));
        assert!(stored("STANDARD".to_owned()) < 1e-6);
    }

    #[test]
    fn a_transfer_costs_its_ranges() {
        let large = ClassLoad {
            in_parts: 1,
            parts: 10_000,
            transfers: 1,
            transfer_bytes: 40 << 30,
            ..whole(1, 40 << 30)
        };
        let work = work(load("STANDARD", large));
        assert_eq!(work.ranges(), 10);
        let estimate = estimate(&work, &prices());
        // 10 ranges, each 16 parts at once at 50 MiB/s.
        assert!(
            (estimate.secs - PLAN_SECS - 5.12).abs() < 0.01,
            "{}",
            estimate.secs
        );
    }

    #[test]
    fn a_limit_makes_it_take_longer() {
        let mut limited = work(load("STANDARD", whole(1000, 1000)));
        limited.objects_per_sec = Some(10.0);
        let estimate = estimate(&limited, &prices());
        assert!(near(estimate.secs, PLAN_SECS + 100.0));
        assert!(line(&estimate, "Lambda arm64").quantity >= 100.0 * 16.0 * SHARD_GB - 1e-6);
        assert!(assumptions(&limited).contains("10 objects a second"));
    }

    #[test]
    fn what_the_table_does_not_know_is_said() {
        let mut work = work(load("STANDARD", whole(1, 1)));
        work.source_region = "mars-1".into();
        let notes = estimate(&work, &prices()).notes.join("\n");
        assert!(notes.contains("does not know mars-1"), "{notes}");
        assert!(notes.contains("from mars-1 to us-west-2"), "{notes}");
    }

    fn any_load() -> impl Strategy<Value = Load> {
        let class = (0_u64..1 << 30, 0_u64..1 << 40, 0_u64..1000, 1_u64..10_000).prop_map(
            |(objects, bytes, in_parts, parts)| {
                let in_parts = in_parts.min(objects);
                ClassLoad {
                    in_parts,
                    parts: in_parts * parts,
                    transfers: in_parts / 2,
                    transfer_bytes: if in_parts > 1 { bytes / 2 } else { 0 },
                    ..whole(objects, bytes)
                }
            },
        );
        proptest::collection::btree_map("STANDARD|STANDARD_IA|GLACIER_IR|ODD", class, 0..4)
            .prop_map(|classes| Load { classes })
    }

    proptest! {
        #[test]
        fn an_estimate_is_the_sum_of_its_lines_and_a_number(load in any_load(), concurrency in 1_u64..1000) {
            let work = Work { concurrency, ..work(load) };
            let estimate = estimate(&work, &prices());
            let sum: f64 = estimate.lines.iter().map(|line| line.usd).sum();
            prop_assert!(near(sum, estimate.usd));
            for number in [estimate.usd, estimate.secs, estimate.storage_usd_per_month] {
                prop_assert!(number.is_finite() && number >= 0.0, "{number}");
            }
        }

        #[test]
        fn more_to_do_never_costs_or_takes_less(load in any_load(), objects in 1_u64..1 << 20, bytes in 0_u64..1 << 40) {
            let less = estimate(&work(load.clone()), &prices());
            let mut more = load;
            *more.classes.entry(STANDARD.to_owned()).or_default() += whole(objects, bytes);
            let more = estimate(&work(more), &prices());
            prop_assert!(more.usd >= less.usd && more.secs >= less.secs);
            prop_assert!(more.storage_usd_per_month >= less.storage_usd_per_month);
        }

        #[test]
        fn more_shards_at_once_never_take_longer(load in any_load(), few in 1_u64..500, more in 0_u64..500) {
            let secs = |concurrency| {
                estimate(&Work { concurrency, ..work(load.clone()) }, &prices()).secs
            };
            prop_assert!(secs(few + more) <= secs(few));
        }

        #[test]
        fn nothing_to_copy_costs_no_copy_and_no_transfer(keys in 0_u64..1 << 40) {
            let mut idle = work(Load::default());
            (idle.source_keys, idle.destination_keys) = (keys, keys);
            let estimate = estimate(&idle, &prices());
            prop_assert!(!estimate.lines.iter().any(|line| line.what.contains("COPY") || line.unit == "GB"));
            prop_assert!(estimate.storage_usd_per_month.abs() < f64::EPSILON);
        }
    }

    #[test]
    fn a_table_of_ones_own_is_what_counts() {
        let dear = TABLE.replace("\"write_per_1000\": 0.005", "\"write_per_1000\": 50");
        let dear = Prices::parse(&dear).unwrap();
        let work = work(load("STANDARD", whole(1000, 0)));
        let copies = |prices| line(&estimate(&work, prices), "S3 COPY STANDARD").usd;
        assert!(near(copies(&dear), 50.0) && near(copies(&prices()), 0.005));
    }
}
