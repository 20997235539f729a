//! Starts a function. It starts logging first, so that the log also shows an invalid configuration.

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

/// Any error of a `main`. Lambda writes it to the log and restarts the function.
pub type Error = lambda_runtime::Error;

/// Starts writing logs as JSON lines. `RUST_LOG` sets the level: a level, or several `target=level` separated by
/// commas. If it is missing or invalid, the level is `info`.
pub fn start_logging() {
    // `EnvFilter` would add two regular expression engines to every function.
    let asked = std::env::var("RUST_LOG").ok();
    let wanted = asked.and_then(|directives| directives.parse::<Targets>().ok());
    let lines = tracing_subscriber::fmt::layer()
        .json()
        // The list of spans also contains the current span.
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

/// Returns the current time in milliseconds. Code below the handlers receives the time as an argument.
pub fn now() -> Timestamp {
    Timestamp::from(SystemTime::now()).trunc_subsecs(3)
}
