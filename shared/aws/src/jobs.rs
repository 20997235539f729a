//! Backfill jobs and their shards, in the table. Every step of a shard is one conditional write, so that a
//! message that comes twice, or a worker that dies, counts nothing twice.

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};
use tandem_replication::Timestamp;
use tandem_replication::keyspace::fraction;
use tandem_replication::names::{JobId, RuleId};
use tandem_replication::progress::{Counts, JobState, JobView, ShardCounts};
use tandem_replication::shard::ShardRange;

use crate::AwsError;
use crate::table::Table;

/// A backfill job as the table holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id; ids of later jobs sort after it.
    pub id: JobId,
    /// Its rule.
    pub rule_id: RuleId,
    /// Where it is. `Complete` is never stored: a job is complete when its shards are.
    pub state: JobState,
    /// Which planner's shards are the job's; two may have been at work.
    #[serde(default)]
    pub plan_id: Option<String>,
    /// How many shards the plan has.
    #[serde(default)]
    pub shards: u32,
    /// When it was started.
    pub started_at: Timestamp,
}

/// A shard as the table holds it: its range, how far it has come, and what it has counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Which of the job's shards.
    pub index: u32,
    /// Keys begin so.
    pub prefix: String,
    /// Exclusive lower bound.
    #[serde(default)]
    pub after: Option<String>,
    /// Inclusive upper bound.
    #[serde(default)]
    pub until: Option<String>,
    /// The last key that is accounted for.
    #[serde(default)]
    pub checkpoint: Option<String>,
    /// How many pages are accounted for; every step is conditional on it.
    pub pages: u64,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// What became of its objects so far.
    #[serde(flatten)]
    pub counts: Counts,
}

/// One page of a shard, done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The last key of the page; `None` if the page was empty.
    pub checkpoint: Option<String>,
    /// What became of its objects.
    pub counts: Counts,
    /// When the shard ended, if this was its last page.
    pub ended_at: Option<Timestamp>,
}

impl Shard {
    /// A shard that has not begun.
    pub fn new(index: u32, range: ShardRange) -> Self {
        Self {
            index,
            prefix: range.prefix,
            after: range.after,
            until: range.until,
            checkpoint: None,
            pages: 0,
            ended_at: None,
            counts: Counts::default(),
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

    fn fraction(&self) -> f64 {
        match (&self.ended_at, &self.checkpoint) {
            (Some(_), _) => 1.0,
            (None, None) => 0.0,
            (None, Some(checkpoint)) => {
                let low = self.after.as_deref().unwrap_or(&self.prefix);
                fraction(low, self.until.as_deref(), checkpoint)
            }
        }
    }
}

impl Job {
    /// The job and its shards as callers see them.
    pub fn view(&self, shards: &[Shard]) -> JobView {
        let mut counts = Counts::default();
        for shard in shards {
            counts.add(&shard.counts);
        }
        let done = shards
            .iter()
            .filter(|shard| shard.ended_at.is_some())
            .count() as u64;
        let total = u64::from(self.shards);
        let complete = self.state == JobState::Running && done == total;
        JobView {
            id: self.id.clone(),
            rule_id: self.rule_id.clone(),
            state: if complete {
                JobState::Complete
            } else {
                self.state
            },
            fraction: if complete {
                1.0
            } else {
                // Not everything before everything is: an estimate never says so.
                (shards.iter().map(Shard::fraction).sum::<f64>() / (total.max(1) as f64)).min(0.999)
            },
            shards: ShardCounts { total, done },
            counts,
            started_at: self.started_at,
            finished_at: complete
                .then(|| shards.iter().filter_map(|shard| shard.ended_at).max())
                .flatten(),
        }
    }
}

fn jobs_of(rule: &RuleId) -> String {
    format!("job#{rule}")
}

fn shards_of(job: &JobId, plan_id: &str) -> String {
    format!("shard#{job}#{plan_id}")
}

impl Table {
    /// Stores a job, or what it has become.
    pub async fn put_job(&self, job: &Job) -> Result<(), AwsError> {
        self.put(&jobs_of(&job.rule_id), job.id.as_str(), job).await
    }

    /// A rule's job.
    pub async fn job(&self, rule: &RuleId, job: &JobId) -> Result<Option<Job>, AwsError> {
        self.get(&jobs_of(rule), job.as_str()).await
    }

    /// A rule's newest job.
    pub async fn newest_job(&self, rule: &RuleId) -> Result<Option<Job>, AwsError> {
        self.newest(&jobs_of(rule)).await
    }

    /// All jobs of a rule, the oldest first.
    pub async fn jobs(&self, rule: &RuleId) -> Result<Vec<Job>, AwsError> {
        self.all(&jobs_of(rule)).await
    }

    /// Stores a planned shard. Nothing works on it before [`Self::start_job`] has chosen its plan.
    pub async fn put_shard(
        &self,
        job: &JobId,
        plan_id: &str,
        shard: &Shard,
    ) -> Result<(), AwsError> {
        self.put(
            &shards_of(job, plan_id),
            &format!("{:06}", shard.index),
            shard,
        )
        .await
    }

    /// Lets a planned job run on the shards of `job.plan_id`. Answers whether it did: another planner may
    /// have been faster, or the job was cancelled.
    pub async fn start_job(&self, job: &Job) -> Result<bool, AwsError> {
        self.change_job_state(job, JobState::Planning).await
    }

    /// Cancels a job that has not ended.
    pub async fn cancel_job(&self, job: &Job) -> Result<bool, AwsError> {
        self.change_job_state(
            &Job {
                state: JobState::Cancelled,
                ..job.clone()
            },
            job.state,
        )
        .await
    }

    async fn change_job_state(&self, job: &Job, from: JobState) -> Result<bool, AwsError> {
        let item = crate::table::item(&jobs_of(&job.rule_id), job.id.as_str(), job)?;
        let from = match from {
            JobState::Planning => "planning",
            JobState::Running => "running",
            JobState::Complete => "complete",
            JobState::Cancelled => "cancelled",
        };
        let written = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression("#state = :from")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":from", AttributeValue::S(from.to_owned()))
            .send()
            .await;
        conditional(format!("writing {}", job.id), written)
    }

    /// The shards of a job that has a plan.
    pub async fn shards(&self, job: &Job) -> Result<Vec<Shard>, AwsError> {
        match &job.plan_id {
            Some(plan_id) => self.all(&shards_of(&job.id, plan_id)).await,
            None => Ok(Vec::new()),
        }
    }

    /// One shard of a job.
    pub async fn shard(&self, job: &Job, index: u32) -> Result<Option<Shard>, AwsError> {
        match &job.plan_id {
            Some(plan_id) => {
                self.get(&shards_of(&job.id, plan_id), &format!("{index:06}"))
                    .await
            }
            None => Ok(None),
        }
    }

    /// Accounts for one page: the counts and the checkpoint move in one write, if the shard is still
    /// where `shard` says. Answers whether it was; another worker may have done the page.
    pub async fn step_shard(
        &self,
        job: &Job,
        shard: &Shard,
        step: &Step,
    ) -> Result<bool, AwsError> {
        let Some(plan_id) = &job.plan_id else {
            return Ok(false);
        };
        let mut counts = shard.counts;
        counts.add(&step.counts);
        let next = Shard {
            checkpoint: step.checkpoint.clone().or_else(|| shard.checkpoint.clone()),
            pages: shard.pages + 1,
            ended_at: step.ended_at,
            counts,
            ..shard.clone()
        };
        let (pk, sk) = (shards_of(&job.id, plan_id), format!("{:06}", shard.index));
        let written = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(crate::table::item(&pk, &sk, &next)?))
            .condition_expression("pages = :before AND attribute_type(ended_at, :null)")
            .expression_attribute_values(":before", AttributeValue::N(shard.pages.to_string()))
            .expression_attribute_values(":null", AttributeValue::S("NULL".to_owned()))
            .send()
            .await;
        conditional(
            format!("writing shard {} of {}", shard.index, job.id),
            written,
        )
    }

    /// Forgets the jobs of a rule and their shards.
    pub async fn remove_jobs(&self, rule: &RuleId) -> Result<(), AwsError> {
        for job in self.jobs(rule).await? {
            for shard in self.shards(&job).await? {
                if let Some(plan_id) = &job.plan_id {
                    self.delete(&shards_of(&job.id, plan_id), &format!("{:06}", shard.index))
                        .await?;
                }
            }
            self.delete(&jobs_of(rule), job.id.as_str()).await?;
        }
        Ok(())
    }
}

/// Whether a conditional write found what it was conditional on.
fn conditional<T, E>(
    doing: String,
    written: Result<
        T,
        aws_sdk_dynamodb::error::SdkError<E, aws_smithy_runtime_api::http::Response>,
    >,
) -> Result<bool, AwsError>
where
    E: aws_smithy_types::error::metadata::ProvideErrorMetadata + std::error::Error + 'static,
{
    match written {
        Ok(_) => Ok(true),
        Err(error) => {
            let error = AwsError::request(doing, &error);
            if error.is("ConditionalCheckFailedException") {
                Ok(false)
            } else {
                Err(error)
            }
        }
    }
}
