//! Rules: creation, changes, deletion, answers about them, and refusals.

mod life;
mod notifications;
mod races;
mod refusals;
mod shown;

use serde_json::Value;
use tandem_tests::bucket::Bucket;
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::{Cloud, unique};

/// Requests a rule that has to be refused with this code. The message has to name the field and the value and say
/// what to do. Nothing may be left behind.
async fn refused(cloud: &Cloud, buckets: &Buckets, fields: Value, code: &str, said: [&str; 3]) {
    let items = cloud.items_with(&buckets.source.name).await.len();
    let notifications = buckets.source.notifications().await;
    let error = cloud
        .create(buckets, fields.clone())
        .await
        .expect_err("a refusal");
    assert_eq!(error.code, code, "{fields}: {}", error.message);
    let [field, value, remedy] = said;
    assert!(
        error.message.starts_with(&format!("{field} = ")),
        "{}",
        error.message
    );
    assert!(
        error.message.contains(value),
        "{value:?} is not named: {}",
        error.message
    );
    assert!(
        error.message.contains(remedy),
        "{remedy:?} is not said: {}",
        error.message
    );
    assert_eq!(
        cloud.items_with(&buckets.source.name).await.len(),
        items,
        "{fields}"
    );
    assert_eq!(
        buckets.source.notifications().await.queue_configurations,
        notifications.queue_configurations,
        "{fields}"
    );
}

async fn bucket_in(cloud: &Cloud, region: &'static str) -> Bucket {
    Bucket::create(cloud, region, unique("bucket"), false).await
}

/// The rule's entries, in order: queue, event and prefix of each.
async fn entries(buckets: &Buckets, rule: &str) -> Vec<(String, String, String)> {
    let found = buckets
        .source
        .notifications()
        .await
        .queue_configurations
        .unwrap_or_default();
    let mut entries: Vec<(String, String, String)> = found
        .iter()
        .filter(|entry| entry.id().is_some_and(|id| id.contains(rule)))
        .map(|entry| {
            let filter = entry.filter().and_then(|filter| filter.key());
            let prefix = filter
                .and_then(|filter| filter.filter_rules().first()?.value())
                .unwrap_or_default();
            let queue = entry.queue_arn().rsplit('-').next().unwrap_or_default();
            (
                queue.to_owned(),
                entry.events()[0].as_str().to_owned(),
                prefix.to_owned(),
            )
        })
        .collect();
    entries.sort();
    entries
}
