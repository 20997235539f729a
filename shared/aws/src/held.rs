//! Keys that changed while their rule was paused. A notification is only a hint that a key changed, so the
//! key is all there is to keep, once however often it changed, for as long as the pause lasts.

use serde::{Deserialize, Serialize};
use tandem_replication::Timestamp;
use tandem_replication::names::{ObjectKey, RuleId};
use tandem_replication::overwrite::Overwrite;
use tandem_replication::work::{HELD_PARTITIONS, held_partition};

use crate::AwsError;
use crate::table::{Table, conditional, item, key, text};

/// How many held keys are read at a time.
const PAGE: i32 = 200;

/// A key that waits for its rule to be resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldKey {
    /// The key.
    pub key: ObjectKey,
    /// When the change that holds it happened, by the service's clock.
    pub changed_at: Timestamp,
    /// Differs for every time that the key was held.
    pub token: String,
    /// What its copy may replace.
    #[serde(default, skip_serializing_if = "Overwrite::is_always")]
    pub overwrite: Overwrite,
}

fn held_of(rule: &RuleId, partition: u8) -> String {
    format!("held#{rule}#{partition}")
}

impl Table {
    /// Keeps a key. The rule has to be looked at again afterwards: if it is still paused then, whoever
    /// resumes it will find the key; if not, the key has to be replicated now. A live change takes the place
    /// of what a backfill has kept, and not the other way round.
    pub async fn hold(&self, rule: &RuleId, held: &HeldKey) -> Result<(), AwsError> {
        let pk = held_of(rule, held_partition(&held.key));
        let object = held.key.as_str();
        if held.overwrite.is_always() {
            return self.put(&pk, object, held).await;
        }
        let written = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item(&pk, object, held)?))
            .condition_expression("attribute_not_exists(pk) OR attribute_exists(overwrite)")
            .send()
            .await;
        conditional(format!("holding {object:?}"), written).map(|_| ())
    }

    /// Lets a key go, if it was not held again since.
    pub async fn release(&self, rule: &RuleId, held: &HeldKey) -> Result<(), AwsError> {
        let pk = held_of(rule, held_partition(&held.key));
        let deleted = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(key(&pk, held.key.as_str())))
            .condition_expression("#token = :token")
            .expression_attribute_names("#token", "token")
            .expression_attribute_values(":token", text(&held.token))
            .send()
            .await;
        conditional(format!("releasing {:?}", held.key.as_str()), deleted).map(|_| ())
    }

    /// Some of the keys held in one partition, after `after`.
    pub async fn held_keys(
        &self,
        rule: &RuleId,
        partition: u8,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<HeldKey>, AwsError> {
        self.page(
            &held_of(rule, partition),
            after.map(ObjectKey::as_str),
            PAGE,
        )
        .await
    }

    /// How many keys of a rule are held.
    pub async fn held_count(&self, rule: &RuleId) -> Result<u64, AwsError> {
        let mut count = 0;
        for partition in 0..HELD_PARTITIONS {
            count += self.count(&held_of(rule, partition)).await?;
        }
        Ok(count)
    }

    /// Forgets every held key of a rule.
    pub async fn remove_held(&self, rule: &RuleId) -> Result<(), AwsError> {
        for partition in 0..HELD_PARTITIONS {
            self.remove_all(&held_of(rule, partition)).await?;
        }
        Ok(())
    }
}
