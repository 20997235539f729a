//! The results, and the numbers calculated from them. No I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tandem_memory_s3::server::Counts;

use crate::machine::Machine;
use crate::usage::Usage;

/// One kind of work, done once.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// The work.
    pub what: String,
    /// The program that did it.
    pub by: String,
    /// The number of objects.
    pub objects: u64,
    /// The duration.
    pub elapsed_ms: u64,
    /// Objects per second.
    pub objects_per_sec: f64,
    /// CPU time of the measured processes.
    pub cpu_ms: u64,
    /// CPU time per object.
    pub cpu_us_per_object: f64,
    /// S3 requests by operation.
    pub requests: BTreeMap<String, u64>,
    /// S3 requests per object.
    pub requests_per_object: f64,
    /// The peak of resident memory of one process.
    pub peak_memory_bytes: u64,
}

/// The results of the functions.
#[derive(Debug, Serialize)]
pub struct FunctionsReport {
    pub machine: Machine,
    /// How they were built.
    pub binaries: String,
    pub latency_ms: u64,
    pub workers: usize,
    pub runs: Vec<Measured>,
    pub functions: Vec<FunctionMeasured>,
}

/// One function's start and size.
#[derive(Debug, Serialize)]
pub struct FunctionMeasured {
    pub name: String,
    pub starts: usize,
    /// The time from the process's start to its first answer.
    pub cold_start_ms: Spread,
    /// The time of its second answer.
    pub warm_ms: Spread,
    /// The peak of its memory until then.
    pub peak_memory_bytes: u64,
    pub binary_bytes: u64,
    pub zipped_bytes: u64,
}

/// The least, the median and the greatest value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

/// The results of other tools.
#[derive(Debug, Serialize)]
pub struct PeersReport {
    pub machine: Machine,
    pub latency_ms: u64,
    pub tools: Vec<ToolReport>,
}

/// The results of one tool.
#[derive(Debug, Serialize)]
pub struct ToolReport {
    pub name: String,
    /// How to install it.
    pub install: String,
    /// `None` if it is not installed.
    pub version: Option<String>,
    pub runs: Vec<Measured>,
    pub problems: Vec<String>,
}

impl Measured {
    pub fn new(
        what: &str,
        by: &str,
        objects: usize,
        elapsed: Duration,
        usage: Usage,
        counts: Counts,
    ) -> Self {
        let mut requests = BTreeMap::new();
        for ((_, operation), count) in counts {
            *requests.entry(operation.to_string()).or_default() += count;
        }
        let all = objects.max(1) as f64;
        let total: u64 = requests.values().sum();
        Self {
            what: what.to_owned(),
            by: by.to_owned(),
            objects: objects as u64,
            elapsed_ms: millis(elapsed),
            objects_per_sec: all / elapsed.as_secs_f64(),
            cpu_ms: millis(usage.cpu),
            cpu_us_per_object: usage.cpu.as_secs_f64() * 1e6 / all,
            requests,
            requests_per_object: total as f64 / all,
            peak_memory_bytes: usage.peak_bytes,
        }
    }
}

impl Spread {
    /// Calculates the spread of at least one duration, in milliseconds.
    ///
    /// # Panics
    /// If there is none.
    pub fn of(durations: &[Duration]) -> Self {
        let mut sorted: Vec<f64> = durations
            .iter()
            .map(|each| each.as_secs_f64() * 1e3)
            .collect();
        sorted.sort_by(f64::total_cmp);
        Self {
            min: sorted[0],
            median: sorted[sorted.len() / 2],
            max: sorted[sorted.len() - 1],
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tandem_memory_s3::Operation;

    use super::*;

    #[test]
    fn numbers_per_object_are_the_totals_divided_by_the_objects() {
        let usage = Usage {
            cpu: Duration::from_secs(2),
            peak_bytes: 7,
        };
        let counts = Counts::from([
            (("a".to_owned(), Operation::HeadObject), 100),
            (("b".to_owned(), Operation::HeadObject), 50),
            (("b".to_owned(), Operation::CopyObject), 100),
        ]);
        let measured = Measured::new("it", "me", 100, Duration::from_secs(4), usage, counts);
        let numbers = [
            measured.objects_per_sec,
            measured.cpu_us_per_object,
            measured.requests_per_object,
        ];
        // 150 HEADs and 100 COPYs are 2.5 requests each.
        assert_eq!(
            numbers.map(|number| format!("{number:.1}")),
            ["25.0", "20000.0", "2.5"]
        );
        assert_eq!(measured.requests["HeadObject"], 150);
    }

    #[test]
    fn a_spread_is_the_least_the_median_and_the_greatest_value() {
        let spread = Spread::of(&[5, 1, 9].map(Duration::from_millis));
        let values = [spread.min, spread.median, spread.max];
        assert_eq!(values.map(|ms| format!("{ms:.1}")), ["1.0", "5.0", "9.0"]);
    }
}
