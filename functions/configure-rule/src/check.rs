//! Whether rules still work: the check that a schedule makes, and anyone can ask for.
//!
//! What stops a rule without a failure to show for it is outside of Tandem: a notification that somebody removed, a
//! queue that takes none any more, a bucket that is gone or has changed hands. All of it can be read, so nothing is
//! written into any bucket to find out (docs/decisions/0023-the-check-only-reads.md). The check stores one thing in the
//! table: the destination's default encryption.

use std::fmt::Display;

use chrono::TimeDelta;
use futures::{StreamExt, stream};
use serde::Serialize;
use serde_json::{Value, json};
use tandem_aws::AwsError;
use tandem_aws::cloudwatch::lag_p99_ms;
use tandem_aws::eventbridge::event_bus::EventBus;
use tandem_aws::s3::bucket_lookup::{Found, default_encryption, look_up};
use tandem_aws::s3::notifications::{settings, unsent};
use tandem_aws::sqs::{EVENTS, S3, SNS};
use tandem_lambda::metrics::write_broken;
use tandem_lambda::request::RequestError;
use tandem_lambda::runtime::{Deadline, now};
use tandem_replication::claims::Role;
use tandem_replication::names::{BucketName, RuleId};
use tandem_replication::notified_by::{NotifiedBy, Switch};
use tandem_replication::rule::{Bucket, Rule, RuleState};
use tandem_replication::subscription::Gap;

use crate::request::RuleName;
use crate::stack::{ENOUGH_TIME, Stack};

/// How many rules are looked at together.
const CHECKED_AT_ONCE: usize = 16;
/// A rule that has been on its way in or out for longer was left there by a function that died.
const UNSETTLED_MAX: TimeDelta = TimeDelta::minutes(15);

/// Over how many minutes the lag is taken: those since the check before, by the template's schedule.
const LAG_MINS: u32 = 15;

/// One thing that is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    code: &'static str,
    message: String,
}

/// The queues that are closed to a service which has to send to them.
#[derive(Debug)]
struct ClosedQueues {
    /// To S3 itself, or to SNS.
    to_s3: Vec<Problem>,
    /// To EventBridge.
    to_events: Vec<Problem>,
}

/// A rule that is broken, as it is told.
#[derive(Debug, Serialize)]
struct Finding<'a> {
    rule_id: &'a RuleId,
    source: &'a BucketName,
    destination: &'a BucketName,
    problems: Vec<Problem>,
}

impl Problem {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    fn unanswered(error: &AwsError) -> Self {
        Self::new("NotAnswered", error.to_string())
    }
}

impl Stack {
    /// Checks one rule, or all. Only a check of all counts as the stack's.
    pub(crate) async fn check(
        &self,
        only: Option<&RuleName>,
        deadline: Deadline,
    ) -> Result<Value, RequestError> {
        let rules = match only {
            Some(name) => vec![self.find(name).await?],
            None => self.table.rules().await?,
        };
        let closed = self.closed_queues_of(&rules).await;
        let looks: Vec<Option<Vec<Problem>>> = stream::iter(&rules)
            .map(|rule| self.look_in_time(rule, &closed, deadline))
            .buffered(CHECKED_AT_ONCE)
            .collect()
            .await;
        let unchecked = looks.iter().filter(|look| look.is_none()).count();
        if unchecked > 0 {
            tracing::error!(unchecked, "there was no time to check every rule");
        }
        let mut broken = Vec::new();
        for (rule, problems) in rules.iter().zip(looks) {
            match problems {
                Some(problems) if !problems.is_empty() => {
                    broken.push((rule, Finding::of(rule, problems)));
                }
                _ => {}
            }
        }
        for (rule, finding) in &broken {
            for Problem { code, message } in &finding.problems {
                tracing::error!(
                    rule.id = rule.id.as_str(),
                    problem = code,
                    message,
                    "the rule is broken"
                );
            }
        }
        if only.is_none() {
            // None broken is only said of all; an alarm goes off where nothing is said.
            if unchecked == 0 || !broken.is_empty() {
                write_broken(&self.config.stack, broken.len(), now());
            }
            self.tell(&broken).await?;
        }
        let findings: Vec<_> = broken.iter().map(|(_, finding)| finding).collect();
        Ok(json!({
            "checked": rules.len() - unchecked,
            "unchecked": unchecked,
            "broken": findings,
        }))
    }

    /// Tells whoever listens. One that cannot be told of keeps no other from being told of.
    async fn tell(&self, broken: &[(&Rule, Finding<'_>)]) -> Result<(), AwsError> {
        let bus = EventBus::new(&self.aws);
        let told = stream::iter(broken)
            .map(|(rule, finding)| bus.tell_broken(rule, finding))
            .buffer_unordered(CHECKED_AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        told.into_iter().collect()
    }

    /// What is wrong with a rule; none if there is no time left to find out.
    async fn look_in_time(
        &self,
        rule: &Rule,
        closed: &ClosedQueues,
        deadline: Deadline,
    ) -> Option<Vec<Problem>> {
        if deadline.left() < ENOUGH_TIME {
            return None;
        }
        Some(self.problems(rule, closed).await)
    }

    async fn problems(&self, rule: &Rule, closed: &ClosedQueues) -> Vec<Problem> {
        if matches!(rule.state, RuleState::Enabling | RuleState::Deleting) {
            return unsettled(rule).into_iter().collect();
        }
        let (source, destination, lagging) = futures::join!(
            self.look_at(Role::Source, &rule.source, self.aws.account_id()),
            self.look_at(
                Role::Destination,
                &rule.destination,
                self.destination_owner(&rule.options)
            ),
            self.lagging(rule),
        );
        let boundary = &self.config.boundary;
        let outside = boundary
            .check_accounts(&rule.options)
            .and_then(|()| boundary.check_destination(&rule.destination.name));
        let outside = outside
            .err()
            .map(|refusal| Problem::new("OutsideTheStacksLimits", refusal.to_string()));
        let mut circle = None;
        if destination.is_none() {
            self.note_encryption(rule).await;
            circle = self.circle(rule).await;
        }
        let source_is_there = !matches!(&source, Some(problem) if problem.code == "BucketNotFound");
        let mut problems: Vec<Problem> = source
            .into_iter()
            .chain(destination)
            .chain(circle)
            .chain(outside)
            .collect();
        if source_is_there {
            match self.unsent(rule).await {
                Ok(unsent) => problems.extend(missing(rule, &unsent)),
                Err(error) => problems.push(Problem::unanswered(&error)),
            }
        }
        let closed = match rule.notified_by {
            NotifiedBy::Bucket => &closed.to_s3,
            NotifiedBy::EventBridge => &closed.to_events,
        };
        problems.extend(closed.iter().cloned());
        problems.extend(lagging);
        problems
    }

    /// Returns a problem if another stack replicates from the destination.
    async fn circle(&self, rule: &Rule) -> Option<Problem> {
        let owner = self.destination_owner(&rule.options);
        let shown = self.replicated_elsewhere(&rule.destination, owner).await?;
        Some(Problem::new(
            "DestinationIsSource",
            format!("the destination {} {shown}", rule.destination.name),
        ))
    }

    /// Stores the destination's default encryption if it differs from what the rule says. If this fails, a first put
    /// may cost a second copy, and nothing else happens. So a failure is not reported as a problem of the rule.
    async fn note_encryption(&self, rule: &Rule) {
        let owner = self.destination_owner(&rule.options);
        let found = default_encryption(&self.aws, &rule.destination, owner).await;
        let Some(found) = found.filter(|found| Some(*found) != rule.destination_encryption) else {
            return;
        };
        if let Err(error) = self.table.note_encryption(&rule.id, found).await {
            tracing::warn!(rule.id = rule.id.as_str(), %error, "the destination's encryption is not noted");
        }
    }

    /// What keeps the source's changes from coming, each in a sentence.
    async fn unsent(&self, rule: &Rule) -> Result<Vec<String>, AwsError> {
        let queues = &self.config.lane_queues;
        match rule.notified_by {
            NotifiedBy::Bucket => {
                let gaps = unsent(&self.aws, queues, rule).await?;
                Ok(gaps.iter().map(Gap::to_string).collect())
            }
            NotifiedBy::EventBridge => {
                let faults = self.event_rules.faults(queues, rule).await?;
                let found = settings(&self.aws, rule).await?;
                let switch = (found.eventbridge == Switch::Off).then(|| {
                    format!(
                        "the bucket {} does not send notifications to EventBridge",
                        rule.source.name
                    )
                });
                Ok(faults
                    .iter()
                    .map(ToString::to_string)
                    .chain(switch)
                    .collect())
            }
        }
    }

    /// Whether a rule has replicated later than its objective. What waits while it is paused is nobody's fault.
    async fn lagging(&self, rule: &Rule) -> Option<Problem> {
        if rule.state == RuleState::Paused {
            return None;
        }
        let secs = match lag_p99_ms(&self.aws, &rule.id, now(), LAG_MINS).await {
            Ok(lag) => lag? / 1_000.0,
            Err(error) => return Some(Problem::unanswered(&error)),
        };
        let objective = rule.options.rpo_secs;
        (secs > f64::from(objective)).then(|| {
            Problem::new(
                "Lagging",
                format!(
                    "of the changes of the last {LAG_MINS} minutes one in a hundred took {secs:.0} seconds or more, and \
                     its objective is {objective} (options.rpo_secs); see what waits and is throttled"
                ),
            )
        })
    }

    async fn look_at(&self, role: Role, bucket: &Bucket, owner: &str) -> Option<Problem> {
        let about =
            |problem: &dyn Display| format!("the {} {} {problem}", role.as_str(), bucket.name);
        match look_up(&self.aws, &bucket.name, owner).await {
            Ok(Found::Readable(region)) if region == bucket.region => None,
            Ok(Found::Readable(region)) => Some(Problem::new(
                "BucketMoved",
                about(&format_args!(
                    "is in {region} now, and was in {}; delete the rule and make it again",
                    bucket.region
                )),
            )),
            Ok(Found::Missing) => Some(Problem::new(
                "BucketNotFound",
                about(&"does not exist any more; make it again, or delete the rule"),
            )),
            Ok(Found::OtherOwner) => Some(Problem::new(
                "BucketNotAccessible",
                about(&format_args!(
                    "does not belong to the account {owner} any more"
                )),
            )),
            Ok(Found::NotAccessible(said)) => Some(Problem::new(
                "BucketNotAccessible",
                about(&format_args!(
                    "may not be read any more ({said}); see its policy"
                )),
            )),
            Err(error) => Some(Problem::unanswered(&error)),
        }
    }

    /// The queues that do not take what has to be sent for these rules.
    async fn closed_queues_of(&self, rules: &[Rule]) -> ClosedQueues {
        let is_any = |by| rules.iter().any(|rule| rule.notified_by == by);
        ClosedQueues {
            to_s3: self.closed_queues().await,
            to_events: if is_any(NotifiedBy::EventBridge) {
                self.closed_to(&[EVENTS], &[EVENTS]).await
            } else {
                Vec::new()
            },
        }
    }

    /// The queues that do not take what S3 sends; and the put queue, where the stack names topics, if it does not take
    /// what SNS sends.
    pub(crate) async fn closed_queues(&self) -> Vec<Problem> {
        let by_topics = !self.config.lane_queues.topic_arns.is_empty();
        let of_puts: &[&str] = if by_topics { &[S3, SNS] } else { &[S3] };
        self.closed_to(of_puts, &[S3]).await
    }

    /// The queues that do not take what these services send: those that send to the put queue, and to the delete queue.
    async fn closed_to(&self, of_puts: &[&str], of_deletes: &[&str]) -> Vec<Problem> {
        let lanes = [
            ("put", &self.config.put_queue_url, of_puts),
            ("delete", &self.config.delete_queue_url, of_deletes),
        ];
        let looks = lanes.map(|(lane, url, services)| async move {
            match self.queues.takes_from(url, services).await {
                Ok(true) => None,
                Ok(false) => Some(Problem::new(
                    "QueueClosed",
                    format!(
                        "the policy of the {lane} queue does not let {} send to it any more; deploy the stack again",
                        services.join(" and ")
                    ),
                )),
                Err(error) => Some(Problem::unanswered(&error)),
            }
        });
        futures::future::join_all(looks)
            .await
            .into_iter()
            .flatten()
            .collect()
    }
}

impl<'a> Finding<'a> {
    fn of(rule: &'a Rule, problems: Vec<Problem>) -> Self {
        Self {
            rule_id: &rule.id,
            source: &rule.source.name,
            destination: &rule.destination.name,
            problems,
        }
    }
}

/// What does not come from the source, and what helps.
fn missing(rule: &Rule, unsent: &[String]) -> Option<Problem> {
    if unsent.is_empty() {
        return None;
    }
    let remedy = match rule.notified_by {
        NotifiedBy::Bucket => {
            "the source's notifications were changed, or an older version of Tandem attached them: update the rule, \
             which attaches them again, then run a backfill for what was missed"
        }
        NotifiedBy::EventBridge => {
            "turn the bucket's notifications to EventBridge on if they are off (or set options.enable_eventbridge to \
             true), update the rule, which writes its rules of EventBridge again, then run a backfill for what was missed"
        }
    };
    let message = format!("{}; {remedy}", unsent.join(", "));
    Some(Problem::new("NotificationMissing", message))
}

/// A rule that is on its way in or out for too long.
fn unsettled(rule: &Rule) -> Option<Problem> {
    (now() - rule.updated_at > UNSETTLED_MAX).then(|| {
        Problem::new(
            "Unsettled",
            format!(
                "it has been {} since {}; delete it, and make it again if it is wanted",
                rule.state.as_str(),
                rule.updated_at.to_rfc3339()
            ),
        )
    })
}
