//! Estimates the cost of a run before it begins, from the sizes of the run and the command's own prices. No I/O.
//!
//! Requests are rounded up: each count is twice what the steps send, because a step that waits repeats its requests.

use serde::Serialize;
use tandem_prices::{ForClass, Prices, STANDARD, Service};

use crate::args::Regions;
use crate::scale::Scale;

const GIB: f64 = 1_073_741_824.0;
/// Hours in a month, by AWS's formula for storage.
const HOURS_A_MONTH: f64 = 730.0;
/// How long the objects exist at most, in hours.
const KEPT_HOURS: f64 = 2.0;
/// Pairs of buckets that the run makes: see `steps.rs`.
const PAIRS: u64 = 8;
/// The read requests of one change, apart from its copy: `docs/cost.md` counts one HEAD for a put, three for a delete.
const READS_A_CHANGE: u64 = 4;
/// One invocation's memory and time, in GB-seconds: 512 MB for 2 s, which is longer than `docs/cost.md` says.
const GB_SECS_A_CHANGE: f64 = 1.0;
/// A worker that waits for copies of large parts: 512 MB, in GB-seconds for each GB that S3 copies (at 50 MiB/s).
const GB_SECS_A_GB: f64 = 0.5 * 1024.0 / 50.0;
/// Lambda polls each of the four queues five times in 20 seconds (`docs/cost.md`, "An idle month").
const POLLS_AN_HOUR: f64 = 4.0 * 5.0 * 180.0;

// Prices that the command's table lacks; source: `docs/cost.md` and the pages "Pricing" of CloudWatch, KMS and
// EventBridge (us-east-1).
/// A custom metric, for an hour.
const METRIC_HOUR_USD: f64 = 0.30 / HOURS_A_MONTH;
/// A GB of logs.
const LOGS_GB_USD: f64 = 0.50;
/// A request of `GetMetricData` for one metric, a `GetMetricStatistics`, or a page of a log: 0.01 per thousand.
const METRICS_READ_USD: f64 = 0.01 / 1_000.0;
/// A request to KMS: 0.03 per ten thousand. An AWS-managed key itself is free of charge.
const KMS_REQUEST_USD: f64 = 0.03 / 10_000.0;
/// An event that S3 sends to EventBridge.
const EVENT_USD: f64 = 1.0 / 1_000_000.0;

/// An item of the cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// Its name.
    pub what: &'static str,
    /// The quantity.
    pub quantity: f64,
    /// The unit.
    pub unit: &'static str,
    /// Its cost in USD.
    pub usd: f64,
}

/// The cost of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// The items.
    pub lines: Vec<Line>,
    /// The total in USD.
    pub usd: f64,
    /// The date of the prices.
    pub prices_as_of: String,
    /// The prices that the price table lacks for these regions.
    pub notes: Vec<String>,
}

/// The amounts of work of a run.
#[derive(Debug, Clone, PartialEq)]
struct Work {
    changes: u64,
    source_writes: u64,
    destination_writes: u64,
    reads: u64,
    transferred_gb: f64,
    kept_gb: [f64; 2],
}

impl Work {
    fn of(scale: &Scale) -> Self {
        // Puts, changes and deletes in the small pairs, and in the pair of the job that is handed on.
        let changes = PAIRS * 2 * u64::from(scale.objects) + 2 * scale.hand_on_objects();
        let doubled = u64::from(scale.doublings);
        let gb = |bytes: u64| bytes as f64 / GIB;
        let ladder: u64 = scale.ladder().iter().sum();
        let scratch = ladder + 2 * scale.copied_bytes() + scale.throttled_bytes;
        Self {
            changes,
            // Each doubling is an upload of two parts: one create, two copies, one complete.
            source_writes: 2 * (changes + 4 * (doubled + 3)),
            destination_writes: 2 * (changes + scale.large_bytes().div_ceil(scale.thresholds.part)),
            reads: 2 * READS_A_CHANGE * changes,
            transferred_gb: gb(scale.large_bytes()) + 0.1,
            kept_gb: [gb(scratch + scale.large_bytes()), gb(scale.large_bytes())],
        }
    }
}

/// Returns the cost of a run between these regions.
pub fn estimate(scale: &Scale, regions: &Regions, prices: &Prices) -> Estimate {
    let work = Work::of(scale);
    let mut lines = storage_lines(&work, regions, prices);
    lines.extend(service_lines(&work, scale, regions, prices));
    lines.extend(watching_lines(&work));
    Estimate {
        usd: lines.iter().map(|line| line.usd).sum(),
        lines,
        prices_as_of: prices.as_of.to_string(),
        notes: notes(regions, prices),
    }
}

fn line(what: &'static str, quantity: f64, unit: &'static str, price: f64) -> Line {
    Line {
        what,
        quantity,
        unit,
        usd: quantity * price,
    }
}

fn storage_lines(work: &Work, regions: &Regions, prices: &Prices) -> Vec<Line> {
    let class = |region: &str, what| prices.class(region, STANDARD, what);
    let (source, destination) = (regions.source.as_str(), regions.destination.as_str());
    let (transfer, _) = prices.transfer(source, destination);
    let hour = |region| class(region, ForClass::StoredGbMonths) / HOURS_A_MONTH;
    let kept = |gb: f64, region, what| line(what, gb * KEPT_HOURS, "GB-hours", hour(region));
    vec![
        line(
            "bytes between the regions",
            work.transferred_gb,
            "GB",
            transfer,
        ),
        line(
            "PUT, COPY and LIST at the source",
            work.source_writes as f64,
            "requests",
            class(source, ForClass::Writes),
        ),
        line(
            "PUT, COPY and LIST at the destination",
            work.destination_writes as f64,
            "requests",
            class(destination, ForClass::Writes),
        ),
        line(
            "GET and HEAD",
            work.reads as f64,
            "requests",
            class(source, ForClass::Reads),
        ),
        kept(work.kept_gb[0], source, "objects at the source"),
        kept(work.kept_gb[1], destination, "objects at the destination"),
    ]
}

fn service_lines(work: &Work, scale: &Scale, regions: &Regions, prices: &Prices) -> Vec<Line> {
    let price = |service| prices.service(&regions.source, service);
    let invocations = 2.0 * work.changes as f64 + 4.0 * scale.hand_ons_min as f64;
    let gb_secs = work.changes as f64 * GB_SECS_A_CHANGE
        + scale.large_bytes() as f64 / GIB * GB_SECS_A_GB
        + scale.hand_ons_min as f64 * GB_SECS_A_CHANGE;
    // Two stacks poll for as long as they exist.
    let sqs = 4.0 * work.changes as f64 + 2.0 * KEPT_HOURS * POLLS_AN_HOUR;
    vec![
        line(
            "Lambda invocations",
            invocations,
            "invocations",
            price(Service::LambdaRequests),
        ),
        line(
            "Lambda compute",
            gb_secs,
            "GB-seconds",
            price(Service::LambdaGbSeconds),
        ),
        line("SQS", sqs, "requests", price(Service::SqsRequests)),
        line(
            "DynamoDB writes",
            10.0 * (work.changes + scale.hand_ons_min) as f64,
            "writes",
            price(Service::DynamodbWrites),
        ),
        line(
            "DynamoDB reads",
            20.0 * (work.changes + scale.hand_ons_min) as f64,
            "reads",
            price(Service::DynamodbReads),
        ),
    ]
}

fn watching_lines(work: &Work) -> Vec<Line> {
    // `docs/cost.md`: five metrics per stack, five per rule, about twelve for the functions.
    let metrics = 2.0 * (5.0 + 12.0) + 5.0 * PAIRS as f64;
    let logs_gb = 2.0 * work.changes as f64 * 1.5e3 / 1e9;
    vec![
        line(
            "metrics",
            metrics * KEPT_HOURS,
            "metric-hours",
            METRIC_HOUR_USD,
        ),
        line("logs", logs_gb, "GB", LOGS_GB_USD),
        // `tandem status` reads seven metrics; a few steps run it repeatedly while they wait.
        line(
            "metrics that are read",
            7.0 * 300.0,
            "metrics",
            METRICS_READ_USD,
        ),
        line("KMS", work.changes as f64, "requests", KMS_REQUEST_USD),
        line("EventBridge", work.changes as f64, "events", EVENT_USD),
    ]
}

fn notes(regions: &Regions, prices: &Prices) -> Vec<String> {
    let mut notes: Vec<String> = [&regions.source, &regions.destination]
        .into_iter()
        .filter(|region| !prices.knows_region(region))
        .map(|region| {
            format!(
                "{region} is not in the price table: the prices of {} are used",
                prices.default_region()
            )
        })
        .collect();
    let (usd, is_known) = prices.transfer(&regions.source, &regions.destination);
    if !is_known {
        notes.push(format!(
            "the price of bytes from {} to {} is not known: {usd} USD per GB is used",
            regions.source, regions.destination
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use tandem_prices::TABLE;

    use super::*;

    fn regions(source: &str, destination: &str) -> Regions {
        Regions {
            source: source.to_owned(),
            destination: destination.to_owned(),
        }
    }

    fn of(scale: &Scale, source: &str, destination: &str) -> Estimate {
        let prices = Prices::parse(TABLE).unwrap();
        estimate(scale, &regions(source, destination), &prices)
    }

    fn usd(estimate: &Estimate, what: &str) -> f64 {
        let found = estimate.lines.iter().find(|line| line.what == what);
        found
            .unwrap_or_else(|| panic!("no {what} in {estimate:?}"))
            .usd
    }

    #[test]
    fn a_run_costs_less_than_a_dollar() {
        let estimate = of(&Scale::of_aws(), "us-east-1", "us-west-2");
        assert!(estimate.usd > 0.12 && estimate.usd < 1.0, "{estimate:?}");
        let sum: f64 = estimate.lines.iter().map(|line| line.usd).sum();
        assert!((sum - estimate.usd).abs() < 1e-12);
        assert!(
            estimate
                .lines
                .iter()
                .all(|line| line.usd > 0.0 && line.quantity > 0.0)
        );
    }

    #[test]
    fn six_gib_between_the_regions_are_paid_at_the_price_of_the_pair() {
        let far = of(&Scale::of_aws(), "us-east-1", "us-west-2");
        let near = of(&Scale::of_aws(), "us-east-1", "us-east-2");
        let what = "bytes between the regions";
        assert!((usd(&far, what) - 6.1 * 0.02).abs() < 1e-9);
        assert!((usd(&near, what) - 6.1 * 0.01).abs() < 1e-9);
    }

    #[test]
    fn more_objects_and_more_bytes_cost_more() {
        let scale = Scale::of_aws();
        let less = of(&scale, "us-east-1", "us-west-2").usd;
        let objects = Scale {
            objects: 400,
            ..scale.clone()
        };
        let bytes = Scale {
            doublings: 7,
            ..scale
        };
        assert!(of(&objects, "us-east-1", "us-west-2").usd > less);
        assert!(of(&bytes, "us-east-1", "us-west-2").usd > less);
    }

    #[test]
    fn a_region_without_prices_is_named() {
        let estimate = of(&Scale::of_aws(), "mars-north-1", "us-west-2");
        assert!(
            estimate
                .notes
                .iter()
                .any(|note| note.contains("mars-north-1 is not in"))
        );
        assert!(
            estimate
                .notes
                .iter()
                .any(|note| note.contains("from mars-north-1 to us-west-2"))
        );
        assert!(
            of(&Scale::of_aws(), "us-east-1", "us-west-2")
                .notes
                .is_empty()
        );
    }
}
