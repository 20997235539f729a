//! What went wrong with one object, and whether trying again can help. No I/O.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What is to become of an object whose replication failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Try again later: the next attempt may succeed.
    Retry,
    /// Give up for now and keep a record: it fails until somebody changes something.
    Park,
}

/// Why an object failed, in the words of S3 Replication's failure codes where it has one.
///
/// Source: S3 user guide, "Amazon S3 replication failure reasons".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// The source object may not be looked at.
    SrcHeadObjectNotPermitted,
    /// The source object may not be read.
    SrcGetObjectNotPermitted,
    /// The source object's tags may not be read.
    SrcGetTaggingNotPermitted,
    /// The source bucket is gone.
    SrcBucketNotFound,
    /// The source is archived; it has to be restored before it can be copied.
    SrcObjectArchived,
    /// The replica may not be looked at.
    DstHeadObjectNotPermitted,
    /// The replica may not be written.
    DstPutObjectNotPermitted,
    /// The replica's tags may not be read or written.
    DstPutTaggingNotPermitted,
    /// The replica may not be deleted.
    DstDelObjNotPermitted,
    /// The destination bucket is gone.
    DstBucketNotFound,
    /// A KMS key cannot be used.
    KmsKeyNotUsable,
    /// The object is larger than S3 can copy.
    TooLarge,
    /// The service refused the request as it was made.
    RequestRefused,
    /// The source kept changing while it was copied.
    KeptChanging,
    /// The service asked to slow down.
    Throttled,
    /// The service failed.
    ServiceFailed,
    /// The service did not answer, so the request may still be at work there. The next attempt has to wait
    /// until that is over.
    NotAnswered,
}

impl Reason {
    /// The word that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SrcHeadObjectNotPermitted => "SrcHeadObjectNotPermitted",
            Self::SrcGetObjectNotPermitted => "SrcGetObjectNotPermitted",
            Self::SrcGetTaggingNotPermitted => "SrcGetTaggingNotPermitted",
            Self::SrcBucketNotFound => "SrcBucketNotFound",
            Self::SrcObjectArchived => "SrcObjectArchived",
            Self::DstHeadObjectNotPermitted => "DstHeadObjectNotPermitted",
            Self::DstPutObjectNotPermitted => "DstPutObjectNotPermitted",
            Self::DstPutTaggingNotPermitted => "DstPutTaggingNotPermitted",
            Self::DstDelObjNotPermitted => "DstDelObjNotPermitted",
            Self::DstBucketNotFound => "DstBucketNotFound",
            Self::KmsKeyNotUsable => "KmsKeyNotUsable",
            Self::TooLarge => "TooLarge",
            Self::RequestRefused => "RequestRefused",
            Self::KeptChanging => "KeptChanging",
            Self::Throttled => "Throttled",
            Self::ServiceFailed => "ServiceFailed",
            Self::NotAnswered => "NotAnswered",
        }
    }

    /// Whether another attempt can help without anybody doing something.
    pub fn disposition(self) -> Disposition {
        match self {
            Self::KeptChanging | Self::Throttled | Self::ServiceFailed | Self::NotAnswered => {
                Disposition::Retry
            }
            _ => Disposition::Park,
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
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A failure with its cause.
    pub fn new(
        reason: Reason,
        message: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            reason,
            message: message.into(),
            source: Some(source.into()),
        }
    }

    /// A failure that is its own cause.
    pub fn because(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            source: None,
        }
    }

    /// Whether to try again.
    pub fn disposition(&self) -> Disposition {
        self.reason.disposition()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.message)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_ref()
            .map(|cause| &**cause as &(dyn Error + 'static))
    }
}
