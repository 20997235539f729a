//! Lag and cold starts, as CloudWatch reports them. I/O.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_sdk_cloudwatch::types::{Dimension, Statistic};
use aws_smithy_types::DateTime;
use tandem_demo::console;
use tandem_demo::error::Error;
use tandem_demo::lag::Times;

use super::{Outcome, expect};
use crate::stage::Stage;

/// The stack's functions.
pub const FUNCTIONS: [&str; 6] = [
    "configure-rule",
    "replicate-put",
    "replicate-delete",
    "backfill",
    "backfill-shard",
    "copy-parts",
];

/// The template's `RpoSeconds`.
const RPO: Duration = Duration::from_mins(15);
/// A period that covers a whole run; CloudWatch requires a multiple of a minute.
const PERIOD_SECS: u64 = 6 * 3_600;

/// Reads the stack's replication latency.
pub async fn lag(stage: &Stage) -> Result<Outcome, Error> {
    let (lag, _) = stage
        .until(
            "CloudWatch shows the latency",
            stage.scale.metrics_patience,
            async || Ok(latency(stage).await?.ok_or_else(|| "no values".to_owned())),
        )
        .await?;
    expect(lag.p99_ms <= RPO.as_secs_f64() * 1_000.0, || {
        format!(
            "the p99 of the latency is {:.0} ms, more than the RPO",
            lag.p99_ms
        )
    })?;
    Ok(Outcome::Passed(vec![format!(
        "{} changes, including large, paused and retried objects: p50 {:.0} ms, p99 {:.0} ms, at most {:.0} ms",
        console::count(lag.changes),
        lag.p50_ms,
        lag.p99_ms,
        lag.max_ms
    )]))
}

struct Latency {
    changes: u64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

async fn latency(stage: &Stage) -> Result<Option<Latency>, Error> {
    let client = aws_sdk_cloudwatch::Client::new(&stage.account.in_region(&stage.regions.source));
    let dimension = Dimension::builder()
        .name("StackName")
        .value(stage.names.stack())
        .build();
    let now = SystemTime::now();
    let request = || {
        client
            .get_metric_statistics()
            .namespace("Tandem")
            .metric_name("ReplicationLatency")
            .dimensions(dimension.clone())
            .start_time(DateTime::from(now - Duration::from_secs(PERIOD_SECS)))
            .end_time(DateTime::from(now + Duration::from_mins(1)))
            .period(i32::try_from(PERIOD_SECS).unwrap_or(i32::MAX))
    };
    // One request cannot ask for percentiles and plain statistics.
    let doing = "reading the replication latency";
    let plain = request()
        .statistics(Statistic::SampleCount)
        .statistics(Statistic::Maximum);
    let plain = plain
        .send()
        .await
        .map_err(|error| Error::aws(doing, &error))?;
    let percentiles = request()
        .extended_statistics("p50")
        .extended_statistics("p99");
    let percentiles = percentiles
        .send()
        .await
        .map_err(|error| Error::aws(doing, &error))?;
    let changes: f64 = plain
        .datapoints()
        .iter()
        .filter_map(|point| point.sample_count)
        .sum();
    let max_ms = plain
        .datapoints()
        .iter()
        .filter_map(|point| point.maximum)
        .reduce(f64::max);
    let percentile = |name: &str| {
        let points = percentiles.datapoints().iter();
        let values = points.filter_map(|point| point.extended_statistics()?.get(name).copied());
        values.reduce(f64::max)
    };
    let (Some(p50_ms), Some(p99_ms), Some(max_ms)) = (percentile("p50"), percentile("p99"), max_ms)
    else {
        return Ok(None);
    };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    let changes = changes as u64;
    Ok(Some(Latency {
        changes,
        p50_ms,
        p99_ms,
        max_ms,
    }))
}

/// Reads how long environments took to start.
pub async fn cold_starts(stage: &Stage) -> Result<Outcome, Error> {
    if stage.account.is_local() {
        return Ok(Outcome::Skipped(
            "not measured: the local cloud starts no environments as Lambda does".to_owned(),
        ));
    }
    let (seen, _) = stage
        .until(
            "the logs show cold starts",
            stage.scale.metrics_patience,
            async || {
                let mut seen = BTreeMap::new();
                for function in FUNCTIONS {
                    seen.insert(function, starts(stage, function).await?);
                }
                let is_any = seen.values().any(|times| !times.is_empty());
                Ok(if is_any {
                    Ok(seen)
                } else {
                    Err("no REPORT line with an Init Duration".to_owned())
                })
            },
        )
        .await?;
    let lines = seen
        .into_iter()
        .map(|(function, times)| shown(function, &times));
    Ok(Outcome::Passed(lines.collect()))
}

fn shown(function: &str, times: &Times) -> String {
    match (times.percentile(50), times.percentile(99), times.max()) {
        (Some(p50), Some(p99), Some(max)) => format!(
            "{function}: {}: p50 {}, p99 {}, at most {}",
            console::counted(times.len(), "cold start"),
            console::duration(p50),
            console::duration(p99),
            console::duration(max)
        ),
        _ => format!("{function}: no cold start was logged"),
    }
}

async fn starts(stage: &Stage, function: &str) -> Result<Times, Error> {
    let client =
        aws_sdk_cloudwatchlogs::Client::new(&stage.account.in_region(&stage.regions.source));
    let group = format!("/aws/lambda/{}-{function}", stage.names.stack());
    let since = SystemTime::now() - stage.began.elapsed();
    let mut pages = client
        .filter_log_events()
        .log_group_name(&group)
        .start_time(DateTime::from(since).to_millis().unwrap_or_default())
        .filter_pattern("?\"Init Duration\" ?initDurationMs")
        .into_paginator()
        .send();
    let mut times = Vec::new();
    while let Some(page) = pages.next().await {
        let page =
            page.map_err(|error| Error::aws(format!("reading the log group {group}"), &error))?;
        let messages = page.events().iter().filter_map(|event| event.message());
        times.extend(messages.filter_map(init_duration));
    }
    Ok(times.into_iter().collect())
}

/// Returns the start time in a line. If Lambda started an environment for the invocation, it writes
/// `REPORT RequestId: ... Init Duration: 123.45 ms ...` (Lambda guide, "Lambda runtime environment"), or with JSON logs
/// `"initDurationMs": 123.45`.
fn init_duration(line: &str) -> Option<Duration> {
    let after = ["Init Duration: ", "\"initDurationMs\":"]
        .iter()
        .find_map(|mark| line.split_once(mark))?
        .1
        .trim_start();
    let number = after
        .split(|it: char| !it.is_ascii_digit() && it != '.')
        .next()?;
    let ms: f64 = number.parse().ok()?;
    Some(Duration::from_secs_f64(ms / 1_000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cold_starts_are_read_from_report_lines() {
        let line = "REPORT RequestId: 1-2\tDuration: 12.30 ms\tBilled Duration: 60 ms\tMemory Size: 256 MB\tMax Memory \
                    Used: 30 MB\tInit Duration: 46.75 ms\t\n";
        assert_eq!(init_duration(line), Some(Duration::from_micros(46_750)));
        let json = r#"{"type":"platform.report","record":{"metrics":{"durationMs":1.0,"initDurationMs": 12.5}}}"#;
        assert_eq!(init_duration(json), Some(Duration::from_micros(12_500)));
        assert_eq!(
            init_duration("REPORT RequestId: 1\tDuration: 12.30 ms"),
            None
        );
        assert_eq!(init_duration("Init Duration: soon"), None);
    }

    #[test]
    fn a_function_without_cold_starts_is_reported_as_such() {
        let two: Times = [Duration::from_millis(40), Duration::from_millis(60)]
            .into_iter()
            .collect();
        assert_eq!(
            shown("backfill", &two),
            "backfill: 2 cold starts: p50 40 ms, p99 60 ms, at most 60 ms"
        );
        assert_eq!(
            shown("backfill", &Times::default()),
            "backfill: no cold start was logged"
        );
    }
}
