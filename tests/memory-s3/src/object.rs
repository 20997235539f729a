//! What is kept of an object, and what a request says about one that is to be written. No I/O.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound, Utc};
use hyper::body::Bytes;

use crate::answer::Answer;
use crate::content::{Content, Md5Digest, hex, multipart_etag};
use crate::refusal::{Code, Refusal};
use crate::request::S3Request;
use crate::tags;

/// S3's, for a PUT: names and values of the user's metadata together.
const METADATA_BYTES_MAX: usize = 2_048;
const STANDARD: &str = "STANDARD";
/// What can be read only after it was restored.
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
/// The headers that are kept with an object.
const KEPT_HEADERS: [&str; 7] = [
    "content-type",
    "content-encoding",
    "content-language",
    "content-disposition",
    "cache-control",
    "expires",
    WEBSITE_REDIRECT,
];

/// An object. It never changes; another one takes its place.
#[derive(Debug, Clone)]
pub struct Object {
    pub(crate) content: Content,
    pub(crate) etag: String,
    /// The parts' sizes, if it was uploaded in parts.
    pub(crate) parts: Vec<u64>,
    /// In whole seconds, as S3's.
    pub(crate) last_modified: DateTime<Utc>,
    pub(crate) attributes: Attributes,
}

/// What an object has besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// `Content-Type` and its like, by their names in lower case.
    pub headers: BTreeMap<&'static str, String>,
    /// `x-amz-meta-*`, without that beginning.
    pub metadata: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// S3's name of it.
    pub storage_class: String,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            headers: BTreeMap::from([("content-type", "binary/octet-stream".to_owned())]),
            metadata: BTreeMap::new(),
            tags: BTreeMap::new(),
            storage_class: STANDARD.to_owned(),
        }
    }
}

impl Object {
    /// As one put would have written it at that time.
    pub fn new(bytes: Bytes, attributes: Attributes, at: DateTime<Utc>) -> Self {
        Self::of_content(Content::of(bytes), attributes, at)
    }

    /// As an upload in these parts would have written it at that time.
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

    /// Without quotes.
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

    /// What it has besides.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    pub(crate) fn of_content(content: Content, attributes: Attributes, at: DateTime<Utc>) -> Self {
        Self {
            etag: hex(&content.md5()),
            content,
            parts: Vec::new(),
            last_modified: at.trunc_subsecs(0),
            attributes,
        }
    }

    /// With the bytes of an object that was put in one, whose digest is known.
    pub(crate) fn same_bytes(source: &Self, attributes: Attributes, at: DateTime<Utc>) -> Self {
        Self {
            content: source.content.clone(),
            etag: source.etag.clone(),
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
            etag: multipart_etag(&digests),
            parts: parts.iter().map(|(part, _)| part.bytes()).collect(),
            content: Content::join(parts.iter().map(|(part, _)| part.clone())),
            last_modified: at.trunc_subsecs(0),
            attributes,
        }
    }

    /// What a GET and a HEAD show of it, but for its length.
    pub(crate) fn describe(&self, answer: &mut Answer) {
        answer.header("etag", &format!("\"{}\"", self.etag));
        answer.header("last-modified", &http_date(self.last_modified));
        answer.header("accept-ranges", "bytes");
        for (name, value) in &self.attributes.headers {
            answer.header(name, value);
        }
        for (name, value) in &self.attributes.metadata {
            answer.header(&format!("x-amz-meta-{name}"), value);
        }
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
    /// What a request says of the object that it writes.
    pub(crate) fn of_request(request: &S3Request) -> Result<Self, Refusal> {
        match request.header("x-amz-acl")? {
            None | Some("private" | "bucket-owner-full-control") => {}
            Some(other) => return Err(Refusal::not_implemented(format!("the ACL {other}"))),
        }
        match request.header("x-amz-server-side-encryption")? {
            None | Some("AES256") => {}
            Some(other) => return Err(Refusal::not_implemented(format!("encryption by {other}"))),
        }
        let mut attributes = Self::default();
        for name in KEPT_HEADERS {
            if let Some(value) = request.header(name)? {
                attributes.headers.insert(name, value.to_owned());
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
        attributes.metadata = metadata.into_iter().collect();
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

    /// What a copy of an object that has these has by itself: all but the storage class and the redirect.
    #[must_use]
    pub(crate) fn copied(&self) -> Self {
        let mut copied = self.clone();
        copied.headers.remove(WEBSITE_REDIRECT);
        STANDARD.clone_into(&mut copied.storage_class);
        copied
    }

    /// The redirect, which a request may give to any copy.
    pub(crate) fn take_redirect_of(&mut self, other: &Self) {
        if let Some(redirect) = other.headers.get(WEBSITE_REDIRECT) {
            self.headers.insert(WEBSITE_REDIRECT, redirect.clone());
        }
    }

    /// How the body was sent is not part of the object.
    fn leave_out_chunking(&mut self) {
        let Some(encoding) = self.headers.remove("content-encoding") else {
            return;
        };
        if !encoding.contains("aws-chunked") {
            self.headers.insert("content-encoding", encoding);
            return;
        }
        let rest: Vec<&str> = encoding
            .split(',')
            .map(str::trim)
            .filter(|part| *part != "aws-chunked" && !part.is_empty())
            .collect();
        if !rest.is_empty() {
            self.headers.insert("content-encoding", rest.join(","));
        }
    }
}

/// As HTTP headers have it.
pub(crate) fn http_date(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// As S3's XML has it.
pub(crate) fn xml_date(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}
