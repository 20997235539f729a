//! Does the work that takes longer than a notification may: wiring only.

mod job_pair;
mod keys;
mod lines;
mod listing_page;
mod manifest_page;
mod page_context;
mod rate_limit;
mod report;
mod shard_pages;
mod transfer;
mod worker;

use tandem_lambda::runtime::{Error, serve, start_logging};

#[tokio::main]
async fn main() -> Result<(), Error> {
    start_logging();
    let worker = worker::Worker::start().await?;
    serve(|invocation| worker.handle(invocation)).await
}
