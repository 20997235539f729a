//! Stores in the table the keys that changed while their rule was paused, and the progress marks of their replays.

use tandem_replication::deferral::{DeferredKey, ReplayMark};
use tandem_replication::names::{ObjectKey, RuleId};
use tandem_replication::overwrite::Overwrite;
use tandem_replication::work::{DEFERRED_PARTITIONS, deferred_partition};

use crate::AwsError;
use crate::dynamodb::table::{Table, conditional, item, key, text};

/// How many deferred keys are read at a time.
const PAGE: i32 = 200;

fn deferred_of(rule: &RuleId, partition: u8) -> String {
    format!("held#{rule}#{partition}")
}

fn replays_of(rule: &RuleId) -> String {
    format!("replay#{rule}")
}

impl Table {
    /// Stores a deferred key in place of the stored one, unless the stored one may overwrite more. So a live change
    /// replaces what a job deferred, and a job never replaces a live change.
    pub async fn put_deferred(
        &self,
        rule: &RuleId,
        deferred: &DeferredKey,
    ) -> Result<(), AwsError> {
        let pk = deferred_of(rule, deferred_partition(&deferred.key));
        let object = deferred.key.as_str();
        // An item whose mode is `always` has no attribute `overwrite`.
        let replaceable = match deferred.overwrite {
            Overwrite::Always => return self.put(&pk, object, deferred).await,
            Overwrite::IfOlder => "attribute_not_exists(pk) OR attribute_exists(overwrite)",
            Overwrite::Never => "attribute_not_exists(pk) OR overwrite = :never",
        };
        let mut put = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item(&pk, object, deferred)?))
            .condition_expression(replaceable);
        if deferred.overwrite == Overwrite::Never {
            put = put.expression_attribute_values(":never", text(Overwrite::Never.as_str()));
        }
        conditional(format!("deferring {object:?}"), put.send().await).map(|_| ())
    }

    /// Removes a key, unless it has been deferred again since it was read.
    pub async fn remove_deferred(
        &self,
        rule: &RuleId,
        deferred: &DeferredKey,
    ) -> Result<(), AwsError> {
        let pk = deferred_of(rule, deferred_partition(&deferred.key));
        let object = deferred.key.as_str();
        let deleted = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(key(&pk, object)))
            .condition_expression("#token = :token")
            .expression_attribute_names("#token", "token")
            .expression_attribute_values(":token", text(&deferred.token))
            .send()
            .await;
        conditional(format!("removing the deferred key {object:?}"), deleted).map(|_| ())
    }

    /// Returns one page of the keys that are deferred in a partition, after `after`.
    pub async fn deferred_keys(
        &self,
        rule: &RuleId,
        partition: u8,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<DeferredKey>, AwsError> {
        let pk = deferred_of(rule, partition);
        self.page(&pk, after.map(ObjectKey::as_str), PAGE).await
    }

    /// Returns how many keys of a rule are deferred.
    pub async fn deferred_count(&self, rule: &RuleId) -> Result<u64, AwsError> {
        let mut count = 0;
        for partition in 0..DEFERRED_PARTITIONS {
            count += self.count(&deferred_of(rule, partition)).await?;
        }
        Ok(count)
    }

    /// Removes every deferred key of a rule, and the progress marks of its replays.
    pub async fn remove_all_deferred(&self, rule: &RuleId) -> Result<(), AwsError> {
        for partition in 0..DEFERRED_PARTITIONS {
            self.remove_all(&deferred_of(rule, partition)).await?;
        }
        self.remove_all(&replays_of(rule)).await
    }

    /// Returns the last progress mark of a partition's replay.
    pub async fn replay_mark(
        &self,
        rule: &RuleId,
        partition: u8,
    ) -> Result<Option<ReplayMark>, AwsError> {
        self.get(&replays_of(rule), &partition.to_string()).await
    }

    /// Writes the progress mark of a partition's replay.
    pub async fn mark_replay(
        &self,
        rule: &RuleId,
        partition: u8,
        mark: &ReplayMark,
    ) -> Result<(), AwsError> {
        let (pk, sk) = (replays_of(rule), partition.to_string());
        self.put(&pk, &sk, mark).await
    }
}
