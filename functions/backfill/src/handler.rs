//! One backfill: the rule's key space is cut into shards, the shards are stored, and each is sent to the
//! work queue. `backfill-shard` does the rest.

use futures::{StreamExt, TryStreamExt, stream};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use tandem_aws::jobs::{Job, Shard};
use tandem_aws::queues::Queues;
use tandem_aws::s3_pair::S3Pair;
use tandem_aws::table::Table;
use tandem_aws::{Aws, AwsError};
use tandem_lambda::config::Config;
use tandem_lambda::measure::write_requests;
use tandem_lambda::request::{RequestError, find_rule, new_job_id};
use tandem_lambda::runtime::{Error, now};
use tandem_replication::bucket_pair::Side;
use tandem_replication::draft::{Refusal, RefusalCode};
use tandem_replication::names::JobId;
use tandem_replication::progress::JobState;
use tandem_replication::rule::{Rule, RuleState};
use tandem_replication::shard::{Glimpse, ShardPlanner};
use tandem_replication::work::Work;
use uuid::Uuid;

use crate::request::Request;

/// How many shards a job has, at most about.
const SHARDS_MAX: usize = 64;
/// How many pages are listed to find out where to cut.
const GLIMPSES_MAX: usize = 400;
/// How many shards are stored and sent at once.
const SHARDS_AT_ONCE: usize = 16;

/// The function: everything it needs, built once.
#[derive(Debug)]
pub struct Backfill {
    config: Config,
    aws: Aws,
    table: Table,
    queues: Queues,
}

impl Backfill {
    /// Reads the environment and builds the clients.
    pub async fn start() -> Result<Self, Error> {
        let config = Config::from_environment()?;
        let aws = Aws::from_environment(config.account_id.clone()).await?;
        Ok(Self {
            table: Table::new(&aws, &config.rule_table),
            queues: Queues::new(&aws),
            config,
            aws,
        })
    }

    /// Answers one request.
    pub async fn handle(&self, invocation: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
        let answer = self.carry_out(invocation.payload).await;
        if let Err(error) = &answer {
            tracing::warn!(%error, "not carried out");
        }
        write_requests("backfill", &self.aws.take_request_counts(), now());
        Ok(answer?)
    }

    async fn carry_out(&self, payload: Value) -> Result<Value, RequestError> {
        match Request::parse(payload)? {
            Request::Start { rule, job_id } => {
                let rule = find_rule(&self.table, &rule).await?;
                let job = self.begin(&rule, job_id).await?;
                Ok(json!({"job": job.view(&self.table.shards(&job).await?)}))
            }
            Request::Status { rule, job_id } => {
                let rule = find_rule(&self.table, &rule).await?;
                let job = match &job_id {
                    Some(job_id) => self.table.job(&rule.id, job_id).await?,
                    None => self.table.newest_job(&rule.id).await?,
                };
                let job = job.ok_or_else(|| no_such_job(&rule, job_id.as_ref()))?;
                Ok(json!({"job": job.view(&self.table.shards(&job).await?)}))
            }
        }
    }

    /// Begins a job, or carries on the one that has this id already: the same request may come twice.
    async fn begin(&self, rule: &Rule, job_id: Option<JobId>) -> Result<Job, RequestError> {
        let id = job_id.unwrap_or_else(new_job_id);
        let known = self.table.job(&rule.id, &id).await?;
        let job = match known {
            Some(job) => job,
            None => self.new_job(rule, id).await?,
        };
        match job.state {
            JobState::Planning => self.plan(rule, &job).await,
            JobState::Running => {
                self.send_shards(&job).await?;
                Ok(job)
            }
            JobState::Complete | JobState::Cancelled => Ok(job),
        }
    }

    /// Stores a new job in the place of all that have not ended.
    async fn new_job(&self, rule: &Rule, id: JobId) -> Result<Job, RequestError> {
        if !matches!(rule.state, RuleState::Enabled | RuleState::Paused) {
            let problem = format!("is {} and cannot be backfilled", rule.state.as_str());
            return Err(Refusal::new(
                RefusalCode::RuleStateConflict,
                "rule",
                rule.id.as_str(),
                problem,
            )
            .into());
        }
        for job in self.table.jobs(&rule.id).await? {
            if matches!(job.state, JobState::Planning | JobState::Running)
                && !self.has_ended(&job).await?
            {
                self.table.cancel_job(&job).await?;
            }
        }
        let job = Job {
            id,
            rule_id: rule.id.clone(),
            state: JobState::Planning,
            plan_id: None,
            shards: 0,
            started_at: now(),
        };
        self.table.put_job(&job).await?;
        Ok(job)
    }

    async fn has_ended(&self, job: &Job) -> Result<bool, AwsError> {
        let shards = self.table.shards(job).await?;
        Ok(job.state == JobState::Running && shards.iter().all(|shard| shard.ended_at.is_some()))
    }

    /// Cuts the key space and lets the job run. If another planner of the same job was faster, its shards
    /// are the job's.
    async fn plan(&self, rule: &Rule, job: &Job) -> Result<Job, RequestError> {
        let pair = S3Pair::of_rule(&self.aws, &self.table, rule);
        let mut planner =
            ShardPlanner::new(rule.scope.listing_prefixes(), SHARDS_MAX, GLIMPSES_MAX);
        while let Some(range) = planner.next_glimpse() {
            let page = pair.list(Side::Source, &range).await?;
            let first = page.objects.into_iter().next().map(|object| object.key);
            planner.saw(Glimpse {
                first,
                complete: page.last,
            });
        }
        let ranges = planner.into_shards();
        let plan_id = Uuid::now_v7().simple().to_string();
        let ready = Job {
            state: JobState::Running,
            plan_id: Some(plan_id.clone()),
            shards: u32::try_from(ranges.len()).unwrap_or(u32::MAX),
            ..job.clone()
        };
        stream::iter((0..).zip(ranges))
            .map(|(index, range)| Ok::<_, AwsError>(Shard::new(index, range)))
            .try_for_each_concurrent(SHARDS_AT_ONCE, |shard| {
                let (table, plan_id) = (&self.table, &plan_id);
                async move { table.put_shard(&job.id, plan_id, &shard).await }
            })
            .await?;
        let job = if self.table.start_job(&ready).await? {
            ready
        } else {
            let found = self.table.job(&rule.id, &job.id).await?;
            found.ok_or_else(|| no_such_job(rule, Some(&job.id)))?
        };
        if job.state == JobState::Running {
            self.send_shards(&job).await?;
        }
        Ok(job)
    }

    /// Sends every shard that has not ended. A shard may be sent twice; its steps count once.
    async fn send_shards(&self, job: &Job) -> Result<(), AwsError> {
        let shards = self.table.shards(job).await?;
        stream::iter(shards.into_iter().filter(|shard| shard.ended_at.is_none()))
            .map(|shard| {
                let work = Work::Shard {
                    rule_id: job.rule_id.clone(),
                    job_id: job.id.clone(),
                    shard: shard.index,
                };
                async move { self.queues.send(&self.config.work_queue_url, &work).await }
            })
            .buffer_unordered(SHARDS_AT_ONCE)
            .try_collect()
            .await
    }
}

fn no_such_job(rule: &Rule, job_id: Option<&JobId>) -> Refusal {
    if let Some(job_id) = job_id {
        let problem = format!(
            "is no backfill of {}; leave job_id out for the newest",
            rule.id
        );
        return Refusal::new(RefusalCode::JobNotFound, "job_id", job_id.as_str(), problem);
    }
    let problem = "has had no backfill; start one with the action \"start\"";
    Refusal::new(RefusalCode::JobNotFound, "rule", rule.id.as_str(), problem)
}
