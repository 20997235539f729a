//! `ListObjectsV2`: keys in the order of their bytes, page by page. No I/O.

use std::ops::Bound;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::answer::{Answer, Handled};
use crate::object::{Object, xml_date};
use crate::refusal::Refusal;
use crate::request::S3Request;
use crate::store::Bucket;
use crate::xml::Xml;

/// S3's limit.
pub(crate) const KEYS_MAX: usize = 1_000;

/// An entry of a page.
pub(crate) enum Entry {
    Object(String, Arc<Object>),
    CommonPrefix(String),
}

/// One page, and where the next one starts.
pub(crate) struct Page {
    entries: Vec<Entry>,
    next: Option<String>,
}

/// The parameters of a listing.
struct Query<'a> {
    prefix: &'a str,
    delimiter: Option<&'a str>,
    start: Start,
    keys_max: usize,
}

/// Where a page starts.
enum Start {
    /// After this key, or at the first one.
    After(String),
    /// After all keys with this prefix.
    AfterPrefix(String),
}

/// Finds the page that a request asks for. Writes no answer yet, because the buckets are locked.
pub(crate) fn page(bucket: &Bucket, request: &S3Request) -> Result<Page, Refusal> {
    let kind = request.parameter("list-type").unwrap_or_default();
    if kind != "2" {
        return Err(Refusal::not_implemented(format!("list-type {kind:?}")));
    }
    let start = match request.parameter("continuation-token") {
        Some(token) => {
            Start::of_token(token).ok_or_else(|| Refusal::invalid("continuation-token", token))?
        }
        None => Start::After(request.parameter("start-after").unwrap_or_default().into()),
    };
    let query = Query {
        prefix: request.parameter("prefix").unwrap_or_default(),
        delimiter: request.parameter("delimiter").filter(|d| !d.is_empty()),
        start,
        keys_max: request.number("max-keys", KEYS_MAX)?.min(KEYS_MAX),
    };
    Ok(query.run(bucket))
}

impl Query<'_> {
    fn run(&self, bucket: &Bucket) -> Page {
        let (after, mut passed) = match &self.start {
            Start::After(key) => (key.as_str(), None),
            Start::AfterPrefix(prefix) => (prefix.as_str(), Some(prefix.clone())),
        };
        let from = if after < self.prefix {
            Bound::Included(self.prefix)
        } else if after.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Excluded(after)
        };
        let mut entries: Vec<Entry> = Vec::new();
        for (key, object) in bucket.objects.range::<str, _>((from, Bound::Unbounded)) {
            if !key.starts_with(self.prefix) {
                break;
            }
            if passed
                .as_ref()
                .is_some_and(|prefix| key.starts_with(prefix))
            {
                continue;
            }
            if entries.len() == self.keys_max {
                let next = entries.last().map(Entry::token);
                return Page { entries, next };
            }
            if let Some(common) = self.common_prefix(key) {
                entries.push(Entry::CommonPrefix(common.to_owned()));
                passed = Some(common.to_owned());
            } else {
                entries.push(Entry::Object(key.clone(), object.clone()));
            }
        }
        Page {
            entries,
            next: None,
        }
    }

    fn common_prefix<'k>(&self, key: &'k str) -> Option<&'k str> {
        let delimiter = self.delimiter?;
        let rest = &key[self.prefix.len()..];
        let place = rest.find(delimiter)?;
        Some(&key[..self.prefix.len() + place + delimiter.len()])
    }
}

impl Entry {
    fn token(&self) -> String {
        let (kind, text) = match self {
            Self::Object(key, _) => ("key", key),
            Self::CommonPrefix(prefix) => ("prefix", prefix),
        };
        format!("{kind}.{}", utf8_percent_encode(text, NON_ALPHANUMERIC))
    }
}

impl Start {
    fn of_token(token: &str) -> Option<Self> {
        let (kind, text) = token.split_once('.')?;
        let text = percent_decode_str(text).decode_utf8().ok()?.into_owned();
        match kind {
            "key" => Some(Self::After(text)),
            "prefix" => Some(Self::AfterPrefix(text)),
            _ => None,
        }
    }
}

impl Page {
    pub(crate) fn answer(&self, request: &S3Request) -> Handled {
        let encode = Encoding::of(request)?;
        let mut xml = Xml::of_root("ListBucketResult");
        xml.text("Name", &request.bucket);
        let prefix = request.parameter("prefix").unwrap_or_default();
        xml.text("Prefix", &encode.text(prefix));
        for (parameter, element) in [("delimiter", "Delimiter"), ("start-after", "StartAfter")] {
            if let Some(value) = request.parameter(parameter) {
                xml.text(element, &encode.text(value));
            }
        }
        if let Some(token) = request.parameter("continuation-token") {
            xml.text("ContinuationToken", token);
        }
        if let Encoding::Url = encode {
            xml.text("EncodingType", "url");
        }
        let keys_max = request.number("max-keys", KEYS_MAX)?;
        xml.number("MaxKeys", keys_max.min(KEYS_MAX) as u64);
        xml.number("KeyCount", self.entries.len() as u64);
        xml.flag("IsTruncated", self.next.is_some());
        if let Some(next) = &self.next {
            xml.text("NextContinuationToken", next);
        }
        for entry in &self.entries {
            match entry {
                Entry::CommonPrefix(prefix) => {
                    xml.within("CommonPrefixes", |xml| {
                        xml.text("Prefix", &encode.text(prefix));
                    });
                }
                Entry::Object(key, object) => contents(&mut xml, &encode.text(key), object),
            }
        }
        Ok(Answer::of_xml(xml.ended()))
    }
}

fn contents(xml: &mut Xml, key: &str, object: &Object) {
    xml.within("Contents", |xml| {
        xml.text("Key", key);
        xml.text("LastModified", &xml_date(object.last_modified));
        xml.etag(&object.etag);
        xml.number("Size", object.content.bytes());
        xml.text("StorageClass", &object.attributes.storage_class);
    });
}

/// How keys are encoded.
pub(crate) enum Encoding {
    Plain,
    Url,
}

impl Encoding {
    pub(crate) fn of(request: &S3Request) -> Result<Self, Refusal> {
        match request.parameter("encoding-type") {
            None => Ok(Self::Plain),
            Some("url") => Ok(Self::Url),
            Some(other) => Err(Refusal::invalid("encoding-type", other)),
        }
    }

    /// Encodes a key. Like S3, writes a space as `+`, and leaves slashes.
    pub(crate) fn text(&self, text: &str) -> String {
        const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
            .remove(b'-')
            .remove(b'_')
            .remove(b'.')
            .remove(b'*')
            .remove(b'/')
            .remove(b' ');
        match self {
            Self::Plain => text.to_owned(),
            Self::Url => utf8_percent_encode(text, ESCAPED)
                .to_string()
                .replace(' ', "+"),
        }
    }
}
