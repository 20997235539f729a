//! Starts backfills of historical objects: wiring only.

mod handler;
#[cfg(test)]
mod hostile_requests;
mod request;

use tandem_lambda::runtime::{Error, serve, start_logging};

#[tokio::main]
async fn main() -> Result<(), Error> {
    start_logging();
    let backfill = handler::Backfill::start().await?;
    serve(|invocation| backfill.handle(invocation)).await
}
