//! Why the demo ends early, and the exit code of each reason. No I/O.

use std::fmt::Debug;

use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

/// Why the story was not told to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Wrong usage, or a machine that is not ready; nothing was done.
    #[error("{0}")]
    Refused(String),
    /// The local cloud refused a request or did not answer.
    #[error("{doing}: {cause}")]
    Aws {
        /// What was being done.
        doing: String,
        /// What was answered.
        cause: String,
    },
    /// The `tandem` command failed. It has said why.
    #[error("`tandem {command}` failed with exit code {code}{said}")]
    Command {
        /// Its arguments.
        command: String,
        /// Its exit code.
        code: i32,
        /// What it said, where the user has not seen it.
        said: String,
    },
    /// Something is not as it has to be: the demo found a fault.
    #[error("{0}")]
    Unexpected(String),
    /// Ctrl-C, or the signal to end.
    #[error("interrupted")]
    Interrupted {
        /// The signal's number.
        signal: i32,
    },
}

impl Error {
    /// From an answer of the SDK.
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

    /// 2 where nothing was done, 128 and the number of a signal, else 1.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Refused(_) => 2,
            Self::Interrupted { signal } => 128 + signal,
            _ => 1,
        }
    }
}
