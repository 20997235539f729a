//! An object's HEAD in the domain's words, and its lock in S3's. No I/O.

use std::time::SystemTime;

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{
    ChecksumType, ObjectLockLegalHoldStatus, ObjectLockMode, ServerSideEncryption,
};
use aws_smithy_types::DateTime;
use chrono::TimeDelta;
use tandem_replication::Timestamp;
use tandem_replication::names::{Etag, StorageClass, VersionId};
use tandem_replication::object::{Checksum, Lock, Metadata, ObjectState, Retention};

/// S3 writes `null` for the version of an object that was put while a bucket had no versions; such an
/// object can be overwritten in place, so it is as good as no version.
pub(crate) fn version(text: &str) -> Option<VersionId> {
    (text != "null").then(|| VersionId::new(text))
}

/// Whether an `ETag` that comes with this encryption is no digest of the bytes.
///
/// Source: S3 API reference, "Object": objects encrypted with KMS or customer's keys have `ETag`s that
/// are not.
pub(crate) fn hides_digest(encryption: Option<&ServerSideEncryption>) -> bool {
    matches!(
        encryption,
        Some(ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse)
    )
}

pub(crate) fn state(answer: &HeadObjectOutput) -> ObjectState {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let user = answer
        .metadata()
        .map(|map| map.iter().map(|(k, v)| (k.clone(), v.clone())).collect());
    ObjectState {
        etag: Etag::new(answer.e_tag().unwrap_or_default()),
        etag_is_digest: !hides_digest(answer.server_side_encryption())
            && answer.sse_customer_algorithm().is_none(),
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
            website_redirect: owned(answer.website_redirect_location()),
            user: user.unwrap_or_default(),
        },
        storage_class: answer
            .storage_class()
            .map_or_else(StorageClass::standard, |class| {
                StorageClass::new(class.as_str())
            }),
        checksum: checksum(answer),
        lock: lock(answer),
        tag_count: answer
            .tag_count()
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or_default(),
    }
}

fn checksum(answer: &HeadObjectOutput) -> Option<Checksum> {
    let algorithm = [
        ("CRC64NVME", answer.checksum_crc64_nvme()),
        ("CRC32C", answer.checksum_crc32_c()),
        ("CRC32", answer.checksum_crc32()),
        ("SHA256", answer.checksum_sha256()),
        ("SHA1", answer.checksum_sha1()),
    ]
    .into_iter()
    .find_map(|(algorithm, value)| value.map(|_| algorithm))?;
    Some(Checksum {
        algorithm: algorithm.to_owned(),
        full_object: answer.checksum_type() == Some(&ChecksumType::FullObject),
    })
}

/// A retention that has run out is none: S3 goes on showing it, and refuses to give it to a copy.
fn lock(answer: &HeadObjectOutput) -> Lock {
    let until = answer
        .object_lock_retain_until_date()
        .and_then(|at| Timestamp::from_timestamp(at.secs(), at.subsec_nanos()))
        .filter(|until| *until > Timestamp::from(SystemTime::now()));
    Lock {
        retention: answer
            .object_lock_mode()
            .zip(until)
            .map(|(mode, until)| Retention {
                compliance: *mode == ObjectLockMode::Compliance,
                until,
            }),
        legal_hold: answer.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On),
    }
}

/// A lock's mode, as a copy is told it.
pub(crate) fn lock_mode(retention: &Retention) -> ObjectLockMode {
    if retention.compliance {
        ObjectLockMode::Compliance
    } else {
        ObjectLockMode::Governance
    }
}

/// A lock's legal hold, by S3's word.
pub(crate) fn legal_hold(lock: &Lock) -> ObjectLockLegalHoldStatus {
    if lock.legal_hold {
        ObjectLockLegalHoldStatus::On
    } else {
        ObjectLockLegalHoldStatus::Off
    }
}

/// A time as the SDK takes it.
pub(crate) fn date_time(at: Timestamp) -> DateTime {
    DateTime::from_secs_and_nanos(at.timestamp(), at.timestamp_subsec_nanos())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_retention_that_has_run_out_is_none() {
        let retained = |until: SystemTime| {
            let head = HeadObjectOutput::builder()
                .object_lock_mode(ObjectLockMode::Compliance)
                .object_lock_retain_until_date(until.into());
            lock(&head.build()).retention.is_some()
        };
        let day = Duration::from_hours(24);
        assert!(retained(SystemTime::now() + day));
        assert!(!retained(SystemTime::now() - day));
    }
}
