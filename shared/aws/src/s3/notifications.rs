//! Adds Tandem's entries to a source bucket's notification configuration and removes them. It does not change the
//! entries of other writers.
//!
//! A bucket has one configuration, which can only be read and written as a whole. The rule's claim on the bucket
//! prevents concurrent writes by Tandem. If another writer changes the configuration between our read and our write,
//! that change is lost, because S3 has no conditional form of this request.

use std::time::Duration;

use aws_sdk_s3::operation::get_bucket_notification_configuration::GetBucketNotificationConfigurationOutput;
use aws_sdk_s3::types::{
    Event, EventBridgeConfiguration, FilterRule, FilterRuleName, NotificationConfiguration,
    NotificationConfigurationFilter, QueueConfiguration, S3KeyFilter,
};
use tandem_replication::key_filter::KeyFilter;
use tandem_replication::notified_by::Switch;
use tandem_replication::rule::Rule;
use tandem_replication::subscription::{
    Entry, Gap, Lane, conflict, entries, entry_id_start, gaps, not_forwarded,
};

use crate::s3::bucket_lookup::{Found, look_up};
use crate::{Aws, AwsError};

/// The queues that S3 sends to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneQueues {
    /// The queue of puts.
    pub put_arn: String,
    /// The queue of deletes.
    pub delete_arn: String,
    /// Topics that deliver S3's notifications to either of these queues.
    pub topic_arns: Vec<String>,
}

impl LaneQueues {
    /// Returns the queue of a lane.
    pub(crate) fn arn(&self, lane: Lane) -> &str {
        match lane {
            Lane::Put => &self.put_arn,
            Lane::Delete => &self.delete_arn,
        }
    }

    fn lane(&self, arn: &str) -> Option<Lane> {
        [Lane::Put, Lane::Delete]
            .into_iter()
            .find(|&lane| self.arn(lane) == arn)
    }
}

/// An entry of another writer, and the ARN that it sends to.
pub type OtherEntry = (String, Entry);

/// Why Tandem could not attach a rule's notifications.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// An entry of another writer asks for the same events of the same keys.
    #[error("its notification {:?} to {} ({} for prefix {:?}, suffix {:?}) overlaps with what the rule needs",
        .0.1.id, .0.0, .0.1.events.join(", "), .0.1.prefix.as_written(), .0.1.suffix.as_written())]
    Conflict(OtherEntry),
    /// S3 does not accept the configuration.
    #[error("S3 does not accept the bucket's notifications: {refusal}; the bucket's other entries: {}", named(.others))]
    Invalid {
        /// What S3 answered.
        refusal: AwsError,
        /// Which destination the refusal is about.
        at: Unusable,
        /// The entries that are not the rule's.
        others: Vec<OtherEntry>,
    },
    /// Access denied: the bucket's policy or a policy of the organization forbids writing the notifications.
    #[error("access denied when writing the bucket's notifications: {0}")]
    Denied(AwsError),
    /// S3 failed or refused.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

/// Whose queue, topic or function S3 cannot send to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// Tandem's: S3 names one of its queues, or the configuration has no other destination.
    Ours,
    /// Another writer's, or the refusal is about something else.
    Another,
    /// S3 does not name it.
    Unnamed,
}

/// Whether S3 validates the queues, topics and functions of a configuration before it accepts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destinations {
    /// S3 refuses the configuration if one of them does not exist or does not allow S3 to send to it.
    TriedOut,
    /// S3 does not validate them.
    NotTriedOut,
}

/// The pauses between attempts to attach notifications to queues that S3 cannot send to yet: 30 seconds in total.
/// After a deployment S3 may see a queue's policy only after some time. An invocation lasts a minute.
///
/// Source: SQS API reference, "`SetQueueAttributes`": changes "can take up to 60 seconds to propagate".
pub const SETTLING: [Duration; 7] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(5),
    Duration::from_secs(6),
    Duration::from_secs(6),
    Duration::from_secs(7),
];

/// Attaches a rule as [`attach`] does, with destinations that S3 validates. While S3 cannot send to Tandem's own
/// queues, it repeats the attempt after each of the `pauses`.
pub async fn attach_patiently(
    aws: &Aws,
    queues: &LaneQueues,
    rule: &Rule,
    pauses: &[Duration],
) -> Result<(), AttachError> {
    for &pause in pauses {
        match attach(aws, queues, rule, Destinations::TriedOut).await {
            Err(AttachError::Invalid { refusal, at, .. }) if at != Unusable::Another => {
                tracing::warn!(rule.id = rule.id.as_str(), %refusal, "S3 cannot send to the stack's queues yet");
                tokio::time::sleep(pause).await;
            }
            attached => return attached,
        }
    }
    attach(aws, queues, rule, Destinations::TriedOut).await
}

/// Writes the entries that `rule` needs and that no topic forwards into the source bucket's configuration. It removes
/// other entries of the rule and keeps those of other writers. Writes nothing if the entries are correct. Idempotent.
pub async fn attach(
    aws: &Aws,
    queues: &LaneQueues,
    rule: &Rule,
    destinations: Destinations,
) -> Result<(), AttachError> {
    let found = read(aws, rule).await?;
    let wanted = not_forwarded(entries(rule), &forwarded(&found, queues));
    if is_attached(&found, queues, rule, &wanted) {
        return Ok(());
    }
    let others = others(&found, rule);
    if let Some(other) = conflict(&wanted, &others) {
        return Err(AttachError::Conflict(other.clone()));
    }
    let ours = wanted
        .iter()
        .map(|(lane, entry)| written(queues.arn(*lane), entry))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| AwsError::unexpected("writing a notification entry", error))?;
    match write(aws, rule, found, ours, destinations).await {
        // S3's code for a destination that it cannot use, and for an entry that is invalid.
        Err((refusal, body)) if refusal.is("InvalidArgument") => Err(AttachError::Invalid {
            at: unusable(&body, queues, &others),
            refusal,
            others,
        }),
        Err((refusal, _)) if refusal.is("AccessDenied") => Err(AttachError::Denied(refusal)),
        written => Ok(written.map_err(|(error, _)| error)?),
    }
}

/// Returns whose destination a refusal is about. The message does not name the destination, but an argument of the
/// answer does (aws-cli issue 8162 shows one).
fn unusable(body: &str, queues: &LaneQueues, others: &[OtherEntry]) -> Unusable {
    let names = |arn: &str| body.contains(arn);
    if !body.contains("Unable to validate the following destination configurations") {
        Unusable::Another
    } else if names(&queues.put_arn) || names(&queues.delete_arn) || others.is_empty() {
        Unusable::Ours
    } else if others.iter().any(|(arn, _)| names(arn)) {
        Unusable::Another
    } else {
        Unusable::Unnamed
    }
}

/// Whether the rule's entries in the configuration are exactly the `wanted` ones.
fn is_attached(
    found: &GetBucketNotificationConfigurationOutput,
    queues: &LaneQueues,
    rule: &Rule,
    wanted: &[(Lane, Entry)],
) -> bool {
    let sorted = |arn: &str, entry: &Entry| {
        let mut entry = entry.clone();
        entry.events.sort();
        (arn.to_owned(), entry)
    };
    let ours = found.queue_configurations().iter();
    let ours: Vec<_> = ours
        .filter(|entry| is_ours(entry, rule))
        .map(|entry| {
            sorted(
                entry.queue_arn(),
                &told(entry.id(), entry.events(), entry.filter()),
            )
        })
        .collect();
    ours.len() == wanted.len()
        && wanted
            .iter()
            .all(|(lane, entry)| ours.contains(&sorted(queues.arn(*lane), entry)))
}

/// Lists the entries, each with its id and its destination.
fn named(entries: &[OtherEntry]) -> String {
    let names = entries.iter();
    let names = names.map(|(arn, entry)| format!("{:?} to {arn}", entry.id));
    match names.collect::<Vec<_>>() {
        none if none.is_empty() => "none".to_owned(),
        names => names.join(", "),
    }
}

/// Removes the entries of `rule` from the source bucket's configuration. Idempotent. Does nothing if the bucket no
/// longer exists or another account owns it.
pub async fn detach(aws: &Aws, rule: &Rule) -> Result<(), AwsError> {
    let found = match read(aws, rule).await {
        Ok(found) => found,
        Err(error) if error.is("NoSuchBucket") => return Ok(()),
        Err(error) => {
            let source = look_up(aws, &rule.source.name, aws.account_id()).await;
            return match source {
                Ok(Found::OtherOwner | Found::Missing) => Ok(()),
                _ => Err(error),
            };
        }
    };
    if found
        .queue_configurations()
        .iter()
        .any(|entry| is_ours(entry, rule))
    {
        // Without validation, so that a missing queue or function of another writer does not prevent the detach.
        let written = write(aws, rule, found, Vec::new(), Destinations::NotTriedOut).await;
        written.map_err(|(error, _)| error)?;
    }
    Ok(())
}

/// What Tandem needs to know of a source's notification configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceSettings {
    /// Whether the bucket sends its notifications to EventBridge.
    pub eventbridge: Switch,
    /// Whether it has entries of the rule.
    pub has_entries: bool,
}

/// Reads a source's notification configuration.
pub async fn settings(aws: &Aws, rule: &Rule) -> Result<SourceSettings, AwsError> {
    let found = read(aws, rule).await?;
    let is_on = found.event_bridge_configuration().is_some();
    Ok(SourceSettings {
        eventbridge: if is_on { Switch::On } else { Switch::Off },
        has_entries: found
            .queue_configurations()
            .iter()
            .any(|entry| is_ours(entry, rule)),
    })
}

/// Turns on the source bucket's notifications to EventBridge, and changes nothing else. Idempotent.
pub async fn turn_eventbridge_on(aws: &Aws, rule: &Rule) -> Result<(), AwsError> {
    let mut found = read(aws, rule).await?;
    if found.event_bridge_configuration.is_some() {
        return Ok(());
    }
    found.event_bridge_configuration = Some(EventBridgeConfiguration::builder().build());
    let queues = found.queue_configurations().iter();
    let ours = queues
        .filter(|entry| is_ours(entry, rule))
        .cloned()
        .collect();
    let written = write(aws, rule, found, ours, Destinations::NotTriedOut).await;
    written.map_err(|(error, _)| error)
}

/// Returns the notifications that `rule` needs and its source bucket does not send.
pub async fn unsent(aws: &Aws, queues: &LaneQueues, rule: &Rule) -> Result<Vec<Gap>, AwsError> {
    let found = read(aws, rule).await?;
    let to_queues = found.queue_configurations().iter().filter_map(|found| {
        let entry = told(found.id(), found.events(), found.filter());
        Some((queues.lane(found.queue_arn())?, entry))
    });
    let by_topics = forwarded(&found, queues);
    let by_topics = by_topics
        .iter()
        .flat_map(|entry| [(Lane::Put, entry.clone()), (Lane::Delete, entry.clone())]);
    let to_us: Vec<(Lane, Entry)> = to_queues.chain(by_topics).collect();
    Ok(gaps(&entries(rule), &to_us))
}

/// Returns the entries that send to a topic which delivers to Tandem's queues.
fn forwarded(found: &GetBucketNotificationConfigurationOutput, queues: &LaneQueues) -> Vec<Entry> {
    let topics = found.topic_configurations().iter();
    topics
        .filter(|entry| queues.topic_arns.iter().any(|arn| arn == entry.topic_arn()))
        .map(|entry| told(entry.id(), entry.events(), entry.filter()))
        .collect()
}

async fn read(
    aws: &Aws,
    rule: &Rule,
) -> Result<GetBucketNotificationConfigurationOutput, AwsError> {
    aws.s3(&rule.source.region)
        .get_bucket_notification_configuration()
        .bucket(rule.source.name.as_str())
        .expected_bucket_owner(aws.account_id())
        .send()
        .await
        .map_err(|error| {
            AwsError::request(
                format!("reading the notifications of {}", rule.source.name),
                error,
            )
        })
}

/// Writes the configuration. A refusal contains the body of S3's answer.
async fn write(
    aws: &Aws,
    rule: &Rule,
    found: GetBucketNotificationConfigurationOutput,
    ours: Vec<QueueConfiguration>,
    destinations: Destinations,
) -> Result<(), (AwsError, String)> {
    let skips = destinations == Destinations::NotTriedOut;
    let theirs = found
        .queue_configurations
        .unwrap_or_default()
        .into_iter()
        .filter(|entry| !is_ours(entry, rule));
    let configuration = NotificationConfiguration::builder()
        .set_queue_configurations(Some(theirs.chain(ours).collect()))
        .set_topic_configurations(found.topic_configurations)
        .set_lambda_function_configurations(found.lambda_function_configurations)
        .set_event_bridge_configuration(found.event_bridge_configuration)
        .build();
    aws.s3(&rule.source.region)
        .put_bucket_notification_configuration()
        .bucket(rule.source.name.as_str())
        .expected_bucket_owner(aws.account_id())
        .notification_configuration(configuration)
        .set_skip_destination_validation(skips.then_some(true))
        .send()
        .await
        .map_err(|error| {
            let answer = error.raw_response();
            let body = answer.and_then(|answer| answer.body().bytes());
            let body = String::from_utf8_lossy(body.unwrap_or_default()).into_owned();
            let doing = format!("writing the notifications of {}", rule.source.name);
            (AwsError::request(doing, error), body)
        })?;
    Ok(())
}

fn is_ours(entry: &QueueConfiguration, rule: &Rule) -> bool {
    entry
        .id()
        .is_some_and(|id| id.starts_with(&entry_id_start(&rule.id)))
}

fn written(
    queue_arn: &str,
    entry: &Entry,
) -> Result<QueueConfiguration, aws_smithy_types::error::operation::BuildError> {
    let filter = (!entry.prefix.is_any()).then(|| {
        let rule = FilterRule::builder()
            .name(FilterRuleName::Prefix)
            .value(entry.prefix.as_written())
            .build();
        NotificationConfigurationFilter::builder()
            .key(S3KeyFilter::builder().filter_rules(rule).build())
            .build()
    });
    QueueConfiguration::builder()
        .id(&entry.id)
        .queue_arn(queue_arn)
        .set_events(Some(
            entry
                .events
                .iter()
                .map(|event| Event::from(event.as_str()))
                .collect(),
        ))
        .set_filter(filter)
        .build()
}

/// Returns all entries of the configuration that do not belong to the rule.
fn others(found: &GetBucketNotificationConfigurationOutput, rule: &Rule) -> Vec<OtherEntry> {
    let other = |arn: &str, id, events, filter| (arn.to_owned(), told(id, events, filter));
    let queues = found
        .queue_configurations()
        .iter()
        .filter(|it| !is_ours(it, rule))
        .map(|it| other(it.queue_arn(), it.id(), it.events(), it.filter()));
    let topics = found
        .topic_configurations()
        .iter()
        .map(|it| other(it.topic_arn(), it.id(), it.events(), it.filter()));
    let functions = found
        .lambda_function_configurations()
        .iter()
        .map(|it| other(it.lambda_function_arn(), it.id(), it.events(), it.filter()));
    queues.chain(topics).chain(functions).collect()
}

/// Returns an entry that S3 describes by these values.
fn told(
    id: Option<&str>,
    events: &[Event],
    filter: Option<&NotificationConfigurationFilter>,
) -> Entry {
    let rules = filter
        .and_then(|filter| filter.key())
        .map(S3KeyFilter::filter_rules)
        .unwrap_or_default();
    let value = |name: &str| {
        let rule = rules.iter().find(|rule| {
            rule.name()
                .is_some_and(|found| found.as_str().eq_ignore_ascii_case(name))
        });
        KeyFilter::read(rule.and_then(FilterRule::value).unwrap_or_default())
    };
    Entry {
        id: id.unwrap_or("(unnamed)").to_owned(),
        events: events
            .iter()
            .map(|event| event.as_str().to_owned())
            .collect(),
        prefix: value("prefix"),
        suffix: value("suffix"),
    }
}
