//! Does the work that takes longer than a notification may: wiring only.

mod doubt;
mod errand;
mod follow;
mod keys;
mod lines;
mod manifest_page;
mod pace;
mod page;
mod report;
mod shard;
mod transfer;
mod visit;
mod worker;

use tandem_lambda::runtime::{Error, serve, start_logging};

#[tokio::main]
async fn main() -> Result<(), Error> {
    start_logging();
    let worker = worker::Worker::start().await?;
    serve(|invocation| worker.handle(invocation)).await
}
