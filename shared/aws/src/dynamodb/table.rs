//! The table: the keys of its items, and how items are read and written. Everything about an item's form stays in
//! this crate.
//!
//! | item | `pk` | `sk` |
//! |---|---|---|
//! | rule | `rule` | rule id |
//! | claim on a bucket | `bucket` | bucket name |
//! | job | `job#` rule id | job id |
//! | shard of a job | `shard#` job id `#` plan id | six digits |
//! | limits of a job | `limit#` job id | `pace`, `deletes` |
//! | deferred key | `held#` rule id `#` partition | object key |
//! | progress mark of a replay | `replay#` rule id | partition |
//! | failure | `failure#` rule id | object key |
//! | transfer | `transfer#` rule id | object key |
//! | multipart upload | `upload#` rule id | the entry's id |
//! | watermark | `watermark` | rule id |
//!
//! A sort key has at most 1,024 bytes, exactly as many as an object key.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, Select};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Aws, AwsError};

/// An item as the table stores it.
pub type Item = HashMap<String, AttributeValue>;

/// The table and its client. Every read is strongly consistent.
#[derive(Debug, Clone)]
pub struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
}

impl Table {
    /// Returns the table with this name.
    pub fn new(aws: &Aws, name: impl Into<String>) -> Self {
        Self {
            client: Client::new(aws.config()),
            name: name.into(),
        }
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        pk: &str,
        sk: &str,
    ) -> Result<Option<T>, AwsError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(key(pk, sk)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| AwsError::request(format!("reading {pk} {sk}"), error))?;
        answer.item.map(|item| parsed(pk, item)).transpose()
    }

    pub(crate) async fn put<T: Serialize>(
        &self,
        pk: &str,
        sk: &str,
        value: &T,
    ) -> Result<(), AwsError> {
        self.client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item(pk, sk, value)?))
            .send()
            .await
            .map_err(|error| AwsError::request(format!("writing {pk} {sk}"), error))?;
        Ok(())
    }

    pub(crate) async fn delete(&self, pk: &str, sk: &str) -> Result<(), AwsError> {
        self.client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(key(pk, sk)))
            .send()
            .await
            .map_err(|error| AwsError::request(format!("deleting {pk} {sk}"), error))?;
        Ok(())
    }

    /// Returns a query for the items of one `pk`, in the order of their `sk`.
    fn items_of(&self, pk: &str) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.name)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
    }

    /// Returns at most `limit` items of one `pk` after `after`, in the order of their `sk`.
    pub(crate) async fn page<T: DeserializeOwned>(
        &self,
        pk: &str,
        after: Option<&str>,
        limit: i32,
    ) -> Result<Vec<T>, AwsError> {
        let answer = self
            .items_of(pk)
            .set_exclusive_start_key(after.map(|after| key(pk, after)))
            .limit(limit)
            .send()
            .await
            .map_err(|error| AwsError::request(format!("reading {pk}"), error))?;
        answer
            .items
            .unwrap_or_default()
            .into_iter()
            .map(|item| parsed(pk, item))
            .collect()
    }

    /// Whether one `pk` has any item.
    pub(crate) async fn any(&self, pk: &str) -> Result<bool, AwsError> {
        let answer = self
            .items_of(pk)
            .select(Select::Count)
            .limit(1)
            .send()
            .await
            .map_err(|error| AwsError::request(format!("reading {pk}"), error))?;
        Ok(answer.count > 0)
    }

    /// Deletes all items of one `pk`. It does not parse them.
    pub(crate) async fn remove_all(&self, pk: &str) -> Result<(), AwsError> {
        let doing = || format!("removing {pk}");
        let mut pages = self
            .items_of(pk)
            .projection_expression("pk, sk")
            .into_paginator()
            .items()
            .send();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| AwsError::request(doing(), error))?;
            self.client
                .delete_item()
                .table_name(&self.name)
                .set_key(Some(item))
                .send()
                .await
                .map_err(|error| AwsError::request(doing(), error))?;
        }
        Ok(())
    }

    /// Returns all items of one `pk`, in the order of their `sk`.
    pub(crate) async fn all<T: DeserializeOwned>(&self, pk: &str) -> Result<Vec<T>, AwsError> {
        let mut pages = self.items_of(pk).into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| AwsError::request(format!("reading {pk}"), error))?;
            found.push(parsed(pk, item)?);
        }
        Ok(found)
    }

    /// Returns the item of one `pk` with the greatest `sk`.
    pub(crate) async fn newest<T: DeserializeOwned>(
        &self,
        pk: &str,
    ) -> Result<Option<T>, AwsError> {
        let answer = self
            .items_of(pk)
            .scan_index_forward(false)
            .limit(1)
            .send()
            .await
            .map_err(|error| AwsError::request(format!("reading {pk}"), error))?;
        answer
            .items
            .unwrap_or_default()
            .into_iter()
            .next()
            .map(|item| parsed(pk, item))
            .transpose()
    }

    /// Returns how many items one `pk` has.
    pub(crate) async fn count(&self, pk: &str) -> Result<u64, AwsError> {
        let mut pages = self
            .items_of(pk)
            .select(Select::Count)
            .into_paginator()
            .send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| AwsError::request(format!("counting {pk}"), error))?;
            count += u64::try_from(page.count()).unwrap_or_default();
        }
        Ok(count)
    }
}

/// Returns the key of an item.
pub(crate) fn key(pk: &str, sk: &str) -> Item {
    HashMap::from([
        ("pk".to_owned(), AttributeValue::S(pk.to_owned())),
        ("sk".to_owned(), AttributeValue::S(sk.to_owned())),
    ])
}

/// Returns a value as an item, with its key.
pub(crate) fn item<T: Serialize>(pk: &str, sk: &str, value: &T) -> Result<Item, AwsError> {
    let mut item: Item = serde_dynamo::aws_sdk_dynamodb_1::to_item(value)
        .map_err(|error| AwsError::unexpected(format!("writing {pk} {sk}"), error))?;
    item.extend(key(pk, sk));
    Ok(item)
}

/// Returns an item as a value. It ignores attributes that this version does not know. If a value cannot be read, the
/// error names the item, and the attribute if it is known.
pub(crate) fn parsed<T: DeserializeOwned>(pk: &str, mut item: Item) -> Result<T, AwsError> {
    let sk = match item.get("sk") {
        Some(AttributeValue::S(sk)) => sk.clone(),
        _ => String::new(),
    };
    let mut foreign = Vec::new();
    for (name, value) in &mut item {
        bar_foreign_types(name, value, &mut foreign);
    }
    let reader = serde_dynamo::Deserializer::from_attribute_value(AttributeValue::M(item).into());
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let doing = format!("reading the item {pk} {sk}");
        AwsError::unexpected(doing, described(&error, &foreign))
    })
}

/// Bytes that are not UTF-8, so that every field rejects them.
const UNREADABLE: &[u8] = &[0xff];

/// Replaces every value of a type that Tandem never writes (binary values, other sets, types of later SDKs) by one
/// that every field rejects, and adds its path to `foreign`. Without this, serde would read binary values as text where
/// fields are flattened, and sets as lists. Attributes that this version does not know may still have any type.
fn bar_foreign_types(path: &str, value: &mut AttributeValue, foreign: &mut Vec<String>) {
    match value {
        AttributeValue::S(_)
        | AttributeValue::N(_)
        | AttributeValue::Bool(_)
        | AttributeValue::Null(_) => {}
        // The copied ranges of a transfer: the only set that Tandem writes.
        AttributeValue::Ns(_) if path == "done" => {}
        AttributeValue::L(values) => {
            for (at, value) in values.iter_mut().enumerate() {
                bar_foreign_types(&format!("{path}[{at}]"), value, foreign);
            }
        }
        AttributeValue::M(fields) => {
            for (name, value) in fields {
                bar_foreign_types(&format!("{path}.{name}"), value, foreign);
            }
        }
        _ => {
            foreign.push(path.to_owned());
            *value = AttributeValue::B(Blob::new(UNREADABLE));
        }
    }
}

/// Describes why an item cannot be read. Where fields are flattened, serde loses the attribute's name. The description
/// then lists the attributes of foreign types.
fn described(
    error: &serde_path_to_error::Error<serde_dynamo::Error>,
    foreign: &[String],
) -> String {
    let known = error.path().iter().next().is_some();
    match (known, foreign) {
        (true, _) => format!("attribute {}: {}", error.path(), error.inner()),
        (false, []) => error.inner().to_string(),
        (false, foreign) => format!(
            "{} (attributes of another type: {})",
            error.inner(),
            foreign.join(", ")
        ),
    }
}

/// Returns a text as an attribute.
pub(crate) fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

/// Returns whether the condition of a write held.
pub(crate) fn conditional<T, E>(
    doing: String,
    written: Result<T, SdkError<E, Response>>,
) -> Result<bool, AwsError>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match written {
        Ok(_) => Ok(true),
        Err(error) => {
            let error = AwsError::request(doing, error);
            let refused = error.is("ConditionalCheckFailedException")
                || error.is("TransactionCanceledException");
            if refused { Ok(false) } else { Err(error) }
        }
    }
}
