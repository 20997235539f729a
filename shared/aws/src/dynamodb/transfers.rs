//! Stores the state of transfers in the table. A key has at most one transfer. Every write is conditional on its id.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use serde::{Deserialize, Serialize};
use tandem_replication::Timestamp;
use tandem_replication::by_name;
use tandem_replication::names::{ObjectKey, RuleId, TransferId};
use tandem_replication::object::Checksum;
use tandem_replication::overwrite::Overwrite;
use tandem_replication::part_layout::PartLayout;
use tandem_replication::transfer::ports::{Answer, Transfers};
use tandem_replication::transfer::{Invalidated, LoggedUpload, Transfer, TransferSource};

use crate::AwsError;
use crate::dynamodb::table::{Item, Table, conditional, item, key, parsed, text};

/// A transfer as the table stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TransferItem {
    id: TransferId,
    key: ObjectKey,
    #[serde(deserialize_with = "by_name::required")]
    source: TransferSource,
    layout: PartLayout,
    range_bytes: u64,
    #[serde(deserialize_with = "by_name::required")]
    upload: LoggedUpload,
    records_etag: bool,
    #[serde(default, deserialize_with = "by_name::optional")]
    checksum: Option<Checksum>,
    started_at: Timestamp,
    progressed_at: Timestamp,
    sent: bool,
    event_time: Option<Timestamp>,
    #[serde(default)]
    overwrite: Overwrite,
    #[serde(default)]
    hops: u32,
    /// Why the transfer has to be restarted. The attribute keeps its original name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    void: Option<Invalidated>,
    #[serde(
        default,
        skip_serializing_if = "BTreeSet::is_empty",
        with = "done_ranges"
    )]
    done: BTreeSet<u32>,
}

impl From<&Transfer> for TransferItem {
    fn from(transfer: &Transfer) -> Self {
        let transfer = transfer.clone();
        Self {
            id: transfer.id,
            key: transfer.key,
            source: transfer.source,
            layout: transfer.layout,
            range_bytes: transfer.range_bytes,
            upload: transfer.upload,
            records_etag: transfer.records_etag,
            checksum: transfer.checksum,
            started_at: transfer.started_at,
            progressed_at: transfer.progressed_at,
            sent: transfer.sent,
            event_time: transfer.event_time,
            overwrite: transfer.overwrite,
            hops: transfer.hops,
            void: transfer.invalidated,
            done: transfer.done,
        }
    }
}

impl From<TransferItem> for Transfer {
    fn from(item: TransferItem) -> Self {
        Self {
            id: item.id,
            key: item.key,
            source: item.source,
            layout: item.layout,
            range_bytes: item.range_bytes,
            upload: item.upload,
            records_etag: item.records_etag,
            checksum: item.checksum,
            started_at: item.started_at,
            progressed_at: item.progressed_at,
            sent: item.sent,
            event_time: item.event_time,
            overwrite: item.overwrite,
            hops: item.hops,
            invalidated: item.void,
            done: item.done,
        }
    }
}

/// Stores the copied ranges as a number set, because DynamoDB can add only a number set to a number set.
mod done_ranges {
    use std::collections::BTreeSet;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        done: &BTreeSet<u32>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serde_dynamo::number_set::serialize(done, serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<u32>, D::Error> {
        BTreeSet::deserialize(deserializer)
    }
}

fn transfers_of(rule: &RuleId) -> String {
    format!("transfer#{rule}")
}

impl Table {
    /// Returns the transfer of a key, if there is one.
    pub async fn transfer(
        &self,
        rule: &RuleId,
        object: &ObjectKey,
    ) -> Result<Option<Transfer>, AwsError> {
        let found: Option<TransferItem> = self.get(&transfers_of(rule), object.as_str()).await?;
        Ok(found.map(Transfer::from))
    }

    /// Returns all transfers of a rule, by key.
    pub async fn transfers(&self, rule: &RuleId) -> Result<Vec<Transfer>, AwsError> {
        let items: Vec<TransferItem> = self.all(&transfers_of(rule)).await?;
        Ok(items.into_iter().map(Transfer::from).collect())
    }

    /// Stores a new transfer if its key has none. Returns whether it did so.
    pub async fn begin_transfer(
        &self,
        rule: &RuleId,
        transfer: &Transfer,
    ) -> Result<bool, AwsError> {
        let object = transfer.key.as_str();
        let written = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item(
                &transfers_of(rule),
                object,
                &TransferItem::from(transfer),
            )?))
            .condition_expression("attribute_not_exists(pk)")
            .send()
            .await;
        conditional(format!("beginning the transfer of {object:?}"), written)
    }

    /// Stores whether every open range has a message. Returns whether the key still has this transfer.
    pub async fn mark_sent(
        &self,
        rule: &RuleId,
        transfer: &Transfer,
        sent: bool,
        at: Timestamp,
    ) -> Result<bool, AwsError> {
        let object = transfer.key.as_str();
        let written = self
            .update(rule, transfer)
            .update_expression("SET sent = :sent, progressed_at = :at")
            .expression_attribute_values(":sent", AttributeValue::Bool(sent))
            .expression_attribute_values(":at", instant(at)?)
            .send()
            .await;
        conditional(format!("updating the transfer of {object:?}"), written)
    }

    /// Records that a transfer has to be restarted, and why. Returns whether the key still has this transfer.
    pub async fn invalidate_transfer(
        &self,
        rule: &RuleId,
        transfer: &Transfer,
        why: Invalidated,
    ) -> Result<bool, AwsError> {
        let object = transfer.key.as_str();
        let void = serde_dynamo::aws_sdk_dynamodb_1::to_attribute_value(why)
            .map_err(|error| AwsError::unexpected("invalidating a transfer", error))?;
        let written = self
            .update(rule, transfer)
            // The first reason is the cause. Later ones may be its consequences.
            .update_expression("SET #void = if_not_exists(#void, :void)")
            .expression_attribute_names("#void", "void")
            .expression_attribute_values(":void", void)
            .send()
            .await;
        conditional(format!("updating the transfer of {object:?}"), written)
    }

    /// Records that a range has been copied. Idempotent. Returns the transfer after this, or `None` if the transfer is
    /// over.
    pub async fn range_done(
        &self,
        rule: &RuleId,
        transfer: &Transfer,
        range: u32,
        at: Timestamp,
    ) -> Result<Option<Transfer>, AwsError> {
        let object = transfer.key.as_str();
        let pk = transfers_of(rule);
        let written = self
            .update(rule, transfer)
            .update_expression("ADD done :range SET progressed_at = :at")
            .expression_attribute_values(":range", AttributeValue::Ns(vec![range.to_string()]))
            .expression_attribute_values(":at", instant(at)?)
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match written {
            Ok(answer) => {
                let item: Item = answer.attributes.unwrap_or_default();
                parsed::<TransferItem>(&pk, item).map(|item| Some(Transfer::from(item)))
            }
            Err(error) => {
                let doing = format!("recording a copied range of {object:?}");
                refused_is(None, AwsError::request(doing, error))
            }
        }
    }

    /// Removes a transfer, if the key still has this one. Returns whether it did so.
    pub async fn end_transfer(&self, rule: &RuleId, transfer: &Transfer) -> Result<bool, AwsError> {
        let object = transfer.key.as_str();
        let deleted = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(key(&transfers_of(rule), object)))
            .condition_expression("id = :id")
            .expression_attribute_values(":id", text(transfer.id.as_str()))
            .send()
            .await;
        conditional(format!("ending the transfer of {object:?}"), deleted)
    }

    /// Returns an update that applies only if the key still has this transfer.
    fn update(&self, rule: &RuleId, transfer: &Transfer) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(&transfers_of(rule), transfer.key.as_str())))
            .condition_expression("id = :id")
            .expression_attribute_values(":id", text(transfer.id.as_str()))
    }

    /// Removes every transfer of a rule.
    pub async fn remove_transfers(&self, rule: &RuleId) -> Result<(), AwsError> {
        self.remove_all(&transfers_of(rule)).await
    }
}

/// Returns an instant in the form in which items store it.
fn instant(at: Timestamp) -> Result<AttributeValue, AwsError> {
    serde_dynamo::aws_sdk_dynamodb_1::to_attribute_value(at)
        .map_err(|error| AwsError::unexpected("serializing an instant", error))
}

/// Returns `refused` if the condition of a write did not hold, and any other error as it is.
fn refused_is<T>(refused: T, error: AwsError) -> Result<T, AwsError> {
    if error.is("ConditionalCheckFailedException") {
        Ok(refused)
    } else {
        Err(error)
    }
}

/// The transfers of one rule.
#[derive(Debug, Clone, Copy)]
pub struct RuleTransfers<'a> {
    /// The table.
    pub table: &'a Table,
    /// The rule.
    pub rule: &'a RuleId,
}

impl Transfers for RuleTransfers<'_> {
    async fn transfer(&self, key: &ObjectKey) -> Answer<Option<Transfer>> {
        let found = self.table.transfer(self.rule, key).await;
        found.map_err(AwsError::into_fault)
    }

    async fn transfers(&self) -> Answer<Vec<Transfer>> {
        let found = self.table.transfers(self.rule).await;
        found.map_err(AwsError::into_fault)
    }

    async fn store(&self, transfer: &Transfer) -> Answer<bool> {
        let stored = self.table.begin_transfer(self.rule, transfer).await;
        stored.map_err(AwsError::into_fault)
    }

    async fn mark_sent(&self, transfer: &Transfer, sent: bool, at: Timestamp) -> Answer<bool> {
        let marked = self.table.mark_sent(self.rule, transfer, sent, at).await;
        marked.map_err(AwsError::into_fault)
    }

    async fn invalidate(&self, transfer: &Transfer, why: Invalidated) -> Answer<bool> {
        let marked = self.table.invalidate_transfer(self.rule, transfer, why);
        marked.await.map_err(AwsError::into_fault)
    }

    async fn range_done(
        &self,
        transfer: &Transfer,
        range: u32,
        at: Timestamp,
    ) -> Answer<Option<Transfer>> {
        let noted = self.table.range_done(self.rule, transfer, range, at).await;
        noted.map_err(AwsError::into_fault)
    }

    async fn remove(&self, transfer: &Transfer) -> Answer<bool> {
        let removed = self.table.end_transfer(self.rule, transfer).await;
        removed.map_err(AwsError::into_fault)
    }
}
