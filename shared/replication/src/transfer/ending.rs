//! How transfers end: they are completed and compared with the source again, or restarted. Another worker may repeat
//! each step, so a worker may die between any two steps.

use crate::bucket_pair::{BucketPair, Onto, Side};
use crate::decide::KeepReason;
use crate::fault::{Fault, Reason};
use crate::in_flight::OwnWrites;
use crate::names::{Etag, UploadId};
use crate::object::ObjectState;
use crate::replicator::{Depth, Outcome};
use crate::transfer::begin::{KeyChange, Origin, Transferrer};
use crate::transfer::copying::Progress;
use crate::transfer::ports::{
    Answer, Completed, CompletionOrder, TransferPorts, UploadedPart, Uploads,
};
use crate::transfer::uploads::{Aborted, abort_logged};
use crate::transfer::{Invalidated, Transfer, TransferSource};

impl<P: TransferPorts> Transferrer<'_, P> {
    /// Completes the upload, if no worker has done that, and reads the source again.
    pub(super) async fn complete(
        &self,
        transfer: &Transfer,
        upload: &UploadId,
    ) -> Answer<Progress> {
        let (pair, key) = (self.ports.pair(), &transfer.key);
        let replica = if transfer.overwrite.is_always() {
            None
        } else {
            pair.head(Side::Replica, key).await?
        };
        let onto = match onto(transfer, replica.as_ref()) {
            Ok(onto) => onto,
            Err(reason) => return self.keep(transfer, reason).await,
        };
        let count = transfer.layout.count();
        let Some(parts) = pair.uploaded_parts(key, upload, 1, count).await? else {
            return self.read_again(transfer, None).await;
        };
        if !parts.iter().map(UploadedPart::number).eq(1..=count) {
            let said = format!(
                "cannot complete the upload to {:?}: S3 does not list all its parts",
                key.as_str()
            );
            return Err(Fault::because(Reason::ServiceFailed, said));
        }
        let order = CompletionOrder {
            parts,
            checksum: transfer.checksum.as_ref(),
            wanted: (!transfer.records_etag).then_some(&transfer.source.etag),
            onto,
        };
        match pair.complete(key, upload, order).await? {
            Completed::OtherEtag => Ok(Progress::Invalid(Invalidated::OtherEtag)),
            Completed::NoUpload => self.read_again(transfer, None).await,
            // The next delivery decides again what may be replaced. The parts are still there.
            Completed::Overtaken => Err(Fault::because(
                Reason::KeptChanging,
                format!(
                    "cannot complete the transfer of {:?}: the destination's object changed in the meantime",
                    key.as_str()
                ),
            )),
            Completed::Landed(etag) => self.landed(transfer, etag).await,
        }
    }

    async fn landed(&self, transfer: &Transfer, etag: Etag) -> Answer<Progress> {
        match self.read_again(transfer, Some(etag)).await? {
            // Another copy in the same way would differ again.
            Progress::Invalid(_) if self.is_still_the_source(transfer).await? => {
                Ok(Progress::Invalid(Invalidated::OtherEtag))
            }
            progress => Ok(progress),
        }
    }

    /// Reconciles the key after the upload has landed, or may have landed: the source's present state decides. In a
    /// mode that protects the destination's objects, only what this transfer wrote may be replaced.
    pub(super) async fn read_again(
        &self,
        transfer: &Transfer,
        landed: Option<Etag>,
    ) -> Answer<Progress> {
        let key = &transfer.key;
        let own = OwnWrites::default().with(key, &transfer.source.etag);
        let own = landed.iter().fold(own, |own, etag| own.with(key, etag));
        let is_live = transfer.event_time.is_some() && transfer.overwrite.is_always();
        let change = KeyChange {
            key: &transfer.key,
            event_time: transfer.event_time,
            overwrite: transfer.overwrite,
            depth: Depth::Attributes,
            hops: transfer.hops,
            origin: if is_live {
                Origin::Live
            } else {
                Origin::Job { own }
            },
        };
        let replicator = self.replicator(&change, self.limits);
        match replicator.reconcile(&transfer.key).await? {
            Outcome::TooLargeHere { .. } => Ok(Progress::Invalid(Invalidated::Overtaken)),
            outcome => Ok(Progress::Finished(outcome)),
        }
    }

    /// Keeps the destination's object. The upload is aborted, so that no completion lands after this decision. If the
    /// upload was already gone, it may have landed before.
    async fn keep(&self, transfer: &Transfer, reason: KeepReason) -> Answer<Progress> {
        match abort_logged(self.ports.pair(), &transfer.upload, self.ports.now()).await? {
            Aborted::Uploads(_) => Ok(Progress::Finished(Outcome::Kept(reason))),
            Aborted::NoUpload => self.read_again(transfer, None).await,
        }
    }

    async fn is_still_the_source(&self, transfer: &Transfer) -> Answer<bool> {
        let source = self.ports.pair().head(Side::Source, &transfer.key).await?;
        Ok(source.is_some_and(|source| TransferSource::of(&source) == transfer.source))
    }

    /// Restarts a transfer: its object is sent, to be reconciled from the beginning. The transfer is invalidated before
    /// the message is sent, so that the receiver does not join it. Its upload is aborted before as well, so that
    /// nothing lands through it after the receiver has read both sides.
    pub async fn restart(&self, transfer: &Transfer, why: Invalidated) -> Answer<()> {
        let is_current = self.ports.invalidate(transfer, why).await?;
        abort_logged(self.ports.pair(), &transfer.upload, self.ports.now()).await?;
        // The object is sent even if another transfer has replaced this one: what this one completed may have landed on
        // top of it.
        self.send_object(transfer, transfer.hops + 1).await?;
        // After `OtherEtag` the transfer stays, because the receiver has to know about the other ETag.
        if is_current && why == Invalidated::Overtaken {
            self.ports.remove(transfer).await?;
        }
        Ok(())
    }

    /// Sends the object of a transfer, to be reconciled. This begins a new chain of messages.
    pub async fn send_object_of(&self, transfer: &Transfer) -> Answer<()> {
        self.send_object(transfer, 0).await
    }

    async fn send_object(&self, transfer: &Transfer, hops: u32) -> Answer<()> {
        let (key, overwrite) = (&transfer.key, transfer.overwrite);
        let changed_at = transfer.changed_at();
        self.ports
            .send_object(key, changed_at, overwrite, hops)
            .await
    }

    /// Records that a transfer's messages are gone, because its key was deferred or its last delivery failed. The parts
    /// stay: the next change of the key, or the sweep, continues the transfer.
    pub async fn without_messages(&self, transfer: &Transfer) -> Answer<()> {
        let now = self.ports.now();
        self.ports.mark_sent(transfer, false, now).await?;
        Ok(())
    }
}

/// Returns what the completion may replace, or why the replica is kept.
fn onto<'r>(transfer: &Transfer, replica: Option<&'r ObjectState>) -> Result<Onto<'r>, KeepReason> {
    let seen = replica.map(|replica| (&replica.etag, replica.last_modified));
    transfer.overwrite.onto(transfer.source.last_modified, seen)
}
