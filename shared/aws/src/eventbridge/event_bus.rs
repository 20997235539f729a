//! Publishes failures and broken rules as events on the account's default event bus.

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use serde::Serialize;
use tandem_replication::names::Region;
use tandem_replication::rule::Rule;

use crate::dynamodb::failures::FailureRecord;
use crate::{Aws, AwsError};

/// The `source` of Tandem's events.
pub const EVENT_SOURCE: &str = "tandem";
/// The `detail-type` of a failure.
pub const OBJECT_FAILED: &str = "Object Replication Failed";
/// The `detail-type` of a rule that a check found broken.
pub const RULE_BROKEN: &str = "Replication Rule Broken";

/// The account's default event bus.
#[derive(Debug, Clone)]
pub struct EventBus {
    client: Client,
    partition: &'static str,
}

impl EventBus {
    /// Returns the event bus of this account and region.
    pub fn new(aws: &Aws) -> Self {
        Self {
            client: Client::new(aws.config()),
            partition: partition(aws.region()),
        }
    }

    /// Publishes that an object of `rule` has failed. The event's detail is the failure record. Its resources
    /// are the two buckets. An event may be published twice.
    pub async fn tell_failure(&self, rule: &Rule, failure: &FailureRecord) -> Result<(), AwsError> {
        let doing = format!("publishing the failure of {:?}", failure.key().as_str());
        self.tell(rule, OBJECT_FAILED, failure, doing).await
    }

    /// Publishes that `rule` is broken. `finding`, the event's detail, lists its problems. The resources are the two
    /// buckets. An event may be published twice.
    pub async fn tell_broken(&self, rule: &Rule, finding: &impl Serialize) -> Result<(), AwsError> {
        let doing = format!("publishing that {} is broken", rule.id);
        self.tell(rule, RULE_BROKEN, finding, doing).await
    }

    async fn tell(
        &self,
        rule: &Rule,
        detail_type: &str,
        detail: &impl Serialize,
        doing: String,
    ) -> Result<(), AwsError> {
        let detail = serde_json::to_string(detail)
            .map_err(|error| AwsError::unexpected(doing.as_str(), error))?;
        let bucket_arn = |bucket: &str| format!("arn:{}:s3:::{bucket}", self.partition);
        let entry = PutEventsRequestEntry::builder()
            .source(EVENT_SOURCE)
            .detail_type(detail_type)
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
            .map_err(|error| AwsError::request(doing.as_str(), error))?;
        match answer.entries().iter().find_map(|entry| entry.error_code()) {
            None => Ok(()),
            Some(code) => {
                let known = Some(code.to_owned());
                Err(AwsError::answered(doing, code, known, None))
            }
        }
    }
}

/// Returns the partition that ARNs of a region name ("Amazon Resource Names", IAM user guide).
fn partition(region: &Region) -> &'static str {
    match region.as_str() {
        name if name.starts_with("cn-") => "aws-cn",
        name if name.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}
