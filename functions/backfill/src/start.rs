//! Starts jobs. Stores the job and its first shards, and sends messages to as many shards as the job's concurrency
//! allows. Later, parts of shards that prove to be large are split off.

use tandem_aws::dynamodb::jobs::Job;
use tandem_aws::s3::job_files::Place;
use tandem_lambda::request::{RequestError, new_job_id};
use tandem_lambda::runtime::now;
use tandem_replication::names::JobId;
use tandem_replication::progress::{JobSpec, JobState};
use tandem_replication::refusal::{Refusal, RefusalCode};
use tandem_replication::rule::{Rule, RuleState};
use tandem_replication::s3_uri::S3Uri;
use tandem_replication::shard::{ShardRange, listing_prefixes};
use tandem_replication::shard_session::Wake;
use tandem_replication::shard_state::Shard;
use uuid::Uuid;

use crate::handler::{Backfill, no_such_job, sender};
use crate::manifest;

impl Backfill {
    /// Begins a job. If a job with this id exists, because the request was repeated, it continues that job.
    pub(crate) async fn begin(
        &self,
        rule: &Rule,
        job_id: Option<JobId>,
        spec: JobSpec,
    ) -> Result<Job, RequestError> {
        let id = job_id.unwrap_or_else(new_job_id);
        let known = self.table.job(&rule.id, &id).await?;
        let job = match known {
            Some(job) => job,
            None => self.new_job(rule, id, spec).await?,
        };
        match job.state {
            JobState::Planning => self.plan(rule, &job).await,
            JobState::Running => {
                self.shards(&job).wake(&sender(), Wake::All).await?;
                Ok(job)
            }
            JobState::Paused | JobState::Complete | JobState::Failed | JobState::Cancelled => {
                Ok(job)
            }
        }
    }

    /// Stores a new job. Checks its first shards and its report before it stores anything.
    async fn new_job(&self, rule: &Rule, id: JobId, spec: JobSpec) -> Result<Job, RequestError> {
        if !matches!(rule.state, RuleState::Enabled | RuleState::Paused) {
            let problem = format!("is {} and cannot have jobs", rule.state.as_str());
            return Err(Refusal::new(
                RefusalCode::RuleStateConflict,
                "rule",
                rule.id.as_str(),
                problem,
            )
            .into());
        }
        let job = Job::new(id, rule.id.clone(), spec, now());
        self.first_shards(rule, &job).await?;
        self.check_report(&job).await?;
        self.table.put_job(&job).await?;
        Ok(job)
    }

    /// Cancels every older job of the same kind that has not ended.
    async fn take_the_place_of_others(&self, job: &Job) -> Result<(), RequestError> {
        for other in self.table.jobs(&job.rule_id).await? {
            if is_older(&other, job)
                && other.spec.kind == job.spec.kind
                && !self.state(&other).await?.is_over()
            {
                self.table.change_job(&other, JobState::Cancelled).await?;
            }
        }
        Ok(())
    }

    /// Stores the first shards and starts the job, in place of all older jobs of its kind. If another planner of the
    /// same job was faster, the job has that planner's shards.
    pub(crate) async fn plan(&self, rule: &Rule, job: &Job) -> Result<Job, RequestError> {
        self.take_the_place_of_others(job).await?;
        let shards = self.first_shards(rule, job).await?;
        let plan_id = Uuid::now_v7().simple().to_string();
        for shard in &shards {
            self.table.put_shard(job, &plan_id, shard).await?;
        }
        let ready = Job {
            state: JobState::Running,
            plan_id: Some(plan_id),
            shards: u32::try_from(shards.len()).unwrap_or(u32::MAX),
            ..job.clone()
        };
        let job = if self.table.start_job(&ready).await? {
            ready
        } else {
            let found = self.table.job(&rule.id, &job.id).await?;
            found.ok_or_else(|| no_such_job(rule, Some(&job.id)))?
        };
        if job.state == JobState::Running {
            self.shards(&job).release_waiting(&sender()).await?;
        }
        Ok(job)
    }

    /// Returns one shard for each prefix, or for each part of the list of keys.
    async fn first_shards(&self, rule: &Rule, job: &Job) -> Result<Vec<Shard>, RequestError> {
        let at = now();
        if let Some(uri) = &job.spec.manifest {
            let parts = manifest::parts(&self.aws, uri, &rule.source.name, job.spec.keys).await?;
            let weight = 1.0 / parts.len().max(1) as f64;
            return Ok((0..)
                .zip(parts)
                .map(|(index, part)| Shard {
                    manifest: Some(part),
                    ..Shard::new(index, ShardRange::of_prefix(""), weight, at, job.expires_at)
                })
                .collect());
        }
        let within = job.spec.prefix.as_deref().unwrap_or_default();
        let prefixes = listing_prefixes(&rule.scope.listing_prefixes(), within);
        if prefixes.is_empty() {
            let problem =
                "is outside the rule's scope; give one that begins with a prefix of the rule";
            return Err(
                Refusal::new(RefusalCode::InvalidRequest, "prefix", within, problem).into(),
            );
        }
        let weight = 1.0 / prefixes.len() as f64;
        Ok((0..)
            .zip(prefixes)
            .map(|(index, prefix)| {
                Shard::new(
                    index,
                    ShardRange::of_prefix(prefix),
                    weight,
                    at,
                    job.expires_at,
                )
            })
            .collect())
    }

    /// Writes a description of the job to the report's place. This shows whether Tandem can write there.
    async fn check_report(&self, job: &Job) -> Result<(), RequestError> {
        let Some(report) = &job.spec.report else {
            return Ok(());
        };
        let refused = |problem: String| {
            Refusal::new(
                RefusalCode::InvalidRequest,
                "report",
                report.as_str(),
                problem,
            )
        };
        let uri = S3Uri::parse(report).map_err(refused)?;
        self.config.boundary.check_written("report", &uri.bucket)?;
        let place = Place::find(&self.aws, &uri).await?.ok_or_else(|| {
            refused(
                "is in a bucket that does not exist in this account; create it, or correct its name".to_owned(),
            )
        })?;
        let about = serde_json::json!({
            "job_id": job.id, "rule_id": job.rule_id, "kind": job.spec.kind, "started_at": job.started_at,
        });
        let name = format!("{}/job.json", job.id);
        place
            .write(&name, about.to_string().into_bytes())
            .await
            .map_err(|error| {
                let problem = format!(
                    "cannot be written to ({error}); its bucket has to be one that the stack's parameter \
                     JobBucketPattern allows"
                );
                refused(problem).into()
            })
    }
}

/// Whether `other` was started before `job`. Of two jobs started in the same millisecond, the one with the smaller id
/// counts as older, so that exactly one of them cancels the other.
fn is_older(other: &Job, job: &Job) -> bool {
    (other.started_at, &other.id) < (job.started_at, &job.id)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use tandem_replication::Timestamp;
    use tandem_replication::names::RuleId;

    use super::*;

    fn job(id: &str, started_ms: i64) -> Job {
        Job::new(
            JobId::new(id),
            RuleId::new("rule-1"),
            JobSpec::default(),
            Timestamp::UNIX_EPOCH + TimeDelta::milliseconds(started_ms),
        )
    }

    #[test]
    fn of_two_jobs_of_one_millisecond_exactly_one_is_older() {
        for (one, other) in [
            (job("a", 5), job("b", 5)),
            (job("b", 4), job("a", 5)),
            (job("a", 4), job("b", 5)),
        ] {
            assert!(is_older(&one, &other), "{one:?} {other:?}");
            assert!(!is_older(&other, &one), "{one:?} {other:?}");
        }
        let job = job("a", 5);
        assert!(!is_older(&job, &job));
    }
}
