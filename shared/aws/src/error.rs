//! One error type for all failures of requests to AWS. `classify.rs` says what each error means.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId;
use tandem_replication::fault::Fault;
use tandem_replication::names::ObjectKey;

use crate::classify::{Answer, Doing};

/// A request to AWS that failed, or an answer that is invalid.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {said}")]
pub struct AwsError {
    /// What was attempted on what.
    pub doing: String,
    /// AWS's code and message with the request's id, or why there is no answer.
    pub said: String,
    /// AWS's error code, if there was an answer with one.
    pub code: Option<String>,
    /// The answer's HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The SDK's error.
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl AwsError {
    /// Returns the error of a failed request.
    pub fn request<E>(doing: impl Into<String>, error: SdkError<E, Response>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        Self::described(doing, &error).caused_by(error)
    }

    /// Returns the error of a failed request like [`Self::request`], without taking ownership of the SDK's error.
    pub fn described<E>(doing: impl Into<String>, error: &SdkError<E, Response>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let refused = Refused::of(error);
        Self::answered(doing, refused.said, refused.code, refused.status)
    }

    /// Returns the error of an answer with this code and status.
    pub fn answered(
        doing: impl Into<String>,
        said: impl std::fmt::Display,
        code: Option<String>,
        status: Option<u16>,
    ) -> Self {
        Self {
            doing: doing.into(),
            said: said.to_string(),
            code,
            status,
            source: None,
        }
    }

    /// Returns the error of an invalid answer or stored item.
    pub fn unexpected(doing: impl Into<String>, said: impl std::fmt::Display) -> Self {
        Self::answered(doing, said, None, None)
    }

    fn caused_by(self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self {
            source: Some(Box::new(cause)),
            ..self
        }
    }

    /// Whether AWS answered with this error code.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Returns what this error of the stack's own services means for an object.
    pub fn into_fault(self) -> Fault {
        let reason = Answer::of(self.code.as_deref(), self.status).of_the_stack();
        Fault::new(reason, self.to_string(), self)
    }
}

impl From<AwsError> for Fault {
    fn from(error: AwsError) -> Self {
        error.into_fault()
    }
}

/// The parts of a failed request's answer that classify it.
pub(crate) struct Refused {
    pub(crate) code: Option<String>,
    pub(crate) status: Option<u16>,
    said: String,
}

impl Refused {
    pub(crate) fn of<E>(error: &SdkError<E, Response>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let status = match error {
            // Only part of the answer arrived, so its status does not show the outcome.
            SdkError::ResponseError(_) => None,
            _ => error
                .raw_response()
                .map(|response| response.status().as_u16()),
        };
        let code = error.code().map(str::to_owned);
        let said = match (&code, error.message(), status) {
            (Some(code), Some(message), _) => format!("{code}: {message}"),
            (Some(code), None, _) => code.clone(),
            (None, _, Some(status)) => format!("HTTP status {status}"),
            (None, _, None) => causes(error),
        };
        let said = match error.request_id() {
            Some(id) => format!("{said} (request id {id})"),
            None => said,
        };
        Self { code, status, said }
    }
}

/// Returns an error and its causes in one line.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said
}

/// Returns what S3's refusal of a request means for the object of the request.
pub(crate) fn fault<E>(doing: Doing, key: &ObjectKey, error: SdkError<E, Response>) -> Fault
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let refused = Refused::of(&error);
    let answer = Answer::of(refused.code.as_deref(), refused.status);
    let reason = doing.reason(answer, &refused.said);
    let message = format!("{} {:?}: {}", doing.as_str(), key.as_str(), refused.said);
    Fault::new(reason, message, error)
}
