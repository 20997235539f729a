//! One function behind a proxy, and a rule that gets its events only from the test.

use serde_json::{Value, json};
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::Cloud;
use tandem_tests::function_process::{FunctionProcess, Start};
use tandem_tests::notification;
use tandem_tests::proxy::{Proxy, Seen};

pub struct Stage {
    pub cloud: Cloud,
    pub buckets: Buckets,
    pub rule: String,
    pub proxy: Proxy,
    pub function: FunctionProcess,
    pub queue_arn: String,
}

impl Stage {
    /// Makes a rule that gets its events only from the test, and starts the function of this name behind a proxy.
    pub async fn new(name: &str) -> Self {
        let cloud = Cloud::connect().await;
        let buckets = Buckets::new(&cloud, false).await;
        Self::between(cloud, buckets, name, json!({})).await
    }

    /// Does the same for a rule between these buckets, with these fields.
    pub async fn between(cloud: Cloud, buckets: Buckets, name: &str, fields: Value) -> Self {
        let rule = cloud.quiet_rule(&buckets, fields).await;
        let proxy = Proxy::start(&cloud.endpoint).await;
        let function = Start::of(&cloud, name).await.through(&proxy).start().await;
        let queue = name.trim_start_matches("replicate-");
        Self {
            queue_arn: format!("arn:aws:sqs:us-east-1:000000000000:{}-{queue}", cloud.stack),
            cloud,
            buckets,
            rule,
            proxy,
            function,
        }
    }

    /// A batch of messages that are delivered for the first time.
    pub fn batch(&self, notifications: &[Value]) -> Value {
        self.batch_received(1, notifications)
    }

    /// A batch of messages with this receive count.
    pub fn batch_received(&self, receives: u32, notifications: &[Value]) -> Value {
        let bodies: Vec<String> = notifications.iter().map(Value::to_string).collect();
        notification::batch_received(receives, &self.queue_arn, &bodies)
    }

    /// Hands one message to the function. Returns whether it is acknowledged.
    pub async fn acknowledged(&self, notification: Value) -> bool {
        let answer = self.function.invoke(self.batch(&[notification])).await;
        notification::kept(&answer.expect("a batch is answered")).is_empty()
    }

    /// Hands one message to the function for the second time. Returns whether it is acknowledged.
    pub async fn acknowledged_again(&self, notification: Value) -> bool {
        let again = self.batch_received(2, &[notification]);
        let answer = self.function.invoke(again).await;
        notification::kept(&answer.expect("a batch is answered")).is_empty()
    }

    /// Puts an object. Returns its notification.
    pub async fn put(&self, key: &str, body: &str) -> Value {
        let etag = self.buckets.source.put(key, body).await;
        notification::put(&self.buckets.source, key, &etag, body.len())
    }

    /// Puts a replica whose source does not exist. Returns the notification of the source's delete.
    pub async fn deleted(&self, key: &str) -> Value {
        self.buckets.destination.put(key, "to be deleted").await;
        notification::delete(&self.buckets.source, key)
    }

    /// Matches HEADs of the source.
    pub fn heads_of_the_source(&self) -> impl Fn(&Seen) -> bool + Send + Sync + 'static {
        let name = self.buckets.source.name.clone();
        move |seen| seen.is("HeadObject") && seen.bucket == name
    }

    /// The number of the rule's failed objects.
    pub async fn failures(&self) -> u64 {
        self.cloud.progress(&self.rule).await["failures"]
            .as_u64()
            .expect("a count")
    }
}

/// Matches copies.
pub fn copies(seen: &Seen) -> bool {
    seen.is("CopyObject")
}
