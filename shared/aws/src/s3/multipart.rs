//! Multipart uploads whose parts are copied from the source. Implements the domain's [`Uploads`] port.

use std::time::SystemTime;

use aws_sdk_s3::types::{CompletedMultipartUpload, EncodingType, MultipartUpload};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use futures::{StreamExt, TryStreamExt, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tandem_replication::bucket_pair::{CopyOutcome, Landed, Onto, Side};
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::names::{Etag, ObjectKey, UploadId};
use tandem_replication::object::{ObjectState, Tags};
use tandem_replication::part_layout::{Part, PartLayout};
use tandem_replication::transfer::LoggedUpload;
use tandem_replication::transfer::ports::{
    self, Answer, Completed, CompletionOrder, CreatedUpload, Filled, OpenUpload, Uploads,
};
use tandem_replication::transfer::uploads::copy_in_parts;

use crate::AwsError;
use crate::classify::Doing;
use crate::clients::never_blindly_again;
use crate::clock::{moment, took};
use crate::error::{Refused, fault};
use crate::s3::listing::listed_key;
use crate::s3::metadata_headers::WithMetadata;
use crate::s3::object_state::{date_time, hides_digest, legal_hold, lock_mode};
use crate::s3::s3_pair::{S3Pair, check_sendable, conditions, copy_refused};
use crate::s3::uploaded_part::{UploadedPart, copied, etag_of, listed, ordered_checksum};

/// How many parts of one object are copied at the same time.
const PARTS_AT_ONCE: usize = 16;

/// Why a part was not copied.
enum NotCopied {
    SourceChanged(CopyOutcome),
    NoUpload,
}

impl S3Pair {
    /// Copies all parts of `source` within this invocation.
    pub(crate) async fn copy_in_parts(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        layout: &PartLayout,
        record_etag: bool,
        onto: Onto<'_>,
    ) -> Result<CopyOutcome, Fault> {
        let began = moment();
        let copied = copy_in_parts(self, key, source, layout, record_etag, onto).await?;
        Ok(match copied {
            // The metadata were read before the parts were copied. The caller has to read the source again to check
            // that they are still current.
            Ok(etag) => CopyOutcome::Landed(Landed {
                etag,
                version: None,
                source_version: None,
                began_after: None,
                took: took(began),
            }),
            Err(outcome) => outcome,
        })
    }

    /// Creates an upload. After a server error an upload may exist whose id is unknown. The sweep finds it by the log.
    async fn create_upload(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        tags: &Tags,
        record_etag: bool,
    ) -> Result<CreatedUpload, Fault> {
        let marked = source.marked_metadata().filter(|_| record_etag);
        let metadata = marked.unwrap_or_else(|| source.metadata.visible());
        check_sendable(key, &metadata)?;
        let lock = self.ordered_lock(source);
        let retention = lock.and_then(|lock| lock.retention.as_ref());
        let (algorithm, kind) = source.checksum.as_ref().map(ordered_checksum).unzip();
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
            .set_tagging((!tags.is_empty()).then(|| as_query(tags)))
            .customize()
            // A repeated request could create a second upload whose id is unknown.
            .config_override(never_blindly_again())
            .interceptor(WithMetadata(metadata))
            .send()
            .await
            .map_err(|error| fault(Doing::BeginUpload, key, error))?;
        let makes_digest = !hides_digest(answer.server_side_encryption());
        let id = answer.upload_id.map(UploadId::new).ok_or_else(|| {
            Fault::because(
                Reason::ServiceFailed,
                format!("copying {:?}: the answer has no upload id", key.as_str()),
            )
        })?;
        Ok(CreatedUpload { id, makes_digest })
    }

    /// Copies these parts into an upload, several at the same time.
    async fn copy_all_parts(
        &self,
        key: &ObjectKey,
        etag: &Etag,
        upload_id: &UploadId,
        parts: Vec<Part>,
    ) -> Result<Filled<UploadedPart>, Fault> {
        let mut copies = stream::iter(parts)
            .map(|part| self.copy_part(key, etag, upload_id, part))
            .buffered(PARTS_AT_ONCE);
        let mut filled = Vec::new();
        while let Some(part) = copies.try_next().await? {
            match part {
                Ok(part) => filled.push(part),
                Err(NotCopied::SourceChanged(outcome)) => {
                    return Ok(Filled::SourceChanged(outcome));
                }
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
            // S3 refuses a range of an object of 5 MiB or less. Such an object has one part (API reference,
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
            Err(error) => copy_refused(Doing::CopyPart, key, error, Onto::Anything)
                .map(NotCopied::SourceChanged)
                .map(Err),
        }
    }

    async fn list_parts(
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
                if part.part_number() > last {
                    return Ok(Some(found));
                }
                // If a server interprets the marker in another way, a part must still not appear twice.
                if part.part_number() >= first
                    && found.last().map(UploadedPart::part_number) < Some(part.part_number())
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

    async fn complete_upload(
        &self,
        key: &ObjectKey,
        upload_id: &UploadId,
        order: CompletionOrder<'_, UploadedPart>,
    ) -> Result<Completed, Fault> {
        let CompletionOrder {
            parts,
            checksum,
            wanted,
            onto,
        } = order;
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
            Err(error) if is_overtaken(&error, onto) => return Ok(Completed::Overtaken),
            answer => answer.map_err(|error| fault(Doing::Copy, key, error))?,
        };
        answer
            .e_tag()
            .map(|etag| Completed::Landed(Etag::new(etag)))
            .ok_or_else(|| {
                Fault::because(
                    Reason::ServiceFailed,
                    format!("copying {:?}: the answer has no ETag", key.as_str()),
                )
            })
    }

    async fn abort_upload(&self, key: &ObjectKey, upload_id: &UploadId) -> Result<bool, Fault> {
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
            Err(error) => Err(fault(Doing::Copy, key, error)),
        }
    }

    async fn list_uploads(&self, key: &ObjectKey) -> Result<Vec<OpenUpload>, Fault> {
        // The key itself sorts first among all keys that begin with it.
        let answer = self
            .replica
            .client
            .list_multipart_uploads()
            .bucket(self.replica.name.as_str())
            .prefix(key.as_str())
            // Keys with this prefix may contain characters that XML cannot represent.
            .encoding_type(EncodingType::Url)
            .expected_bucket_owner(&self.replica.owner)
            .send()
            .await
            .map_err(|error| fault(Doing::Copy, key, error))?;
        let named = |upload: &&MultipartUpload| {
            let named = upload
                .key()
                .map(|text| listed_key(text, answer.encoding_type()));
            named.as_deref() == Some(key.as_str())
        };
        let of_this_key = answer.uploads().iter().filter(named);
        Ok(of_this_key.filter_map(open_upload).collect())
    }
}

impl ports::UploadedPart for UploadedPart {
    fn number(&self) -> u32 {
        self.part_number()
    }
}

impl Uploads for S3Pair {
    type Part = UploadedPart;

    async fn source_tags(&self, key: &ObjectKey) -> Answer<Tags> {
        if !self.options.tags {
            return Ok(Tags::new());
        }
        self.read_tags(Side::Source, key).await
    }

    async fn exact_layout(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
    ) -> Answer<Option<PartLayout>> {
        self.source_parts(key, source, true).await
    }

    async fn log(&self, key: &ObjectKey) -> Answer<LoggedUpload> {
        let noted = self.uploads.note(key, SystemTime::now().into()).await;
        noted.map_err(AwsError::into_fault)
    }

    async fn note_id(&self, entry: &LoggedUpload) -> Answer<()> {
        let noted = self.uploads.write(entry).await;
        noted.map_err(AwsError::into_fault)
    }

    async fn forget(&self, entry: &LoggedUpload) -> Answer<()> {
        let forgotten = self.uploads.forget(&entry.id).await;
        forgotten.map_err(AwsError::into_fault)
    }

    async fn logged(&self) -> Answer<Vec<LoggedUpload>> {
        let entries = self.uploads.entries().await;
        entries.map_err(AwsError::into_fault)
    }

    async fn create(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        tags: &Tags,
        record_etag: bool,
    ) -> Answer<CreatedUpload> {
        self.create_upload(key, source, tags, record_etag).await
    }

    async fn copy_parts(
        &self,
        key: &ObjectKey,
        etag: &Etag,
        upload: &UploadId,
        parts: Vec<Part>,
    ) -> Answer<Filled<UploadedPart>> {
        self.copy_all_parts(key, etag, upload, parts).await
    }

    async fn uploaded_parts(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        first: u32,
        last: u32,
    ) -> Answer<Option<Vec<UploadedPart>>> {
        self.list_parts(key, upload, first, last).await
    }

    async fn complete(
        &self,
        key: &ObjectKey,
        upload: &UploadId,
        order: CompletionOrder<'_, UploadedPart>,
    ) -> Answer<Completed> {
        self.complete_upload(key, upload, order).await
    }

    async fn abort(&self, key: &ObjectKey, upload: &UploadId) -> Answer<bool> {
        // `configure-rule` aborts uploads too. It has no permission for the requests that explain a fault.
        self.abort_upload(key, upload).await
    }

    async fn open_uploads(&self, key: &ObjectKey) -> Answer<Vec<OpenUpload>> {
        self.list_uploads(key).await
    }

    fn left_to_sweep(&self, entry: &LoggedUpload, fault: &Fault) {
        tracing::warn!(object.key = entry.key.as_str(), error = %fault, "cannot abort an upload; the sweep retries");
    }
}

/// Returns an upload from a listing.
fn open_upload(listed: &MultipartUpload) -> Option<OpenUpload> {
    let created_secs = listed.initiated()?.secs();
    Some(OpenUpload {
        id: UploadId::new(listed.upload_id()?),
        created_at: chrono::DateTime::from_timestamp(created_secs, 0)?,
    })
}

fn no_such_upload<E>(error: &SdkError<E, Response>) -> bool
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    Refused::of(error).code.as_deref() == Some("NoSuchUpload")
}

/// Whether the destination is no longer what the upload may replace. A 409 means that another write of the key came
/// between. S3 answers `If-Match` on a key that does not exist with 404 (user guide, "Conditional writes").
fn is_overtaken<E>(error: &SdkError<E, Response>, onto: Onto<'_>) -> bool
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match Refused::of(error).code.as_deref() {
        Some("PreconditionFailed" | "ConditionalRequestConflict") => true,
        Some("NoSuchKey") => matches!(onto, Onto::Seen(_)),
        _ => false,
    }
}

fn as_query(tags: &Tags) -> String {
    let escaped = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    tags.iter()
        .map(|(key, value)| format!("{}={}", escaped(key), escaped(value)))
        .collect::<Vec<_>>()
        .join("&")
}
