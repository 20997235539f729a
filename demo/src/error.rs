//! The reasons why the demo ends early, and their exit codes. No I/O.

use std::fmt::Debug;

use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Wrong usage, or a machine that is not ready; nothing was done.
    #[error("{0}")]
    Refused(String),
    /// The local cloud refused a request or did not answer.
    #[error("{doing}: {cause}")]
    Aws {
        /// The request, such as "reading b/k".
        doing: String,
        /// The answer.
        cause: String,
    },
    /// The `tandem` command failed, and its message says why.
    #[error("`tandem {command}` failed with exit code {code}{said}")]
    Command {
        /// Its arguments.
        command: String,
        /// Its exit code.
        code: i32,
        /// Its message, if the user has not seen it.
        said: String,
    },
    /// The demo found a fault.
    #[error("{0}")]
    Unexpected(String),
    /// Ctrl-C, or the signal to terminate.
    #[error("interrupted")]
    Interrupted {
        /// The signal's number.
        signal: i32,
    },
}

impl Error {
    /// Makes an error from an error of the SDK.
    pub fn aws<E, R>(doing: impl Into<String>, error: &SdkError<E, R>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        R: Debug,
    {
        let cause = match error {
            SdkError::ServiceError(answer) => {
                let answer = answer.err();
                match (answer.code(), answer.message()) {
                    (Some(code), Some(message)) => format!("{code}: {message}"),
                    (Some(code), None) => code.to_owned(),
                    _ => DisplayErrorContext(answer).to_string(),
                }
            }
            _ => DisplayErrorContext(error).to_string(),
        };
        Self::Aws {
            doing: doing.into(),
            cause,
        }
    }

    /// Returns 2 if nothing was done, 128 plus the number of a signal, or else 1.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Refused(_) => 2,
            Self::Interrupted { signal } => 128 + signal,
            _ => 1,
        }
    }
}
