//! Creates rules: checks, claims, attaches and enables. If a step fails, the steps before it are undone.

use chrono::TimeDelta;
use tandem_aws::dynamodb::jobs::Job;
use tandem_aws::dynamodb::rules::WriteError;
use tandem_aws::lambda::start_backfill;
use tandem_aws::s3::bucket_lookup::default_encryption;
use tandem_lambda::request::{RequestError, new_job_id};
use tandem_lambda::runtime::now;
use tandem_replication::claims::Claim;
use tandem_replication::names::{BucketName, JobId, RuleId};
use tandem_replication::new_rule::NewRule;
use tandem_replication::progress::JobSpec;
use tandem_replication::refusal::{Refusal, RefusalCode};
use tandem_replication::rule::{Bucket, Rule, RuleState};

use crate::stack::Stack;

/// After this time in `enabling`, the function that was creating the rule has died. It is twice the function's timeout.
const ENABLING_MAX: TimeDelta = TimeDelta::seconds(120);

impl Stack {
    /// Checks the new rule, and claims both its buckets. The stored rule has this id and is `enabling`.
    pub(crate) async fn claim(&self, id: RuleId, draft: &NewRule) -> Result<Rule, RequestError> {
        let draft = NewRule {
            options: draft.options.clone().seen_from(&self.config.account_id),
            ..draft.clone()
        };
        draft.check_names(self.aws.region())?;
        draft.options.check(draft.policy)?;
        self.config.boundary.check_accounts(&draft.options)?;
        self.config.boundary.check_destination(&draft.destination)?;
        let (source, destination) = self.check_buckets(&draft).await?;
        self.check_destination(&draft.options, &destination).await?;
        self.check_claims(&draft).await?;
        let owner = self.destination_owner(&draft.options);
        if let Some(shown) = self.replicated_elsewhere(&destination, owner).await {
            let (field, value) = ("destination", draft.destination.as_str());
            return Err(Refusal::new(RefusalCode::BucketInUse, field, value, shown).into());
        }
        let rule = Rule {
            destination_encryption: default_encryption(&self.aws, &destination, owner).await,
            ..new_rule(id, &draft, source, destination)
        };
        match self.table.create_rule(&rule).await {
            Ok(()) => Ok(rule),
            Err(WriteError::Conflict(_)) => {
                self.check_claims(&draft).await?;
                // The rule that had claimed a bucket has been removed since.
                Err(WriteError::Conflict(rule.id).into())
            }
            Err(WriteError::Aws(error)) => {
                // DynamoDB may have made the write although its answer was lost.
                if let Err(left) = self.undo(&rule).await {
                    tracing::error!(rule.id = rule.id.as_str(), error = %left, "cannot remove an incomplete rule");
                }
                Err(error.into())
            }
        }
    }

    /// Attaches the notifications, and enables the rule. A listing may begin only after that, so that no change between
    /// the two is missed. Returns the rule, and what the caller should know.
    pub(crate) async fn enable(&self, rule: &Rule) -> Result<(Rule, Vec<String>), RequestError> {
        let attached = self.attach(rule).await?;
        let enabled = Rule {
            notified_by: attached.by,
            state: RuleState::Enabled,
            revision: rule.revision + 1,
            updated_at: now(),
            ..rule.clone()
        };
        self.table.replace_rule(&enabled).await?;
        Ok((enabled, attached.remarks))
    }

    /// Starts a backfill of the rule.
    pub(crate) async fn start_backfill(&self, rule: &Rule) -> Result<JobId, RequestError> {
        let job_id = new_job_id();
        self.start_job(rule, &job_id).await?;
        Ok(job_id)
    }

    /// Starts a backfill of the rule, or continues the one that a request with this token started.
    pub(crate) async fn start_backfill_once(
        &self,
        rule: &Rule,
        token: &str,
    ) -> Result<JobId, RequestError> {
        let new = new_job_id();
        let id = self
            .table
            .id_of_request("update", token, new.as_str(), now());
        let job_id = JobId::new(id.await?);
        self.start_job(rule, &job_id).await?;
        Ok(job_id)
    }

    /// Starts the backfill with this id. Idempotent. It stores the job before it invokes `backfill`. If Lambda drops
    /// the invocation, the hourly maintenance begins the job.
    pub(crate) async fn start_job(&self, rule: &Rule, job_id: &JobId) -> Result<(), RequestError> {
        let job = Job::new(job_id.clone(), rule.id.clone(), JobSpec::default(), now());
        let is_new = self.table.note_job(&job).await?;
        let function = &self.config.backfill_function;
        let asked = start_backfill(&self.aws, function, &rule.id, job_id).await;
        if asked.is_err() && is_new {
            self.table.forget_job(&job).await?;
        }
        Ok(asked?)
    }

    /// Detaches an incomplete rule, and removes it from the table. If this fails, the rule's deletion or the next
    /// creation for one of its buckets removes it.
    pub(crate) async fn undo(&self, rule: &Rule) -> Result<(), RequestError> {
        self.detach(rule).await?;
        Ok(self.table.remove_rule(rule).await?)
    }

    /// Refuses buckets that another rule has claimed, unless that rule is left from a creation that died.
    async fn check_claims(&self, draft: &NewRule) -> Result<(), RequestError> {
        let on_source = self.living_claim(&draft.source).await?;
        let on_destination = self.living_claim(&draft.destination).await?;
        match draft.check_claims(on_source.as_ref(), on_destination.as_ref()) {
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        }
    }

    async fn living_claim(&self, bucket: &BucketName) -> Result<Option<Claim>, RequestError> {
        let Some(claim) = self.table.claim(bucket.as_str()).await? else {
            return Ok(None);
        };
        match self.table.rule(&claim.rule_id).await? {
            Some(rule)
                if rule.state == RuleState::Enabling && now() - rule.updated_at > ENABLING_MAX =>
            {
                self.detach(&rule).await?;
                self.table.remove_rule(&rule).await?;
                Ok(None)
            }
            _ => Ok(Some(claim)),
        }
    }
}

fn new_rule(id: RuleId, draft: &NewRule, source: Bucket, destination: Bucket) -> Rule {
    Rule {
        scope: draft.scope.clone(),
        policy: draft.policy,
        options: draft.options.clone(),
        historical: draft.historical,
        ..Rule::new(id, source, destination, now())
    }
}
