//! Limits of AWS that the local cloud enforces as AWS does, and how the functions handle them.

use std::time::Duration;

use aws_sdk_lambda::types::RecursiveLoop;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{
    MessageSystemAttributeName, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
    QueueAttributeName,
};
use serde_json::json;
use tandem_tests::bucket::{Bucket, Object};
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::{Cloud, EAST, WEST, unique};
use tandem_tests::eventually::{SOON, eventually};
use tandem_tests::function_process::{Start, TRACE};
use tandem_tests::proxy::{Action, Proxy, Seen};
use tandem_tests::{limits, notification, template};

// ---- Recursive loops -----------------------------------------------------------------------------

/// The SDK sends the trace header of the invocation with every request, and SQS stores it with the message. So Lambda
/// knows that the message belongs to the invocation's chain of events.
#[tokio::test]
async fn a_message_sent_by_a_function_continues_the_chain_of_its_event() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    cloud.quiet_rule(&buckets, json!({})).await;
    let queue = cloud.own_queue().await;
    let function = Start::of(&cloud, "replicate-put")
        .await
        .variable("TANDEM_WORK_QUEUE_URL", &queue)
        .variable("TANDEM_LIVE_BYTES_MAX", "1")
        .start()
        .await;
    let etag = buckets.source.put("large", "large").await;
    let put = notification::put(&buckets.source, "large", &etag, 5);
    let answer = function.invoke(put).await.expect("an answer");
    assert_eq!(answer["objects"][0]["outcome"], "HandedOver", "{answer}");
    let received = cloud
        .sqs
        .receive_message()
        .queue_url(&queue)
        .message_system_attribute_names(MessageSystemAttributeName::AwsTraceHeader)
        .send()
        .await
        .expect("messages");
    let attributes = received.messages()[0].attributes().expect("attributes");
    assert_eq!(
        attributes[&MessageSystemAttributeName::AwsTraceHeader],
        TRACE
    );
}

#[tokio::test]
async fn lambda_stops_the_17th_invocation_of_a_chain_and_the_message_becomes_a_dead_letter() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    cloud.quiet_rule(&buckets, json!({})).await;
    let (queue, dead) = queue_with_dead_letters(&cloud).await;
    let function = format!("{}-replicate-put", cloud.stack);
    let mapping = cloud
        .lambda
        .create_event_source_mapping()
        .event_source_arn(cloud.queue_arn(&queue).await)
        .function_name(&function)
        .batch_size(1)
        .send()
        .await
        .expect("a mapping");
    for (key, invocations) in [("16th", 15), ("17th", 16)] {
        let etag = buckets.source.put(key, key).await;
        let put = notification::put(&buckets.source, key, &etag, key.len());
        let header = chain(&function, invocations);
        send_in_chain(&cloud, &queue, &put.to_string(), &header).await;
    }
    let letter = eventually("a dead letter", SOON, async || {
        let letters = cloud.drain(&dead).await;
        letters.into_iter().next().ok_or_else(|| "none".to_owned())
    })
    .await;
    assert!(letter.contains("17th"), "{letter}");
    assert_eq!(
        buckets.destination.bytes("16th").await,
        Some(b"16th".to_vec())
    );
    assert_eq!(buckets.destination.bytes("17th").await, None);
    let uuid = mapping.uuid.expect("an id");
    let deleted = cloud.lambda.delete_event_source_mapping().uuid(uuid).send();
    deleted.await.expect("the mapping is deleted");
}

#[tokio::test]
async fn the_template_allows_its_functions_to_recurse() {
    let cloud = Cloud::connect().await;
    let template = template::read();
    for (id, function) in template::of_type(&template, "AWS::Serverless::Function") {
        let properties = &function["Properties"];
        let name = properties["FunctionName"].as_str().expect("a name");
        let wanted = properties["RecursiveLoop"].as_str().unwrap_or("Terminate");
        let found = cloud
            .lambda
            .get_function_recursion_config()
            .function_name(name.replace("${AWS::StackName}", &cloud.stack))
            .send()
            .await
            .unwrap_or_else(|error| panic!("{id}: {error:?}"));
        assert_eq!(found.recursive_loop, Some(RecursiveLoop::from(wanted)));
    }
}

/// A queue from which a message becomes a dead letter after one receive, and its dead-letter queue.
async fn queue_with_dead_letters(cloud: &Cloud) -> (String, String) {
    let (queue, dead) = (cloud.own_queue().await, cloud.own_queue().await);
    let target = cloud.queue_arn(&dead).await;
    let policy = json!({"deadLetterTargetArn": target, "maxReceiveCount": "1"}).to_string();
    cloud
        .sqs
        .set_queue_attributes()
        .queue_url(&queue)
        .attributes(QueueAttributeName::RedrivePolicy, policy)
        .send()
        .await
        .expect("a redrive policy");
    (queue, dead)
}

/// The trace header of a chain in which the function was invoked this often, in the local cloud's format.
fn chain(function: &str, invocations: u32) -> String {
    let mut arn = flate2::Crc::new();
    arn.update(format!("arn:aws:lambda:{EAST}:000000000000:function:{function}").as_bytes());
    let count = invocations - 1;
    format!(
        "Root=1-5759e988-bd862e3fe1be46a994272793;Lineage=1:{:08x}:{count}",
        arn.sum()
    )
}

async fn send_in_chain(cloud: &Cloud, queue: &str, body: &str, header: &str) {
    let attribute = MessageSystemAttributeValue::builder()
        .data_type("String")
        .string_value(header)
        .build()
        .expect("an attribute");
    let name = MessageSystemAttributeNameForSends::AwsTraceHeader;
    let send = cloud.sqs.send_message().queue_url(queue).message_body(body);
    let send = send.message_system_attributes(name, attribute);
    send.send().await.expect("a message is sent");
}

// ---- Queues and buckets --------------------------------------------------------------------------

#[tokio::test]
async fn sqs_hands_out_no_more_messages_than_may_be_in_flight() {
    let cloud = Cloud::connect().await;
    let queue = cloud.own_queue().await;
    let name = queue.rsplit('/').next().expect("a name");
    limits::set(&cloud, "in_flight_messages", name, 2).await;
    for number in 0..3 {
        cloud.send(&queue, &number.to_string()).await;
    }
    let receive = || {
        let receive = cloud.sqs.receive_message().queue_url(&queue);
        receive.max_number_of_messages(10)
    };
    let received = receive().send().await.expect("messages");
    assert_eq!(received.messages().len(), 2);
    let refused = receive().send().await.expect_err("a refusal");
    assert_eq!(refused.code(), Some("OverLimit"), "{refused:?}");
    let patient = receive().wait_time_seconds(1).send().await;
    assert!(patient.expect("an answer").messages().is_empty());
}

#[tokio::test]
async fn s3_refuses_more_than_2_kib_of_metadata_and_parts_of_less_than_5_mib() {
    let cloud = Cloud::connect().await;
    let bucket = Bucket::create(&cloud, EAST, unique("limits"), false).await;
    let put = |bytes: usize| {
        let put = bucket.client.put_object().bucket(&bucket.name).key("a");
        put.metadata("name", "x".repeat(bytes - "name".len()))
            .send()
    };
    put(2_048).await.expect("the largest metadata");
    let refused = put(2_049).await.expect_err("a refusal");
    assert_eq!(refused.code(), Some("MetadataTooLarge"), "{refused:?}");

    let two_parts = async |first: usize| {
        let object = Object::of(vec![1; first + 1]);
        let written = bucket.try_put_in_parts_of("a", &object, &[first, 1]).await;
        written.map_err(|refusal| refusal.code().map(str::to_owned))
    };
    let refused = two_parts((5 << 20) - 1).await;
    assert_eq!(refused, Err(Some("EntityTooSmall".to_owned())));
    two_parts(5 << 20).await.expect("the smallest parts");
    limits::set(&cloud, "part_bytes", &bucket.name, 1).await;
    two_parts(1).await.expect("what this bucket allows");
}

// Promise: Once a key stops changing at the source, and each of its notifications has been delivered at least
// once, its replica equals the source as the rule's options say; under policy `full` there is no replica where
// the source has no object.
#[tokio::test]
async fn late_notifications_in_any_order_lead_to_the_same_replicas() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    cloud.rule(&buckets, json!({})).await;
    limits::set(&cloud, "notification_delay_ms", &buckets.source.name, 3_000).await;
    for round in 0..6 {
        for key in ["a", "b", "c"] {
            buckets.source.put(key, format!("{key} {round}")).await;
        }
        buckets.source.delete("b").await;
    }
    buckets.source.put("b", "b, at last").await;
    buckets.source.delete("c").await;
    buckets.become_equal("", SOON).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    buckets.become_equal("", SOON).await;
}

// ---- Answers -------------------------------------------------------------------------------------

/// S3 sends the headers of some answers before it has done the work. An SDK with stalled-stream protection waits for
/// headers as long as they take, but abandons a request if its body then takes long.
#[tokio::test]
async fn an_sdk_abandons_a_late_body_but_not_late_headers() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let object = Object::of(vec![7; 6 << 20]);
    buckets.source.put_object("large", &object).await;
    let destination = &buckets.destination;
    let request = destination.client.create_multipart_upload();
    let answer = request.bucket(&destination.name).key("large").send().await;
    let upload = answer.expect("an upload").upload_id.expect("an id");
    let proxy = Proxy::start(&cloud.endpoint).await.for_tests_too();
    let config = cloud.s3_at(&proxy.url(), WEST).config().to_builder();
    let config = config.retry_config(RetryConfig::disabled()).build();
    let client = aws_sdk_s3::Client::from_conf(config);
    let copy = || {
        let copy = client.upload_part_copy().bucket(&destination.name);
        let copy = copy.key("large").upload_id(&upload).part_number(1);
        copy.copy_source(format!("{}/large", buckets.source.name))
            .send()
    };
    let copies = |seen: &Seen| seen.is("UploadPartCopy");
    proxy.script(1, copies, Action::DelayBody(Duration::from_secs(30)));
    let error = copy()
        .await
        .expect_err("a body that the SDK does not wait for");
    assert!(
        format!("{error:?}").contains("ThroughputBelowMinimum"),
        "{error:?}"
    );
    let gate = proxy.hold_after(copies);
    let (part, ()) = tokio::join!(copy(), async {
        gate.arrived().await;
        tokio::time::sleep(Duration::from_secs(8)).await;
        gate.open();
    });
    part.expect("a part");
}
