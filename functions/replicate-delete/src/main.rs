//! Carries deletes over: wiring only, the story is in `tandem_lambda::live` and `tandem_lambda::carry`.

use tandem_lambda::live::Live;
use tandem_lambda::runtime::{Error, serve, start_logging};

#[tokio::main]
async fn main() -> Result<(), Error> {
    start_logging();
    let live = Live::start("replicate-delete").await?;
    serve(|invocation| live.handle(invocation)).await
}
