//! Starts a function: logging first, so that even a bad configuration is said in the log.

use std::future::Future;
use std::time::SystemTime;

use chrono::SubsecRound;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use tandem_replication::Timestamp;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use tandem_aws::clock::Deadline;

/// Whatever a `main` can fail with; Lambda writes it to the log and starts the function again.
pub type Error = lambda_runtime::Error;

/// Writes logs as JSON lines, as `RUST_LOG` says: a level, or `target=level` and a comma between several. By
/// default, and if it cannot be read, `info`.
pub fn start_logging() {
    // Not `EnvFilter`, which brings two engines of regular expressions into every function.
    let asked = std::env::var("RUST_LOG").ok();
    let wanted = asked.and_then(|directives| directives.parse::<Targets>().ok());
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .with_current_span(false)
        .with_target(false)
        .with_filter(wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO)));
    tracing_subscriber::registry().with(lines).init();
}

/// Answers invocations with `handle` until Lambda ends the process.
pub async fn serve<F, R>(handle: F) -> Result<(), Error>
where
    F: Fn(LambdaEvent<Value>) -> R,
    R: Future<Output = Result<Value, lambda_runtime::Diagnostic>>,
{
    lambda_runtime::run(service_fn(handle)).await
}

/// The present, to the millisecond. Everything below the handlers is told the time.
pub fn now() -> Timestamp {
    Timestamp::from(SystemTime::now()).trunc_subsecs(3)
}
