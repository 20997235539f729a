//! The log of open multipart uploads. A function adds an upload before it begins it and removes it when it has ended.
//! If the function dies, the sweep finds the upload in the log and aborts it. Its parts cost money until then.

use tandem_replication::Timestamp;
use tandem_replication::names::{ObjectKey, RuleId};
use tandem_replication::transfer::LoggedUpload;

use crate::AwsError;
use crate::dynamodb::table::Table;

/// The log of one rule.
#[derive(Debug, Clone)]
pub struct UploadLog {
    table: Table,
    rule_id: RuleId,
}

impl UploadLog {
    /// Returns the log of this rule.
    pub(crate) fn new(table: Table, rule_id: RuleId) -> Self {
        Self { table, rule_id }
    }

    pub(crate) async fn note(
        &self,
        key: &ObjectKey,
        began_at: Timestamp,
    ) -> Result<LoggedUpload, AwsError> {
        let entry = LoggedUpload {
            id: uuid::Uuid::now_v7().to_string(),
            key: key.clone(),
            upload_id: None,
            began_at,
        };
        self.write(&entry).await?;
        Ok(entry)
    }

    pub(crate) async fn entries(&self) -> Result<Vec<LoggedUpload>, AwsError> {
        self.table.logged_uploads(&self.rule_id).await
    }

    pub(crate) async fn write(&self, entry: &LoggedUpload) -> Result<(), AwsError> {
        self.table.put(&self.pk(), &entry.id, entry).await
    }

    /// Removes an entry, if it exists.
    pub(crate) async fn forget(&self, id: &str) -> Result<(), AwsError> {
        self.table.delete(&self.pk(), id).await
    }

    fn pk(&self) -> String {
        log_of(&self.rule_id)
    }
}

fn log_of(rule: &RuleId) -> String {
    format!("upload#{rule}")
}

impl Table {
    /// Returns the open uploads of a rule according to the log, the oldest first.
    pub async fn logged_uploads(&self, rule: &RuleId) -> Result<Vec<LoggedUpload>, AwsError> {
        self.all(&log_of(rule)).await
    }

    /// Removes the log of a rule.
    pub async fn remove_upload_log(&self, rule: &RuleId) -> Result<(), AwsError> {
        self.remove_all(&log_of(rule)).await
    }
}
