//! Checks whether rules still work. A schedule starts the check, and a user can request it.
//!
//! Some causes outside of Tandem stop a rule without any failure record: a notification that was removed, a queue that
//! no longer accepts notifications, a bucket that was deleted or has a new owner. Tandem can detect all of them by
//! reading, so the check writes to no bucket (docs/decisions/0023-the-check-only-reads.md). It stores one thing in the
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

/// How many rules are checked at the same time.
const CHECKED_AT_ONCE: usize = 16;
/// A rule that is `enabling` or `deleting` for longer is stuck, because the function that worked on it has died.
const UNSETTLED_MAX: TimeDelta = TimeDelta::minutes(15);

/// Over how many minutes the lag is measured: those since the previous check, by the template's schedule.
const LAG_MINS: u32 = 15;

/// One problem of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    code: &'static str,
    message: String,
}

/// The queues whose policy does not allow a service to send to them, although the service has to.
#[derive(Debug)]
struct ClosedQueues {
    /// Queues closed to S3 or SNS.
    to_s3: Vec<Problem>,
    /// Queues closed to EventBridge.
    to_events: Vec<Problem>,
}

/// A broken rule and its problems, as they are reported.
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
    /// Checks one rule, or all. Only a check of all rules writes metrics and publishes events.
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
        let checked: Vec<Option<Vec<Problem>>> = stream::iter(&rules)
            .map(|rule| self.look_in_time(rule, &closed, deadline))
            .buffered(CHECKED_AT_ONCE)
            .collect()
            .await;
        let unchecked = checked.iter().filter(|it| it.is_none()).count();
        if unchecked > 0 {
            tracing::error!(unchecked, "not enough time to check every rule");
        }
        let mut broken = Vec::new();
        for (rule, problems) in rules.iter().zip(checked) {
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
            // The value 0 is written only if all rules were checked. A missing value raises an alarm.
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

    /// Publishes the broken rules. If publishing one fails, the others are still published.
    async fn tell(&self, broken: &[(&Rule, Finding<'_>)]) -> Result<(), AwsError> {
        let bus = EventBus::new(&self.aws);
        let published = stream::iter(broken)
            .map(|(rule, finding)| bus.tell_broken(rule, finding))
            .buffer_unordered(CHECKED_AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        published.into_iter().collect()
    }

    /// Returns the problems of a rule, or `None` if there is no time left to check it.
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

    /// Stores the destination's default encryption if it differs from the stored one. A failure only has the effect
    /// that a first put may cost a second copy. So it is not reported as a problem of the rule.
    async fn note_encryption(&self, rule: &Rule) {
        let owner = self.destination_owner(&rule.options);
        let found = default_encryption(&self.aws, &rule.destination, owner).await;
        let Some(found) = found.filter(|found| Some(*found) != rule.destination_encryption) else {
            return;
        };
        if let Err(error) = self.table.note_encryption(&rule.id, found).await {
            tracing::warn!(rule.id = rule.id.as_str(), %error, "cannot store the destination's encryption");
        }
    }

    /// Returns why changes of the source do not reach Tandem, one text for each cause.
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

    /// Returns a problem if a rule exceeds its objective. A paused rule has no such problem.
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
                    "of the changes of the last {LAG_MINS} minutes, one in a hundred took {secs:.0} seconds or more, \
                     and the rule's objective is {objective} (options.rpo_secs); check the backlog and throttling"
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
                    "is in {region} now, and was in {}; delete the rule and create it again",
                    bucket.region
                )),
            )),
            Ok(Found::Missing) => Some(Problem::new(
                "BucketNotFound",
                about(&"no longer exists; create it again, or delete the rule"),
            )),
            Ok(Found::OtherOwner) => Some(Problem::new(
                "BucketNotAccessible",
                about(&format_args!("no longer belongs to the account {owner}")),
            )),
            Ok(Found::NotAccessible(said)) => Some(Problem::new(
                "BucketNotAccessible",
                about(&format_args!(
                    "can no longer be read: access is denied ({said}); check its policy"
                )),
            )),
            Err(error) => Some(Problem::unanswered(&error)),
        }
    }

    /// Returns the queues to which a service cannot send, although these rules need it.
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

    /// Returns the queues that do not accept messages of S3. If the stack names topics, the put queue has to accept
    /// messages of SNS too.
    pub(crate) async fn closed_queues(&self) -> Vec<Problem> {
        let by_topics = !self.config.lane_queues.topic_arns.is_empty();
        let of_puts: &[&str] = if by_topics { &[S3, SNS] } else { &[S3] };
        self.closed_to(of_puts, &[S3]).await
    }

    /// Returns the queues that do not accept messages of these services: `of_puts` for the put queue, `of_deletes` for
    /// the delete queue.
    async fn closed_to(&self, of_puts: &[&str], of_deletes: &[&str]) -> Vec<Problem> {
        let lanes = [
            ("put", &self.config.put_queue_url, of_puts),
            ("delete", &self.config.delete_queue_url, of_deletes),
        ];
        let checks = lanes.map(|(lane, url, services)| async move {
            match self.queues.takes_from(url, services).await {
                Ok(true) => None,
                Ok(false) => Some(Problem::new(
                    "QueueClosed",
                    format!(
                        "the policy of the {lane} queue no longer allows {} to send to it; deploy the stack again",
                        services.join(" and ")
                    ),
                )),
                Err(error) => Some(Problem::unanswered(&error)),
            }
        });
        futures::future::join_all(checks)
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

/// Returns the problem that notifications are missing, with what to do.
fn missing(rule: &Rule, unsent: &[String]) -> Option<Problem> {
    if unsent.is_empty() {
        return None;
    }
    let remedy = match rule.notified_by {
        NotifiedBy::Bucket => {
            "the source's notifications were changed, or an older version of Tandem attached them: update the rule, \
             which attaches them again, then backfill the missed changes"
        }
        NotifiedBy::EventBridge => {
            "turn the bucket's notifications to EventBridge on if they are off (or set options.enable_eventbridge to \
             true), update the rule, which writes its EventBridge rules again, then backfill the missed changes"
        }
    };
    let message = format!("{}; {remedy}", unsent.join(", "));
    Some(Problem::new("NotificationMissing", message))
}

/// Returns a problem if a rule has been `enabling` or `deleting` for too long.
fn unsettled(rule: &Rule) -> Option<Problem> {
    (now() - rule.updated_at > UNSETTLED_MAX).then(|| {
        Problem::new(
            "Unsettled",
            format!(
                "it has been {} since {}; delete it, and create it again if you need it",
                rule.state.as_str(),
                rule.updated_at.to_rfc3339()
            ),
        )
    })
}
