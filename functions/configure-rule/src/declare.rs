//! Makes a rule agree with its declaration. Every step can be repeated. A repetition continues an unfinished one.

use serde::Serialize;
use serde_json::{Value, json};
use tandem_aws::dynamodb::rules::WriteError;
use tandem_lambda::request::{RequestError, new_rule_id};
use tandem_lambda::runtime::now;
use tandem_replication::names::{JobId, RuleId};
use tandem_replication::new_rule::NewRule;
use tandem_replication::refusal::{Refusal, RefusalCode};
use tandem_replication::rule::{Rule, RuleState};

use crate::declaration::{Backfills, Declaration, job_id};
use crate::stack::Stack;

/// How often a step is attempted if other requests write the rule at the same time.
const ATTEMPTS: u32 = 4;

/// A rule that agrees with its declaration.
#[derive(Debug, Serialize)]
pub(crate) struct Ensured {
    /// The rule.
    pub(crate) rule: Rule,
    /// The backfill that was started, if one was.
    pub(crate) job_id: Option<JobId>,
    /// What the caller should know, in sentences.
    pub(crate) remarks: Vec<String>,
}

impl Stack {
    /// Creates a rule. A request with a token may be repeated, for example if its answer was lost. The answer is then
    /// the rule of the first request.
    pub(crate) async fn create(
        &self,
        draft: NewRule,
        token: Option<String>,
    ) -> Result<Value, RequestError> {
        let new = new_rule_id();
        let (id, request) = match token {
            None => (new.to_string(), new.to_string()),
            Some(token) => {
                let id = self
                    .table
                    .id_of_request("create", &token, new.as_str(), now());
                (id.await?, token)
            }
        };
        let wanted = Declaration {
            id: RuleId::new(id),
            draft,
            backfills: Backfills::Now,
            request,
        };
        Ok(json!(self.ensure(&wanted).await?))
    }

    /// Creates the rule or changes it, unless it already agrees with the declaration. A paused rule stays paused. It
    /// may be refused like any other creation or change. Then it undoes what it has done.
    pub(crate) async fn ensure(&self, wanted: &Declaration) -> Result<Ensured, RequestError> {
        let (rule, remarks, is_new) = self
            .until_undisturbed(|| self.brought_about(wanted))
            .await?;
        let ensured = |rule, job_id| Ensured {
            rule,
            job_id,
            remarks,
        };
        if !(wanted.draft.historical && (is_new || self.has_to_be_backfilled(wanted).await?)) {
            return Ok(ensured(rule, None));
        }
        let job_id = job_id(rule.updated_at, &wanted.request);
        match self.start_job(&rule, &job_id).await {
            Ok(()) => Ok(ensured(rule, Some(job_id))),
            Err(error) => {
                if is_new && let Err(left) = self.end(rule).await {
                    tracing::error!(rule.id = wanted.id.as_str(), error = %left, "cannot remove an incomplete rule");
                }
                Err(error)
            }
        }
    }

    /// Whether an existing rule is backfilled, if historical objects are declared.
    async fn has_to_be_backfilled(&self, wanted: &Declaration) -> Result<bool, RequestError> {
        match wanted.backfills {
            Backfills::Now => Ok(true),
            Backfills::No => Ok(false),
            Backfills::Once => Ok(self.table.newest_backfill(&wanted.id).await?.is_none()),
        }
    }

    /// Ends the rule with this id, if it exists.
    pub(crate) async fn remove(&self, id: &RuleId) -> Result<Option<Rule>, RequestError> {
        self.until_undisturbed(async || match self.table.rule(id).await? {
            Some(rule) => self.end(rule).await.map(Some),
            None => Ok(None),
        })
        .await
    }

    /// Ends the rule with this id if it is still `enabling`. If the table does not accept that the rule is marked as
    /// `deleting`, and no other request has written it, the rule is detached and removed without the mark.
    pub(crate) async fn withdraw(&self, id: &RuleId) -> Result<(), RequestError> {
        let Some(rule) = self.table.rule(id).await? else {
            return Ok(());
        };
        if rule.state != RuleState::Enabling {
            return Ok(());
        }
        let Err(error) = self.end(rule.clone()).await else {
            return Ok(());
        };
        if matches!(error, RequestError::Refused(_))
            || self.table.rule(id).await?.as_ref() != Some(&rule)
        {
            return Err(error);
        }
        tracing::warn!(rule.id = id.as_str(), %error, "removing an incomplete rule without marking it first");
        self.undo(&rule).await
    }

    /// Runs `step`, and repeats it if another request has written the rule in between.
    async fn until_undisturbed<T>(
        &self,
        step: impl AsyncFn() -> Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        for _ in 1..ATTEMPTS {
            match step().await {
                Err(RequestError::Refused(refusal))
                    if refusal.code == RefusalCode::RuleStateConflict => {}
                done => return done,
            }
        }
        step().await
    }

    /// Returns the rule as declared, with remarks, and whether it is new.
    async fn brought_about(
        &self,
        wanted: &Declaration,
    ) -> Result<(Rule, Vec<String>, bool), RequestError> {
        let found = match self.table.rule(&wanted.id).await? {
            Some(rule) if rule.state == RuleState::Deleting => {
                self.end(rule).await?;
                None
            }
            found => found,
        };
        match found {
            None => {
                let rule = self.claimed(wanted).await?;
                let (rule, remarks) = self.made(&rule).await?;
                Ok((rule, remarks, true))
            }
            // The same request began it before: it was sent twice, or its function died.
            Some(rule) if rule.state == RuleState::Enabling => {
                let (rule, mut remarks) = self.made(&rule).await?;
                let (rule, later) = self.rewritten(rule, &wanted.draft).await?;
                remarks.extend(later);
                Ok((rule, remarks, true))
            }
            Some(rule) => {
                let (rule, remarks) = self.rewritten(rule, &wanted.draft).await?;
                Ok((rule, remarks, false))
            }
        }
    }

    /// Claims both buckets. If the same request was sent twice, the claim that it finds may be this rule's.
    async fn claimed(&self, wanted: &Declaration) -> Result<Rule, RequestError> {
        match self.claim(wanted.id.clone(), &wanted.draft).await {
            Err(RequestError::Refused(refusal))
                if refusal.code == RefusalCode::BucketInUse
                    && self.table.rule(&wanted.id).await?.is_some() =>
            {
                Err(WriteError::Conflict(wanted.id.clone()).into())
            }
            claimed => claimed,
        }
    }

    /// Enables a rule whose buckets are claimed. If that fails, the rule is ended, unless another request has taken it
    /// over.
    async fn made(&self, rule: &Rule) -> Result<(Rule, Vec<String>), RequestError> {
        match self.enable(rule).await {
            Ok(made) => Ok(made),
            Err(error) => {
                if let Err(left) = self.withdraw(&rule.id).await {
                    tracing::error!(rule.id = rule.id.as_str(), error = %left, "cannot remove an incomplete rule");
                }
                Err(error)
            }
        }
    }

    /// Writes what is declared, and attaches the notifications that it needs. It attaches them even if the rule has not
    /// changed.
    async fn rewritten(
        &self,
        before: Rule,
        draft: &NewRule,
    ) -> Result<(Rule, Vec<String>), RequestError> {
        expected_there(&before, draft)?;
        let after = Rule {
            scope: draft.scope.clone(),
            policy: draft.policy,
            options: draft.options.clone().seen_from(&self.config.account_id),
            historical: before.historical || draft.historical,
            ..before.clone()
        };
        if after == before {
            let attached = self.attach(&before).await?;
            return self.with(before, attached).await;
        }
        let after = Rule {
            revision: before.revision + 1,
            updated_at: now(),
            ..after
        };
        self.rewrite(before, after).await
    }
}

/// Refuses a rule whose destination is in another region than declared.
fn expected_there(rule: &Rule, draft: &NewRule) -> Result<(), Refusal> {
    match &draft.destination_region {
        Some(expected) if *expected != rule.destination.region => Err(Refusal::new(
            RefusalCode::DestinationRegionMismatch,
            "destination",
            rule.destination.name.as_str(),
            format!(
                "is in {}, not in {expected}; correct destination_region or leave it out",
                rule.destination.region
            ),
        )),
        _ => Ok(()),
    }
}
