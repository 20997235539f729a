//! A stack with shorter timeouts: messages that functions delay by minutes are redelivered sooner. The functions'
//! requests are signed and cannot be changed, so the proxy sends other requests in their place.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::MessageAttributeValue;
use hyper::Response;
use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::proxy::Seen;

/// The longest times for which messages may wait.
#[derive(Debug)]
pub struct ShorterWaits {
    /// The client that sends the requests.
    pub sqs: Client,
    /// The maximum delay of a message: the time after which a failed attempt has nothing in flight. It is shorter too
    /// in a stack with shorter timeouts.
    pub delay_max: Duration,
    /// The maximum to which a visibility timeout is extended.
    pub visibility_max: Duration,
}

impl ShorterWaits {
    /// Returns the request to send in place of this one, if this one would make a message wait for too long.
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

/// A request to make a message wait for a shorter time.
#[derive(Debug)]
pub struct Wait {
    sqs: Client,
    secs: i32,
    request: Value,
}

impl Wait {
    /// The message's own attributes, which are text or numbers.
    fn attributes(&self) -> HashMap<String, MessageAttributeValue> {
        let attributes = self.request["MessageAttributes"].as_object();
        let attributes = attributes.into_iter().flatten().map(|(name, value)| {
            let text = |field: &str| value[field].as_str().map(str::to_owned);
            let attribute = MessageAttributeValue::builder()
                .set_data_type(text("DataType"))
                .set_string_value(text("StringValue"))
                .build();
            (name.clone(), attribute.expect("an attribute"))
        });
        attributes.collect()
    }

    /// Sends the request and returns the service's answer.
    pub async fn ask(self) -> Result<Response<Bytes>, &'static str> {
        let text = |field: &str| self.request[field].as_str().map(str::to_owned);
        let answer = if self.request["MessageBody"].is_string() {
            let request = self.sqs.send_message().delay_seconds(self.secs);
            let request = request.set_queue_url(text("QueueUrl"));
            let request = request.set_message_attributes(Some(self.attributes()));
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
