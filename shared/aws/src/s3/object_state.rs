//! An object's encryption and its lock in S3's words. No I/O.

use aws_sdk_s3::types::{ObjectLockLegalHoldStatus, ObjectLockMode, ServerSideEncryption};
use aws_smithy_types::DateTime;
use tandem_replication::Timestamp;
use tandem_replication::object::{Lock, Retention};

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
