//! What a live function does with one change. Both functions do the same, whichever queue the change came through: a
//! topic may deliver every kind of event to either queue.

use tandem_aws::s3_pair::S3Pair;
use tandem_replication::event::{Change, CreatedBy, ObjectEvent};
use tandem_replication::fault::Fault;
use tandem_replication::replicator::{Outcome, Replicator};

/// Carries one change over. A put is copied at once if the notification says enough to pin the copy. An object that a
/// copy created is compared with its replica first: the copy may be Tandem's own, and a circle of rules ends there. A
/// delete is never taken at its word: the replica goes only if the source itself has no such object now, and if the key
/// was put again meanwhile, the new object is carried over instead.
pub async fn carry(
    replicator: &Replicator<'_, S3Pair>,
    event: &ObjectEvent,
) -> Result<Outcome, Fault> {
    match &event.change {
        Change::Created {
            etag: Some(etag),
            bytes: Some(bytes),
            by: CreatedBy::Put,
            ..
        } => replicator.put(&event.key, etag, *bytes).await,
        Change::Labels => replicator.reconcile_labels(&event.key).await,
        // The source's present state decides.
        _ => replicator.reconcile(&event.key).await,
    }
}
