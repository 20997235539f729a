//! One put: copied at once where the notification says enough to pin the copy, reconciled otherwise.

use tandem_aws::s3_pair::S3Pair;
use tandem_replication::event::{Change, ObjectEvent};
use tandem_replication::fault::Fault;
use tandem_replication::replicator::{Outcome, Replicator};

/// Carries one put over.
pub async fn carry_put(
    replicator: &Replicator<'_, S3Pair>,
    event: &ObjectEvent,
) -> Result<Outcome, Fault> {
    match &event.change {
        Change::Created {
            etag: Some(etag),
            bytes: Some(bytes),
            ..
        } => replicator.put(&event.key, etag, *bytes).await,
        Change::Labels => replicator.reconcile_labels(&event.key).await,
        // Not a put, or one that does not say which object it was: the source's present state decides.
        _ => replicator.reconcile(&event.key).await,
    }
}
