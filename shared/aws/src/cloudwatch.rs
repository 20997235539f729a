//! Reads from CloudWatch the metrics that the functions write.

use std::collections::HashMap;

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat};
use aws_smithy_types::DateTime;
use chrono::TimeDelta;
use tandem_replication::Timestamp;
use tandem_replication::names::RuleId;
use tandem_replication::progress::Lag;

use crate::{Aws, AwsError};

/// The namespace of all metrics.
pub const NAMESPACE: &str = "Tandem";
/// The dimension of every metric of a rule.
pub const RULE_DIMENSION: &str = "RuleId";
/// The other dimension of the same metrics: all rules of a stack together. The stack's alarms use it.
pub const STACK_DIMENSION: &str = "StackName";
/// From a change at the source to its replica, in milliseconds; one value for each object.
pub const REPLICATION_LATENCY: &str = "ReplicationLatency";
/// Replicas written.
pub const OPERATIONS_REPLICATED: &str = "OperationsReplicated";
/// Replicas deleted.
pub const OPERATIONS_DELETED: &str = "OperationsDeleted";
/// Objects that failed and were recorded.
pub const OPERATIONS_FAILED: &str = "OperationsFailedReplication";
/// The sizes of the replicas written.
pub const BYTES_REPLICATED: &str = "BytesReplicated";
/// Rules of the stack that a check found broken; one value for each check.
pub const RULES_BROKEN: &str = "RulesBroken";
/// Work of the stack that was stopped, because one message followed another without progress.
pub const WORK_STOPPED: &str = "WorkStopped";

/// The metrics of a rule in a window of time; `None` where CloudWatch has no data.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleMetrics {
    /// Replicas written.
    pub replicated: Option<u64>,
    /// Replicas deleted.
    pub deleted: Option<u64>,
    /// Objects that failed.
    pub failed: Option<u64>,
    /// The sizes of the replicas written.
    pub bytes: Option<u64>,
    /// The lag's percentiles.
    pub lag_ms: Option<Lag>,
}

/// Reads the metrics of the `window_mins` minutes before `now`. The percentiles cover the whole window.
pub async fn read(
    aws: &Aws,
    rule: &RuleId,
    now: Timestamp,
    window_mins: u32,
) -> Result<RuleMetrics, AwsError> {
    let asked = [
        ("replicated", OPERATIONS_REPLICATED, "Sum"),
        ("deleted", OPERATIONS_DELETED, "Sum"),
        ("failed", OPERATIONS_FAILED, "Sum"),
        ("bytes", BYTES_REPLICATED, "Sum"),
        ("p50", REPLICATION_LATENCY, "p50"),
        ("p99", REPLICATION_LATENCY, "p99"),
        ("max", REPLICATION_LATENCY, "Maximum"),
    ];
    let values = values(aws, rule, now, window_mins, &asked).await?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are whole and positive"
    )]
    let count = |id: &str| values.get(id).map(|value| value.round() as u64);
    let lag_ms = match (values.get("p50"), values.get("p99"), values.get("max")) {
        (Some(&p50), Some(&p99), Some(&max)) => Some(Lag { p50, p99, max }),
        _ => None,
    };
    Ok(RuleMetrics {
        replicated: count("replicated"),
        deleted: count("deleted"),
        failed: count("failed"),
        bytes: count("bytes"),
        lag_ms,
    })
}

/// Returns the 99th percentile of the replication latency in the `window_mins` minutes before `now`, in
/// milliseconds. Returns `None` if nothing was replicated.
pub async fn lag_p99_ms(
    aws: &Aws,
    rule: &RuleId,
    now: Timestamp,
    window_mins: u32,
) -> Result<Option<f64>, AwsError> {
    let asked = [("p99", REPLICATION_LATENCY, "p99")];
    let values = values(aws, rule, now, window_mins, &asked).await?;
    Ok(values.get("p99").copied())
}

/// Returns CloudWatch's value of each requested `(id, metric, statistic)`, by its id.
async fn values(
    aws: &Aws,
    rule: &RuleId,
    now: Timestamp,
    window_mins: u32,
    asked: &[(&'static str, &str, &str)],
) -> Result<HashMap<&'static str, f64>, AwsError> {
    // One period covers the window and the current minute.
    let period_secs = i64::from(window_mins.max(1) + 1) * 60;
    let queries = asked
        .iter()
        .map(|(id, metric, statistic)| query(rule, id, metric, statistic, period_secs));
    let begin = (now - TimeDelta::seconds(period_secs))
        .timestamp()
        .div_euclid(60)
        * 60
        + 60;
    let answer = Client::new(aws.config())
        .get_metric_data()
        .start_time(DateTime::from_secs(begin))
        .end_time(DateTime::from_secs(begin + period_secs))
        .set_metric_data_queries(Some(queries.collect()))
        .send()
        .await
        .map_err(|error| AwsError::request("reading metrics", error))?;
    let found = answer.metric_data_results().iter().filter_map(|result| {
        let (id, _, statistic) = asked.iter().find(|(id, ..)| result.id() == Some(*id))?;
        let values = result.values().iter().copied();
        let value = if *statistic == "Sum" {
            values.reduce(|sum, value| sum + value)
        } else {
            values.reduce(f64::max)
        };
        Some((*id, value?))
    });
    Ok(found.collect())
}

fn query(
    rule: &RuleId,
    id: &str,
    metric: &str,
    statistic: &str,
    period_secs: i64,
) -> MetricDataQuery {
    let dimension = Dimension::builder()
        .name(RULE_DIMENSION)
        .value(rule.as_str())
        .build();
    let metric = Metric::builder()
        .namespace(NAMESPACE)
        .metric_name(metric)
        .dimensions(dimension)
        .build();
    let stat = MetricStat::builder()
        .metric(metric)
        .period(i32::try_from(period_secs).unwrap_or(i32::MAX))
        .stat(statistic)
        .build();
    MetricDataQuery::builder()
        .id(id)
        .metric_stat(stat)
        .return_data(true)
        .build()
}
