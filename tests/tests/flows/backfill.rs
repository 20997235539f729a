//! Historical objects: all of them arrive and are counted exactly, whatever is put and deleted meanwhile, although
//! messages are delivered twice and workers die.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tandem_tests::bucket::Object;
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::Cloud;
use tandem_tests::eventually::{SOON, eventually};
use tandem_tests::function_process::{FunctionProcess, Start};
use tandem_tests::notification;
use tandem_tests::proxy::{Action, Proxy, Seen};

/// The limit for thousands of objects on a busy machine with two cores.
const LONG: Duration = Duration::from_mins(4);
/// The size of a part.
const PART_BYTES: usize = 5 << 20;

async fn stage(versioned: bool) -> (Cloud, Buckets) {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, versioned).await;
    (cloud, buckets)
}

fn keys(count: usize) -> Vec<String> {
    (0..count)
        .map(|n| format!("folder {}/{n:05}", n % 7))
        .collect()
}

/// Starts a backfill. Returns the job's id.
async fn start(cloud: &Cloud, rule: &str) -> String {
    let answer = cloud
        .invoke("backfill", json!({"action": "start", "rule": rule}))
        .await
        .expect("a job");
    answer["job"]["id"].as_str().expect("an id").to_owned()
}

async fn status(cloud: &Cloud, rule: &str, job: &str) -> Result<Value, String> {
    let request = json!({"action": "status", "rule": rule, "job_id": job});
    let answer = cloud.invoke("backfill", request).await;
    answer
        .map(|mut answer| answer["job"].take())
        .map_err(|error| format!("{error:?}"))
}

/// Waits until a job is complete, and checks that its counts add up all the time.
async fn completed(cloud: &Cloud, rule: &str, job: &str, limit: Duration) -> Value {
    let done = eventually(&format!("{job} completes"), limit, async || {
        let job = status(cloud, rule, job).await?;
        assert_adds_up(&job);
        if job["state"] == "complete" {
            Ok(job)
        } else {
            Err(job.to_string())
        }
    })
    .await;
    assert_eq!(done["fraction"], 1.0, "{done}");
    assert_eq!(done["shards"]["done"], done["shards"]["total"], "{done}");
    assert!(done["finished_at"].is_string(), "{done}");
    done
}

fn number(job: &Value, field: &str) -> u64 {
    job[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} of {job}"))
}

fn assert_adds_up(job: &Value) {
    let parts = ["copied", "equal", "gone", "failed"].map(|field| number(job, field));
    assert_eq!(number(job, "listed"), parts.iter().sum::<u64>(), "{job}");
}

/// `listed`, `copied`, `equal`, `gone` and `failed` of a job.
fn counts(job: &Value) -> [u64; 5] {
    ["listed", "copied", "equal", "gone", "failed"].map(|field| number(job, field))
}

// ---- With the deployed functions -----------------------------------------------------------------

// Promise: A backfill, a repair or a job of named keys may copy the key meanwhile, and its worker may die: the
// replica becomes equal all the same.
#[tokio::test]
async fn five_thousand_objects_end_equal_although_puts_and_deletes_race_the_backfill() {
    const OBJECTS: usize = 5_000;
    let (cloud, buckets) = stage(false).await;
    let keys = keys(OBJECTS);
    buckets
        .source
        .put_all(&keys, |key| key.as_bytes().to_vec())
        .await;
    let made = cloud
        .configure(json!({"action": "create", "source": buckets.source.name, "destination": buckets.destination.name, "historical": true}))
        .await
        .expect("a rule");
    let (rule, job) = (
        made["rule"]["id"].as_str().expect("an id"),
        made["job_id"].as_str().expect("a job"),
    );
    let new: Vec<String> = (0..150)
        .map(|n| format!("folder {}/new {n}", n % 7))
        .collect();
    let every = |nth: usize, from: usize| -> Vec<String> {
        keys.iter().skip(from).step_by(nth).cloned().collect()
    };
    let (overwritten, deleted) = (every(20, 3), every(25, 4));
    futures::join!(
        buckets
            .source
            .put_all(&overwritten, |key| format!("{key} overwritten")
                .into_bytes()),
        buckets.source.put_all(&new, |_| b"new".to_vec()),
        buckets.source.delete_all(&deleted),
    );
    let first = completed(&cloud, rule, job, LONG).await;
    assert_eq!(number(&first, "failed"), 0, "{first}");
    let there = number(&first, "listed");
    let least = (OBJECTS - deleted.len()) as u64;
    assert!(
        (least..=(OBJECTS + new.len()) as u64).contains(&there),
        "{first}"
    );
    buckets.become_equal("", LONG).await;

    let left = buckets.source.list("").await.len() as u64;
    let second = completed(&cloud, rule, &start(&cloud, rule).await, LONG).await;
    assert_eq!(counts(&second), [left, 0, left, 0, 0], "{second}");
    assert_eq!(number(&second, "bytes_copied"), 0);
    assert_eq!(
        cloud.progress(rule).await["historical"]["id"],
        second["id"],
        "the newest is shown"
    );
}

// Promise: Only keys within the rule's prefixes are carried over.
#[tokio::test]
async fn only_the_rules_prefixes_are_backfilled() {
    let (cloud, buckets) = stage(false).await;
    for key in ["a/1", "a/2", "b c+%/ü", "b", "c/1", "a"] {
        buckets.source.put(key, key).await;
    }
    let rule = cloud
        .rule(&buckets, json!({"scope": {"prefixes": ["a/", "b c+%/"]}}))
        .await;
    let job = completed(&cloud, &rule, &start(&cloud, &rule).await, SOON).await;
    assert_eq!(counts(&job), [3, 3, 0, 0, 0], "{job}");
    assert_eq!(number(&job, "bytes_copied"), 15 - 1, "{job}");
    let found: Vec<String> = buckets.destination.list("").await.into_keys().collect();
    assert_eq!(found, ["a/1", "a/2", "b c+%/ü"]);
}

#[tokio::test]
async fn other_objects_of_the_same_name_are_overwritten() {
    let (cloud, buckets) = stage(true).await;
    buckets
        .source
        .put_object("same size", &Object::of("abc").dressed("source"))
        .await;
    buckets.source.put("other size", "longer").await;
    buckets.source.put("the same", "equal").await;
    buckets
        .destination
        .put_object("same size", &Object::of("xyz").dressed("destination"))
        .await;
    buckets.destination.put("other size", "short").await;
    buckets.destination.put("the same", "equal").await;
    let rule = cloud.rule(&buckets, json!({})).await;
    let job = completed(&cloud, &rule, &start(&cloud, &rule).await, SOON).await;
    assert_eq!(counts(&job), [3, 2, 1, 0, 0], "{job}");
    buckets.assert_equal("").await;
}

#[tokio::test]
async fn an_empty_bucket_is_complete_at_once() {
    let (cloud, buckets) = stage(false).await;
    let rule = cloud.rule(&buckets, json!({})).await;
    let job = completed(&cloud, &rule, &start(&cloud, &rule).await, SOON).await;
    assert_eq!(counts(&job), [0; 5], "{job}");
}

// Promise: A paused job, or a backfill whose rule is paused, continues where it was; a cancelled job copies
// nothing more.
#[tokio::test]
async fn a_backfill_waits_while_its_rule_is_paused_and_ends_after_a_resume() {
    let (cloud, buckets) = stage(false).await;
    let keys = keys(600);
    buckets
        .source
        .put_all(&keys, |_| b"historical".to_vec())
        .await;
    let rule = cloud.rule(&buckets, json!({"historical": true})).await;
    cloud.change("pause", &rule).await;
    buckets
        .source
        .put_all(&keys[..50], |_| b"overwritten while paused".to_vec())
        .await;
    buckets.source.delete_all(&keys[50..100]).await;
    // A backfill that starts while the rule is paused waits as well.
    let job = start(&cloud, &rule).await;
    let waiting = status(&cloud, &rule, &job).await.expect("a job");
    assert_eq!(
        (&waiting["state"], number(&waiting, "listed")),
        (&json!("running"), 0),
        "{waiting}"
    );
    cloud.change("resume", &rule).await;
    let done = completed(&cloud, &rule, &job, LONG).await;
    assert_eq!(
        (number(&done, "listed"), number(&done, "failed")),
        (550, 0),
        "{done}"
    );
    buckets.become_equal("", SOON).await;
}

#[tokio::test]
async fn a_newer_backfill_replaces_one_that_has_not_ended() {
    let (cloud, buckets) = stage(false).await;
    buckets.source.put("a", "a").await;
    let rule = cloud.rule(&buckets, json!({})).await;
    cloud.change("pause", &rule).await;
    let first = start(&cloud, &rule).await;
    let second = start(&cloud, &rule).await;
    assert_eq!(
        status(&cloud, &rule, &first).await.expect("a job")["state"],
        "cancelled"
    );
    // The same request again returns the same job.
    let request = json!({"action": "start", "rule": rule, "job_id": second});
    let again = cloud.invoke("backfill", request).await.expect("a job");
    assert_eq!(again["job"]["id"], json!(second));
    cloud.change("resume", &rule).await;
    let done = completed(&cloud, &rule, &second, SOON).await;
    assert_eq!(counts(&done), [1, 1, 0, 0, 0], "{done}");
}

#[tokio::test]
async fn a_backfill_that_is_not_possible_is_refused_with_the_reason() {
    let (cloud, buckets) = stage(false).await;
    let rule = cloud.rule(&buckets, json!({})).await;
    for (request, code) in [
        (json!({"action": "start", "rule": "nobody"}), "RuleNotFound"),
        (json!({"action": "status", "rule": rule}), "JobNotFound"),
        (
            json!({"action": "status", "rule": rule, "job_id": "job-none"}),
            "JobNotFound",
        ),
        (json!({"action": "stop", "rule": rule}), "InvalidRequest"),
        (json!({"action": "start"}), "InvalidRequest"),
        (
            json!({"action": "start", "rule": rule, "jobid": "x"}),
            "InvalidRequest",
        ),
    ] {
        let error = cloud
            .invoke("backfill", request.clone())
            .await
            .expect_err("a refusal");
        assert_eq!(error.code, code, "{request}: {}", error.message);
    }
}

#[tokio::test]
async fn an_update_to_historical_starts_a_backfill() {
    let (cloud, buckets) = stage(false).await;
    buckets.source.put("a", "a").await;
    let rule = cloud.rule(&buckets, json!({})).await;
    let request = json!({"action": "update", "rule": rule, "historical": true});
    let updated = cloud.configure(request).await.expect("an update");
    assert_eq!(updated["rule"]["historical"], true);
    let job = updated["job_id"].as_str().expect("a job");
    assert_eq!(
        counts(&completed(&cloud, &rule, job, SOON).await),
        [1, 1, 0, 0, 0]
    );
    buckets.assert_equal("").await;
}

/// The request to `backfill` is lost: the proxy answers it in place of the function.
// Promise: Hourly maintenance begins a backfill whose request is lost.
#[tokio::test]
async fn maintenance_starts_a_backfill_whose_request_is_lost() {
    let (cloud, buckets) = stage(false).await;
    buckets.source.put("a", "a").await;
    let proxy = Proxy::start(&cloud.endpoint).await;
    proxy.script(
        1,
        |seen| seen.is("Lambda.Invoke"),
        Action::Answer(202, String::new()),
    );
    let function = Start::of(&cloud, "configure-rule").await;
    let function = function.through(&proxy).start().await;
    let request = json!({
        "action": "create", "historical": true,
        "source": buckets.source.name, "destination": buckets.destination.name,
    });
    let made = function.invoke(request).await.expect("a rule");
    let rule = made["rule"]["id"].as_str().expect("an id");
    let job = made["job_id"].as_str().expect("a job");
    assert_eq!(
        status(&cloud, rule, job).await.expect("a job")["state"],
        "planning"
    );
    make_older(&cloud, rule, job).await;
    cloud
        .invoke("backfill", json!({"action": "tend"}))
        .await
        .expect("maintenance runs");
    assert_eq!(
        counts(&completed(&cloud, rule, job, SOON).await),
        [1, 1, 0, 0, 0]
    );
}

/// Sets the start of a job back by twenty minutes.
async fn make_older(cloud: &Cloud, rule: &str, job: &str) {
    let then = tandem_lambda::runtime::now() - chrono::TimeDelta::minutes(20);
    cloud
        .dynamodb
        .update_item()
        .table_name(cloud.table().await)
        .key("pk", AttributeValue::S(format!("job#{rule}")))
        .key("sk", AttributeValue::S(job.to_owned()))
        .update_expression("SET started_at = :then")
        .condition_expression("attribute_exists(pk)")
        .expression_attribute_values(":then", AttributeValue::S(then.to_rfc3339()))
        .send()
        .await
        .expect("the job exists");
}

// ---- With every message of the work queue delivered by the test -----------------------------------

/// A backfill whose messages go to the test's own queue.
struct ByHand {
    cloud: Cloud,
    buckets: Buckets,
    rule: String,
    queue: String,
    queue_arn: String,
}

impl ByHand {
    async fn new(buckets: Buckets, cloud: Cloud) -> Self {
        let rule = cloud.quiet_rule(&buckets, json!({})).await;
        let queue = cloud.own_queue().await;
        Self {
            queue_arn: cloud.queue_arn(&queue).await,
            cloud,
            buckets,
            rule,
            queue,
        }
    }

    /// Starts a job. Returns its id and the messages of its shards, in the order of their keys.
    async fn start(&self) -> (String, Vec<String>) {
        let backfill = self.function("backfill").await.start().await;
        let answer = backfill
            .invoke(json!({"action": "start", "rule": self.rule}))
            .await
            .expect("a job");
        let job = answer["job"]["id"].as_str().expect("an id").to_owned();
        let mut messages = self.cloud.drain(&self.queue).await;
        messages.sort_by_key(|message| {
            let work: Value = serde_json::from_str(message).expect("work");
            number(&work, "shard")
        });
        assert_eq!(
            messages.len() as u64,
            number(&answer["job"]["shards"], "total")
        );
        (job, messages)
    }

    async fn function(&self, name: &str) -> Start {
        Start::of(&self.cloud, name)
            .await
            .variable("TANDEM_WORK_QUEUE_URL", &self.queue)
    }

    fn batch(&self, message: &str) -> Value {
        notification::batch(&self.queue_arn, &[message.to_owned()])
    }

    /// Hands a message to a worker. Returns whether the worker acknowledged it.
    async fn acknowledged(&self, worker: &FunctionProcess, message: &str) -> bool {
        let answer = worker.invoke(self.batch(message)).await.expect("an answer");
        notification::kept(&answer).is_empty()
    }

    async fn status(&self, job: &str) -> Value {
        status(&self.cloud, &self.rule, job).await.expect("a job")
    }
}

#[tokio::test]
async fn objects_deleted_after_they_were_listed_count_as_gone() {
    let (cloud, buckets) = stage(false).await;
    for key in ["a", "b", "c"] {
        buckets.source.put(key, key).await;
    }
    buckets.destination.put("b", "stale").await;
    let stage = ByHand::new(buckets, cloud).await;
    let (job, messages) = stage.start().await;
    let proxy = Proxy::start(&stage.cloud.endpoint).await;
    let source = stage.buckets.source.name.clone();
    let gate =
        proxy.hold_after(move |seen: &Seen| seen.is("ListObjectsV2") && seen.bucket == source);
    let worker = stage
        .function("backfill-shard")
        .await
        .through(&proxy)
        .start()
        .await;
    assert_eq!(messages.len(), 1);
    let answer = worker.begin(stage.batch(&messages[0]));
    gate.arrived().await;
    stage.buckets.source.delete("a").await;
    stage.buckets.source.delete("b").await;
    gate.open();
    assert!(notification::kept(&answer.await.expect("an answer")).is_empty());
    let done = stage.status(&job).await;
    assert_eq!(counts(&done), [3, 1, 0, 2, 0], "{done}");
    // The notification of the delete deletes what the job did not write.
    let left = stage.buckets.destination.list("").await;
    assert!(left.keys().eq(["b", "c"]), "{left:?}");
}

// ---- Large objects ------------------------------------------------------------------------------

fn bytes(count: usize) -> Vec<u8> {
    (0..count)
        .map(|n| u8::try_from(n * 31 % 251).unwrap_or_default())
        .collect()
}

// Promise: An object in parts is copied in the same parts, and so keeps its `ETag`; it becomes equal although a
// worker dies.
#[tokio::test]
async fn objects_in_parts_are_copied_in_the_same_parts_with_their_attributes() {
    let (cloud, buckets) = stage(false).await;
    let whole = Object::of(bytes(6 << 20)).dressed("whole");
    let in_parts = Object::of(bytes(12 << 20)).dressed("parts");
    buckets.source.put_object("put whole", &whole).await;
    let etag = buckets
        .source
        .put_in_parts_of(
            "ü +% put in parts",
            &in_parts,
            &[PART_BYTES, PART_BYTES + 1, PART_BYTES],
        )
        .await;
    buckets
        .source
        .put_object("small", &Object::of("small").dressed("small"))
        .await;
    let stage = ByHand::new(buckets, cloud).await;
    let proxy = Proxy::start(&stage.cloud.endpoint).await;
    let start = stage.function("backfill-shard").await.through(&proxy);
    let worker = start.start().await;
    let (job, messages) = stage.start().await;
    for message in &messages {
        assert!(stage.acknowledged(&worker, message).await);
    }
    let done = stage.status(&job).await;
    assert_eq!(
        counts(&done),
        [3, 3, 0, 0, 0],
        "{done}; log:\n{}",
        worker.log()
    );
    assert_eq!(number(&done, "bytes_copied"), (18 << 20) + 5, "{done}");
    let sent = proxy.take_counts();
    assert_eq!(sent.get("UploadPartCopy"), Some(&3), "{sent:?}");
    assert_eq!(sent.get("AbortMultipartUpload"), None, "{sent:?}");
    stage.buckets.assert_equal("").await;
    assert_eq!(
        stage.buckets.destination.bytes("put whole").await,
        Some(whole.body)
    );
    assert_eq!(
        stage.buckets.destination.bytes("ü +% put in parts").await,
        Some(in_parts.body)
    );
    let replica = stage.buckets.destination.list("ü").await;
    assert_eq!(replica["ü +% put in parts"].etag, etag);

    // Nothing is copied again.
    let (job, messages) = stage.start().await;
    for message in &messages {
        assert!(stage.acknowledged(&worker, message).await);
    }
    assert_eq!(counts(&stage.status(&job).await), [3, 0, 3, 0, 0]);
}

#[tokio::test]
async fn a_large_object_that_changes_between_its_parts_is_copied_in_its_new_state() {
    let (cloud, buckets) = stage(false).await;
    buckets
        .source
        .put_in_parts("large", &Object::of(bytes(11 << 20)), PART_BYTES)
        .await;
    let stage = ByHand::new(buckets, cloud).await;
    let proxy = Proxy::start(&stage.cloud.endpoint).await;
    let start = stage.function("backfill-shard").await.through(&proxy);
    let worker = start.start().await;
    let (job, messages) = stage.start().await;
    let gate = proxy.hold_before(|seen: &Seen| seen.is("UploadPartCopy"));
    let answer = worker.begin(stage.batch(&messages[0]));
    gate.arrived().await;
    stage.buckets.source.put("large", bytes(7 << 20)).await;
    gate.open();
    assert!(notification::kept(&answer.await.expect("an answer")).is_empty());
    let done = stage.status(&job).await;
    assert_eq!(
        counts(&done),
        [1, 1, 0, 0, 0],
        "{done}; log:\n{}",
        worker.log()
    );
    stage.buckets.assert_equal("").await;
    assert_eq!(
        stage.buckets.destination.bytes("large").await,
        Some(bytes(7 << 20))
    );
    let uploads = stage.buckets.destination.uploads().await;
    assert!(
        uploads.is_empty(),
        "no unfinished upload is left: {uploads:?}"
    );
}

#[tokio::test]
async fn objects_too_large_for_a_live_function_are_handed_to_the_work_queue() {
    let (cloud, buckets) = stage(false).await;
    let stage = ByHand::new(buckets, cloud).await;
    let proxy = Proxy::start(&stage.cloud.endpoint).await;
    let live = stage.function("replicate-put").await.through(&proxy);
    let live = live.variable("TANDEM_LIVE_BYTES_MAX", "1000").start().await;
    let object = Object::of(bytes(1_001)).dressed("large");
    let etag = stage.buckets.source.put_object("large ü+%", &object).await;
    let put = notification::put(&stage.buckets.source, "large ü+%", &etag, object.body.len());
    let answer = live.invoke(put).await.expect("an answer");
    assert_eq!(answer["objects"][0]["outcome"], "HandedOver", "{answer}");
    assert!(stage.buckets.destination.list("").await.is_empty());
    let sent = proxy.take_counts();
    assert_eq!(
        (sent.get("CopyObject"), sent.get("SQS.SendMessage")),
        (None, Some(&1)),
        "{sent:?}"
    );
    let messages = stage.cloud.drain(&stage.queue).await;
    let worker = stage.function("backfill-shard").await.start().await;
    // Twice, because any message may be delivered twice.
    for message in [&messages[0], &messages[0]] {
        assert!(stage.acknowledged(&worker, message).await);
    }
    stage.buckets.assert_equal("").await;
    assert_eq!(stage.buckets.destination.list("").await.len(), 1);
}

#[tokio::test]
async fn a_large_object_whose_rule_is_paused_is_deferred_and_copied_after_a_resume() {
    let (cloud, buckets) = stage(false).await;
    let stage = ByHand::new(buckets, cloud).await;
    stage.buckets.source.put("large", "as it were").await;
    stage.cloud.change("pause", &stage.rule).await;
    let worker = stage.function("backfill-shard").await.start().await;
    let work = json!({"kind": "object", "rule_id": stage.rule, "key": "large", "event_time": "2026-11-22T21:00:00.000Z"});
    assert!(stage.acknowledged(&worker, &work.to_string()).await);
    assert!(stage.buckets.destination.list("").await.is_empty());
    stage.cloud.change("resume", &stage.rule).await;
    stage.buckets.become_equal("", SOON).await;
}

// Promise: While a rule is paused its changed keys are kept; resuming replicates each from its present state,
// under the policy that the rule has by then.
#[tokio::test]
async fn many_deferred_keys_are_all_replayed() {
    let (cloud, buckets) = stage(false).await;
    let stage = ByHand::new(buckets, cloud).await;
    let live = stage.function("replicate-put").await.start().await;
    stage.cloud.change("pause", &stage.rule).await;
    let keys = keys(300);
    stage
        .buckets
        .source
        .put_all(&keys, |key| key.as_bytes().to_vec())
        .await;
    let held = stream::iter(keys.chunks(10)).then(|chunk| {
        let puts = chunk
            .iter()
            .map(|key| notification::put(&stage.buckets.source, key, "0", 1).to_string());
        live.invoke(notification::batch(
            "arn:aws:sqs:us-east-1:000000000000:tandem-put",
            &puts.collect::<Vec<_>>(),
        ))
    });
    held.for_each(|answer| async {
        assert!(notification::kept(&answer.expect("an answer")).is_empty());
    })
    .await;
    let shown = stage.cloud.progress(&stage.rule).await;
    assert_eq!(shown["live"]["backlog"]["held"], 300, "{shown}");
    stage.cloud.change("resume", &stage.rule).await;
    stage.buckets.become_equal("", SOON).await;
}
