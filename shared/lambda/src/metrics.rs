//! Writes metrics to the log in CloudWatch's embedded metric format.
//!
//! If S3 has a replication metric of the same meaning, its name is used. The format is CloudWatch's "Embedded metric
//! format specification".

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tandem_aws::cloudwatch::{
    BYTES_REPLICATED, NAMESPACE, OPERATIONS_DELETED, OPERATIONS_FAILED, OPERATIONS_REPLICATED,
    REPLICATION_LATENCY, RULE_DIMENSION, RULES_BROKEN, STACK_DIMENSION, WORK_STOPPED,
};
use tandem_replication::Timestamp;
use tandem_replication::names::RuleId;
use tandem_replication::replicator::Outcome;

/// How many values of one metric the format allows in one document.
const VALUES_MAX: usize = 100;

/// The metrics of one invocation for one rule.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleMetrics {
    /// Lags in milliseconds, one for each replica written or deleted.
    pub lag_ms: Vec<i64>,
    /// Replicas written.
    pub replicated: u64,
    /// Replicas deleted.
    pub deleted: u64,
    /// Objects that failed and were recorded.
    pub failed: u64,
    /// The sizes of the replicas written.
    pub bytes: u64,
}

impl RuleMetrics {
    /// Adds one key that the protocol has settled, `lag_ms` after it changed.
    pub fn add(&mut self, outcome: Outcome, lag_ms: i64) {
        match outcome {
            Outcome::Replicated { bytes } => {
                self.replicated += 1;
                self.bytes += bytes;
            }
            Outcome::Adjusted => self.replicated += 1,
            Outcome::Deleted => self.deleted += 1,
            _ => return,
        }
        self.lag_ms.push(lag_ms);
    }
}

/// Writes the metrics of an invocation, one document for each rule, or more if a rule has many lags. Each metric counts
/// for its rule and for the stack.
pub fn write_rule_metrics(stack: &str, by_rule: &BTreeMap<RuleId, RuleMetrics>, now: Timestamp) {
    for (rule, metrics) in by_rule {
        for document in documents(stack, rule, metrics, now) {
            println!("{document}");
        }
    }
}

/// Writes how many S3 requests an invocation sent, by operation. The metrics' dimension is the function.
pub fn write_requests(function: &str, requests: &BTreeMap<&'static str, u64>, now: Timestamp) {
    if requests.is_empty() {
        return;
    }
    let mut values = Map::new();
    values.insert("FunctionName".to_owned(), json!(function));
    let mut metrics = Vec::new();
    for (operation, count) in requests {
        let name = format!("{operation}Requests");
        metrics.push(json!({"Name": name, "Unit": "Count"}));
        values.insert(name, json!(count));
    }
    println!("{}", document(&["FunctionName"], &metrics, values, now));
}

/// Writes how many rules of the stack a check found broken.
pub fn write_broken(stack: &str, broken: usize, now: Timestamp) {
    println!("{}", count_document(stack, RULES_BROKEN, broken, now));
}

/// Writes that work was stopped, because one message followed another without progress.
pub fn write_stopped(stack: &str, now: Timestamp) {
    println!("{}", count_document(stack, WORK_STOPPED, 1, now));
}

fn count_document(stack: &str, name: &str, count: usize, now: Timestamp) -> Value {
    let metrics = [json!({"Name": name, "Unit": "Count"})];
    let values = Map::from_iter([
        (STACK_DIMENSION.to_owned(), json!(stack)),
        (name.to_owned(), json!(count)),
    ]);
    document(&[STACK_DIMENSION], &metrics, values, now)
}

fn documents(stack: &str, rule: &RuleId, metrics: &RuleMetrics, now: Timestamp) -> Vec<Value> {
    let counts = [
        (OPERATIONS_REPLICATED, "Count", metrics.replicated),
        (OPERATIONS_DELETED, "Count", metrics.deleted),
        (OPERATIONS_FAILED, "Count", metrics.failed),
        (BYTES_REPLICATED, "Bytes", metrics.bytes),
    ];
    // The first document has the counts. Each document has as many lags as fit.
    let mut lags = metrics.lag_ms.chunks(VALUES_MAX);
    let mut written = Vec::new();
    loop {
        let lags = lags.next();
        if lags.is_none() && !written.is_empty() {
            return written;
        }
        let mut metrics = Vec::new();
        let mut values = Map::new();
        values.insert(RULE_DIMENSION.to_owned(), json!(rule.as_str()));
        values.insert(STACK_DIMENSION.to_owned(), json!(stack));
        if written.is_empty() {
            for (name, unit, value) in counts {
                metrics.push(json!({"Name": name, "Unit": unit}));
                values.insert(name.to_owned(), json!(value));
            }
        }
        if let Some(lags) = lags {
            metrics.push(json!({"Name": REPLICATION_LATENCY, "Unit": "Milliseconds"}));
            values.insert(REPLICATION_LATENCY.to_owned(), json!(lags));
        }
        written.push(document(
            &[RULE_DIMENSION, STACK_DIMENSION],
            &metrics,
            values,
            now,
        ));
    }
}

/// Returns one document. CloudWatch stores its metrics once for each of the dimensions.
fn document(
    dimensions: &[&str],
    metrics: &[Value],
    mut values: Map<String, Value>,
    now: Timestamp,
) -> Value {
    let sets: Vec<[&str; 1]> = dimensions.iter().map(|&name| [name]).collect();
    let about = json!({
        "Timestamp": now.timestamp_millis(),
        "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": sets, "Metrics": metrics}],
    });
    values.insert("_aws".to_owned(), about);
    Value::Object(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_lags_are_split_over_documents_and_counts_are_written_once() {
        let metrics = RuleMetrics {
            lag_ms: (0..250).collect(),
            replicated: 250,
            ..RuleMetrics::default()
        };
        let documents = documents("tandem", &RuleId::new("r"), &metrics, Timestamp::UNIX_EPOCH);
        assert_eq!(documents.len(), 3);
        let lags: usize = documents
            .iter()
            .map(|d| d[REPLICATION_LATENCY].as_array().unwrap().len())
            .sum();
        assert_eq!(lags, 250);
        assert_eq!(documents[0][OPERATIONS_REPLICATED], 250);
        assert!(documents[1].get(OPERATIONS_REPLICATED).is_none());
        assert_eq!(
            documents[0]["_aws"]["CloudWatchMetrics"][0]["Dimensions"],
            json!([["RuleId"], ["StackName"]])
        );
        assert_eq!(documents[2]["StackName"], "tandem");
    }
    #[test]
    fn a_check_that_found_nothing_broken_writes_a_zero() {
        let document = count_document("tandem", RULES_BROKEN, 0, Timestamp::UNIX_EPOCH);
        assert_eq!(document[RULES_BROKEN], 0);
        let about = &document["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(about["Dimensions"], json!([["StackName"]]));
        assert_eq!(about["Metrics"][0]["Name"], RULES_BROKEN);
    }
}
