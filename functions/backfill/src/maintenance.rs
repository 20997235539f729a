//! Hourly maintenance, started by a schedule: starts reconciliations that are due, and continues jobs that have stalled
//! because a message was lost or moved to a dead-letter queue.

use serde::Serialize;
use tandem_aws::dynamodb::jobs::{Job, PLANNING_MAX};
use tandem_lambda::request::RequestError;
use tandem_lambda::runtime::now;
use tandem_replication::Timestamp;
use tandem_replication::deferral::{REPLAY_STALLED_AFTER, send_replays};
use tandem_replication::names::JobId;
use tandem_replication::progress::{JobKind, JobSpec, JobState};
use tandem_replication::rule::{Rule, RuleState};
use tandem_replication::shard_session::Wake;
use tandem_replication::shard_state::Shard;

use crate::handler::{Backfill, sender};
use crate::request::DELETES_MAX;

/// The result of a maintenance run.
#[derive(Debug, Default, Serialize)]
pub struct Maintained {
    /// Reconciliations that were started.
    started: Vec<JobId>,
    /// Stalled jobs that were continued.
    helped_on: Vec<JobId>,
    /// How many rules and jobs failed. The next hourly run retries them.
    failed: u64,
}

impl Backfill {
    /// Maintains the jobs of every rule. A failure of one rule does not affect the others.
    pub(crate) async fn maintain(&self) -> Result<Maintained, RequestError> {
        let mut maintained = Maintained::default();
        for rule in self.table.rules().await? {
            if rule.state != RuleState::Enabled {
                continue;
            }
            if let Err(error) = self.maintain_rule(&rule, &mut maintained).await {
                tracing::error!(rule.id = rule.id.as_str(), %error, "cannot maintain the jobs of a rule");
                maintained.failed += 1;
            }
        }
        Ok(maintained)
    }

    async fn maintain_rule(
        &self,
        rule: &Rule,
        maintained: &mut Maintained,
    ) -> Result<(), RequestError> {
        send_replays(&**self, rule, now(), REPLAY_STALLED_AFTER).await?;
        let jobs = self.table.jobs(&rule.id).await?;
        for job in &jobs {
            match self.help_on(rule, job).await {
                Ok(true) => maintained.helped_on.push(job.id.clone()),
                Ok(false) => {}
                // A failure of one job, for example because its list of keys was deleted, must not affect the others.
                Err(error) => {
                    tracing::error!(job.id = job.id.as_str(), %error, "cannot continue a job");
                    maintained.failed += 1;
                }
            }
        }
        let newest = jobs.iter().rev().find(|job| job.spec.scheduled);
        if let Some(newest) = newest
            && !self.state(newest).await?.is_over()
        {
            return Ok(());
        }
        let last = newest.map_or(rule.updated_at, |job| job.started_at);
        if is_due(rule, last, now()) {
            let spec = JobSpec {
                kind: JobKind::Repair,
                deletes_max: Some(DELETES_MAX),
                scheduled: true,
                ..JobSpec::default()
            };
            maintained
                .started
                .push(self.begin(rule, None, spec).await?.id);
        }
        Ok(())
    }

    /// Continues a job if it has stalled, and returns whether it had. Marks a job as settled if it is over with nothing
    /// in flight. Maintenance skips settled jobs.
    async fn help_on(&self, rule: &Rule, job: &Job) -> Result<bool, RequestError> {
        if job.settled {
            return Ok(false);
        }
        if job.state == JobState::Planning {
            if now() - job.started_at <= PLANNING_MAX {
                return Ok(false);
            }
            self.plan(rule, job).await?;
            return Ok(true);
        }
        let woken = self.shards(job).wake(&sender(), Wake::Stalled).await?;
        if woken == 0 {
            self.settle(job).await?;
        }
        Ok(woken > 0)
    }

    async fn settle(&self, job: &Job) -> Result<(), RequestError> {
        let shards = self.table.shards(job).await?;
        let is_over = matches!(
            job.state_with(&shards),
            JobState::Complete | JobState::Cancelled
        );
        let is_quiet = |shard: &Shard| shard.lease.is_none() && shard.in_flight.is_none();
        if is_over && shards.iter().all(is_quiet) {
            self.table.settle_job(job).await?;
        }
        Ok(())
    }
}

/// Whether a rule whose last reconciliation began at `last` is due for another one.
fn is_due(rule: &Rule, last: Timestamp, at: Timestamp) -> bool {
    let period = rule.options.reconcile.period();
    period.is_some_and(|period| at - last >= period)
}
