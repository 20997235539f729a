//! The beginning of a transfer: an object that one invocation cannot copy is cut into ranges of parts. Three things are
//! stored durably: the upload in its log, the transfer in the table, and a message for every range. Only then is the
//! object's own message acknowledged.

use std::collections::BTreeSet;

use crate::Timestamp;
use crate::bucket_pair::{BucketPair, Side};
use crate::decide::{Decision, decide};
use crate::fault::{Fault, Reason};
use crate::in_flight::OwnWrites;
use crate::names::ObjectKey;
use crate::object::ObjectState;
use crate::overwrite::Overwrite;
use crate::part_plan::{CopyLimits, CopyPlan, plan};
use crate::replicator::{Depth, Outcome, ROUNDS_MAX, Replicator};
use crate::rule::Rule;
use crate::transfer::ports::{Answer, TransferPorts, Uploads};
use crate::transfer::uploads::{Aborted, abandon, abort_logged, begin_upload};
use crate::transfer::{Invalidated, Transfer, TransferSource};

/// How often a worker tries to begin a transfer, if another worker begins one for the same key.
const BEGINNINGS_MAX: usize = 4;

/// Begins, continues and ends the transfers of one rule.
#[derive(Debug)]
pub struct Transferrer<'a, P> {
    pub(super) ports: &'a P,
    pub(super) rule: &'a Rule,
    pub(super) limits: CopyLimits,
    pub(super) range_bytes: u64,
}

/// A key that is to be replicated.
#[derive(Debug, Clone)]
pub struct KeyChange<'a> {
    /// The key.
    pub key: &'a ObjectKey,
    /// When it changed, if a notification reported the change; `None` in jobs.
    pub event_time: Option<Timestamp>,
    /// What may be replaced.
    pub overwrite: Overwrite,
    /// How much of a replica that looks equal is compared.
    pub depth: Depth,
    /// How many transfers of the object were restarted before.
    pub hops: u32,
    /// Where the change comes from.
    pub origin: Origin,
}

/// Where a change comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A notification, or work that stands for one. A replica whose source is gone is deleted.
    Live,
    /// A job. If the source is gone, only a replica that this attempt or a predecessor may have written is deleted.
    Job {
        /// What a predecessor may have written.
        own: OwnWrites,
    },
}

impl<'a, P: TransferPorts> Transferrer<'a, P> {
    /// Creates the transferrer of `rule`, which plans transfers by these limits.
    pub fn new(ports: &'a P, rule: &'a Rule, limits: CopyLimits, range_bytes: u64) -> Self {
        Self {
            ports,
            rule,
            limits,
            range_bytes,
        }
    }

    /// Makes one key's replica agree with its source, whatever its size. [`Outcome::TooLargeHere`] means that a
    /// transfer copies the object.
    pub async fn carry(&self, change: &KeyChange<'_>) -> Answer<Outcome> {
        let replicator = self.replicator(change, self.limits);
        self.carry_with(&replicator, change).await
    }

    /// Does the same as [`Self::carry`], with this replicator, which has the same rule and overwrite mode.
    pub async fn carry_with(
        &self,
        replicator: &Replicator<'_, P::Pair>,
        change: &KeyChange<'_>,
    ) -> Answer<Outcome> {
        for _ in 0..ROUNDS_MAX {
            let outcome = replicator.reconcile(change.key).await?;
            if let Outcome::TooLargeHere { .. } = outcome {
                if let Some(outcome) = self.try_begin(change).await? {
                    return Ok(outcome);
                }
            } else if self.end_if_unneeded(change.key).await? == Seen::Still {
                return Ok(outcome);
            }
        }
        Err(kept_changing(change.key))
    }

    /// Begins the transfer of an object that was found too large for one invocation, or joins the transfer that is
    /// under way.
    pub async fn begin(&self, change: &KeyChange<'_>) -> Answer<Outcome> {
        match self.try_begin(change).await? {
            Some(outcome) => Ok(outcome),
            None => self.carry(change).await,
        }
    }

    /// Does the same as [`Self::begin`]. Returns `None` if the source no longer has an object.
    async fn try_begin(&self, change: &KeyChange<'_>) -> Answer<Option<Outcome>> {
        let (pair, key) = (self.ports.pair(), change.key);
        for _ in 0..BEGINNINGS_MAX {
            let Some(source) = pair.head(Side::Source, key).await? else {
                return Ok(None);
            };
            let bytes = source.bytes;
            let mut record_etag = self.rule.options.hide_digests();
            if let Some(found) = self.ports.transfer(key).await? {
                if can_join(&found, &source, change.overwrite) {
                    self.help_on(&found).await?;
                    return Ok(Some(Outcome::TooLargeHere { bytes }));
                }
                record_etag |= found.source == TransferSource::of(&source)
                    && found.invalidated == Some(Invalidated::OtherEtag);
                self.end(&found).await?;
            }
            let planned = self.planned(change, &source, record_etag).await;
            let Some(transfer) = planned.map_err(|fault| fault.of(&source))? else {
                // One request copies it whole, because its parts are not known.
                let unlimited = CopyLimits {
                    part_bytes: self.limits.part_bytes,
                    ..CopyLimits::default()
                };
                let replicator = self.replicator(change, unlimited);
                return replicator.reconcile(key).await.map(Some);
            };
            if self.ports.store(&transfer).await? {
                self.send(&transfer).await?;
                return Ok(Some(Outcome::TooLargeHere { bytes }));
            }
            // Another worker was faster.
            abandon(pair, &transfer.upload).await;
        }
        Err(kept_changing(key))
    }

    pub(super) fn replicator(
        &self,
        change: &KeyChange<'_>,
        limits: CopyLimits,
    ) -> Replicator<'a, P::Pair> {
        let (policy, options) = (self.rule.policy, &self.rule.options);
        let replicator = Replicator::new(self.ports.pair(), policy, options, limits)
            .overwriting(change.overwrite)
            .comparing(change.depth);
        match &change.origin {
            Origin::Live => replicator,
            Origin::Job { own } => replicator.in_job(own.clone()),
        }
    }

    /// Plans a transfer and begins its upload. Returns `None` if the object is copied whole.
    async fn planned(
        &self,
        change: &KeyChange<'_>,
        source: &ObjectState,
        record_etag: bool,
    ) -> Answer<Option<Transfer>> {
        let (pair, key) = (self.ports.pair(), change.key);
        // A wrong guess at the parts would cost the copy of all of them.
        let layout = pair.exact_layout(key, source).await?;
        let CopyPlan { parts, keeps_etag } =
            plan(source, layout, self.limits).map_err(|error| {
                let said = format!("cannot copy {:?}", key.as_str());
                Fault::new(Reason::TooLarge, said, error)
            })?;
        let Some(layout) = parts else {
            return Ok(None);
        };
        let upload = begin_upload(pair, key, source, record_etag || !keeps_etag).await?;
        let at = self.ports.now();
        Ok(Some(Transfer {
            id: self.ports.new_transfer_id(),
            key: key.clone(),
            source: TransferSource::of(source),
            layout,
            range_bytes: self.range_bytes,
            records_etag: upload.records_etag,
            upload: upload.entry,
            checksum: source.checksum.clone(),
            started_at: at,
            progressed_at: at,
            sent: false,
            event_time: change.event_time,
            overwrite: change.overwrite,
            hops: change.hops,
            invalidated: None,
            done: BTreeSet::new(),
        }))
    }

    /// Makes sure that a transfer that is under way will be finished.
    async fn help_on(&self, transfer: &Transfer) -> Answer<()> {
        if transfer.sent && !transfer.is_stalled(self.ports.now()) {
            return Ok(());
        }
        self.send(transfer).await
    }

    /// Sends a message for every open range, then records that they are sent.
    async fn send(&self, transfer: &Transfer) -> Answer<()> {
        let ranges = transfer.ranges_to_send();
        let ranges = ranges.iter().map(|range| range.index).collect();
        self.ports.send_ranges(transfer, ranges).await?;
        self.ports
            .mark_sent(transfer, true, self.ports.now())
            .await?;
        Ok(())
    }

    /// Cleans up a key's transfer that is no longer needed, if no other worker will: a transfer that is invalidated or
    /// stalled. A transfer without messages was deferred while its rule was paused, or is just beginning for a later
    /// change. It is ended only if the replica already is what the transfer would make it.
    pub async fn end_if_unneeded(&self, key: &ObjectKey) -> Answer<Seen> {
        let Some(found) = self.ports.transfer(key).await? else {
            return Ok(Seen::Still);
        };
        let is_over = found.invalidated.is_some() || found.is_stalled(self.ports.now());
        if is_over || (!found.sent && self.is_met(&found).await?) {
            return Ok(self.end(&found).await?.seen);
        }
        if !found.sent {
            self.help_on(&found).await?;
        }
        Ok(Seen::Still)
    }

    /// Ends a transfer that is no longer needed. Its upload is aborted first, so that a completion that is still in
    /// flight cannot land later.
    pub async fn end(&self, transfer: &Transfer) -> Answer<Ended> {
        let aborted = abort_logged(self.ports.pair(), &transfer.upload, self.ports.now()).await?;
        let was_current = self.ports.remove(transfer).await?;
        let seen = match aborted {
            Aborted::Uploads(_) => Seen::Still,
            Aborted::NoUpload => Seen::MayHaveLanded,
        };
        Ok(Ended { was_current, seen })
    }

    /// Returns whether the replica already is what the transfer would make it.
    async fn is_met(&self, transfer: &Transfer) -> Answer<bool> {
        let pair = self.ports.pair();
        let source = pair.head(Side::Source, &transfer.key).await?;
        let replica = pair.head(Side::Replica, &transfer.key).await?;
        let is_its_source = source
            .as_ref()
            .is_some_and(|source| TransferSource::of(source) == transfer.source);
        let (policy, options) = (self.rule.policy, &self.rule.options);
        let decision = decide(policy, options, source.as_ref(), replica.as_ref());
        Ok(is_its_source && decision == Decision::InSync)
    }
}

/// The result of ending a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Whether the table still had this transfer. Only then does its end count.
    pub was_current: bool,
    /// Whether what was read before is still true.
    pub seen: Seen,
}

/// Whether what was read from the two buckets before is still true, as far as a transfer is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing has landed through the transfer since.
    Still,
    /// The transfer's upload was gone: it may have landed a moment ago, so both sides have to be read again.
    MayHaveLanded,
}

/// Returns whether a change may rely on a transfer that is under way. A live change does not join a copy that a
/// condition may prevent from landing.
fn can_join(found: &Transfer, source: &ObjectState, overwrite: Overwrite) -> bool {
    let lands = found.overwrite.is_always() || found.overwrite == overwrite;
    found.source == TransferSource::of(source) && found.invalidated.is_none() && lands
}

fn kept_changing(key: &ObjectKey) -> Fault {
    let said = format!("cannot transfer {:?}: it kept changing", key.as_str());
    Fault::because(Reason::KeptChanging, said)
}
