//! What went wrong with one object, and whether trying again can help. No I/O.
//!
//! [`REASONS`] is the one table of everything that an object can fail for. Which of AWS's errors is which
//! reason is one table too, where AWS is spoken to.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::{Etag, VersionId};
use crate::object::ObjectState;

/// What is to become of an object whose replication failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Try again later: the next attempt may succeed.
    Retry,
    /// Give up for now and keep a record: it fails until somebody changes something.
    Park,
}

/// Why an object failed. What each means is in [`REASONS`].
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
    /// The word that is stored and shown: S3 Replication's own where it has one.
    pub word: &'static str,
    /// Whether another attempt can help without anybody doing something.
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

/// Everything that an object can fail for, in the order of [`Reason`].
///
/// Words are those of S3's user guide, "Amazon S3 replication failure reasons", where it has the case.
pub const REASONS: [ReasonEntry; 29] = [
    park(
        Reason::SrcBucketNotFound,
        "SrcBucketNotFound",
        "the source bucket does not exist any more",
        "delete the rule, or make the bucket again",
    ),
    park(
        Reason::SrcBucketOwnerChanged,
        "SrcBucketOwnerChanged",
        "the source bucket belongs to another account now",
        "delete the rule",
    ),
    park(
        Reason::SrcHeadObjectNotPermitted,
        "SrcHeadObjectNotPermitted",
        "the source object may not be looked at",
        "allow the function's role s3:GetObject and s3:ListBucket on the source bucket",
    ),
    park(
        Reason::SrcGetObjectNotPermitted,
        "SrcGetObjectNotPermitted",
        "the source object may not be read",
        "allow the function's role s3:GetObject and s3:GetObjectVersion on the source bucket",
    ),
    park(
        Reason::SrcGetTaggingNotPermitted,
        "SrcGetTaggingNotPermitted",
        "the source object's tags may not be read",
        "allow the function's role s3:GetObjectTagging on the source bucket",
    ),
    park(
        Reason::SrcGetAclNotPermitted,
        "SrcGetAclNotPermitted",
        "the source object's ACL may not be read",
        "allow the function's role s3:GetObjectAcl on the source bucket, or set the rule's acl to reset",
    ),
    park(
        Reason::SrcObjectArchived,
        "SrcObjectArchived",
        "the source object is archived",
        "restore the object; it is replicated as soon as that is done",
    ),
    park(
        Reason::DstBucketNotFound,
        "DstBucketNotFound",
        "the destination bucket does not exist any more",
        "make the bucket again, then retry; or delete the rule",
    ),
    park(
        Reason::DstBucketOwnerChanged,
        "DstBucketOwnerChanged",
        "the destination bucket belongs to another account now",
        "delete the rule",
    ),
    park(
        Reason::DstHeadObjectNotPermitted,
        "DstHeadObjectNotPermitted",
        "the replica may not be looked at",
        "allow the function's role s3:GetObject and s3:ListBucket on the destination bucket",
    ),
    park(
        Reason::DstPutObjectNotPermitted,
        "DstPutObjectNotPermitted",
        "the replica may not be written",
        "allow the function's role s3:PutObject on the destination bucket, and the use of both buckets' KMS keys; if the \
         bucket's policy requires an encryption header, set the rule's option `encryption`",
    ),
    park(
        Reason::DstPutTaggingNotPermitted,
        "DstPutTaggingNotPermitted",
        "the replica's tags may not be read or written",
        "allow the function's role s3:GetObjectTagging and s3:PutObjectTagging on the destination bucket",
    ),
    park(
        Reason::DstPutAclNotPermitted,
        "DstPutAclNotPermitted",
        "the replica's ACL may not be read or written",
        "allow the function's role s3:GetObjectAcl and s3:PutObjectAcl on the destination bucket and enable ACLs there, or set the rule's acl to reset",
    ),
    park(
        Reason::DstPutLockNotPermitted,
        "DstPutLockNotPermitted",
        "the replica's retention or legal hold may not be written",
        "allow the function's role s3:PutObjectRetention and s3:PutObjectLegalHold on the destination bucket and enable Object Lock there, or set the rule's object_lock to bucket",
    ),
    park(
        Reason::DstDelObjNotPermitted,
        "DstDelObjNotPermitted",
        "the replica may not be deleted",
        "allow the function's role s3:DeleteObject on the destination bucket",
    ),
    park(
        Reason::CopyNotPermitted,
        "CopyNotPermitted",
        "copying was denied, and S3 does not say on which side",
        "compare the function's role with both buckets' policies and keys",
    ),
    park(
        Reason::KmsKeyNotPermitted,
        "KmsKeyNotPermitted",
        "a KMS key of the source or the destination may not be used; the message names it",
        "allow the function's role kms:Decrypt on both keys, and kms:GenerateDataKey on the destination's",
    ),
    park(
        Reason::KmsKeyNotFound,
        "KmsKeyNotFound",
        "a KMS key of the source or the destination does not exist",
        "name an existing key in the destination's default encryption, or restore the source's",
    ),
    park(
        Reason::KmsKeyInvalidState,
        "KmsKeyInvalidState",
        "a KMS key of the source or the destination is disabled, or otherwise not usable",
        "enable the key, then retry",
    ),
    park(
        Reason::TooLarge,
        "TooLarge",
        "the object is larger than S3 can copy",
        "split the object, or leave it out of the rule's scope",
    ),
    park(
        Reason::MetadataNotSendable,
        "MetadataNotSendable",
        "a header of the source object cannot be written on its replica; the message names the header",
        "put the object again with that header as plain text, or without it",
    ),
    park(
        Reason::RequestRefused,
        "RequestRefused",
        "S3 refused the request as it was made",
        "read the message; S3's answer is in it",
    ),
    park(
        Reason::NoProgress,
        "NoProgress",
        "the object's transfer was restarted 100 times, because the source changed during each, and was stopped",
        "retry when the object changes less often than it takes to copy",
    ),
    retry(
        Reason::KeptChanging,
        "KeptChanging",
        "the source kept changing while it was copied",
        "retry when the key changes less often; the settle time of the stack helps",
    ),
    retry(
        Reason::Throttled,
        "Throttled",
        "the service asked to slow down, through all attempts",
        "retry later, or lower the stack's concurrency",
    ),
    retry(
        Reason::ServiceFailed,
        "ServiceFailed",
        "the service failed without having done anything, through all attempts",
        "retry later",
    ),
    retry(
        Reason::NotAnswered,
        "NotAnswered",
        "the service did not answer, or answered with a 5xx, through all attempts; it may have carried the request out",
        "retry later",
    ),
    retry(
        Reason::StackNotPermitted,
        "StackNotPermitted",
        "the function may not use the stack's own table, queue or event bus",
        "deploy the stack's template again: a permission of its roles is missing",
    ),
    retry(
        Reason::StackResourceNotFound,
        "StackResourceNotFound",
        "the stack's own table, queue or event bus does not exist",
        "deploy the stack's template again: something of it was deleted",
    ),
];

impl Reason {
    /// What is known of it.
    pub fn entry(self) -> &'static ReasonEntry {
        &REASONS[self as usize]
    }

    /// The word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        self.entry().word
    }

    /// Whether another attempt can help without anybody doing something.
    pub fn disposition(self) -> Disposition {
        self.entry().disposition
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is none of the reasons.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is no reason; use one of {}", REASONS.map(|entry| entry.word).join(", "))]
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

/// Which object of the source was to be replicated, as far as it was known when it failed.
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
    /// Why.
    pub reason: Reason,
    /// What was being done to which object, and the service's own words.
    pub message: String,
    /// The source object, if it was known.
    pub object: Option<FailedObject>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A failure with its cause.
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

    /// A failure that is its own cause.
    pub fn because(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            object: None,
            cause: None,
        }
    }

    /// The same failure, of this object unless a more recent one is named already.
    #[must_use]
    pub fn of(mut self, object: impl Into<FailedObject>) -> Self {
        self.object.get_or_insert_with(|| object.into());
        self
    }

    /// The same failure, whose reason is better known now.
    #[must_use]
    pub fn explained(self, reason: Reason) -> Self {
        Self { reason, ..self }
    }

    /// Whether to try again.
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
    fn every_reason_is_in_its_place_and_known_by_its_word() {
        for (place, entry) in REASONS.iter().enumerate() {
            assert_eq!(entry.reason as usize, place, "{}", entry.word);
            assert_eq!(format!("{:?}", entry.reason), entry.word);
            assert_eq!(entry.word.parse(), Ok(entry.reason));
        }
        assert_eq!("Bad".parse::<Reason>(), Err(UnknownReason));
    }

    #[test]
    fn the_object_that_was_looked_at_last_is_the_one_that_failed() {
        let object = |etag: &str| FailedObject {
            version_id: None,
            etag: Etag::new(etag),
            bytes: 1,
        };
        let fault = Fault::because(Reason::TooLarge, "")
            .of(object("seen"))
            .of(object("told"));
        assert_eq!(fault.object, Some(object("seen")));
    }
}
