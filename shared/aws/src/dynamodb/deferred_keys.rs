//! Keys that changed while their rule was paused, and the marks of their replays, in the table.

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
    /// Stores a key in place of what is stored of it, unless that may replace more: a live change takes the place of
    /// a job's, and never the other way round.
    pub async fn put_deferred(
        &self,
        rule: &RuleId,
        deferred: &DeferredKey,
    ) -> Result<(), AwsError> {
        let pk = deferred_of(rule, deferred_partition(&deferred.key));
        let object = deferred.key.as_str();
        // What is stored as `always` has no attribute `overwrite`.
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

    /// Removes a key if it was not deferred again since.
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

    /// Returns some of the keys deferred in one partition, after `after`.
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

    /// Removes every deferred key of a rule, and the marks of its replays.
    pub async fn remove_all_deferred(&self, rule: &RuleId) -> Result<(), AwsError> {
        for partition in 0..DEFERRED_PARTITIONS {
            self.remove_all(&deferred_of(rule, partition)).await?;
        }
        self.remove_all(&replays_of(rule)).await
    }

    /// Returns the last sign of life of a partition's replay.
    pub async fn replay_mark(
        &self,
        rule: &RuleId,
        partition: u8,
    ) -> Result<Option<ReplayMark>, AwsError> {
        self.get(&replays_of(rule), &partition.to_string()).await
    }

    /// Writes the sign of life of a partition's replay.
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
