//! Transfers in the modes that protect the destination's objects, on a fast S3 in memory that enforces S3's conditions.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use tandem_memory_s3::{Attributes, MemoryS3, Object};
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::{Cloud, EAST, WEST};
use tandem_tests::function_process::{FunctionProcess, Start};
use tandem_tests::notification;
use tandem_tests::proxy::{Gate, Proxy, Seen};

const MIB: usize = 1 << 20;
const DAY: TimeDelta = TimeDelta::days(1);
const WEEK: TimeDelta = TimeDelta::days(7);

/// A rule whose buckets are in memory, with the test's own queues.
struct Stage {
    cloud: Cloud,
    buckets: Buckets,
    memory: MemoryS3,
    s3: Proxy,
    rule: String,
    work_queue: String,
    part_queue: String,
}

impl Stage {
    /// A stage with an object of two parts at the source, each of which is a range.
    async fn new() -> Self {
        let cloud = Cloud::connect().await;
        let buckets = Buckets::new(&cloud, false).await;
        let memory = MemoryS3::start().await.expect("an S3 in memory");
        memory.make_bucket(&buckets.source.name, EAST);
        memory.make_bucket(&buckets.destination.name, WEST);
        let parts = vec![vec![1_u8; 5 * MIB].into(), vec![2_u8; 2 * MIB].into()];
        let large = Object::of_parts(parts, Attributes::default(), Utc::now() - DAY);
        memory.put(&buckets.source.name, "key", large);
        Self {
            rule: cloud.quiet_rule(&buckets, json!({})).await,
            work_queue: cloud.own_queue().await,
            part_queue: cloud.own_queue().await,
            s3: Proxy::start(&memory.url()).await,
            memory,
            cloud,
            buckets,
        }
    }

    async fn function(&self, name: &str) -> FunctionProcess {
        Start::of(&self.cloud, name)
            .await
            .variable("AWS_ENDPOINT_URL_S3", self.s3.url())
            .variable("TANDEM_WORK_QUEUE_URL", &self.work_queue)
            .variable("TANDEM_PART_QUEUE_URL", &self.part_queue)
            .variable("TANDEM_TRANSFER_BYTES_MIN", (6 * MIB).to_string())
            .variable("TANDEM_RANGE_BYTES", MIB.to_string())
            .start()
            .await
    }

    fn put(&self, bucket: &str, body: &'static str, ago: TimeDelta) {
        let object = Object::new(body.into(), Attributes::default(), Utc::now() - ago);
        self.memory.put(bucket, "key", object);
    }

    fn body(&self, bucket: &str) -> Option<Vec<u8>> {
        let objects = self.memory.objects(bucket);
        objects.get("key").map(|object| object.bytes().to_vec())
    }

    /// Begins the transfer in this mode. Returns the messages of its ranges.
    async fn begin(&self, mode: &str) -> Vec<String> {
        let object = json!({"kind": "object", "rule_id": self.rule, "key": "key",
            "event_time": tandem_lambda::runtime::now(), "overwrite": mode});
        let worker = self.function("backfill-shard").await;
        assert!(is_acknowledged(&worker, &object.to_string(), 1).await);
        self.cloud.drain(&self.part_queue).await
    }

    /// Hands over all ranges, and calls `meanwhile` while the completion waits at the gate. Returns the last message,
    /// and whether it was acknowledged.
    async fn complete_with(
        &self,
        messages: &[String],
        gate: &Gate,
        meanwhile: impl FnOnce(),
    ) -> (String, bool) {
        let copier = self.function("copy-parts").await;
        assert!(is_acknowledged(&copier, &messages[0], 1).await);
        let answer = copier.begin(batch(&messages[1], 1));
        gate.arrived().await;
        meanwhile();
        gate.open();
        let kept = notification::kept(&answer.await.expect("an answer"));
        (messages[1].clone(), kept.is_empty())
    }

    /// Hands over messages until none is left.
    async fn run_dry(&self) {
        let worker = self.function("backfill-shard").await;
        let copier = self.function("copy-parts").await;
        loop {
            let work = self.cloud.drain(&self.work_queue).await;
            let parts = self.cloud.drain(&self.part_queue).await;
            if work.is_empty() && parts.is_empty() {
                return;
            }
            for message in &work {
                assert!(is_acknowledged(&worker, message, 1).await, "{message}");
            }
            for message in &parts {
                assert!(is_acknowledged(&copier, message, 1).await, "{message}");
            }
        }
    }
}

fn batch(message: &str, receives: u32) -> Value {
    let arn = "arn:aws:sqs:us-east-1:000000000000:a-queue-of-the-tests";
    notification::batch_received(receives, arn, &[message.to_owned()])
}

async fn is_acknowledged(function: &FunctionProcess, message: &str, receives: u32) -> bool {
    let answer = function.invoke(batch(message, receives)).await;
    notification::kept(&answer.expect("an answer")).is_empty()
}

// Promise: A completion onto an object that is deleted meanwhile keeps its parts, and lands at the next
// delivery.
#[tokio::test]
async fn a_completion_over_an_object_deleted_meanwhile_lands_at_the_next_delivery() {
    let stage = Stage::new().await;
    let (source, destination) = (&stage.buckets.source.name, &stage.buckets.destination.name);
    stage.put(destination, "theirs", WEEK);
    let messages = stage.begin("if-older").await;
    let gate = stage
        .s3
        .hold_before(|seen: &Seen| seen.is("CompleteMultipartUpload"));
    let delete = || {
        stage.memory.remove(destination, "key");
    };
    let (last, is_done) = stage.complete_with(&messages, &gate, delete).await;
    assert!(!is_done, "the condition did not hold");
    stage.s3.take();
    let copier = stage.function("copy-parts").await;
    assert!(is_acknowledged(&copier, &last, 2).await);
    let sent = stage.s3.take_counts();
    assert_eq!(
        sent.get("UploadPartCopy"),
        None,
        "the parts are kept: {sent:?}"
    );
    assert_eq!(stage.body(destination), stage.body(source));
}

// Promise: In the modes `never` and `if-older` a later round of an attempt replaces only what the attempt
// itself, or a dead worker of its job, has written.
#[tokio::test]
async fn another_writers_object_over_a_completed_transfer_stays() {
    let stage = Stage::new().await;
    let (source, destination) = (&stage.buckets.source.name, &stage.buckets.destination.name);
    for is_source_deleted in [false, true] {
        let messages = stage.begin("never").await;
        let gate = stage
            .s3
            .hold_after(|seen: &Seen| seen.is("CompleteMultipartUpload"));
        let change = || {
            stage.put(destination, "theirs", TimeDelta::zero());
            if is_source_deleted {
                stage.memory.remove(source, "key");
            } else {
                stage.put(source, "small by now", TimeDelta::zero());
            }
        };
        stage.complete_with(&messages, &gate, change).await;
        stage.run_dry().await;
        assert_eq!(stage.body(destination).as_deref(), Some(&b"theirs"[..]));
        let parts = vec![vec![3_u8; 5 * MIB].into(), vec![4_u8; 2 * MIB].into()];
        let large = Object::of_parts(parts, Attributes::default(), Utc::now() - DAY);
        stage.memory.put(source, "key", large);
        stage.memory.remove(destination, "key");
    }
}

// Promise: Under policy `full` a source that is deleted during its transfer leaves neither a replica nor an
// upload.
#[tokio::test]
async fn the_replica_of_a_transfer_is_deleted_with_its_source() {
    let stage = Stage::new().await;
    let (source, destination) = (&stage.buckets.source.name, &stage.buckets.destination.name);
    let messages = stage.begin("never").await;
    let gate = stage
        .s3
        .hold_after(|seen: &Seen| seen.is("CompleteMultipartUpload"));
    let delete = || {
        stage.memory.remove(source, "key");
    };
    let (_, is_done) = stage.complete_with(&messages, &gate, delete).await;
    assert!(is_done);
    assert_eq!(stage.body(destination), None);
}
