//! Estimates from its work what a backfill will cost and how long it will take. No I/O.
//!
//! The assumptions are the constants of this module and of `time`; the command prints the most important
//! ones with every estimate.

mod time;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::prices::{ForClass, Prices, STANDARD, Service};
use crate::survey::{ClassLoad, Load, PAGE_KEYS};

use self::time::Seconds;
pub use self::time::assumptions;

/// Requests for an object in parts besides its part copies: writes (create, complete), which are billed
/// like part copies, and reads of both sides and of the parts.
const WRITES_IN_PARTS: u64 = 2;
const READS_IN_PARTS: u64 = 8;

/// HEADs of both sides if the destination has a different object under the key.
const READS_DIFFERENT: u64 = 2;

/// The share of additional listings, for shards that are split while they run.
const SPLIT_SHARE: f64 = 0.02;

/// `RangeBytes` of the stack by default.
const RANGE_BYTES: u64 = 4 << 30;

/// The time that an invocation works before it hands on the rest: 15 minutes less 2.
const INVOCATION_SECS: f64 = 780.0;

/// Memory of `backfill-shard` and of `copy-parts`.
const SHARD_GB: f64 = 0.5;
const RANGE_GB: f64 = 0.25;

/// Each message is sent, received and deleted.
const REQUESTS_PER_MESSAGE: f64 = 3.0;

/// Requests to the table for a page of a shard, an object in parts, a transfer.
const READS_PER_PAGE: f64 = 3.0;
const WRITES_PER_PAGE: f64 = 2.0;
const WRITES_PER_UPLOAD: f64 = 3.0;
const WRITES_PER_TRANSFER: f64 = 3.0;

/// Bytes in a GB as AWS bills it.
const GB: f64 = 1024.0 * 1024.0 * 1024.0;

/// Bytes billed for an archived object besides its own: in its class, and as `STANDARD`.
const ARCHIVED_EXTRA_BYTES: f64 = 32.0 * 1024.0;
const ARCHIVED_NAME_BYTES: f64 = 8.0 * 1024.0;

/// The work of a backfill, its regions, and the options of the rule that matter for it.
#[derive(Debug, Clone)]
pub struct Work {
    pub source_region: String,
    pub destination_region: String,
    /// Keys that are listed on each side, in so many prefixes.
    pub source_keys: u64,
    pub destination_keys: u64,
    pub prefixes: u64,
    /// Pages that are listed again, because objects of them were copied.
    pub pages_with_copies: u64,
    /// Keys under which the destination has a different object, whether it is replaced or not.
    pub different: u64,
    pub load: Load,
    /// The replicas' storage class, if it is not their source's.
    pub storage_class: Option<String>,
    /// HEADs for an object that is copied whole; some options need them.
    pub reads_per_copy: u64,
    /// Shards at once.
    pub concurrency: u64,
    pub objects_per_sec: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    pub lines: Vec<Line>,
    pub usd: f64,
    /// Storage of the added objects, each month from then on.
    pub storage_usd_per_month: f64,
    pub secs: f64,
    /// Prices that are not known, and what the estimate uses instead.
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
    // The conversion is exact, because no bucket has so many pages.
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
    // The listings of both sides, at the price of the more expensive side.
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

/// Returns the monthly storage cost of the copies. The cost of the objects that they replace is not
/// subtracted, because their class at the destination may be another.
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
                "the price table does not know {region}; the prices of {} are used",
                prices.default_region()
            ));
        }
    }
    let (usd, is_known) = prices.transfer(source, destination);
    if !is_known {
        notes.push(format!(
            "the price table does not know transfer from {source} to {destination}; \
             its default is used, {usd} USD per GB"
        ));
    }
    notes
}

#[cfg(test)]
mod tests;
