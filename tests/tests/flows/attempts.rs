//! The number of attempts at a message before it is moved to the dead letters. Lambda takes messages from a queue
//! although the account's concurrency is used up, and returns them. The queue counts such deliveries; the functions
//! do not.

use serde_json::{Value, json};
use tandem_tests::notification;
use tandem_tests::proxy::{Action, Seen};

use crate::stage::{Stage, copies};

/// The number of attempts at a message, as in `template.yaml`.
const ATTEMPTS_MAX: u32 = 8;

/// A stage whose copies are refused at first, and the batch of one put, with one id for all its deliveries.
async fn throttled() -> (Stage, Value) {
    let stage = Stage::new("replicate-put").await;
    let put = stage.put("a", "one").await;
    stage
        .proxy
        .script(999, copies, Action::s3_error(503, "SlowDown"));
    let batch = stage.batch(&[put]);
    (stage, batch)
}

fn received(batch: &Value, receives: u32) -> Value {
    let mut batch = batch.clone();
    batch["Records"][0]["attributes"]["ApproximateReceiveCount"] = json!(receives.to_string());
    batch
}

async fn is_kept(stage: &Stage, batch: Value) -> bool {
    let answer = stage.function.invoke(batch).await.expect("an answer");
    !notification::kept(&answer).is_empty()
}

// Promise: Deliveries that no function has seen count as one attempt at most: a message that Lambda could not
// deliver for want of concurrency is not given up for it.
#[tokio::test]
async fn deliveries_that_no_function_saw_do_not_count_as_attempts() {
    let (stage, batch) = throttled().await;
    assert!(is_kept(&stage, received(&batch, 60)).await);
    assert_eq!(stage.failures().await, 0, "there are other attempts");
    assert!(!stage.proxy.take_counts().contains_key("SQS.SendMessage"));
}

// Promise: What fails eight times is recorded, and its message goes to the dead-letter queue.
#[tokio::test]
async fn a_message_that_fails_eight_times_is_recorded_and_goes_to_the_dead_letters() {
    let (stage, batch) = throttled().await;
    for attempt in 1..=ATTEMPTS_MAX {
        assert_eq!(stage.failures().await, 0, "before attempt {attempt}");
        // Between two attempts, no function sees some of the deliveries.
        let receives = 1 + (attempt - 1) * 2;
        assert!(is_kept(&stage, received(&batch, receives)).await);
    }
    let one = json!({"action": "failure", "rule": stage.rule, "key": "a"});
    assert_eq!(stage.configure(one).await["failure"]["reason"], "Throttled");
    stage.proxy.take_counts();
    assert!(!is_kept(&stage, received(&batch, 17)).await, "moved");
    let sent = stage.proxy.take_counts();
    assert_eq!(sent.get("SQS.SendMessage"), Some(&1), "{sent:?}");
    assert!(!sent.contains_key("CopyObject"), "{sent:?}");
}

#[tokio::test]
async fn a_message_that_cannot_be_moved_to_the_dead_letters_stays_in_its_queue() {
    let (stage, batch) = throttled().await;
    for attempt in 1..=ATTEMPTS_MAX {
        assert!(is_kept(&stage, received(&batch, attempt)).await);
    }
    let body = json!({"__type": "InternalError", "message": "as the test wants it"});
    let broken = Action::Answer(500, body.to_string());
    let sends = |seen: &Seen| seen.is("SQS.SendMessage");
    stage.proxy.script(9, sends, broken);
    assert!(is_kept(&stage, received(&batch, 9)).await);
}

// Promise: A healthy message is not counted: only a redelivery costs a request for it.
#[tokio::test]
async fn a_healthy_message_costs_no_request_to_count_it() {
    let stage = Stage::new("replicate-put").await;
    let put = stage.put("a", "one").await;
    stage.proxy.take_counts();
    assert!(stage.acknowledged(put).await);
    let sent = stage.proxy.take_counts();
    assert!(!sent.contains_key("DynamoDB.UpdateItem"), "{sent:?}");
}
