//! The shards of jobs, in the table. Every step of a shard is one conditional write, so that a message that
//! comes twice, or a worker that dies, counts nothing twice; and a shard gives part of itself away in one
//! transaction, so that no key belongs to two shards or to none.

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use serde::{Deserialize, Serialize};
use tandem_replication::Timestamp;
use tandem_replication::keyspace::fraction;
use tandem_replication::progress::Counts;
use tandem_replication::shard::{Hint, ShardRange};

use crate::AwsError;
use crate::by_name;
use crate::jobs::Job;
use crate::table::{Table, conditional, item, key, text};

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
    /// Whether it has a message.
    #[serde(default)]
    pub sent: bool,
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
    /// A shard that has not begun.
    pub fn new(job: &Job, index: u32, range: ShardRange, weight: f64, at: Timestamp) -> Self {
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
            progressed_at: Some(at),
            ended_at: None,
            error: None,
            weight,
            weight_done: 0.0,
            weight_from: None,
            s3_requests: 0,
            counts: Counts::default(),
            expires_at: job.expires_at,
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
    fn after(&self, step: &Step, at: Timestamp) -> Self {
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
    pub fn cut(&self, job: &Job, cut: &str, hint: Hint, index: u32, at: Timestamp) -> (Self, Self) {
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
            ..Self::new(job, index, upper, half, at)
        };
        (kept, given)
    }
}

fn shards_of(job: &Job, plan_id: &str) -> String {
    format!("shard#{}#{plan_id}", job.id)
}

fn number(index: u32) -> String {
    format!("{index:06}")
}

/// That the shard is still where it was seen.
const UNMOVED: &str = "pages = :pages AND (splits = :splits OR attribute_not_exists(splits)) \
                       AND attribute_type(ended_at, :null)";

fn as_seen(shard: &Shard) -> [(&'static str, AttributeValue); 3] {
    [
        (":pages", AttributeValue::N(shard.pages.to_string())),
        (":splits", AttributeValue::N(shard.splits.to_string())),
        (":null", text("NULL")),
    ]
}

impl Table {
    /// Stores a planned shard. Nothing works on it before [`Self::start_job`] has chosen its plan.
    pub async fn put_shard(&self, job: &Job, plan_id: &str, shard: &Shard) -> Result<(), AwsError> {
        self.put(&shards_of(job, plan_id), &number(shard.index), shard)
            .await
    }

    /// The shards of a job that has a plan, by their numbers. A shard is seen before those that it gave away
    /// parts to, so that a job never seems to be over while one is.
    pub async fn shards(&self, job: &Job) -> Result<Vec<Shard>, AwsError> {
        match &job.plan_id {
            Some(plan_id) => self.all(&shards_of(job, plan_id)).await,
            None => Ok(Vec::new()),
        }
    }

    /// One shard of a job.
    pub async fn shard(&self, job: &Job, index: u32) -> Result<Option<Shard>, AwsError> {
        match &job.plan_id {
            Some(plan_id) => self.get(&shards_of(job, plan_id), &number(index)).await,
            None => Ok(None),
        }
    }

    /// Accounts for one page: the counts and the checkpoint move in one write, if the shard is still
    /// where `shard` says. Answers the shard as it is then; `None` if another worker was faster.
    pub async fn step_shard(
        &self,
        job: &Job,
        shard: &Shard,
        step: &Step,
        at: Timestamp,
    ) -> Result<Option<Shard>, AwsError> {
        let next = shard.after(step, at);
        Ok(self.move_shard(job, shard, &next).await?.then_some(next))
    }

    /// Keeps what a search for a place to cut has cost and found out, if the shard is still there.
    pub async fn note_search(
        &self,
        job: &Job,
        shard: &Shard,
        probes: u64,
        hint: Hint,
    ) -> Result<Option<Shard>, AwsError> {
        let next = Shard {
            probes: shard.probes + probes,
            known: hint.known,
            empty_above: hint.empty_above,
            ..shard.clone()
        };
        Ok(self.move_shard(job, shard, &next).await?.then_some(next))
    }

    /// Writes what a shard has become, if it is still where `seen` says. Answers whether it was.
    async fn move_shard(&self, job: &Job, seen: &Shard, next: &Shard) -> Result<bool, AwsError> {
        let Some(plan_id) = &job.plan_id else {
            return Ok(false);
        };
        let (pk, sk) = (shards_of(job, plan_id), number(seen.index));
        let mut write = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item(&pk, &sk, next)?))
            .condition_expression(UNMOVED);
        for (name, value) in as_seen(seen) {
            write = write.expression_attribute_values(name, value);
        }
        let doing = format!("writing shard {} of {}", seen.index, job.id);
        conditional(doing, write.send().await)
    }

    /// Lets a shard give part of itself away: both shards are written, or neither, and only if the shard is
    /// still where `seen` says. Answers whether it was.
    pub async fn split_shard(
        &self,
        job: &Job,
        seen: &Shard,
        kept: &Shard,
        given: &Shard,
    ) -> Result<bool, AwsError> {
        let Some(plan_id) = &job.plan_id else {
            return Ok(false);
        };
        let pk = shards_of(job, plan_id);
        let doing = format!("splitting shard {} of {}", seen.index, job.id);
        let put = |shard: &Shard| -> Result<_, AwsError> {
            Ok(Put::builder().table_name(&self.name).set_item(Some(item(
                &pk,
                &number(shard.index),
                shard,
            )?)))
        };
        let mut kept = put(kept)?.condition_expression(UNMOVED);
        for (name, value) in as_seen(seen) {
            kept = kept.expression_attribute_values(name, value);
        }
        let given = put(given)?.condition_expression("attribute_not_exists(pk)");
        let written = [kept, given]
            .into_iter()
            .map(|put| {
                let put = put
                    .build()
                    .map_err(|error| AwsError::unexpected(doing.clone(), error))?;
                Ok(TransactWriteItem::builder().put(put).build())
            })
            .collect::<Result<Vec<_>, AwsError>>()?;
        let written = self
            .client
            .transact_write_items()
            .set_transact_items(Some(written))
            .send()
            .await;
        conditional(doing, written)
    }

    /// Notes that a shard has a message.
    pub async fn mark_shard_sent(&self, job: &Job, index: u32) -> Result<(), AwsError> {
        let Some(plan_id) = &job.plan_id else {
            return Ok(());
        };
        let written = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(&shards_of(job, plan_id), &number(index))))
            .update_expression("SET sent = :yes")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .send()
            .await;
        conditional(format!("marking shard {index} of {}", job.id), written).map(|_| ())
    }

    /// Lets a shard that ended before its end go on from where it was.
    pub async fn reopen_shard(
        &self,
        job: &Job,
        shard: &Shard,
        at: Timestamp,
    ) -> Result<(), AwsError> {
        let Some(plan_id) = &job.plan_id else {
            return Ok(());
        };
        let open = Shard {
            ended_at: None,
            error: None,
            sent: false,
            progressed_at: Some(at),
            ..shard.clone()
        };
        let written = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item(
                &shards_of(job, plan_id),
                &number(shard.index),
                &open,
            )?))
            .condition_expression("attribute_type(#error, :text)")
            .expression_attribute_names("#error", "error")
            .expression_attribute_values(":text", text("S"))
            .send()
            .await;
        let doing = format!("reopening shard {} of {}", shard.index, job.id);
        conditional(doing, written).map(|_| ())
    }

    /// Forgets the shards of a job.
    pub(crate) async fn remove_shards(&self, job: &Job) -> Result<(), AwsError> {
        match &job.plan_id {
            Some(plan_id) => self.remove_all(&shards_of(job, plan_id)).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tandem_replication::names::{JobId, RuleId};
    use tandem_replication::progress::{JobSpec, JobState};

    use super::*;

    fn job() -> Job {
        Job {
            id: JobId::new("job-1"),
            rule_id: RuleId::new("rule-1"),
            spec: JobSpec::default(),
            state: JobState::Running,
            plan_id: Some("plan".into()),
            shards: 1,
            started_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
        }
    }

    fn whole() -> Shard {
        Shard::new(
            &job(),
            0,
            ShardRange::of_prefix("k/"),
            1.0,
            Timestamp::UNIX_EPOCH,
        )
    }

    fn step(checkpoint: &str) -> Step {
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
        let (kept, given) = before.cut(&job(), "k/5", Hint::default(), 1, Timestamp::UNIX_EPOCH);
        assert_eq!(kept.counts, before.counts);
        assert_eq!((kept.pages, kept.splits), (1, 1));
        assert_eq!(kept.rest().after.as_deref(), Some("k/1"));
        assert_eq!(kept.rest().until.as_deref(), Some("k/5"));
        assert_eq!(given.rest().after.as_deref(), Some("k/5"));
        assert_eq!(given.rest().until, None);
        assert_eq!(given.counts, Counts::default());
    }

    #[test]
    fn a_jobs_fraction_never_goes_back_and_ends_at_one() {
        let mut shards = vec![whole()];
        let mut last = 0.0;
        for key in ["k/0", "k/2", "k/4", "k/6"] {
            shards[0] = shards[0].after(&step(key), Timestamp::UNIX_EPOCH);
            let cut = format!("{key}z");
            let index = u32::try_from(shards.len()).unwrap();
            let (kept, given) =
                shards[0].cut(&job(), &cut, Hint::default(), index, Timestamp::UNIX_EPOCH);
            shards[0] = kept;
            shards.push(given);
            let fraction = job().view(&shards).fraction;
            assert!(fraction >= last, "{fraction} after {last}");
            last = fraction;
            // The other half goes on instead.
            shards.swap(0, usize::try_from(index).unwrap());
        }
        for shard in &mut shards {
            shard.ended_at = Some(Timestamp::UNIX_EPOCH);
        }
        let sum: f64 = shards.iter().map(Shard::fraction).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        assert_eq!(job().view(&shards).state, JobState::Complete);
    }

    #[test]
    fn a_job_with_a_shard_that_could_not_be_finished_has_failed_when_all_have_ended() {
        let mut shards = [whole(), whole()];
        shards[0].ended_at = Some(Timestamp::UNIX_EPOCH);
        shards[0].error = Some("listing photos: AccessDenied".into());
        assert_eq!(job().view(&shards).state, JobState::Running);
        shards[1].ended_at = Some(Timestamp::UNIX_EPOCH);
        let view = job().view(&shards);
        assert_eq!(view.state, JobState::Failed);
        assert_eq!(view.error.as_deref(), Some("listing photos: AccessDenied"));
    }
}
