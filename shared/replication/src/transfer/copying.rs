//! One range of a transfer: the parts that its upload does not have yet are copied, each pinned to the source's
//! `ETag`. Any range may be copied twice. The worker that finishes the last range completes the upload.

use std::collections::HashSet;

use crate::fault::Fault;
use crate::names::{ObjectKey, TransferId, UploadId};
use crate::overwrite::Overwrite;
use crate::part_layout::Part;
use crate::replicator::Outcome;
use crate::rule::RuleState;
use crate::transfer::begin::Transferrer;
use crate::transfer::ports::{Answer, Filled, TransferPorts, UploadedPart, Uploads};
use crate::transfer::{Invalidated, PartRange, Transfer};

/// How many parts are begun before the remaining time is checked again.
const PARTS_AT_A_TIME: usize = 32;

/// The state of a transfer after an attempt at one of its ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Other ranges still have to be copied.
    Open,
    /// The transfer is finished, and this is the object's outcome.
    Finished(Outcome),
    /// The transfer has to be restarted by [`Transferrer::restart`].
    Invalid(Invalidated),
    /// The transfer is gone.
    Gone,
    /// The invocation's time is nearly up. What is copied stays copied.
    NoTime,
}

/// One message of the part queue, as it was delivered.
#[derive(Debug, Clone, Copy)]
pub struct RangeMessage<'a> {
    /// The object's key.
    pub key: &'a ObjectKey,
    /// The transfer.
    pub transfer_id: &'a TransferId,
    /// The index of the range.
    pub index: u32,
    /// What the transfer may replace.
    pub overwrite: Overwrite,
    /// Whether the message was delivered before: the worker that had it may have died.
    pub is_redelivery: bool,
}

/// What remains to be done for a message.
#[derive(Debug)]
pub enum Received {
    /// Nothing: the message is acknowledged.
    Done,
    /// The rule is paused, and the transfer has no messages any more: the key has to be deferred.
    Paused(Transfer),
    /// The rule no longer covers the key: the transfer has to be ended by [`Transferrer::end`].
    NotCovered(Transfer),
    /// The transfer is finished: the outcome has to be recorded, then the transfer ended by
    /// [`Transferrer::end`].
    Finished(Transfer, Outcome),
    /// The object failed: the failure has to be recorded.
    Failed(Transfer, Fault),
    /// The invocation's time is nearly up: the message has to be redelivered.
    NoTime,
    /// The transfer has no such range.
    Unreadable,
}

/// The result of filling a range.
enum RangeFilled {
    Whole,
    SourceChanged,
    NoUpload,
    NoTime,
}

impl<P: TransferPorts> Transferrer<'_, P> {
    /// Processes one message. The caller has to read the rule just before.
    pub async fn receive_range(&self, message: RangeMessage<'_>) -> Answer<Received> {
        let found = self.ports.transfer(message.key).await?;
        let Some(transfer) = found.filter(|transfer| transfer.id == *message.transfer_id) else {
            // The worker that had the message before may have died while its completion was in flight.
            if message.is_redelivery {
                let (key, now) = (message.key, self.ports.now());
                self.ports
                    .send_object(key, now, message.overwrite, 0)
                    .await?;
            }
            return Ok(Received::Done);
        };
        let mut ranges = transfer.ranges().into_iter();
        let Some(range) = ranges.find(|range| range.index == message.index) else {
            return Ok(Received::Unreadable);
        };
        match self.rule.state {
            RuleState::Deleting => return Ok(Received::Done),
            RuleState::Paused => {
                self.without_messages(&transfer).await?;
                return Ok(Received::Paused(transfer));
            }
            RuleState::Enabled | RuleState::Enabling => {}
        }
        if !self.rule.scope.covers(message.key) {
            return Ok(Received::NotCovered(transfer));
        }
        match self.copy_range(&transfer, range).await {
            Ok(Progress::Open | Progress::Gone) => Ok(Received::Done),
            Ok(Progress::Finished(outcome)) => Ok(Received::Finished(transfer, outcome)),
            Ok(Progress::Invalid(why)) => {
                self.restart(&transfer, why).await?;
                Ok(Received::Done)
            }
            Ok(Progress::NoTime) => Ok(Received::NoTime),
            Err(fault) => Ok(Received::Failed(transfer, fault)),
        }
    }

    /// Copies one range, and completes the upload if it was the last.
    async fn copy_range(&self, transfer: &Transfer, range: PartRange) -> Answer<Progress> {
        if let Some(why) = transfer.invalidated {
            return Ok(Progress::Invalid(why));
        }
        let Some(upload) = &transfer.upload.upload_id else {
            return Ok(Progress::Invalid(Invalidated::Overtaken));
        };
        if !transfer.done.contains(&range.index) {
            match self.fill(transfer, upload, range).await? {
                RangeFilled::Whole => {}
                RangeFilled::SourceChanged => {
                    return Ok(Progress::Invalid(Invalidated::Overtaken));
                }
                // The worker that completed the upload may have died before it read the source again.
                RangeFilled::NoUpload => return self.read_again(transfer, None).await,
                RangeFilled::NoTime => return Ok(Progress::NoTime),
            }
        }
        // Recorded only now, because the worker that reads that all ranges are done completes the upload.
        let now = self.ports.now();
        match self.ports.range_done(transfer, range.index, now).await? {
            None => Ok(Progress::Gone),
            Some(transfer) if transfer.is_filled() => self.complete(&transfer, upload).await,
            Some(_) => Ok(Progress::Open),
        }
    }

    /// Copies the parts of the range that the upload does not have.
    async fn fill(
        &self,
        transfer: &Transfer,
        upload: &UploadId,
        range: PartRange,
    ) -> Answer<RangeFilled> {
        let (pair, key) = (self.ports.pair(), &transfer.key);
        let there = pair
            .uploaded_parts(key, upload, range.first_part, range.last_part)
            .await?;
        let Some(there) = there else {
            return Ok(RangeFilled::NoUpload);
        };
        let there: HashSet<u32> = there.iter().map(UploadedPart::number).collect();
        let missing: Vec<Part> = transfer
            .layout
            .parts()
            .filter(|part| range.covers(part.number) && !there.contains(&part.number))
            .collect();
        for (at, parts) in missing.chunks(PARTS_AT_A_TIME).enumerate() {
            if at > 0 && !self.ports.has_time_for_parts() {
                return Ok(RangeFilled::NoTime);
            }
            let etag = &transfer.source.etag;
            match pair.copy_parts(key, etag, upload, parts.to_vec()).await? {
                Filled::Whole(_) => {}
                Filled::SourceChanged(_) => return Ok(RangeFilled::SourceChanged),
                Filled::NoUpload => return Ok(RangeFilled::NoUpload),
            }
        }
        Ok(RangeFilled::Whole)
    }
}
