//! Buckets and their settings. No I/O.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::answer::{Answer, Handled};
use crate::object::{KMS, xml_date};
use crate::refusal::{Code, Refusal};
use crate::request::S3Request;
use crate::store::{Bucket, Store};
use crate::xml::{self, Xml};

/// The region of a bucket whose request names none.
pub(crate) const FIRST_REGION: &str = "us-east-1";
/// S3's limit of `ListBuckets`.
const BUCKETS_MAX: usize = 10_000;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateBucketConfiguration {
    location_constraint: Option<String>,
}

pub(crate) fn create(
    store: &mut Store,
    request: &S3Request,
    account_id: &str,
    at: DateTime<Utc>,
) -> Handled {
    let body = request.body()?;
    let wanted: CreateBucketConfiguration = if body.is_empty() {
        CreateBucketConfiguration::default()
    } else {
        xml::read(&body)?
    };
    let region = wanted
        .location_constraint
        .filter(|region| !region.is_empty())
        .unwrap_or_else(|| FIRST_REGION.to_owned());
    let signed = request.signed_region().unwrap_or(FIRST_REGION);
    if signed != FIRST_REGION && signed != region {
        return Err(Refusal::new(
            Code::IllegalLocationConstraintException,
            format!("a bucket of {region} cannot be made through {signed}"),
        ));
    }
    let name = &request.bucket;
    if !is_possible_name(name) {
        return Err(Refusal::new(
            Code::InvalidBucketName,
            format!("{name:?} cannot be a bucket's name"),
        ));
    }
    if store.buckets.contains_key(name) {
        return Err(Refusal::new(
            Code::BucketAlreadyOwnedByYou,
            format!("{name} is there already"),
        ));
    }
    let bucket = Bucket::new(name, region, account_id.to_owned(), at, store.feed.clone());
    store.buckets.insert(name.clone(), bucket);
    let mut answer = Answer::empty();
    answer.header("location", &format!("/{name}"));
    Ok(answer)
}

pub(crate) fn delete(store: &mut Store, request: &S3Request) -> Handled {
    let bucket = store.bucket_of(request)?;
    if !bucket.objects.is_empty() {
        return Err(Refusal::new(Code::BucketNotEmpty, "it has objects"));
    }
    store.buckets.remove(&request.bucket);
    Ok(Answer::no_content())
}

pub(crate) fn head(store: &mut Store, request: &S3Request) -> Handled {
    let bucket = store.bucket_of(request)?;
    let mut answer = Answer::empty();
    answer.header("x-amz-bucket-region", &bucket.region);
    Ok(answer)
}

/// Returns the region of a bucket, whatever the region for which the request is signed.
pub(crate) fn location(store: &mut Store, request: &S3Request) -> Handled {
    let expected = request.header("x-amz-expected-bucket-owner")?;
    let region = &store.bucket(&request.bucket, expected)?.region;
    let mut xml = Xml::of_root("LocationConstraint");
    // S3 reports us-east-1 as an empty name.
    if region != FIRST_REGION {
        xml.push_text(region);
    }
    Ok(Answer::of_xml(xml.ended()))
}

pub(crate) fn list(store: &Store, request: &S3Request, account_id: &str) -> Handled {
    let prefix = request.parameter("prefix").unwrap_or_default();
    let region = request.parameter("bucket-region");
    let after = request.parameter("continuation-token").unwrap_or_default();
    let most = request.number("max-buckets", BUCKETS_MAX)?;
    let mut found = store.buckets.iter().filter(|(name, bucket)| {
        bucket.owner == account_id
            && name.starts_with(prefix)
            && name.as_str() > after
            && region.is_none_or(|region| region == bucket.region)
    });
    let mut xml = Xml::of_root("ListAllMyBucketsResult");
    xml.within("Owner", |xml| xml.text("ID", account_id));
    let mut last = "";
    xml.within("Buckets", |xml| {
        for (name, bucket) in found.by_ref().take(most) {
            last = name;
            xml.within("Bucket", |xml| {
                xml.text("Name", name);
                xml.text("CreationDate", &xml_date(bucket.created));
                xml.text("BucketRegion", &bucket.region);
            });
        }
    });
    if !last.is_empty() && found.next().is_some() {
        xml.text("ContinuationToken", last);
    }
    Ok(Answer::of_xml(xml.ended()))
}

/// Reports that versioning is off: this server has no versions.
pub(crate) fn versioning(store: &mut Store, request: &S3Request) -> Handled {
    store.bucket_of(request)?;
    Ok(Answer::of_xml(
        Xml::of_root("VersioningConfiguration").ended(),
    ))
}

/// Returns the default encryption, which every bucket has.
pub(crate) fn encryption(store: &mut Store, request: &S3Request) -> Handled {
    let kms_key = &store.bucket_of(request)?.default_kms_key;
    let mut xml = Xml::of_root("ServerSideEncryptionConfiguration");
    xml.within("Rule", |xml| {
        xml.within("ApplyServerSideEncryptionByDefault", |xml| {
            let algorithm = if kms_key.is_some() { KMS } else { "AES256" };
            xml.text("SSEAlgorithm", algorithm);
            if let Some(key) = kms_key {
                xml.text("KMSMasterKeyID", key);
            }
        });
    });
    Ok(Answer::of_xml(xml.ended()))
}

/// Refuses every request: no bucket is a website.
pub(crate) fn website(store: &mut Store, request: &S3Request) -> Handled {
    store.bucket_of(request)?;
    Err(Refusal::new(
        Code::NoSuchWebsiteConfiguration,
        "the bucket has no website configuration",
    ))
}

pub(crate) fn notifications(store: &mut Store, request: &S3Request) -> Handled {
    let bucket = store.bucket_of(request)?;
    let mut answer = Answer::of_xml(Xml::of_root("NotificationConfiguration").ended());
    if let Some(put) = &bucket.notifications {
        answer.body = put.clone();
    }
    Ok(answer)
}

/// Stores a notification configuration and returns it unchanged later. No notifications are sent.
pub(crate) fn put_notifications(store: &mut Store, request: &S3Request) -> Handled {
    let body = request.body()?;
    xml::read::<serde::de::IgnoredAny>(&body)?;
    store.bucket_of(request)?.notifications = Some(body);
    Ok(Answer::empty())
}

fn is_possible_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|&byte| is_plain(byte) || byte == b'-' || byte == b'.')
        && bytes.first().copied().is_some_and(is_plain)
        && bytes.last().copied().is_some_and(is_plain)
}
