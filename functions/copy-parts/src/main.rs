//! Copies ranges of a large object's parts, and aborts uploads that were left behind: wiring only.

mod ending;
mod range;
mod sweep;
mod worker;

use tandem_lambda::runtime::{Error, serve, start_logging};

#[tokio::main]
async fn main() -> Result<(), Error> {
    start_logging();
    let worker = worker::Worker::start().await?;
    serve(|invocation| worker.handle(invocation)).await
}
