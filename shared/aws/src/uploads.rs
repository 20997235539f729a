//! The log of uploads in parts that are not over: noted before they begin, forgotten when they have ended,
//! so that the uploads of a function that died can be found and aborted. Their parts cost money until then.

use std::collections::HashSet;

use aws_sdk_s3::types::MultipartUpload;
use aws_smithy_types::DateTime;
use serde::{Deserialize, Serialize};
use tandem_replication::Timestamp;
use tandem_replication::names::{ObjectKey, RuleId, UploadId};

use crate::table::Table;
use crate::{AwsError, s3_pair::S3Pair};

/// An upload that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedUpload {
    /// The entry's own id.
    pub id: String,
    /// The object's key.
    pub key: ObjectKey,
    /// S3's id, once it is known: between the beginning of an upload and the note of its id a function may
    /// die.
    pub upload_id: Option<UploadId>,
    /// When it was noted.
    pub began_at: Timestamp,
}

/// The log of one rule.
#[derive(Debug, Clone)]
pub struct UploadLog {
    table: Table,
    rule_id: RuleId,
}

/// How long after its entry, by clocks that may differ, an upload without a known id may have been begun.
const BEGUN_WITH_SECS: std::ops::RangeInclusive<i64> = -5..=120;

impl UploadLog {
    /// The log of this rule.
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

    async fn entries(&self) -> Result<Vec<LoggedUpload>, AwsError> {
        self.table.logged_uploads(&self.rule_id).await
    }

    pub(crate) async fn write(&self, entry: &LoggedUpload) -> Result<(), AwsError> {
        self.table.put(&self.pk(), &entry.id, entry).await
    }

    /// Forgets an entry, if it is there.
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
    /// The uploads of a rule that have not ended, as far as the log knows; the oldest first.
    pub async fn logged_uploads(&self, rule: &RuleId) -> Result<Vec<LoggedUpload>, AwsError> {
        self.all(&log_of(rule)).await
    }

    /// Forgets the log of a rule.
    pub async fn remove_upload_log(&self, rule: &RuleId) -> Result<(), AwsError> {
        self.remove_all(&log_of(rule)).await
    }
}

impl S3Pair {
    /// Aborts an upload that nobody works on any more. Repeat-safe. Answers how many uploads there were to
    /// abort; it is forgotten when there is none any more, as parts that were under way may land in an upload
    /// that is just aborted.
    ///
    /// Source: API reference, "`AbortMultipartUpload`".
    ///
    /// Where its id was never noted, it is one for that very key that was begun when the entry was made;
    /// other uploads to the destination are somebody else's.
    pub async fn abort_left_behind(&self, entry: &LoggedUpload) -> Result<usize, AwsError> {
        let ids = match &entry.upload_id {
            Some(id) => vec![id.clone()],
            None => self.uploads_begun_with(entry).await?,
        };
        let mut aborted = 0;
        for id in ids {
            aborted += usize::from(self.abort(&entry.key, &id).await?);
        }
        if aborted == 0 {
            self.uploads.forget(&entry.id).await?;
        }
        Ok(aborted)
    }

    async fn uploads_begun_with(&self, entry: &LoggedUpload) -> Result<Vec<UploadId>, AwsError> {
        let noted = self.uploads.entries().await?;
        let noted: HashSet<&str> = noted
            .iter()
            .filter_map(|entry| entry.upload_id.as_ref().map(UploadId::as_str))
            .collect();
        // The key itself is the first of all that begin with it.
        let answer = self
            .replica
            .client
            .list_multipart_uploads()
            .bucket(self.replica.name.as_str())
            .prefix(entry.key.as_str())
            .expected_bucket_owner(&self.replica.owner)
            .send()
            .await
            .map_err(|error| {
                AwsError::request(
                    format!("listing the uploads to {:?}", entry.key.as_str()),
                    &error,
                )
            })?;
        let begun_with_it = |upload: &&MultipartUpload| {
            let begun_secs = upload.initiated().map(DateTime::secs);
            let since_entry = begun_secs.map(|secs| secs - entry.began_at.timestamp());
            upload.key() == Some(entry.key.as_str())
                && upload.upload_id().is_some_and(|id| !noted.contains(id))
                && since_entry.is_some_and(|secs| BEGUN_WITH_SECS.contains(&secs))
        };
        let uploads = answer.uploads().iter().filter(begun_with_it);
        let found = uploads
            .filter_map(|upload| upload.upload_id().map(UploadId::new))
            .collect();
        Ok(found)
    }
}
