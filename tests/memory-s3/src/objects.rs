//! Puts, reads and deletes of objects. No I/O.

use std::sync::Arc;

use aws_smithy_types::base64;
use chrono::{DateTime, Utc};
use hyper::StatusCode;
use hyper::body::Bytes;
use serde::Deserialize;

use crate::answer::{Answer, Handled};
use crate::changes::ChangeKind;
use crate::condition;
use crate::content::Content;
use crate::object::{Attributes, Object, http_date};
use crate::refusal::{Code, Refusal};
use crate::request::S3Request;
use crate::store::{Bucket, Store};
use crate::xml::{self, Xml};

/// S3's limit for `DeleteObjects`.
const DELETES_MAX: usize = 1_000;

/// Reads the object of a put, before the buckets are locked.
pub(crate) fn read_put(
    request: &S3Request,
    kms_key: Option<String>,
    at: DateTime<Utc>,
) -> Result<Object, Refusal> {
    let attributes = Attributes {
        kms_key,
        ..Attributes::of_request(request)?
    };
    Ok(Object::of_content(checked_body(request)?, attributes, at))
}

pub(crate) fn put(store: &mut Store, request: &S3Request, object: Object) -> Handled {
    let bucket = store.bucket_of(request)?;
    let present = bucket.objects.get(&request.key).map(Arc::as_ref);
    condition::may_replace(request, &request.key, present)?;
    let mut answer = Answer::empty();
    answer.header("etag", &format!("\"{}\"", object.etag));
    bucket.write(&request.key, ChangeKind::Put, object, None);
    Ok(answer)
}

/// The body, if it agrees with its `Content-MD5`.
pub(crate) fn checked_body(request: &S3Request) -> Result<Content, Refusal> {
    let content = Content::of(request.body()?);
    if let Some(said) = request.header("content-md5")?
        && base64::decode(said).ok().as_deref() != Some(content.md5().as_slice())
    {
        return Err(Refusal::new(
            Code::BadDigest,
            format!("Content-MD5 is {said}, and the body has another digest"),
        ));
    }
    Ok(content)
}

/// Answers GET and HEAD.
pub(crate) fn read(object: &Object, request: &S3Request, with_body: bool) -> Handled {
    condition::may_read(request, object)?;
    if with_body {
        object.readable()?;
    }
    let whole = object.content.bytes();
    let mut answer = Answer::empty();
    object.describe(&mut answer);
    let selected = match request.parameter("partNumber") {
        Some(number) => {
            if !object.parts.is_empty() {
                answer.header("x-amz-mp-parts-count", &object.parts.len().to_string());
            }
            Some(part_range(object, number)?)
        }
        None => match request.header("range")? {
            Some(range) => byte_range(range, whole)?,
            None => None,
        },
    };
    let (first, end) = selected.unwrap_or((0, whole));
    if selected.is_some() && first < end {
        answer.status = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {first}-{}/{whole}", end - 1);
        answer.header("content-range", &range);
    }
    answer.header("content-length", &(end - first).to_string());
    if with_body {
        answer.body = object.content.slice(first, end).whole();
    }
    Ok(answer)
}

/// The start and the exclusive end of a part.
fn part_range(object: &Object, number: &str) -> Result<(u64, u64), Refusal> {
    let place: usize = number
        .parse()
        .ok()
        .filter(|number| (1..=10_000).contains(number))
        .ok_or_else(|| Refusal::invalid("partNumber", number))?;
    if object.parts.is_empty() && place == 1 {
        return Ok((0, object.content.bytes()));
    }
    let bytes = object.parts.get(place - 1).ok_or_else(|| {
        Refusal::new(
            Code::InvalidPartNumber,
            format!("the object has no part {place}"),
        )
    })?;
    let first: u64 = object.parts[..place - 1].iter().sum();
    Ok((first, first + bytes))
}

/// The start and the exclusive end of a `Range`. HTTP ignores a range that cannot be read.
fn byte_range(range: &str, whole: u64) -> Result<Option<(u64, u64)>, Refusal> {
    let Some(asked) = range.strip_prefix("bytes=") else {
        return Ok(None);
    };
    if asked.contains(',') {
        return Err(Refusal::not_implemented("a Range of several ranges"));
    }
    let Some((first, last)) = asked.split_once('-') else {
        return Ok(None);
    };
    let selected = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if last < first => return Ok(None),
        (Ok(first), Ok(last)) => (first, whole.min(last.saturating_add(1))),
        (Ok(first), Err(_)) if last.is_empty() => (first, whole),
        // The last `count` bytes. A count of 0 selects nothing.
        (Err(_), Ok(count)) if first.is_empty() && count > 0 => {
            (whole.saturating_sub(count), whole)
        }
        (Err(_), Ok(_)) if first.is_empty() => (whole, whole),
        _ => return Ok(None),
    };
    if selected.0 >= selected.1 {
        return Err(Refusal::new(
            Code::InvalidRange,
            format!("{range} selects nothing of {whole} bytes"),
        ));
    }
    Ok(Some(selected))
}

/// Returns only the number of an object's parts: S3 lists the parts only if they were uploaded with checksums.
pub(crate) fn attributes(object: &Object, request: &S3Request) -> Handled {
    let asked = request
        .header("x-amz-object-attributes")?
        .unwrap_or_default();
    let asked: Vec<&str> = asked.split(',').map(str::trim).collect();
    let known = [
        "ETag",
        "Checksum",
        "ObjectParts",
        "StorageClass",
        "ObjectSize",
    ];
    if let Some(other) = asked.iter().find(|name| !known.contains(name)) {
        return Err(Refusal::invalid("x-amz-object-attributes", other));
    }
    let mut xml = Xml::of_root("GetObjectAttributesResponse");
    if asked.contains(&"ETag") {
        xml.text("ETag", &object.etag);
    }
    if asked.contains(&"ObjectParts") && !object.parts.is_empty() {
        xml.within("ObjectParts", |xml| {
            xml.number("PartsCount", object.parts.len() as u64);
        });
    }
    if asked.contains(&"StorageClass") {
        xml.text("StorageClass", &object.attributes.storage_class);
    }
    if asked.contains(&"ObjectSize") {
        xml.number("ObjectSize", object.content.bytes());
    }
    let mut answer = Answer::of_xml(xml.ended());
    answer.header("last-modified", &http_date(object.last_modified));
    Ok(answer)
}

/// The object that a request names.
pub(crate) fn find(store: &mut Store, request: &S3Request) -> Result<Arc<Object>, Refusal> {
    store.bucket_of(request)?.object(&request.key).cloned()
}

/// Deletes an object. Deleting a missing object succeeds, unless the request has a condition.
pub(crate) fn delete(store: &mut Store, request: &S3Request) -> Handled {
    let wanted = request.header("if-match")?;
    delete_one(store.bucket_of(request)?, &request.key, wanted)?;
    Ok(Answer::no_content())
}

fn delete_one(bucket: &mut Bucket, key: &str, wanted: Option<&str>) -> Result<(), Refusal> {
    if let Some(wanted) = wanted
        && !condition::matches(wanted, bucket.object(key)?)
    {
        return Err(condition::failed("If-Match"));
    }
    bucket.remove(key);
    Ok(())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Delete {
    #[serde(rename = "Object", default)]
    objects: Vec<ToDelete>,
    #[serde(default)]
    quiet: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ToDelete {
    key: String,
    version_id: Option<String>,
    #[serde(rename = "ETag")]
    etag: Option<String>,
    last_modified_time: Option<String>,
    size: Option<String>,
}

pub(crate) fn delete_many(store: &mut Store, request: &S3Request) -> Handled {
    let body: Bytes = request.body()?;
    let asked: Delete = xml::read(&body)?;
    if asked.objects.is_empty() || asked.objects.len() > DELETES_MAX {
        return Err(Refusal::new(
            Code::MalformedXML,
            format!(
                "{} keys; the request takes 1 to {DELETES_MAX}",
                asked.objects.len()
            ),
        ));
    }
    let bucket = store.bucket_of(request)?;
    let mut xml = Xml::of_root("DeleteResult");
    for object in asked.objects {
        match object.delete_from(bucket) {
            Ok(()) if asked.quiet => {}
            Ok(()) => xml.within("Deleted", |xml| xml.text("Key", &object.key)),
            Err(refusal) => xml.within("Error", |xml| {
                xml.text("Key", &object.key);
                xml.text("Code", &refusal.code());
                xml.text("Message", refusal.message());
            }),
        }
    }
    Ok(Answer::of_xml(xml.ended()))
}

impl ToDelete {
    fn delete_from(&self, bucket: &mut Bucket) -> Result<(), Refusal> {
        let version = self.version_id.as_deref();
        if version.is_some_and(|version| version != "null")
            || self.last_modified_time.is_some()
            || self.size.is_some()
        {
            return Err(Refusal::not_implemented(
                "deleting by version, time or size",
            ));
        }
        delete_one(bucket, &self.key, self.etag.as_deref())
    }
}
