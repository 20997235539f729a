//! Converts an object's encryption and lock to and from S3's values, without I/O.

use aws_sdk_s3::types::{ObjectLockLegalHoldStatus, ObjectLockMode, ServerSideEncryption};
use aws_smithy_types::DateTime;
use tandem_replication::Timestamp;
use tandem_replication::object::{Lock, Retention};

/// Whether, under this encryption, an `ETag` is not a digest of the bytes.
///
/// Source: S3 API reference, "Object": objects encrypted with KMS or customer's keys have `ETag`s that are not
/// digests.
pub(crate) fn hides_digest(encryption: Option<&ServerSideEncryption>) -> bool {
    matches!(
        encryption,
        Some(ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse)
    )
}

/// Returns a lock's mode as S3's value for a copy.
pub(crate) fn lock_mode(retention: &Retention) -> ObjectLockMode {
    if retention.compliance {
        ObjectLockMode::Compliance
    } else {
        ObjectLockMode::Governance
    }
}

/// Returns a lock's legal hold as S3's value.
pub(crate) fn legal_hold(lock: &Lock) -> ObjectLockLegalHoldStatus {
    if lock.legal_hold {
        ObjectLockLegalHoldStatus::On
    } else {
        ObjectLockLegalHoldStatus::Off
    }
}

/// Returns a time as the SDK's type.
pub(crate) fn date_time(at: Timestamp) -> DateTime {
    DateTime::from_secs_and_nanos(at.timestamp(), at.timestamp_subsec_nanos())
}
