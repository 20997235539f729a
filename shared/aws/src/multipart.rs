//! One large object copied in parts, in parallel, within one invocation.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use futures::{StreamExt, TryStreamExt, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tandem_replication::bucket_pair::{CopyOutcome, Landed, Side};
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::names::{Etag, ObjectKey};
use tandem_replication::object::{Metadata, ObjectState, Tags};
use tandem_replication::part_plan::ranges;

use crate::classify::Doing;
use crate::clients::never_blindly_again;
use crate::denied::fault;
use crate::error::Refused;
use crate::s3_pair::{S3Pair, copy_refused, http_date};

/// How many parts of one object are under way at once.
const PARTS_AT_ONCE: usize = 16;

/// A part that was copied, or the outcome that ends the whole copy.
enum Part {
    Copied(Box<CompletedPart>),
    Ended(CopyOutcome),
}

impl S3Pair {
    /// Copies `source` in parts of `part_bytes`, each pinned to its `ETag`. An upload that does not end in
    /// an object is aborted.
    pub(crate) async fn copy_in_parts(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        metadata: &Metadata,
        part_bytes: u64,
    ) -> Result<CopyOutcome, Fault> {
        // Not every server counts an object's tags in a HEAD.
        let tags = self.read_tags(Side::Source, key).await?;
        let upload_id = self.create_upload(key, metadata, &tags).await?;
        let outcome = match self.copy_parts(key, source, &upload_id, part_bytes).await {
            Ok(Ok(parts)) => self.complete_upload(key, &upload_id, parts).await,
            Ok(Err(outcome)) => Ok(outcome),
            Err(fault) => Err(fault),
        };
        match &outcome {
            Ok(CopyOutcome::Landed(_)) => self.ensure_tags(key, &tags).await?,
            _ => self.abort_upload(key, &upload_id).await,
        }
        outcome
    }

    async fn create_upload(
        &self,
        key: &ObjectKey,
        metadata: &Metadata,
        tags: &Tags,
    ) -> Result<String, Fault> {
        let answer = self
            .replica
            .client
            .create_multipart_upload()
            .bucket(self.replica.name.as_str())
            .key(key.as_str())
            .expected_bucket_owner(&self.replica.owner)
            .set_content_type(metadata.content_type.clone())
            .set_content_encoding(metadata.content_encoding.clone())
            .set_content_language(metadata.content_language.clone())
            .set_content_disposition(metadata.content_disposition.clone())
            .set_cache_control(metadata.cache_control.clone())
            .set_expires(metadata.expires.as_deref().and_then(http_date))
            .set_metadata(Some(metadata.user.clone().into_iter().collect()))
            .set_tagging((!tags.is_empty()).then(|| as_query(tags)))
            .send()
            .await
            .map_err(|error| fault(Doing::Copy, key, error))?;
        answer.upload_id.ok_or_else(|| {
            Fault::because(
                Reason::ServiceFailed,
                format!("copying {:?}: the answer names no upload", key.as_str()),
            )
        })
    }

    /// All parts in order of their numbers, or the outcome that ended the copy.
    async fn copy_parts(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        upload_id: &str,
        part_bytes: u64,
    ) -> Result<Result<Vec<CompletedPart>, CopyOutcome>, Fault> {
        let mut copies = stream::iter(ranges(source.bytes, part_bytes))
            .map(|(number, first, last)| {
                self.copy_part(key, &source.etag, upload_id, number, first, last)
            })
            .buffered(PARTS_AT_ONCE);
        let mut parts = Vec::new();
        while let Some(part) = copies.try_next().await? {
            match part {
                Part::Copied(part) => parts.push(*part),
                Part::Ended(outcome) => return Ok(Err(outcome)),
            }
        }
        Ok(Ok(parts))
    }

    async fn copy_part(
        &self,
        key: &ObjectKey,
        etag: &Etag,
        upload_id: &str,
        number: i32,
        first: u64,
        last: u64,
    ) -> Result<Part, Fault> {
        let answer = self
            .replica
            .client
            .upload_part_copy()
            .bucket(self.replica.name.as_str())
            .key(key.as_str())
            .upload_id(upload_id)
            .part_number(number)
            .copy_source(self.copy_source(key))
            .copy_source_if_match(etag.quoted())
            .copy_source_range(format!("bytes={first}-{last}"))
            .expected_bucket_owner(&self.replica.owner)
            .expected_source_bucket_owner(&self.source.owner)
            .send()
            .await;
        match answer {
            Ok(answer) => {
                let etag = answer.copy_part_result.and_then(|result| result.e_tag);
                let part = CompletedPart::builder()
                    .part_number(number)
                    .set_e_tag(etag)
                    .build();
                Ok(Part::Copied(Box::new(part)))
            }
            Err(error) => copy_refused(key, error).map(Part::Ended),
        }
    }

    async fn complete_upload(
        &self,
        key: &ObjectKey,
        upload_id: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<CopyOutcome, Fault> {
        let answer = self
            .replica
            .client
            .complete_multipart_upload()
            .bucket(self.replica.name.as_str())
            .key(key.as_str())
            .upload_id(upload_id)
            .expected_bucket_owner(&self.replica.owner)
            .multipart_upload(
                CompletedMultipartUpload::builder()
                    .set_parts(Some(parts))
                    .build(),
            )
            .customize()
            .config_override(never_blindly_again())
            .send()
            .await
            .map_err(|error| fault(Doing::Copy, key, error))?;
        let etag = answer.e_tag().map(Etag::new).ok_or_else(|| {
            Fault::because(
                Reason::ServiceFailed,
                format!("copying {:?}: the answer names no ETag", key.as_str()),
            )
        })?;
        // Metadata were read before the parts: only a second look can tell whether they still hold.
        Ok(CopyOutcome::Landed(Landed {
            etag,
            source_version: None,
            began_after: None,
        }))
    }

    /// Some servers forget the tags that an upload was created with.
    async fn ensure_tags(&self, key: &ObjectKey, tags: &Tags) -> Result<(), Fault> {
        if tags.is_empty() || self.read_tags(Side::Replica, key).await? == *tags {
            return Ok(());
        }
        let set = tags.iter().map(|(key, value)| {
            aws_sdk_s3::types::Tag::builder()
                .key(key)
                .value(value)
                .build()
        });
        let set = set.collect::<Result<Vec<_>, _>>().and_then(|set| {
            aws_sdk_s3::types::Tagging::builder()
                .set_tag_set(Some(set))
                .build()
        });
        let tagging = set.map_err(|error| {
            Fault::new(
                Reason::RequestRefused,
                format!("tagging {:?}", key.as_str()),
                error,
            )
        })?;
        self.replica
            .client
            .put_object_tagging()
            .bucket(self.replica.name.as_str())
            .key(key.as_str())
            .expected_bucket_owner(&self.replica.owner)
            .tagging(tagging)
            .customize()
            .config_override(never_blindly_again())
            .send()
            .await
            .map_err(|error| fault(Doing::PutTags, key, error))?;
        Ok(())
    }

    /// Parts of an unfinished upload cost money until they are aborted. Where this fails too, the
    /// lifecycle rule that the README advises removes them.
    async fn abort_upload(&self, key: &ObjectKey, upload_id: &str) {
        let aborted = self
            .replica
            .client
            .abort_multipart_upload()
            .bucket(self.replica.name.as_str())
            .key(key.as_str())
            .upload_id(upload_id)
            .expected_bucket_owner(&self.replica.owner)
            .send()
            .await;
        if let Err(error) = aborted
            && Refused::of(&error).status != Some(404)
        {
            tracing::warn!(object.key = key.as_str(), upload_id, %error, "an unfinished upload is left behind");
        }
    }
}

fn as_query(tags: &Tags) -> String {
    let escaped = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    tags.iter()
        .map(|(key, value)| format!("{}={}", escaped(key), escaped(value)))
        .collect::<Vec<_>>()
        .join("&")
}
