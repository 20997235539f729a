//! Handles one request, from its JSON to the answer. [`crate::start`] starts jobs, [`crate::maintenance`] does the
//! scheduled maintenance.

use std::ops::Deref;

use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use tandem_aws::dynamodb::jobs::Job;
use tandem_lambda::job_shards::JobShards;
use tandem_lambda::metrics::write_requests;
use tandem_lambda::request::{RequestError, find_rule, new_job_id};
use tandem_lambda::runtime::{Deadline, Error, now};
use tandem_lambda::services::Services;
use tandem_replication::names::JobId;
use tandem_replication::progress::{JobState, JobView};
use tandem_replication::refusal::{Refusal, RefusalCode};
use tandem_replication::rule::Rule;
use tandem_replication::shard_session::Wake;
use tandem_replication::shard_state::Guard;
use uuid::Uuid;

use crate::request::{JobAction, Request};

/// How many jobs the answer to `list` has at most.
const JOBS_LISTED: usize = 50;

/// The function, with everything that it needs, built once.
#[derive(Debug)]
pub struct Backfill(Services);

impl Deref for Backfill {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.0
    }
}

impl Backfill {
    /// Reads the environment and builds the clients.
    pub async fn start() -> Result<Self, Error> {
        Services::start().await.map(Self)
    }

    /// Answers one request.
    pub async fn handle(&self, invocation: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
        self.aws.begin(Deadline::of(invocation.context.deadline()));
        let answer = self.carry_out(invocation.payload).await;
        if let Err(error) = &answer {
            tracing::warn!(%error, "the request was refused or failed");
        }
        write_requests("backfill", &self.aws.take_request_counts(), now());
        Ok(answer?)
    }

    async fn carry_out(&self, payload: Value) -> Result<Value, RequestError> {
        match Request::parse(payload)? {
            Request::Start {
                rule,
                job_id,
                token,
                spec,
            } => {
                let rule = find_rule(&self.table, &rule).await?;
                let job_id = match token {
                    Some(token) => Some(self.job_id_of(&token).await?),
                    None => job_id,
                };
                let job = self.begin(&rule, job_id, spec).await?;
                Ok(json!({"job": self.view(&job).await?}))
            }
            Request::Job {
                action,
                rule,
                job_id,
            } => {
                let rule = find_rule(&self.table, &rule).await?;
                let job = self.find_job(&rule, job_id.as_ref()).await?;
                let job = match action {
                    JobAction::Status => job,
                    JobAction::Pause => self.pause(job).await?,
                    JobAction::Resume => self.resume(job).await?,
                    JobAction::Cancel => self.cancel(job).await?,
                };
                Ok(json!({"job": self.view(&job).await?}))
            }
            Request::List { rule } => {
                let rule = find_rule(&self.table, &rule).await?;
                let jobs = self.table.jobs(&rule.id).await?;
                let newest = jobs.iter().rev().take(JOBS_LISTED);
                let views = newest.map(|job| self.view(job));
                let jobs: Vec<JobView> = futures::future::try_join_all(views).await?;
                Ok(json!({"jobs": jobs}))
            }
            Request::Maintain => Ok(json!(self.maintain().await?)),
        }
    }

    /// Returns the id of the job that a request with this token starts or has started.
    async fn job_id_of(&self, token: &str) -> Result<JobId, RequestError> {
        let new = new_job_id();
        let id = self
            .table
            .id_of_request("start", token, new.as_str(), now());
        Ok(JobId::new(id.await?))
    }

    async fn find_job(&self, rule: &Rule, job_id: Option<&JobId>) -> Result<Job, RequestError> {
        let job = match job_id {
            Some(job_id) => self.table.job(&rule.id, job_id).await?,
            None => self.table.newest_job(&rule.id).await?,
        };
        job.ok_or_else(|| no_such_job(rule, job_id).into())
    }

    async fn view(&self, job: &Job) -> Result<JobView, RequestError> {
        Ok(job.view(&self.table.shards(job).await?, now()))
    }

    /// Pauses a job. Its shards stop after their current page.
    async fn pause(&self, job: Job) -> Result<Job, RequestError> {
        match self.state(&job).await? {
            JobState::Paused => Ok(job),
            JobState::Running => self.change(job, JobState::Paused).await,
            state => Err(conflict(&job, state, "cannot be paused")),
        }
    }

    /// Resumes a job. Its failed shards continue from their checkpoints.
    async fn resume(&self, job: Job) -> Result<Job, RequestError> {
        let job = match self.state(&job).await? {
            JobState::Running => job,
            JobState::Paused => self.change(job, JobState::Running).await?,
            JobState::Failed => {
                for shard in self.table.shards(&job).await? {
                    if shard.error.is_some() {
                        let open = shard.reopened(now());
                        self.table
                            .update_shard(&job, Guard::Failed, &shard, &open)
                            .await?;
                    }
                }
                match job.state {
                    JobState::Paused => self.change(job, JobState::Running).await?,
                    _ => job,
                }
            }
            state => return Err(conflict(&job, state, "cannot be resumed; start a new one")),
        };
        self.shards(&job).wake(&sender(), Wake::All).await?;
        Ok(job)
    }

    /// Cancels a job. What it has done stays.
    async fn cancel(&self, job: Job) -> Result<Job, RequestError> {
        match self.state(&job).await? {
            JobState::Cancelled => Ok(job),
            JobState::Planning | JobState::Running | JobState::Paused | JobState::Failed => {
                self.change(job, JobState::Cancelled).await
            }
            state @ JobState::Complete => Err(conflict(&job, state, "cannot be cancelled")),
        }
    }

    /// Returns the shards of a job.
    pub(crate) fn shards(&self, job: &Job) -> JobShards<'_> {
        JobShards::new(self, job.clone())
    }

    pub(crate) async fn state(&self, job: &Job) -> Result<JobState, RequestError> {
        Ok(job.state_with(&self.table.shards(job).await?))
    }

    async fn change(&self, job: Job, to: JobState) -> Result<Job, RequestError> {
        if self.table.change_job(&job, to).await? {
            return Ok(Job { state: to, ..job });
        }
        let problem = "was changed by another request at the same time; read it again, then repeat your request";
        Err(Refusal::new(
            RefusalCode::JobStateConflict,
            "job_id",
            job.id.as_str(),
            problem,
        )
        .into())
    }
}

/// Returns an id of a sender, new for each attempt. By it a sender recognises an epoch that it has raised itself.
pub(crate) fn sender() -> String {
    Uuid::now_v7().simple().to_string()
}

fn conflict(job: &Job, state: JobState, problem: &str) -> RequestError {
    let problem = format!("is {} and {problem}", state.as_str());
    Refusal::new(
        RefusalCode::JobStateConflict,
        "job_id",
        job.id.as_str(),
        problem,
    )
    .into()
}

pub(crate) fn no_such_job(rule: &Rule, job_id: Option<&JobId>) -> Refusal {
    if let Some(job_id) = job_id {
        let problem = format!(
            "is not a job of {}; leave job_id out for the newest",
            rule.id
        );
        return Refusal::new(RefusalCode::JobNotFound, "job_id", job_id.as_str(), problem);
    }
    let problem = "has had no job; start one with the action \"start\"";
    Refusal::new(RefusalCode::JobNotFound, "rule", rule.id.as_str(), problem)
}
