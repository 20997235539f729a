//! Replicates deletes: wiring only. `tandem_lambda::live` and `tandem_lambda::key_lifecycle` do the work.

use tandem_lambda::live::handle;
use tandem_lambda::runtime::{Error, serve, start_logging};
use tandem_lambda::services::Services;

#[tokio::main]
async fn main() -> Result<(), Error> {
    start_logging();
    let services = Services::start().await?;
    serve(|invocation| handle(&services, "replicate-delete", invocation)).await
}
