//! One message at two workers: SQS may deliver a message a second time while the first worker is still busy with it.
//! The test takes messages out of the stack's queues in place of Lambda's poller, and hands each batch to two workers
//! at once. As in SQS, one worker's acknowledgement deletes the message for both.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_lambda::primitives::Blob;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use fastrand::Rng;
use serde_json::{Map, Value, json};
use tandem_tests::cloud::{Cloud, EAST};
use tandem_tests::journal::Journal;
use tandem_tests::notification::kept;
use tokio::task::JoinSet;

use crate::deployment::visibility_of;
use crate::ledger::Ledger;
use crate::stage::Stage;

/// The ledger's heading for these messages.
pub const DUPLICATES: &str = "messages at two workers";
/// The ledger's heading for their outcomes.
const OUTCOMES: &str = "messages at two workers, outcomes";

/// The queues, each with its function.
const QUEUES: [(&str, &str); 4] = [
    ("put", "replicate-put"),
    ("work", "backfill-shard"),
    ("delete", "replicate-delete"),
    ("part", "copy-parts"),
];
/// The queues that always have messages while chaos runs.
const EXPECTED: [&str; 3] = ["put", "delete", "work"];

/// How long the poller of a queue is stopped while the test waits for a message.
const WINDOW: Duration = Duration::from_millis(1_200);
/// How long the test waits between two queues.
const BREAK: Duration = Duration::from_millis(300);
/// The maximum delay of the second worker's start.
const HEAD_START_MAX: Duration = Duration::from_millis(800);
/// The maximum number of messages that are delivered twice at once.
const BATCH: i32 = 4;

/// A queue and its function.
#[derive(Debug, Clone)]
struct Queue {
    name: &'static str,
    url: String,
    arn: String,
    function: String,
    /// The id of the function's event source mapping.
    mapping: String,
}

/// The kinds of messages that have not been at two workers yet.
pub fn missing(ledger: &Ledger) -> Vec<&'static str> {
    let is_missing = |queue: &&str| ledger.number(DUPLICATES, queue) == 0;
    EXPECTED.into_iter().filter(is_missing).collect()
}

/// Delivers messages twice until it is `over`. Returns the tasks of the workers that are still busy.
pub async fn deliver_twice(
    stage: &Stage,
    mut dice: Rng,
    ledger: &Arc<Ledger>,
    journal: &Arc<Journal>,
    over: impl Fn() -> bool,
) -> JoinSet<()> {
    let mut queues = Vec::new();
    for (name, function) in QUEUES {
        queues.push(Queue::find(&stage.cloud, name, function).await);
    }
    let mut workers = JoinSet::new();
    for queue in queues.iter().cycle() {
        if over() {
            break;
        }
        let messages = queue.take(&stage.cloud).await;
        if !messages.is_empty() {
            let count = messages.len() as u64;
            ledger.add(DUPLICATES, queue.name, count);
            let delivery = Delivery {
                cloud: stage.cloud.clone(),
                queue: queue.clone(),
                messages,
                head_start: HEAD_START_MAX.mul_f64(dice.f64()),
                ledger: ledger.clone(),
                journal: journal.clone(),
            };
            workers.spawn(delivery.run());
        }
        tokio::time::sleep(BREAK).await;
    }
    workers
}

impl Queue {
    async fn find(cloud: &Cloud, name: &'static str, function: &str) -> Self {
        let function = format!("{}-{function}", cloud.stack);
        let url = cloud.queue_url(name).await;
        let arn = cloud.queue_arn(&url).await;
        let mapping = mapping(cloud, &function, &arn).await;
        Self {
            name,
            url,
            arn,
            function,
            mapping,
        }
    }

    /// Stops the poller and takes some messages, if any arrive.
    async fn take(&self, cloud: &Cloud) -> Vec<Message> {
        set_polling(cloud, &self.mapping, false).await;
        let until = tokio::time::Instant::now() + WINDOW;
        let mut taken = Vec::new();
        while taken.is_empty() && tokio::time::Instant::now() < until {
            let request = cloud.sqs.receive_message().queue_url(&self.url);
            let answer = request
                .max_number_of_messages(BATCH)
                .message_system_attribute_names(MessageSystemAttributeName::All)
                .message_attribute_names("All")
                .send()
                .await
                .expect("messages");
            taken = answer.messages.unwrap_or_default();
            if taken.is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        set_polling(cloud, &self.mapping, true).await;
        taken
    }

    /// The batch that Lambda would hand to a function.
    fn batch(&self, messages: &[Message]) -> Value {
        let records = messages.iter().map(|message| {
            let receives = MessageSystemAttributeName::ApproximateReceiveCount;
            let attributes = message.attributes.as_ref();
            json!({
                "messageId": message.message_id,
                "receiptHandle": message.receipt_handle,
                "body": message.body,
                "attributes": {
                    "ApproximateReceiveCount": attributes.and_then(|known| known.get(&receives)),
                },
                "messageAttributes": attributes_of(message),
                "md5OfBody": message.md5_of_body,
                "eventSource": "aws:sqs",
                "eventSourceARN": self.arn,
                "awsRegion": EAST,
            })
        });
        json!({"Records": records.collect::<Vec<_>>()})
    }
}

/// The id of a function's event source mapping.
async fn mapping(cloud: &Cloud, function: &str, queue_arn: &str) -> String {
    let request = cloud.lambda.list_event_source_mappings();
    let request = request.function_name(function).event_source_arn(queue_arn);
    let answer = request.send().await.expect("event source mappings");
    let mapping = answer.event_source_mappings().first();
    let id = mapping.and_then(|mapping| mapping.uuid());
    id.expect("an event source mapping").to_owned()
}

/// Stops or starts Lambda's poller of a queue.
pub async fn set_polling(cloud: &Cloud, mapping: &str, enabled: bool) {
    let request = cloud.lambda.update_event_source_mapping();
    request
        .uuid(mapping)
        .enabled(enabled)
        .send()
        .await
        .expect("the event source mapping is changed");
}

/// Makes Lambda poll all queues again, whatever a run has left.
pub async fn poll_all(cloud: &Cloud) {
    for (name, function) in QUEUES {
        let queue = Queue::find(cloud, name, function).await;
        set_polling(cloud, &queue.mapping, true).await;
    }
}

/// Messages that are delivered to two workers.
struct Delivery {
    cloud: Cloud,
    queue: Queue,
    messages: Vec<Message>,
    head_start: Duration,
    ledger: Arc<Ledger>,
    journal: Arc<Journal>,
}

impl Delivery {
    async fn run(self) {
        let second = async {
            tokio::time::sleep(self.head_start).await;
            self.work().await
        };
        let workers = futures::join!(self.work(), second);
        for message in &self.messages {
            let acknowledged = [&workers.0, &workers.1].map(|ids| ids.contains(id(message)));
            self.end(message, acknowledged).await;
        }
    }

    /// Hands the batch to a worker, and deletes the messages that it acknowledges. Returns their ids; none if the
    /// worker died.
    async fn work(&self) -> BTreeSet<String> {
        let payload = self.queue.batch(&self.messages).to_string();
        let request = self.cloud.lambda.invoke();
        let request = request.function_name(&self.queue.function);
        let answer = request.payload(Blob::new(payload)).send().await;
        let answer = answer.expect("the function is invoked");
        if answer.function_error.is_some() {
            return BTreeSet::new();
        }
        let document = answer.payload.map(Blob::into_inner).unwrap_or_default();
        let document: Value = serde_json::from_slice(&document).expect("an answer to a batch");
        let kept = kept(&document);
        let acknowledged = self.messages.iter();
        let acknowledged = acknowledged.filter(|message| !kept.contains(&id(message).to_owned()));
        let mut ids = BTreeSet::new();
        for message in acknowledged {
            self.delete(message).await;
            ids.insert(id(message).to_owned());
        }
        ids
    }

    /// Deletes a message, unless it has been deleted or received again meanwhile.
    async fn delete(&self, message: &Message) {
        let request = self.cloud.sqs.delete_message().queue_url(&self.queue.url);
        let receipt = message.receipt_handle.clone().unwrap_or_default();
        match request.receipt_handle(receipt).send().await {
            Ok(_) => {}
            Err(error) if error.code() == Some("ReceiptHandleIsInvalid") => {}
            Err(error) => panic!("deleting a message: {error:?}"),
        }
    }

    /// Counts the outcome of a message. If only one worker has acknowledged it, SQS has no message left for what the
    /// other one may have in flight; `docs/semantics.md` promises nothing in this case. So that everything else can be
    /// checked, the test sends the message once more when the other worker can have nothing in flight.
    async fn end(&self, message: &Message, acknowledged: [bool; 2]) {
        let queue = self.queue.name;
        let outcome = match acknowledged {
            [true, true] => "acknowledged by both",
            [false, false] => "acknowledged by neither",
            _ => "acknowledged by one, sent again",
        };
        self.ledger.count(OUTCOMES, outcome);
        let body = message.body.as_deref().unwrap_or_default();
        self.journal
            .note(&format!("two workers, {queue}: {outcome}: {body}"));
        if acknowledged[0] == acknowledged[1] {
            return;
        }
        let delay = visibility_of(queue).as_secs();
        let request = self.cloud.sqs.send_message().queue_url(&self.queue.url);
        request
            .message_body(body)
            .set_message_attributes(message.message_attributes.clone())
            .delay_seconds(i32::try_from(delay).unwrap_or(i32::MAX))
            .send()
            .await
            .expect("a message is sent");
    }
}

/// A message's own attributes, such as the epoch of a shard, in the form in which Lambda hands them to a function.
fn attributes_of(message: &Message) -> Value {
    let attributes = message.message_attributes.iter().flatten();
    let attributes = attributes.map(|(name, value)| {
        let value = json!({
            "stringValue": value.string_value(),
            "dataType": value.data_type(),
        });
        (name.clone(), value)
    });
    attributes.collect::<Map<String, Value>>().into()
}

fn id(message: &Message) -> &str {
    message.message_id.as_deref().unwrap_or_default()
}
