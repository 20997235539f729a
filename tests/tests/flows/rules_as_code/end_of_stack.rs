//! The end of Tandem's own stack, and of a resource of it: only the end of the whole stack detaches the notifications.

use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::error::DisplayErrorContext;
use aws_sdk_cloudformation::types::{Capability, Parameter, StackStatus};
use aws_sdk_s3::types::{Event, NotificationConfiguration, QueueConfiguration};
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use tandem_tests::bucket::Bucket;
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::{Cloud, EAST, unique};

use super::Declared;
use super::stacks::TestStack;

/// A second stack of Tandem from the template of the deployed one. The test may delete it.
async fn deployed_again(cloud: &Cloud) -> (Cloud, TestStack) {
    let client = Client::new(&cloud.config);
    let template = client.get_template().stack_name(&cloud.stack).send().await;
    let template = template.expect("a template").template_body.expect("a body");
    let stacks = client
        .describe_stacks()
        .stack_name(&cloud.stack)
        .send()
        .await;
    let mut stacks = stacks.expect("a stack").stacks.unwrap_or_default();
    let parameters = stacks.pop().expect("a stack").parameters;
    let others = parameters
        .unwrap_or_default()
        .into_iter()
        .filter(|parameter| parameter.parameter_key() != Some("DeletionProtection"));
    let protection = Parameter::builder()
        .parameter_key("DeletionProtection")
        .parameter_value("off")
        .build();
    let stack = TestStack::new(cloud, unique("tandem"));
    // The template is too large for a request, which takes 51,200 bytes.
    let templates = Bucket::create(cloud, EAST, unique("templates"), false).await;
    let template = without_parameters_in_scaling(&template);
    templates.put("template", template).await;
    client
        .create_stack()
        .stack_name(&stack.name)
        .template_url(format!("{}/{}/template", cloud.endpoint, templates.name))
        .set_parameters(Some(others.chain([protection]).collect()))
        .capabilities(Capability::CapabilityIam)
        .capabilities(Capability::CapabilityAutoExpand)
        .send()
        .await
        .unwrap_or_else(|error| panic!("{}", DisplayErrorContext(error)));
    stack.comes_to(&StackStatus::CreateComplete).await;
    let cloud = Cloud {
        stack: stack.name.clone(),
        ..cloud.clone()
    };
    (cloud, stack)
}

/// The template without parameters in scaling configurations, because they break the emulator's poller for all stacks.
fn without_parameters_in_scaling(template: &str) -> String {
    let mut template: Value = serde_json::from_str(template).expect("a template in JSON");
    let queues = set_scaling(&mut template);
    assert!(queues > 0, "no queue feeds a function");
    template.to_string()
}

/// Sets the concurrency in every scaling configuration. Returns their number.
fn set_scaling(template: &mut Value) -> usize {
    match template {
        Value::Object(fields) => fields
            .iter_mut()
            .map(|(name, value)| {
                if name == "ScalingConfig" {
                    *value = json!({"MaximumConcurrency": 2});
                    1
                } else {
                    set_scaling(value)
                }
            })
            .sum(),
        Value::Array(elements) => elements.iter_mut().map(set_scaling).sum(),
        _ => 0,
    }
}

/// Another writer's entry, which exists before the rules.
async fn theirs(cloud: &Cloud) -> QueueConfiguration {
    let url = cloud.own_queue().await;
    let arn = cloud.queue_arn(&url).await;
    let policy = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": arn},
    ]});
    let set = cloud.sqs.set_queue_attributes().queue_url(&url);
    let set = set.attributes(QueueAttributeName::Policy, policy.to_string());
    set.send().await.expect("a queue policy");
    let entry = QueueConfiguration::builder().id("theirs").queue_arn(arn);
    let entry = entry.events(Event::from("s3:ReducedRedundancyLostObject"));
    entry.build().expect("an entry")
}

// Promise: Deleting Tandem's stack leaves the buckets' notifications as they were, and taking back an update of
// it detaches nothing.
#[tokio::test]
async fn deleting_the_stack_restores_the_buckets_notifications() {
    let first = Cloud::connect().await;
    let (cloud, stack) = deployed_again(&first).await;
    let pairs = [
        Buckets::new(&cloud, false).await,
        Buckets::new(&cloud, false).await,
    ];
    let theirs = theirs(&cloud).await;
    let before = NotificationConfiguration::builder().queue_configurations(theirs.clone());
    pairs[0].source.set_notifications(before.build()).await;
    for pair in &pairs {
        cloud.rule(pair, json!({})).await;
    }
    cloud.change("pause", &pairs[1].source.name).await;
    assert_eq!(super::counts(&cloud, &pairs[0]).await, (1, 3));

    stack.delete().await;
    stack.comes_to(&StackStatus::DeleteComplete).await;
    let left = pairs[0].source.notifications().await.queue_configurations;
    assert_eq!(left.unwrap_or_default(), [theirs]);
    assert!(
        pairs[1]
            .source
            .notifications()
            .await
            .queue_configurations()
            .is_empty()
    );
}

// Promise: Deleting Tandem's stack leaves the buckets' notifications as they were, and taking back an update of
// it detaches nothing.
#[tokio::test]
async fn deleting_the_resource_without_its_stack_detaches_nothing() {
    let declared = Declared::new().await;
    declared.cloud.rule(&declared.buckets, json!({})).await;
    let client = Client::new(&declared.cloud.config);
    let stacks = client
        .describe_stacks()
        .stack_name(&declared.cloud.stack)
        .send()
        .await;
    let stacks = stacks.expect("a stack").stacks.unwrap_or_default();
    let own = stacks[0].stack_id().expect("an id").to_owned();
    let event = |request_type: &str, stack_id: &str| {
        let mut event = declared.event(request_type, &json!({}));
        event["ResourceType"] = json!("Custom::DetachAll");
        event["StackId"] = json!(stack_id);
        event
    };
    // An update that is rolled back, and a resource in another stack.
    for (request_type, stack_id) in [
        ("Create", own.as_str()),
        ("Update", &own),
        ("Delete", &own),
        ("Delete", &declared.stack_id),
    ] {
        let answer = declared.succeeds(&event(request_type, stack_id)).await;
        assert_ne!(answer["PhysicalResourceId"], Value::Null);
    }
    assert_eq!(declared.counts().await, (1, 2));
    let rule = declared.rule(&json!(declared.buckets.source.name)).await;
    assert_eq!(rule["state"], "enabled");
}
