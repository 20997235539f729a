//! A source bucket's notification configuration: our entries in, our entries out, and never anybody
//! else's touched.
//!
//! A bucket has one configuration, which can only be read and written whole. The rule's claim on the
//! bucket keeps our own writers apart; a change that somebody else makes between our read and our write
//! is lost, as it would be between any two writers: S3 offers no condition on this request.

use aws_sdk_s3::operation::get_bucket_notification_configuration::GetBucketNotificationConfigurationOutput;
use aws_sdk_s3::types::{
    Event, FilterRule, FilterRuleName, NotificationConfiguration, NotificationConfigurationFilter,
    QueueConfiguration, S3KeyFilter,
};
use tandem_replication::rule::Rule;
use tandem_replication::subscription::{Entry, Gap, Lane, conflict, entries, entry_id_start, gaps};

use crate::bucket_lookup::{Found, look_up};
use crate::{Aws, AwsError};

/// The queues that S3 sends to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneQueues {
    /// Of puts.
    pub put_arn: String,
    /// Of deletes.
    pub delete_arn: String,
}

impl LaneQueues {
    fn arn(&self, lane: Lane) -> &str {
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

/// Why a rule's notifications could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Somebody else's entry wants the same events of the same keys.
    #[error("its notification {:?} ({} for prefix {:?}, suffix {:?}) overlaps with what the rule needs", .0.id, .0.events.join(", "), .0.prefix, .0.suffix)]
    Conflict(Entry),
    /// S3 failed or refused.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

/// Makes the source bucket's configuration hold exactly the entries that `rule` needs, besides everybody
/// else's. Repeat-safe.
pub async fn attach(aws: &Aws, queues: &LaneQueues, rule: &Rule) -> Result<(), AttachError> {
    let found = read(aws, rule).await?;
    let wanted = entries(rule);
    let others = others(&found, rule);
    if let Some(entry) = conflict(&wanted, &others) {
        return Err(AttachError::Conflict(entry.clone()));
    }
    let ours = wanted
        .iter()
        .map(|(lane, entry)| written(queues.arn(*lane), entry))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| AwsError::unexpected("writing a notification entry", error))?;
    write(aws, rule, found, ours).await?;
    Ok(())
}

/// Takes the entries of `rule` out of the source bucket's configuration. Repeat-safe; a bucket that is
/// gone, or somebody else's by now, has none.
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
        write(aws, rule, found, Vec::new()).await?;
    }
    Ok(())
}

/// What `rule` needs to be told, and its source bucket does not send.
pub async fn unsent(aws: &Aws, queues: &LaneQueues, rule: &Rule) -> Result<Vec<Gap>, AwsError> {
    let found = read(aws, rule).await?;
    let to_us: Vec<(Lane, Entry)> = found
        .queue_configurations()
        .iter()
        .filter_map(|found| {
            let entry = told(found.id(), found.events(), found.filter());
            Some((queues.lane(found.queue_arn())?, entry))
        })
        .collect();
    Ok(gaps(&entries(rule), &to_us))
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
                &error,
            )
        })
}

/// Where nothing of ours is added, S3 does not look whether everybody else's queues and functions are still there: one
/// that is gone keeps no rule from being deleted.
async fn write(
    aws: &Aws,
    rule: &Rule,
    found: GetBucketNotificationConfigurationOutput,
    ours: Vec<QueueConfiguration>,
) -> Result<(), AwsError> {
    let adds_nothing = ours.is_empty();
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
        .set_skip_destination_validation(adds_nothing.then_some(true))
        .send()
        .await
        .map_err(|error| {
            AwsError::request(
                format!("writing the notifications of {}", rule.source.name),
                &error,
            )
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
    let filter = (!entry.prefix.is_empty()).then(|| {
        let rule = FilterRule::builder()
            .name(FilterRuleName::Prefix)
            .value(&entry.prefix)
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

/// The entries of the configuration that are not the rule's own, whatever they send to.
fn others(found: &GetBucketNotificationConfigurationOutput, rule: &Rule) -> Vec<Entry> {
    let queues = found
        .queue_configurations()
        .iter()
        .filter(|other| !is_ours(other, rule));
    let queues = queues.map(|other| told(other.id(), other.events(), other.filter()));
    let topics = found
        .topic_configurations()
        .iter()
        .map(|other| told(other.id(), other.events(), other.filter()));
    let functions = found
        .lambda_function_configurations()
        .iter()
        .map(|other| told(other.id(), other.events(), other.filter()));
    queues.chain(topics).chain(functions).collect()
}

/// An entry, as S3 tells it.
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
        rule.and_then(FilterRule::value)
            .unwrap_or_default()
            .to_owned()
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
