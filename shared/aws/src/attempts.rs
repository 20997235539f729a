//! Counts in the table how often functions have begun to process a message. SQS's own count also includes deliveries that
//! no function saw: Lambda takes messages from a queue before it knows whether the account's concurrency allows an
//! invocation, and returns them if it does not.
//!
//! Source: Lambda developer guide, "Handling errors for an SQS event source in Lambda".

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use tandem_replication::Timestamp;

use crate::AwsError;
use crate::table::{Table, key};

/// The only item of a message.
const SORT_KEY: &str = "attempts";

impl Table {
    /// Counts a redelivery of a message, and returns how many redeliveries functions have seen. DynamoDB deletes the item
    /// after `expires_at`.
    pub async fn count_redelivery(
        &self,
        message_id: &str,
        expires_at: Timestamp,
    ) -> Result<u32, AwsError> {
        let doing = || format!("counting the attempts at message {message_id}");
        let number = |number: i64| AttributeValue::N(number.to_string());
        let counted = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(&format!("message#{message_id}"), SORT_KEY)))
            .update_expression("SET expires_at = :expires_at ADD redeliveries :one")
            .expression_attribute_values(":expires_at", number(expires_at.timestamp()))
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::UpdatedNew)
            .send()
            .await
            .map_err(|error| AwsError::request(doing(), &error))?;
        counted
            .attributes()
            .and_then(|attributes| attributes.get("redeliveries")?.as_n().ok()?.parse().ok())
            .ok_or_else(|| AwsError::unexpected(doing(), "the answer has no count"))
    }
}
