//! Stored objects, and the attributes that a request gives to the object that it writes. No I/O.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound, Utc};
use hyper::body::Bytes;
use hyper::header::HeaderValue;

use crate::answer::Answer;
use crate::content::{Content, Md5Digest, hex, multipart_etag};
use crate::refusal::{Code, Refusal};
use crate::request::S3Request;
use crate::tags;

/// S3's limit for every write of an object: the total of the names and values of the user's metadata, the names
/// without `x-amz-meta-`.
///
/// Source: S3 user guide, "Working with object metadata", "User-defined object metadata": "limited to 2 KB in size",
/// "measured by taking the sum of the number of bytes in the UTF-8 encoding of each key and value".
const METADATA_BYTES_MAX: usize = 2_048;
/// The encryption with which an object's `ETag` is not a digest of its bytes (API reference, "Object").
pub(crate) const KMS: &str = "aws:kms";
/// The header that names an encryption.
pub(crate) const ENCRYPTION: &str = "x-amz-server-side-encryption";
const KMS_KEY_ID: &str = "x-amz-server-side-encryption-aws-kms-key-id";
/// The key that is used if a request names none (API reference, "`PutObject`").
const MANAGED_KEY: &str = "alias/aws/s3";
const STANDARD: &str = "STANDARD";
/// The storage classes whose objects have to be restored before they can be read.
const ARCHIVED: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];
const STORAGE_CLASSES: [&str; 8] = [
    STANDARD,
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "GLACIER",
    "DEEP_ARCHIVE",
];
const WEBSITE_REDIRECT: &str = "x-amz-website-redirect-location";
/// The headers that are stored with an object.
const KEPT_HEADERS: [&str; 7] = [
    "content-type",
    "content-encoding",
    "content-language",
    "content-disposition",
    "cache-control",
    "expires",
    WEBSITE_REDIRECT,
];

/// An object. It never changes; a write replaces it.
#[derive(Debug, Clone)]
pub struct Object {
    pub(crate) content: Content,
    pub(crate) etag: String,
    /// The sizes of the parts, if the object was uploaded in parts.
    pub(crate) parts: Vec<u64>,
    /// The time of the write in whole seconds, as in S3.
    pub(crate) last_modified: DateTime<Utc>,
    pub(crate) attributes: Attributes,
}

/// An object's attributes besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// `Content-Type` and similar headers, by their names in lower case, byte for byte.
    pub headers: BTreeMap<&'static str, HeaderValue>,
    /// `x-amz-meta-*`, without that prefix.
    pub metadata: BTreeMap<String, HeaderValue>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// The name of the storage class in S3.
    pub storage_class: String,
    /// The KMS key that encrypts the object, if there is one.
    pub kms_key: Option<String>,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            headers: BTreeMap::from([(
                "content-type",
                HeaderValue::from_static("binary/octet-stream"),
            )]),
            metadata: BTreeMap::new(),
            tags: BTreeMap::new(),
            storage_class: STANDARD.to_owned(),
            kms_key: None,
        }
    }
}

impl Object {
    /// The object that one put would have written at that time.
    pub fn new(bytes: Bytes, attributes: Attributes, at: DateTime<Utc>) -> Self {
        Self::of_content(Content::of(bytes), attributes, at)
    }

    /// The object that an upload in these parts would have written at that time.
    pub fn of_parts(parts: Vec<Bytes>, attributes: Attributes, at: DateTime<Utc>) -> Self {
        let parts: Vec<(Content, Md5Digest)> = parts
            .into_iter()
            .map(|bytes| {
                let content = Content::of(bytes);
                let digest = content.md5();
                (content, digest)
            })
            .collect();
        Self::uploaded(&parts, attributes, at)
    }

    /// The `ETag`, without quotes.
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// Its bytes.
    pub fn bytes(&self) -> Bytes {
        self.content.whole()
    }

    /// When it was written, in whole seconds.
    pub fn last_modified(&self) -> DateTime<Utc> {
        self.last_modified
    }

    /// Its size.
    pub fn size(&self) -> u64 {
        self.content.bytes()
    }

    /// Its attributes.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    pub(crate) fn of_content(content: Content, attributes: Attributes, at: DateTime<Utc>) -> Self {
        Self {
            etag: attributes.etag(hex(&content.md5())),
            content,
            parts: Vec::new(),
            last_modified: at.trunc_subsecs(0),
            attributes,
        }
    }

    /// A copy of an object that was put in one request, so that its digest is known.
    pub(crate) fn same_bytes(source: &Self, attributes: Attributes, at: DateTime<Utc>) -> Self {
        Self {
            content: source.content.clone(),
            // The digest of an encrypted source is not stored.
            etag: if source.attributes.kms_key.is_some() {
                attributes.etag(hex(&source.content.md5()))
            } else {
                attributes.etag(source.etag.clone())
            },
            parts: Vec::new(),
            last_modified: at.trunc_subsecs(0),
            attributes,
        }
    }

    pub(crate) fn uploaded(
        parts: &[(Content, Md5Digest)],
        attributes: Attributes,
        at: DateTime<Utc>,
    ) -> Self {
        let digests: Vec<Md5Digest> = parts.iter().map(|(_, digest)| *digest).collect();
        Self {
            etag: attributes.etag(multipart_etag(&digests)),
            parts: parts.iter().map(|(part, _)| part.bytes()).collect(),
            content: Content::join(parts.iter().map(|(part, _)| part.clone())),
            last_modified: at.trunc_subsecs(0),
            attributes,
        }
    }

    /// Writes the headers that GET and HEAD return, except the length.
    pub(crate) fn describe(&self, answer: &mut Answer) {
        answer.header("etag", &format!("\"{}\"", self.etag));
        answer.header("last-modified", &http_date(self.last_modified));
        answer.header("accept-ranges", "bytes");
        for (name, value) in &self.attributes.headers {
            answer.raw_header(name, value);
        }
        for (name, value) in &self.attributes.metadata {
            answer.raw_header(&format!("x-amz-meta-{name}"), value);
        }
        self.attributes.describe_encryption(answer);
        if self.attributes.storage_class != STANDARD {
            answer.header("x-amz-storage-class", &self.attributes.storage_class);
        }
        if !self.attributes.tags.is_empty() {
            let count = self.attributes.tags.len().to_string();
            answer.header("x-amz-tagging-count", &count);
        }
    }

    /// Refuses an object that has to be restored before it can be read.
    pub(crate) fn readable(&self) -> Result<(), Refusal> {
        if ARCHIVED.contains(&self.attributes.storage_class.as_str()) {
            return Err(Refusal::new(
                Code::InvalidObjectState,
                "the object is archived",
            ));
        }
        Ok(())
    }
}

impl Attributes {
    /// Reads the attributes of the object that a request writes.
    pub(crate) fn of_request(request: &S3Request) -> Result<Self, Refusal> {
        match request.header("x-amz-acl")? {
            None | Some("private" | "bucket-owner-full-control") => {}
            Some(other) => return Err(Refusal::not_implemented(format!("the ACL {other}"))),
        }
        let mut attributes = Self::default();
        let key = request.header(KMS_KEY_ID)?;
        match (request.header(ENCRYPTION)?, key) {
            (None | Some("AES256"), None) => {}
            (Some(KMS), key) => attributes.kms_key = Some(key.unwrap_or(MANAGED_KEY).to_owned()),
            (_, Some(key)) => return Err(Refusal::invalid(KMS_KEY_ID, key)),
            (Some(other), None) => {
                return Err(Refusal::not_implemented(format!("encryption by {other}")));
            }
        }
        for name in KEPT_HEADERS {
            if let Some(value) = request.raw_header(name) {
                attributes.headers.insert(name, value.clone());
            }
        }
        attributes.leave_out_chunking();
        let metadata = request.headers_beginning("x-amz-meta-")?;
        let bytes: usize = metadata
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if bytes > METADATA_BYTES_MAX {
            return Err(Refusal::new(
                Code::MetadataTooLarge,
                format!("{bytes} bytes of metadata are more than {METADATA_BYTES_MAX}"),
            ));
        }
        attributes.metadata = metadata
            .into_iter()
            .map(|(name, value)| (name, value.clone()))
            .collect();
        if let Some(tagging) = request.header("x-amz-tagging")? {
            attributes.tags = tags::of_query(tagging)?;
        }
        if let Some(class) = request.header("x-amz-storage-class")? {
            if !STORAGE_CLASSES.contains(&class) {
                return Err(Refusal::new(
                    Code::InvalidStorageClass,
                    format!("there is no storage class {class:?}"),
                ));
            }
            class.clone_into(&mut attributes.storage_class);
        }
        Ok(attributes)
    }

    /// The object's `ETag`, given the `ETag` of its bytes.
    fn etag(&self, of_bytes: String) -> String {
        let Some(key) = &self.kms_key else {
            return of_bytes;
        };
        let other = hex(&Content::of(format!("{of_bytes} by {key}").into()).md5());
        match of_bytes.rsplit_once('-') {
            Some((_, parts)) => format!("{other}-{parts}"),
            None => other,
        }
    }

    /// Writes the headers that describe the encryption.
    pub(crate) fn describe_encryption(&self, answer: &mut Answer) {
        if let Some(key) = &self.kms_key {
            answer.header(ENCRYPTION, KMS);
            answer.header(KMS_KEY_ID, key);
        }
    }

    /// The attributes that a copy takes from the source: all except the storage class, the encryption and the redirect.
    #[must_use]
    pub(crate) fn copied(&self) -> Self {
        let mut copied = self.clone();
        copied.kms_key = None;
        copied.headers.remove(WEBSITE_REDIRECT);
        STANDARD.clone_into(&mut copied.storage_class);
        copied
    }

    /// Takes over the redirect, which a request may set on any copy.
    pub(crate) fn take_redirect_of(&mut self, other: &Self) {
        if let Some(redirect) = other.headers.get(WEBSITE_REDIRECT) {
            self.headers.insert(WEBSITE_REDIRECT, redirect.clone());
        }
    }

    /// Removes `aws-chunked`, because the encoding of the transmission is not part of the object.
    fn leave_out_chunking(&mut self) {
        let Some(encoding) = self.headers.remove("content-encoding") else {
            return;
        };
        let parts: Vec<&[u8]> = encoding.as_bytes().split(|byte| *byte == b',').collect();
        let is_chunking = |part: &&[u8]| part.trim_ascii() == b"aws-chunked";
        if !parts.iter().any(is_chunking) {
            self.headers.insert("content-encoding", encoding);
            return;
        }
        let rest: Vec<&[u8]> = parts
            .into_iter()
            .filter(|part| !is_chunking(part) && !part.trim_ascii().is_empty())
            .map(<[u8]>::trim_ascii)
            .collect();
        if let (false, Ok(rest)) = (rest.is_empty(), HeaderValue::from_bytes(&rest.join(&b','))) {
            self.headers.insert("content-encoding", rest);
        }
    }
}

/// The time in the format of HTTP headers.
pub(crate) fn http_date(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The time in the format of S3's XML.
pub(crate) fn xml_date(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}
