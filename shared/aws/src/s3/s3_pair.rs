//! The two buckets of a rule in S3. Implements the protocol's port.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::types::{
    ChecksumMode, MetadataDirective, ObjectCannedAcl, ServerSideEncryption, StorageClass,
    TaggingDirective,
};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tandem_replication::Timestamp;
use tandem_replication::age::Moment;
use tandem_replication::bucket_pair::{
    AdjustOutcome, Adjustment, BucketPair, CopyOrder, CopyOutcome, DeleteOutcome, Landed, Onto,
    Side,
};
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::head::version;
use tandem_replication::names::StorageClass as Class;
use tandem_replication::names::{BucketName, Etag, ObjectKey};
use tandem_replication::object::{Attributes, Lock, Metadata, ObjectState};
use tandem_replication::options::{ClassChoice, EncryptionChoice, LockChoice, Options};
use tandem_replication::part_layout::PartLayout;
use tandem_replication::rule::Rule;

use crate::Aws;
use crate::classify::Doing;
use crate::clients::never_blindly_again;
use crate::clock::{moment, took};
use crate::dynamodb::table::Table;
use crate::dynamodb::upload_log::UploadLog;
use crate::error::{Refused, fault};
use crate::s3::metadata_headers::WithMetadata;
use crate::s3::object_state::{date_time, legal_hold, lock_mode};
use tandem_raw_head::head;

/// The source and the destination of one rule, each with a client of its own region.
#[derive(Debug, Clone)]
pub struct S3Pair {
    pub(crate) source: S3Bucket,
    pub(crate) replica: S3Bucket,
    pub(crate) options: Options,
    pub(crate) uploads: UploadLog,
}

#[derive(Debug, Clone)]
pub(crate) struct S3Bucket {
    pub(crate) client: Client,
    pub(crate) name: BucketName,
    /// The account that has to own the bucket.
    pub(crate) owner: String,
}

impl S3Pair {
    /// Returns the buckets of `rule`. The log of multipart uploads is in `table`.
    pub fn of_rule(aws: &Aws, table: &Table, rule: &Rule) -> Self {
        let bucket = |bucket: &tandem_replication::rule::Bucket, owner: &str| S3Bucket {
            client: aws.s3(&bucket.region),
            name: bucket.name.clone(),
            owner: owner.to_owned(),
        };
        let other = rule.options.destination_account.as_ref();
        let replica_owner = other.map_or(aws.account_id(), |account| account.as_str());
        Self {
            source: bucket(&rule.source, aws.account_id()),
            replica: bucket(&rule.destination, replica_owner),
            options: rule.options.clone(),
            uploads: UploadLog::new(table.clone(), rule.id.clone()),
        }
    }

    pub(crate) fn bucket(&self, side: Side) -> &S3Bucket {
        match side {
            Side::Source => &self.source,
            Side::Replica => &self.replica,
        }
    }

    /// Returns the source object in the form of `x-amz-copy-source`.
    pub(crate) fn copy_source(&self, key: &ObjectKey) -> String {
        format!(
            "{}/{}",
            self.source.name,
            utf8_percent_encode(key.as_str(), COPY_SOURCE_ESCAPES)
        )
    }

    /// Copies the source object with this `ETag` by one `CopyObject`. If `known` is given, the request sets its
    /// redirect, its lock and, if needed, its metadata.
    async fn copy_whole(
        &self,
        key: &ObjectKey,
        etag: &Etag,
        class: &Class,
        known: Option<&ObjectState>,
        record_etag: bool,
        onto: Onto<'_>,
    ) -> Result<CopyOutcome, Fault> {
        let (if_match, if_none_match) = conditions(onto);
        let mut request = self
            .replica
            .client
            .copy_object()
            .bucket(self.replica.name.as_str())
            .key(key.as_str())
            .copy_source(self.copy_source(key))
            .copy_source_if_match(etag.quoted())
            .set_if_match(if_match)
            .set_if_none_match(if_none_match)
            .set_storage_class(self.ordered_class(class))
            .set_server_side_encryption(self.ordered_encryption())
            .set_ssekms_key_id(self.ordered_key())
            .set_acl(self.ordered_acl())
            .set_tagging_directive((!self.options.tags).then_some(TaggingDirective::Replace))
            .expected_bucket_owner(&self.replica.owner)
            .expected_source_bucket_owner(&self.source.owner);
        let mut metadata = Metadata::default();
        if let Some(known) = known {
            metadata
                .website_redirect
                .clone_from(&known.metadata.website_redirect);
            if let Some(lock) = self.ordered_lock(known) {
                let retention = lock.retention.as_ref();
                request = request
                    .set_object_lock_mode(retention.map(lock_mode))
                    .set_object_lock_retain_until_date(
                        retention.map(|retention| date_time(retention.until)),
                    )
                    .object_lock_legal_hold_status(legal_hold(lock));
            }
            // If the replica does not have to record the source's `ETag`, S3 copies the metadata itself.
            if let Some(marked) = known.marked_metadata().filter(|_| record_etag) {
                metadata = marked;
                request = request.metadata_directive(MetadataDirective::Replace);
            }
        }
        check_sendable(key, &metadata)?;
        let clock = ServiceClock::default();
        let sent = moment();
        let request = request
            .customize()
            .config_override(never_blindly_again())
            .interceptor(WithMetadata(metadata))
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
                        format!("copying {:?}: the answer has no ETag", key.as_str()),
                    ));
                };
                Ok(CopyOutcome::Landed(Landed {
                    etag,
                    version: answer.version_id().and_then(version),
                    source_version: answer.copy_source_version_id().and_then(version),
                    began_after: clock.before(sent),
                    took: took(sent),
                }))
            }
            Err(error) => copy_refused(Doing::Copy, key, error, onto),
        }
    }

    /// Returns the class that a request names for a source of the class `source`, or `None` if the rule keeps classes
    /// and S3 uses the class by default.
    pub(crate) fn ordered_class(&self, source: &Class) -> Option<StorageClass> {
        let class = self.options.class_for(source);
        let by_itself =
            self.options.storage_class == ClassChoice::Keep && *class == Class::standard();
        (!by_itself).then(|| StorageClass::from(class.as_str()))
    }

    /// Returns the encryption that every copy and upload names, because a bucket policy may require it. `None` uses the
    /// bucket's default.
    pub(crate) fn ordered_encryption(&self) -> Option<ServerSideEncryption> {
        match self.options.asked_encryption() {
            EncryptionChoice::Bucket => None,
            EncryptionChoice::Aes256 => Some(ServerSideEncryption::Aes256),
            EncryptionChoice::Kms => Some(ServerSideEncryption::AwsKms),
        }
    }

    pub(crate) fn ordered_key(&self) -> Option<String> {
        self.options.kms_key.as_ref().map(ToString::to_string)
    }

    /// Returns the ACL that a request names. In a bucket of another account it gives that account full control, because
    /// the replica would otherwise belong to the stack's account.
    pub(crate) fn ordered_acl(&self) -> Option<ObjectCannedAcl> {
        let elsewhere = self.options.destination_account.is_some();
        elsewhere.then_some(ObjectCannedAcl::BucketOwnerFullControl)
    }

    /// Returns the lock that a request sets, if the rule keeps locks and the source has one.
    pub(crate) fn ordered_lock<'a>(&self, known: &'a ObjectState) -> Option<&'a Lock> {
        let keeps = self.options.object_lock == LockChoice::Keep;
        (keeps && known.lock != Lock::default()).then_some(&known.lock)
    }
}

/// Refuses metadata that a request cannot write.
pub(crate) fn check_sendable(key: &ObjectKey, metadata: &Metadata) -> Result<(), Fault> {
    match metadata.unsendable() {
        None => Ok(()),
        Some(unsendable) => {
            let message = format!("copying {:?}: {unsendable}", key.as_str());
            Err(Fault::because(Reason::MetadataNotSendable, message))
        }
    }
}

/// Returns the condition on the destination as `If-Match` and `If-None-Match`.
pub(crate) fn conditions(onto: Onto<'_>) -> (Option<String>, Option<String>) {
    match onto {
        Onto::Anything => (None, None),
        Onto::Nothing => (None, Some("*".to_owned())),
        Onto::Seen(etag) => (Some(etag.quoted()), None),
    }
}

/// Returns what a refused copy means: the pinned source object no longer exists, the condition on the destination does
/// not hold, or a fault. With `If-Match` on the destination, `NoSuchKey` may be about either side, so both have to be
/// read again.
pub(crate) fn copy_refused<E>(
    doing: Doing,
    key: &ObjectKey,
    error: SdkError<E, aws_smithy_runtime_api::http::Response>,
    onto: Onto<'_>,
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
        (Some("PreconditionFailed" | "ConditionalRequestConflict"), _) | (_, Some(412)) => {
            Ok(CopyOutcome::Overtaken)
        }
        (Some("NoSuchKey"), _) if matches!(onto, Onto::Seen(_)) => Ok(CopyOutcome::Overtaken),
        (Some("NoSuchKey"), _) => Ok(CopyOutcome::SourceGone),
        _ => Err(fault(doing, key, error)),
    }
}

impl BucketPair for S3Pair {
    async fn head(&self, side: Side, key: &ObjectKey) -> Result<Option<ObjectState>, Fault> {
        let bucket = self.bucket(side);
        let request = bucket
            .client
            .head_object()
            .bucket(bucket.name.as_str())
            .key(key.as_str())
            // A multipart upload has to name the algorithm of its checksum.
            .set_checksum_mode((side == Side::Source).then_some(ChecksumMode::Enabled))
            .expected_bucket_owner(&bucket.owner);
        let doing = Doing::Head(side);
        match head(request).await {
            Ok(head) => {
                let state = head.state(SystemTime::now().into());
                state.map(Some).map_err(|unreadable| {
                    let message = format!("{} {:?}", doing.as_str(), key.as_str());
                    let message = format!("{message}: {unreadable}");
                    Fault::new(Reason::ServiceFailed, message, unreadable)
                })
            }
            // A HEAD's 404 has no body that distinguishes a missing key from a missing bucket. In both cases the
            // object does not exist: S3 deletes only empty buckets, and a bucket of another owner answers 403.
            Err(error) if Refused::of(&error).status == Some(404) => Ok(None),
            Err(error) => Err(fault(doing, key, error)),
        }
    }

    async fn attributes(&self, side: Side, key: &ObjectKey) -> Result<Attributes, Fault> {
        self.read_attributes(side, key).await
    }

    async fn part_layout(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
    ) -> Result<Option<PartLayout>, Fault> {
        self.source_parts(key, source, false).await
    }

    async fn adjust(
        &self,
        key: &ObjectKey,
        seen: &ObjectState,
        wanted: Adjustment<'_>,
    ) -> Result<AdjustOutcome, Fault> {
        self.adjust_replica(key, seen, wanted).await
    }

    async fn announce(&self, _key: &ObjectKey, _etag: &Etag) -> Result<(), Fault> {
        Ok(())
    }

    async fn copy(
        &self,
        key: &ObjectKey,
        order: CopyOrder<'_>,
        onto: Onto<'_>,
    ) -> Result<CopyOutcome, Fault> {
        match order {
            CopyOrder::Pinned { etag, class } => {
                self.copy_whole(key, etag, class, None, false, onto).await
            }
            CopyOrder::Known {
                source,
                parts: None,
                record_etag,
            } => {
                let class = &source.storage_class;
                self.copy_whole(key, &source.etag, class, Some(source), record_etag, onto)
                    .await
            }
            CopyOrder::Known {
                source,
                parts: Some(parts),
                record_etag,
            } => {
                self.copy_in_parts(key, source, parts, record_etag, onto)
                    .await
            }
        }
    }

    async fn delete_replica(&self, key: &ObjectKey, seen: &Etag) -> Result<DeleteOutcome, Fault> {
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
            // A server without conditional deletes answers 501. The protocol is correct without them.
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

/// All characters except letters, digits and `-._~/`.
const COPY_SOURCE_ESCAPES: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Reads the service's clock from an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceClock(Arc<Mutex<Option<Timestamp>>>);

impl ServiceClock {
    /// Returns an instant of the service's clock before which a request sent at `sent` cannot have begun: the answer's
    /// `Date` (whole seconds, rounded down) minus the time that the request took, by the clock that shows more. Returns
    /// `None` if a clock was set back meanwhile.
    pub(crate) fn before(&self, sent: Moment) -> Option<Timestamp> {
        let answered = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answered?.checked_sub_signed(took(sent))
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
