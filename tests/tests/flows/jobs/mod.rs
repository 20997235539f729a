//! Jobs of many objects: the real functions on a fast S3 in memory that enforces S3's conditions. The test delivers
//! every message.

mod books;
mod compare;
mod control;
mod hops;
mod manifest;
mod one_bad_key;
mod overwrite;
mod raw_headers;
mod requests;
mod schedule;
mod split;

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use serde_json::{Value, json};
use tandem_memory_s3::{Attributes, MemoryS3, Object};

use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::{Cloud, EAST, QueuedMessage, WEST};
use tandem_tests::function_process::{FunctionProcess, Start};
use tandem_tests::notification;
use tandem_tests::proxy::Proxy;

/// How often a message may be redelivered before the test fails.
const RECEIVES_MAX: u32 = 6;

/// A rule whose buckets are in memory, and functions whose work goes to the test's own queue.
pub struct Jobs {
    pub cloud: Cloud,
    pub buckets: Buckets,
    pub memory: MemoryS3,
    /// The proxy between the functions and S3.
    pub s3: Proxy,
    /// The proxy between the functions and all other services.
    pub aws: Proxy,
    pub rule: String,
    pub queue: String,
    queue_arn: String,
    backfill: FunctionProcess,
}

impl Jobs {
    pub async fn new(fields: Value) -> Self {
        let cloud = Cloud::connect().await;
        let buckets = Buckets::new(&cloud, false).await;
        let rule = cloud.quiet_rule(&buckets, fields).await;
        let memory = MemoryS3::start().await.expect("an S3 in memory");
        memory.make_bucket(&buckets.source.name, EAST);
        memory.make_bucket(&buckets.destination.name, WEST);
        let s3 = Proxy::start(&memory.url()).await;
        let aws = Proxy::start(&cloud.endpoint).await;
        let queue = cloud.own_queue().await;
        let start = function(&cloud, "backfill", &queue, &s3, &aws).await;
        Self {
            queue_arn: cloud.queue_arn(&queue).await,
            backfill: start.start().await,
            cloud,
            buckets,
            memory,
            s3,
            aws,
            rule,
            queue,
        }
    }

    pub async fn worker(&self) -> FunctionProcess {
        let start = function(
            &self.cloud,
            "backfill-shard",
            &self.queue,
            &self.s3,
            &self.aws,
        )
        .await;
        start.start().await
    }

    /// Starts another function on the same S3.
    pub async fn function(&self, name: &str) -> FunctionProcess {
        let start = function(&self.cloud, name, &self.queue, &self.s3, &self.aws).await;
        start.start().await
    }

    /// Writes an object at the source, with a time this long ago.
    pub fn at_source(&self, key: &str, body: &str, ago: TimeDelta) {
        self.memory
            .put(&self.buckets.source.name, key, object(body, ago));
    }

    /// Writes an object at the destination, with a time this long ago.
    pub fn at_destination(&self, key: &str, body: &str, ago: TimeDelta) {
        self.memory
            .put(&self.buckets.destination.name, key, object(body, ago));
    }

    /// Writes many old objects at the source, each with its key as its body.
    pub fn fill_source(&self, keys: impl IntoIterator<Item = String>) {
        for key in keys {
            self.at_source(&key, &key, TimeDelta::days(1));
        }
    }

    /// The destination's objects: bodies by keys.
    pub fn destination(&self) -> BTreeMap<String, String> {
        bodies(&self.memory, &self.buckets.destination.name)
    }

    /// The source's objects: bodies by keys.
    pub fn source(&self) -> BTreeMap<String, String> {
        bodies(&self.memory, &self.buckets.source.name)
    }

    /// Sends a request to `backfill`, and panics if it is refused.
    pub async fn ask(&self, request: Value) -> Value {
        let answer = self.backfill.invoke(request.clone()).await;
        answer.unwrap_or_else(|error| panic!("{request}: {error:?}"))
    }

    /// Sends a request to `backfill` that has to be refused. Returns code and message.
    pub async fn refused(&self, request: Value) -> (String, String) {
        let error = self.backfill.invoke(request).await.expect_err("a refusal");
        (error.code, error.message)
    }

    /// Starts a job with these fields. Returns the job.
    pub async fn start(&self, fields: Value) -> Value {
        let mut request = json!({"action": "start", "rule": self.rule});
        let fields = fields.as_object().cloned().unwrap_or_default();
        request.as_object_mut().expect("an object").extend(fields);
        self.ask(request).await["job"].take()
    }

    /// Applies an action to the newest job. Returns the job.
    pub async fn change(&self, action: &str) -> Value {
        self.ask(json!({"action": action, "rule": self.rule})).await["job"].take()
    }

    /// The newest job. Panics if its counts do not add up.
    pub async fn job(&self) -> Value {
        let job = self.change("status").await;
        assert_adds_up(&job);
        job
    }

    /// Hands a message to a worker. Returns whether the worker acknowledged it.
    pub async fn acknowledged(
        &self,
        worker: &FunctionProcess,
        message: &QueuedMessage,
        receives: u32,
    ) -> bool {
        let batch = self.batch(message, receives);
        let answer = worker.invoke(batch).await.expect("an answer");
        notification::kept(&answer).is_empty()
    }

    pub fn batch(&self, message: &QueuedMessage, receives: u32) -> Value {
        notification::redelivered(receives, &self.queue_arn, message)
    }

    pub async fn messages(&self) -> Vec<QueuedMessage> {
        self.cloud.take_messages(&self.queue).await
    }

    /// Makes every lease of the newest job's shards expire, as if no dead worker could have anything in flight.
    pub async fn expire_leases(&self) {
        let job = self.change("status").await;
        let id = job["id"].as_str().expect("an id");
        let table = self.cloud.table().await;
        for item in self.cloud.items_with(id).await {
            let is_shard = item["pk"].as_s().is_ok_and(|pk| pk.starts_with("shard#"));
            if !is_shard || !item.get("lease").is_some_and(AttributeValue::is_m) {
                continue;
            }
            self.cloud
                .dynamodb
                .update_item()
                .table_name(&table)
                .key("pk", item["pk"].clone())
                .key("sk", item["sk"].clone())
                .update_expression("SET lease.#until = :past")
                .expression_attribute_names("#until", "until")
                .expression_attribute_values(":past", AttributeValue::N("0".to_owned()))
                .send()
                .await
                .expect("an expired lease");
        }
    }

    /// Delivers every message, to all workers at once, until none is left.
    pub async fn run_dry(&self, workers: &[FunctionProcess]) {
        let mut again: Vec<(QueuedMessage, u32)> = Vec::new();
        loop {
            let new = self.messages().await;
            let mut waiting = std::mem::take(&mut again);
            waiting.extend(new.into_iter().map(|message| (message, 1)));
            if waiting.is_empty() {
                return;
            }
            for some in waiting.chunks(workers.len()) {
                let answers =
                    workers
                        .iter()
                        .zip(some)
                        .map(|(worker, (message, receives))| async move {
                            let acknowledged = self.acknowledged(worker, message, *receives).await;
                            (!acknowledged).then(|| (message.clone(), receives + 1))
                        });
                again.extend(join_all(answers).await.into_iter().flatten());
            }
            for (message, receives) in &again {
                assert!(
                    *receives <= RECEIVES_MAX,
                    "{message:?} is never acknowledged; log:\n{}",
                    workers[0].log()
                );
            }
        }
    }

    /// Starts a job and does all its work. Returns the complete job.
    pub async fn complete(&self, fields: Value) -> Value {
        self.start(fields).await;
        self.run_dry(&[self.worker().await]).await;
        let job = self.job().await;
        assert_eq!(job["state"], "complete", "{job}");
        job
    }
}

async fn function(cloud: &Cloud, name: &str, queue: &str, s3: &Proxy, aws: &Proxy) -> Start {
    Start::of(cloud, name)
        .await
        .through(aws)
        .variable("AWS_ENDPOINT_URL_S3", s3.url())
        .variable("TANDEM_WORK_QUEUE_URL", queue)
}

fn object(body: &str, ago: TimeDelta) -> Object {
    let at: DateTime<Utc> = Utc::now() - ago;
    Object::new(body.to_owned().into(), Attributes::default(), at)
}

fn bodies(memory: &MemoryS3, bucket: &str) -> BTreeMap<String, String> {
    let text = |object: &Object| String::from_utf8_lossy(&object.bytes()).into_owned();
    let objects = memory.objects(bucket);
    objects
        .iter()
        .map(|(key, object)| (key.clone(), text(object)))
        .collect()
}

pub fn number(job: &Value, field: &str) -> u64 {
    job[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} of {job}"))
}

/// The counts of a job that are not zero, with their names.
pub fn counts(job: &Value) -> Vec<(&'static str, u64)> {
    const FIELDS: [&str; 12] = [
        "listed",
        "copied",
        "equal",
        "kept",
        "gone",
        "failed",
        "transfers",
        "missing",
        "different",
        "extra",
        "deleted",
        "extra_failed",
    ];
    let counts = FIELDS.map(|field| (field, number(job, field)));
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

fn assert_adds_up(job: &Value) {
    let parts = [
        "copied",
        "equal",
        "kept",
        "gone",
        "failed",
        "transfers",
        "missing",
        "different",
    ];
    let sum: u64 = parts.iter().map(|field| number(job, field)).sum();
    assert_eq!(number(job, "listed"), sum, "{job}");
}

/// Keys under one prefix.
pub fn keys(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("one prefix/{n:06}.bin"))
}
