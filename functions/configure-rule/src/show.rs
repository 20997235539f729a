//! Shows rules, their progress, and to which buckets a bucket can be replicated.

use chrono::TimeDelta;
use serde_json::{Value, json};
use tandem_aws::cloudwatch::{self, RuleMetrics};
use tandem_aws::dynamodb::jobs::Job;
use tandem_aws::s3::bucket_lookup::{look_up, own_buckets};
use tandem_lambda::request::RequestError;
use tandem_lambda::runtime::now;
use tandem_replication::Timestamp;
use tandem_replication::claims::Role;
use tandem_replication::names::{BucketName, Region};
use tandem_replication::progress::{Backlog, JobView, Live, Progress, Transfers};
use tandem_replication::rule::Rule;

use crate::buckets::readable;
use crate::request::RuleName;
use crate::stack::Stack;

/// How long SQS's counts of messages need to become exact. They are approximate. According to SQS's documentation
/// they settle within a minute.
const QUEUE_COUNT_SETTLES: TimeDelta = TimeDelta::seconds(60);

/// How many transfers are shown.
const TRANSFERS_SHOWN: usize = 50;

impl Stack {
    /// Shows one rule.
    pub(crate) async fn get(&self, name: &RuleName) -> Result<Value, RequestError> {
        Ok(json!({"rule": self.find(name).await?}))
    }

    /// Shows all rules, the oldest first.
    pub(crate) async fn list(&self) -> Result<Value, RequestError> {
        let mut rules = self.table.rules().await?;
        // The ids of declared rules do not sort by age.
        rules.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(json!({"rules": rules}))
    }

    /// Shows a rule's progress.
    pub(crate) async fn progress(
        &self,
        name: &RuleName,
        window_mins: u32,
    ) -> Result<Value, RequestError> {
        let asked_at = now();
        let rule = self.find(name).await?;
        let (historical, reconciliation, backlog, metrics, failures) = futures::try_join!(
            async { self.seen(self.table.newest_backfill(&rule.id).await?).await },
            async {
                self.seen(self.table.newest_scheduled(&rule.id).await?)
                    .await
            },
            self.backlog(&rule),
            async { Ok(self.metrics(&rule, asked_at, window_mins).await) },
            async { Ok(self.table.failure_count(&rule.id).await?) },
        )?;
        // Read after the queues. A key that was in no queue then is in a transfer now, or is settled.
        let transfers = self.table.transfers(&rule.id).await?;
        let watermark = self
            .watermark(&rule, &backlog, transfers.len(), asked_at)
            .await?;
        let live = Live {
            watermark,
            backlog,
            window_mins,
            replicated: metrics.replicated,
            deleted: metrics.deleted,
            failed: metrics.failed,
            bytes: metrics.bytes,
            lag_ms: metrics.lag_ms,
        };
        Ok(json!(Progress {
            rule,
            historical,
            reconciliation,
            live,
            failures,
            transfers: Transfers {
                count: transfers.len() as u64,
                shown: transfers
                    .iter()
                    .take(TRANSFERS_SHOWN)
                    .map(tandem_replication::transfer::Transfer::view)
                    .collect(),
            },
        }))
    }

    /// Returns the metrics of CloudWatch. If reading them fails, progress is shown without them.
    async fn metrics(&self, rule: &Rule, asked_at: Timestamp, window_mins: u32) -> RuleMetrics {
        cloudwatch::read(&self.aws, &rule.id, asked_at, window_mins)
            .await
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot read metrics; showing progress without them");
                RuleMetrics::default()
            })
    }

    /// Returns a job as callers see it.
    async fn seen(&self, job: Option<Job>) -> Result<Option<JobView>, RequestError> {
        match job {
            Some(job) => Ok(Some(job.view(&self.table.shards(&job).await?, now()))),
            None => Ok(None),
        }
    }

    async fn backlog(&self, rule: &Rule) -> Result<Backlog, RequestError> {
        let (put, delete, work, part, dead_letters) = futures::try_join!(
            self.queues.depth(&self.config.put_queue_url),
            self.queues.depth(&self.config.delete_queue_url),
            self.queues.depth(&self.config.work_queue_url),
            self.queues.depth(&self.config.part_queue_url),
            futures::future::try_join_all(
                self.config
                    .dead_queues
                    .iter()
                    .map(|dead| self.queues.depth(&dead.url))
            ),
        )?;
        let held = self.table.deferred_count(&rule.id).await?;
        Ok(Backlog {
            put,
            delete,
            work,
            part,
            held,
            dead_letter: dead_letters.iter().sum(),
        })
    }

    /// Returns the instant before which every change that was received has been replicated. It moves forward whenever
    /// no change is waiting, and never back.
    async fn watermark(
        &self,
        rule: &Rule,
        backlog: &Backlog,
        transfers: usize,
        asked_at: Timestamp,
    ) -> Result<Option<Timestamp>, RequestError> {
        let before = self.table.watermark(&rule.id).await?;
        let nothing_waits =
            backlog.put + backlog.delete + backlog.work + backlog.part + backlog.held == 0
                && transfers == 0;
        let settled_until = asked_at - QUEUE_COUNT_SETTLES;
        let until = rule
            .paused_at
            .map_or(settled_until, |paused_at| paused_at.min(settled_until));
        // A rule has received no changes before its creation.
        let reached = nothing_waits
            .then_some(until)
            .filter(|until| *until >= rule.created_at);
        match (before, reached) {
            (before, Some(reached)) if before.is_none_or(|before| reached > before) => {
                self.table.put_watermark(&rule.id, reached).await?;
                Ok(Some(reached))
            }
            (before, _) => Ok(before),
        }
    }

    /// Shows the regions and buckets to which `source` can be replicated.
    pub(crate) async fn destinations(&self, source: &BucketName) -> Result<Value, RequestError> {
        let found = look_up(&self.aws, source, self.aws.account_id()).await?;
        let region = readable(Role::Source, source, None, found)?;
        let groups = &self.config.region_groups;
        let claimed = self.table.claimed_buckets().await?;
        let mut buckets = Vec::new();
        for bucket in own_buckets(&self.aws)
            .await?
            .into_iter()
            .filter(|bucket| bucket.name != *source)
        {
            let reason = match (&bucket.region, claimed.get(&bucket.name)) {
                (None, _) => Some("S3 does not return its region".to_owned()),
                (Some(there), _) if *there == region => {
                    Some("it is in the source's region".to_owned())
                }
                (Some(there), _) if !groups.allow(&region, there) => {
                    Some(format!("{there} is not in one region group with {region}"))
                }
                (Some(_), Some(rule)) => Some(format!("it already belongs to {rule}")),
                (Some(_), None) => None,
            };
            buckets.push(json!({
                "bucket": bucket.name,
                "region": bucket.region,
                "available": reason.is_none(),
                "reason": reason,
            }));
        }
        let regions = groups
            .destinations_from(&region)
            .unwrap_or_else(|| vec![Region::new("*")]);
        Ok(
            json!({"source": source, "source_region": region, "regions": regions, "buckets": buckets}),
        )
    }
}
