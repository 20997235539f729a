//! The local cloud with Tandem deployed: its clients, and the contract of the functions.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_sqs::types::QueueAttributeName;
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::buckets::Buckets;
use crate::endpoint;

/// The stack's own region, where sources are.
pub const EAST: &str = "us-east-1";
/// The region of destinations, unless a test chooses another one.
pub const WEST: &str = "us-west-2";

/// An item of the rule table.
pub type Item = HashMap<String, AttributeValue>;

/// The cloud.
#[derive(Debug, Clone)]
pub struct Cloud {
    /// Its address.
    pub endpoint: String,
    /// The configuration of the clients.
    pub config: SdkConfig,
    /// The stack's name.
    pub stack: String,
    /// Functions.
    pub lambda: aws_sdk_lambda::Client,
    /// Queues.
    pub sqs: aws_sdk_sqs::Client,
    /// The rule table.
    pub dynamodb: aws_sdk_dynamodb::Client,
}

/// A function's error, as the contract defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionError {
    /// `errorType`.
    pub code: String,
    /// `errorMessage`.
    pub message: String,
}

impl FunctionError {
    /// Reads a function's error document.
    pub fn read(document: &Value) -> Self {
        let text = |field: &str| document[field].as_str().unwrap_or_default().to_owned();
        Self {
            code: text("errorType"),
            message: text("errorMessage"),
        }
    }
}

/// A message that was taken from a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedMessage {
    /// Its id.
    pub id: String,
    /// Its body.
    pub body: String,
    /// The epoch of a shard's message.
    pub epoch: Option<String>,
}

impl Cloud {
    /// Connects to the cloud that the environment names.
    ///
    /// # Panics
    /// If that is not on this machine.
    pub async fn connect() -> Self {
        let endpoint = endpoint::from_environment();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(EAST))
            .endpoint_url(&endpoint)
            .load()
            .await;
        Self {
            stack: std::env::var("TANDEM_STACK_NAME").expect("TANDEM_STACK_NAME: run `make test`"),
            lambda: aws_sdk_lambda::Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            endpoint,
            config,
        }
    }

    /// The same cloud, with an S3 for the owner of another account.
    #[must_use]
    pub fn of_account(&self, account: &str) -> Self {
        let keys = Credentials::new(account, "test", None, None, "a test");
        let config = self.config.to_builder();
        Self {
            config: config
                .credentials_provider(SharedCredentialsProvider::new(keys))
                .build(),
            ..self.clone()
        }
    }

    /// An S3 client for a region.
    pub fn s3(&self, region: &'static str) -> aws_sdk_s3::Client {
        self.s3_at(&self.endpoint, region)
    }

    /// An S3 client for a region at another address.
    pub fn s3_at(&self, url: &str, region: &'static str) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::from(&self.config)
            .region(Region::new(region))
            .endpoint_url(url)
            .force_path_style(true)
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }

    /// Invokes one of the stack's functions and waits for its answer.
    pub async fn invoke(&self, function: &str, payload: Value) -> Result<Value, FunctionError> {
        let answer = self
            .lambda
            .invoke()
            .function_name(format!("{}-{function}", self.stack))
            .payload(Blob::new(payload.to_string()))
            .send()
            .await
            .unwrap_or_else(|error| panic!("invoking {function}: {error:?}"));
        let document = answer.payload.map(Blob::into_inner).unwrap_or_default();
        let document = serde_json::from_slice(&document).unwrap_or_else(|error| {
            panic!(
                "{function} answered {:?}: {error}",
                String::from_utf8_lossy(&document)
            )
        });
        match answer.function_error {
            None => Ok(document),
            Some(_) => Err(FunctionError::read(&document)),
        }
    }

    /// Sends a request to `configure-rule`.
    pub async fn configure(&self, request: Value) -> Result<Value, FunctionError> {
        self.invoke("configure-rule", request).await
    }

    /// Makes a rule for the pair; `fields` are the request's other fields. Returns the rule.
    pub async fn create(&self, buckets: &Buckets, fields: Value) -> Result<Value, FunctionError> {
        let mut request = json!({
            "action": "create",
            "source": buckets.source.name,
            "destination": buckets.destination.name,
        });
        let fields = fields.as_object().cloned().unwrap_or_default();
        request.as_object_mut().expect("an object").extend(fields);
        Ok(self.configure(request).await?["rule"].take())
    }

    /// Makes a rule for the pair, and panics if it is refused. Returns its id.
    pub async fn rule(&self, buckets: &Buckets, fields: Value) -> String {
        let rule = self
            .create(buckets, fields)
            .await
            .expect("the rule is accepted");
        assert_eq!(rule["state"], "enabled", "{rule}");
        rule["id"].as_str().expect("an id").to_owned()
    }

    /// Makes a rule, and removes the source's notifications, so that only the test causes events.
    pub async fn quiet_rule(&self, buckets: &Buckets, fields: Value) -> String {
        let id = self.rule(buckets, fields).await;
        buckets
            .source
            .set_notifications(aws_sdk_s3::types::NotificationConfiguration::builder().build())
            .await;
        id
    }

    /// Applies `action` to a rule, and panics if it is refused. Returns the rule.
    pub async fn change(&self, action: &str, rule: &str) -> Value {
        self.configure(json!({"action": action, "rule": rule}))
            .await
            .unwrap_or_else(|error| panic!("{action} {rule}: {error:?}"))["rule"]
            .take()
    }

    /// A rule's progress.
    pub async fn progress(&self, rule: &str) -> Value {
        self.configure(json!({"action": "progress", "rule": rule}))
            .await
            .expect("progress")
    }

    /// The environment variables that the template gives a function.
    pub async fn variables(&self, function: &str) -> BTreeMap<String, String> {
        let answer = self
            .lambda
            .get_function_configuration()
            .function_name(format!("{}-{function}", self.stack))
            .send()
            .await
            .expect("the function's configuration");
        let variables = answer
            .environment
            .and_then(|environment| environment.variables);
        variables.unwrap_or_default().into_iter().collect()
    }

    /// The rule table's name.
    pub async fn table(&self) -> String {
        self.variables("configure-rule").await["TANDEM_RULE_TABLE"].clone()
    }

    /// Sets an attribute of some items to a time this long ago: of the items whose partition begins so and that contain
    /// `id`.
    pub async fn set_back(&self, partition: &str, id: &str, attribute: &str, ago: TimeDelta) {
        let at = (Utc::now() - ago).to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let table = self.table().await;
        let items = self.items_with(id).await;
        let mine = items.into_iter().filter(|item| {
            let pk = item["pk"].as_s().expect("a key");
            pk.starts_with(partition) && item.contains_key(attribute)
        });
        for item in mine {
            self.dynamodb
                .update_item()
                .table_name(&table)
                .key("pk", item["pk"].clone())
                .key("sk", item["sk"].clone())
                .update_expression("SET #a = :at")
                .expression_attribute_names("#a", attribute)
                .expression_attribute_values(":at", AttributeValue::S(at.clone()))
                .send()
                .await
                .expect("an item that is set back");
        }
    }

    /// Every item of the rule table in which `text` occurs.
    pub async fn items_with(&self, text: &str) -> Vec<Item> {
        let mut pages = self
            .dynamodb
            .scan()
            .table_name(self.table().await)
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut found = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.expect("the rule table");
            if format!("{item:?}").contains(text) {
                found.push(item);
            }
        }
        found
    }

    /// The URL of one of the stack's queues.
    pub async fn queue_url(&self, queue: &str) -> String {
        let name = format!("{}-{queue}", self.stack);
        let answer = self.sqs.get_queue_url().queue_name(name).send().await;
        answer.expect("the stack's queue").queue_url.expect("a URL")
    }

    /// Creates a queue for the test. Returns its URL.
    pub async fn own_queue(&self) -> String {
        let answer = self
            .sqs
            .create_queue()
            .queue_name(unique("queue"))
            .send()
            .await;
        answer.expect("a queue").queue_url.expect("a URL")
    }

    /// The ARN of a queue.
    pub async fn queue_arn(&self, queue_url: &str) -> String {
        let answer = self
            .sqs
            .get_queue_attributes()
            .queue_url(queue_url)
            .attribute_names(QueueAttributeName::QueueArn)
            .send()
            .await
            .expect("a queue's attributes");
        answer.attributes.expect("attributes")[&QueueAttributeName::QueueArn].clone()
    }

    /// Sends a message.
    pub async fn send(&self, queue_url: &str, body: &str) {
        self.sqs
            .send_message()
            .queue_url(queue_url)
            .message_body(body)
            .send()
            .await
            .expect("a message is sent");
    }

    /// Takes every message that a queue has now, and returns their bodies.
    pub async fn drain(&self, queue_url: &str) -> Vec<String> {
        let messages = self.take_messages(queue_url).await.into_iter();
        messages.map(|message| message.body).collect()
    }

    /// Takes every message that a queue has now.
    pub async fn take_messages(&self, queue_url: &str) -> Vec<QueuedMessage> {
        let mut taken = Vec::new();
        loop {
            let answer = self
                .sqs
                .receive_message()
                .queue_url(queue_url)
                .max_number_of_messages(10)
                .message_attribute_names("All")
                .send()
                .await
                .expect("messages");
            let messages = answer.messages.unwrap_or_default();
            if messages.is_empty() {
                return taken;
            }
            for message in messages {
                self.sqs
                    .delete_message()
                    .queue_url(queue_url)
                    .receipt_handle(message.receipt_handle.unwrap_or_default())
                    .send()
                    .await
                    .expect("a message is deleted");
                let attributes = message.message_attributes.unwrap_or_default();
                let epoch = attributes.get("epoch");
                taken.push(QueuedMessage {
                    id: message.message_id.expect("an id"),
                    body: message.body.unwrap_or_default(),
                    epoch: epoch.and_then(|epoch| epoch.string_value.clone()),
                });
            }
        }
    }
}

/// A name that is used nowhere else, in this or another run.
pub fn unique(what: &str) -> String {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let millis = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    format!("{what}-{millis:x}-{:x}-{made}", std::process::id())
}
