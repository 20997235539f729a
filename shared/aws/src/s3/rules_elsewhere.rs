//! Finds rules of other stacks that replicate from a bucket, as far as AWS shows them. A stack knows only its own
//! rules. A bucket that is a destination of this stack and a source of another may belong to a circle of rules.

use aws_sdk_eventbridge::types::Rule as EventRule;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::region::Region as SdkRegion;
use tandem_replication::rule::Bucket;
use tandem_replication::subscription::rule_of_entry;

use crate::Aws;
use crate::eventbridge::event_rules::description_start;
use crate::s3::notifications::LaneQueues;

/// Returns a short description of what shows that another stack replicates from `bucket`: an entry of its notification
/// configuration, or an EventBridge rule in its region. EventBridge rules are visible only in the stack's own account.
/// If Tandem has no permission to read one of them, the result is `None`.
pub async fn shown_as_source(
    aws: &Aws,
    own: &LaneQueues,
    bucket: &Bucket,
    owner: &str,
) -> Option<String> {
    let answer = aws
        .s3(&bucket.region)
        .get_bucket_notification_configuration()
        .bucket(bucket.name.as_str())
        .expected_bucket_owner(owner)
        .send()
        .await;
    let found = answer
        .inspect_err(|error| unknown(bucket, error.code()))
        .ok()?;
    let entry = found.queue_configurations().iter().find(|entry| {
        let is_tandems = entry.id().and_then(rule_of_entry).is_some();
        is_tandems && ![own.put_arn.as_str(), &own.delete_arn].contains(&entry.queue_arn())
    });
    if let Some(entry) = entry {
        let id = entry.id().unwrap_or_default();
        let queue = entry.queue_arn();
        return Some(format!("its notification {id:?} to {queue}"));
    }
    if found.event_bridge_configuration().is_none() || owner != aws.account_id() {
        return None;
    }
    event_rule(aws, bucket).await
}

async fn event_rule(aws: &Aws, bucket: &Bucket) -> Option<String> {
    let region = SdkRegion::new(bucket.region.as_str().to_owned());
    let config = aws_sdk_eventbridge::config::Builder::from(aws.config()).region(region);
    let client = aws_sdk_eventbridge::Client::from_conf(config.build());
    let mut next = None;
    loop {
        let answer = client.list_rules().set_next_token(next).send().await;
        let answer = answer
            .inspect_err(|error| unknown(bucket, error.code()))
            .ok()?;
        let start = description_start(&bucket.name);
        let is_from = |rule: &&EventRule| {
            let description = rule.description().unwrap_or_default();
            description.starts_with(&start)
        };
        if let Some(rule) = answer.rules().iter().find(is_from) {
            let name = rule.name().unwrap_or_default();
            return Some(format!("the EventBridge rule {name} of {}", bucket.region));
        }
        next = answer.next_token;
        next.as_ref()?;
    }
}

fn unknown(bucket: &Bucket, code: Option<&str>) {
    tracing::info!(
        bucket = bucket.name.as_str(),
        code,
        "cannot determine whether another stack replicates from the destination"
    );
}
