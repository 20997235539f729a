//! Objects that could not be replicated, each kept with its reason, in the table.

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};
use tandem_replication::Timestamp;
use tandem_replication::fault::Fault;
use tandem_replication::names::{ObjectKey, RuleId};

use crate::AwsError;
use crate::table::{Table, key};

/// An object that failed and has not succeeded since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRecord {
    /// Its key.
    pub key: ObjectKey,
    /// Why the last attempt failed.
    pub reason: String,
    /// What was being done, and what the service said.
    pub message: String,
    /// The first failure.
    pub first_at: Timestamp,
    /// The last one.
    pub last_at: Timestamp,
    /// How many there were.
    pub attempts: u64,
}

fn failures_of(rule: &RuleId) -> String {
    format!("failure#{rule}")
}

impl Table {
    /// Records that `object` failed at `at`; a further failure of the same object adds to its record.
    pub async fn record_failure(
        &self,
        rule: &RuleId,
        object: &ObjectKey,
        fault: &Fault,
        at: Timestamp,
    ) -> Result<(), AwsError> {
        let pk = failures_of(rule);
        let at = at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        self.client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(&pk, object.as_str())))
            .update_expression(
                "SET #key = :key, reason = :reason, message = :message, last_at = :at, \
                 first_at = if_not_exists(first_at, :at) ADD attempts :one",
            )
            .expression_attribute_names("#key", "key")
            .expression_attribute_values(":key", AttributeValue::S(object.as_str().to_owned()))
            .expression_attribute_values(
                ":reason",
                AttributeValue::S(fault.reason.as_str().to_owned()),
            )
            .expression_attribute_values(":message", AttributeValue::S(fault.message.clone()))
            .expression_attribute_values(":at", AttributeValue::S(at))
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .send()
            .await
            .map_err(|error| {
                AwsError::request(
                    format!("recording a failure of {:?}", object.as_str()),
                    &error,
                )
            })?;
        Ok(())
    }

    /// Forgets an object's failure, because it has succeeded.
    pub async fn clear_failure(&self, rule: &RuleId, object: &ObjectKey) -> Result<(), AwsError> {
        self.delete(&failures_of(rule), object.as_str()).await
    }

    /// Some failures of a rule, by key, after `after`.
    pub async fn failures(
        &self,
        rule: &RuleId,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<FailureRecord>, AwsError> {
        self.page(&failures_of(rule), after.map(ObjectKey::as_str), 100)
            .await
    }

    /// Whether any object of a rule has failed and not succeeded since.
    pub async fn has_failures(&self, rule: &RuleId) -> Result<bool, AwsError> {
        Ok(!self
            .page::<FailureRecord>(&failures_of(rule), None, 1)
            .await?
            .is_empty())
    }

    /// How many objects of a rule have failed and not succeeded since.
    pub async fn failure_count(&self, rule: &RuleId) -> Result<u64, AwsError> {
        self.count(&failures_of(rule)).await
    }

    /// Forgets all failures of a rule.
    pub async fn remove_failures(&self, rule: &RuleId) -> Result<(), AwsError> {
        loop {
            let failures = self.failures(rule, None).await?;
            if failures.is_empty() {
                return Ok(());
            }
            for failure in failures {
                self.clear_failure(rule, &failure.key).await?;
            }
        }
    }
}
