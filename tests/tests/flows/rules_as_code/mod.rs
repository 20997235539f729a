//! Rules as code: the rules that CloudFormation and Terraform request exist once, and no others do. Every failure is
//! answered with its reason.

mod end_of_stack;
mod events;
pub mod stacks;
mod terraform;

use serde_json::{Value, json};
use tandem_tests::answers::Answers;
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::{Cloud, unique};

/// A resource of a stack that exists only in the test, for a pair of buckets.
struct Declared {
    cloud: Cloud,
    buckets: Buckets,
    answers: Answers,
    stack_id: String,
}

impl Declared {
    async fn new() -> Self {
        let cloud = Cloud::connect().await;
        let stack = unique("stack");
        Self {
            buckets: Buckets::new(&cloud, false).await,
            answers: Answers::start().await,
            stack_id: format!("arn:aws:cloudformation:us-east-1:000000000000:stack/{stack}/0197"),
            cloud,
        }
    }

    fn properties(&self, more: &Value) -> Value {
        let mut properties = json!({
            "ServiceToken": "arn:aws:lambda:us-east-1:000000000000:function:tandem-configure-rule",
            "Source": self.buckets.source.name,
            "Destination": self.buckets.destination.name,
        });
        let more = more.as_object().cloned().unwrap_or_default();
        properties.as_object_mut().expect("an object").extend(more);
        properties
    }

    /// An event as CloudFormation sends it.
    fn event(&self, request_type: &str, more: &Value) -> Value {
        json!({
            "RequestType": request_type,
            "RequestId": unique("request"),
            "ResponseURL": self.answers.url(),
            "StackId": self.stack_id,
            "LogicalResourceId": "Replication",
            "ResourceType": "Custom::ReplicationRule",
            "ResourceProperties": self.properties(more),
        })
    }

    /// Sends an event. Returns the answer that the function put for CloudFormation.
    async fn send(&self, event: &Value) -> Value {
        let before = self.answers.put().len();
        self.cloud
            .configure(event.clone())
            .await
            .unwrap_or_else(|error| panic!("{event}: {error:?}"));
        let put = self.answers.put();
        assert_eq!(put.len(), before + 1, "{event} is answered once");
        put[before].document.clone()
    }

    async fn succeeds(&self, event: &Value) -> Value {
        let answer = self.send(event).await;
        assert_eq!(answer["Status"], "SUCCESS", "{event}: {answer}");
        answer
    }

    async fn fails(&self, event: &Value) -> String {
        let answer = self.send(event).await;
        assert_eq!(answer["Status"], "FAILED", "{event}: {answer}");
        answer["Reason"].as_str().expect("a reason").to_owned()
    }

    /// Returns the rule of this id, and panics if it does not exist.
    async fn rule(&self, id: &Value) -> Value {
        let get = json!({"action": "get", "rule": id});
        let mut answer = self.cloud.configure(get).await.expect("a rule");
        answer["rule"].take()
    }

    /// The number of rules of these buckets, and the number of the source's notifications.
    async fn counts(&self) -> (usize, usize) {
        counts(&self.cloud, &self.buckets).await
    }
}

/// The number of rules that name the source bucket, and the number of its notifications.
async fn counts(cloud: &Cloud, buckets: &Buckets) -> (usize, usize) {
    let answer = cloud.configure(json!({"action": "list"})).await;
    let rules = answer.expect("rules")["rules"].take();
    let rules = rules.as_array().expect("a list").iter();
    let ours = rules.filter(|rule| rule["source"]["bucket"] == buckets.source.name.as_str());
    let found = buckets.source.notifications().await;
    (ours.count(), found.queue_configurations().len())
}
