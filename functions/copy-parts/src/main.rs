//! Copies ranges of a large object's parts, and aborts abandoned uploads: wiring only.

mod completion;
mod dispatch;
mod range;
mod sweep;

use tandem_lambda::runtime::{Error, serve, start_logging};

#[tokio::main]
async fn main() -> Result<(), Error> {
    start_logging();
    let worker = dispatch::Worker::start().await?;
    serve(|invocation| worker.handle(invocation)).await
}
