//! The errors that end a command early, with messages that say what to do, and their exit codes. No I/O.

use std::error::Error as StdError;
use std::io;

use aws_sdk_lambda::config::http::HttpResponse;
use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};

use crate::exit::Exit;
use crate::human;

/// The codes of `docs/contract.md` with which a function refuses a request. `Internal` is not a
/// refusal, and neither is a code of the Lambda service itself, such as `Sandbox.Timedout`.
const REFUSALS: [&str; 19] = [
    "InvalidRequest",
    "InvalidBucketName",
    "SameBucket",
    "SameRegion",
    "RegionsNotAllowed",
    "InvalidScope",
    "InvalidOptions",
    "BucketInUse",
    "TwoWay",
    "BucketNotFound",
    "BucketNotAccessible",
    "SourceOutsideRegion",
    "DestinationRegionMismatch",
    "NotificationConflict",
    "RuleNotFound",
    "JobNotFound",
    "FailureNotFound",
    "RuleStateConflict",
    "JobStateConflict",
];

/// The codes with which AWS rejects credentials that are unknown or expired.
const BAD_CREDENTIALS: [&str; 8] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "IncompleteSignature",
];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A function refused the request, and its message says why.
    #[error("{message} ({code})")]
    Refused { code: String, message: String },

    /// The arguments are well formed, but the command cannot follow them.
    #[error("{0}")]
    Usage(String),

    /// A function failed: `Internal`, or the Lambda service ended it.
    #[error("{function} failed: {message} ({code})")]
    FunctionFailed {
        function: String,
        code: String,
        message: String,
    },

    #[error(
        "there is no function {function} in {region}\n\
         deploy the stack there, or name the right stack with --stack-name and --region (or --profile)"
    )]
    NoFunction { function: String, region: String },

    #[error(
        "no region is set\n\
         give --region, set AWS_REGION, or put `region` into the profile"
    )]
    NoRegion,

    #[error(
        "no usable AWS credentials: {0}\n\
         set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, give --profile, or run `aws login` or `aws sso login`"
    )]
    Credentials(String),

    #[error(
        "{doing}: no connection: {detail}\n\
         check the network, --region and --endpoint-url"
    )]
    Unreachable { doing: String, detail: String },

    /// AWS understood the request and refused it.
    #[error("{doing}: AWS said {code}: {message}")]
    Aws {
        doing: String,
        code: String,
        message: String,
    },

    /// An answer that does not follow `docs/contract.md` or the S3 documentation.
    #[error(
        "{from}: cannot understand the answer: {detail}\n\
         check that the deployed stack has the same version as this command"
    )]
    UnexpectedAnswer { from: String, detail: String },

    /// A listing out of key order. The comparison is correct only if both listings are in order.
    #[error(
        "the listing of {bucket} is not in key order: {key} came after {previous}; nothing was compared\n\
         directory buckets (S3 Express One Zone) list in no order and cannot be compared"
    )]
    Unordered {
        bucket: String,
        previous: String,
        key: String,
    },

    #[error("cannot write the output: {0}")]
    Output(#[source] io::Error),

    #[error("cannot write the report {to}: {error}")]
    Report {
        to: String,
        #[source]
        error: io::Error,
    },

    /// Ctrl-C while watching or waiting; no message is printed.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Makes an error from the `errorType` and `errorMessage` of a function error.
    pub fn function(function: &str, code: &str, message: &str) -> Self {
        if REFUSALS.contains(&code) {
            Self::Refused {
                code: code.to_owned(),
                message: message.to_owned(),
            }
        } else {
            Self::FunctionFailed {
                function: function.to_owned(),
                code: code.to_owned(),
                message: message.to_owned(),
            }
        }
    }

    /// Makes an error from a failed AWS request; `doing` says what it was for, such as "listing photos".
    pub fn aws<E>(doing: impl Into<String>, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let doing = doing.into();
        if let SdkError::ServiceError(answer) = error {
            let status = answer.raw().status().as_u16();
            let code = answer
                .err()
                .code()
                .map_or_else(|| format!("HTTP {status}"), str::to_owned);
            let message = answer.err().message().unwrap_or("no further message");
            return if BAD_CREDENTIALS.contains(&code.as_str()) {
                Self::Credentials(format!("AWS said {code}: {message}"))
            } else {
                Self::Aws {
                    doing,
                    code,
                    message: message.to_owned(),
                }
            };
        }
        let detail = chain(error);
        match error {
            // The SDK has no variant for this: only the chain of causes shows a credential provider's failure.
            _ if detail.contains("credential") => Self::Credentials(brief(&detail)),
            SdkError::ResponseError(_) => Self::UnexpectedAnswer {
                from: doing,
                detail,
            },
            _ => Self::Unreachable { doing, detail },
        }
    }

    /// Makes an error from two neighbours of a listing that are in the wrong order.
    pub fn unordered(bucket: &str, previous: &str, key: &str) -> Self {
        Self::Unordered {
            bucket: bucket.to_owned(),
            previous: human::key(previous),
            key: human::key(key),
        }
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::Refused { .. } | Self::Usage(_) => Exit::Refused,
            Self::Interrupted => Exit::Interrupted,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::BrokenPipe,
            _ => Exit::Failed,
        }
    }

    /// Returns whether the same request may succeed soon, so that a watch can go on.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::FunctionFailed { .. } => true,
            Self::Aws { code, .. } => {
                code.contains("Throttl")
                    || code.contains("TooManyRequests")
                    || code.contains("ServiceException")
                    || code.starts_with("HTTP 5")
            }
            _ => false,
        }
    }
}

/// The messages of an error and its causes, without those that only repeat another.
fn chain(error: &dyn StdError) -> String {
    let mut messages: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let message = error.to_string();
        if !messages.iter().any(|said| said.contains(&message)) {
            messages.push(message);
        }
        next = error.source();
    }
    messages.join(": ")
}

/// Returns the first line of the credential chain's message; the rest lists every provider that it tried.
fn brief(detail: &str) -> String {
    let line = detail.lines().next().unwrap_or_default();
    let line = line.strip_suffix(" Attempted:").unwrap_or(line);
    let start = line.find("no credentials").unwrap_or(0);
    line[start..].trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTRACT: &str = include_str!("../../docs/contract.md");

    fn codes_of_the_contract() -> Vec<&'static str> {
        let (_, table) = CONTRACT.split_once("## Codes").unwrap();
        table
            .lines()
            .filter(|line| line.starts_with("| `"))
            .flat_map(|line| {
                line.split('|')
                    .nth(1)
                    .unwrap()
                    .split('`')
                    .skip(1)
                    .step_by(2)
            })
            .collect()
    }

    #[test]
    fn every_code_of_the_contract_has_its_exit_code() {
        let codes = codes_of_the_contract();
        for code in REFUSALS {
            let is_documented = codes.contains(&code);
            assert!(is_documented, "{code} is not a code of the contract");
        }
        for code in codes {
            let expected = if code == "Internal" {
                Exit::Failed
            } else {
                Exit::Refused
            };
            assert_eq!(Error::function("f", code, "m").exit(), expected, "{code}");
        }
    }

    #[test]
    fn an_error_of_the_lambda_service_is_a_failure() {
        for code in ["Sandbox.Timedout", "Runtime.ExitError", "Unhandled", ""] {
            assert_eq!(Error::function("f", code, "m").exit(), Exit::Failed);
        }
    }

    #[test]
    fn a_refusal_shows_message_and_code() {
        let error = Error::function("f", "SameBucket", "destination: is the source");
        assert_eq!(error.to_string(), "destination: is the source (SameBucket)");
    }

    #[test]
    fn a_broken_pipe_is_not_a_failure() {
        let error = Error::Output(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(error.exit(), Exit::BrokenPipe);
        let error = Error::Output(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(error.exit(), Exit::Failed);
    }

    #[test]
    fn a_refusal_ends_a_watch_and_a_lost_connection_does_not() {
        assert!(!Error::function("f", "RuleNotFound", "m").is_passing());
        assert!(Error::function("f", "Internal", "m").is_passing());
        let lost = Error::Unreachable {
            doing: "asking".into(),
            detail: "reset".into(),
        };
        assert!(lost.is_passing());
    }
}
