//! Transfers: an object that is too large for one invocation is copied by many. It keeps its `ETag`, whichever worker
//! dies in the middle, and nothing of the transfer is left behind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tandem_tests::bucket::Object;
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::Cloud;
use tandem_tests::eventually::{SOON, eventually};
use tandem_tests::function_process::{FunctionProcess, Start};
use tandem_tests::notification;
use tandem_tests::proxy::{Action, Proxy, Seen};

const MIB: usize = 1 << 20;
/// In these tests, an object in parts above this size becomes a transfer.
const TRANSFER_BYTES_MIN: usize = 6 * MIB;
/// Small enough that every part is a range, unless a test chooses another size.
const RANGE_BYTES: usize = MIB;

/// A rule that gets its events only from the test, with the test's own queues.
struct Stage {
    cloud: Cloud,
    buckets: Buckets,
    rule: String,
    work_queue: String,
    part_queue: String,
    proxy: Proxy,
    range_bytes: usize,
}

impl Stage {
    async fn new() -> Self {
        let cloud = Cloud::connect().await;
        let buckets = Buckets::new(&cloud, false).await;
        Self {
            rule: cloud.quiet_rule(&buckets, json!({})).await,
            work_queue: cloud.own_queue().await,
            part_queue: cloud.own_queue().await,
            proxy: Proxy::start(&cloud.endpoint).await,
            range_bytes: RANGE_BYTES,
            cloud,
            buckets,
        }
    }

    async fn function(&self, name: &str) -> FunctionProcess {
        Start::of(&self.cloud, name)
            .await
            .through(&self.proxy)
            .variable("TANDEM_WORK_QUEUE_URL", &self.work_queue)
            .variable("TANDEM_PART_QUEUE_URL", &self.part_queue)
            .variable("TANDEM_TRANSFER_BYTES_MIN", TRANSFER_BYTES_MIN.to_string())
            .variable("TANDEM_RANGE_BYTES", self.range_bytes.to_string())
            .start()
            .await
    }

    async fn worker(&self) -> FunctionProcess {
        self.function("backfill-shard").await
    }

    async fn copier(&self) -> FunctionProcess {
        self.function("copy-parts").await
    }

    /// The work that a live function hands over for a large object.
    fn object(&self, key: &str) -> String {
        json!({"kind": "object", "rule_id": self.rule, "key": key,
            "event_time": tandem_lambda::runtime::now()})
        .to_string()
    }

    /// Begins the transfer of an object. Returns the messages of its ranges.
    async fn begin(&self, key: &str) -> Vec<String> {
        let worker = self.worker().await;
        acknowledge(&worker, &self.object(key)).await;
        self.cloud.drain(&self.part_queue).await
    }

    /// Hands the functions their messages until none is left.
    async fn run_dry(&self, worker: &FunctionProcess, copier: &FunctionProcess) {
        loop {
            let (work, parts) = futures::join!(
                self.cloud.drain(&self.work_queue),
                self.cloud.drain(&self.part_queue)
            );
            if work.is_empty() && parts.is_empty() {
                return;
            }
            for message in &work {
                acknowledge(worker, message).await;
            }
            for message in &parts {
                acknowledge(copier, message).await;
            }
        }
    }

    /// The number of parts of the only upload to a key.
    async fn parts_there(&self, key: &str) -> usize {
        let destination = &self.buckets.destination;
        let upload = destination.uploads().await.remove(0);
        let there = destination.client.list_parts().bucket(&destination.name);
        let there = there.key(key).upload_id(upload).send().await;
        there.expect("parts").parts().len()
    }

    /// The same number once it no longer grows: requests that a worker sent before it died may still be under way.
    async fn parts_at_rest(&self, key: &str) -> usize {
        let mut before = self.parts_there(key).await;
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let there = self.parts_there(key).await;
            if there == before {
                return there;
            }
            before = there;
        }
    }

    async fn transfers(&self) -> Value {
        self.cloud.progress(&self.rule).await["transfers"].clone()
    }

    /// # Panics
    /// If the object has not arrived whole with its own `ETag`, or anything of a transfer is left.
    async fn assert_done(&self, key: &str, body: &[u8], story: &str) {
        self.buckets.assert_equal("").await;
        let (source, replica) = (
            self.buckets.source.list(key).await,
            self.buckets.destination.list(key).await,
        );
        assert_eq!(source, replica, "{story}: the same size and ETag");
        let arrived = self.buckets.destination.bytes(key).await;
        assert!(arrived.as_deref() == Some(body), "{story}: other bytes");
        self.assert_nothing_left(story).await;
    }

    /// Sweeps, and asserts the same after a function was killed before its request of this number.
    async fn assert_made_good(&self, body: &[u8], at: usize) {
        self.sweep().await;
        let story = format!("killed before request {at}");
        self.assert_done("large", body, &story).await;
    }

    async fn assert_nothing_left(&self, story: &str) {
        // The log entry of an aborted upload is removed when the upload is certainly gone.
        let swept = self.sweep().await;
        assert_eq!(swept["aborted"], 0, "{story}: {swept}");
        let uploads = self.buckets.destination.uploads().await;
        assert!(uploads.is_empty(), "{story}: uploads {uploads:?}");
        assert_eq!(self.transfers().await["count"], 0, "{story}");
        let mut logged = self
            .cloud
            .items_with(&format!("upload#{}", self.rule))
            .await;
        // A young entry without an id stays: its upload may still be created.
        logged.retain(|entry| {
            let id = entry.get("upload_id");
            id.is_some_and(|id| id.as_s().is_ok())
        });
        assert!(logged.is_empty(), "{story}: the log says {logged:?}");
    }

    /// Sweeps whatever the rule's functions have left, however young.
    async fn sweep(&self) -> Value {
        let copier = self.copier().await;
        let request = json!({"kind": "sweep", "rule_id": self.rule, "older_than_secs": 0});
        copier.invoke(request).await.expect("a sweep")
    }
}

fn batch(message: &str) -> Value {
    let arn = "arn:aws:sqs:us-east-1:000000000000:a-queue-of-the-tests";
    notification::batch(arn, &[message.to_owned()])
}

/// Hands a message to a function, and asserts that it is acknowledged.
async fn acknowledge(function: &FunctionProcess, message: &str) {
    let answer = function.invoke(batch(message)).await.expect("an answer");
    let kept = notification::kept(&answer);
    assert!(
        kept.is_empty(),
        "{message} is kept; log:\n{}",
        function.log()
    );
}

/// Bytes of which no two parts are equal.
fn body(seed: u64, bytes: usize) -> Vec<u8> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut body = vec![0; bytes];
    dice.fill(&mut body);
    body
}

/// Three parts of uneven sizes.
const UNEVEN: [usize; 3] = [5 * MIB, 6 * MIB, 5 * MIB + 17];

async fn put_uneven(stage: &Stage, key: &str, seed: u64) -> Vec<u8> {
    let object = Object::of(body(seed, UNEVEN.iter().sum())).dressed("large");
    let source = &stage.buckets.source;
    source.put_in_parts_of(key, &object, &UNEVEN).await;
    object.body
}

// Promise: The death of a worker costs the parts that it was copying, and no others.
#[tokio::test]
async fn a_transfer_of_hundreds_of_mib_is_killed_resumed_and_copies_no_part_twice() {
    let mut stage = Stage::new().await;
    stage.range_bytes = 48 * MIB;
    let mut sizes = vec![8 * MIB; 24];
    sizes[3] = 5 * MIB;
    sizes[10] = 11 * MIB;
    let parts = sizes.len();
    let object = Object::of(body(1, sizes.iter().sum())).dressed("large");
    let key = "hundreds of MiB ü+%";
    let source = &stage.buckets.source;
    source.put_in_parts_of(key, &object, &sizes).await;
    let messages = stage.begin(key).await;
    assert_eq!(messages.len(), 4);
    let shown = stage.transfers().await;
    assert_eq!(shown["shown"][0]["parts"], parts, "{shown}");
    assert_eq!(shown["shown"][0]["bytes_copied"], 0, "{shown}");

    let first = stage.copier().await;
    acknowledge(&first, &messages[0]).await;
    let shown = stage.transfers().await;
    assert!(
        shown["shown"][0]["bytes_copied"].as_u64() >= Some(40 << 20),
        "{shown}"
    );
    assert_eq!(stage.buckets.destination.list("").await.len(), 0);

    // The worker of the second range dies when some of its parts have been copied.
    stage.proxy.take();
    let of_the_first = stage.parts_there(key).await;
    let copied = AtomicUsize::new(0);
    let gate = stage.proxy.hold_before(move |seen: &Seen| {
        seen.is("UploadPartCopy") && copied.fetch_add(1, Ordering::SeqCst) == 3
    });
    let unanswered = first.begin(batch(&messages[1]));
    gate.arrived().await;
    eventually("another part lands", SOON, async || {
        let there = stage.parts_there(key).await;
        (there > of_the_first)
            .then_some(())
            .ok_or(there.to_string())
    })
    .await;
    first.kill();
    assert_eq!(unanswered.await.expect_err("no answer").code, "Killed");
    let there = stage.parts_at_rest(key).await;
    assert!(there < parts, "{there} parts are there");

    let second = stage.copier().await;
    stage.proxy.take();
    for message in &messages[1..] {
        acknowledge(&second, message).await;
    }
    let sent = stage.proxy.take_counts();
    assert_eq!(
        sent.get("UploadPartCopy"),
        Some(&(parts - there)),
        "{sent:?}"
    );
    assert_eq!(sent.get("CompleteMultipartUpload"), Some(&1), "{sent:?}");
    stage.assert_done(key, &object.body, "resumed").await;

    // Any message may be redelivered, however late.
    for message in &messages {
        acknowledge(&second, message).await;
    }
    let sent = stage.proxy.take_counts();
    assert_eq!(sent.get("UploadPartCopy"), None, "{sent:?}");
}

// Promise: A large object counts once its transfer has begun, and may arrive after the job is complete.
#[tokio::test]
async fn a_backfill_starts_transfers_and_counts_them() {
    let stage = Stage::new().await;
    let large = put_uneven(&stage, "large", 2).await;
    stage.buckets.source.put("small", "small").await;
    let backfill = stage.function("backfill").await;
    let answer = backfill
        .invoke(json!({"action": "start", "rule": stage.rule}))
        .await
        .expect("a job");
    let (worker, copier) = (stage.worker().await, stage.copier().await);
    for message in stage.cloud.drain(&stage.work_queue).await {
        acknowledge(&worker, &message).await;
    }
    let request = json!({"action": "status", "rule": stage.rule, "job_id": answer["job"]["id"]});
    let status = stage
        .cloud
        .invoke("backfill", request)
        .await
        .expect("a job");
    let job = &status["job"];
    assert_eq!(job["state"], "complete", "{job}");
    let counts = ["listed", "copied", "equal", "gone", "failed", "transfers"]
        .map(|count| job[count].as_u64().expect("a count"));
    assert_eq!(counts, [2, 1, 0, 0, 0, 1], "{job}");
    let progress = stage.cloud.progress(&stage.rule).await;
    assert_eq!(progress["transfers"]["count"], 1, "{progress}");
    stage.run_dry(&worker, &copier).await;
    stage.assert_done("large", &large, "of a backfill").await;
}

// Promise: A transfer arrives although its ranges are delivered late, twice or to two workers, functions die at
// any request, answers are lost, or another writer aborts its upload.
#[tokio::test]
async fn ranges_delivered_at_once_and_twice_complete_one_object() {
    let stage = Stage::new().await;
    let large = put_uneven(&stage, "large", 3).await;
    // The transfer is begun twice, because any message may be delivered twice.
    let worker = stage.worker().await;
    acknowledge(&worker, &stage.object("large")).await;
    acknowledge(&worker, &stage.object("large")).await;
    let messages = stage.cloud.drain(&stage.part_queue).await;
    assert_eq!(messages.len(), 3, "the second start sends nothing");
    let copiers = futures::join!(stage.copier(), stage.copier(), stage.copier());
    let twice = messages.iter().chain(&messages);
    let all = twice.zip([&copiers.0, &copiers.1, &copiers.2].into_iter().cycle());
    let all = all.map(|(message, copier)| async move {
        let answer = copier.invoke(batch(message)).await.expect("an answer");
        (message, notification::kept(&answer).is_empty())
    });
    // A range whose worker meets another one at the completion is redelivered.
    for (message, done) in futures::future::join_all(all).await {
        if !done {
            acknowledge(&copiers.0, message).await;
        }
    }
    stage.run_dry(&worker, &copiers.0).await;
    stage.assert_done("large", &large, "at once").await;
}

// Promise: No object is completed from parts of two objects: a source that changes during its transfer arrives
// as it is at the end.
#[tokio::test]
async fn no_object_is_completed_from_parts_of_two_sources() {
    for smaller in [false, true] {
        let stage = Stage::new().await;
        put_uneven(&stage, "large", 4).await;
        let messages = stage.begin("large").await;
        let copier = stage.copier().await;
        acknowledge(&copier, &messages[0]).await;
        let newer = if smaller {
            stage.buckets.source.put("large", "small now").await;
            b"small now".to_vec()
        } else {
            put_uneven(&stage, "large", 5).await
        };
        for message in &messages[1..] {
            acknowledge(&copier, message).await;
        }
        let worker = stage.worker().await;
        stage.run_dry(&worker, &copier).await;
        let story = format!("changed meanwhile, smaller: {smaller}");
        stage.assert_done("large", &newer, &story).await;
    }
}

// Promise: No object is completed from parts of two objects: a source that changes during its transfer arrives
// as it is at the end.
#[tokio::test]
async fn a_source_that_changes_while_its_copy_is_completed_is_copied_again() {
    let stage = Stage::new().await;
    put_uneven(&stage, "large", 6).await;
    let messages = stage.begin("large").await;
    let (worker, copier) = (stage.worker().await, stage.copier().await);
    for message in &messages[..2] {
        acknowledge(&copier, message).await;
    }
    let gate = stage
        .proxy
        .hold_before(|seen: &Seen| seen.is("CompleteMultipartUpload"));
    let answer = copier.begin(batch(&messages[2]));
    gate.arrived().await;
    let newer = put_uneven(&stage, "large", 7).await;
    gate.open();
    assert!(notification::kept(&answer.await.expect("an answer")).is_empty());
    stage.run_dry(&worker, &copier).await;
    stage
        .assert_done("large", &newer, "changed at the end")
        .await;
}

// Promise: Under policy `full` a source that is deleted during its transfer leaves neither a replica nor an
// upload.
#[tokio::test]
async fn a_source_that_is_deleted_meanwhile_leaves_nothing() {
    let stage = Stage::new().await;
    put_uneven(&stage, "large", 8).await;
    let messages = stage.begin("large").await;
    let (worker, copier) = (stage.worker().await, stage.copier().await);
    acknowledge(&copier, &messages[0]).await;
    stage.buckets.source.delete("large").await;
    for message in &messages[1..] {
        acknowledge(&copier, message).await;
    }
    stage.run_dry(&worker, &copier).await;
    stage.buckets.assert_equal("").await;
    stage.assert_nothing_left("deleted").await;
}

/// Kills a function before its request of this number. Returns whether it got that far.
async fn dies_at(stage: &Stage, function: &FunctionProcess, message: &str, at: usize) -> bool {
    let seen = AtomicUsize::new(0);
    let gate = stage
        .proxy
        .hold_before(move |_: &Seen| seen.fetch_add(1, Ordering::SeqCst) == at);
    let mut answer = Box::pin(function.begin(batch(message)));
    tokio::select! {
        () = gate.arrived() => {
            function.kill();
            drop(answer.await);
            true
        }
        answer = &mut answer => {
            let kept = notification::kept(&answer.expect("an answer"));
            assert!(kept.is_empty(), "{message} is kept; log:\n{}", function.log());
            // A later request with this number passes.
            gate.open();
            false
        }
    }
}

// Promise: A transfer arrives although its ranges are delivered late, twice or to two workers, functions die at
// any request, answers are lost, or another writer aborts its upload.
#[tokio::test]
async fn a_worker_may_die_before_any_request_of_the_start() {
    for at in 0.. {
        let stage = Stage::new().await;
        let large = put_uneven(&stage, "large", 9).await;
        let message = stage.object("large");
        let died = dies_at(&stage, &stage.worker().await, &message, at).await;
        let (worker, copier) = (stage.worker().await, stage.copier().await);
        acknowledge(&worker, &message).await;
        stage.run_dry(&worker, &copier).await;
        stage.assert_made_good(&large, at).await;
        if !died {
            assert!(at > 10, "only {at} requests");
            return;
        }
    }
}

// Promise: A transfer arrives although its ranges are delivered late, twice or to two workers, functions die at
// any request, answers are lost, or another writer aborts its upload.
#[tokio::test]
async fn a_worker_may_die_before_any_request_of_the_last_range() {
    for at in 0.. {
        let stage = Stage::new().await;
        let large = put_uneven(&stage, "large", 10).await;
        let messages = stage.begin("large").await;
        let copier = stage.copier().await;
        for message in &messages[..2] {
            acknowledge(&copier, message).await;
        }
        let died = dies_at(&stage, &copier, &messages[2], at).await;
        let (worker, copier) = (stage.worker().await, stage.copier().await);
        acknowledge(&copier, &messages[2]).await;
        stage.run_dry(&worker, &copier).await;
        stage.assert_made_good(&large, at).await;
        if !died {
            assert!(at > 10, "only {at} requests");
            return;
        }
    }
}

// Promise: A transfer arrives although its ranges are delivered late, twice or to two workers, functions die at
// any request, answers are lost, or another writer aborts its upload.
#[tokio::test]
async fn a_worker_may_die_before_any_request_of_a_restart() {
    for at in 0.. {
        let stage = Stage::new().await;
        put_uneven(&stage, "large", 11).await;
        let messages = stage.begin("large").await;
        let newer = put_uneven(&stage, "large", 12).await;
        let died = dies_at(&stage, &stage.copier().await, &messages[0], at).await;
        let (worker, copier) = (stage.worker().await, stage.copier().await);
        // The new transfer may be under way before the message of the old one is redelivered.
        stage.run_dry(&worker, &copier).await;
        for message in &messages {
            acknowledge(&copier, message).await;
        }
        stage.run_dry(&worker, &copier).await;
        stage.assert_made_good(&newer, at).await;
        if !died {
            assert!(at > 5, "only {at} requests");
            return;
        }
    }
}

// Promise: A pause keeps the parts that are copied; resuming copies the others, and none if the replica is
// there by then.
#[tokio::test]
async fn a_pause_keeps_the_parts_and_a_resume_copies_the_others() {
    let stage = Stage::new().await;
    let large = put_uneven(&stage, "large", 13).await;
    let messages = stage.begin("large").await;
    let copier = stage.copier().await;
    acknowledge(&copier, &messages[0]).await;
    stage.cloud.change("pause", &stage.rule).await;
    for message in &messages[1..] {
        acknowledge(&copier, message).await;
    }
    assert_eq!(stage.buckets.destination.list("").await.len(), 0);
    let shown = stage.cloud.progress(&stage.rule).await;
    assert_eq!(shown["live"]["backlog"]["held"], 1, "{shown}");
    // The test resumes the rule with its own function, because the deployed functions would do the work otherwise.
    stage.proxy.take();
    let configure = stage.function("configure-rule").await;
    let resumed = configure.invoke(json!({"action": "resume", "rule": stage.rule}));
    resumed.await.expect("resumed");
    let worker = stage.worker().await;
    stage.run_dry(&worker, &copier).await;
    let sent = stage.proxy.take_counts();
    assert_eq!(sent.get("UploadPartCopy"), Some(&2), "{sent:?}");
    stage.assert_done("large", &large, "resumed").await;
}

/// A transfer that a pause has deferred, without messages. Returns its function, which the test runs.
async fn deferred_transfer(stage: &Stage, seed: u64) -> FunctionProcess {
    put_uneven(stage, "large", seed).await;
    let messages = stage.begin("large").await;
    let copier = stage.copier().await;
    stage.cloud.change("pause", &stage.rule).await;
    for message in &messages {
        acknowledge(&copier, message).await;
    }
    copier
}

async fn resume(stage: &Stage, copier: &FunctionProcess) {
    let configure = stage.function("configure-rule").await;
    let resumed = configure.invoke(json!({"action": "resume", "rule": stage.rule}));
    resumed.await.expect("resumed");
    stage.proxy.take();
    stage.run_dry(&stage.worker().await, copier).await;
}

// Promise: A pause keeps the parts that are copied; resuming copies the others, and none if the replica is
// there by then.
#[tokio::test]
async fn a_deferred_transfer_ends_if_its_replica_exists_by_then() {
    let stage = Stage::new().await;
    let copier = deferred_transfer(&stage, 20).await;
    let large = Object::of(body(20, UNEVEN.iter().sum())).dressed("large");
    let destination = &stage.buckets.destination;
    destination.put_in_parts_of("large", &large, &UNEVEN).await;
    resume(&stage, &copier).await;
    let sent = stage.proxy.take_counts();
    assert_eq!(sent.get("UploadPartCopy"), None, "{sent:?}");
    stage
        .assert_done("large", &large.body, "there already")
        .await;
}

// Promise: A comparison that was made before a transfer began does not end that transfer.
#[tokio::test]
async fn an_earlier_comparison_does_not_end_a_transfer_that_has_just_begun() {
    let stage = Stage::new().await;
    let old = Object::of(body(21, UNEVEN.iter().sum())).dressed("large");
    let Buckets {
        source,
        destination,
    } = &stage.buckets;
    source.put_in_parts_of("large", &old, &UNEVEN).await;
    destination.put_in_parts_of("large", &old, &UNEVEN).await;
    // The worker finds both sides equal, and is about to read whether there is a transfer.
    let late = stage.worker().await;
    let seen = AtomicUsize::new(0);
    let gate = stage.proxy.hold_before(move |request: &Seen| {
        let heads = usize::from(request.is("HeadObject"));
        // The worker has sent the HEADs of both sides.
        seen.fetch_add(heads, Ordering::SeqCst) == 2 && request.is("DynamoDB.GetItem")
    });
    let comparison = late.begin(batch(&stage.object("large")));
    gate.arrived().await;
    // Meanwhile the object changes, and its transfer is begun. Its messages are not sent yet.
    let newer = put_uneven(&stage, "large", 22).await;
    let beginner = stage.worker().await;
    let sends = stage
        .proxy
        .hold_before(|request: &Seen| request.is("SQS.SendMessage"));
    let begins = beginner.begin(batch(&stage.object("large")));
    sends.arrived().await;
    gate.open();
    comparison.await.expect("an answer");
    sends.open();
    begins.await.expect("an answer");
    stage.run_dry(&late, &stage.copier().await).await;
    stage.assert_done("large", &newer, "begun meanwhile").await;
}

// Promise: A transfer leaves no upload if it is denied, or if its rule is deleted.
#[tokio::test]
async fn deleting_a_rule_aborts_its_uploads() {
    let stage = Stage::new().await;
    put_uneven(&stage, "large", 14).await;
    let messages = stage.begin("large").await;
    let copier = stage.copier().await;
    acknowledge(&copier, &messages[0]).await;
    assert_eq!(stage.buckets.destination.uploads().await.len(), 1);
    stage.cloud.change("delete", &stage.rule).await;
    assert_eq!(stage.buckets.destination.uploads().await.len(), 0);
    acknowledge(&copier, &messages[1]).await;
    assert_eq!(stage.buckets.destination.uploads().await.len(), 0);
    let left = stage.cloud.items_with(&stage.rule).await;
    assert!(left.is_empty(), "{left:?}");
}

// Promise: A transfer leaves no upload if it is denied, or if its rule is deleted.
#[tokio::test]
async fn a_denied_transfer_is_recorded_and_leaves_nothing() {
    let stage = Stage::new().await;
    put_uneven(&stage, "large", 15).await;
    let messages = stage.begin("large").await;
    let copier = stage.copier().await;
    let denied = Action::s3_error(403, "AccessDenied");
    stage
        .proxy
        .script(99, |seen: &Seen| seen.is("UploadPartCopy"), denied);
    for message in &messages {
        acknowledge(&copier, message).await;
    }
    assert_eq!(stage.cloud.progress(&stage.rule).await["failures"], 1);
    stage.assert_nothing_left("denied").await;
}

// Promise: A transfer arrives although its ranges are delivered late, twice or to two workers, functions die at
// any request, answers are lost, or another writer aborts its upload.
#[tokio::test]
async fn a_transfer_whose_upload_another_writer_aborts_is_restarted() {
    let stage = Stage::new().await;
    let large = put_uneven(&stage, "large", 16).await;
    let messages = stage.begin("large").await;
    let (worker, copier) = (stage.worker().await, stage.copier().await);
    acknowledge(&copier, &messages[0]).await;
    let destination = &stage.buckets.destination;
    for upload in destination.uploads().await {
        let abort = destination.client.abort_multipart_upload();
        let abort = abort.bucket(&destination.name).key("large");
        abort.upload_id(upload).send().await.expect("aborted");
    }
    for message in &messages[1..] {
        acknowledge(&copier, message).await;
    }
    stage.run_dry(&worker, &copier).await;
    stage
        .assert_done("large", &large, "aborted by another writer")
        .await;
}

// Promise: A sweep aborts the uploads that functions have left behind, and no upload of another writer.
#[tokio::test]
async fn the_sweep_aborts_only_abandoned_uploads() {
    let stage = Stage::new().await;
    // An upload of one invocation, which is killed after the upload was created and before its id was logged.
    let object = Object::of(body(17, 5 * MIB + 1));
    let source = &stage.buckets.source;
    source
        .put_in_parts("copied at once", &object, 5 * MIB)
        .await;
    let worker = stage.worker().await;
    let gate = stage
        .proxy
        .hold_after(|seen: &Seen| seen.is("CreateMultipartUpload"));
    let unanswered = worker.begin(batch(&stage.object("copied at once")));
    gate.arrived().await;
    worker.kill();
    drop(unanswered.await);
    // An upload of a transfer that is under way.
    let large = put_uneven(&stage, "large", 18).await;
    let messages = stage.begin("large").await;
    // An upload of another writer.
    let destination = &stage.buckets.destination;
    let theirs = destination.client.create_multipart_upload();
    let theirs = theirs.bucket(&destination.name).key("theirs").send().await;
    let theirs = theirs.expect("an upload").upload_id.expect("an id");
    assert_eq!(destination.uploads().await.len(), 3);

    let young = stage
        .copier()
        .await
        .invoke(json!({"kind": "sweep", "rule_id": stage.rule}))
        .await;
    assert_eq!(
        young.expect("a sweep")["aborted"],
        0,
        "their workers may still be running"
    );
    let swept = stage.sweep().await;
    assert_eq!(
        (&swept["aborted"], &swept["failed"]),
        (&json!(1), &json!(0)),
        "{swept}"
    );
    let left = destination.uploads().await;
    assert!(left.len() == 2 && left.contains(&theirs), "{left:?}");
    let (worker, copier) = (stage.worker().await, stage.copier().await);
    for message in &messages {
        acknowledge(&copier, message).await;
    }
    acknowledge(&worker, &stage.object("copied at once")).await;
    assert_eq!(destination.uploads().await, [theirs]);
    assert_eq!(destination.bytes("large").await, Some(large));
    stage.buckets.assert_equal("").await;
}

#[tokio::test]
async fn a_transfer_that_cannot_start_at_once_is_not_lost_to_the_backfill() {
    let stage = Stage::new().await;
    let large = put_uneven(&stage, "large", 19).await;
    let backfill = stage.function("backfill").await;
    let request = json!({"action": "start", "rule": stage.rule});
    backfill.invoke(request).await.expect("a job");
    let (worker, copier) = (stage.worker().await, stage.copier().await);
    // The SDK does not repeat the request, because the service may have carried it out.
    let creates = |seen: &Seen| seen.is("CreateMultipartUpload");
    let failing = Action::s3_error(500, "InternalError");
    stage.proxy.script(1, creates, failing);
    stage.run_dry(&worker, &copier).await;
    stage.sweep().await;
    stage.assert_done("large", &large, "begun again").await;
}

/// The previous worker of the message may have completed the upload late, over a newer replica.
// Promise: A transfer arrives although its ranges are delivered late, twice or to two workers, functions die at
// any request, answers are lost, or another writer aborts its upload.
#[tokio::test]
async fn a_range_redelivered_after_its_transfer_reconciles_the_object() {
    let stage = Stage::new().await;
    let large = put_uneven(&stage, "large", 20).await;
    let messages = stage.begin("large").await;
    let (worker, copier) = (stage.worker().await, stage.copier().await);
    for message in &messages {
        acknowledge(&copier, message).await;
    }
    stage.buckets.destination.put("large", "landed late").await;
    let arn = "arn:aws:sqs:us-east-1:000000000000:a-queue-of-the-tests";
    let again = notification::batch_received(2, arn, &messages[2..]);
    let answer = copier.invoke(again).await.expect("an answer");
    assert!(notification::kept(&answer).is_empty());
    stage.run_dry(&worker, &copier).await;
    stage.assert_done("large", &large, "landed late").await;
}

// Promise: A sweep aborts the uploads that functions have left behind, and no upload of another writer.
#[tokio::test]
async fn the_sweep_aborts_a_dead_start_and_not_its_successor_for_the_same_key() {
    let stage = Stage::new().await;
    let large = put_uneven(&stage, "large", 21).await;
    let killed = stage.worker().await;
    let gate = stage
        .proxy
        .hold_after(|seen: &Seen| seen.is("CreateMultipartUpload"));
    let unanswered = killed.begin(batch(&stage.object("large")));
    gate.arrived().await;
    killed.kill();
    drop(unanswered.await);
    let messages = stage.begin("large").await;
    assert_eq!(stage.buckets.destination.uploads().await.len(), 2);
    let swept = stage.sweep().await;
    assert_eq!(swept["aborted"], 1, "{swept}");
    stage.proxy.take();
    let copier = stage.copier().await;
    for message in &messages {
        acknowledge(&copier, message).await;
    }
    let sent = stage.proxy.take_counts();
    assert_eq!(sent.get("CreateMultipartUpload"), None, "{sent:?}");
    stage.assert_done("large", &large, "swept meanwhile").await;
}
