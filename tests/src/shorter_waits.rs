//! A stack with shorter timeouts: messages that functions delay by minutes are redelivered sooner. The functions'
//! requests are signed and cannot be changed, so others are made in their place.

use std::time::Duration;

use aws_sdk_sqs::Client;
use hyper::Response;
use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::proxy::Seen;

/// For how long messages may wait.
#[derive(Debug)]
pub struct ShorterWaits {
    /// The client that makes the requests.
    pub sqs: Client,
    /// Messages are delayed for this long at most: the time after which nothing of a failed attempt can be
    /// at work, which a stack with shorter timeouts has shorter too.
    pub delay_max: Duration,
    /// A visibility timeout is extended to this at most.
    pub visibility_max: Duration,
}

impl ShorterWaits {
    /// Returns the request that takes the place of this one, if this one would let a message wait for too long.
    pub fn instead_of(&self, seen: &Seen, body: &Bytes) -> Option<Wait> {
        let (field, longest) = match seen.operation.as_str() {
            "SQS.SendMessage" => ("DelaySeconds", self.delay_max),
            "SQS.ChangeMessageVisibility" => ("VisibilityTimeout", self.visibility_max),
            _ => return None,
        };
        let request: Value = serde_json::from_slice(body).ok()?;
        let is_longer = request[field].as_u64()? > longest.as_secs();
        is_longer.then(|| Wait {
            sqs: self.sqs.clone(),
            secs: i32::try_from(longest.as_secs()).unwrap_or(i32::MAX),
            request,
        })
    }
}

/// A request to let a message wait for a shorter time.
#[derive(Debug)]
pub struct Wait {
    sqs: Client,
    secs: i32,
    request: Value,
}

impl Wait {
    /// Makes the request and returns the service's answer.
    pub async fn ask(self) -> Result<Response<Bytes>, &'static str> {
        let text = |field: &str| self.request[field].as_str().map(str::to_owned);
        let answer = if self.request["MessageBody"].is_string() {
            let request = self.sqs.send_message().delay_seconds(self.secs);
            let request = request.set_queue_url(text("QueueUrl"));
            let sent = request.set_message_body(text("MessageBody")).send().await;
            let sent = sent.map_err(|_| "the message cannot be sent")?;
            json!({"MessageId": sent.message_id, "MD5OfMessageBody": sent.md5_of_message_body})
        } else {
            let request = self.sqs.change_message_visibility();
            let request = request.visibility_timeout(self.secs);
            let request = request.set_queue_url(text("QueueUrl"));
            let changed = request.set_receipt_handle(text("ReceiptHandle"));
            let changed = changed.send().await;
            changed.map_err(|_| "the visibility timeout cannot be changed")?;
            json!({})
        };
        Ok(Response::new(answer.to_string().into()))
    }
}
