//! The EventBridge rules that send a source's events to Tandem's queues. Each Tandem rule has two of them, one for each
//! queue. They are on the default event bus, to which S3 sends its events.

use std::fmt;

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::{RuleState as EventRuleState, Target};
use md5::{Digest, Md5};
use serde_json::Value;
use tandem_replication::event_pattern::pattern;
use tandem_replication::names::{BucketName, RuleId};
use tandem_replication::rule::Rule;
use tandem_replication::subscription::Lane;

use crate::s3::notifications::LaneQueues;
use crate::{Aws, AwsError};

/// The longest name of a rule (EventBridge API reference, `PutRule`).
const NAME_CHARS_MAX: usize = 64;
/// How many digits replace a rule's id if the name would become too long. They always fit: a stack's name has at most
/// 47 characters, because the name of its function `replicate-delete` has at most 64.
const SHORT_DIGITS: usize = 9;
const LANES: [Lane; 2] = [Lane::Put, Lane::Delete];

/// The EventBridge rules of one stack.
#[derive(Debug)]
pub struct EventRules {
    client: Client,
    stack: String,
}

/// Whether an attach had to write anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// Nothing had to be written.
    Before,
    /// Something was written. EventBridge needs some time before it applies a new or changed rule.
    Now,
}

/// A fault of an EventBridge rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRuleFault {
    /// The name of the rule.
    pub name: String,
    /// The lane whose events it should send.
    pub lane: Lane,
    /// What is wrong.
    pub kind: EventRuleFaultKind,
}

/// The kinds of faults of an EventBridge rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventRuleFaultKind {
    /// It does not exist.
    Missing,
    /// It is disabled.
    Disabled,
    /// Its pattern does not match the events that the Tandem rule needs.
    OtherPattern,
    /// The lane's queue is not one of its targets, or receives only a part of each event.
    NoTarget,
}

impl fmt::Display for EventRuleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, lane, kind } = self;
        let lane = lane.as_str();
        write!(f, "the EventBridge rule {name} ")?;
        match kind {
            EventRuleFaultKind::Missing => write!(f, "does not exist"),
            EventRuleFaultKind::Disabled => write!(f, "is disabled"),
            EventRuleFaultKind::OtherPattern => {
                write!(f, "does not choose the events that are needed")
            }
            EventRuleFaultKind::NoTarget => {
                write!(f, "does not send whole events to the {lane} queue")
            }
        }
    }
}

impl EventRules {
    /// Returns the EventBridge rules of this stack, in its account and region.
    pub fn new(aws: &Aws, stack: &str) -> Self {
        Self {
            client: Client::new(aws.config()),
            stack: stack.to_owned(),
        }
    }

    /// Creates or corrects the EventBridge rules that `rule` needs. Writes nothing if they are correct. Idempotent.
    pub async fn attach(&self, queues: &LaneQueues, rule: &Rule) -> Result<Attached, AwsError> {
        let mut attached = Attached::Before;
        for lane in LANES {
            if self.fault(queues, rule, lane).await?.is_some() {
                self.put(queues, rule, lane).await?;
                attached = Attached::Now;
            }
        }
        Ok(attached)
    }

    /// Deletes the EventBridge rules of `rule`, with their targets. Idempotent: it succeeds if they do not exist.
    pub async fn detach(&self, rule: &Rule) -> Result<(), AwsError> {
        for lane in LANES {
            self.delete(&name(&self.stack, &rule.id, lane)).await?;
        }
        Ok(())
    }

    /// Returns why the EventBridge rules do not send the events that `rule` needs, at most one fault for each lane.
    pub async fn faults(
        &self,
        queues: &LaneQueues,
        rule: &Rule,
    ) -> Result<Vec<EventRuleFault>, AwsError> {
        let mut faults = Vec::new();
        for lane in LANES {
            faults.extend(self.fault(queues, rule, lane).await?);
        }
        Ok(faults)
    }

    async fn fault(
        &self,
        queues: &LaneQueues,
        rule: &Rule,
        lane: Lane,
    ) -> Result<Option<EventRuleFault>, AwsError> {
        let name = name(&self.stack, &rule.id, lane);
        let described = self.client.describe_rule().name(&name).send().await;
        let fault = |kind| {
            Ok(Some(EventRuleFault {
                name: name.clone(),
                lane,
                kind,
            }))
        };
        let found = match described {
            Ok(found) => found,
            Err(error) => {
                let error =
                    AwsError::request(format!("reading the EventBridge rule {name}"), error);
                return if error.is(NOT_FOUND) {
                    fault(EventRuleFaultKind::Missing)
                } else {
                    Err(error)
                };
            }
        };
        if found.state() == Some(&EventRuleState::Disabled) {
            return fault(EventRuleFaultKind::Disabled);
        }
        let read = |text: &str| serde_json::from_str::<Value>(text).ok();
        if found.event_pattern().and_then(read) != read(&pattern(rule, lane)) {
            return fault(EventRuleFaultKind::OtherPattern);
        }
        let targets = self.targets(&name).await?;
        if targets
            .iter()
            .any(|target| sends_all(target, queues.arn(lane)))
        {
            Ok(None)
        } else {
            fault(EventRuleFaultKind::NoTarget)
        }
    }

    /// Writes an enabled EventBridge rule, and then its target.
    async fn put(&self, queues: &LaneQueues, rule: &Rule, lane: Lane) -> Result<(), AwsError> {
        let name = name(&self.stack, &rule.id, lane);
        self.client
            .put_rule()
            .name(&name)
            .description(format!(
                "{}to the {} queue of {}, for {}.",
                description_start(&rule.source.name),
                lane.as_str(),
                self.stack,
                rule.id
            ))
            .event_pattern(pattern(rule, lane))
            .state(EventRuleState::Enabled)
            .send()
            .await
            .map_err(|error| {
                with_quota(AwsError::request(
                    format!("writing the EventBridge rule {name}"),
                    error,
                ))
            })?;
        let doing = format!(
            "adding the {} queue to the targets of the EventBridge rule {name}",
            lane.as_str()
        );
        let target = Target::builder()
            .id(lane.as_str())
            .arn(queues.arn(lane))
            .build()
            .map_err(|error| AwsError::unexpected(doing.as_str(), error))?;
        let answer = self
            .client
            .put_targets()
            .rule(&name)
            .targets(target)
            .send()
            .await
            .map_err(|error| AwsError::request(doing.as_str(), error))?;
        // The request succeeds even if one of its targets fails.
        let failed = answer.failed_entries().first();
        refused(
            doing,
            answer.failed_entry_count(),
            failed.and_then(|it| it.error_code()),
            failed.and_then(|it| it.error_message()),
        )
    }

    /// Deletes the targets of an EventBridge rule and then the rule. EventBridge refuses to delete a rule with targets.
    async fn delete(&self, name: &str) -> Result<(), AwsError> {
        let targets = match self.targets(name).await {
            Ok(targets) => targets,
            Err(error) if error.is(NOT_FOUND) => return Ok(()),
            Err(error) => return Err(error),
        };
        if !targets.is_empty() {
            let doing = format!("removing the targets of the EventBridge rule {name}");
            let ids = targets.into_iter().map(|target| target.id).collect();
            let answer = self
                .client
                .remove_targets()
                .rule(name)
                .set_ids(Some(ids))
                .send()
                .await
                .map_err(|error| AwsError::request(doing.as_str(), error));
            match answer {
                Ok(answer) => {
                    let failed = answer.failed_entries().first();
                    refused(
                        doing,
                        answer.failed_entry_count(),
                        failed.and_then(|it| it.error_code()),
                        failed.and_then(|it| it.error_message()),
                    )?;
                }
                Err(error) if error.is(NOT_FOUND) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        let deleted = self.client.delete_rule().name(name).send().await;
        match deleted.map_err(|error| {
            AwsError::request(format!("deleting the EventBridge rule {name}"), error)
        }) {
            Err(error) if !error.is(NOT_FOUND) => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns the targets of an EventBridge rule. It has at most five, unless the account's quota was raised.
    async fn targets(&self, name: &str) -> Result<Vec<Target>, AwsError> {
        let answer = self.client.list_targets_by_rule().rule(name).send().await;
        let answer = answer.map_err(|error| {
            AwsError::request(
                format!("reading the targets of the EventBridge rule {name}"),
                error,
            )
        })?;
        Ok(answer.targets.unwrap_or_default())
    }
}

/// EventBridge's code for a rule that does not exist.
const NOT_FOUND: &str = "ResourceNotFoundException";

/// Whether a target is the queue and receives whole events.
fn sends_all(target: &Target, queue_arn: &str) -> bool {
    target.arn == queue_arn
        && target.input.is_none()
        && target.input_path.is_none()
        && target.input_transformer.is_none()
}

/// Returns the error of a request that succeeded, but failed for a target.
fn refused(
    doing: String,
    failed: i32,
    code: Option<&str>,
    message: Option<&str>,
) -> Result<(), AwsError> {
    if failed == 0 {
        return Ok(());
    }
    let said = message.or(code).unwrap_or("EventBridge gave no reason");
    let code = code.map(str::to_owned);
    Err(AwsError::answered(doing, said, code, None))
}

/// Adds to an error which quota was reached, and what to do.
///
/// Source: EventBridge user guide, "Amazon EventBridge quotas": "Rules", 300 for each event bus by default, adjustable.
fn with_quota(mut error: AwsError) -> AwsError {
    if error.is("LimitExceededException") {
        error.said += " (an event bus takes 300 rules unless the account's quota is higher, and every Tandem rule \
                       notified by it needs two; request a higher quota, or remove rules from the default event bus)";
    }
    error
}

/// Returns how the descriptions of Tandem's EventBridge rules for a bucket begin. It is the same for all stacks.
pub(crate) fn description_start(source: &BucketName) -> String {
    format!("Tandem - sends changes of {source} ")
}

/// Returns the name of the EventBridge rule for one lane. It begins with the stack's name and `-rule-`, as the
/// template's policies expect.
fn name(stack: &str, rule: &RuleId, lane: Lane) -> String {
    let whole = format!("{stack}-{rule}-{}", lane.as_str());
    if whole.len() <= NAME_CHARS_MAX && rule.as_str().starts_with("rule-") {
        return whole;
    }
    let digest: [u8; 16] = Md5::digest(rule.as_str()).into();
    let digits = format!("{:032x}", u128::from_be_bytes(digest));
    let lane = match lane {
        Lane::Put => "p",
        Lane::Delete => "d",
    };
    format!("{stack}-rule-{}-{lane}", &digits[..SHORT_DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_enough_and_names_its_stack() {
        let rule = RuleId::new("rule-0197f3c2a1b47c3e9d52");
        assert_eq!(
            name("tandem", &rule, Lane::Put),
            "tandem-rule-0197f3c2a1b47c3e9d52-put"
        );
        for chars in 1..=47 {
            let stack = "s".repeat(chars);
            let names = LANES.map(|lane| name(&stack, &rule, lane));
            assert_ne!(names[0], names[1]);
            for name in names {
                assert!(name.len() <= NAME_CHARS_MAX, "{name}");
                assert!(name.starts_with(&format!("{stack}-rule-")), "{name}");
            }
        }
        let stack = "s".repeat(47);
        let other = RuleId::new("rule-0197f3c2a1b47c3e9d53");
        assert_ne!(
            name(&stack, &rule, Lane::Put),
            name(&stack, &other, Lane::Put)
        );
    }

    #[test]
    fn a_target_that_receives_only_a_part_of_the_event_does_not_count() {
        let target = Target::builder().id("put").arn("arn:put");
        let whole = target.clone().build().unwrap();
        assert!(sends_all(&whole, "arn:put") && !sends_all(&whole, "arn:delete"));
        let part = target.input_path("$.detail").build().unwrap();
        assert!(!sends_all(&part, "arn:put"));
    }

    #[test]
    fn an_entry_that_failed_is_an_error_with_its_reason() {
        assert!(refused("x".into(), 0, None, None).is_ok());
        let error =
            refused("x".into(), 1, Some("LimitExceeded"), Some("five targets")).unwrap_err();
        assert!(error.is("LimitExceeded") && error.to_string() == "x: five targets");
        assert!(refused("x".into(), 1, None, None).is_err());
    }

    #[test]
    fn an_error_at_the_quota_of_rules_names_the_quota() {
        let code = Some("LimitExceededException".to_owned());
        let limited = AwsError::answered("writing", "no", code, None);
        assert!(with_quota(limited).to_string().contains("takes 300 rules"));
        let other = AwsError::unexpected("writing", "no");
        assert_eq!(with_quota(other).to_string(), "writing: no");
    }
}
