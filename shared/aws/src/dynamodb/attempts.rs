//! Counts in the table how often functions have begun to process a message. SQS's own count also includes deliveries
//! that no function saw: Lambda receives messages from a queue before it knows whether the account's concurrency allows
//! an invocation, and returns them to the queue if it does not.
//!
//! Source: Lambda developer guide, "Handling errors for an SQS event source in Lambda".

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use tandem_replication::Timestamp;

use crate::AwsError;
use crate::dynamodb::table::{Table, key};

/// The sort key of a message's only item.
const SORT_KEY: &str = "attempts";

impl Table {
    /// Records that a function has seen the `receives`th delivery of a message, and returns how many of the message's
    /// redeliveries functions have seen. Idempotent, because each redelivery is recorded by its number. The table
    /// deletes the item after `expires_at`.
    pub async fn count_redelivery(
        &self,
        message_id: &str,
        receives: u32,
        expires_at: Timestamp,
    ) -> Result<usize, AwsError> {
        let doing = || format!("counting the attempts at message {message_id}");
        let seen = AttributeValue::Ns(vec![receives.to_string()]);
        let expires_at = AttributeValue::N(expires_at.timestamp().to_string());
        let counted = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(&format!("message#{message_id}"), SORT_KEY)))
            .update_expression("SET expires_at = :expires_at ADD redeliveries :seen")
            .expression_attribute_values(":expires_at", expires_at)
            .expression_attribute_values(":seen", seen)
            .return_values(ReturnValue::UpdatedNew)
            .send()
            .await
            .map_err(|error| AwsError::request(doing(), error))?;
        counted
            .attributes()
            .and_then(|attributes| attributes.get("redeliveries")?.as_ns().ok())
            .map(Vec::len)
            .ok_or_else(|| AwsError::unexpected(doing(), "the answer lacks the redeliveries"))
    }
}
