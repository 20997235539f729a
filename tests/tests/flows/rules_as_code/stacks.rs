//! Whole stacks: the emulator's CloudFormation calls the deployed function and waits for its answers.

use std::time::Duration;

use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::error::DisplayErrorContext;
use aws_sdk_cloudformation::types::{Output, StackStatus};
use serde_json::{Value, json};
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::{Cloud, unique};
use tandem_tests::eventually::{SOON, eventually};

/// A stack that the test creates.
pub struct TestStack {
    client: Client,
    pub name: String,
}

impl TestStack {
    pub fn new(cloud: &Cloud, name: String) -> Self {
        Self {
            client: Client::new(&cloud.config),
            name,
        }
    }

    pub async fn create(&self, template: &Value) {
        let request = self.client.create_stack().stack_name(&self.name);
        request
            .template_body(template.to_string())
            .send()
            .await
            .unwrap_or_else(|error| panic!("{}", DisplayErrorContext(error)));
    }

    async fn update(&self, template: &Value) {
        let request = self.client.update_stack().stack_name(&self.name);
        request
            .template_body(template.to_string())
            .send()
            .await
            .unwrap_or_else(|error| panic!("{}", DisplayErrorContext(error)));
    }

    pub async fn delete(&self) {
        let request = self.client.delete_stack().stack_name(&self.name);
        request.send().await.expect("a stack is deleted");
    }

    async fn stack(&self) -> Option<(StackStatus, Vec<Output>)> {
        let request = self.client.describe_stacks().stack_name(&self.name);
        // For a stack that does not exist, CloudFormation answers a validation error.
        let mut stacks = request.send().await.ok()?.stacks?;
        let stack = stacks.pop()?;
        Some((stack.stack_status?, stack.outputs.unwrap_or_default()))
    }

    /// Waits until the stack has this status. Returns its outputs.
    pub async fn comes_to(&self, wanted: &StackStatus) -> Vec<Output> {
        let what = format!("{} comes to {wanted}", self.name);
        eventually(&what, SOON, async || match self.stack().await {
            Some((status, outputs)) if status == *wanted => Ok(outputs),
            None if *wanted == StackStatus::DeleteComplete => Ok(Vec::new()),
            found => Err(format!(
                "{:?}; {}",
                found.map(|(status, _)| status),
                self.reasons().await
            )),
        })
        .await
    }

    /// The reasons in the stack's events.
    pub async fn reasons(&self) -> String {
        let request = self.client.describe_stack_events().stack_name(&self.name);
        let Ok(answer) = request.send().await else {
            return String::new();
        };
        let events = answer.stack_events.unwrap_or_default();
        let reasons = events
            .iter()
            .filter_map(|event| event.resource_status_reason());
        reasons.collect::<Vec<_>>().join("\n")
    }
}

/// A template with a rule, which finds the function by the export of Tandem's stack.
fn template(cloud: &Cloud, buckets: &Buckets, more: &Value) -> Value {
    let mut properties = json!({
        "ServiceToken": {"Fn::ImportValue": format!("{}-configure-rule", cloud.stack)},
        "ServiceTimeout": 100,
        "Source": buckets.source.name,
        "Destination": buckets.destination.name,
    });
    let more = more.as_object().cloned().unwrap_or_default();
    properties.as_object_mut().expect("an object").extend(more);
    json!({
        "Resources": {"Replication": {"Type": "Custom::ReplicationRule", "Properties": properties}},
        "Outputs": {
            "Rule": {"Value": {"Ref": "Replication"}},
            "There": {"Value": {"Fn::GetAtt": ["Replication", "DestinationRegion"]}},
        },
    })
}

fn output(outputs: &[Output], name: &str) -> String {
    let output = outputs
        .iter()
        .find(|output| output.output_key() == Some(name));
    output
        .and_then(Output::output_value)
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn a_stack_makes_changes_replaces_and_deletes_a_rule() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let stack = TestStack::new(&cloud, unique("stack"));
    buckets.source.put("before", "the rule").await;
    stack
        .create(&template(&cloud, &buckets, &json!({"Historical": true})))
        .await;
    let outputs = stack.comes_to(&StackStatus::CreateComplete).await;
    let first = output(&outputs, "Rule");
    assert_eq!(output(&outputs, "There"), "us-west-2");
    buckets.source.put("after", "the rule").await;
    buckets.become_equal("", SOON).await;

    stack
        .update(&template(
            &cloud,
            &buckets,
            &json!({"Policy": "write", "Options": {"Tags": false}}),
        ))
        .await;
    let outputs = stack.comes_to(&StackStatus::UpdateComplete).await;
    assert_eq!(output(&outputs, "Rule"), first);
    let rule = cloud
        .configure(json!({"action": "get", "rule": first}))
        .await;
    let rule = rule.expect("a rule")["rule"].take();
    assert_eq!(
        (&rule["policy"], &rule["options"]["tags"]),
        (&json!("write"), &json!(false))
    );

    let others = Buckets::new(&cloud, false).await;
    stack.update(&template(&cloud, &others, &json!({}))).await;
    eventually("another pair is another rule, alone", SOON, async || {
        let counts = (
            super::counts(&cloud, &buckets).await,
            super::counts(&cloud, &others).await,
        );
        if counts == ((0, 0), (1, 2)) {
            Ok(())
        } else {
            Err(format!("{counts:?}"))
        }
    })
    .await;
    let outputs = stack.comes_to(&StackStatus::UpdateComplete).await;
    assert_ne!(output(&outputs, "Rule"), first);

    stack.delete().await;
    stack.comes_to(&StackStatus::DeleteComplete).await;
    assert_eq!(super::counts(&cloud, &others).await, (0, 0));
}

// Promise: CloudFormation is answered whatever it sends, and what is refused leaves nothing; neither does a
// creation whose backfill cannot be requested.
#[tokio::test]
async fn a_stack_with_a_wrong_property_fails_with_the_reason_and_leaves_nothing() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let stack = TestStack::new(&cloud, unique("stack"));
    stack
        .create(&template(&cloud, &buckets, &json!({"Policy": "fool"})))
        .await;
    stack.comes_to(&StackStatus::RollbackComplete).await;
    let reasons = stack.reasons().await;
    assert!(
        reasons.contains("Policy = \"fool\": is not known; use \"full\""),
        "{reasons}"
    );
    assert_eq!(super::counts(&cloud, &buckets).await, (0, 0));
}

#[tokio::test]
async fn a_refused_update_is_rolled_back_to_the_previous_rule() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let stack = TestStack::new(&cloud, unique("stack"));
    stack
        .create(&template(&cloud, &buckets, &json!({"Prefixes": ["in/"]})))
        .await;
    let first = output(&stack.comes_to(&StackStatus::CreateComplete).await, "Rule");
    let elsewhere = Buckets::new(&cloud, false).await;
    let moved = json!({"Destination": elsewhere.destination.name});
    stack.update(&template(&cloud, &buckets, &moved)).await;
    stack.comes_to(&StackStatus::UpdateRollbackComplete).await;
    let reasons = stack.reasons().await;
    assert!(reasons.contains("is this resource's own rule"), "{reasons}");
    let rule = cloud
        .configure(json!({"action": "get", "rule": first}))
        .await;
    let rule = rule.expect("the rule")["rule"].take();
    assert_eq!(rule["scope"], json!({"prefixes": ["in/"]}));
    assert_eq!(rule["state"], "enabled");
    assert_eq!(super::counts(&cloud, &buckets).await, (1, 2));
    buckets.source.put("in/still", "replicated").await;
    buckets.arrive("in/still", Duration::from_mins(1)).await;
}
