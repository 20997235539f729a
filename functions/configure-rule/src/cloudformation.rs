//! Rules as resources of a CloudFormation stack. The function answers CloudFormation in every case, because a stack
//! without an answer waits for an hour. If it cannot send the answer, the invocation fails, and Lambda repeats the
//! request. Every request may arrive more than once.

pub mod event;
pub mod properties;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use serde_json::{Value, json};
use tandem_aws::cloudformation::callback;
use tandem_aws::cloudformation::stacks::is_being_deleted;
use tandem_lambda::request::RequestError;
use tandem_lambda::runtime::Deadline;
use tandem_replication::names::{JobId, RuleId};
use tandem_replication::refusal::RefusalCode;
use tandem_replication::rule::Rule;
use tokio::time::timeout;

use self::event::{Resource, ResourceEvent};
use crate::declaration::{Backfills, Declaration};
use crate::declare::Ensured;
use crate::request::invalid;
use crate::stack::Stack;

/// The resource type of a rule.
const RULE: &str = "Custom::ReplicationRule";
/// The resource type in Tandem's own template. Its deletion detaches all notifications, so that no bucket notifies
/// deleted queues.
const DETACH_ALL: &str = "Custom::DetachAll";

/// How much time of an invocation is reserved for undoing an unfinished creation and for the answer.
const ANSWER_TIME: Duration = Duration::from_secs(20);
/// How long undoing may take.
const WITHDRAW_TIME: Duration = Duration::from_secs(8);

impl Stack {
    /// Carries out a request of CloudFormation, and sends it the outcome.
    pub(crate) async fn answer_cloudformation(
        &self,
        event: &ResourceEvent,
        deadline: Deadline,
    ) -> Result<Value, RequestError> {
        // Nothing is done for a request that cannot be answered.
        let address = &event.response_url;
        callback::check_address(&self.aws, address, &self.config.url_suffix)?;
        let time = deadline.left().saturating_sub(ANSWER_TIME);
        let carried_out = timeout(time, self.resource(event, deadline));
        let outcome = match AssertUnwindSafe(carried_out).catch_unwind().await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(format!(
                "was not completed within {} seconds; try again",
                time.as_secs()
            )),
            Err(panic) => Err(format!(
                "internal error of Tandem: {}",
                said(panic.as_ref())
            )),
        };
        if let Err(reason) = &outcome {
            tracing::warn!(
                stack = event.stack_id,
                resource = event.logical_id,
                reason,
                "the request was refused or failed"
            );
            self.take_back(event).await;
        }
        let answer = event.answer(&outcome);
        callback::put(address, &answer.to_string()).await?;
        Ok(answer)
    }

    /// Undoes an unfinished creation. A creation that failed has already undone itself. If this fails, the deletion
    /// that CloudFormation requests next removes the rule.
    async fn take_back(&self, event: &ResourceEvent) {
        if event.resource_type != RULE || event.request_type == "Delete" {
            return;
        }
        let id = event.rule_id(&event.properties);
        match timeout(WITHDRAW_TIME, self.withdraw(&id)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(rule.id = id.as_str(), %error, "cannot remove an incomplete rule");
            }
            Err(_) => tracing::error!(
                rule.id = id.as_str(),
                "not enough time to remove an incomplete rule"
            ),
        }
    }

    async fn resource(
        &self,
        event: &ResourceEvent,
        deadline: Deadline,
    ) -> Result<Resource, String> {
        match (event.resource_type.as_str(), event.request_type.as_str()) {
            (RULE, "Create" | "Update") => self.rule_resource(event).await,
            (RULE, "Delete") => self.no_rule_resource(event).await,
            (DETACH_ALL, "Delete") => self.no_stack(event, deadline).await,
            // A resource of an unknown type was never created.
            (DETACH_ALL, "Create" | "Update") | (_, "Delete") => Ok(no_rule(event)),
            (RULE | DETACH_ALL, _) => Err(properties::told(&event.unknown_type())),
            (other, _) => {
                let problem = format!("is not known; use {RULE}");
                Err(properties::told(&invalid("Type", other, problem)))
            }
        }
    }

    async fn rule_resource(&self, event: &ResourceEvent) -> Result<Resource, String> {
        let draft =
            properties::draft(&event.properties).map_err(|refusal| properties::told(&refusal))?;
        let id = event.rule_id(&event.properties);
        let wanted = Declaration {
            backfills: backfills(event, &id),
            id,
            draft,
            request: event.request_id.clone(),
        };
        let Ensured { rule, job_id, .. } = self
            .ensure(&wanted)
            .await
            .map_err(|error| told(event, &wanted.id, &error))?;
        self.remove_what_was_never_told(event, &wanted.id).await?;
        Ok(Resource {
            physical_id: rule.id.to_string(),
            attributes: attributes(&rule, job_id.as_ref()),
        })
    }

    /// Removes a rule that a failed update has begun to create and that CloudFormation does not know. This happens when
    /// CloudFormation rolls the update back.
    async fn remove_what_was_never_told(
        &self,
        event: &ResourceEvent,
        wanted: &RuleId,
    ) -> Result<(), String> {
        if event.request_type != "Update" {
            return Ok(());
        }
        let before = event.rule_id(&event.old_properties);
        if before == *wanted || event.physical_id.as_deref() == Some(before.as_str()) {
            return Ok(());
        }
        let removed = self.remove(&before).await;
        removed.map(|_| ()).map_err(|error| error.to_string())
    }

    async fn no_rule_resource(&self, event: &ResourceEvent) -> Result<Resource, String> {
        let id = event.rule_meant();
        self.remove(&id).await.map_err(|error| error.to_string())?;
        Ok(no_rule(event))
    }

    /// Detaches all notifications, if the whole stack is being deleted. A rollback also deletes resources that an
    /// update has just created, but the stack and its rules stay.
    async fn no_stack(
        &self,
        event: &ResourceEvent,
        deadline: Deadline,
    ) -> Result<Resource, String> {
        if event.stack_name() == self.config.stack {
            let goes = is_being_deleted(&self.aws, &event.stack_id).await;
            if goes.map_err(|error| error.to_string())? {
                self.detach_all(deadline).await?;
            }
        }
        Ok(no_rule(event))
    }
}

/// Returns when an existing rule is backfilled. A rule that CloudFormation knows by this id and with these buckets is
/// only changed. Any other existing rule may be from before a replacement that CloudFormation rolls back.
fn backfills(event: &ResourceEvent, id: &RuleId) -> Backfills {
    if event.request_type != "Update" {
        return Backfills::Now;
    }
    let was_told = event.physical_id.as_deref() == Some(id.as_str());
    if !was_told || event.rule_id(&event.old_properties) != *id {
        Backfills::Once
    } else if properties::historical(&event.old_properties) {
        Backfills::No
    } else {
        Backfills::Now
    }
}

/// Returns why a rule could not be created or changed, with the names of the template.
fn told(event: &ResourceEvent, wanted: &RuleId, error: &RequestError) -> String {
    let RequestError::Refused(refusal) = error else {
        return error.to_string();
    };
    let said = properties::told(refusal);
    let in_the_way = event.physical_id.as_deref().filter(|id| {
        let in_use = matches!(refusal.code, RefusalCode::BucketInUse | RefusalCode::TwoWay);
        in_use && *id != wanted.as_str() && refusal.problem.contains(id)
    });
    match in_the_way {
        Some(before) => format!(
            "{said}. {before} is this resource's own rule: another pair of buckets is another rule, and CloudFormation \
             deletes the old rule only after it has created the new one. Change both buckets at once, or remove the \
             resource from the template, update the stack, and add it again"
        ),
        None => said,
    }
}

fn attributes(rule: &Rule, job_id: Option<&JobId>) -> Value {
    json!({
        "RuleId": rule.id,
        "State": rule.state,
        "SourceRegion": rule.source.region,
        "DestinationRegion": rule.destination.region,
        "JobId": job_id.map_or("", JobId::as_str),
    })
}

/// Returns a resource without attributes.
fn no_rule(event: &ResourceEvent) -> Resource {
    let own = || format!("{}-{}", event.stack_name(), event.logical_id);
    Resource {
        physical_id: event.physical_id.clone().unwrap_or_else(own),
        attributes: json!({}),
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("panic without a message")
}
