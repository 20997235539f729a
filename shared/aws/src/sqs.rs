//! The stack's queues: sends work, changes the visibility of messages, moves messages back and counts them.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName};
use serde::Serialize;
use serde_json::Value;

use crate::{Aws, AwsError};

/// Sends and counts messages.
#[derive(Debug, Clone)]
pub struct Queues {
    client: Client,
}

/// A message that `ReceiveMessage` returned. It is redelivered unless it is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its id.
    pub message_id: String,
    /// Identifies this delivery, to delete the message or to change its visibility.
    pub receipt_handle: String,
    /// Its body.
    pub body: String,
}

/// How many messages SQS returns for one request at most.
const RECEIVED_MAX: i32 = 10;
/// For how many seconds a received message is hidden. This is usually longer than a caller needs to receive all
/// messages.
const TAKEN_SECS: i32 = 300;
/// For how many seconds a request waits for messages. With any wait, SQS queries all its servers.
const WAIT_SECS: i32 = 1;

/// The message attribute that contains a shard's epoch.
pub const EPOCH_ATTRIBUTE: &str = "epoch";

/// The longest time for which SQS hides a message: 12 hours.
const VISIBILITY_SECS_MAX: i32 = 43_200;

impl Queues {
    /// Returns the queues of this account and region.
    pub fn new(aws: &Aws) -> Self {
        Self {
            client: Client::new(aws.config()),
        }
    }

    /// Sends one piece of work.
    pub async fn send(&self, queue_url: &str, work: &impl Serialize) -> Result<(), AwsError> {
        self.send_later(queue_url, work, Duration::ZERO).await
    }

    /// Sends one piece of work that SQS delivers only after `delay`, at most 15 minutes.
    pub async fn send_later(
        &self,
        queue_url: &str,
        work: &impl Serialize,
        delay: Duration,
    ) -> Result<(), AwsError> {
        let body = body_of(work)?;
        self.client
            .send_message()
            .queue_url(queue_url)
            .message_body(body)
            .delay_seconds(whole_secs(delay))
            .send()
            .await
            .map_err(|error| AwsError::request(format!("sending work to {queue_url}"), error))?;
        Ok(())
    }

    /// Sends the message of a shard's epoch. The epoch is an attribute of the message, so that a function of an older
    /// version, which refuses unknown fields, reads the message too.
    pub async fn send_shard(
        &self,
        queue_url: &str,
        work: &impl Serialize,
        epoch: u64,
        delay_secs: i32,
    ) -> Result<(), AwsError> {
        self.client
            .send_message()
            .queue_url(queue_url)
            .message_body(body_of(work)?)
            .message_attributes(EPOCH_ATTRIBUTE, epoch_attribute(epoch)?)
            .delay_seconds(delay_secs)
            .send()
            .await
            .map_err(|error| AwsError::request(format!("sending work to {queue_url}"), error))?;
        Ok(())
    }

    /// Receives some messages. The result is empty if the queue has none.
    pub async fn receive(&self, queue_url: &str) -> Result<Vec<Received>, AwsError> {
        let answer = self
            .client
            .receive_message()
            .queue_url(queue_url)
            .max_number_of_messages(RECEIVED_MAX)
            .visibility_timeout(TAKEN_SECS)
            .wait_time_seconds(WAIT_SECS)
            .send()
            .await
            .map_err(|error| {
                AwsError::request(format!("receiving messages of {queue_url}"), error)
            })?;
        let messages = answer.messages.unwrap_or_default().into_iter();
        Ok(messages
            .map(|message| Received {
                message_id: message.message_id.unwrap_or_default(),
                receipt_handle: message.receipt_handle.unwrap_or_default(),
                body: message.body.unwrap_or_default(),
            })
            .collect())
    }

    /// Moves a message from one queue to another. If the move fails half-way, the message is in both queues.
    pub async fn move_back(
        &self,
        message: &Received,
        from_url: &str,
        to_url: &str,
    ) -> Result<(), AwsError> {
        self.client
            .send_message()
            .queue_url(to_url)
            .message_body(&message.body)
            .send()
            .await
            .map_err(|error| AwsError::request(format!("moving a message to {to_url}"), error))?;
        self.client
            .delete_message()
            .queue_url(from_url)
            .receipt_handle(&message.receipt_handle)
            .send()
            .await
            .map_err(|error| {
                AwsError::request(format!("deleting a message of {from_url}"), error)
            })?;
        Ok(())
    }

    /// Sends the content of a message to a dead-letter queue.
    pub async fn give_up(
        &self,
        dead_queue_url: &str,
        body: &str,
        epoch: Option<u64>,
    ) -> Result<(), AwsError> {
        let epoch = epoch.map(epoch_attribute).transpose()?;
        self.client
            .send_message()
            .queue_url(dead_queue_url)
            .message_body(body)
            .set_message_attributes(epoch.map(|epoch| [(EPOCH_ATTRIBUTE.to_owned(), epoch)].into()))
            .send()
            .await
            .map_err(|error| {
                AwsError::request(format!("moving a message to {dead_queue_url}"), error)
            })?;
        Ok(())
    }

    /// Sets when a received message is redelivered: after `delay` instead of the queue's visibility timeout.
    pub async fn change_visibility(
        &self,
        queue_url: &str,
        receipt_handle: &str,
        delay: Duration,
    ) -> Result<(), AwsError> {
        self.client
            .change_message_visibility()
            .queue_url(queue_url)
            .receipt_handle(receipt_handle)
            .visibility_timeout(whole_secs(delay).min(VISIBILITY_SECS_MAX))
            .send()
            .await
            .map_err(|error| {
                AwsError::request(
                    format!("changing the visibility of a message of {queue_url}"),
                    error,
                )
            })?;
        Ok(())
    }

    /// Returns approximately how many messages a queue contains: waiting, delayed and in processing.
    pub async fn depth(&self, queue_url: &str) -> Result<u64, AwsError> {
        let counted = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let answer = self
            .client
            .get_queue_attributes()
            .queue_url(queue_url)
            .set_attribute_names(Some(counted.to_vec()))
            .send()
            .await
            .map_err(|error| {
                AwsError::request(format!("counting the messages of {queue_url}"), error)
            })?;
        let attributes = answer.attributes.unwrap_or_default();
        Ok(attributes
            .values()
            .filter_map(|count| count.parse::<u64>().ok())
            .sum())
    }

    /// Whether the queue's policy allows every one of these AWS services to send to the queue.
    pub async fn takes_from(&self, queue_url: &str, services: &[&str]) -> Result<bool, AwsError> {
        let answer = self
            .client
            .get_queue_attributes()
            .queue_url(queue_url)
            .attribute_names(QueueAttributeName::Policy)
            .send()
            .await
            .map_err(|error| {
                AwsError::request(format!("reading the policy of {queue_url}"), error)
            })?;
        let policy = answer
            .attributes()
            .and_then(|attributes| attributes.get(&QueueAttributeName::Policy));
        let lets = |policy: &String| services.iter().all(|service| lets_send(policy, service));
        Ok(policy.is_some_and(lets))
    }
}

fn epoch_attribute(epoch: u64) -> Result<MessageAttributeValue, AwsError> {
    MessageAttributeValue::builder()
        .data_type("Number")
        .string_value(epoch.to_string())
        .build()
        .map_err(|error| AwsError::unexpected("serializing an epoch", error))
}

/// S3, as queue policies name it.
pub const S3: &str = "s3.amazonaws.com";
/// EventBridge, as queue policies name it.
pub const EVENTS: &str = "events.amazonaws.com";
/// SNS, as queue policies name it.
pub const SNS: &str = "sns.amazonaws.com";

/// Whether a queue's policy has a statement that allows a service to send to the queue. It ignores conditions.
fn lets_send(policy: &str, service: &str) -> bool {
    let any_of = |value: &Value, wanted: &[&str]| match value {
        Value::String(one) => wanted.contains(&one.to_ascii_lowercase().as_str()),
        Value::Array(several) => several.iter().any(|one| {
            one.as_str()
                .is_some_and(|one| wanted.contains(&one.to_ascii_lowercase().as_str()))
        }),
        _ => false,
    };
    let lets = |statement: &Value| {
        statement["Effect"] == "Allow"
            && any_of(&statement["Principal"]["Service"], &[service])
            && any_of(&statement["Action"], &["sqs:sendmessage", "sqs:*"])
    };
    let policy: Value = serde_json::from_str(policy).unwrap_or_default();
    match &policy["Statement"] {
        Value::Array(statements) => statements.iter().any(lets),
        statement => lets(statement),
    }
}

fn whole_secs(delay: Duration) -> i32 {
    i32::try_from(delay.as_secs()).unwrap_or(i32::MAX)
}

/// Returns a piece of work as a message body. Keys may contain U+FFFE and U+FFFF, which SQS does not accept
/// (`SendMessage`, API reference). So both are escaped.
fn body_of(work: &impl Serialize) -> Result<String, AwsError> {
    let body = serde_json::to_string(work)
        .map_err(|error| AwsError::unexpected("serializing work", error))?;
    Ok(body
        .replace('\u{fffe}', "\\ufffe")
        .replace('\u{ffff}', "\\uffff"))
}

#[cfg(test)]
mod tests {
    use tandem_replication::Timestamp;
    use tandem_replication::names::{ObjectKey, RuleId};
    use tandem_replication::overwrite::Overwrite;
    use tandem_replication::work::Work;

    use super::*;

    #[test]
    fn a_service_may_send_only_if_a_statement_allows_it() {
        let statement = |effect: &str, service: &str, action: &str| {
            format!(
                r#"{{"Effect": "{effect}", "Principal": {{"Service": {service}}}, "Action": {action}}}"#
            )
        };
        let s3 = r#""s3.amazonaws.com""#;
        for (statements, lets) in [
            (statement("Allow", s3, r#""sqs:SendMessage""#), true),
            (statement("Allow", s3, r#"["SQS:SendMessage"]"#), true),
            (
                format!("[{}]", statement("Allow", &format!("[{s3}]"), r#""sqs:*""#)),
                true,
            ),
            (statement("Deny", s3, r#""sqs:SendMessage""#), false),
            (
                statement("Allow", r#""sns.amazonaws.com""#, r#""sqs:SendMessage""#),
                false,
            ),
            (statement("Allow", s3, r#""sqs:ReceiveMessage""#), false),
            ("[]".to_owned(), false),
        ] {
            let policy = format!(r#"{{"Statement": {statements}}}"#);
            assert_eq!(lets_send(&policy, S3), lets, "{policy}");
        }
        let sns = statement("Allow", r#""sns.amazonaws.com""#, r#""sqs:SendMessage""#);
        assert!(lets_send(&format!(r#"{{"Statement": {sns}}}"#), SNS));
        assert!(!lets_send("no JSON", S3));
    }

    #[test]
    fn a_message_preserves_every_character_of_a_key() {
        let work = Work::Object {
            own: None,
            rule_id: RuleId::new("r"),
            key: ObjectKey::parse("\u{1}\n\u{fffe}ü\u{ffff}\u{10ffff}\\").unwrap(),
            event_time: Timestamp::UNIX_EPOCH,
            overwrite: Overwrite::Never,
            hops: 0,
        };
        let body = body_of(&work).unwrap();
        let taken = |c: char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
        assert!(body.chars().all(taken), "{body}");
        assert_eq!(serde_json::from_str::<Work>(&body).unwrap(), work);
    }
}
