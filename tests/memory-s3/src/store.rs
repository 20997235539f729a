//! Buckets with their objects and uploads. Keys are ordered by their bytes. No I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use hyper::body::Bytes;

use crate::changes::{ChangeKind, Changed, Feed};
use crate::content::{Content, Md5Digest};
use crate::object::{Attributes, ENCRYPTION, Object};
use crate::refusal::{Code, Refusal};
use crate::request::S3Request;

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) buckets: BTreeMap<String, Bucket>,
    /// The number of uploads so far.
    pub(crate) uploads_begun: u64,
    /// Where changes of objects are published.
    pub(crate) feed: Feed,
}

#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    feed: Feed,
    pub(crate) region: String,
    /// The account that owns the bucket.
    pub(crate) owner: String,
    pub(crate) created: DateTime<Utc>,
    pub(crate) objects: BTreeMap<String, Arc<Object>>,
    /// By key and id.
    pub(crate) uploads: BTreeMap<(String, String), Upload>,
    /// The notification configuration as it was put.
    pub(crate) notifications: Option<Bytes>,
    /// The KMS key for objects whose writer names no encryption; `None` for S3's own keys.
    pub(crate) default_kms_key: Option<String>,
    /// The encryption that a bucket policy requires every writer to name.
    pub(crate) required_encryption: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) initiated: DateTime<Utc>,
    pub(crate) attributes: Attributes,
    pub(crate) parts: BTreeMap<usize, Part>,
}

#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) content: Content,
    pub(crate) digest: Md5Digest,
    pub(crate) last_modified: DateTime<Utc>,
}

impl Store {
    /// The bucket that a request names. Refuses the request if the bucket's owner is not the expected account, or if
    /// the request is signed for another region.
    pub(crate) fn bucket_of(&mut self, request: &S3Request) -> Result<&mut Bucket, Refusal> {
        let expected = request.header("x-amz-expected-bucket-owner")?;
        let bucket = self.bucket(&request.bucket, expected)?;
        match request.signed_region() {
            Some(region) if region != bucket.region => Err(Refusal::redirect(&bucket.region)),
            _ => Ok(bucket),
        }
    }

    /// The KMS key that encrypts the object that the request writes; `None` for S3's own keys. Refuses a writer
    /// that does not name the encryption which the bucket's policy requires.
    pub(crate) fn kms_key_for(&mut self, request: &S3Request) -> Result<Option<String>, Refusal> {
        let bucket = self.bucket_of(request)?;
        let named = request.header(ENCRYPTION)?;
        match &bucket.required_encryption {
            Some(required) if named != Some(required.as_str()) => Err(Refusal::new(
                Code::AccessDenied,
                format!("the bucket's policy denies objects that are not encrypted by {required}"),
            )),
            _ if named.is_none() => Ok(bucket.default_kms_key.clone()),
            _ => Ok(Attributes::of_request(request)?.kms_key),
        }
    }

    /// Returns a bucket by its name. Refuses the request if the bucket's owner is not the expected account.
    pub(crate) fn bucket(
        &mut self,
        name: &str,
        expected_owner: Option<&str>,
    ) -> Result<&mut Bucket, Refusal> {
        let bucket = self
            .buckets
            .get_mut(name)
            .ok_or_else(|| Refusal::no_such_bucket(name))?;
        match expected_owner {
            Some(owner) if owner != bucket.owner => Err(Refusal::new(
                Code::AccessDenied,
                format!("{name} belongs to another account than {owner}"),
            )),
            _ => Ok(bucket),
        }
    }
}

impl Bucket {
    pub(crate) fn new(
        name: &str,
        region: String,
        owner: String,
        created: DateTime<Utc>,
        feed: Feed,
    ) -> Self {
        Self {
            name: name.to_owned(),
            feed,
            region,
            owner,
            created,
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            notifications: None,
            default_kms_key: None,
            required_encryption: None,
        }
    }

    /// Writes an object and publishes the change. For a copy, the change names the object that the copy read.
    pub(crate) fn write(
        &mut self,
        key: &str,
        kind: ChangeKind,
        object: Object,
        copied_from: Option<Arc<Object>>,
    ) {
        let object = Arc::new(object);
        let before = self.objects.insert(key.to_owned(), object.clone());
        let changed = Changed {
            object,
            before,
            copied_from,
        };
        self.feed.publish(&self.name, key, kind, changed);
    }

    /// Removes an object and publishes the change, if there is one.
    pub(crate) fn remove(&mut self, key: &str) {
        if let Some(object) = self.objects.remove(key) {
            let changed = Changed {
                before: Some(object.clone()),
                object,
                copied_from: None,
            };
            self.feed
                .publish(&self.name, key, ChangeKind::Removed, changed);
        }
    }

    pub(crate) fn object(&self, key: &str) -> Result<&Arc<Object>, Refusal> {
        self.objects
            .get(key)
            .ok_or_else(|| Refusal::no_such_key(key))
    }

    pub(crate) fn upload(&mut self, key: &str, id: &str) -> Result<&mut Upload, Refusal> {
        let place = (key.to_owned(), id.to_owned());
        self.uploads.get_mut(&place).ok_or_else(|| {
            Refusal::new(
                Code::NoSuchUpload,
                format!("there is no upload {id:?} of {key:?}"),
            )
        })
    }
}
