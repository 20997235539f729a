//! Why one object failed, and whether a retry can help. No I/O.
//!
//! [`REASONS`] is the table of all reasons why an object can fail. The adapters for AWS have another table, which maps
//! AWS's errors to these reasons.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::{Etag, VersionId};
use crate::object::ObjectState;

/// What happens to an object after its replication failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Try again later: the next attempt may succeed.
    Retry,
    /// Stop and keep a record: every attempt fails until the cause is fixed.
    Park,
}

/// Why an object failed. [`REASONS`] explains each reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the table of reasons says what each of them means"
)]
pub enum Reason {
    SrcBucketNotFound,
    SrcBucketOwnerChanged,
    SrcHeadObjectNotPermitted,
    SrcGetObjectNotPermitted,
    SrcGetTaggingNotPermitted,
    SrcGetAclNotPermitted,
    SrcObjectArchived,
    DstBucketNotFound,
    DstBucketOwnerChanged,
    DstHeadObjectNotPermitted,
    DstPutObjectNotPermitted,
    DstPutTaggingNotPermitted,
    DstPutAclNotPermitted,
    DstPutLockNotPermitted,
    DstDelObjNotPermitted,
    CopyNotPermitted,
    KmsKeyNotPermitted,
    KmsKeyNotFound,
    KmsKeyInvalidState,
    TooLarge,
    MetadataNotSendable,
    RequestRefused,
    NoProgress,
    KeptChanging,
    Throttled,
    ServiceFailed,
    NotAnswered,
    StackNotPermitted,
    StackResourceNotFound,
}

/// A reason, what it means and what helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReasonEntry {
    /// The reason.
    pub reason: Reason,
    /// The word that is stored and shown: S3 Replication's own word if it has one.
    pub word: &'static str,
    /// Whether another attempt can succeed before the cause is fixed.
    pub disposition: Disposition,
    /// What happened.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

const fn park(
    reason: Reason,
    word: &'static str,
    meaning: &'static str,
    remedy: &'static str,
) -> ReasonEntry {
    ReasonEntry {
        reason,
        word,
        disposition: Disposition::Park,
        meaning,
        remedy,
    }
}

const fn retry(
    reason: Reason,
    word: &'static str,
    meaning: &'static str,
    remedy: &'static str,
) -> ReasonEntry {
    ReasonEntry {
        disposition: Disposition::Retry,
        ..park(reason, word, meaning, remedy)
    }
}

/// All reasons why an object can fail, in the order of [`Reason`].
///
/// Words are those of S3's user guide, "Amazon S3 replication failure reasons", if it has the case.
pub const REASONS: [ReasonEntry; 29] = [
    park(
        Reason::SrcBucketNotFound,
        "SrcBucketNotFound",
        "the source bucket no longer exists",
        "delete the rule, or create the bucket again",
    ),
    park(
        Reason::SrcBucketOwnerChanged,
        "SrcBucketOwnerChanged",
        "the source bucket now belongs to another account",
        "delete the rule",
    ),
    park(
        Reason::SrcHeadObjectNotPermitted,
        "SrcHeadObjectNotPermitted",
        "access denied when sending a HEAD for the source object",
        "grant the function's role s3:GetObject and s3:ListBucket on the source bucket",
    ),
    park(
        Reason::SrcGetObjectNotPermitted,
        "SrcGetObjectNotPermitted",
        "access denied when reading the source object",
        "grant the function's role s3:GetObject and s3:GetObjectVersion on the source bucket",
    ),
    park(
        Reason::SrcGetTaggingNotPermitted,
        "SrcGetTaggingNotPermitted",
        "access denied when reading the source object's tags",
        "grant the function's role s3:GetObjectTagging on the source bucket",
    ),
    park(
        Reason::SrcGetAclNotPermitted,
        "SrcGetAclNotPermitted",
        "access denied when reading the source object's ACL",
        "grant the function's role s3:GetObjectAcl on the source bucket, or set the rule's option `acl` to `reset`",
    ),
    park(
        Reason::SrcObjectArchived,
        "SrcObjectArchived",
        "the source object is archived, so it cannot be read",
        "restore the object; it is replicated as soon as it is restored",
    ),
    park(
        Reason::DstBucketNotFound,
        "DstBucketNotFound",
        "the destination bucket no longer exists",
        "create the bucket again, then retry; or delete the rule",
    ),
    park(
        Reason::DstBucketOwnerChanged,
        "DstBucketOwnerChanged",
        "the destination bucket now belongs to another account",
        "delete the rule",
    ),
    park(
        Reason::DstHeadObjectNotPermitted,
        "DstHeadObjectNotPermitted",
        "access denied when sending a HEAD for the replica",
        "grant the function's role s3:GetObject and s3:ListBucket on the destination bucket",
    ),
    park(
        Reason::DstPutObjectNotPermitted,
        "DstPutObjectNotPermitted",
        "access denied when writing the replica",
        "grant the function's role s3:PutObject on the destination bucket, and the use of both buckets' KMS keys; if the \
         bucket's policy requires an encryption header, set the rule's option `encryption`",
    ),
    park(
        Reason::DstPutTaggingNotPermitted,
        "DstPutTaggingNotPermitted",
        "access denied when reading or writing the replica's tags",
        "grant the function's role s3:GetObjectTagging and s3:PutObjectTagging on the destination bucket",
    ),
    park(
        Reason::DstPutAclNotPermitted,
        "DstPutAclNotPermitted",
        "access denied when reading or writing the replica's ACL",
        "grant the function's role s3:GetObjectAcl and s3:PutObjectAcl on the destination bucket and enable ACLs there, or set the rule's option `acl` to `reset`",
    ),
    park(
        Reason::DstPutLockNotPermitted,
        "DstPutLockNotPermitted",
        "access denied when writing the replica's retention or legal hold",
        "grant the function's role s3:PutObjectRetention and s3:PutObjectLegalHold on the destination bucket and enable Object Lock there, or set the rule's option `object_lock` to `bucket`",
    ),
    park(
        Reason::DstDelObjNotPermitted,
        "DstDelObjNotPermitted",
        "access denied when deleting the replica",
        "grant the function's role s3:DeleteObject on the destination bucket",
    ),
    park(
        Reason::CopyNotPermitted,
        "CopyNotPermitted",
        "access denied when copying; S3 does not say on which side",
        "compare the function's role with the policies and KMS keys of both buckets",
    ),
    park(
        Reason::KmsKeyNotPermitted,
        "KmsKeyNotPermitted",
        "access denied when using a KMS key of the source or the destination; the message names the key",
        "grant the function's role kms:Decrypt on both keys, and kms:GenerateDataKey on the destination's key",
    ),
    park(
        Reason::KmsKeyNotFound,
        "KmsKeyNotFound",
        "a KMS key of the source or the destination does not exist",
        "set an existing key in the destination's default encryption, or restore the source's key",
    ),
    park(
        Reason::KmsKeyInvalidState,
        "KmsKeyInvalidState",
        "a KMS key of the source or the destination is disabled, or cannot be used for another reason",
        "enable the key, then retry",
    ),
    park(
        Reason::TooLarge,
        "TooLarge",
        "the object is larger than S3 can copy",
        "split the object, or exclude it from the rule's scope",
    ),
    park(
        Reason::MetadataNotSendable,
        "MetadataNotSendable",
        "a header of the source object cannot be written to its replica; the message names the header",
        "upload the object again with that header as plain text, or without it",
    ),
    park(
        Reason::RequestRefused,
        "RequestRefused",
        "S3 refused the request",
        "read the message, which contains S3's answer",
    ),
    park(
        Reason::NoProgress,
        "NoProgress",
        "the object's transfer was stopped after 100 restarts, because the source changed during each of them",
        "retry when the object stays unchanged for longer than its copy takes",
    ),
    retry(
        Reason::KeptChanging,
        "KeptChanging",
        "the source kept changing while it was copied",
        "retry when the key changes less often, or increase the stack's parameter SettleSeconds",
    ),
    retry(
        Reason::Throttled,
        "Throttled",
        "the service throttled the request in every attempt",
        "retry later, or lower the stack's concurrency",
    ),
    retry(
        Reason::ServiceFailed,
        "ServiceFailed",
        "the service failed in every attempt without carrying the request out",
        "retry later",
    ),
    retry(
        Reason::NotAnswered,
        "NotAnswered",
        "the service did not answer, or answered with a 5xx, in every attempt; it may have carried the request out",
        "retry later",
    ),
    retry(
        Reason::StackNotPermitted,
        "StackNotPermitted",
        "access denied when using the stack's own table, queue or event bus",
        "deploy the stack's template again, because a permission of its roles is missing",
    ),
    retry(
        Reason::StackResourceNotFound,
        "StackResourceNotFound",
        "the stack's own table, queue or event bus does not exist",
        "deploy the stack's template again, because one of its resources was deleted",
    ),
];

impl Reason {
    /// Returns the reason's entry in [`REASONS`].
    pub fn entry(self) -> &'static ReasonEntry {
        &REASONS[self as usize]
    }

    /// Returns the word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        self.entry().word
    }

    /// Returns whether another attempt can succeed before the cause is fixed.
    pub fn disposition(self) -> Disposition {
        self.entry().disposition
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error for a word that is not a reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not a reason; use one of {}", REASONS.map(|entry| entry.word).join(", "))]
pub struct UnknownReason;

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(word: &str) -> Result<Self, UnknownReason> {
        REASONS
            .iter()
            .find(|entry| entry.word == word)
            .map(|entry| entry.reason)
            .ok_or(UnknownReason)
    }
}

/// The source object that was to be replicated, as far as it was known when it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedObject {
    /// Its version, in a versioned bucket.
    pub version_id: Option<VersionId>,
    /// Its `ETag`.
    pub etag: Etag,
    /// Its size.
    pub bytes: u64,
}

impl From<&ObjectState> for FailedObject {
    fn from(source: &ObjectState) -> Self {
        Self {
            version_id: source.version_id.clone(),
            etag: source.etag.clone(),
            bytes: source.bytes,
        }
    }
}

/// One object's failure: what was being done, why it failed, and what the service said.
#[derive(Debug)]
pub struct Fault {
    /// Why it failed.
    pub reason: Reason,
    /// What was being done to which object, and the service's own message.
    pub message: String,
    /// The source object, if it was known.
    pub object: Option<FailedObject>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// Creates a failure with its cause.
    pub fn new(
        reason: Reason,
        message: impl Into<String>,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            cause: Some(cause.into()),
            ..Self::because(reason, message)
        }
    }

    /// Creates a failure without a further cause.
    pub fn because(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            object: None,
            cause: None,
        }
    }

    /// Returns the failure with this object, unless it already names a more recent one.
    #[must_use]
    pub fn of(mut self, object: impl Into<FailedObject>) -> Self {
        self.object.get_or_insert_with(|| object.into());
        self
    }

    /// Returns the failure with a more precise reason.
    #[must_use]
    pub fn explained(self, reason: Reason) -> Self {
        Self { reason, ..self }
    }

    /// Returns whether to try again.
    pub fn disposition(&self) -> Disposition {
        self.reason.disposition()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause
            .as_ref()
            .map(|cause| &**cause as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_in_its_place_and_found_by_its_word() {
        for (place, entry) in REASONS.iter().enumerate() {
            assert_eq!(entry.reason as usize, place, "{}", entry.word);
            assert_eq!(format!("{:?}", entry.reason), entry.word);
            assert_eq!(entry.word.parse(), Ok(entry.reason));
        }
        assert_eq!("Bad".parse::<Reason>(), Err(UnknownReason));
    }

    #[test]
    fn a_fault_keeps_the_object_that_it_names_first() {
        let object = |etag: &str| FailedObject {
            version_id: None,
            etag: Etag::new(etag),
            bytes: 1,
        };
        let fault = Fault::because(Reason::TooLarge, "")
            .of(object("seen"))
            .of(object("reported"));
        assert_eq!(fault.object, Some(object("seen")));
    }
}
