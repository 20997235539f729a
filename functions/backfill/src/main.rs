//! Starts and maintains jobs (backfills, verifications, repairs): wiring only.

mod handler;
#[cfg(test)]
mod hostile_requests;
mod maintenance;
mod manifest;
mod request;
mod start;

use tandem_lambda::runtime::{Error, serve, start_logging};

#[tokio::main]
async fn main() -> Result<(), Error> {
    start_logging();
    let backfill = handler::Backfill::start().await?;
    serve(|invocation| backfill.handle(invocation)).await
}
