//! Uploads in parts, each part copied from the source: begun, filled, completed or aborted; and one large
//! object copied so within one invocation.

use std::time::{Instant, SystemTime};

use aws_sdk_s3::types::CompletedMultipartUpload;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use futures::{StreamExt, TryStreamExt, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tandem_replication::bucket_pair::{CopyOutcome, Landed, Onto, Side};
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::names::{Etag, ObjectKey, UploadId};
use tandem_replication::object::{Checksum, ObjectState, Tags};
use tandem_replication::part_layout::{Part, PartLayout};

use crate::AwsError;
use crate::classify::Doing;
use crate::clients::never_blindly_again;
use crate::error::{Refused, fault};
use crate::object_state::{date_time, hides_digest, legal_hold, lock_mode};
use crate::s3_pair::{S3Pair, conditions, copy_refused, expire, took, with_source_etag};
use crate::uploaded_part::{UploadedPart, copied, etag_of, listed, ordered_checksum};
use crate::uploads::LoggedUpload;

/// How many parts of one object are under way at once.
const PARTS_AT_ONCE: usize = 16;

/// An upload that was begun.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Its place in the log.
    pub entry: LoggedUpload,
    /// S3's id.
    pub id: UploadId,
    /// Whether the object will name its source's `ETag`.
    pub records_etag: bool,
}

/// What became of an order to copy some parts.
#[derive(Debug)]
pub enum Filled {
    /// They are all in the upload, in the order of their numbers.
    Whole(Vec<UploadedPart>),
    /// The source is not the object that the upload is of.
    Ended(CopyOutcome),
    /// There is no such upload any more: completed, or aborted by somebody.
    NoUpload,
}

/// What became of an order to complete an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completed {
    /// The object is there, under this `ETag`.
    Landed(Etag),
    /// Nothing was done: the parts are cut otherwise than the source's, and the `ETag` would be another one.
    OtherEtag,
    /// There is no such upload any more: completed before, or aborted by somebody.
    NoUpload,
    /// Nothing was done: the destination does not hold what the upload may land on.
    Overtaken,
}

/// Why a part was not copied.
enum NotCopied {
    SourceChanged(CopyOutcome),
    NoUpload,
}

impl S3Pair {
    /// Copies `source` in these parts, each pinned to its `ETag`. An upload that does not end in an object
    /// is aborted.
    pub(crate) async fn copy_in_parts(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        layout: &PartLayout,
        record_etag: bool,
        onto: Onto<'_>,
    ) -> Result<CopyOutcome, Fault> {
        let began = Instant::now();
        let mut record_etag = record_etag;
        loop {
            let upload = self.begin_upload(key, source, record_etag).await?;
            match self
                .fill_and_complete(key, source, layout, &upload, onto)
                .await
            {
                Ok(Ok(Completed::Landed(etag))) => {
                    self.forget(&upload).await;
                    // Metadata were read before the parts: only a second look can tell whether they still
                    // hold.
                    return Ok(CopyOutcome::Landed(Landed {
                        etag,
                        source_version: None,
                        began_after: None,
                        took: took(began),
                    }));
                }
                Ok(Ok(Completed::OtherEtag)) => {
                    self.abandon(&upload.entry).await;
                    record_etag = true;
                }
                Ok(Ok(Completed::Overtaken)) => {
                    self.abandon(&upload.entry).await;
                    return Ok(CopyOutcome::Overtaken);
                }
                Ok(Ok(Completed::NoUpload)) => {
                    self.abandon(&upload.entry).await;
                    return Err(Fault::because(
                        Reason::ServiceFailed,
                        format!("copying {:?}: somebody aborted the upload", key.as_str()),
                    ));
                }
                Ok(Err(outcome)) => {
                    self.abandon(&upload.entry).await;
                    return Ok(outcome);
                }
                Err(fault) => {
                    self.abandon(&upload.entry).await;
                    return Err(fault);
                }
            }
        }
    }

    async fn fill_and_complete(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        layout: &PartLayout,
        upload: &Upload,
        onto: Onto<'_>,
    ) -> Result<Result<Completed, CopyOutcome>, Fault> {
        let copied = self
            .copy_parts(key, &source.etag, &upload.id, layout.parts())
            .await?;
        match copied {
            Filled::Whole(parts) => {
                let wanted = (!upload.records_etag).then_some(&source.etag);
                let checksum = source.checksum.as_ref();
                self.complete(key, &upload.id, parts, checksum, wanted, onto)
                    .await
                    .map(Ok)
            }
            Filled::Ended(outcome) => Ok(Err(outcome)),
            Filled::NoUpload => Ok(Ok(Completed::NoUpload)),
        }
    }

    /// Begins an upload for an object that looks like `source`, and notes it. It names the source's `ETag`
    /// if that is wanted, or if the destination's encryption turns out to hide digests.
    pub async fn begin_upload(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        record_etag: bool,
    ) -> Result<Upload, Fault> {
        let tags = if self.options.tags {
            self.read_tags(Side::Source, key).await?
        } else {
            Tags::new()
        };
        let mut entry = self
            .uploads
            .note(key, SystemTime::now().into())
            .await
            .map_err(AwsError::into_fault)?;
        let mut marked = record_etag;
        let id = loop {
            let (id, digests) = self.create_upload(key, source, &tags, marked).await?;
            if digests || marked {
                break id;
            }
            self.abort(key, &id).await.map_err(AwsError::into_fault)?;
            marked = true;
        };
        entry.upload_id = Some(id.clone());
        self.uploads
            .write(&entry)
            .await
            .map_err(AwsError::into_fault)?;
        Ok(Upload {
            entry,
            id,
            records_etag: marked,
        })
    }

    /// Answers the upload's id, and whether its object's `ETag` will be a digest.
    async fn create_upload(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        tags: &Tags,
        record_etag: bool,
    ) -> Result<(UploadId, bool), Fault> {
        let metadata = if record_etag {
            with_source_etag(source)
        } else {
            source.metadata.visible()
        };
        let lock = self.ordered_lock(source);
        let retention = lock.and_then(|lock| lock.retention.as_ref());
        let (algorithm, kind) = source.checksum.as_ref().map(ordered_checksum).unzip();
        let expires = metadata.expires;
        let answer = self
            .replica
            .client
            .create_multipart_upload()
            .bucket(self.replica.name.as_str())
            .key(key.as_str())
            .expected_bucket_owner(&self.replica.owner)
            .set_storage_class(self.ordered_class(&source.storage_class))
            .set_server_side_encryption(self.ordered_encryption())
            .set_ssekms_key_id(self.ordered_key())
            .set_acl(self.ordered_acl())
            .set_checksum_algorithm(algorithm)
            .set_checksum_type(kind)
            .set_object_lock_mode(retention.map(lock_mode))
            .set_object_lock_retain_until_date(
                retention.map(|retention| date_time(retention.until)),
            )
            .set_object_lock_legal_hold_status(lock.map(legal_hold))
            .set_website_redirect_location(metadata.website_redirect)
            .set_content_type(metadata.content_type)
            .set_content_encoding(metadata.content_encoding)
            .set_content_language(metadata.content_language)
            .set_content_disposition(metadata.content_disposition)
            .set_cache_control(metadata.cache_control)
            .set_metadata(Some(metadata.user.into_iter().collect()))
            .set_tagging((!tags.is_empty()).then(|| as_query(tags)))
            .customize()
            // An upload that nobody knows of would be left behind.
            .config_override(never_blindly_again())
            .mutate_request(move |request| expire(request, expires.as_deref()))
            .send()
            .await
            .map_err(|error| fault(Doing::BeginUpload, key, error))?;
        let digests = !hides_digest(answer.server_side_encryption());
        let id = answer.upload_id.map(UploadId::new).ok_or_else(|| {
            Fault::because(
                Reason::ServiceFailed,
                format!("copying {:?}: the answer names no upload", key.as_str()),
            )
        })?;
        Ok((id, digests))
    }

    /// Copies these parts into an upload, each pinned to the source's `ETag`.
    pub async fn copy_parts(
        &self,
        key: &ObjectKey,
        etag: &Etag,
        upload_id: &UploadId,
        parts: impl IntoIterator<Item = Part>,
    ) -> Result<Filled, Fault> {
        let mut copies = stream::iter(parts)
            .map(|part| self.copy_part(key, etag, upload_id, part))
            .buffered(PARTS_AT_ONCE);
        let mut filled = Vec::new();
        while let Some(part) = copies.try_next().await? {
            match part {
                Ok(part) => filled.push(part),
                Err(NotCopied::SourceChanged(outcome)) => return Ok(Filled::Ended(outcome)),
                Err(NotCopied::NoUpload) => return Ok(Filled::NoUpload),
            }
        }
        Ok(Filled::Whole(filled))
    }

    async fn copy_part(
        &self,
        key: &ObjectKey,
        etag: &Etag,
        upload_id: &UploadId,
        part: Part,
    ) -> Result<Result<UploadedPart, NotCopied>, Fault> {
        let number = i32::try_from(part.number).unwrap_or(i32::MAX);
        let answer = self
            .replica
            .client
            .upload_part_copy()
            .bucket(self.replica.name.as_str())
            .key(key.as_str())
            .upload_id(upload_id.as_str())
            .part_number(number)
            .copy_source(self.copy_source(key))
            .copy_source_if_match(etag.quoted())
            // S3 takes no range of an object of 5 MiB or less, which has one part (API reference,
            // "`UploadPartCopy`").
            .set_copy_source_range(
                (!part.is_only).then(|| format!("bytes={}-{}", part.first, part.last)),
            )
            .expected_bucket_owner(&self.replica.owner)
            .expected_source_bucket_owner(&self.source.owner)
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(Ok(UploadedPart(copied(number, answer)))),
            Err(error) if no_such_upload(&error) => Ok(Err(NotCopied::NoUpload)),
            Err(error) => copy_refused(Doing::CopyPart, key, error)
                .map(NotCopied::SourceChanged)
                .map(Err),
        }
    }

    /// The parts that an upload has among those numbered `first` to `last`, in order; `None` if there is no
    /// such upload any more.
    pub async fn uploaded_parts(
        &self,
        key: &ObjectKey,
        upload_id: &UploadId,
        first: u32,
        last: u32,
    ) -> Result<Option<Vec<UploadedPart>>, Fault> {
        let mut found = Vec::new();
        let mut after = (first > 1).then(|| (first - 1).to_string());
        loop {
            let answer = self
                .replica
                .client
                .list_parts()
                .bucket(self.replica.name.as_str())
                .key(key.as_str())
                .upload_id(upload_id.as_str())
                .set_part_number_marker(after)
                .expected_bucket_owner(&self.replica.owner)
                .send()
                .await;
            let answer = match answer {
                Err(error) if no_such_upload(&error) => return Ok(None),
                answer => answer.map_err(|error| fault(Doing::ListParts, key, error))?,
            };
            for part in answer.parts() {
                let part = UploadedPart(listed(part));
                if part.number() > last {
                    return Ok(Some(found));
                }
                // A marker that a server takes otherwise must not let a part appear twice.
                if part.number() >= first
                    && found.last().map(UploadedPart::number) < Some(part.number())
                {
                    found.push(part);
                }
            }
            after = answer.next_part_number_marker().map(str::to_owned);
            if !answer.is_truncated().unwrap_or_default() || after.is_none() {
                return Ok(Some(found));
            }
        }
    }

    /// Makes the upload's parts an object where it may land, if its `ETag` will be the one that is `wanted`, as far as the
    /// parts tell.
    pub async fn complete(
        &self,
        key: &ObjectKey,
        upload_id: &UploadId,
        parts: Vec<UploadedPart>,
        checksum: Option<&Checksum>,
        wanted: Option<&Etag>,
        onto: Onto<'_>,
    ) -> Result<Completed, Fault> {
        if let Some(wanted) = wanted
            && etag_of(&parts).is_some_and(|etag| etag != *wanted)
        {
            return Ok(Completed::OtherEtag);
        }
        let parts = parts.into_iter().map(|part| part.0).collect();
        let (if_match, if_none_match) = conditions(onto);
        let answer = self
            .replica
            .client
            .complete_multipart_upload()
            .bucket(self.replica.name.as_str())
            .key(key.as_str())
            .upload_id(upload_id.as_str())
            .set_if_match(if_match)
            .set_if_none_match(if_none_match)
            .expected_bucket_owner(&self.replica.owner)
            .set_checksum_type(checksum.map(|checksum| ordered_checksum(checksum).1))
            .multipart_upload(
                CompletedMultipartUpload::builder()
                    .set_parts(Some(parts))
                    .build(),
            )
            .customize()
            .config_override(never_blindly_again())
            .send()
            .await;
        let answer = match answer {
            Err(error) if no_such_upload(&error) => return Ok(Completed::NoUpload),
            Err(error) if is_overtaken(&error) => return Ok(Completed::Overtaken),
            answer => answer.map_err(|error| fault(Doing::Copy, key, error))?,
        };
        answer
            .e_tag()
            .map(|etag| Completed::Landed(Etag::new(etag)))
            .ok_or_else(|| {
                Fault::because(
                    Reason::ServiceFailed,
                    format!("copying {:?}: the answer names no ETag", key.as_str()),
                )
            })
    }

    /// Aborts an upload. Answers whether there was one.
    pub async fn abort(&self, key: &ObjectKey, upload_id: &UploadId) -> Result<bool, AwsError> {
        let aborted = self
            .replica
            .client
            .abort_multipart_upload()
            .bucket(self.replica.name.as_str())
            .key(key.as_str())
            .upload_id(upload_id.as_str())
            .expected_bucket_owner(&self.replica.owner)
            .send()
            .await;
        match aborted {
            Ok(_) => Ok(true),
            Err(error) if Refused::of(&error).status == Some(404) => Ok(false),
            Err(error) => Err(AwsError::request(
                format!("aborting an upload to {:?}", key.as_str()),
                &error,
            )),
        }
    }

    /// Aborts an upload that will not be completed. What fails here is left to the sweep.
    pub async fn abandon(&self, entry: &LoggedUpload) {
        if let Err(error) = self.abort_left_behind(entry).await {
            tracing::warn!(object.key = entry.key.as_str(), %error, "an upload is left to the sweep");
        }
    }

    /// Takes an upload that has ended out of the log; what fails here is left to the sweep.
    async fn forget(&self, upload: &Upload) {
        if let Err(error) = self.uploads.forget(&upload.entry.id).await {
            tracing::warn!(object.key = upload.entry.key.as_str(), %error, "an upload that ended is left in the log");
        }
    }
}

fn no_such_upload<E>(error: &SdkError<E, Response>) -> bool
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    Refused::of(error).code.as_deref() == Some("NoSuchUpload")
}

/// Whether the destination was found to hold something else than it should. With 409, another write of the
/// key came between; whoever looks again will see it.
fn is_overtaken<E>(error: &SdkError<E, Response>) -> bool
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let refused = Refused::of(error);
    matches!(
        refused.code.as_deref(),
        Some("PreconditionFailed" | "ConditionalRequestConflict")
    )
}

fn as_query(tags: &Tags) -> String {
    let escaped = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    tags.iter()
        .map(|(key, value)| format!("{}={}", escaped(key), escaped(value)))
        .collect::<Vec<_>>()
        .join("&")
}
