//! Does the work that takes longer than the timeout of a live function: wiring only.

mod comparison;
mod dispatch;
mod extras;
mod job_pair;
mod listing_page;
mod manifest_lines;
mod manifest_page;
mod page_object;
mod rate_limit;
mod recovery;
mod report;
mod shard_loop;
mod single_keys;
mod split;

use tandem_lambda::runtime::{Error, serve, start_logging};

#[tokio::main]
async fn main() -> Result<(), Error> {
    start_logging();
    let worker = dispatch::Worker::start().await?;
    serve(|invocation| worker.handle(invocation)).await
}
