//! Creates, shows, changes and deletes rules: wiring only.

mod attach;
mod buckets;
mod change;
mod check;
mod cloudformation;
mod create;
mod dead_letters;
mod declaration;
mod declare;
mod detach_all;
mod failures;
mod handler;
#[cfg(test)]
mod hostile_declarations;
#[cfg(test)]
mod hostile_requests;
mod request;
mod show;
mod stack;
mod terraform;

use tandem_lambda::runtime::{Error, serve, start_logging};

#[tokio::main]
async fn main() -> Result<(), Error> {
    start_logging();
    let stack = stack::Stack::start().await?;
    serve(|invocation| stack.handle(invocation)).await
}
