//! The two buckets of a rule in S3: the protocol's port, request by request.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::MetadataDirective;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;
use chrono::TimeDelta;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tandem_replication::Timestamp;
use tandem_replication::bucket_pair::{
    BucketPair, CopyOrder, CopyOutcome, DeleteOutcome, Landed, Side,
};
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::names::{BucketName, Etag, ObjectKey, VersionId};
use tandem_replication::object::{Metadata, ObjectState, PROVENANCE_KEY, Tags};
use tandem_replication::rule::Rule;

use crate::Aws;
use crate::classify::Doing;
use crate::clients::never_blindly_again;
use crate::denied::fault;
use crate::error::Refused;

/// The source and the destination of one rule, each through a client of its own region.
#[derive(Debug, Clone)]
pub struct S3Pair {
    pub(crate) source: S3Bucket,
    pub(crate) replica: S3Bucket,
}

#[derive(Debug, Clone)]
pub(crate) struct S3Bucket {
    pub(crate) client: Client,
    pub(crate) name: BucketName,
    /// The account that has to own the bucket.
    pub(crate) owner: String,
}

impl S3Pair {
    /// The buckets of `rule`.
    pub fn of_rule(aws: &Aws, rule: &Rule) -> Self {
        let bucket = |bucket: &tandem_replication::rule::Bucket| S3Bucket {
            client: aws.s3(&bucket.region),
            name: bucket.name.clone(),
            owner: aws.account_id().to_owned(),
        };
        Self {
            source: bucket(&rule.source),
            replica: bucket(&rule.destination),
        }
    }

    pub(crate) fn bucket(&self, side: Side) -> &S3Bucket {
        match side {
            Side::Source => &self.source,
            Side::Replica => &self.replica,
        }
    }

    /// The source object as `x-amz-copy-source` wants it.
    pub(crate) fn copy_source(&self, key: &ObjectKey) -> String {
        format!(
            "{}/{}",
            self.source.name,
            utf8_percent_encode(key.as_str(), COPY_SOURCE_ESCAPES)
        )
    }

    async fn copy_whole(
        &self,
        key: &ObjectKey,
        etag: &Etag,
        replaced: Option<&Metadata>,
    ) -> Result<CopyOutcome, Fault> {
        let mut request = self
            .replica
            .client
            .copy_object()
            .bucket(self.replica.name.as_str())
            .key(key.as_str())
            .copy_source(self.copy_source(key))
            .copy_source_if_match(etag.quoted())
            .expected_bucket_owner(&self.replica.owner)
            .expected_source_bucket_owner(&self.source.owner);
        if let Some(metadata) = replaced {
            request = request
                .metadata_directive(MetadataDirective::Replace)
                .set_content_type(metadata.content_type.clone())
                .set_content_encoding(metadata.content_encoding.clone())
                .set_content_language(metadata.content_language.clone())
                .set_content_disposition(metadata.content_disposition.clone())
                .set_cache_control(metadata.cache_control.clone())
                .set_expires(metadata.expires.as_deref().and_then(http_date))
                .set_metadata(Some(metadata.user.clone().into_iter().collect()));
        }
        let clock = ServiceClock::default();
        let sent = Instant::now();
        let request = request
            .customize()
            .config_override(never_blindly_again())
            .interceptor(clock.clone());
        match request.send().await {
            Ok(answer) => {
                let etag = answer
                    .copy_object_result()
                    .and_then(|result| result.e_tag())
                    .map(Etag::new);
                let Some(etag) = etag else {
                    return Err(Fault::because(
                        Reason::ServiceFailed,
                        format!("copying {:?}: the answer names no ETag", key.as_str()),
                    ));
                };
                Ok(CopyOutcome::Landed(Landed {
                    etag,
                    source_version: answer.copy_source_version_id().and_then(version),
                    began_after: clock.before(sent),
                }))
            }
            Err(error) => copy_refused(key, error),
        }
    }
}

/// What a refused copy means: the pinned object is not there any more, or a fault.
pub(crate) fn copy_refused<E>(
    key: &ObjectKey,
    error: SdkError<E, aws_smithy_runtime_api::http::Response>,
) -> Result<CopyOutcome, Fault>
where
    E: aws_smithy_types::error::metadata::ProvideErrorMetadata
        + std::error::Error
        + Send
        + Sync
        + 'static,
{
    let refused = Refused::of(&error);
    match (refused.code.as_deref(), refused.status) {
        (Some("PreconditionFailed"), _) | (_, Some(412)) => Ok(CopyOutcome::SourceChanged),
        (Some("NoSuchKey"), _) => Ok(CopyOutcome::SourceGone),
        _ => Err(fault(Doing::Copy, key, error)),
    }
}

impl BucketPair for S3Pair {
    async fn head(&self, side: Side, key: &ObjectKey) -> Result<Option<ObjectState>, Fault> {
        match self.look(side, key).await {
            Err(fault) => Err(self.explained(key, fault).await),
            looked => looked,
        }
    }

    async fn tags(&self, side: Side, key: &ObjectKey) -> Result<Tags, Fault> {
        match self.read_tags(side, key).await {
            Err(fault) => Err(self.explained(key, fault).await),
            read => read,
        }
    }

    async fn first_part_bytes(&self, key: &ObjectKey, etag: &Etag) -> Result<Option<u64>, Fault> {
        match self.look_at_first_part(key, etag).await {
            Err(fault) => Err(self.explained(key, fault).await),
            looked => looked,
        }
    }

    async fn copy(&self, key: &ObjectKey, order: CopyOrder<'_>) -> Result<CopyOutcome, Fault> {
        match self.carry_out(key, order).await {
            Err(fault) => Err(self.explained(key, fault).await),
            carried_out => carried_out,
        }
    }

    async fn delete_replica(&self, key: &ObjectKey, seen: &Etag) -> Result<DeleteOutcome, Fault> {
        match self.delete_seen(key, seen).await {
            Err(fault) => Err(self.explained(key, fault).await),
            deleted => deleted,
        }
    }
}

/// The port's requests, as S3 answers them.
impl S3Pair {
    pub(crate) async fn look(
        &self,
        side: Side,
        key: &ObjectKey,
    ) -> Result<Option<ObjectState>, Fault> {
        let bucket = self.bucket(side);
        let answer = bucket
            .client
            .head_object()
            .bucket(bucket.name.as_str())
            .key(key.as_str())
            .expected_bucket_owner(&bucket.owner)
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(Some(state(&answer))),
            // A HEAD's 404 has no body to tell a missing key from a missing bucket. Either way there is no
            // such object: S3 deletes a bucket only when it is empty, and another owner's answers 403.
            Err(error) if Refused::of(&error).status == Some(404) => Ok(None),
            Err(error) => Err(fault(Doing::Head(side), key, error)),
        }
    }

    pub(crate) async fn read_tags(&self, side: Side, key: &ObjectKey) -> Result<Tags, Fault> {
        let bucket = self.bucket(side);
        let answer = bucket
            .client
            .get_object_tagging()
            .bucket(bucket.name.as_str())
            .key(key.as_str())
            .expected_bucket_owner(&bucket.owner)
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(answer
                .tag_set()
                .iter()
                .map(|tag| (tag.key().to_owned(), tag.value().to_owned()))
                .collect()),
            Err(error) if Refused::of(&error).code.as_deref() == Some("NoSuchKey") => {
                Ok(Tags::new())
            }
            Err(error) => Err(fault(Doing::ReadTags(side), key, error)),
        }
    }

    async fn look_at_first_part(&self, key: &ObjectKey, etag: &Etag) -> Result<Option<u64>, Fault> {
        let answer = self
            .source
            .client
            .head_object()
            .bucket(self.source.name.as_str())
            .key(key.as_str())
            .part_number(1)
            .if_match(etag.quoted())
            .expected_bucket_owner(&self.source.owner)
            .send()
            .await;
        match answer {
            // A server that does not know parts answers for the whole object, without a count of parts.
            Ok(answer) if answer.parts_count().is_some() => Ok(answer
                .content_length()
                .and_then(|bytes| u64::try_from(bytes).ok())),
            Ok(_) => Ok(None),
            // The copy is pinned too and will find out what changed.
            Err(error) if matches!(Refused::of(&error).status, Some(404 | 412)) => Ok(None),
            Err(error) => Err(fault(Doing::Head(Side::Source), key, error)),
        }
    }

    async fn carry_out(&self, key: &ObjectKey, order: CopyOrder<'_>) -> Result<CopyOutcome, Fault> {
        let (source, plan, record_etag) = match order {
            CopyOrder::Pinned(etag) => return self.copy_whole(key, etag, None).await,
            CopyOrder::Known {
                source,
                plan,
                record_etag,
            } => (source, plan, record_etag),
        };
        let mut metadata = source.metadata.clone();
        if record_etag {
            metadata
                .user
                .insert(PROVENANCE_KEY.to_owned(), source.etag.as_str().to_owned());
        }
        match plan.part_bytes {
            Some(part_bytes) => self.copy_in_parts(key, source, &metadata, part_bytes).await,
            None => {
                self.copy_whole(key, &source.etag, record_etag.then_some(&metadata))
                    .await
            }
        }
    }

    async fn delete_seen(&self, key: &ObjectKey, seen: &Etag) -> Result<DeleteOutcome, Fault> {
        let request = self
            .replica
            .client
            .delete_object()
            .bucket(self.replica.name.as_str())
            .key(key.as_str())
            .expected_bucket_owner(&self.replica.owner);
        let conditional = request.clone().if_match(seen.quoted()).customize();
        let answer = match conditional
            .config_override(never_blindly_again())
            .send()
            .await
        {
            // A server without conditional deletes says so; the protocol holds without them.
            Err(error) if Refused::of(&error).status == Some(501) => {
                let unconditional = request.customize();
                unconditional
                    .config_override(never_blindly_again())
                    .send()
                    .await
            }
            answer => answer,
        };
        match answer {
            Ok(_) => Ok(DeleteOutcome::Deleted),
            Err(error) => match Refused::of(&error).status {
                Some(404) => Ok(DeleteOutcome::Deleted),
                Some(409 | 412) => Ok(DeleteOutcome::ReplicaChanged),
                _ => Err(fault(Doing::Delete, key, error)),
            },
        }
    }
}

/// Letters, digits and `-._~/` stand for themselves.
const COPY_SOURCE_ESCAPES: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// S3 writes `null` for the version of an object that was put while a bucket had no versions; such an
/// object can be overwritten in place, so it is as good as no version.
pub(crate) fn version(text: &str) -> Option<VersionId> {
    (text != "null").then(|| VersionId::new(text))
}

/// An `Expires` header as the SDK takes it; anything but a date is not carried over.
pub(crate) fn http_date(text: &str) -> Option<DateTime> {
    DateTime::from_str(text, Format::HttpDate).ok()
}

fn state(answer: &HeadObjectOutput) -> ObjectState {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let user = answer
        .metadata()
        .map(|map| map.iter().map(|(k, v)| (k.clone(), v.clone())).collect());
    ObjectState {
        etag: Etag::new(answer.e_tag().unwrap_or_default()),
        bytes: answer
            .content_length()
            .and_then(|bytes| u64::try_from(bytes).ok())
            .unwrap_or_default(),
        last_modified: answer
            .last_modified()
            .and_then(|at| Timestamp::from_timestamp(at.secs(), 0))
            // A server that does not say leaves the second look to decide.
            .unwrap_or(Timestamp::MAX_UTC - TimeDelta::days(1)),
        version_id: answer.version_id().and_then(version),
        metadata: Metadata {
            content_type: owned(answer.content_type()),
            content_encoding: owned(answer.content_encoding()),
            content_language: owned(answer.content_language()),
            content_disposition: owned(answer.content_disposition()),
            cache_control: owned(answer.cache_control()),
            expires: owned(answer.expires_string()),
            user: user.unwrap_or_default(),
        },
        tag_count: answer
            .tag_count()
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or_default(),
    }
}

/// Reads the service's clock off an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceClock(Arc<Mutex<Option<Timestamp>>>);

impl ServiceClock {
    /// An instant of the service's clock before which a request sent at `sent` cannot have begun: the
    /// answer's `Date` (whole seconds, rounded down) less the time that the request took.
    pub(crate) fn before(&self, sent: Instant) -> Option<Timestamp> {
        let answered = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(answered? - TimeDelta::from_std(sent.elapsed()).ok()?)
    }
}

impl Intercept for ServiceClock {
    fn name(&self) -> &'static str {
        "ServiceClock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|text| chrono::DateTime::parse_from_rfc2822(text).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date.map(|date| date.to_utc());
        Ok(())
    }
}
