//! The state of transfers in the table: one for a key at a time, every write conditional on its id.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use tandem_replication::Timestamp;
use tandem_replication::names::{ObjectKey, RuleId, TransferId};
use tandem_replication::object::Checksum;
use tandem_replication::overwrite::Overwrite;
use tandem_replication::part_layout::PartLayout;
use tandem_replication::transfer::{PartRange, TransferSource, TransferView, ranges};

use crate::AwsError;
use crate::table::{Item, Table, conditional, item, key, parsed, text};
use crate::uploads::LoggedUpload;
use tandem_replication::by_name;

/// How long a transfer that goes on may seem to stand still.
const STANDS_STILL: TimeDelta = TimeDelta::hours(2);

/// A transfer as the table holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Its id.
    pub id: TransferId,
    /// The object's key.
    pub key: ObjectKey,
    /// The object that is copied.
    #[serde(deserialize_with = "by_name::required")]
    pub source: TransferSource,
    /// In which parts.
    pub layout: PartLayout,
    /// About how many bytes a range has.
    pub range_bytes: u64,
    /// The upload that the parts go into.
    #[serde(deserialize_with = "by_name::required")]
    pub upload: LoggedUpload,
    /// Whether the replica will name its source's `ETag`, its own being another one.
    pub records_etag: bool,
    /// The checksum that S3 makes of the parts.
    #[serde(default, deserialize_with = "by_name::optional")]
    pub checksum: Option<Checksum>,
    /// When it began.
    pub started_at: Timestamp,
    /// When a range was last done, or its messages were last sent.
    pub progressed_at: Timestamp,
    /// Whether every range that is not done has a message.
    pub sent: bool,
    /// When the object changed that this is the copy of, if a notification told.
    pub event_time: Option<Timestamp>,
    /// What it may replace.
    #[serde(default)]
    pub overwrite: Overwrite,
    /// Why the transfer cannot come to its end, and has to begin anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub void: Option<Void>,
    /// The ranges that are done, by their numbers.
    #[serde(
        default,
        skip_serializing_if = "BTreeSet::is_empty",
        with = "done_ranges"
    )]
    pub done: BTreeSet<u32>,
}

/// Why a transfer has to begin anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Void {
    /// The source is another object, or the upload is gone.
    Overtaken,
    /// Its parts do not make the source's `ETag`: the replica has to name it.
    OtherEtag,
}

/// DynamoDB adds to number sets only what is one.
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

impl Transfer {
    /// All its ranges.
    pub fn ranges(&self) -> Vec<PartRange> {
        ranges(&self.layout, self.range_bytes)
    }

    /// Whether it has not come on for longer than the part queue hides a message of a worker that died, so
    /// that somebody has to help it on.
    pub fn stands_still(&self, at: Timestamp) -> bool {
        at - self.progressed_at > STANDS_STILL
    }

    /// Whether every range is done.
    pub fn is_filled(&self) -> bool {
        self.ranges()
            .iter()
            .all(|range| self.done.contains(&range.index))
    }

    /// As it is shown.
    pub fn view(&self) -> TransferView {
        let done: Vec<PartRange> = self
            .ranges()
            .into_iter()
            .filter(|range| self.done.contains(&range.index))
            .collect();
        let copied = self
            .layout
            .parts()
            .filter(|part| done.iter().any(|range| range.covers(part.number)));
        TransferView {
            id: self.id.clone(),
            key: self.key.clone(),
            bytes: self.source.bytes,
            bytes_copied: copied.map(|part| part.bytes()).sum(),
            parts: self.layout.count(),
            started_at: self.started_at,
            progressed_at: self.progressed_at,
        }
    }
}

fn transfers_of(rule: &RuleId) -> String {
    format!("transfer#{rule}")
}

impl Table {
    /// The transfer of a key, if there is one.
    pub async fn transfer(
        &self,
        rule: &RuleId,
        object: &ObjectKey,
    ) -> Result<Option<Transfer>, AwsError> {
        self.get(&transfers_of(rule), object.as_str()).await
    }

    /// All transfers of a rule, by key.
    pub async fn transfers(&self, rule: &RuleId) -> Result<Vec<Transfer>, AwsError> {
        self.all(&transfers_of(rule)).await
    }

    /// Stores a new transfer if its key has none. Answers whether it had none.
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
            .set_item(Some(item(&transfers_of(rule), object, transfer)?))
            .condition_expression("attribute_not_exists(pk)")
            .send()
            .await;
        conditional(format!("beginning the transfer of {object:?}"), written)
    }

    /// Says whether every open range has a message. Answers whether it is still this transfer.
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
        conditional(format!("marking the transfer of {object:?}"), written)
    }

    /// Says that a transfer has to begin anew. Answers whether it is still this one.
    pub async fn mark_void(
        &self,
        rule: &RuleId,
        transfer: &Transfer,
        void: Void,
    ) -> Result<bool, AwsError> {
        let object = transfer.key.as_str();
        let void = serde_dynamo::aws_sdk_dynamodb_1::to_attribute_value(void)
            .map_err(|error| AwsError::unexpected("marking a transfer", error))?;
        let written = self
            .update(rule, transfer)
            // The first reason knows more than what follows from it.
            .update_expression("SET #void = if_not_exists(#void, :void)")
            .expression_attribute_names("#void", "void")
            .expression_attribute_values(":void", void)
            .send()
            .await;
        conditional(format!("marking the transfer of {object:?}"), written)
    }

    /// Notes that a range is done; once or many times is the same. Answers the transfer as it is then, or
    /// `None` if it is over.
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
                parsed(&pk, item).map(Some)
            }
            Err(error) => {
                let doing = format!("noting a range of {object:?}");
                refused_is(None, AwsError::request(doing, &error))
            }
        }
    }

    /// Forgets a transfer, if it is still this one. Answers whether it was.
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

    /// An update of this very transfer, if it is still there.
    fn update(&self, rule: &RuleId, transfer: &Transfer) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(&transfers_of(rule), transfer.key.as_str())))
            .condition_expression("id = :id")
            .expression_attribute_values(":id", text(transfer.id.as_str()))
    }

    /// Forgets every transfer of a rule.
    pub async fn remove_transfers(&self, rule: &RuleId) -> Result<(), AwsError> {
        self.remove_all(&transfers_of(rule)).await
    }
}

/// An instant in the form in which items hold it.
fn instant(at: Timestamp) -> Result<AttributeValue, AwsError> {
    serde_dynamo::aws_sdk_dynamodb_1::to_attribute_value(at)
        .map_err(|error| AwsError::unexpected("writing an instant", error))
}

/// A condition that did not hold is an answer, and no error.
fn refused_is<T>(refused: T, error: AwsError) -> Result<T, AwsError> {
    if error.is("ConditionalCheckFailedException") {
        Ok(refused)
    } else {
        Err(error)
    }
}
