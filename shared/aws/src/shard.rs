//! A shard of a job, as the table holds it: where it is, what it has counted, and what becomes of it when it
//! moves on or is cut. How it is read and written is in [`crate::shards`].

use serde::{Deserialize, Serialize};
use tandem_replication::Timestamp;
use tandem_replication::keyspace::fraction;
use tandem_replication::progress::Counts;
use tandem_replication::shard::{Hint, ShardRange};

use crate::by_name;

/// A shard as the table holds it: its range, how far it has come, and what it has counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// Its number among the job's shards.
    pub index: u32,
    /// Keys begin so.
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
    /// The last key that is accounted for; in a manifest the number of bytes, or of lines of a compressed
    /// one, that are.
    #[serde(default)]
    pub checkpoint: Option<String>,
    /// How many pages are accounted for; every step is conditional on it.
    pub pages: u64,
    /// How often part of the shard was given away; every step is conditional on it.
    #[serde(default)]
    pub splits: u64,
    /// How many requests were spent on finding where to cut.
    #[serde(default)]
    pub probes: u64,
    /// A key that was seen in the range; the greatest one known.
    #[serde(default)]
    pub known: Option<String>,
    /// Nothing was seen above this key.
    #[serde(default)]
    pub empty_above: Option<String>,
    /// Whether it has a message, or is about to get one from whoever gave it away.
    #[serde(default)]
    pub sent: bool,
    /// The shard that it was a part of, if it was given away.
    #[serde(default)]
    pub given_by: Option<u32>,
    /// When anything of it was last written.
    #[serde(default)]
    pub progressed_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// Why it ended before its end, if it did.
    #[serde(default)]
    pub error: Option<String>,
    /// What part of the job it is, 0 to 1: an estimate.
    #[serde(default)]
    pub weight: f64,
    /// What part of the job it had done when `weight` was last given.
    #[serde(default)]
    pub weight_done: f64,
    /// Where it was then.
    #[serde(default)]
    pub weight_from: Option<String>,
    /// Requests to S3 so far.
    #[serde(default)]
    pub s3_requests: u64,
    /// What became of its objects so far.
    #[serde(flatten)]
    pub counts: Counts,
    /// When the table may forget it, in seconds since 1970; never if nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
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
    /// The list's `ETag`: another one is another list.
    pub etag: String,
    /// Whether it is compressed by gzip.
    pub gzip: bool,
    /// Its lines begin at this byte or later.
    pub from: u64,
    /// ... and before this one; to the end if nobody says.
    pub until: Option<u64>,
}

/// One page of a shard, done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// The last key of the page, or place in a manifest; `None` if there was none.
    pub checkpoint: Option<String>,
    /// What became of its objects.
    pub counts: Counts,
    /// Requests to S3.
    pub s3_requests: u64,
    /// When the shard ended, if this was its last page.
    pub ended_at: Option<Timestamp>,
    /// Why it ended before its end, if it did.
    pub error: Option<String>,
}

impl Shard {
    /// A shard that has not begun. It is forgotten when its job is.
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
            given_by: None,
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

    /// What is left to do.
    pub fn rest(&self) -> ShardRange {
        ShardRange {
            prefix: self.prefix.clone(),
            after: self.checkpoint.clone().or_else(|| self.after.clone()),
            until: self.until.clone(),
        }
    }

    /// What is known of the upper end.
    pub fn hint(&self) -> Hint {
        Hint {
            known: self.known.clone(),
            empty_above: self.empty_above.clone(),
        }
    }

    /// Whether somebody has it, or is about to.
    pub fn is_under_way(&self) -> bool {
        self.sent && self.ended_at.is_none()
    }

    /// Whether it was given away by the shard `by`, and nobody has begun it: its message may never have gone.
    pub fn is_unbegun_gift_of(&self, by: u32) -> bool {
        self.given_by == Some(by) && self.ended_at.is_none() && self.pages == 0 && self.splits == 0
    }

    /// What part of the job it has done, 0 to 1: an estimate.
    pub(crate) fn fraction(&self) -> f64 {
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

    /// The shard after a step.
    #[must_use]
    pub fn after(&self, step: &Step, at: Timestamp) -> Self {
        let mut counts = self.counts;
        counts.add(&step.counts);
        Self {
            checkpoint: step.checkpoint.clone().or_else(|| self.checkpoint.clone()),
            pages: self.pages + 1,
            s3_requests: self.s3_requests + step.s3_requests,
            ended_at: step.ended_at,
            error: step.error.clone(),
            sent: true,
            progressed_at: Some(at),
            counts,
            ..self.clone()
        }
    }

    /// The shard without what comes after `cut`, and the shard of that, which has the number `index`.
    pub fn cut(&self, cut: &str, hint: Hint, index: u32, at: Timestamp) -> (Self, Self) {
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
        let given = Self {
            known: hint.known,
            empty_above: hint.empty_above,
            sent: true,
            given_by: Some(self.index),
            ..Self::new(index, upper, half, at, self.expires_at)
        };
        (kept, given)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn whole() -> Shard {
        let range = ShardRange::of_prefix("k/");
        Shard::new(0, range, 1.0, Timestamp::UNIX_EPOCH, None)
    }

    pub(crate) fn step(checkpoint: &str) -> Step {
        Step {
            checkpoint: Some(checkpoint.to_owned()),
            counts: Counts {
                listed: 1,
                equal: 1,
                ..Counts::default()
            },
            s3_requests: 2,
            ..Step::default()
        }
    }

    #[test]
    fn a_shard_that_gives_a_part_away_keeps_its_counts_and_its_place() {
        let before = whole().after(&step("k/1"), Timestamp::UNIX_EPOCH);
        let (kept, given) = before.cut("k/5", Hint::default(), 1, Timestamp::UNIX_EPOCH);
        assert_eq!(kept.counts, before.counts);
        assert_eq!((kept.pages, kept.splits), (1, 1));
        assert_eq!(kept.rest().after.as_deref(), Some("k/1"));
        assert_eq!(kept.rest().until.as_deref(), Some("k/5"));
        assert_eq!(given.rest().after.as_deref(), Some("k/5"));
        assert!(given.is_under_way() && given.is_unbegun_gift_of(before.index));
        assert!(
            !given
                .after(&step("k/6"), Timestamp::UNIX_EPOCH)
                .is_unbegun_gift_of(before.index)
        );
        assert_eq!(given.rest().until, None);
        assert_eq!(given.counts, Counts::default());
    }
}
