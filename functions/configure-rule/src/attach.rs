//! Configures AWS to send the changes of a rule's source to Tandem's queues, by the bucket's own notifications or by
//! EventBridge. `tandem_replication::notified_by` decides which.

use std::time::Duration;

use tandem_aws::AwsError;
use tandem_aws::eventbridge::event_rules::Attached as EventRulesAttached;
use tandem_aws::s3::notifications::{
    self, AttachError, Destinations, OtherEntry, SETTLING, SourceSettings, Unusable, settings,
    turn_eventbridge_on,
};
use tandem_lambda::request::RequestError;
use tandem_lambda::runtime::now;
use tandem_replication::notified_by::{NotifiedBy, Plan, Switch, plan, tries_bucket_first};
use tandem_replication::options::NotificationChoice;
use tandem_replication::refusal::{Refusal, RefusalCode};
use tandem_replication::rule::{Rule, RuleState};
use tandem_replication::rule_memory::REMEMBERED_FOR;
use tandem_replication::subscription::Entry;

use crate::stack::Stack;

const LATER_UPDATE: &str = "An update of the rule in ten minutes or later removes them.";

/// The result of attaching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attached {
    /// How the changes reach the queues.
    pub(crate) by: NotifiedBy,
    /// What the caller should know, in sentences.
    pub(crate) remarks: Vec<String>,
}

impl Stack {
    /// Configures AWS to send the source's changes to the queues, and removes configuration that is no longer needed.
    /// If the bucket accepts the rule's entries, this costs a read and, if they are missing, a write. It also works
    /// right after a deployment.
    pub(crate) async fn attach(&self, rule: &Rule) -> Result<Attached, RequestError> {
        self.attach_within(rule, &SETTLING).await
    }

    /// Attaches a rule as [`Self::attach`] does, with these pauses while S3 cannot send to the stack's queues yet. An
    /// invocation has time for pauses of 30 seconds in total, once.
    pub(crate) async fn attach_within(
        &self,
        rule: &Rule,
        pauses: &[Duration],
    ) -> Result<Attached, RequestError> {
        let options = &rule.options;
        let obstacle = if tries_bucket_first(options, rule.notified_by) {
            match self.attach_to_bucket(rule, pauses).await {
                Ok(attached) => return Ok(attached),
                Err(AttachError::Aws(error)) => return Err(error.into()),
                Err(obstacle) if options.notifications == NotificationChoice::Bucket => {
                    return Err(self.refusal(rule, obstacle));
                }
                Err(obstacle) => Some(obstacle),
            }
        } else {
            None
        };
        let found = settings(&self.aws, rule).await?;
        match plan(
            options,
            rule.notified_by,
            found.eventbridge,
            obstacle.is_none(),
        ) {
            Plan::Bucket => self
                .attach_to_bucket(rule, pauses)
                .await
                .map_err(|obstacle| self.refusal(rule, obstacle)),
            Plan::RefuseWithoutSwitch => {
                let refusal = obstacle.map(|obstacle| self.refusal(rule, obstacle));
                Err(refusal.unwrap_or_else(|| without_switch(rule).into()))
            }
            Plan::EventBridge | Plan::EventBridgeAndSwitch => {
                let attached = self.attach_to_eventbridge(rule, found, obstacle).await;
                if attached.is_err() && rule.notified_by == NotifiedBy::Bucket {
                    self.forget_event_rules(rule).await;
                }
                Ok(attached?)
            }
        }
    }

    /// Removes the configuration that sends the source's changes to the queues. If the bucket sends notifications to
    /// EventBridge, it continues to do so, because other consumers may rely on it. Idempotent.
    pub(crate) async fn detach(&self, rule: &Rule) -> Result<(), AwsError> {
        notifications::detach(&self.aws, rule).await?;
        self.event_rules.detach(rule).await
    }

    async fn attach_to_bucket(
        &self,
        rule: &Rule,
        pauses: &[Duration],
    ) -> Result<Attached, AttachError> {
        let queues = &self.config.lane_queues;
        match notifications::attach_patiently(&self.aws, queues, rule, pauses).await {
            Err(AttachError::Invalid { refusal, at, .. }) => {
                if at == Unusable::Ours {
                    return Err(cannot_reach_our_queues(&refusal).into());
                }
                if !self.closed_queues().await.is_empty() {
                    return Err(refusal.into());
                }
                // Another writer's entry is at fault, because the stack's own queues accept messages of S3.
                tracing::warn!(rule.id = rule.id.as_str(), %refusal, "S3 cannot use a destination of another entry");
                let as_they_are = Destinations::NotTriedOut;
                notifications::attach(&self.aws, queues, rule, as_they_are).await?;
            }
            attached => attached?,
        }
        let mut remarks = Vec::new();
        if rule.notified_by == NotifiedBy::EventBridge {
            remarks.push(format!(
                "The rule's EventBridge rules stay, because {} may take minutes to send every change. {LATER_UPDATE}",
                rule.source.name
            ));
        } else if rule.has_settled_in_its_way(now()) {
            self.event_rules.detach(rule).await?;
        }
        Ok(Attached {
            by: NotifiedBy::Bucket,
            remarks,
        })
    }

    /// Creates the EventBridge rules, turns on the bucket's notifications to EventBridge if they are off, and removes
    /// entries of the bucket's own configuration that are no longer needed.
    async fn attach_to_eventbridge(
        &self,
        rule: &Rule,
        found: SourceSettings,
        obstacle: Option<AttachError>,
    ) -> Result<Attached, AwsError> {
        if rule.state == RuleState::Enabling {
            wait_for_forgotten_rules(rule).await;
        }
        let source = &rule.source.name;
        let rules = self
            .event_rules
            .attach(&self.config.lane_queues, rule)
            .await?;
        let mut remarks = Vec::new();
        if let Some(obstacle) = obstacle {
            remarks.push(format!(
                "The rule is notified by EventBridge, because the notification configuration of {source} does not \
                 accept its entries: {obstacle}."
            ));
        }
        if found.eventbridge == Switch::Off {
            turn_eventbridge_on(&self.aws, rule).await?;
            remarks.push(format!(
                "Tandem has turned on the notifications of {source} to EventBridge, and has left its other notifications \
                 as they were. S3 starts to send them after about five minutes. Tandem does not turn them off again."
            ));
        }
        if found.has_entries {
            let is_all_there =
                found.eventbridge == Switch::On && rules == EventRulesAttached::Before;
            if is_all_there
                && rule.notified_by == NotifiedBy::EventBridge
                && rule.has_settled_in_its_way(now())
            {
                notifications::detach(&self.aws, rule).await?;
            } else {
                remarks.push(format!(
                    "The rule's entries stay in the notification configuration of {source}, because EventBridge may \
                     take minutes to send every change. {LATER_UPDATE}"
                ));
            }
        }
        for remark in &remarks {
            tracing::info!(
                rule.id = rule.id.as_str(),
                remark,
                "attached the rule by EventBridge"
            );
        }
        Ok(Attached {
            by: NotifiedBy::EventBridge,
            remarks,
        })
    }

    /// Removes the EventBridge rules after a failed attempt. If this fails, the Tandem rule's deletion removes them.
    async fn forget_event_rules(&self, rule: &Rule) {
        if let Err(error) = self.event_rules.detach(rule).await {
            tracing::warn!(rule.id = rule.id.as_str(), %error, "cannot remove the EventBridge rules");
        }
    }

    /// Returns an error that says why the bucket's own configuration cannot notify Tandem, and what to do.
    fn refusal(&self, rule: &Rule, obstacle: AttachError) -> RequestError {
        let obstacle = match obstacle {
            AttachError::Aws(error) | AttachError::Denied(error) => return error.into(),
            obstacle => obstacle,
        };
        let eventbridge = match rule.options.notifications {
            NotificationChoice::Bucket => {
                "set options.notifications to \"auto\", so that the rule may use EventBridge"
            }
            NotificationChoice::Auto | NotificationChoice::EventBridge => {
                "set options.enable_eventbridge to true, so that Tandem turns on the bucket's notifications to EventBridge, \
                 which several consumers can share"
            }
        };
        let problem = match &obstacle {
            AttachError::Conflict(theirs) => format!(
                "cannot notify Tandem: {obstacle}, and S3 sends an event to only one destination; {}; or {eventbridge}",
                self.remedy(theirs)
            ),
            _ => format!(
                "cannot notify Tandem: {obstacle}; correct or remove the one that S3 names (aws s3api \
                 put-bucket-notification-configuration)"
            ),
        };
        let source = rule.source.name.as_str();
        Refusal::new(RefusalCode::NotificationConflict, "source", source, problem).into()
    }

    /// Returns what to do about an entry that overlaps with what a rule needs.
    fn remedy(&self, (arn, entry): &OtherEntry) -> String {
        let fan_out = if self.config.lane_queues.topic_arns.contains(arn) {
            "or let it send every event of all the rule's keys, as the topic delivers to Tandem"
        } else {
            "an SNS topic that the stack's parameter NotificationTopics names can fan it out"
        };
        let without = option_that_asks(entry);
        format!(
            "narrow or remove that notification ({fan_out}), or choose prefixes outside it{}",
            without
                .map(|set| format!(", or set {set}"))
                .unwrap_or_default()
        )
    }
}

/// Waits until no function has an earlier rule of the source in its cache. A notification of the bucket's own
/// configuration names its rule, so a function detects that its cache has another rule. An event of EventBridge does
/// not name a rule.
async fn wait_for_forgotten_rules(rule: &Rule) {
    let age = (now() - rule.created_at).to_std().unwrap_or_default();
    tokio::time::sleep(REMEMBERED_FOR.saturating_sub(age)).await;
}

/// Returns the refusal of a rule that needs EventBridge, although its source does not send notifications there.
fn without_switch(rule: &Rule) -> Refusal {
    let problem = format!(
        "needs the notifications of {source} to EventBridge, which are off; turn them on (in the S3 console: Properties, \
         Amazon EventBridge), or set options.enable_eventbridge to true, so that Tandem turns them on and leaves the \
         bucket's other notifications as they are",
        source = rule.source.name
    );
    Refusal::new(
        RefusalCode::NotificationConflict,
        "options.notifications",
        "eventbridge",
        problem,
    )
}

/// Returns the change of an option after which the rule no longer needs the events of an entry, if there is one.
fn option_that_asks(theirs: &Entry) -> Option<&'static str> {
    [
        ("s3:ObjectTagging:", "options.tags to false"),
        ("s3:ObjectAcl:", "options.acl to \"reset\""),
        (
            "s3:LifecycleExpiration:",
            "options.lifecycle_deletes to false",
        ),
    ]
    .into_iter()
    .find(|(kind, _)| theirs.events.iter().all(|event| event.starts_with(kind)))
    .map(|(_, set)| set)
}

fn cannot_reach_our_queues(refusal: &AwsError) -> AwsError {
    AwsError::unexpected(
        "attaching the notifications",
        format!(
            "{refusal}; S3 cannot send to the stack's own queues: check their policies and, if the stack has a \
             StackKey, that its key policy allows s3.amazonaws.com to use the key"
        ),
    )
}
