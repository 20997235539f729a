//! One delete: never taken at its word. The replica goes only if the source itself has no such object
//! now; if the key was put again meanwhile, the new object is carried over instead.

use tandem_aws::s3_pair::S3Pair;
use tandem_replication::event::ObjectEvent;
use tandem_replication::fault::Fault;
use tandem_replication::replicator::{Outcome, Replicator};

/// Carries one delete over.
pub async fn carry_delete(
    replicator: &Replicator<'_, S3Pair>,
    event: &ObjectEvent,
) -> Result<Outcome, Fault> {
    replicator.reconcile(&event.key).await
}
