//! Starts a function: logging first, so that even a bad configuration is said in the log.

use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use chrono::SubsecRound;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use tandem_replication::Timestamp;
use tracing_subscriber::EnvFilter;

/// Whatever a `main` can fail with; Lambda writes it to the log and starts the function again.
pub type Error = lambda_runtime::Error;

/// Writes logs as JSON lines at the level of `RUST_LOG`.
pub fn start_logging() {
    tracing_subscriber::fmt()
        .json()
        .with_current_span(false)
        .with_target(false)
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .init();
}

/// Answers invocations with `handle` until Lambda ends the process.
pub async fn serve<F, R>(handle: F) -> Result<(), Error>
where
    F: Fn(LambdaEvent<Value>) -> R,
    R: Future<Output = Result<Value, lambda_runtime::Diagnostic>>,
{
    lambda_runtime::run(service_fn(handle)).await
}

/// How much time an invocation has left.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// What an invocation was given.
    pub fn of(deadline: SystemTime) -> Self {
        Self(
            Instant::now()
                + deadline
                    .duration_since(SystemTime::now())
                    .unwrap_or_default(),
        )
    }

    /// What is left.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// The present, to the millisecond. Everything below the handlers is told the time.
pub fn now() -> Timestamp {
    Timestamp::from(SystemTime::now()).trunc_subsecs(3)
}
