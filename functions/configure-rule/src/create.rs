//! Making a rule: checked, claimed, attached, enabled; or nothing of it left behind.

use chrono::TimeDelta;
use serde_json::{Value, json};
use tandem_aws::bucket_lookup::{Found, look_up};
use tandem_aws::functions::start_backfill;
use tandem_aws::notifications::{AttachError, attach, detach};
use tandem_aws::rules::WriteError;
use tandem_lambda::request::{RequestError, new_job_id, new_rule_id};
use tandem_lambda::runtime::now;
use tandem_replication::draft::{Claim, Refusal, RefusalCode, Role, RuleDraft};
use tandem_replication::names::{BucketName, JobId, Region};
use tandem_replication::rule::{Bucket, Rule, RuleState};

use crate::handler::Stack;

/// A rule that has been `enabling` for longer was left by a function that died: twice its timeout.
const ENABLING_MAX: TimeDelta = TimeDelta::seconds(120);

impl Stack {
    /// Makes a rule.
    pub(crate) async fn create(&self, draft: RuleDraft) -> Result<Value, RequestError> {
        draft.check_names()?;
        let (source, destination) = self.check_buckets(&draft).await?;
        self.check_claims(&draft).await?;
        let rule = new_rule(&draft, source, destination);
        match self.table.create_rule(&rule).await {
            Ok(()) => {}
            Err(WriteError::Conflict(_)) => {
                self.check_claims(&draft).await?;
                // Whoever won has gone again since.
                return Err(WriteError::Conflict(rule.id).into());
            }
            Err(WriteError::Aws(error)) => {
                // The write may have happened although its answer was lost.
                self.undo(&rule).await;
                return Err(error.into());
            }
        }
        match self.enable(&rule).await {
            Ok((rule, job_id)) => Ok(json!({"rule": rule, "job_id": job_id})),
            Err(error) => {
                self.undo(&rule).await;
                Err(error)
            }
        }
    }

    /// Attaches the notifications, and only then starts to list: so nothing falls between.
    async fn enable(&self, rule: &Rule) -> Result<(Rule, Option<JobId>), RequestError> {
        self.attach(rule).await?;
        let enabled = Rule {
            state: RuleState::Enabled,
            revision: rule.revision + 1,
            updated_at: now(),
            ..rule.clone()
        };
        self.table.replace_rule(&enabled).await?;
        let job_id = if rule.historical {
            Some(self.start_backfill(&enabled).await?)
        } else {
            None
        };
        Ok((enabled, job_id))
    }

    /// Attaches what `rule` needs.
    pub(crate) async fn attach(&self, rule: &Rule) -> Result<(), RequestError> {
        match attach(&self.aws, &self.config.lane_queues, rule).await {
            Ok(()) => Ok(()),
            Err(AttachError::Aws(error)) => Err(error.into()),
            Err(conflict @ AttachError::Conflict(_)) => Err(Refusal::new(
                RefusalCode::NotificationConflict,
                "source",
                rule.source.name.as_str(),
                format!(
                    "cannot notify Tandem: {conflict}, and S3 sends an event to one place only; narrow or remove that \
                     notification (EventBridge can fan it out), or choose prefixes outside it"
                ),
            )
            .into()),
        }
    }

    /// Starts a backfill of the rule.
    pub(crate) async fn start_backfill(&self, rule: &Rule) -> Result<JobId, RequestError> {
        let job_id = new_job_id();
        start_backfill(&self.aws, &self.config.backfill_function, &rule.id, &job_id).await?;
        Ok(job_id)
    }

    /// Takes back whatever of a rule was made. What this cannot take back now, the next creation for one
    /// of its buckets, or its deletion, will.
    async fn undo(&self, rule: &Rule) {
        if let Err(error) = detach(&self.aws, rule).await {
            tracing::error!(rule.id = rule.id.as_str(), %error, "a rule that was not made is still attached");
            return;
        }
        if let Err(error) = self.table.remove_rule(rule).await {
            tracing::error!(rule.id = rule.id.as_str(), %error, "a rule that was not made is still stored");
        }
    }

    async fn check_buckets(&self, draft: &RuleDraft) -> Result<(Bucket, Bucket), RequestError> {
        let (source, destination) = futures::try_join!(
            look_up(&self.aws, &draft.source),
            look_up(&self.aws, &draft.destination)
        )?;
        let source = readable(Role::Source, &draft.source, source)?;
        let destination = readable(Role::Destination, &draft.destination, destination)?;
        let groups = &self.config.region_groups;
        Ok(draft.check_regions(&source, &destination, self.aws.region(), groups)?)
    }

    /// Refuses buckets that have a relationship, unless it is the remains of a creation that died.
    async fn check_claims(&self, draft: &RuleDraft) -> Result<(), RequestError> {
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
                detach(&self.aws, &rule).await?;
                self.table.remove_rule(&rule).await?;
                Ok(None)
            }
            _ => Ok(Some(claim)),
        }
    }
}

pub(crate) fn readable(role: Role, bucket: &BucketName, found: Found) -> Result<Region, Refusal> {
    let refused =
        |code, problem: String| Err(Refusal::new(code, role.as_str(), bucket.as_str(), problem));
    match found {
        Found::Readable(region) => Ok(region),
        Found::Missing => refused(
            RefusalCode::BucketNotFound,
            "does not exist; make the bucket first, or correct the name".to_owned(),
        ),
        Found::NotAccessible(said) => refused(
            RefusalCode::BucketNotAccessible,
            format!(
                "belongs to another account or may not be read ({said}); use a bucket of this account, and see that \
                 neither its policy nor the stack's bucket patterns deny it"
            ),
        ),
    }
}

fn new_rule(draft: &RuleDraft, source: Bucket, destination: Bucket) -> Rule {
    let at = now();
    Rule {
        id: new_rule_id(),
        source,
        destination,
        scope: draft.scope.clone(),
        policy: draft.policy,
        historical: draft.historical,
        state: RuleState::Enabling,
        revision: 1,
        created_at: at,
        updated_at: at,
        paused_at: None,
    }
}
