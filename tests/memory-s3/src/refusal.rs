//! S3's errors: codes, their statuses, and their documents. No I/O.

use hyper::StatusCode;

use crate::answer::Answer;
use crate::xml::Xml;

/// S3's answer to a request that it does not carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    code: Code,
    message: String,
    /// The bucket's region, if the request was sent to another one.
    bucket_region: Option<String>,
}

/// The codes in use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    AccessDenied,
    BadDigest,
    BucketAlreadyOwnedByYou,
    BucketNotEmpty,
    EntityTooSmall,
    IllegalLocationConstraintException,
    IncompleteBody,
    InvalidArgument,
    InvalidBucketName,
    InvalidObjectState,
    InvalidPart,
    InvalidPartNumber,
    InvalidPartOrder,
    InvalidRange,
    InvalidRequest,
    InvalidStorageClass,
    InvalidTag,
    KeyTooLongError,
    MalformedXML,
    MetadataTooLarge,
    NoSuchBucket,
    NoSuchKey,
    NoSuchUpload,
    NoSuchVersion,
    NoSuchWebsiteConfiguration,
    NotImplemented,
    NotModified,
    PermanentRedirect,
    PreconditionFailed,
}

impl Code {
    fn status(self) -> StatusCode {
        match self {
            Self::PermanentRedirect => StatusCode::MOVED_PERMANENTLY,
            Self::NotModified => StatusCode::NOT_MODIFIED,
            Self::AccessDenied | Self::InvalidObjectState => StatusCode::FORBIDDEN,
            Self::NoSuchBucket
            | Self::NoSuchKey
            | Self::NoSuchUpload
            | Self::NoSuchVersion
            | Self::NoSuchWebsiteConfiguration => StatusCode::NOT_FOUND,
            Self::BucketAlreadyOwnedByYou | Self::BucketNotEmpty => StatusCode::CONFLICT,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::InvalidRange | Self::InvalidPartNumber => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            bucket_region: None,
        }
    }

    /// The request uses something that this server does not implement.
    pub(crate) fn not_implemented(what: impl std::fmt::Display) -> Self {
        Self::new(
            Code::NotImplemented,
            format!("{what} is not implemented here"),
        )
    }

    pub(crate) fn no_such_bucket(name: &str) -> Self {
        Self::new(Code::NoSuchBucket, format!("there is no bucket {name:?}"))
    }

    pub(crate) fn no_such_key(key: &str) -> Self {
        Self::new(Code::NoSuchKey, format!("there is no object {key:?}"))
    }

    pub(crate) fn invalid(name: &str, value: &str) -> Self {
        Self::new(Code::InvalidArgument, format!("{name} cannot be {value:?}"))
    }

    /// The bucket is in that region, and the request has to be sent there.
    pub(crate) fn redirect(region: &str) -> Self {
        Self {
            bucket_region: Some(region.to_owned()),
            ..Self::new(
                Code::PermanentRedirect,
                format!("the bucket is in {region}; sign requests for that region"),
            )
        }
    }

    pub(crate) fn code(&self) -> String {
        format!("{:?}", self.code)
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn into_answer(self, resource: &str) -> Answer {
        let mut answer = Answer::of_status(self.code.status());
        if let Some(region) = &self.bucket_region {
            answer.header("x-amz-bucket-region", region);
        }
        if self.code == Code::NotModified {
            return answer;
        }
        let mut xml = Xml::of_root("Error");
        xml.text("Code", &self.code());
        xml.text("Message", &self.message);
        xml.text("Resource", resource);
        answer.xml(xml.ended());
        answer
    }
}
