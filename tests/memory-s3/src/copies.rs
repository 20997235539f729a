//! Copies within the server. A copy reads its source first and lands later; others may write in between, as in S3.
//! No I/O.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;

use crate::answer::{Answer, Handled};
use crate::changes::ChangeKind;
use crate::condition;
use crate::content::Content;
use crate::object::{Attributes, Object, xml_date};
use crate::refusal::{Code, Refusal};
use crate::request::S3Request;
use crate::store::Store;
use crate::xml::Xml;

/// S3's limit for one `CopyObject`, and for one part.
pub(crate) const SINGLE_COPY_BYTES_MAX: u64 = 5 << 30;

/// The object that a copy reads.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    bucket: String,
    key: String,
}

impl Source {
    fn of(request: &S3Request) -> Result<Self, Refusal> {
        let named = request.header("x-amz-copy-source")?.unwrap_or_default();
        let invalid = || Refusal::invalid("x-amz-copy-source", named);
        let (path, version) = match named.split_once("?versionId=") {
            Some((path, version)) => (path, version),
            None => (named, "null"),
        };
        if version != "null" {
            return Err(Refusal::new(
                Code::NoSuchVersion,
                format!("there is no version {version:?}: this server has no versions"),
            ));
        }
        let path = percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| invalid())?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        match path.split_once('/') {
            Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => Ok(Self {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
            }),
            _ => Err(invalid()),
        }
    }
}

/// Finds the source of a copy, if its conditions hold.
pub(crate) fn source(store: &mut Store, request: &S3Request) -> Result<Arc<Object>, Refusal> {
    // The request has to name an existing destination and be signed for its region; this is checked first.
    store.bucket_of(request)?;
    let source = Source::of(request)?;
    let owner = request.header("x-amz-source-expected-bucket-owner")?;
    let object = store
        .bucket(&source.bucket, owner)?
        .object(&source.key)?
        .clone();
    condition::may_copy(request, &object)?;
    object.readable()?;
    Ok(object)
}

/// The object that a copy of this source writes.
pub(crate) fn copy(
    request: &S3Request,
    source: &Object,
    kms_key: Option<String>,
    at: DateTime<Utc>,
) -> Result<Object, Refusal> {
    if source.content.bytes() > SINGLE_COPY_BYTES_MAX {
        return Err(Refusal::new(
            Code::InvalidRequest,
            format!(
                "{} bytes are more than the {SINGLE_COPY_BYTES_MAX} bytes of one copy",
                source.content.bytes()
            ),
        ));
    }
    let asked = Attributes::of_request(request)?;
    let replaces_metadata = is_replace(request, "x-amz-metadata-directive")?;
    let replaces_tags = is_replace(request, "x-amz-tagging-directive")?;
    if request.header("x-amz-tagging")?.is_some() && !replaces_tags {
        return Err(Refusal::not_implemented(
            "x-amz-tagging of a copy that keeps tags",
        ));
    }
    let mut attributes = source.attributes.copied();
    if replaces_metadata {
        attributes.headers.clone_from(&asked.headers);
        attributes.metadata.clone_from(&asked.metadata);
    }
    if replaces_tags {
        attributes.tags.clone_from(&asked.tags);
    }
    attributes.take_redirect_of(&asked);
    attributes.storage_class.clone_from(&asked.storage_class);
    attributes.kms_key = kms_key;
    let names = Source::of(request)?;
    let onto_itself = names.bucket == request.bucket && names.key == request.key;
    let same_class = attributes.storage_class == source.attributes.storage_class;
    if onto_itself && !replaces_metadata && same_class {
        return Err(Refusal::new(
            Code::InvalidRequest,
            "a copy of an object onto itself has to change something",
        ));
    }
    Ok(if source.parts.is_empty() {
        Object::same_bytes(source, attributes, at)
    } else {
        Object::of_content(source.content.clone(), attributes, at)
    })
}

fn is_replace(request: &S3Request, directive: &str) -> Result<bool, Refusal> {
    match request.header(directive)? {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(other) => Err(Refusal::invalid(directive, other)),
    }
}

/// Stores a copy, if the request may replace the present object.
pub(crate) fn land(
    store: &mut Store,
    request: &S3Request,
    source: Arc<Object>,
    copy: Object,
) -> Handled {
    let bucket = store.bucket_of(request)?;
    let present = bucket.objects.get(&request.key).map(Arc::as_ref);
    condition::may_replace(request, &request.key, present)?;
    let answer = result("CopyObjectResult", &copy.etag, copy.last_modified);
    bucket.write(&request.key, ChangeKind::Copy, copy, Some(source));
    Ok(answer)
}

/// The answer to a copy.
pub(crate) fn result(root: &'static str, etag: &str, at: DateTime<Utc>) -> Answer {
    let mut xml = Xml::of_root(root);
    xml.text("LastModified", &xml_date(at));
    xml.etag(etag);
    Answer::of_xml(xml.ended())
}

/// The content of a copied part. A range is allowed only for sources of more than `range_min` bytes.
pub(crate) fn part(
    request: &S3Request,
    source: &Object,
    range_min: u64,
) -> Result<Content, Refusal> {
    let whole = source.content.bytes();
    let (first, end) = match request.header("x-amz-copy-source-range")? {
        None => (0, whole),
        Some(range) => {
            let (first, last) = inclusive_range(range)
                .ok_or_else(|| Refusal::invalid("x-amz-copy-source-range", range))?;
            if whole <= range_min {
                return Err(Refusal::new(
                    Code::InvalidRequest,
                    format!("an object of {whole} bytes is too small to copy a range of it"),
                ));
            }
            if last >= whole {
                return Err(Refusal::new(
                    Code::InvalidRange,
                    format!("{range} goes beyond {whole} bytes"),
                ));
            }
            (first, last + 1)
        }
    };
    if end - first > SINGLE_COPY_BYTES_MAX {
        return Err(Refusal::new(
            Code::InvalidRequest,
            format!("a part of {} bytes is too large", end - first),
        ));
    }
    Ok(source.content.slice(first, end))
}

fn inclusive_range(range: &str) -> Option<(u64, u64)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}
