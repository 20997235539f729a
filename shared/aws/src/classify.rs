//! Classifies the errors of AWS, without I/O. [`CODES`] maps each error code of S3, KMS, DynamoDB, SQS and EventBridge
//! to an [`Answer`]. [`Doing::reason`] returns what that answer means for the object of the request.

use tandem_replication::bucket_pair::Side;
use tandem_replication::fault::Reason;

/// What an answer says, independent of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Slow down.
    Throttled,
    /// Failed without any effect. Another attempt may succeed.
    Failed,
    /// Failed with a 5xx other than a request to slow down, or with an error inside a 200. The service may
    /// nevertheless have carried the request out, or may still do so.
    ///
    /// Source: S3 API reference, "Amazon S3 error best practices": "if a PUT request returns `InternalError`, a
    /// subsequent GET might retrieve the old value or the updated value"; and "`CopyObject`": an error inside a 200
    /// occurred during the copy.
    MaybeDone,
    /// No answer arrived, or only part of one. The service may have carried the request out.
    Missing,
    /// Not permitted.
    Denied,
    /// There is no such bucket.
    NoBucket,
    /// There is no such table, queue or event bus.
    NoResource,
    /// The object is archived.
    Archived,
    /// The object is too large.
    TooLarge,
    /// There is no such KMS key.
    NoKey,
    /// The KMS key cannot be used in the state it is in.
    KeyUnusable,
    /// Refused for a permanent reason: another attempt would be refused too.
    Refused,
}

/// AWS's error codes, by their meaning. Sources: the API references of S3 ("Error responses"), KMS,
/// DynamoDB ("Error handling"), SQS and EventBridge ("Common errors").
///
/// Some errors have the status 200, because S3 begins to answer a copy before it knows the outcome. So a known code
/// takes precedence over the status.
const CODES: &[(Answer, &[&str])] = &[
    (
        Answer::Throttled,
        &[
            "SlowDown",
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "RequestThrottledException",
            "RequestLimitExceeded",
            "TooManyRequestsException",
            "ProvisionedThroughputExceededException",
            "LimitExceededException",
            "OverLimit",
            "KMS.ThrottlingException",
            "KmsThrottled",
        ],
    ),
    (
        Answer::Failed,
        &[
            "InternalError",
            "InternalFailure",
            "InternalServerError",
            "InternalException",
            "ServiceUnavailable",
            "RequestTimeout",
            "OperationAborted",
            "ConditionalRequestConflict",
            "TransactionConflictException",
            "TransactionInProgressException",
            "ReplicatedWriteConflictException",
            // A request that was answered with an error has completed the upload, or another client aborted it.
            "NoSuchUpload",
            "InvalidPart",
            // The next attempt uses new credentials. We cannot correct a clock that differs.
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
            "ExpiredToken",
            "ExpiredTokenException",
            "RequestTimeTooSkewed",
            "KMS.DependencyTimeoutException",
            "KMS.KMSInternalException",
        ],
    ),
    (
        Answer::Denied,
        &[
            "AccessDenied",
            "AccessDeniedException",
            "AllAccessDisabled",
            "AccountProblem",
            "KmsAccessDenied",
        ],
    ),
    (Answer::NoBucket, &["NoSuchBucket"]),
    (
        Answer::NoResource,
        &[
            "ResourceNotFoundException",
            "QueueDoesNotExist",
            "AWS.SimpleQueueService.NonExistentQueue",
        ],
    ),
    (
        Answer::Archived,
        &["InvalidObjectState", "ObjectNotInActiveTierError"],
    ),
    (Answer::TooLarge, &["EntityTooLarge"]),
    (Answer::NoKey, &["KMS.NotFoundException", "KmsNotFound"]),
    (
        Answer::KeyUnusable,
        &[
            "KMS.DisabledException",
            "KMS.InvalidKeyUsageException",
            "KMS.KeyUnavailableException",
            "KMS.KMSInvalidStateException",
            "KmsDisabled",
            "KmsInvalidKeyUsage",
            "KmsInvalidState",
            "KmsOptInRequired",
        ],
    ),
];

impl Answer {
    /// Returns the answer that this error code means, or this HTTP status if the code is unknown. Without either,
    /// it returns [`Answer::Missing`].
    pub(crate) fn of(code: Option<&str>, status: Option<u16>) -> Self {
        let by_code = code.and_then(|code| {
            CODES
                .iter()
                .find(|(_, codes)| codes.contains(&code))
                .map(|(answer, _)| *answer)
        });
        match (by_code, status) {
            // 501: the service does not support the request.
            (None, Some(409 | 501)) => Self::Failed,
            (Some(Self::Failed) | None, Some(200..=299 | 500..=599)) => Self::MaybeDone,
            (Some(answer), _) => answer,
            (None, None) if code.is_none() => Self::Missing,
            (None, Some(429)) => Self::Throttled,
            (None, Some(401 | 403)) => Self::Denied,
            (None, _) => Self::Refused,
        }
    }

    /// Whether the service may have carried out a write with this answer, or may still do so.
    pub(crate) fn leaves_open_whether_done(self) -> bool {
        matches!(self, Self::Missing | Self::MaybeDone)
    }

    /// Returns what this answer of the stack's own table, queue or event bus means for an object. The object is
    /// always retried: without these services Tandem cannot record a failure, and requests to them can be
    /// repeated safely.
    pub(crate) fn of_the_stack(self) -> Reason {
        match self {
            Self::Throttled => Reason::Throttled,
            Self::Denied => Reason::StackNotPermitted,
            Self::NoResource => Reason::StackResourceNotFound,
            _ => Reason::ServiceFailed,
        }
    }
}

/// What Tandem was doing to an object when S3 refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Head(Side),
    ReadTags(Side),
    ReadAcl(Side),
    Copy,
    BeginUpload,
    CopyPart,
    ListParts,
    PutTags,
    PutAcl,
    PutLock,
    Delete,
}

/// The actions that S3 names when a role lacks a permission. An action precedes those that are a prefix of it.
const ACTIONS: [(&str, Reason); 9] = [
    ("s3:GetObjectTagging", Reason::SrcGetTaggingNotPermitted),
    (
        "s3:GetObjectVersionTagging",
        Reason::SrcGetTaggingNotPermitted,
    ),
    ("s3:PutObjectTagging", Reason::DstPutTaggingNotPermitted),
    ("s3:PutObjectAcl", Reason::DstPutAclNotPermitted),
    ("s3:PutObjectRetention", Reason::DstPutLockNotPermitted),
    ("s3:PutObjectLegalHold", Reason::DstPutLockNotPermitted),
    ("s3:GetObject", Reason::SrcGetObjectNotPermitted),
    ("s3:PutObject", Reason::DstPutObjectNotPermitted),
    ("kms:", Reason::KmsKeyNotPermitted),
];

impl Doing {
    /// Returns the words for messages.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Head(Side::Source) => "reading the headers of the source",
            Self::Head(Side::Replica) => "reading the headers of the replica",
            Self::ReadTags(Side::Source) => "reading the tags of the source",
            Self::ReadTags(Side::Replica) => "reading the tags of the replica",
            Self::ReadAcl(Side::Source) => "reading the ACL of the source",
            Self::ReadAcl(Side::Replica) => "reading the ACL of the replica",
            Self::Copy => "copying",
            Self::BeginUpload => "beginning a multipart upload of",
            Self::CopyPart => "copying a part of",
            Self::ListParts => "listing the uploaded parts of",
            Self::PutTags => "writing the tags of the replica",
            Self::PutAcl => "writing the ACL of the replica",
            Self::PutLock => "writing the lock of the replica",
            Self::Delete => "deleting the replica",
        }
    }

    /// Whether the request changes what readers of the replica see. An upload does so only when it is completed, and
    /// the sweep aborts uploads that no worker completes. A part is pinned to the source's `ETag`, so a second copy of
    /// it is the same part.
    fn changes_the_replica(self) -> bool {
        match self {
            Self::Copy | Self::PutTags | Self::PutAcl | Self::PutLock | Self::Delete => true,
            Self::Head(_)
            | Self::ReadTags(_)
            | Self::ReadAcl(_)
            | Self::BeginUpload
            | Self::CopyPart
            | Self::ListParts => false,
        }
    }

    /// Returns why the object failed, given the answer and its message.
    pub(crate) fn reason(self, answer: Answer, said: &str) -> Reason {
        match answer {
            Answer::Throttled => Reason::Throttled,
            Answer::MaybeDone if self.changes_the_replica() => Reason::NotAnswered,
            Answer::Failed | Answer::MaybeDone => Reason::ServiceFailed,
            Answer::Missing => Reason::NotAnswered,
            Answer::Denied => self.denied(said),
            Answer::NoBucket => self.bucket_gone(),
            Answer::Archived => Reason::SrcObjectArchived,
            Answer::TooLarge => Reason::TooLarge,
            Answer::NoKey => Reason::KmsKeyNotFound,
            Answer::KeyUnusable => Reason::KmsKeyInvalidState,
            Answer::NoResource | Answer::Refused => Reason::RequestRefused,
        }
    }

    fn denied(self, said: &str) -> Reason {
        match self {
            Self::Head(Side::Source) => Reason::SrcHeadObjectNotPermitted,
            Self::Head(Side::Replica) => Reason::DstHeadObjectNotPermitted,
            Self::ReadTags(Side::Source) => Reason::SrcGetTaggingNotPermitted,
            Self::ReadTags(Side::Replica) | Self::PutTags => Reason::DstPutTaggingNotPermitted,
            Self::ReadAcl(Side::Source) => Reason::SrcGetAclNotPermitted,
            Self::ReadAcl(Side::Replica) | Self::PutAcl => Reason::DstPutAclNotPermitted,
            Self::PutLock => Reason::DstPutLockNotPermitted,
            Self::Delete => Reason::DstDelObjNotPermitted,
            // A copy reads one bucket and writes the other. S3 usually names the action that it denied.
            Self::Copy | Self::BeginUpload | Self::CopyPart | Self::ListParts => ACTIONS
                .iter()
                .find(|(action, _)| said.contains(action))
                .map_or(Reason::CopyNotPermitted, |(_, reason)| *reason),
        }
    }

    fn bucket_gone(self) -> Reason {
        match self {
            Self::Head(Side::Source)
            | Self::ReadTags(Side::Source)
            | Self::ReadAcl(Side::Source) => Reason::SrcBucketNotFound,
            _ => Reason::DstBucketNotFound,
        }
    }
}

#[cfg(test)]
mod tests {
    use tandem_replication::fault::Disposition;

    use super::*;

    fn copying(code: Option<&str>, status: Option<u16>) -> Reason {
        Doing::Copy.reason(Answer::of(code, status), "")
    }

    // Promise: A failure that another attempt would not help is recorded at once, with its reason and its
    // object.
    #[test]
    fn a_known_error_code_takes_precedence_over_the_status() {
        for status in [200, 503] {
            assert_eq!(copying(Some("SlowDown"), Some(status)), Reason::Throttled);
        }
        assert_eq!(
            copying(Some("OperationAborted"), Some(409)),
            Reason::ServiceFailed
        );
        assert_eq!(
            copying(Some("InvalidObjectState"), Some(403)),
            Reason::SrcObjectArchived
        );
        assert_eq!(
            copying(Some("KMS.DisabledException"), Some(400)),
            Reason::KmsKeyInvalidState
        );
    }

    #[test]
    fn without_a_known_code_the_status_decides() {
        for (status, reason) in [
            (429, Reason::Throttled),
            (409, Reason::ServiceFailed),
            (501, Reason::ServiceFailed),
            (403, Reason::CopyNotPermitted),
            (400, Reason::RequestRefused),
        ] {
            assert_eq!(copying(None, Some(status)), reason, "{status}");
            assert_eq!(copying(Some("Unheard"), Some(status)), reason, "{status}");
        }
        assert_eq!(copying(None, None), Reason::NotAnswered);
    }

    #[test]
    fn a_write_that_failed_with_a_5xx_or_inside_a_200_may_have_been_carried_out() {
        let writes = [
            Doing::Copy,
            Doing::PutTags,
            Doing::PutAcl,
            Doing::PutLock,
            Doing::Delete,
        ];
        let codes = [
            None,
            Some("InternalError"),
            Some("ServiceUnavailable"),
            Some("Unheard"),
        ];
        for doing in writes {
            for code in codes {
                for status in [200, 500, 502, 503, 504, 599] {
                    let answer = Answer::of(code, Some(status));
                    assert!(answer.leaves_open_whether_done(), "{code:?} {status}");
                    let reason = doing.reason(answer, "");
                    assert_eq!(reason, Reason::NotAnswered, "{doing:?} {code:?} {status}");
                }
            }
        }
    }

    #[test]
    fn a_request_that_changes_no_replica_is_repeated_after_a_5xx() {
        for doing in [
            Doing::Head(Side::Source),
            Doing::Head(Side::Replica),
            Doing::ReadTags(Side::Source),
            Doing::ReadAcl(Side::Replica),
            Doing::BeginUpload,
            Doing::CopyPart,
            Doing::ListParts,
        ] {
            let reason = doing.reason(Answer::of(Some("InternalError"), Some(500)), "");
            assert_eq!(reason, Reason::ServiceFailed, "{doing:?}");
            let unanswered = doing.reason(Answer::of(None, None), "");
            assert_eq!(unanswered, Reason::NotAnswered, "{doing:?}");
        }
    }

    #[test]
    fn a_denied_copy_names_the_side_that_s3_names() {
        for (said, reason) in [
            (
                "is not authorized to perform: s3:GetObject on resource",
                Reason::SrcGetObjectNotPermitted,
            ),
            (
                "is not authorized to perform: s3:GetObjectTagging on resource",
                Reason::SrcGetTaggingNotPermitted,
            ),
            (
                "is not authorized to perform: s3:PutObject on resource",
                Reason::DstPutObjectNotPermitted,
            ),
            (
                "is not authorized to perform: kms:Decrypt on resource",
                Reason::KmsKeyNotPermitted,
            ),
            (
                "is not authorized to perform: kms:GenerateDataKey on resource",
                Reason::KmsKeyNotPermitted,
            ),
            ("Access Denied", Reason::CopyNotPermitted),
        ] {
            assert_eq!(Doing::Copy.reason(Answer::Denied, said), reason, "{said}");
        }
    }

    #[test]
    fn no_error_code_is_listed_twice() {
        let mut codes: Vec<&str> = CODES
            .iter()
            .flat_map(|(_, codes)| *codes)
            .copied()
            .collect();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }

    // Promise: A failure that another attempt may help is tried again at growing distances: after 5, 10, 20
    // seconds and so on, up to 15 minutes.
    #[test]
    fn every_error_of_the_stacks_own_services_is_retried() {
        for code in CODES.iter().flat_map(|(_, codes)| *codes) {
            let reason = Answer::of(Some(code), Some(400)).of_the_stack();
            assert_eq!(reason.disposition(), Disposition::Retry, "{code}");
        }
        let denied = Answer::of(Some("AccessDeniedException"), Some(400)).of_the_stack();
        assert_eq!(denied, Reason::StackNotPermitted);
        let gone = Answer::of(Some("ResourceNotFoundException"), Some(400)).of_the_stack();
        assert_eq!(gone, Reason::StackResourceNotFound);
        let unanswered = Answer::of(None, None).of_the_stack();
        assert_eq!(unanswered, Reason::ServiceFailed);
    }
}
