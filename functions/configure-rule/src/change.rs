//! Changes rules: update, pause, resume, delete. A caller can repeat each action until it succeeds.

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tandem_aws::s3::s3_pair::S3Pair;
use tandem_lambda::job_shards::JobShards;
use tandem_lambda::request::RequestError;
use tandem_lambda::runtime::now;
use tandem_replication::deferral::resume;
use tandem_replication::refusal::{Refusal, RefusalCode};
use tandem_replication::rule::{Rule, RuleState};
use tandem_replication::shard_session::Wake;
use tandem_replication::transfer::uploads::abort_logged;

use crate::attach::Attached;
use crate::request::{Changes, RuleName};
use crate::stack::Stack;

/// How many jobs a resume processes at the same time.
const JOBS_AT_ONCE: usize = 8;

impl Stack {
    /// Changes scope, policy and options.
    pub(crate) async fn update(
        &self,
        name: &RuleName,
        changes: Changes,
    ) -> Result<Value, RequestError> {
        let before = self.find(name).await?;
        settled(&before, "updated")?;
        let options = changes
            .options
            .of(before.options.clone())
            .seen_from(&self.config.account_id);
        let after = Rule {
            scope: changes.scope.unwrap_or_else(|| before.scope.clone()),
            policy: changes.policy.unwrap_or(before.policy),
            options,
            historical: before.historical || changes.historical,
            ..next(&before)
        };
        let (after, remarks) = self.rewrite(before, after).await?;
        let job_id = match (changes.historical, changes.token) {
            (false, _) => None,
            (true, None) => Some(self.start_backfill(&after).await?),
            (true, Some(token)) => Some(self.start_backfill_once(&after, &token).await?),
        };
        Ok(json!({"rule": after, "job_id": job_id, "remarks": remarks}))
    }

    /// Replaces a rule by its next revision, which changes its scope, policy or options. It writes the rule before it
    /// attaches notifications, so that a function that receives the first notification of a new prefix finds the prefix
    /// covered. Returns the rule, and what the caller should know.
    pub(crate) async fn rewrite(
        &self,
        before: Rule,
        after: Rule,
    ) -> Result<(Rule, Vec<String>), RequestError> {
        after.options.check_change_of(&before.options)?;
        after.options.check(after.policy)?;
        if after.options != before.options {
            self.config.boundary.check_accounts(&after.options)?;
            self.check_destination(&after.options, &before.destination)
                .await?;
        }
        self.table.replace_rule(&after).await?;
        match self.attach(&after).await {
            Ok(attached) => self.with(after, attached).await,
            // The error is the answer, whether or not undoing the change succeeds.
            Err(error) => {
                let undone = Rule {
                    revision: after.revision + 1,
                    ..before
                };
                self.table.replace_rule(&undone).await?;
                if let Err(left) = self.attach_again(undone).await {
                    tracing::error!(rule.id = after.id.as_str(), error = %left, "cannot attach a rule as before");
                }
                Err(error)
            }
        }
    }

    async fn attach_again(&self, rule: Rule) -> Result<(), RequestError> {
        let attached = self.attach_within(&rule, &[]).await?;
        self.with(rule, attached).await.map(drop)
    }

    /// Returns the rule with the way in which it is notified now, and stores the way if it has changed.
    pub(crate) async fn with(
        &self,
        rule: Rule,
        attached: Attached,
    ) -> Result<(Rule, Vec<String>), RequestError> {
        if rule.notified_by == attached.by {
            return Ok((rule, attached.remarks));
        }
        let rule = Rule {
            notified_by: attached.by,
            notified_since: Some(now()),
            revision: rule.revision + 1,
            ..rule
        };
        self.table.replace_rule(&rule).await?;
        Ok((rule, attached.remarks))
    }

    /// Pauses a rule. Within a few seconds, functions defer its changes instead of replicating them.
    pub(crate) async fn pause(&self, name: &RuleName) -> Result<Value, RequestError> {
        let rule = self.find(name).await?;
        settled(&rule, "paused")?;
        if rule.state == RuleState::Paused {
            return Ok(json!({"rule": rule}));
        }
        let paused = Rule {
            state: RuleState::Paused,
            paused_at: Some(now()),
            ..next(&rule)
        };
        self.table.replace_rule(&paused).await?;
        Ok(json!({"rule": paused}))
    }

    /// Resumes a rule, and replays its deferred keys. A caller can repeat this until it succeeds.
    pub(crate) async fn resume(&self, name: &RuleName) -> Result<Value, RequestError> {
        let rule = self.find(name).await?;
        settled(&rule, "resumed")?;
        let write = async |rule: &Rule| Ok::<_, RequestError>(self.table.replace_rule(rule).await?);
        let rule = resume(&**self, rule, now(), write).await?;
        self.wake_shards(&rule).await?;
        Ok(json!({"rule": rule}))
    }

    /// Sends messages for shards whose message was acknowledged because the rule was paused. This includes cancelled
    /// jobs, which may have pages in flight. A repeated resume is the same sender.
    async fn wake_shards(&self, rule: &Rule) -> Result<(), RequestError> {
        let sender = format!("resume-{}", rule.revision);
        let jobs = self.table.jobs(&rule.id).await?;
        stream::iter(jobs.into_iter().filter(|job| !job.settled))
            .map(async |job| {
                let shards = JobShards::new(self, job);
                shards.wake(&sender, Wake::All).await
            })
            .buffer_unordered(JOBS_AT_ONCE)
            .try_for_each(async |_| Ok(()))
            .await?;
        Ok(())
    }

    /// Ends a rule: stops its replication, detaches its notifications and frees its buckets. Objects at the
    /// destination stay.
    pub(crate) async fn delete(&self, name: &RuleName) -> Result<Value, RequestError> {
        let rule = self.end(self.find(name).await?).await?;
        Ok(json!({"rule": rule}))
    }

    /// Ends a rule and removes everything that belongs to it. Idempotent.
    pub(crate) async fn end(&self, rule: Rule) -> Result<Rule, RequestError> {
        let rule = self.release(rule).await?;
        self.table.remove_jobs(&rule.id).await?;
        self.abort_uploads(&rule).await?;
        self.table.remove_all_deferred(&rule.id).await?;
        self.table.remove_failures(&rule.id).await?;
        self.table.remove_watermark(&rule.id).await?;
        self.table.remove_rule(&rule).await?;
        Ok(rule)
    }

    /// Marks a rule as `deleting` and removes its notifications from the source bucket. Idempotent.
    pub(crate) async fn release(&self, mut rule: Rule) -> Result<Rule, RequestError> {
        if rule.state != RuleState::Deleting {
            rule = Rule {
                state: RuleState::Deleting,
                ..next(&rule)
            };
            self.table.replace_rule(&rule).await?;
        }
        self.detach(&rule).await?;
        Ok(rule)
    }
}

impl Stack {
    /// Aborts the multipart uploads of a rule that ends, so that their parts no longer cost money. If the destination
    /// is not reachable, the rule ends nevertheless.
    pub(crate) async fn abort_uploads(&self, rule: &Rule) -> Result<(), RequestError> {
        let pair = S3Pair::of_rule(&self.aws, &self.table, rule);
        self.table.remove_transfers(&rule.id).await?;
        for upload in self.table.logged_uploads(&rule.id).await? {
            if let Err(error) = abort_logged(&pair, &upload, now()).await {
                tracing::warn!(
                rule.id = rule.id.as_str(),
                object.key = upload.key.as_str(),
                %error,
                "cannot abort an unfinished upload"
                );
            }
        }
        Ok(self.table.remove_upload_log(&rule.id).await?)
    }
}

/// Returns the rule at its next revision.
fn next(rule: &Rule) -> Rule {
    Rule {
        revision: rule.revision + 1,
        updated_at: now(),
        ..rule.clone()
    }
}

/// Refuses to change a rule that is `enabling` or `deleting`.
fn settled(rule: &Rule, wanted: &str) -> Result<(), Refusal> {
    match rule.state {
        RuleState::Enabled | RuleState::Paused => Ok(()),
        RuleState::Enabling | RuleState::Deleting => Err(Refusal::new(
            RefusalCode::RuleStateConflict,
            "rule",
            rule.id.as_str(),
            format!(
                "is {} and cannot be {wanted}; wait a moment, or end it with the action \"delete\"",
                rule.state.as_str()
            ),
        )),
    }
}
