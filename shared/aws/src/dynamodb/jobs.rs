//! Stores jobs in the table: backfills, verifications and repairs. The progress of a job's shards is in
//! [`crate::dynamodb::shards`].

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use tandem_replication::Timestamp;
use tandem_replication::names::{JobId, RuleId};
use tandem_replication::progress::{
    Counts, JobKind, JobSpec, JobState, JobView, ShardCounts, warning,
};
use tandem_replication::shard_state::Shard;

use crate::AwsError;
use crate::dynamodb::table::{Table, conditional, item, key, parsed, text};

/// For how many days the table keeps a job that a schedule started.
const SCHEDULED_KEPT_DAYS: i64 = 35;

/// How long planning takes at most. This is Lambda's limit for an invocation, so a planner that takes longer has died.
pub const PLANNING_MAX: TimeDelta = TimeDelta::minutes(15);

/// A job as the table stores it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id; ids of later jobs sort after it.
    pub id: JobId,
    /// Its rule.
    pub rule_id: RuleId,
    /// What it has to do.
    #[serde(flatten)]
    pub spec: JobSpec,
    /// Its state. `Complete` and `Failed` are never stored: [`Self::state_with`] derives them from the shards.
    pub state: JobState,
    /// Identifies the planner whose shards belong to the job. Two planners may have worked at the same time.
    #[serde(default)]
    pub plan_id: Option<String>,
    /// How many shard numbers have been assigned.
    #[serde(default)]
    pub shards: u32,
    /// Whether the hourly maintenance has found that the job is over with nothing in flight. Maintenance then skips it.
    #[serde(default)]
    pub settled: bool,
    /// When it was started.
    pub started_at: Timestamp,
    /// When the table may delete it, in seconds since 1970; never if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

impl Job {
    /// Returns a job that has not begun.
    pub fn new(id: JobId, rule_id: RuleId, spec: JobSpec, at: Timestamp) -> Self {
        let expires_at = spec
            .scheduled
            .then(|| (at + TimeDelta::days(SCHEDULED_KEPT_DAYS)).timestamp());
        Self {
            id,
            rule_id,
            spec,
            state: JobState::Planning,
            plan_id: None,
            shards: 0,
            settled: false,
            started_at: at,
            expires_at,
        }
    }

    /// Returns the job's state, given its shards. The job is not over while a shard has a page in flight, because a
    /// recovery has to verify that page.
    pub fn state_with(&self, shards: &[Shard]) -> JobState {
        let has_run = matches!(self.state, JobState::Running | JobState::Paused);
        let is_open = |shard: &Shard| !shard.has_ended() || shard.in_flight.is_some();
        if !has_run || shards.iter().any(is_open) {
            return self.state;
        }
        if shards.iter().any(|shard| shard.error.is_some()) {
            JobState::Failed
        } else {
            JobState::Complete
        }
    }

    /// Returns since when part of the job has made no progress, if only the hourly maintenance can continue it.
    fn stalled_since(&self, shards: &[Shard], now: Timestamp) -> Option<Timestamp> {
        match self.state {
            JobState::Planning => Some(self.started_at).filter(|at| now - *at > PLANNING_MAX),
            JobState::Running => {
                let stalled = shards.iter().filter_map(|shard| shard.stalled_since(now));
                stalled.min()
            }
            _ => None,
        }
    }

    /// Returns the job and its shards as callers see them at `now`.
    pub fn view(&self, shards: &[Shard], now: Timestamp) -> JobView {
        let mut counts = Counts::default();
        for shard in shards {
            counts.add(&shard.counts);
        }
        let ended = shards.iter().filter(|shard| shard.ended_at.is_some());
        let state = self.state_with(shards);
        let complete = state == JobState::Complete;
        let over = matches!(state, JobState::Complete | JobState::Failed);
        JobView {
            id: self.id.clone(),
            rule_id: self.rule_id.clone(),
            spec: self.spec.clone(),
            state,
            error: shards.iter().find_map(|shard| shard.error.clone()),
            warning: over.then(|| warning(&self.spec, &counts)).flatten(),
            stalled_since: self.stalled_since(shards, now),
            fraction: if complete {
                1.0
            } else {
                // An estimate never reports 100 % before the job is complete.
                shards.iter().map(Shard::fraction).sum::<f64>().min(0.999)
            },
            shards: ShardCounts {
                total: shards.len() as u64,
                done: ended.count() as u64,
            },
            counts,
            s3_requests: shards.iter().map(|shard| shard.s3_requests).sum(),
            started_at: self.started_at,
            finished_at: over
                .then(|| shards.iter().filter_map(|shard| shard.ended_at).max())
                .flatten(),
        }
    }
}

fn jobs_of(rule: &RuleId) -> String {
    format!("job#{rule}")
}

impl Table {
    /// Stores a new job.
    pub async fn put_job(&self, job: &Job) -> Result<(), AwsError> {
        self.put(&jobs_of(&job.rule_id), job.id.as_str(), job).await
    }

    /// Stores a job before another function is asked to begin it, so that the job is not lost if that request is lost.
    /// Returns whether the job was new.
    pub async fn note_job(&self, job: &Job) -> Result<bool, AwsError> {
        let pk = jobs_of(&job.rule_id);
        let written = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item(&pk, job.id.as_str(), job)?))
            .condition_expression("attribute_not_exists(pk)")
            .send()
            .await;
        conditional(format!("storing {}", job.id), written)
    }

    /// Removes a job that has done nothing.
    pub async fn forget_job(&self, job: &Job) -> Result<(), AwsError> {
        self.delete(&jobs_of(&job.rule_id), job.id.as_str()).await
    }

    /// Returns a job of a rule.
    pub async fn job(&self, rule: &RuleId, job: &JobId) -> Result<Option<Job>, AwsError> {
        self.get(&jobs_of(rule), job.as_str()).await
    }

    /// Returns a rule's newest job of any kind.
    pub async fn newest_job(&self, rule: &RuleId) -> Result<Option<Job>, AwsError> {
        self.newest(&jobs_of(rule)).await
    }

    /// Returns a rule's newest backfill.
    pub async fn newest_backfill(&self, rule: &RuleId) -> Result<Option<Job>, AwsError> {
        let jobs = self.jobs(rule).await?;
        let mut newest_first = jobs.into_iter().rev();
        Ok(newest_first.find(|job| job.spec.kind == JobKind::Backfill))
    }

    /// Returns a rule's newest job that its schedule started.
    pub async fn newest_scheduled(&self, rule: &RuleId) -> Result<Option<Job>, AwsError> {
        let jobs = self.jobs(rule).await?;
        Ok(jobs.into_iter().rev().find(|job| job.spec.scheduled))
    }

    /// Returns all jobs of a rule, the oldest first.
    pub async fn jobs(&self, rule: &RuleId) -> Result<Vec<Job>, AwsError> {
        self.all(&jobs_of(rule)).await
    }

    /// Starts a planned job on the shards of `job.plan_id`. Returns whether it did so: another planner may
    /// have been faster, or the job may have been cancelled.
    pub async fn start_job(&self, job: &Job) -> Result<bool, AwsError> {
        let planned = Job {
            state: JobState::Running,
            ..job.clone()
        };
        let written = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item(
                &jobs_of(&job.rule_id),
                job.id.as_str(),
                &planned,
            )?))
            .condition_expression("#state = :planning")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":planning", text(JobState::Planning.as_str()))
            .send()
            .await;
        conditional(format!("starting {}", job.id), written)
    }

    /// Records that a job is over and nothing of it is in flight.
    pub async fn settle_job(&self, job: &Job) -> Result<(), AwsError> {
        let written = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(&jobs_of(&job.rule_id), job.id.as_str())))
            .update_expression("SET settled = :yes")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .send()
            .await;
        conditional(format!("settling {}", job.id), written).map(|_| ())
    }

    /// Changes a job from the state in which it was read to another. Returns whether it has the new state now: another
    /// request may have changed it. The job may have the new state before this write, because the client repeats a
    /// write whose answer was lost.
    pub async fn change_job(&self, job: &Job, to: JobState) -> Result<bool, AwsError> {
        let written = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(&jobs_of(&job.rule_id), job.id.as_str())))
            .update_expression("SET #state = :to")
            .condition_expression("#state IN (:from, :to)")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":from", text(job.state.as_str()))
            .expression_attribute_values(":to", text(to.as_str()))
            .send()
            .await;
        conditional(format!("changing the state of {}", job.id), written)
    }

    /// Returns the number of a new shard of a job, greater than all earlier ones, or `None` if the job does not exist.
    pub async fn next_shard_index(&self, job: &Job) -> Result<Option<u32>, AwsError> {
        let pk = jobs_of(&job.rule_id);
        let written = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(&pk, job.id.as_str())))
            .update_expression("ADD shards :one")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match written {
            Ok(answer) => {
                let job: Job = parsed(&pk, answer.attributes.unwrap_or_default())?;
                Ok(Some(job.shards - 1))
            }
            refused => {
                conditional(format!("numbering a shard of {}", job.id), refused).map(|_| None)
            }
        }
    }

    /// Removes the jobs of a rule, with their shards and limits.
    pub async fn remove_jobs(&self, rule: &RuleId) -> Result<(), AwsError> {
        for job in self.jobs(rule).await? {
            self.remove_shards(&job).await?;
            self.remove_limits(&job.id).await?;
            self.delete(&jobs_of(rule), job.id.as_str()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tandem_replication::shard::Hint;

    use super::*;
    use tandem_replication::shard::ShardRange;
    use tandem_replication::shard_state::Step;

    fn whole() -> Shard {
        let range = ShardRange::of_prefix("k/");
        Shard::new(0, range, 1.0, Timestamp::UNIX_EPOCH, None)
    }

    fn step(checkpoint: &str) -> Step {
        Step {
            checkpoint: Some(checkpoint.to_owned()),
            ..Step::default()
        }
    }

    fn job() -> Job {
        Job {
            id: JobId::new("job-1"),
            rule_id: RuleId::new("rule-1"),
            spec: JobSpec::default(),
            state: JobState::Running,
            plan_id: Some("plan".into()),
            shards: 1,
            settled: false,
            started_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
        }
    }

    #[test]
    fn a_jobs_fraction_never_decreases_and_ends_at_one() {
        let mut shards = vec![whole()];
        let mut last = 0.0;
        for key in ["k/0", "k/2", "k/4", "k/6"] {
            shards[0] = shards[0].after(&step(key), None, Timestamp::UNIX_EPOCH);
            let cut = format!("{key}z");
            let index = u32::try_from(shards.len()).unwrap();
            let (kept, given) = shards[0].cut(
                &cut,
                Hint::default(),
                index,
                "message",
                Timestamp::UNIX_EPOCH,
            );
            shards[0] = kept;
            shards.push(given);
            let fraction = job().view(&shards, Timestamp::UNIX_EPOCH).fraction;
            assert!(fraction >= last, "{fraction} after {last}");
            last = fraction;
            // The child shard continues instead.
            shards.swap(0, usize::try_from(index).unwrap());
        }
        for shard in &mut shards {
            shard.ended_at = Some(Timestamp::UNIX_EPOCH);
        }
        let sum: f64 = shards.iter().map(Shard::fraction).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        assert_eq!(
            job().view(&shards, Timestamp::UNIX_EPOCH).state,
            JobState::Complete
        );
    }

    // Promise: A shard that may not be listed makes its job `failed`, with the reason, and resuming carries the
    // job on.
    #[test]
    fn a_job_with_a_failed_shard_has_failed_once_all_shards_have_ended() {
        let mut shards = [whole(), whole()];
        shards[0].ended_at = Some(Timestamp::UNIX_EPOCH);
        shards[0].error = Some("listing photos: AccessDenied".into());
        assert_eq!(
            job().view(&shards, Timestamp::UNIX_EPOCH).state,
            JobState::Running
        );
        shards[1].ended_at = Some(Timestamp::UNIX_EPOCH);
        let view = job().view(&shards, Timestamp::UNIX_EPOCH);
        assert_eq!(view.state, JobState::Failed);
        assert_eq!(view.error.as_deref(), Some("listing photos: AccessDenied"));
    }
}
