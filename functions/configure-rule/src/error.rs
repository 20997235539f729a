//! What can go wrong with a request: it is refused, or AWS fails.

use lambda_runtime::Diagnostic;
use tandem_aws::AwsError;
use tandem_aws::rules::WriteError;
use tandem_replication::draft::{Refusal, RefusalCode};

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// The request cannot be granted.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// AWS failed or refused.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

impl From<WriteError> for ConfigureError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Aws(error) => Self::Aws(error),
            WriteError::Conflict(rule) => Self::Refused(Refusal::new(
                RefusalCode::RuleStateConflict,
                "rule",
                rule.as_str(),
                "was changed by another request at the same time; look at it again, then repeat yours",
            )),
        }
    }
}

impl From<ConfigureError> for Diagnostic {
    fn from(error: ConfigureError) -> Self {
        let error_type = match &error {
            ConfigureError::Refused(refusal) => refusal.code.as_str(),
            ConfigureError::Aws(_) => "Internal",
        };
        Self {
            error_type: error_type.to_owned(),
            error_message: error.to_string(),
        }
    }
}
