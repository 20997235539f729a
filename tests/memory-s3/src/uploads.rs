//! Multipart uploads. No I/O.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::answer::{Answer, Handled};
use crate::changes::ChangeKind;
use crate::condition;
use crate::content::{Content, Md5Digest, hex};
use crate::copies;
use crate::listing::Encoding;
use crate::object::{Attributes, Object, xml_date};
use crate::refusal::{Code, Refusal};
use crate::request::S3Request;
use crate::store::{Part, Store, Upload};
use crate::xml::{self, Xml};

/// S3's limits.
const PART_NUMBER_MAX: usize = 10_000;
const LISTED_MAX: usize = 1_000;

pub(crate) fn create(store: &mut Store, request: &S3Request, at: DateTime<Utc>) -> Handled {
    let attributes = Attributes {
        kms_key: store.kms_key_for(request)?,
        ..Attributes::of_request(request)?
    };
    let encryption = attributes.clone();
    store.uploads_begun += 1;
    // Ids are ordered by age, like the uploads of one key in a listing.
    let id = format!("upload{:012}", store.uploads_begun);
    let place = (request.key.clone(), id.clone());
    store.bucket_of(request)?.uploads.insert(
        place,
        Upload {
            initiated: at,
            attributes,
            parts: std::collections::BTreeMap::new(),
        },
    );
    let mut xml = Xml::of_root("InitiateMultipartUploadResult");
    xml.text("Bucket", &request.bucket);
    xml.text("Key", &request.key);
    xml.text("UploadId", &id);
    let mut answer = Answer::of_xml(xml.ended());
    encryption.describe_encryption(&mut answer);
    Ok(answer)
}

/// Stores a part. Returns its `ETag`.
pub(crate) fn put_part(
    store: &mut Store,
    request: &S3Request,
    content: Content,
    digest: Md5Digest,
    at: DateTime<Utc>,
) -> Result<String, Refusal> {
    let number = request.needed("partNumber")?;
    let number = number
        .parse()
        .ok()
        .filter(|number| (1..=PART_NUMBER_MAX).contains(number))
        .ok_or_else(|| Refusal::invalid("partNumber", number))?;
    let id = request.needed("uploadId")?;
    let upload = store.bucket_of(request)?.upload(&request.key, id)?;
    upload.parts.insert(
        number,
        Part {
            content,
            digest,
            last_modified: at,
        },
    );
    Ok(hex(&digest))
}

pub(crate) fn uploaded(etag: &str) -> Answer {
    let mut answer = Answer::empty();
    answer.header("etag", &format!("\"{etag}\""));
    answer
}

pub(crate) fn copied(etag: &str, at: DateTime<Utc>) -> Answer {
    copies::result("CopyPartResult", etag, at)
}

#[derive(Debug, Deserialize)]
struct CompleteMultipartUpload {
    #[serde(rename = "Part", default)]
    parts: Vec<CompletedPart>,
}

#[derive(Debug, Deserialize)]
struct CompletedPart {
    #[serde(rename = "PartNumber")]
    number: usize,
    #[serde(rename = "ETag")]
    etag: String,
}

pub(crate) fn complete(
    store: &mut Store,
    request: &S3Request,
    part_bytes_min: u64,
    at: DateTime<Utc>,
) -> Handled {
    let body = request.body()?;
    let wanted: CompleteMultipartUpload = xml::read(&body)?;
    let id = request.needed("uploadId")?;
    let bucket = store.bucket_of(request)?;
    let upload = bucket.upload(&request.key, id)?;
    let parts = chosen(upload, &wanted.parts, part_bytes_min)?;
    let attributes = upload.attributes.clone();
    let present = bucket.objects.get(&request.key).map(Arc::as_ref);
    condition::may_replace(request, &request.key, present)?;
    let object = Object::uploaded(&parts, attributes, at);
    let mut xml = Xml::of_root("CompleteMultipartUploadResult");
    xml.text("Bucket", &request.bucket);
    xml.text("Key", &request.key);
    xml.etag(&object.etag);
    bucket.uploads.remove(&(request.key.clone(), id.to_owned()));
    bucket.write(&request.key, ChangeKind::Complete, object, None);
    Ok(Answer::of_xml(xml.ended()))
}

/// Returns the parts that a request names, if they can form an object.
fn chosen(
    upload: &Upload,
    wanted: &[CompletedPart],
    part_bytes_min: u64,
) -> Result<Vec<(Content, Md5Digest)>, Refusal> {
    if wanted.is_empty() {
        return Err(Refusal::new(Code::MalformedXML, "no part is named"));
    }
    if !wanted.is_sorted_by(|a, b| a.number < b.number) {
        return Err(Refusal::new(
            Code::InvalidPartOrder,
            "the parts are not in the order of their numbers",
        ));
    }
    let mut parts = Vec::with_capacity(wanted.len());
    for (place, named) in wanted.iter().enumerate() {
        let part = upload
            .parts
            .get(&named.number)
            .filter(|part| named.etag.trim_matches('"') == hex(&part.digest))
            .ok_or_else(|| {
                Refusal::new(
                    Code::InvalidPart,
                    format!("there is no part {} with {}", named.number, named.etag),
                )
            })?;
        if part.content.bytes() < part_bytes_min && place + 1 < wanted.len() {
            return Err(Refusal::new(
                Code::EntityTooSmall,
                format!(
                    "part {} has {} bytes; all but the last need {part_bytes_min}",
                    named.number,
                    part.content.bytes()
                ),
            ));
        }
        parts.push((part.content.clone(), part.digest));
    }
    Ok(parts)
}

pub(crate) fn abort(store: &mut Store, request: &S3Request) -> Handled {
    let id = request.needed("uploadId")?;
    let bucket = store.bucket_of(request)?;
    bucket.upload(&request.key, id)?;
    bucket.uploads.remove(&(request.key.clone(), id.to_owned()));
    Ok(Answer::no_content())
}

pub(crate) fn list_parts(store: &mut Store, request: &S3Request) -> Handled {
    let id = request.needed("uploadId")?;
    let after = request.number("part-number-marker", 0)?;
    let most = request.number("max-parts", LISTED_MAX)?.min(LISTED_MAX);
    let upload = store.bucket_of(request)?.upload(&request.key, id)?;
    let mut parts = upload.parts.range(after + 1..);
    let shown: Vec<_> = parts.by_ref().take(most).collect();
    let mut xml = Xml::of_root("ListPartsResult");
    xml.text("Bucket", &request.bucket);
    xml.text("Key", &request.key);
    xml.text("UploadId", id);
    xml.text("StorageClass", &upload.attributes.storage_class);
    xml.number("PartNumberMarker", after as u64);
    if let Some((last, _)) = shown.last() {
        xml.number("NextPartNumberMarker", **last as u64);
    }
    xml.number("MaxParts", most as u64);
    xml.flag("IsTruncated", parts.next().is_some());
    for (&number, part) in shown {
        xml.within("Part", |xml| {
            xml.number("PartNumber", number as u64);
            xml.text("LastModified", &xml_date(part.last_modified));
            xml.etag(&hex(&part.digest));
            xml.number("Size", part.content.bytes());
        });
    }
    Ok(Answer::of_xml(xml.ended()))
}

/// Lists uploads by key, and those of one key by age.
pub(crate) fn list(store: &mut Store, request: &S3Request) -> Handled {
    let encode = Encoding::of(request)?;
    let prefix = request.parameter("prefix").unwrap_or_default();
    let key_marker = request.parameter("key-marker").unwrap_or_default();
    let id_marker = request.parameter("upload-id-marker").unwrap_or_default();
    let most = request.number("max-uploads", LISTED_MAX)?.min(LISTED_MAX);
    let bucket = store.bucket_of(request)?;
    let is_after = |key: &str, id: &str| {
        key > key_marker || (key == key_marker && !id_marker.is_empty() && id > id_marker)
    };
    let mut found = bucket
        .uploads
        .iter()
        .filter(|((key, id), _)| key.starts_with(prefix) && is_after(key, id));
    let shown: Vec<_> = found.by_ref().take(most).collect();
    let mut xml = Xml::of_root("ListMultipartUploadsResult");
    xml.text("Bucket", &request.bucket);
    xml.text("Prefix", &encode.text(prefix));
    xml.text("KeyMarker", &encode.text(key_marker));
    xml.text("UploadIdMarker", id_marker);
    if let Encoding::Url = encode {
        xml.text("EncodingType", "url");
    }
    xml.number("MaxUploads", most as u64);
    let truncated = found.next().is_some();
    xml.flag("IsTruncated", truncated);
    if let Some(((key, id), _)) = shown.last().filter(|_| truncated) {
        xml.text("NextKeyMarker", &encode.text(key));
        xml.text("NextUploadIdMarker", id);
    }
    for ((key, id), upload) in shown {
        xml.within("Upload", |xml| {
            xml.text("Key", &encode.text(key));
            xml.text("UploadId", id);
            xml.text("StorageClass", &upload.attributes.storage_class);
            xml.text("Initiated", &xml_date(upload.initiated));
        });
    }
    Ok(Answer::of_xml(xml.ended()))
}
