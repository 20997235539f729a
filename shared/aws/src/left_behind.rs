//! Uploads in parts that nobody works on any more: found by the log, and aborted.

use std::collections::HashSet;

use aws_sdk_s3::types::MultipartUpload;
use aws_smithy_types::DateTime;
use tandem_replication::names::UploadId;

use crate::AwsError;
use crate::s3_pair::S3Pair;
use crate::uploads::LoggedUpload;

/// How long after its entry, by clocks that may differ, an upload without a known id may have been begun.
const BEGUN_WITH_SECS: std::ops::RangeInclusive<i64> = -5..=120;

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
