//! Stores rules and the claims on their buckets in the table.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, CancellationReason, Delete, Put, TransactWriteItem};
use serde::{Deserialize, Serialize};
use tandem_replication::Timestamp;
use tandem_replication::claims::{Claim, Role};
use tandem_replication::names::{BucketName, Region, RuleId};
use tandem_replication::notified_by::NotifiedBy;
use tandem_replication::options::Options;
use tandem_replication::rule::{Bucket, BucketEncryption, Policy, Rule, RuleState, Scope};

use crate::AwsError;
use crate::dynamodb::table::{Item, Table, conditional, item, key};
use tandem_replication::by_name;

const RULES: &str = "rule";
const BUCKETS: &str = "bucket";

/// A write of a rule that failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another rule has claimed a bucket, or another request has changed or deleted the rule.
    #[error("another request has changed {0} or claimed one of its buckets")]
    Conflict(RuleId),
    /// DynamoDB failed or refused.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

/// A rule as the table stores it. Attributes with an initial state may be missing. This version ignores attributes that
/// a newer version has added, and removes them when it writes the rule.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RuleItem {
    id: RuleId,
    source_bucket: BucketName,
    source_region: Region,
    destination_bucket: BucketName,
    destination_region: Region,
    scope: Scope,
    policy: Policy,
    #[serde(default, deserialize_with = "by_name::required")]
    options: Options,
    #[serde(default)]
    historical: bool,
    #[serde(default)]
    notified_by: NotifiedBy,
    #[serde(default)]
    notified_since: Option<Timestamp>,
    state: RuleState,
    revision: u64,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(default)]
    paused_at: Option<Timestamp>,
    #[serde(default)]
    destination_encryption: Option<BucketEncryption>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ClaimItem {
    rule_id: RuleId,
    role: Role,
}

#[derive(Debug, Deserialize)]
struct ListedClaim {
    sk: BucketName,
    rule_id: RuleId,
}

impl Table {
    /// Stores a new rule and claims both its buckets in one transaction.
    pub async fn create_rule(&self, rule: &Rule) -> Result<(), WriteError> {
        let mut writes = vec![self.new_item(item(
            RULES,
            rule.id.as_str(),
            &RuleItem::from(rule.clone()),
        )?)?];
        for (bucket, role) in [
            (&rule.source, Role::Source),
            (&rule.destination, Role::Destination),
        ] {
            let claim = ClaimItem {
                rule_id: rule.id.clone(),
                role,
            };
            writes.push(self.new_item(item(BUCKETS, bucket.name.as_str(), &claim)?)?);
        }
        self.transact(rule, writes).await
    }

    /// Removes a rule and its claims in one transaction, if the stored rule is still this revision. Idempotent.
    pub async fn remove_rule(&self, rule: &Rule) -> Result<(), WriteError> {
        let revision = AttributeValue::N(rule.revision.to_string());
        let mut deletions = vec![self.deletion(RULES, rule.id.as_str(), ("revision", revision))?];
        for bucket in [&rule.source, &rule.destination] {
            let claimed_by = ("rule_id", AttributeValue::S(rule.id.as_str().to_owned()));
            deletions.push(self.deletion(BUCKETS, bucket.name.as_str(), claimed_by)?);
        }
        let writes = deletions
            .into_iter()
            .map(|deletion| TransactWriteItem::builder().delete(deletion).build())
            .collect();
        self.transact(rule, writes).await
    }

    /// Replaces a rule by its next revision, if the stored one is still the revision before. Claims do not change.
    pub async fn replace_rule(&self, next: &Rule) -> Result<(), WriteError> {
        let wanted = item(RULES, next.id.as_str(), &RuleItem::from(next.clone()))?;
        let written = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(wanted.clone()))
            .condition_expression("revision = :before")
            .expression_attribute_values(
                ":before",
                AttributeValue::N((next.revision - 1).to_string()),
            )
            .send()
            .await;
        if conditional(format!("writing {}", next.id), written)? {
            return Ok(());
        }
        // The client repeats a write whose answer was lost. The second write then finds the result of the first.
        let found = self.rule(&next.id).await?.map(|found| RuleItem {
            // A check may have stored the encryption since.
            destination_encryption: next.destination_encryption,
            ..RuleItem::from(found)
        });
        let found = found.map(|found| item(RULES, next.id.as_str(), &found));
        if found.transpose()?.is_some_and(|found| found == wanted) {
            Ok(())
        } else {
            Err(WriteError::Conflict(next.id.clone()))
        }
    }

    /// Stores the default encryption of a rule's destination. This does not increase the rule's revision, because no
    /// decision depends on it. It does not recreate a deleted rule.
    pub async fn note_encryption(
        &self,
        rule: &RuleId,
        encryption: BucketEncryption,
    ) -> Result<(), AwsError> {
        let doing = || format!("storing the default encryption of the destination of {rule}");
        let encryption = serde_dynamo::to_attribute_value(encryption)
            .map_err(|error| AwsError::unexpected(doing(), error))?;
        let noted = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(key(RULES, rule.as_str())))
            .update_expression("SET destination_encryption = :encryption")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":encryption", encryption)
            .send()
            .await;
        conditional(doing(), noted)?;
        Ok(())
    }

    /// Returns the rule with this id.
    pub async fn rule(&self, id: &RuleId) -> Result<Option<Rule>, AwsError> {
        Ok(self
            .get::<RuleItem>(RULES, id.as_str())
            .await?
            .map(Rule::from))
    }

    /// Returns all rules, in the order of their ids.
    pub async fn rules(&self) -> Result<Vec<Rule>, AwsError> {
        Ok(self
            .all::<RuleItem>(RULES)
            .await?
            .into_iter()
            .map(Rule::from)
            .collect())
    }

    /// Returns the claim on a bucket, if a rule has claimed it.
    pub async fn claim(&self, bucket: &str) -> Result<Option<Claim>, AwsError> {
        let found: Option<ClaimItem> = self.get(BUCKETS, bucket).await?;
        Ok(found.map(Claim::from))
    }

    /// Returns the rule with this id, or the rule that has this bucket as its source or destination.
    pub async fn rule_named(&self, id_or_bucket: &str) -> Result<Option<Rule>, AwsError> {
        if let Some(rule) = self.rule(&RuleId::new(id_or_bucket)).await? {
            return Ok(Some(rule));
        }
        match self.claim(id_or_bucket).await? {
            Some(claim) => self.rule(&claim.rule_id).await,
            None => Ok(None),
        }
    }

    /// Returns all buckets that rules have claimed.
    pub async fn claimed_buckets(&self) -> Result<HashMap<BucketName, RuleId>, AwsError> {
        let claims = self.all::<ListedClaim>(BUCKETS).await?;
        Ok(claims
            .into_iter()
            .map(|claim| (claim.sk, claim.rule_id))
            .collect())
    }

    /// Returns the rule that replicates from this bucket.
    pub async fn rule_from(&self, bucket: &BucketName) -> Result<Option<Rule>, AwsError> {
        match self.claim(bucket.as_str()).await? {
            Some(Claim {
                rule_id,
                role: Role::Source,
            }) => self.rule(&rule_id).await,
            _ => Ok(None),
        }
    }

    fn new_item(&self, item: Item) -> Result<TransactWriteItem, AwsError> {
        let put = Put::builder()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(|error| AwsError::unexpected("writing a rule", error))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Deletes an item if its attribute still has this value, or if the item no longer exists.
    fn deletion(
        &self,
        pk: &str,
        sk: &str,
        (attribute, value): (&str, AttributeValue),
    ) -> Result<Delete, AwsError> {
        Delete::builder()
            .table_name(&self.name)
            .set_key(Some(key(pk, sk)))
            .condition_expression(format!("attribute_not_exists(pk) OR {attribute} = :wanted"))
            .expression_attribute_values(":wanted", value)
            .build()
            .map_err(|error| AwsError::unexpected("deleting a rule", error))
    }

    /// Makes all writes in one transaction. Retries it if it conflicts with another transaction. It then finds the
    /// other's claim, or finds the bucket unclaimed.
    async fn transact(
        &self,
        rule: &Rule,
        writes: Vec<TransactWriteItem>,
    ) -> Result<(), WriteError> {
        const ATTEMPTS: u32 = 8;
        for attempt in 1.. {
            let written = self
                .client
                .transact_write_items()
                .set_transact_items(Some(writes.clone()))
                .send()
                .await;
            let Err(error) = written else { return Ok(()) };
            let reasons = error
                .as_service_error()
                .and_then(|error| match error {
                    aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(canceled) => Some(canceled.cancellation_reasons()),
                    _ => None,
                })
                .unwrap_or_default();
            let any = |code: &str| {
                reasons
                    .iter()
                    .filter_map(CancellationReason::code)
                    .any(|found| found == code)
            };
            if any("ConditionalCheckFailed") {
                return Err(WriteError::Conflict(rule.id.clone()));
            }
            if !any("TransactionConflict") || attempt == ATTEMPTS {
                return Err(AwsError::request(
                    format!("writing {} and its claims", rule.id),
                    error,
                )
                .into());
            }
            tokio::time::sleep(std::time::Duration::from_millis(20 << attempt.min(6))).await;
        }
        Ok(())
    }
}

impl From<ClaimItem> for Claim {
    fn from(item: ClaimItem) -> Self {
        Self {
            rule_id: item.rule_id,
            role: item.role,
        }
    }
}

impl From<RuleItem> for Rule {
    fn from(item: RuleItem) -> Self {
        Self {
            id: item.id,
            source: Bucket {
                name: item.source_bucket,
                region: item.source_region,
            },
            destination: Bucket {
                name: item.destination_bucket,
                region: item.destination_region,
            },
            scope: item.scope,
            policy: item.policy,
            options: item.options,
            historical: item.historical,
            notified_by: item.notified_by,
            notified_since: item.notified_since,
            state: item.state,
            revision: item.revision,
            created_at: item.created_at,
            updated_at: item.updated_at,
            paused_at: item.paused_at,
            destination_encryption: item.destination_encryption,
        }
    }
}

impl From<Rule> for RuleItem {
    fn from(rule: Rule) -> Self {
        Self {
            id: rule.id,
            source_bucket: rule.source.name,
            source_region: rule.source.region,
            destination_bucket: rule.destination.name,
            destination_region: rule.destination.region,
            scope: rule.scope,
            policy: rule.policy,
            options: rule.options,
            historical: rule.historical,
            notified_by: rule.notified_by,
            notified_since: rule.notified_since,
            state: rule.state,
            revision: rule.revision,
            created_at: rule.created_at,
            updated_at: rule.updated_at,
            paused_at: rule.paused_at,
            destination_encryption: rule.destination_encryption,
        }
    }
}
