//! What AWS said when something failed, as one error type, and as a fault of one object.

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tandem_replication::bucket_pair::Side;
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::names::ObjectKey;

/// A request to AWS that failed, or an answer that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {said}")]
pub struct AwsError {
    /// What was being done to what.
    pub doing: String,
    /// AWS's code and message, or what went wrong on the way.
    pub said: String,
    /// AWS's error code, if there was an answer with one.
    pub code: Option<String>,
    /// The answer's HTTP status, if there was an answer.
    pub status: Option<u16>,
}

impl AwsError {
    /// A failed request.
    pub fn request<E>(doing: impl Into<String>, error: &SdkError<E, Response>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let refusal = Refused::of(error);
        Self {
            doing: doing.into(),
            said: refusal.said,
            code: refusal.code,
            status: refusal.status,
        }
    }

    /// An answer, or a stored item, that cannot be understood.
    pub fn unexpected(doing: impl Into<String>, said: impl std::fmt::Display) -> Self {
        Self {
            doing: doing.into(),
            said: said.to_string(),
            code: None,
            status: None,
        }
    }

    /// Whether AWS answered with this error code.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

/// The parts of a failed request's answer that tell what to make of it.
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
            // The answer began, but did not come to its end: its status says nothing yet.
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
        Self { code, status, said }
    }
}

/// An error and what caused it, in one line.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said
}

/// What was being done to an object when S3 refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Head(Side),
    ReadTags(Side),
    Copy,
    PutTags,
    Delete,
}

impl Doing {
    fn as_str(self) -> &'static str {
        match self {
            Self::Head(Side::Source) => "looking at the source",
            Self::Head(Side::Replica) => "looking at the replica",
            Self::ReadTags(Side::Source) => "reading the source's tags",
            Self::ReadTags(Side::Replica) => "reading the replica's tags",
            Self::Copy => "copying",
            Self::PutTags => "writing the replica's tags",
            Self::Delete => "deleting the replica",
        }
    }

    /// What a 403 means here.
    fn denied(self) -> Reason {
        match self {
            Self::Head(Side::Source) => Reason::SrcHeadObjectNotPermitted,
            Self::Head(Side::Replica) => Reason::DstHeadObjectNotPermitted,
            Self::ReadTags(Side::Source) => Reason::SrcGetTaggingNotPermitted,
            Self::ReadTags(Side::Replica) | Self::PutTags => Reason::DstPutTaggingNotPermitted,
            Self::Copy => Reason::DstPutObjectNotPermitted,
            Self::Delete => Reason::DstDelObjNotPermitted,
        }
    }

    /// What a missing bucket means here.
    fn bucket_gone(self) -> Reason {
        match self {
            Self::Head(Side::Source) | Self::ReadTags(Side::Source) => Reason::SrcBucketNotFound,
            _ => Reason::DstBucketNotFound,
        }
    }
}

/// The one place where S3's refusals of object requests are classified.
pub(crate) fn fault<E>(doing: Doing, key: &ObjectKey, error: SdkError<E, Response>) -> Fault
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let refused = Refused::of(&error);
    let code = refused.code.as_deref().unwrap_or_default();
    let reason = match (code, refused.status) {
        _ if code.starts_with("KMS") || code.starts_with("Kms") => Reason::KmsKeyNotUsable,
        ("SlowDown" | "Throttling" | "ThrottlingException" | "RequestLimitExceeded", _)
        | (_, Some(429)) => Reason::Throttled,
        ("InvalidObjectState" | "ObjectNotInActiveTierError", _) => Reason::SrcObjectArchived,
        ("NoSuchBucket", _) => doing.bucket_gone(),
        ("EntityTooLarge", _) => Reason::TooLarge,
        // Credentials that have just run out are new at the next attempt; clocks that differ are not ours.
        // Some come with the status 200 too: a copy's answer begins before its end is known.
        (
            "ExpiredToken"
            | "RequestTimeTooSkewed"
            | "RequestTimeout"
            | "OperationAborted"
            | "InternalError"
            | "ServiceUnavailable",
            _,
        )
        | (_, Some(409 | 500..=599)) => Reason::ServiceFailed,
        (_, None) => Reason::NotAnswered,
        ("AccessDenied", _) | (_, Some(401 | 403)) => doing.denied(),
        _ => Reason::RequestRefused,
    };
    let message = format!("{} {:?}: {}", doing.as_str(), key.as_str(), refused.said);
    Fault::new(reason, message, error)
}
