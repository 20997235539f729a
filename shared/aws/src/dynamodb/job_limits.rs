//! Stores in the table the limits that all shards of a job share: the rate of objects, and how many objects the job may
//! delete. Each limit is one number, which workers increase by conditional writes.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::TimeDelta;
use serde::Deserialize;
use tandem_replication::Timestamp;
use tandem_replication::names::JobId;

use crate::AwsError;
use crate::dynamodb::table::{Table, conditional, key};

/// How often a worker attempts to increase a number that other workers increase at the same time.
const ATTEMPTS: usize = 50;

#[derive(Debug, Deserialize)]
struct Limit {
    used: i64,
}

fn limits_of(job: &JobId) -> String {
    format!("limit#{job}")
}

impl Table {
    /// Returns until when workers have reserved the job's rate for objects that they have begun or are about to begin.
    pub async fn rate_reserved_until(&self, job: &JobId) -> Result<Option<Timestamp>, AwsError> {
        let limit: Option<Limit> = self.get(&limits_of(job), "pace").await?;
        Ok(limit.and_then(|limit| Timestamp::from_timestamp_millis(limit.used)))
    }

    /// Reserves capacity for this many objects, at `per_sec` objects a second for all shards together. Returns when
    /// the first object may begin. The others follow evenly.
    pub async fn reserve_rate(
        &self,
        job: &JobId,
        objects: u64,
        per_sec: f64,
        at: Timestamp,
    ) -> Result<Timestamp, AwsError> {
        let width = millis(objects as f64 / per_sec);
        for _ in 0..ATTEMPTS {
            let taken_until = self.rate_reserved_until(job).await?;
            let begins = taken_until.map_or(at, |until| until.max(at));
            let before = taken_until.map(|until| until.timestamp_millis());
            let after = (begins + width).timestamp_millis();
            if self.move_limit(job, "pace", before, after).await? {
                return Ok(begins);
            }
        }
        Err(AwsError::unexpected(
            format!("reserving capacity under the rate limit of {job}"),
            "other workers changed the reservation at every attempt",
        ))
    }

    /// Takes one of the deletes that a job may make. Returns whether one was left.
    pub async fn take_delete(&self, job: &JobId, deletes_max: u64) -> Result<bool, AwsError> {
        let written = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(&limits_of(job), "deletes")))
            .update_expression("ADD used :one")
            .condition_expression("attribute_not_exists(used) OR used < :max")
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .expression_attribute_values(":max", AttributeValue::N(deletes_max.to_string()));
        if deletes_max == 0 {
            return Ok(false);
        }
        conditional(format!("taking a delete of {job}"), written.send().await)
    }

    async fn move_limit(
        &self,
        job: &JobId,
        which: &str,
        before: Option<i64>,
        after: i64,
    ) -> Result<bool, AwsError> {
        let write = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(&limits_of(job), which)))
            .update_expression("SET used = :after")
            .expression_attribute_values(":after", AttributeValue::N(after.to_string()));
        let write = match before {
            None => write.condition_expression("attribute_not_exists(used)"),
            Some(before) => write
                .condition_expression("used = :before")
                .expression_attribute_values(":before", AttributeValue::N(before.to_string())),
        };
        conditional(
            format!("updating limit {which} of {job}"),
            write.send().await,
        )
    }

    /// Removes the limits of a job.
    pub(crate) async fn remove_limits(&self, job: &JobId) -> Result<(), AwsError> {
        self.remove_all(&limits_of(job)).await
    }
}

/// Returns a number of seconds as a duration.
fn millis(secs: f64) -> TimeDelta {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "some milliseconds, or a very long time"
    )]
    TimeDelta::milliseconds((secs * 1_000.0).min(1e15) as i64)
}
