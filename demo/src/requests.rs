//! Counts the S3 requests that the functions sent, from the functions' own metrics. These are named
//! after the operation, one set for each function. I/O: reads CloudWatch.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{Metric, MetricDataQuery, MetricStat};
use aws_smithy_types::DateTime;

use crate::cloud;
use crate::endpoint::LocalEndpoint;
use crate::error::Error;

const NAMESPACE: &str = "Tandem";
const DIMENSION: &str = "FunctionName";
/// The end of a metric's name, after the operation's name.
const NAME_END: &str = "Requests";
/// The function whose requests are not counted: it creates and shows rules, and handles no objects.
const NOT_OBJECTS: &str = "configure-rule";
/// CloudWatch's shortest period for metrics like these.
const PERIOD: Duration = Duration::from_mins(1);
/// CloudWatch's limit on the metrics asked for at once.
const QUERIES_MAX: usize = 500;
/// Metrics arrive some seconds after the requests that they count. Counts that are high enough and have
/// not changed for this time are complete.
const QUIET: Duration = Duration::from_secs(2);
/// The same time if the expected count is not known or not reached.
const QUIET_AT_LAST: Duration = Duration::from_secs(6);
/// The longest wait, in case another user of the stack keeps changing the counts.
const PATIENCE: Duration = Duration::from_secs(30);
/// Each replicated change needs at least one of these.
const WRITES: [&str; 3] = ["CopyObject", "CompleteMultipartUpload", "DeleteObject"];

/// Requests by operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests(BTreeMap<String, u64>);

impl Requests {
    /// Returns the requests added since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let added = self.0.iter().map(|(operation, count)| {
            let before = before.0.get(operation).copied().unwrap_or(0);
            (operation.clone(), count.saturating_sub(before))
        });
        Self(added.filter(|(_, count)| *count > 0).collect())
    }

    /// Returns the number of requests that wrote or deleted a replica.
    fn writes(&self) -> u64 {
        let count = |operation| self.0.get(operation).copied().unwrap_or(0);
        WRITES.into_iter().map(count).sum()
    }

    /// Returns the number of all requests.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Returns the operations, most frequent first.
    pub fn by_operation(&self) -> Vec<(&str, u64)> {
        let mut operations: Vec<(&str, u64)> = self
            .0
            .iter()
            .map(|(operation, count)| (operation.as_str(), *count))
            .collect();
        operations.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        operations
    }
}

/// Counts the requests from a point in time on.
#[derive(Debug)]
pub struct RequestMeter {
    client: Client,
    from: SystemTime,
}

impl RequestMeter {
    /// Counts from about now on.
    pub fn start(endpoint: &LocalEndpoint) -> Self {
        Self {
            client: cloud::cloudwatch(endpoint),
            from: SystemTime::now() - PERIOD,
        }
    }

    /// Reads the counts once they do not change any more. `writes` is how many replicas were written
    /// or deleted since `before`, if that is known.
    pub async fn settled(
        &self,
        before: &Requests,
        writes: Option<usize>,
    ) -> Result<Requests, Error> {
        let started = Instant::now();
        let (mut counts, mut since) = (self.read().await?, Instant::now());
        loop {
            let enough =
                writes.is_some_and(|writes| counts.since(before).writes() >= writes as u64);
            let quiet = if enough { QUIET } else { QUIET_AT_LAST };
            if since.elapsed() >= quiet || started.elapsed() >= PATIENCE {
                return Ok(counts);
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
            let newer = self.read().await?;
            if newer != counts {
                (counts, since) = (newer, Instant::now());
            }
        }
    }

    /// Reads the counts once, without waiting.
    pub async fn read(&self) -> Result<Requests, Error> {
        let metrics = self.metrics().await?;
        let mut counts = BTreeMap::new();
        for metrics in metrics.chunks(QUERIES_MAX) {
            for (operation, count) in self.sums(metrics).await? {
                *counts.entry(operation).or_default() += count;
            }
        }
        Ok(Requests(counts))
    }

    /// Returns every metric that counts requests for objects, with the operation that it counts.
    async fn metrics(&self) -> Result<Vec<(String, Metric)>, Error> {
        let mut pages = self
            .client
            .list_metrics()
            .namespace(NAMESPACE)
            .into_paginator()
            .send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| Error::aws("listing metrics", &error))?;
            found.extend(
                page.metrics
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|metric| {
                        let operation = metric.metric_name()?.strip_suffix(NAME_END)?.to_owned();
                        let counted = metric.dimensions().iter().any(|dimension| {
                            dimension.name() == Some(DIMENSION)
                                && dimension.value() != Some(NOT_OBJECTS)
                        });
                        counted.then_some((operation, metric))
                    }),
            );
        }
        Ok(found)
    }

    async fn sums(&self, metrics: &[(String, Metric)]) -> Result<Vec<(String, u64)>, Error> {
        let period_secs = i32::try_from(PERIOD.as_secs()).unwrap_or(i32::MAX);
        let query = |(number, (_, metric)): (usize, &(String, Metric))| {
            let stat = MetricStat::builder()
                .metric(metric.clone())
                .period(period_secs)
                .stat("Sum")
                .build();
            MetricDataQuery::builder()
                .id(format!("m{number}"))
                .metric_stat(stat)
                .build()
        };
        let queries = metrics.iter().enumerate().map(query).collect();
        let mut answers = self
            .client
            .get_metric_data()
            .start_time(DateTime::from(self.from))
            .end_time(DateTime::from(SystemTime::now() + PERIOD))
            .set_metric_data_queries(Some(queries))
            .into_paginator()
            .send();
        let mut sums = Vec::new();
        while let Some(answer) = answers.next().await {
            let answer = answer.map_err(|error| Error::aws("reading metrics", &error))?;
            for result in answer.metric_data_results() {
                let number = result
                    .id()
                    .and_then(|id| id.strip_prefix('m')?.parse().ok());
                let Some((operation, _)) = number.and_then(|number: usize| metrics.get(number))
                else {
                    continue;
                };
                let sum: f64 = result.values().iter().sum();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "counts are whole and positive"
                )]
                sums.push((operation.clone(), sum.round() as u64));
            }
        }
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(counts: &[(&str, u64)]) -> Requests {
        let counts = counts.iter().map(|&(name, count)| (name.to_owned(), count));
        Requests(counts.collect())
    }

    #[test]
    fn earlier_requests_are_not_counted() {
        let before = requests(&[("CopyObject", 5), ("HeadObject", 7)]);
        let after = requests(&[("CopyObject", 15), ("HeadObject", 7), ("DeleteObject", 30)]);
        let since = after.since(&before);
        assert_eq!((since.total(), since.writes()), (40, 40));
        assert_eq!(before.writes(), 5);
        assert_eq!(
            since.by_operation(),
            [("DeleteObject", 30), ("CopyObject", 10)]
        );
    }
}
