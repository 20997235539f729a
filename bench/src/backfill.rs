//! Backfills: the function that starts one, and several workers at the work queue, as Lambda would run them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use tandem_tests::function_process::FunctionProcess;
use tandem_tests::notification;

use crate::args::Sizes;
use crate::fixtures::{self, Pair};
use crate::measured::Measured;
use crate::stage::{Stage, TWO_REGIONS, usage};

/// The time between two requests for the job's state.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// How long a received message is invisible to other workers, as in the template.
const VISIBILITY_SECS: i32 = 5_400;
/// How long a worker waits when it received no message.
const BETWEEN_MESSAGES: Duration = Duration::from_millis(20);

/// Copies small objects into an empty bucket. If a split overtakes a step, the objects that the step copied are found
/// equal later.
pub async fn copy(stage: &Stage, sizes: &Sizes) -> Measured {
    let pair = fixtures::to_copy(&stage.server, sizes, TWO_REGIONS);
    let what = format!("backfill: copy {} B", sizes.object_bytes);
    run(
        stage,
        sizes,
        pair,
        &what,
        sizes.objects(),
        &["copied", "equal"],
    )
    .await
}

/// Compares two buckets that are equal already.
pub async fn compare(stage: &Stage, sizes: &Sizes) -> Measured {
    let pair = fixtures::equal(&stage.server, sizes, TWO_REGIONS);
    let what = "backfill: all equal";
    run(stage, sizes, pair, what, sizes.equal_keys(), &["equal"]).await
}

/// Runs one job. Each of its objects must have one of these `outcomes`.
async fn run(
    stage: &Stage,
    sizes: &Sizes,
    pair: Pair,
    what: &str,
    objects: usize,
    outcomes: &[&str],
) -> Measured {
    let rule = stage.make_rule(pair).await;
    let queue = stage.cloud.own_queue().await;
    let queue_arn = stage.cloud.queue_arn(&queue).await;
    let mut functions = stage.start_all("backfill", 1, &queue).await;
    functions.extend(
        stage
            .start_all("backfill-shard", sizes.workers, &queue)
            .await,
    );
    // The start is measured separately: see `cold_start`.
    join_all(functions.iter().map(FunctionProcess::wake)).await;
    let (starter, workers) = functions.split_first().expect("at least one");

    stage.server.take_counts();
    let before = usage(&functions);
    let began = Instant::now();
    let request = json!({"action": "start", "rule": rule});
    let answer = starter.invoke(request).await.expect("a job");
    let job = answer["job"]["id"].as_str().expect("an id");
    let done = AtomicBool::new(false);
    let work = join_all(
        workers
            .iter()
            .map(|worker| take_messages(stage, worker, &queue, &queue_arn, &done)),
    );
    let watch = async {
        let last = completed(starter, &rule, job).await;
        let elapsed = began.elapsed();
        done.store(true, Ordering::Relaxed);
        (last, elapsed)
    };
    let ((last, elapsed), _) = futures::join!(watch, work);
    let used = usage(&functions).since(before);
    let counts = stage.server.take_counts();

    let number = |field: &str| last[field].as_u64().unwrap_or_default();
    let settled: u64 = outcomes.iter().map(|field| number(field)).sum();
    assert_eq!(settled, objects as u64, "of {objects} objects: {last}");
    assert!(fixtures::agree(&stage.server, pair), "the buckets differ");
    let by = format!("{} x backfill-shard", sizes.workers);
    Measured::new(what, &by, objects, elapsed, used, counts)
}

/// Hands the queue's messages to a worker, one at a time, until the job is done. Work may send more messages.
async fn take_messages(
    stage: &Stage,
    worker: &FunctionProcess,
    queue: &str,
    queue_arn: &str,
    done: &AtomicBool,
) {
    let sqs = &stage.cloud.sqs;
    while !done.load(Ordering::Relaxed) {
        let receive = sqs.receive_message().queue_url(queue);
        let received = receive.visibility_timeout(VISIBILITY_SECS).send().await;
        let messages = received.expect("messages").messages.unwrap_or_default();
        if messages.is_empty() {
            tokio::time::sleep(BETWEEN_MESSAGES).await;
        }
        for message in messages {
            let body = message.body.unwrap_or_default();
            let handle = message.receipt_handle.unwrap_or_default();
            let batch = notification::batch(queue_arn, &[body]);
            let answer = worker.begin(batch).await.expect("an answer");
            if notification::kept(&answer).is_empty() {
                let delete = sqs.delete_message().queue_url(queue).receipt_handle(handle);
                delete.send().await.expect("a message is deleted");
            } else {
                let again = sqs.change_message_visibility().queue_url(queue);
                let again = again.receipt_handle(handle).visibility_timeout(0);
                again.send().await.expect("a message is redelivered");
            }
        }
    }
}

/// Waits until a job is complete, and returns it.
async fn completed(starter: &FunctionProcess, rule: &str, job: &str) -> Value {
    loop {
        let request = json!({"action": "status", "rule": rule, "job_id": job});
        let mut answer = starter.invoke(request).await.expect("a job");
        let state = answer["job"]["state"].as_str().unwrap_or_default();
        match state {
            "complete" => return answer["job"].take(),
            "planning" | "running" => tokio::time::sleep(BETWEEN_LOOKS).await,
            other => panic!("the job is {other}: {answer}"),
        }
    }
}
