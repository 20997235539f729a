//! Failures told to whoever listens: events on the account's default event bus.

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use tandem_replication::names::Region;
use tandem_replication::rule::Rule;

use crate::failures::FailureRecord;
use crate::{Aws, AwsError};

/// The `source` of Tandem's events.
pub const EVENT_SOURCE: &str = "tandem";
/// The `detail-type` of a failure.
pub const OBJECT_FAILED: &str = "Object Replication Failed";

/// The account's default event bus.
#[derive(Debug, Clone)]
pub struct EventBus {
    client: Client,
    partition: &'static str,
}

impl EventBus {
    /// The event bus of this account and region.
    pub fn new(aws: &Aws) -> Self {
        Self {
            client: Client::new(aws.config()),
            partition: partition(aws.region()),
        }
    }

    /// Tells that an object of `rule` has failed. The event's detail is the failure record; its resources
    /// are the two buckets. May be told twice.
    pub async fn tell_failure(&self, rule: &Rule, failure: &FailureRecord) -> Result<(), AwsError> {
        let doing = || format!("telling the failure of {:?}", failure.key().as_str());
        let detail =
            serde_json::to_string(failure).map_err(|error| AwsError::unexpected(doing(), error))?;
        let bucket_arn = |bucket: &str| format!("arn:{}:s3:::{bucket}", self.partition);
        let entry = PutEventsRequestEntry::builder()
            .source(EVENT_SOURCE)
            .detail_type(OBJECT_FAILED)
            .detail(detail)
            .resources(bucket_arn(rule.source.name.as_str()))
            .resources(bucket_arn(rule.destination.name.as_str()))
            .build();
        let answer = self
            .client
            .put_events()
            .entries(entry)
            .send()
            .await
            .map_err(|error| AwsError::request(doing(), &error))?;
        match answer.entries().iter().find_map(|entry| entry.error_code()) {
            None => Ok(()),
            Some(code) => Err(AwsError {
                code: Some(code.to_owned()),
                ..AwsError::unexpected(doing(), code)
            }),
        }
    }
}

/// The group of regions that a region's ARNs name ("Amazon Resource Names", IAM user guide).
fn partition(region: &Region) -> &'static str {
    match region.as_str() {
        name if name.starts_with("cn-") => "aws-cn",
        name if name.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}
