//! Rounds of reconciling (rule 4). Each round reads both sides, decides, acts and reads the source again.

use crate::bucket_pair::{
    AdjustOutcome, Adjustment, BucketPair, CopyOrder, CopyOutcome, DeleteOutcome, Landed, Onto,
    Side,
};
use crate::decide::{Decision, KeepReason, decide};
use crate::fault::{Fault, Reason};
use crate::names::{Etag, ObjectKey};
use crate::object::{Attributes, ObjectState};
use crate::options::LockChoice;
use crate::overwrite::Overwrite;
use crate::part_plan::{CopyPlan, is_too_large, plan};

use super::attempt::Attempt;
use super::verify::{Ordered, Verified};
use super::{Depth, Outcome, ROUNDS_MAX, Replicator};

impl<P: BucketPair> Replicator<'_, P> {
    pub(super) async fn rounds(&self, key: &ObjectKey, attempt: Attempt) -> Result<Outcome, Fault> {
        self.rounds_from(key, None, attempt).await
    }

    /// Reconciles the key in rounds. The first round uses `seen`, which a HEAD of the source has just shown. A missing
    /// source is not passed in: only a HEAD of the same round may be a reason to delete.
    pub(super) async fn rounds_from(
        &self,
        key: &ObjectKey,
        mut seen: Option<ObjectState>,
        mut attempt: Attempt,
    ) -> Result<Outcome, Fault> {
        for _ in 0..ROUNDS_MAX {
            let source = match seen.take() {
                Some(source) => Some(source),
                None => self.pair.head(Side::Source, key).await?,
            };
            let source = source.map(|source| attempt.read(source));
            let ended = match &source {
                Some(object) => self
                    .round(key, source.as_ref(), &mut attempt)
                    .await
                    .map_err(|fault| fault.of(object))?,
                None => self.round(key, None, &mut attempt).await?,
            };
            if let Some(outcome) = ended {
                return Ok(outcome);
            }
        }
        Err(Fault::because(
            Reason::KeptChanging,
            format!(
                "cannot settle {key:?}: it kept changing through {ROUNDS_MAX} rounds; it is tried again later",
                key = key.as_str()
            ),
        ))
    }

    /// Runs one round of reconciling, from what a HEAD of the source has shown. Returns `None` if another one is
    /// needed.
    async fn round(
        &self,
        key: &ObjectKey,
        source: Option<&ObjectState>,
        attempt: &mut Attempt,
    ) -> Result<Option<Outcome>, Fault> {
        let replica = self.pair.head(Side::Replica, key).await?;
        let mut decision = decide(self.policy, self.options, source, replica.as_ref());
        if let (Decision::InSync | Decision::Adjust, Some(source), Some(replica)) =
            (&decision, source, &replica)
            && attempt.wrote_another(replica, &source.etag)
        {
            decision = Decision::Copy;
        }
        match (decision, source, replica) {
            (Decision::InSync | Decision::Adjust, Some(source), Some(replica)) => {
                self.agree_on_attributes(key, decision, source, &replica, attempt)
                    .await
            }
            (Decision::Copy, Some(source), replica) => {
                self.replace(key, source, replica.as_ref(), attempt).await
            }
            (Decision::Delete, _, Some(replica)) => self.delete(key, &replica, attempt).await,
            (Decision::Keep(reason), ..) => Ok(Some(Outcome::Kept(reason))),
            // In sync because neither side has an object. Other combinations cannot occur.
            (_, _, _) => Ok(Some(Outcome::BothAbsent)),
        }
    }

    /// Sets what else differs, if the replica has the source's object.
    async fn agree_on_attributes(
        &self,
        key: &ObjectKey,
        decision: Decision,
        source: &ObjectState,
        replica: &ObjectState,
        attempt: &mut Attempt,
    ) -> Result<Option<Outcome>, Fault> {
        let onto = self.onto(key, source, Some(replica), attempt);
        let (depth, kept) = match (decision, onto) {
            (Decision::Adjust, Err(reason)) => return Ok(Some(Outcome::Kept(reason))),
            (Decision::Adjust, Ok(_)) => (Depth::Attributes, None),
            (_, onto) => (attempt.depth, onto.err()),
        };
        let attributes = self.wanted_attributes(key, source, depth).await?;
        if decision == Decision::InSync {
            if attributes.is_none() {
                return Ok(Some(attempt.outcome(source.bytes)));
            }
            if let Some(reason) = kept {
                return Ok(Some(Outcome::Kept(reason)));
            }
        }
        self.adjust(key, source, replica, attributes, attempt)
            .await?;
        Ok(None)
    }

    /// Copies the source, if the replica is missing or is another object, and if the mode allows it.
    async fn replace(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        replica: Option<&ObjectState>,
        attempt: &mut Attempt,
    ) -> Result<Option<Outcome>, Fault> {
        let onto = match self.onto(key, source, replica, attempt) {
            Ok(onto) => onto,
            Err(reason) => return Ok(Some(Outcome::Kept(reason))),
        };
        let in_parts = source.etag.parts().is_some();
        if is_too_large(in_parts, source.bytes, self.limits) {
            return Ok(Some(Outcome::TooLargeHere {
                bytes: source.bytes,
            }));
        }
        let copied = self.copy_known(key, source, onto, attempt).await?;
        Ok(copied.map(|bytes| Outcome::Replicated { bytes }))
    }

    /// Deletes the replica of a source that has no object, unless the replica is another writer's and the attempt
    /// belongs to a job (rule 5).
    async fn delete(
        &self,
        key: &ObjectKey,
        replica: &ObjectState,
        attempt: &Attempt,
    ) -> Result<Option<Outcome>, Fault> {
        if self.own.is_some() && !self.is_own(key, replica, attempt) {
            return Ok(Some(Outcome::Kept(KeepReason::OtherWriter)));
        }
        let deleted = self.pair.delete_replica(key, &replica.etag).await?;
        let still_gone = self.pair.head(Side::Source, key).await?.is_none();
        let done = deleted == DeleteOutcome::Deleted && still_gone;
        Ok(done.then_some(Outcome::Deleted))
    }

    /// Returns what a copy may replace, or why the replica is kept. In a mode that protects the destination's objects,
    /// an attempt may replace only its own replica (rule 7).
    fn onto<'r>(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        replica: Option<&'r ObjectState>,
        attempt: &Attempt,
    ) -> Result<Onto<'r>, KeepReason> {
        if self.overwrite != Overwrite::Always
            && let Some(replica) = replica
            && self.is_own(key, replica, attempt)
        {
            return Ok(Onto::Seen(&replica.etag));
        }
        let seen = replica.map(|replica| (&replica.etag, replica.last_modified));
        self.overwrite.onto(source.last_modified, seen)
    }

    /// Returns whether this attempt wrote the replica, or an earlier attempt of its job may have.
    fn is_own(&self, key: &ObjectKey, replica: &ObjectState, attempt: &Attempt) -> bool {
        let announced = self.own.as_ref();
        attempt.wrote(replica) || announced.is_some_and(|own| own.include(key, replica))
    }

    /// Sets what differs on the replica without copying bytes. The caller has to read both sides again.
    async fn adjust(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        replica: &ObjectState,
        attributes: Option<Attributes>,
        attempt: &mut Attempt,
    ) -> Result<(), Fault> {
        let lock = (self.options.object_lock == LockChoice::Keep
            && !source.lock.is_within(&replica.lock))
        .then_some(&source.lock);
        attempt.depth = Depth::Attributes.within(self.options);
        if attributes.is_some() || lock.is_some() {
            let wanted = Adjustment { attributes, lock };
            let adjusted = self.pair.adjust(key, replica, wanted).await?;
            if adjusted == AdjustOutcome::Adjusted {
                attempt.adjusted();
            }
        }
        Ok(())
    }

    /// Copies the object that a HEAD has shown. Returns its size if the source still has it afterwards.
    async fn copy_known(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        onto: Onto<'_>,
        attempt: &mut Attempt,
    ) -> Result<Option<u64>, Fault> {
        let layout = match source.etag.parts() {
            Some(_) => self.pair.part_layout(key, source).await?,
            None => None,
        };
        let CopyPlan { parts, keeps_etag } =
            plan(source, layout, self.limits).map_err(|error| {
                Fault::new(
                    Reason::TooLarge,
                    format!("cannot copy {:?}", key.as_str()),
                    error,
                )
            })?;
        attempt.record_etag |= !keeps_etag || self.options.hide_digests();
        if attempt.record_etag {
            source.check_recognisable(key)?;
        }
        let order = CopyOrder::Known {
            source,
            parts: parts.as_ref(),
            record_etag: attempt.record_etag || self.expects_another_etag(key, source),
        };
        let Some(landed) = self.copy(key, &source.etag, order, onto, attempt).await? else {
            return Ok(None);
        };
        // Only an `ETag` that could have been kept says something about the destination.
        if source.etag_is_digest
            && source.etag.parts().is_none()
            && let Some(hint) = self.hint
        {
            hint.saw_etag(landed.etag == source.etag);
        }
        // An upload has the tags of the moment when it began, not of the moment when it copied. Further rounds have to
        // compare the attributes too. A quick whole copy has the present attributes.
        if parts.is_some() {
            attempt.depth = Depth::Attributes;
        }
        let verified = self.verify_after_write(key, &landed, Ordered::Seen(source), attempt);
        match verified.await? {
            Verified::Settled { bytes } => Ok(Some(bytes)),
            Verified::Unsettled => {
                attempt.record_etag |= landed.etag != source.etag;
                Ok(None)
            }
        }
    }

    /// Returns whether a replica is expected to have another `ETag` than its source. A hint alone never refuses an
    /// object: if the replica cannot name the source's `ETag`, the copy itself shows whether the `ETag` was kept.
    fn expects_another_etag(&self, key: &ObjectKey, source: &ObjectState) -> bool {
        !self.present_hint().keeps_etag && source.check_recognisable(key).is_ok()
    }

    /// Sends one copy of the source's object with this `ETag`, and remembers what it wrote. An attempt of a job
    /// announces the copy first. Returns `None` if nothing landed.
    pub(super) async fn copy(
        &self,
        key: &ObjectKey,
        etag: &Etag,
        order: CopyOrder<'_>,
        onto: Onto<'_>,
        attempt: &mut Attempt,
    ) -> Result<Option<Landed>, Fault> {
        if self.own.is_some() {
            self.pair.announce(key, etag).await?;
            // The mark by which a successor recognises the replica.
            if let CopyOrder::Known { source, .. } = order
                && source.origin() != *etag
            {
                self.pair.announce(key, &source.origin()).await?;
            }
        }
        match self.pair.copy(key, order, onto).await? {
            CopyOutcome::Landed(landed) => {
                attempt.landed(&landed, etag);
                Ok(Some(landed))
            }
            CopyOutcome::Overtaken | CopyOutcome::SourceGone => Ok(None),
        }
    }
}
