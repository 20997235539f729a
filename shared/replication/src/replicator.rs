//! The per-key protocol: how one key's replica is made to agree with its source. All I/O goes through
//! the [`BucketPair`] it is given.
//!
//! Nothing fences the destination, so the protocol repairs instead of locking: whoever lands something
//! looks at the source again, and whoever finds it changed reconciles. The rules, in short:
//!
//! 1. A notification is a hint; the source's present state decides.
//! 2. A put is first tried as one copy pinned to the notification's `ETag`.
//! 3. After anything landed, the source is read again; only what is still there is done.
//! 4. A pinned copy that finds another object, or none, is not success: reconcile.
//! 5. Only the source's own 404 is a reason to delete.

use chrono::TimeDelta;

use crate::bucket_pair::{BucketPair, CopyOrder, CopyOutcome, DeleteOutcome, Landed, Side};
use crate::decide::{Decision, KeepReason, decide};
use crate::fault::{Fault, Reason};
use crate::names::{Etag, ObjectKey};
use crate::object::ObjectState;
use crate::part_plan::{CopyLimits, plan};
use crate::rule::Policy;

/// How often one attempt reconciles a key before it goes back to the queue: each round beyond the first
/// means that the source changed while it was being copied.
pub const ROUNDS_MAX: u32 = 4;

/// `Last-Modified` is given in whole seconds.
const LAST_MODIFIED_RESOLUTION: TimeDelta = TimeDelta::seconds(1);

/// What became of a key. Each of these is a reason to acknowledge its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The replica was written and agrees with the source.
    Replicated {
        /// The object's size.
        bytes: u64,
    },
    /// The replica was deleted, and the source still has no object.
    Deleted,
    /// The replica agreed with the source already.
    InSync,
    /// Neither side has an object.
    BothAbsent,
    /// The replica does not agree, and the rule wants it so.
    Kept(KeepReason),
    /// The object is too large for this function, which did nothing: it has to be handed to one with more
    /// time before its messages are acknowledged.
    TooLargeHere {
        /// The object's size.
        bytes: u64,
    },
}

/// Carries one rule's changes over, key by key.
#[derive(Debug)]
pub struct Replicator<'a, P> {
    pair: &'a P,
    policy: Policy,
    limits: CopyLimits,
}

/// Whether what landed is what the source holds now.
enum Standing {
    /// It is; the size is the source's.
    Settled { bytes: u64 },
    /// It is not, or not for certain.
    Unsettled,
}

impl<'a, P: BucketPair> Replicator<'a, P> {
    /// A replicator between the two buckets of `pair`.
    pub fn new(pair: &'a P, policy: Policy, limits: CopyLimits) -> Self {
        Self {
            pair,
            policy,
            limits,
        }
    }

    /// Carries a put over: the source is said to hold an object of this `ETag` and size.
    ///
    /// Costs one COPY and one HEAD where nothing else happens to the key meanwhile.
    pub async fn put(&self, key: &ObjectKey, etag: &Etag, bytes: u64) -> Result<Outcome, Fault> {
        if bytes > self.limits.carry_bytes_max {
            return Ok(Outcome::TooLargeHere { bytes });
        }
        let mut record_etag = false;
        // An object uploaded in parts is planned from a HEAD, so that the replica keeps its ETag.
        if etag.parts().is_none()
            && bytes <= self.limits.single_copy_bytes_max
            && let CopyOutcome::Landed(landed) =
                self.pair.copy(key, CopyOrder::Pinned(etag)).await?
        {
            if let Standing::Settled { bytes } = self.standing(key, &landed).await? {
                return Ok(Outcome::Replicated { bytes });
            }
            record_etag = landed.etag != *etag;
        }
        self.reconcile_rounds(key, record_etag).await
    }

    /// Makes the key's replica agree with the source's present state, whatever was said about it.
    pub async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome, Fault> {
        self.reconcile_rounds(key, false).await
    }

    async fn reconcile_rounds(
        &self,
        key: &ObjectKey,
        mut record_etag: bool,
    ) -> Result<Outcome, Fault> {
        for round in 0..ROUNDS_MAX {
            let source = self.pair.head(Side::Source, key).await?;
            let ended = match &source {
                Some(object) => self
                    .round(key, round, source.as_ref(), &mut record_etag)
                    .await
                    .map_err(|fault| fault.of(object))?,
                None => self.round(key, round, None, &mut record_etag).await?,
            };
            if let Some(outcome) = ended {
                return Ok(outcome);
            }
        }
        Err(Fault::because(
            Reason::KeptChanging,
            format!(
                "{key:?} kept changing through {ROUNDS_MAX} rounds; it is tried again later",
                key = key.as_str()
            ),
        ))
    }

    /// One round of reconciling, from what a HEAD of the source has shown; `None` if another one is needed.
    async fn round(
        &self,
        key: &ObjectKey,
        round: u32,
        source: Option<&ObjectState>,
        record_etag: &mut bool,
    ) -> Result<Option<Outcome>, Fault> {
        let replica = self.pair.head(Side::Replica, key).await?;
        match (
            decide(self.policy, source, replica.as_ref()),
            source,
            replica,
        ) {
            (Decision::InSync, Some(source), _) => {
                if self.tags_agree(key, source).await? {
                    return Ok(Some(if round == 0 {
                        Outcome::InSync
                    } else {
                        Outcome::Replicated {
                            bytes: source.bytes,
                        }
                    }));
                }
                self.copy_known(key, source, record_etag).await?;
                Ok(None)
            }
            (Decision::Copy, Some(source), _) if source.bytes > self.limits.carry_bytes_max => {
                Ok(Some(Outcome::TooLargeHere {
                    bytes: source.bytes,
                }))
            }
            (Decision::Copy, Some(source), _) => {
                let copied = self.copy_known(key, source, record_etag).await?;
                Ok(copied.map(|bytes| Outcome::Replicated { bytes }))
            }
            (Decision::Delete, _, Some(replica)) => {
                let deleted = self.pair.delete_replica(key, &replica.etag).await?;
                let still_gone = self.pair.head(Side::Source, key).await?.is_none();
                let done = deleted == DeleteOutcome::Deleted && still_gone;
                Ok(done.then_some(Outcome::Deleted))
            }
            (Decision::Keep(reason), ..) => Ok(Some(Outcome::Kept(reason))),
            // In sync because there is nothing on either side; the other pairs cannot be.
            (_, _, _) => Ok(Some(Outcome::BothAbsent)),
        }
    }

    /// Copies what a HEAD has shown; answers the size if the source still holds it afterwards.
    ///
    /// Sets `record_etag` once the replica's `ETag` turns out to differ from the source's.
    async fn copy_known(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        record_etag: &mut bool,
    ) -> Result<Option<u64>, Fault> {
        let first_part_bytes = match source.etag.parts() {
            Some(_) => self.pair.first_part_bytes(key, &source.etag).await?,
            None => None,
        };
        let plan = plan(source, first_part_bytes, self.limits).map_err(|error| {
            Fault::new(
                Reason::TooLarge,
                format!("cannot copy {:?}", key.as_str()),
                error,
            )
        })?;
        *record_etag |= !plan.keeps_etag;
        let order = CopyOrder::Known {
            source,
            plan,
            record_etag: *record_etag,
        };
        let CopyOutcome::Landed(landed) = self.pair.copy(key, order).await? else {
            return Ok(None);
        };
        match self.standing(key, &landed).await? {
            Standing::Settled { bytes } => Ok(Some(bytes)),
            Standing::Unsettled => {
                *record_etag |= landed.etag != source.etag;
                Ok(None)
            }
        }
    }

    /// Reads the source again after something landed.
    ///
    /// The same `ETag` does not rule out that the same bytes were written with other metadata since. A
    /// version tells for certain, and so does a `Last-Modified` before the copy began; where neither
    /// does, the replica is looked at too.
    async fn standing(&self, key: &ObjectKey, landed: &Landed) -> Result<Standing, Fault> {
        let Some(source) = self.pair.head(Side::Source, key).await? else {
            return Ok(Standing::Unsettled);
        };
        let settled = if source.etag == landed.etag && read_for_certain(&source, landed) {
            true
        } else if let Some(replica) = self.pair.head(Side::Replica, key).await? {
            source.is_replicated_by(&replica) && self.tags_agree(key, &source).await?
        } else {
            false
        };
        Ok(if settled {
            Standing::Settled {
                bytes: source.bytes,
            }
        } else {
            Standing::Unsettled
        })
    }

    /// Whether both sides have the same tags, given that they have the same number of them.
    async fn tags_agree(&self, key: &ObjectKey, source: &ObjectState) -> Result<bool, Fault> {
        if source.tag_count == 0 {
            return Ok(true);
        }
        Ok(self.pair.tags(Side::Source, key).await? == self.pair.tags(Side::Replica, key).await?)
    }
}

/// Whether the source as it is now must be what the copy read.
fn read_for_certain(source: &ObjectState, landed: &Landed) -> bool {
    if landed.source_version.is_some() && source.version_id.is_some() {
        return landed.source_version == source.version_id;
    }
    landed
        .began_after
        .is_some_and(|began_after| source.last_modified + LAST_MODIFIED_RESOLUTION <= began_after)
}
