//! The shards of one job, in the table and the work queue. Implements the ports of
//! [`shard_session`](tandem_replication::shard_session).

use std::sync::{Arc, Mutex, PoisonError};

use tandem_aws::AwsError;
use tandem_aws::dynamodb::jobs::Job;
use tandem_replication::Timestamp;
use tandem_replication::progress::JobState;
use tandem_replication::rule::{Rule, RuleState};
use tandem_replication::shard_session::{
    Gate, SessionError, ShardPorts, Wake, release_waiting, wake,
};
use tandem_replication::shard_state::{Guard, Shard};
use tandem_replication::work::Work;

use crate::runtime::now;
use crate::services::Services;

/// The shards of one job.
#[derive(Debug)]
pub struct JobShards<'a> {
    services: &'a Services,
    job: Job,
    /// The rule and the job, as of the last time the gate was read.
    latest: Mutex<Option<(Arc<Rule>, Arc<Job>)>>,
}

impl<'a> JobShards<'a> {
    /// Returns the shards of `job`.
    pub fn new(services: &'a Services, job: Job) -> Self {
        Self {
            services,
            job,
            latest: Mutex::default(),
        }
    }

    /// Returns the rule and the job as of the last time the gate was read. Returns `None` before that, or if they no
    /// longer exist.
    pub fn latest(&self) -> Option<(Arc<Rule>, Arc<Job>)> {
        let latest = self.latest.lock();
        latest.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends messages for the shards that need one, as [`wake`] does. Returns how many.
    pub async fn wake(&self, sender: &str, which: Wake) -> Result<usize, AwsError> {
        wake(self, sender, which).await.map_err(into_aws)
    }

    /// Sends messages for shards that have had none yet, as many as the job's concurrency allows.
    pub async fn release_waiting(&self, sender: &str) -> Result<(), AwsError> {
        release_waiting(self, sender).await.map_err(into_aws)
    }
}

/// Converts an error of [`wake`] or [`release_waiting`]. Neither takes a lease, so neither can lose one.
fn into_aws(error: SessionError<AwsError>) -> AwsError {
    match error {
        SessionError::Failed(error) | SessionError::Final(error) => error,
        lost @ SessionError::Lost(_) => {
            AwsError::unexpected("sending messages of shards", lost.to_string())
        }
    }
}

impl ShardPorts for JobShards<'_> {
    type Error = AwsError;

    async fn gate(&self) -> Result<Gate, AwsError> {
        let rule = self.services.table.rule(&self.job.rule_id).await?;
        let job = self
            .services
            .table
            .job(&self.job.rule_id, &self.job.id)
            .await?;
        let both = rule.zip(job);
        let gate = match &both {
            None => Gate::Gone,
            Some((rule, _)) if rule.state != RuleState::Enabled => Gate::Shut,
            Some((_, job)) if job.state == JobState::Running => Gate::Open,
            Some(_) => Gate::Recoveries,
        };
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = both.map(|(rule, job)| (Arc::new(rule), Arc::new(job)));
        Ok(gate)
    }

    async fn shard(&self, index: u32) -> Result<Option<Shard>, AwsError> {
        self.services.table.shard(&self.job, index).await
    }

    async fn shards(&self) -> Result<Vec<Shard>, AwsError> {
        self.services.table.shards(&self.job).await
    }

    async fn update(&self, guard: Guard<'_>, seen: &Shard, next: &Shard) -> Result<bool, AwsError> {
        self.services
            .table
            .update_shard(&self.job, guard, seen, next)
            .await
    }

    async fn new_index(&self) -> Result<Option<u32>, AwsError> {
        self.services.table.next_shard_index(&self.job).await
    }

    async fn split(
        &self,
        guard: Guard<'_>,
        seen: &Shard,
        kept: &Shard,
        child: &Shard,
    ) -> Result<bool, AwsError> {
        self.services
            .table
            .split_shard(&self.job, guard, seen, kept, child)
            .await
    }

    async fn send(&self, index: u32, epoch: u64, delay_secs: i32) -> Result<(), AwsError> {
        let work = Work::Shard {
            rule_id: self.job.rule_id.clone(),
            job_id: self.job.id.clone(),
            shard: index,
        };
        self.services
            .queues
            .send_shard(
                &self.services.config.work_queue_url,
                &work,
                epoch,
                delay_secs,
            )
            .await
    }

    fn concurrency(&self) -> usize {
        let concurrency = self.job.spec.concurrency;
        let concurrency = concurrency.unwrap_or(self.services.config.backfill_concurrency);
        usize::try_from(concurrency).unwrap_or(usize::MAX).max(1)
    }

    fn now(&self) -> Timestamp {
        now()
    }
}
