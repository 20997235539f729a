//! Stores in the table the objects that failed to replicate, each with its reason.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use serde::{Deserialize, Serialize};
use tandem_replication::Timestamp;
use tandem_replication::failure_record::{Cleared, FailureRevision};
use tandem_replication::fault::Fault;
use tandem_replication::names::{Etag, ObjectKey, RuleId, VersionId};
use tandem_replication::overwrite::Overwrite;

use crate::AwsError;
use crate::dynamodb::table::{Table, conditional, key, parsed, text};

/// How many records one request reads: less than 1 MB even with the longest keys and messages.
const PAGE: i32 = 250;
/// How many bytes of a service's message are stored.
const MESSAGE_BYTES_MAX: usize = 1024;

/// An object that failed and has not succeeded since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailureRecord {
    /// Its rule.
    pub rule_id: RuleId,
    /// The record's item in the table.
    #[serde(flatten)]
    pub item: FailureItem,
}

/// A failure as the table stores it, under its rule. The fields of the source object may be missing, because the source
/// object is not always known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureItem {
    /// The object's key.
    pub key: ObjectKey,
    /// The version of the source object that failed last, in a versioned bucket.
    pub version_id: Option<VersionId>,
    /// That object's `ETag`; `None` if the object was not known, or a delete failed.
    pub etag: Option<Etag>,
    /// Its size.
    pub bytes: Option<u64>,
    /// Why the last attempt failed.
    pub reason: String,
    /// What was attempted, and what the service answered.
    pub message: String,
    /// When the object failed first.
    pub first_at: Timestamp,
    /// When it failed last.
    pub last_at: Timestamp,
    /// How often it failed.
    pub attempts: u64,
    /// What another attempt may overwrite. A failure of a backfill keeps the backfill's mode.
    #[serde(default, skip_serializing_if = "Overwrite::is_always")]
    pub overwrite: Overwrite,
    /// Identifies the last write of the record; `None` if an older version wrote it.
    #[serde(default, skip_serializing)]
    pub revision: Option<FailureRevision>,
}

/// The part of a record that a worker needs to clear it after a success.
#[derive(Debug, Deserialize)]
struct RevisionItem {
    key: ObjectKey,
    #[serde(default)]
    revision: Option<FailureRevision>,
}

impl RevisionItem {
    fn revision(self) -> FailureRevision {
        self.revision.unwrap_or(FailureRevision::new(UNREVISED))
    }
}

/// Stands for the revision of a record that an older version wrote.
const UNREVISED: &str = "";

/// The revisions of the records that some keys had before their attempts began.
#[derive(Debug, Default)]
pub struct SeenFailures(HashMap<ObjectKey, FailureRevision>);

impl SeenFailures {
    /// Returns the revision of a key's record.
    pub fn of(&self, key: &ObjectKey) -> Option<FailureRevision> {
        self.0.get(key).cloned()
    }
}

/// Selects failures of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailureFilter {
    /// Matches failures whose key begins with this prefix.
    pub key_prefix: Option<String>,
    /// Matches failures with this reason.
    pub reason: Option<String>,
}

/// A page of failures, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailurePage {
    /// The records of the page that match the filter.
    pub failures: Vec<FailureRecord>,
    /// The last key that was read, if there may be more after it.
    pub next: Option<ObjectKey>,
}

fn failures_of(rule: &RuleId) -> String {
    format!("failure#{rule}")
}

impl FailureRecord {
    fn of(rule: &RuleId) -> impl Fn(FailureItem) -> Self {
        let rule_id = rule.clone();
        move |item| Self {
            rule_id: rule_id.clone(),
            item,
        }
    }

    /// The object's key.
    pub fn key(&self) -> &ObjectKey {
        &self.item.key
    }
}

impl FailureFilter {
    /// Whether the filter matches this failure.
    pub fn means(&self, failure: &FailureRecord) -> bool {
        self.covers(failure.key())
            && self
                .reason
                .as_ref()
                .is_none_or(|reason| *reason == failure.item.reason)
    }

    /// Whether the filter could match a failure of this key.
    pub fn covers(&self, key: &ObjectKey) -> bool {
        self.key_prefix
            .as_ref()
            .is_none_or(|prefix| key.as_str().starts_with(prefix))
    }
}

impl Table {
    /// Records that `object` failed at `at`, and returns the new record. A further failure of the same object updates
    /// its record.
    pub async fn record_failure(
        &self,
        rule: &RuleId,
        object: &ObjectKey,
        fault: &Fault,
        overwrite: Overwrite,
        at: Timestamp,
    ) -> Result<FailureRecord, AwsError> {
        let pk = failures_of(rule);
        // A failed live change must still be replicated. So a backfill's mode does not replace its `always`.
        let mode = if overwrite.is_always() {
            ":overwrite"
        } else {
            "if_not_exists(overwrite, :overwrite)"
        };
        let or_null = |value: Option<AttributeValue>| value.unwrap_or(AttributeValue::Null(true));
        let failed = fault.object.as_ref();
        let version_id = failed.and_then(|object| object.version_id.as_ref());
        let at = at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let answer = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(&pk, object.as_str())))
            .update_expression(format!(
                "SET #key = :key, version_id = :version, etag = :etag, #bytes = :bytes, \
                 reason = :reason, message = :message, last_at = :at, overwrite = {mode}, \
                 first_at = if_not_exists(first_at, :at), #revision = :revision \
                 ADD attempts :one"
            ))
            .expression_attribute_names("#revision", "revision")
            .expression_attribute_values(":revision", text(&uuid::Uuid::now_v7().to_string()))
            .expression_attribute_values(":overwrite", text(overwrite.as_str()))
            .expression_attribute_names("#key", "key")
            .expression_attribute_names("#bytes", "bytes")
            .expression_attribute_values(":key", text(object.as_str()))
            .expression_attribute_values(
                ":version",
                or_null(version_id.map(|id| text(id.as_str()))),
            )
            .expression_attribute_values(
                ":etag",
                or_null(failed.map(|object| text(object.etag.as_str()))),
            )
            .expression_attribute_values(
                ":bytes",
                or_null(failed.map(|object| AttributeValue::N(object.bytes.to_string()))),
            )
            .expression_attribute_values(":reason", text(fault.reason.as_str()))
            .expression_attribute_values(":message", text(beginning(&fault.message)))
            .expression_attribute_values(":at", AttributeValue::S(at))
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .return_values(ReturnValue::AllNew)
            .send()
            .await
            .map_err(|error| {
                AwsError::request(
                    format!("recording a failure of {:?}", object.as_str()),
                    error,
                )
            })?;
        parsed(&pk, answer.attributes.unwrap_or_default()).map(FailureRecord::of(rule))
    }

    /// Removes an object's record if it still has this revision.
    pub async fn clear_failure(
        &self,
        rule: &RuleId,
        object: &ObjectKey,
        seen: &FailureRevision,
    ) -> Result<Cleared, AwsError> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(key(&failures_of(rule), object.as_str())))
            .expression_attribute_names("#revision", "revision");
        let delete = if seen.as_str() == UNREVISED {
            delete.condition_expression("attribute_not_exists(#revision)")
        } else {
            delete
                .condition_expression("attribute_not_exists(pk) OR #revision = :seen")
                .expression_attribute_values(":seen", text(seen.as_str()))
        };
        let doing = format!("clearing the failure of {:?}", object.as_str());
        let is_deleted = conditional(doing, delete.send().await)?;
        Ok(if is_deleted {
            Cleared::Gone
        } else {
            Cleared::Changed
        })
    }

    /// Returns the revision of an object's record, if it has one.
    pub async fn failure_revision(
        &self,
        rule: &RuleId,
        object: &ObjectKey,
    ) -> Result<Option<FailureRevision>, AwsError> {
        let item: Option<RevisionItem> = self.get(&failures_of(rule), object.as_str()).await?;
        Ok(item.map(RevisionItem::revision))
    }

    /// Returns the revisions of the first records of keys from `from` on, as many as one request reads. Later records
    /// stay unknown, so a success does not clear them.
    pub async fn failure_revisions(
        &self,
        rule: &RuleId,
        from: &str,
    ) -> Result<SeenFailures, AwsError> {
        let pk = failures_of(rule);
        let mut query = self
            .client
            .query()
            .table_name(&self.name)
            .consistent_read(true)
            .expression_attribute_values(":pk", text(&pk));
        query = if from.is_empty() {
            query.key_condition_expression("pk = :pk")
        } else {
            query
                .key_condition_expression("pk = :pk AND sk >= :from")
                .expression_attribute_values(":from", text(from))
        };
        let answer = query
            .send()
            .await
            .map_err(|error| AwsError::request(format!("reading {pk}"), error))?;
        let items = answer.items.unwrap_or_default().into_iter();
        let seen = items.filter_map(|item| match parsed::<RevisionItem>(&pk, item) {
            Ok(item) => Some((item.key.clone(), item.revision())),
            // One unreadable record must not fail the whole page.
            Err(error) => {
                tracing::error!(rule.id = rule.as_str(), %error, "cannot read a failure record");
                None
            }
        });
        Ok(SeenFailures(seen.collect()))
    }

    /// Returns the failure of one object, if the object has failed and not succeeded since.
    pub async fn failure(
        &self,
        rule: &RuleId,
        object: &ObjectKey,
    ) -> Result<Option<FailureRecord>, AwsError> {
        let item = self.get(&failures_of(rule), object.as_str()).await?;
        Ok(item.map(FailureRecord::of(rule)))
    }

    /// Returns a page of the failures of a rule that `filter` matches, by key, after `after`.
    pub async fn failures(
        &self,
        rule: &RuleId,
        filter: &FailureFilter,
        after: Option<&ObjectKey>,
    ) -> Result<FailurePage, AwsError> {
        let pk = failures_of(rule);
        let mut query = self
            .client
            .query()
            .table_name(&self.name)
            .consistent_read(true)
            .expression_attribute_values(":pk", AttributeValue::S(pk.clone()))
            .set_exclusive_start_key(after.map(|after| key(&pk, after.as_str())))
            .limit(PAGE);
        query = match filter.key_prefix.as_deref() {
            None | Some("") => query.key_condition_expression("pk = :pk"),
            Some(prefix) => query
                .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
                .expression_attribute_values(":prefix", AttributeValue::S(prefix.to_owned())),
        };
        let answer = query
            .send()
            .await
            .map_err(|error| AwsError::request(format!("reading {pk}"), error))?;
        let next = answer
            .last_evaluated_key
            .and_then(|mut last| last.remove("sk"));
        let next = match next {
            Some(AttributeValue::S(key)) => Some(
                ObjectKey::parse(key)
                    .map_err(|error| AwsError::unexpected(format!("reading {pk}"), error))?,
            ),
            _ => None,
        };
        let failures = answer
            .items
            .unwrap_or_default()
            .into_iter()
            .map(|item| parsed(&pk, item).map(FailureRecord::of(rule)))
            .filter(|failure| !matches!(failure, Ok(failure) if !filter.means(failure)))
            .collect::<Result<_, _>>()?;
        Ok(FailurePage { failures, next })
    }

    /// Whether any object of a rule has failed and not succeeded since.
    pub async fn has_failures(&self, rule: &RuleId) -> Result<bool, AwsError> {
        self.any(&failures_of(rule)).await
    }

    /// Returns how many objects of a rule have failed and not succeeded since.
    pub async fn failure_count(&self, rule: &RuleId) -> Result<u64, AwsError> {
        self.count(&failures_of(rule)).await
    }

    /// Removes all failures of a rule.
    pub async fn remove_failures(&self, rule: &RuleId) -> Result<(), AwsError> {
        self.remove_all(&failures_of(rule)).await
    }
}

/// Returns the beginning of a message, as much as is stored.
fn beginning(message: &str) -> &str {
    &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(beginning("short"), "short");
        let long = "ü".repeat(MESSAGE_BYTES_MAX);
        assert_eq!(beginning(&long).len(), MESSAGE_BYTES_MAX);
        let odd = format!("x{long}");
        assert_eq!(beginning(&odd).len(), MESSAGE_BYTES_MAX - 1);
    }
}
