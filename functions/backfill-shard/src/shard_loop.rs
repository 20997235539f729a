//! Processes the pages of a shard for the session of [`tandem_replication::shard_session`]. Part of a listed shard that
//! proves to be large is split off. [`crate::listing_page`] and [`crate::manifest_page`] process a page.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::TimeDelta;
use tandem_aws::AwsError;
use tandem_aws::dynamodb::jobs::Job;
use tandem_aws::s3::s3_pair::S3Pair;
use tandem_lambda::job_shards::JobShards;
use tandem_lambda::metrics::write_stopped;
use tandem_lambda::runtime::{Deadline, now};
use tandem_lambda::sqs_batch::{Batch, Delivery};
use tandem_replication::in_flight::InFlight;
use tandem_replication::names::{JobId, RuleId};
use tandem_replication::put_hint::PutHint;
use tandem_replication::rule::Rule;
use tandem_replication::shard_session::{
    Ended, PageWork, Paged, Recovered, Session, SessionError, ShardDelivery, work,
};
use tokio::sync::{Mutex, OnceCell};
use tracing::{Instrument, info_span};

use crate::dispatch::{PAGE_TIME, Unfinished, Worker};
use crate::job_pair::JobPair;
use crate::manifest_lines::Lines;
use crate::page_object::PageContext;

/// The state that one invocation keeps between the pages of a shard.
pub(crate) struct ShardPages<'a> {
    worker: &'a Worker,
    pub(crate) shards: &'a JobShards<'a>,
    deadline: Deadline,
    receives: u32,
    /// Whether a write of this invocation was not answered.
    unanswered: AtomicBool,
    /// Whether the source is a website, once S3 has been asked.
    is_website: OnceCell<bool>,
    /// The manifest that names the shard's keys, open where the last page ended.
    lines: Mutex<Option<Lines>>,
}

impl Worker {
    /// Processes a shard until it is done, or until the rest is handed on. An error has the message redelivered.
    pub(crate) async fn work_on_shard(
        &self,
        (rule_id, job_id, index): (&RuleId, &JobId, u32),
        delivery: &Delivery,
        batch: &Batch,
    ) -> Result<(), Unfinished> {
        let Some(job) = self.table.job(rule_id, job_id).await? else {
            return Ok(());
        };
        let received = delivery.received();
        let shards = JobShards::new(self, job);
        let pages = ShardPages {
            worker: self,
            shards: &shards,
            deadline: batch.deadline,
            receives: received.map_or(1, |received| received.receives),
            unanswered: AtomicBool::new(false),
            is_website: OnceCell::new(),
            lines: Mutex::default(),
        };
        let lasts = batch.deadline.left() + self.config.in_flight_max;
        let lasts = TimeDelta::from_std(lasts).unwrap_or(TimeDelta::MAX);
        let delivery = ShardDelivery {
            index,
            epoch: received.and_then(|received| received.epoch),
            message: received.map(|received| received.message_id.clone()),
            invocation: batch.invocation_id.clone(),
            is_redelivery: delivery.is_redelivery(),
            is_last: delivery.is_last(),
            lease_until: now() + lasts,
        };
        match work(&shards, &pages, &delivery).await {
            Ok(Ended::Acknowledge) => Ok(()),
            Ok(Ended::Stopped(error)) => {
                tracing::error!(
                    rule.id = rule_id.as_str(),
                    job.id = job_id.as_str(),
                    shard = index,
                    error,
                    "stopped a shard that made no progress"
                );
                write_stopped(&self.config.stack, now());
                Ok(())
            }
            Ok(Ended::RedeliverAt(at)) => Err(Unfinished::Leased(at)),
            Err(SessionError::Failed(error) | SessionError::Final(error)) => Err(error.into()),
            Err(lost @ SessionError::Lost(_)) => Err(Unfinished::Lost(lost.to_string())),
        }
    }
}

pub(crate) type Done<T> = Result<T, SessionError<AwsError>>;

impl<'p> PageWork<JobShards<'p>> for ShardPages<'p> {
    async fn page(&self, session: &Session<'_, JobShards<'p>>) -> Done<Paged> {
        let requests_before = self.worker.aws.s3_requests();
        let (rule, job) = self.latest()?;
        let s3 = S3Pair::of_rule(&self.worker.aws, &self.worker.table, &rule);
        let pair = JobPair { s3: &s3, session };
        let hint = self.worker.put_hints.of(&rule);
        let suspects = session.shard().await.in_flight;
        let context = self.context(&rule, &job, &pair, &hint, suspects);
        let span = info_span!(
            "page",
            rule.id = rule.id.as_str(),
            job.id = job.id.as_str(),
            shard = session.shard().await.index
        );
        let mut paged = self.one_page(&context).instrument(span).await?;
        if let Paged::Done(step) = &mut paged {
            step.s3_requests = self.worker.aws.s3_requests() - requests_before;
        }
        Ok(paged)
    }

    async fn recover(&self, session: &Session<'_, JobShards<'p>>) -> Done<Recovered> {
        let (rule, job) = self.latest()?;
        let s3 = S3Pair::of_rule(&self.worker.aws, &self.worker.table, &rule);
        let pair = JobPair { s3: &s3, session };
        let hint = self.worker.put_hints.of(&rule);
        let shard = session.shard().await;
        let context = self.context(&rule, &job, &pair, &hint, shard.in_flight);
        if shard.manifest.is_some() {
            context.recover_manifest(&self.lines).await
        } else {
            context.recover_listed(&self.is_website).await
        }
    }

    fn has_time(&self) -> bool {
        self.deadline.left() >= PAGE_TIME
    }

    fn all_answered(&self) -> bool {
        !self.unanswered.load(Ordering::Relaxed)
    }
}

impl ShardPages<'_> {
    /// Returns the rule and the job as the session's gate has just read them.
    fn latest(&self) -> Result<(Arc<Rule>, Arc<Job>), AwsError> {
        let gone = || AwsError::unexpected("reading the rule of a shard", "it no longer exists");
        self.shards.latest().ok_or_else(gone)
    }

    fn context<'a>(
        &'a self,
        rule: &'a Rule,
        job: &'a Job,
        pair: &'a JobPair<'a>,
        hint: &'a PutHint,
        suspects: Option<InFlight>,
    ) -> PageContext<'a> {
        PageContext {
            worker: self.worker,
            rule,
            job,
            pair,
            hint,
            deadline: self.deadline,
            suspects,
            receives: self.receives,
            unanswered: &self.unanswered,
        }
    }

    async fn one_page(&self, context: &PageContext<'_>) -> Done<Paged> {
        if context.pair.session.shard().await.manifest.is_some() {
            return context.page_of_manifest(&self.lines).await;
        }
        let rest = context.pair.session.shard().await.rest();
        let listings = context.list(&rest).await?;
        self.split_off(context, &listings.plan).await?;
        context.page(&listings, &self.is_website).await
    }
}
