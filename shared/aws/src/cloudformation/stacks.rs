//! The status of a stack in CloudFormation.

use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::StackStatus;

use crate::{Aws, AwsError};

/// Whether the stack with this id is being deleted, and not only updated or rolled back.
pub async fn is_being_deleted(aws: &Aws, stack_id: &str) -> Result<bool, AwsError> {
    let doing = || format!("reading the status of the stack {stack_id}");
    let answer = Client::new(aws.config())
        .describe_stacks()
        .stack_name(stack_id)
        .send()
        .await
        .map_err(|error| AwsError::request(doing(), error))?;
    let status = answer
        .stacks()
        .first()
        .and_then(|stack| stack.stack_status());
    match status {
        Some(status) => Ok(*status == StackStatus::DeleteInProgress),
        None => Err(AwsError::unexpected(doing(), "the answer has no status")),
    }
}
