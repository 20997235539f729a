//! Jobs, in the table: backfills, verifications and repairs. What a job's shards have done is in
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

/// For how long the table keeps a job that a schedule asked for, in days.
const SCHEDULED_KEPT_DAYS: i64 = 35;

/// A planner that has not come to its end by then has died: Lambda's own limit on an invocation.
pub const PLANNING_MAX: TimeDelta = TimeDelta::minutes(15);

/// A job as the table holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id; ids of later jobs sort after it.
    pub id: JobId,
    /// Its rule.
    pub rule_id: RuleId,
    /// What it was asked to do.
    #[serde(flatten)]
    pub spec: JobSpec,
    /// Where it is. `Complete` and `Failed` are never stored: a job is over when its shards are.
    pub state: JobState,
    /// Which planner's shards are the job's; two may have been at work.
    #[serde(default)]
    pub plan_id: Option<String>,
    /// How many numbers were given to shards.
    #[serde(default)]
    pub shards: u32,
    /// Whether the hourly maintenance has found it over, with nothing in flight: it is not visited again.
    #[serde(default)]
    pub settled: bool,
    /// When it was started.
    pub started_at: Timestamp,
    /// When the table may forget it, in seconds since 1970; never if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

impl Job {
    /// A job that nobody has begun.
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

    /// Returns where the job is, as its shards show. It is not over while anything of a shard is in flight, which a
    /// recovery has to verify.
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

    /// Since when part of the job stands still, if hourly maintenance has to help it on.
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

    /// The job and its shards as callers see them at `now`.
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
                // Not everything before everything is: an estimate never says so.
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

    /// Stores a job that somebody else is about to be asked to begin, so that it is not lost if nobody does. Answers
    /// whether it was new.
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
        conditional(format!("noting {}", job.id), written)
    }

    /// Forgets a job that nothing was done of.
    pub async fn forget_job(&self, job: &Job) -> Result<(), AwsError> {
        self.delete(&jobs_of(&job.rule_id), job.id.as_str()).await
    }

    /// A rule's job.
    pub async fn job(&self, rule: &RuleId, job: &JobId) -> Result<Option<Job>, AwsError> {
        self.get(&jobs_of(rule), job.as_str()).await
    }

    /// A rule's newest job of any kind.
    pub async fn newest_job(&self, rule: &RuleId) -> Result<Option<Job>, AwsError> {
        self.newest(&jobs_of(rule)).await
    }

    /// The newest of a rule's jobs that carries its historical objects over.
    pub async fn newest_backfill(&self, rule: &RuleId) -> Result<Option<Job>, AwsError> {
        let jobs = self.jobs(rule).await?;
        let mut newest_first = jobs.into_iter().rev();
        Ok(newest_first.find(|job| job.spec.kind == JobKind::Backfill))
    }

    /// The newest of a rule's jobs that its schedule asked for.
    pub async fn newest_scheduled(&self, rule: &RuleId) -> Result<Option<Job>, AwsError> {
        let jobs = self.jobs(rule).await?;
        Ok(jobs.into_iter().rev().find(|job| job.spec.scheduled))
    }

    /// All jobs of a rule, the oldest first.
    pub async fn jobs(&self, rule: &RuleId) -> Result<Vec<Job>, AwsError> {
        self.all(&jobs_of(rule)).await
    }

    /// Lets a planned job run on the shards of `job.plan_id`. Answers whether it did: another planner may
    /// have been faster, or the job was cancelled.
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

    /// Notes that a job is over, with nothing in flight.
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

    /// Brings a job from the state it was seen in to another. Answers whether it is there now: another request may have
    /// changed it. The client sends a write again whose answer was lost, so the state may have been reached already.
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
        conditional(format!("changing {}", job.id), written)
    }

    /// A number for another shard of a job, greater than all before; `None` if the job is gone.
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

    /// Forgets the jobs of a rule, and all that belongs to them.
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
    fn a_jobs_fraction_never_goes_back_and_ends_at_one() {
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
            // The other half goes on instead.
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
    fn a_job_with_a_shard_that_could_not_be_finished_has_failed_when_all_have_ended() {
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
