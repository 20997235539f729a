//! Recognises a request's operation by its method, path, query and headers, and checks what it may contain. No I/O.

use hyper::Method;
use hyper::header::{HeaderMap, HeaderName};

/// The operations of S3 that this server recognises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "S3's own names")]
pub enum Operation {
    AbortMultipartUpload,
    CompleteMultipartUpload,
    CopyObject,
    CreateBucket,
    CreateMultipartUpload,
    DeleteBucket,
    DeleteObject,
    DeleteObjectTagging,
    DeleteObjects,
    GetBucketEncryption,
    GetBucketLocation,
    GetBucketNotificationConfiguration,
    GetBucketVersioning,
    GetBucketWebsite,
    GetObject,
    GetObjectAttributes,
    GetObjectTagging,
    HeadBucket,
    HeadObject,
    ListBuckets,
    ListMultipartUploads,
    ListObjectsV2,
    ListParts,
    PutBucketNotificationConfiguration,
    PutObject,
    PutObjectTagging,
    UploadPart,
    UploadPartCopy,
    /// Any other request; it is answered 501.
    Unknown,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Service,
    Bucket,
    Object,
}

/// The form of an operation's requests. Other parameters and headers are not allowed.
struct Shape {
    operation: Operation,
    method: Method,
    target: Target,
    /// Required parameters.
    marks: &'static [&'static str],
    /// Optional parameters.
    parameters: &'static [&'static str],
    /// Optional headers, of those that change what a request means.
    headers: &'static [&'static [&'static str]],
}

/// Headers that any request may have, and that change nothing here.
const ALWAYS: [&str; 11] = [
    "x-amz-checksum-mode",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-expected-bucket-owner",
    "x-amz-request-payer",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-security-token",
    "x-amz-te",
    "x-amz-trailer",
    "x-amz-user-agent",
];
/// A prefix of further such headers: checksums are accepted and not stored.
const ALWAYS_BEGINNING: &str = "x-amz-checksum-";
/// Headers other than `x-amz-` ones that change what a request means.
const CONDITIONS: [&str; 6] = [
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
    "range",
];

const MATCH: &[&str] = &["if-match", "if-none-match"];
const RANGE: &[&str] = &["range"];
const METADATA: &str = "x-amz-meta-";
const WRITTEN: &[&str] = &[
    METADATA,
    "x-amz-acl",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-website-redirect-location",
];
const COPY_SOURCE: &[&str] = &[
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-none-match",
    "x-amz-source-expected-bucket-owner",
];
const DIRECTIVES: &[&str] = &["x-amz-metadata-directive", "x-amz-tagging-directive"];

const fn shape(
    operation: Operation,
    method: Method,
    target: Target,
    marks: &'static [&'static str],
    parameters: &'static [&'static str],
    headers: &'static [&'static [&'static str]],
) -> Shape {
    Shape {
        operation,
        method,
        target,
        marks,
        parameters,
        headers,
    }
}

/// Every operation. The first one that fits a request is used.
#[rustfmt::skip]
#[allow(clippy::enum_glob_use, reason = "all of them are here")]
const SHAPES: [Shape; 28] = {
    use Operation::*;
    use Target::{Bucket, Object, Service};
    [
        shape(ListBuckets, Method::GET, Service, &[], &["prefix", "bucket-region", "max-buckets", "continuation-token"], &[]),
        shape(CreateBucket, Method::PUT, Bucket, &[], &[], &[]),
        shape(DeleteBucket, Method::DELETE, Bucket, &[], &[], &[]),
        shape(HeadBucket, Method::HEAD, Bucket, &[], &[], &[]),
        shape(GetBucketEncryption, Method::GET, Bucket, &["encryption"], &[], &[]),
        shape(GetBucketLocation, Method::GET, Bucket, &["location"], &[], &[]),
        shape(GetBucketVersioning, Method::GET, Bucket, &["versioning"], &[], &[]),
        shape(GetBucketWebsite, Method::GET, Bucket, &["website"], &[], &[]),
        shape(GetBucketNotificationConfiguration, Method::GET, Bucket, &["notification"], &[], &[]),
        shape(PutBucketNotificationConfiguration, Method::PUT, Bucket, &["notification"], &[], &[&["x-amz-skip-destination-validation"]]),
        shape(ListMultipartUploads, Method::GET, Bucket, &["uploads"], &["prefix", "key-marker", "upload-id-marker", "max-uploads", "encoding-type"], &[]),
        shape(ListObjectsV2, Method::GET, Bucket, &["list-type"], &["prefix", "delimiter", "start-after", "continuation-token", "max-keys", "encoding-type", "fetch-owner"], &[]),
        shape(DeleteObjects, Method::POST, Bucket, &["delete"], &[], &[]),
        shape(UploadPartCopy, Method::PUT, Object, &["partNumber", "uploadId"], &[], &[COPY_SOURCE, &["x-amz-copy-source-range"]]),
        shape(UploadPart, Method::PUT, Object, &["partNumber", "uploadId"], &[], &[]),
        shape(PutObjectTagging, Method::PUT, Object, &["tagging"], &["versionId"], &[]),
        shape(CopyObject, Method::PUT, Object, &[], &[], &[COPY_SOURCE, WRITTEN, DIRECTIVES, MATCH]),
        shape(PutObject, Method::PUT, Object, &[], &[], &[WRITTEN, MATCH]),
        shape(CreateMultipartUpload, Method::POST, Object, &["uploads"], &[], &[WRITTEN]),
        shape(CompleteMultipartUpload, Method::POST, Object, &["uploadId"], &[], &[MATCH]),
        shape(ListParts, Method::GET, Object, &["uploadId"], &["part-number-marker", "max-parts"], &[]),
        shape(GetObjectTagging, Method::GET, Object, &["tagging"], &["versionId"], &[]),
        shape(GetObjectAttributes, Method::GET, Object, &["attributes"], &["versionId"], &[&["x-amz-object-attributes", "x-amz-max-parts", "x-amz-part-number-marker"]]),
        shape(GetObject, Method::GET, Object, &[], &["partNumber", "versionId"], &[MATCH, RANGE]),
        shape(HeadObject, Method::HEAD, Object, &[], &["partNumber", "versionId"], &[MATCH, RANGE]),
        shape(AbortMultipartUpload, Method::DELETE, Object, &["uploadId"], &[], &[]),
        shape(DeleteObjectTagging, Method::DELETE, Object, &["tagging"], &["versionId"], &[]),
        shape(DeleteObject, Method::DELETE, Object, &[], &["versionId"], &[&["if-match"]]),
    ]
};

/// Returns a request's operation, and the part of the request that this server does not know, if any.
pub(crate) fn recognized(
    method: &Method,
    target: Target,
    parameters: &[(String, String)],
    headers: &HeaderMap,
) -> (Operation, Option<String>) {
    let has = |name: &str| parameters.iter().any(|(given, _)| given == name);
    let copies = headers.contains_key("x-amz-copy-source");
    let fits = |shape: &&Shape| {
        let takes_copies = shape.headers.contains(&COPY_SOURCE);
        let writes = shape.method == Method::PUT && target == Target::Object;
        shape.method == *method
            && shape.target == target
            && shape.marks.iter().all(|mark| has(mark))
            && parameters.iter().all(|(name, _)| {
                name == "x-id"
                    || shape.marks.contains(&name.as_str())
                    || shape.parameters.contains(&name.as_str())
            })
            && (!writes || copies == takes_copies)
    };
    match SHAPES.iter().find(fits) {
        None => (Operation::Unknown, Some("this request".to_owned())),
        Some(shape) => (shape.operation, unknown_header(shape, headers)),
    }
}

fn unknown_header(shape: &Shape, headers: &HeaderMap) -> Option<String> {
    let allows =
        |name: &str| {
            shape.headers.iter().copied().flatten().any(|&allowed| {
                allowed == name || (allowed == METADATA && name.starts_with(METADATA))
            })
        };
    let unknown = headers.keys().map(HeaderName::as_str).find(|&name| {
        let matters = CONDITIONS.contains(&name)
            || (name.starts_with("x-amz-")
                && !ALWAYS.contains(&name)
                && !name.starts_with(ALWAYS_BEGINNING));
        matters && !allows(name)
    });
    unknown.map(|name| format!("the header {name} with {}", shape.operation))
}
