//! Starts one function from another.

use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use tandem_replication::names::{JobId, RuleId};

use crate::{Aws, AwsError};

/// Starts a backfill of `rule` without waiting for it. Lambda repeats the invocation if the function fails. The
/// repetition is harmless, because it has the same job id.
pub async fn start_backfill(
    aws: &Aws,
    function: &str,
    rule: &RuleId,
    job: &JobId,
) -> Result<(), AwsError> {
    let request = serde_json::json!({"action": "start", "rule": rule, "job_id": job});
    Client::new(aws.config())
        .invoke()
        .function_name(function)
        .invocation_type(InvocationType::Event)
        .payload(Blob::new(request.to_string()))
        .send()
        .await
        .map_err(|error| AwsError::request(format!("invoking {function}"), error))?;
    Ok(())
}
