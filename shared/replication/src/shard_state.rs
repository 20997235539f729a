//! A shard of a job as its item stores it: its range, how far it has come, what it has counted, and which worker may
//! process it. Every change of it is a method here. [`Guard`] is the condition of a write. No I/O.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::by_name;
use crate::in_flight::InFlight;
use crate::key_list::Layout;
use crate::keyspace::fraction;
use crate::progress::Counts;
use crate::shard::{Hint, ShardRange};
use crate::shard_session::STALLED_AFTER;

/// A shard as the table stores it: its range, how far it has come, and what it has counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// Its number among the job's shards.
    pub index: u32,
    /// The prefix of its keys.
    pub prefix: String,
    /// Exclusive lower bound.
    #[serde(default)]
    pub after: Option<String>,
    /// Inclusive upper bound.
    #[serde(default)]
    pub until: Option<String>,
    /// The part of a manifest that names the shard's keys, instead of a range of them.
    #[serde(default, deserialize_with = "by_name::optional")]
    pub manifest: Option<ManifestPart>,
    /// The last key that is accounted for. In a manifest it is the number of bytes that are, or of records if the
    /// manifest is compressed.
    #[serde(default)]
    pub checkpoint: Option<String>,
    /// How many pages are accounted for.
    pub pages: u64,
    /// How often part of the shard was split off.
    #[serde(default)]
    pub splits: u64,
    /// How many requests were spent on finding places to cut.
    #[serde(default)]
    pub probes: u64,
    /// The greatest key that was seen in the range.
    #[serde(default)]
    pub known: Option<String>,
    /// No key was seen above this one.
    #[serde(default)]
    pub empty_above: Option<String>,
    /// Whether it has had a message, or is about to get one from the sender that raised its epoch.
    #[serde(default)]
    pub sent: bool,
    /// The epoch of its newest message; a message of an older epoch is ignored. 0 before the first message.
    #[serde(default)]
    pub epoch: u64,
    /// What the sender of that message was processing when it raised the epoch: a message, or an invocation. If the
    /// sender died before it sent, its own message is redelivered, and its successor sends.
    #[serde(default)]
    pub sent_by: Option<String>,
    /// The lease of the worker that processes it.
    #[serde(default, deserialize_with = "by_name::optional")]
    pub lease: Option<Lease>,
    /// What its workers have begun to write and not accounted for.
    #[serde(default, deserialize_with = "by_name::optional")]
    pub in_flight: Option<InFlight>,
    /// How often a worker has handed it on since its checkpoint last moved, other than to wait for the rate limit.
    #[serde(default)]
    pub hops: u32,
    /// How many messages were used up by recoveries that failed.
    #[serde(default)]
    pub recoveries_failed: u32,
    /// When its item was last written.
    #[serde(default)]
    pub progressed_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// Why it failed, if it did.
    #[serde(default)]
    pub error: Option<String>,
    /// Its estimated part of the job, 0 to 1.
    #[serde(default)]
    pub weight: f64,
    /// The part of the job that it had done when `weight` was last set.
    #[serde(default)]
    pub weight_done: f64,
    /// Its place at that time.
    #[serde(default)]
    pub weight_from: Option<String>,
    /// Requests to S3 so far.
    #[serde(default)]
    pub s3_requests: u64,
    /// The outcomes of its objects so far.
    #[serde(flatten)]
    pub counts: Counts,
    /// When the table may delete it, in seconds since 1970; never if this is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

/// The right to work on a shard. It is never renewed: it lasts until nothing of its holder can be in flight.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// The invocation that has it.
    pub holder: String,
    /// The message that the invocation processes; `None` if it was invoked by hand.
    #[serde(default)]
    pub message: Option<String>,
    /// When it expires. In milliseconds since 1970, so that the table can compare it.
    #[serde(with = "chrono::serde::ts_milliseconds")]
    pub until: Timestamp,
}

/// The condition of a write of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard<'a> {
    /// The epoch is this one.
    Epoch(u64),
    /// The epoch is this one, and the shard has never had a message.
    Unsent(u64),
    /// The epoch is this one, and `holder` has the lease, or no other holder has one that has not expired at `at`.
    Free {
        /// The invocation that wants the lease.
        holder: &'a str,
        /// The epoch.
        epoch: u64,
        /// The present time.
        at: Timestamp,
    },
    /// This invocation has the lease.
    HeldBy(&'a str),
    /// This invocation has the lease, and the epoch is this one.
    HeldAt(&'a str, u64),
    /// The shard ended with an error.
    Failed,
}

impl Guard<'_> {
    /// Returns whether the guard allows a write of `shard`.
    pub fn allows(&self, shard: &Shard) -> bool {
        let is_held = |by: &str| shard.lease.as_ref().is_some_and(|lease| lease.holder == by);
        match *self {
            Self::Epoch(epoch) => shard.epoch == epoch,
            Self::Unsent(epoch) => shard.epoch == epoch && !shard.sent,
            Self::Free { holder, epoch, at } => {
                shard.epoch == epoch && (is_held(holder) || !shard.is_leased(at))
            }
            Self::HeldBy(holder) => is_held(holder),
            Self::HeldAt(holder, epoch) => is_held(holder) && shard.epoch == epoch,
            Self::Failed => shard.error.is_some(),
        }
    }
}

/// A part of a list of keys in S3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestPart {
    /// The bucket that holds the list.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// The list's own key.
    pub key: String,
    /// The list's `ETag`. A list with another `ETag` is another list.
    pub etag: String,
    /// Whether it is compressed by gzip.
    pub gzip: bool,
    /// How it is laid out.
    #[serde(default, deserialize_with = "by_name::required")]
    pub layout: Layout,
    /// Its lines begin at this byte or later.
    pub from: u64,
    /// Its lines begin before this byte; `None` means to the end.
    pub until: Option<u64>,
}

/// The result of one page of a shard.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// The last key of the page, or the place in a manifest; `None` if there was none.
    pub checkpoint: Option<String>,
    /// The outcomes of its objects.
    pub counts: Counts,
    /// Requests to S3.
    pub s3_requests: u64,
    /// When the shard ended, if this was its last page.
    pub ended_at: Option<Timestamp>,
}

impl Shard {
    /// Creates a shard that has not begun. The table deletes it when it deletes its job.
    pub fn new(
        index: u32,
        range: ShardRange,
        weight: f64,
        at: Timestamp,
        expires_at: Option<i64>,
    ) -> Self {
        Self {
            index,
            prefix: range.prefix,
            after: range.after,
            until: range.until,
            manifest: None,
            checkpoint: None,
            pages: 0,
            splits: 0,
            probes: 0,
            known: None,
            empty_above: None,
            sent: false,
            epoch: 0,
            sent_by: None,
            lease: None,
            in_flight: None,
            hops: 0,
            recoveries_failed: 0,
            progressed_at: Some(at),
            ended_at: None,
            error: None,
            weight,
            weight_done: 0.0,
            weight_from: None,
            s3_requests: 0,
            counts: Counts::default(),
            expires_at,
        }
    }

    /// Returns the range that is left to process.
    pub fn rest(&self) -> ShardRange {
        ShardRange {
            prefix: self.prefix.clone(),
            after: self.checkpoint.clone().or_else(|| self.after.clone()),
            until: self.until.clone(),
        }
    }

    /// Returns what is known about the upper end of the range.
    pub fn hint(&self) -> Hint {
        Hint {
            known: self.known.clone(),
            empty_above: self.empty_above.clone(),
        }
    }

    /// Returns whether the shard is complete or has failed.
    pub fn has_ended(&self) -> bool {
        self.ended_at.is_some()
    }

    /// Returns whether the shard counts among those that are being processed.
    pub fn is_under_way(&self) -> bool {
        self.sent && !self.has_ended()
    }

    /// Returns whether a worker has its lease at `at`.
    pub fn is_leased(&self, at: Timestamp) -> bool {
        self.lease.as_ref().is_some_and(|lease| at < lease.until)
    }

    /// Returns since when the shard has made no progress although there is work to do: it has no worker, and its item
    /// was not written for [`STALLED_AFTER`].
    pub fn stalled_since(&self, now: Timestamp) -> Option<Timestamp> {
        let waits = self.is_under_way() || self.in_flight.is_some();
        self.progressed_at
            .filter(|moved_at| waits && !self.is_leased(now) && now - *moved_at > STALLED_AFTER)
    }

    /// Returns the shard with the next epoch, for a message that `sent_by` is about to send.
    #[must_use]
    pub fn raised(&self, sent_by: &str, at: Timestamp) -> Self {
        Self {
            epoch: self.epoch + 1,
            sent_by: Some(sent_by.to_owned()),
            sent: true,
            progressed_at: Some(at),
            ..self.clone()
        }
    }

    /// Returns the shard with this lease.
    #[must_use]
    pub fn leased(&self, lease: Lease) -> Self {
        Self {
            lease: Some(lease),
            ..self.clone()
        }
    }

    /// Returns the shard without a lease.
    #[must_use]
    pub fn released(&self) -> Self {
        Self {
            lease: None,
            ..self.clone()
        }
    }

    /// Returns the shard with `page` in flight, in addition to what is in flight already.
    #[must_use]
    pub fn with_in_flight(&self, page: InFlight) -> Self {
        let in_flight = match &self.in_flight {
            None => page,
            Some(before) => {
                let last = if self.is_before(&before.last, &page.last) {
                    page.last.clone()
                } else {
                    before.last.clone()
                };
                page.merged(before, last)
            }
        };
        Self {
            in_flight: Some(in_flight),
            ..self.clone()
        }
    }

    /// Returns whether `one` is a place before `other`: a key, or in a manifest a number.
    pub fn is_before(&self, one: &str, other: &str) -> bool {
        if self.manifest.is_none() {
            return one < other;
        }
        let number = |place: &str| place.parse::<u64>().unwrap_or_default();
        number(one) < number(other)
    }

    /// Returns `in_flight` if it reaches beyond the shard's checkpoint.
    pub fn ahead(&self, in_flight: Option<InFlight>) -> Option<InFlight> {
        let reached = self.checkpoint.as_ref();
        in_flight.filter(|page| reached.is_none_or(|place| self.is_before(place, &page.last)))
    }

    /// Returns the estimated part of the job that the shard has done, 0 to 1.
    pub fn fraction(&self) -> f64 {
        let since = match (&self.ended_at, &self.checkpoint) {
            (Some(_), _) => 1.0,
            (None, None) => 0.0,
            (None, Some(checkpoint)) => self.fraction_at(checkpoint),
        };
        self.weight_done + self.weight * since
    }

    fn fraction_at(&self, checkpoint: &str) -> f64 {
        if let Some(part) = &self.manifest {
            let place: f64 = checkpoint.parse().unwrap_or_default();
            let width = part.until.map(|until| until - part.from.min(until));
            return width.map_or(0.0, |width| {
                (place - part.from as f64) / width.max(1) as f64
            });
        }
        let from = self.weight_from.as_ref().or(self.after.as_ref());
        let high = self.until.as_deref().or(self.empty_above.as_deref());
        fraction(from.unwrap_or(&self.prefix), high, checkpoint)
    }

    /// Returns the shard after a step. `inherited` is what was in flight before the step's own page.
    #[must_use]
    pub fn after(&self, step: &Step, inherited: Option<InFlight>, at: Timestamp) -> Self {
        let mut counts = self.counts;
        counts.add(&step.counts);
        let has_moved = step.checkpoint.is_some() && step.checkpoint != self.checkpoint;
        let next = Self {
            hops: if has_moved { 0 } else { self.hops },
            checkpoint: step.checkpoint.clone().or_else(|| self.checkpoint.clone()),
            pages: self.pages + 1,
            s3_requests: self.s3_requests + step.s3_requests,
            ended_at: step.ended_at,
            error: None,
            sent: true,
            progressed_at: Some(at),
            counts,
            ..self.clone()
        };
        let in_flight = if next.has_ended() {
            None
        } else {
            next.ahead(inherited)
        };
        Self { in_flight, ..next }
    }

    /// Returns the shard marked as failed with this error. What is in flight stays for a recovery.
    #[must_use]
    pub fn given_up(&self, error: String, at: Timestamp) -> Self {
        Self {
            ended_at: Some(at),
            error: Some(error),
            progressed_at: Some(at),
            ..self.clone()
        }
    }

    /// Returns the shard, which had failed, open again.
    #[must_use]
    pub fn reopened(&self, at: Timestamp) -> Self {
        Self {
            ended_at: None,
            error: None,
            hops: 0,
            sent: false,
            progressed_at: Some(at),
            ..self.clone()
        }
    }

    /// Splits the shard. Returns the shard without the keys after `cut`, and its child, the shard of those keys. The
    /// child has the number `index` and gets a message from `sent_by`. It inherits what is in flight beyond `cut`.
    pub fn cut(
        &self,
        cut: &str,
        hint: Hint,
        index: u32,
        sent_by: &str,
        at: Timestamp,
    ) -> (Self, Self) {
        let (lower, upper) = self.rest().cut_at(cut.to_owned());
        let weight_done = self.fraction();
        let half = (self.weight_done + self.weight - weight_done).max(0.0) / 2.0;
        let kept = Self {
            until: lower.until,
            splits: self.splits + 1,
            known: None,
            empty_above: None,
            sent: true,
            progressed_at: Some(at),
            weight: half,
            weight_done,
            weight_from: self.checkpoint.clone().or_else(|| self.after.clone()),
            ..self.clone()
        };
        let beyond = |page: &InFlight| self.is_before(cut, &page.last);
        let child = Self {
            known: hint.known,
            empty_above: hint.empty_above,
            in_flight: self.in_flight.clone().filter(beyond),
            ..Self::new(index, upper, half, at, self.expires_at)
        };
        (kept, child.raised(sent_by, at))
    }
}

#[cfg(test)]
pub(crate) mod tests;
