//! One bucket of the local cloud, with the requests of a user.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::complete_multipart_upload::CompleteMultipartUploadError;
use aws_sdk_s3::operation::get_bucket_notification_configuration::GetBucketNotificationConfigurationOutput;
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::operation::head_object::{HeadObjectError, HeadObjectOutput};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CompletedMultipartUpload, CompletedPart,
    CreateBucketConfiguration, EncodingType, NotificationConfiguration, ObjectCannedAcl,
    ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectOwnership, OwnershipControls,
    OwnershipControlsRule, StorageClass, Tag, Tagging, VersioningConfiguration,
};
use futures::{StreamExt, stream};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::cloud::Cloud;

/// How many requests a helper sends at once.
const AT_ONCE: usize = 24;

/// A bucket, with a client for its own region.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// The client.
    pub client: Client,
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: &'static str,
}

/// An object as a user writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object {
    /// The bytes.
    pub body: Vec<u8>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `x-amz-meta-*`.
    pub metadata: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// `x-amz-storage-class`.
    pub storage_class: Option<String>,
    /// `x-amz-website-redirect-location`.
    pub website_redirect: Option<String>,
    /// The canonical id of a grantee whom the ACL lets read, besides the owner.
    pub reader: Option<String>,
}

/// Tags of these names and values.
pub fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    owned.collect()
}

impl Object {
    /// An object with these bytes and nothing else.
    pub fn of(body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..Self::default()
        }
    }

    /// The object with every header, metadata and tags. `mark` occurs in each.
    #[must_use]
    pub fn dressed(self, mark: &str) -> Self {
        let some = |text: String| Some(text);
        Self {
            content_type: some(format!("text/x-{mark}; charset=utf-8")),
            content_encoding: some(format!("x-{mark}")),
            content_language: some("de, en-GB".to_owned()),
            content_disposition: some(format!("attachment; filename=\"{mark} 1.txt\"")),
            cache_control: some(format!("max-age=60, x-{mark}")),
            metadata: [
                ("written-by", mark),
                ("empty", ""),
                ("mixed", "a=b; c+d %20"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
            tags: [("written by", mark), ("a+b=c", "d/e @:_")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..self
        }
    }
}

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Without quotes.
    pub etag: String,
    /// Its size.
    pub bytes: i64,
}

impl Bucket {
    /// Makes a bucket.
    pub async fn create(
        cloud: &Cloud,
        region: &'static str,
        name: String,
        versioned: bool,
    ) -> Self {
        let bucket = Self::make(cloud, region, name, false).await;
        if versioned {
            let enabled = VersioningConfiguration::builder()
                .status(BucketVersioningStatus::Enabled)
                .build();
            bucket
                .client
                .put_bucket_versioning()
                .bucket(&bucket.name)
                .versioning_configuration(enabled)
                .send()
                .await
                .expect("a versioned bucket");
        }
        bucket
    }

    /// Makes a bucket with Object Lock, which has versions.
    pub async fn create_lockable(cloud: &Cloud, region: &'static str, name: String) -> Self {
        Self::make(cloud, region, name, true).await
    }

    async fn make(cloud: &Cloud, region: &'static str, name: String, lockable: bool) -> Self {
        let client = cloud.s3(region);
        // S3's rule: a request for this region names no region.
        let place = (region != "us-east-1").then(|| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(region))
                .build()
        });
        let made = client.create_bucket().bucket(&name);
        made.set_create_bucket_configuration(place)
            .set_object_lock_enabled_for_bucket(lockable.then_some(true))
            .send()
            .await
            .expect("a bucket");
        Self {
            client,
            name,
            region,
        }
    }

    /// Writes a plain object. Returns its `ETag`, unquoted.
    pub async fn put(&self, key: &str, body: impl Into<Vec<u8>>) -> String {
        self.put_object(key, &Object::of(body)).await
    }

    /// Writes an object in one request. Returns its `ETag`, unquoted.
    pub async fn put_object(&self, key: &str, object: &Object) -> String {
        let answer = self
            .client
            .put_object()
            .bucket(&self.name)
            .key(key)
            .body(ByteStream::from(object.body.clone()))
            .set_content_type(object.content_type.clone())
            .set_content_encoding(object.content_encoding.clone())
            .set_content_language(object.content_language.clone())
            .set_content_disposition(object.content_disposition.clone())
            .set_cache_control(object.cache_control.clone())
            .set_metadata(Some(object.metadata.clone().into_iter().collect()))
            .set_tagging(tagging(&object.tags))
            .set_storage_class(object.storage_class.as_deref().map(StorageClass::from))
            .set_website_redirect_location(object.website_redirect.clone())
            .set_grant_read(object.reader.as_deref().map(by_id))
            .set_grant_full_control(match object.reader {
                Some(_) => Some(by_id(&self.owner().await)),
                None => None,
            })
            .send()
            .await
            .unwrap_or_else(|error| panic!("putting {key:?}: {error:?}"));
        unquoted(answer.e_tag.as_deref())
    }

    /// Writes many plain objects. `body` makes the content of each from its key.
    pub async fn put_all(&self, keys: &[String], body: impl Fn(&str) -> Vec<u8>) {
        let puts = keys.iter().map(|key| self.put(key, body(key)));
        stream::iter(puts).buffer_unordered(AT_ONCE).count().await;
    }

    /// Writes an object in parts of `part_bytes`. Returns its `ETag`, unquoted.
    pub async fn put_in_parts(&self, key: &str, object: &Object, part_bytes: usize) -> String {
        let count = object.body.len().div_ceil(part_bytes).max(1);
        self.put_in_parts_of(key, object, &vec![part_bytes; count])
            .await
    }

    /// Writes an object in parts of these sizes; the last part has the rest. Returns its `ETag`, unquoted.
    pub async fn put_in_parts_of(&self, key: &str, object: &Object, sizes: &[usize]) -> String {
        let written = self.try_put_in_parts_of(key, object, sizes).await;
        written.expect("an object of parts")
    }

    /// Does the same, but returns an error if S3 refuses to complete the upload.
    pub async fn try_put_in_parts_of(
        &self,
        key: &str,
        object: &Object,
        sizes: &[usize],
    ) -> Result<String, SdkError<CompleteMultipartUploadError>> {
        let upload = self
            .client
            .create_multipart_upload()
            .bucket(&self.name)
            .key(key)
            .set_content_type(object.content_type.clone())
            .set_content_encoding(object.content_encoding.clone())
            .set_content_language(object.content_language.clone())
            .set_content_disposition(object.content_disposition.clone())
            .set_cache_control(object.cache_control.clone())
            .set_metadata(Some(object.metadata.clone().into_iter().collect()))
            .set_tagging(tagging(&object.tags))
            .send()
            .await
            .expect("an upload");
        let upload_id = upload.upload_id.expect("an upload's id");
        let mut parts = Vec::new();
        let mut rest = object.body.as_slice();
        for (number, size) in (1..).zip(sizes) {
            let part;
            (part, rest) = rest.split_at((*size).min(rest.len()));
            let sent = self
                .client
                .upload_part()
                .bucket(&self.name)
                .key(key)
                .upload_id(&upload_id)
                .part_number(number)
                .body(ByteStream::from(part.to_vec()))
                .send()
                .await
                .expect("a part");
            let part = CompletedPart::builder().part_number(number);
            parts.push(
                part.set_e_tag(sent.e_tag)
                    .set_checksum_crc32(sent.checksum_crc32)
                    .build(),
            );
        }
        assert!(rest.is_empty(), "{} bytes are in no part", rest.len());
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        let answer = self
            .client
            .complete_multipart_upload()
            .bucket(&self.name)
            .key(key)
            .upload_id(upload_id)
            .multipart_upload(parts)
            .send()
            .await?;
        Ok(unquoted(answer.e_tag.as_deref()))
    }

    /// Deletes an object. In a versioned bucket, hides it.
    pub async fn delete(&self, key: &str) {
        let deletion = self.client.delete_object().bucket(&self.name).key(key);
        deletion
            .send()
            .await
            .unwrap_or_else(|error| panic!("deleting {key:?}: {error:?}"));
    }

    /// Deletes many objects.
    pub async fn delete_all(&self, keys: &[String]) {
        let deletes = keys.iter().map(|key| self.delete(key));
        stream::iter(deletes)
            .buffer_unordered(AT_ONCE)
            .count()
            .await;
    }

    /// The answer to a HEAD of an object; `None` if it does not exist.
    pub async fn head(&self, key: &str) -> Option<HeadObjectOutput> {
        match self
            .client
            .head_object()
            .bucket(&self.name)
            .key(key)
            .send()
            .await
        {
            Ok(head) => Some(head),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(HeadObjectError::is_not_found) =>
            {
                None
            }
            Err(error) => panic!("looking at {key:?}: {error:?}"),
        }
    }

    /// The bytes of an object; `None` if it does not exist.
    pub async fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        match self
            .client
            .get_object()
            .bucket(&self.name)
            .key(key)
            .send()
            .await
        {
            Ok(answer) => Some(answer.body.collect().await.expect("a body").to_vec()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(GetObjectError::is_no_such_key) =>
            {
                None
            }
            Err(error) => panic!("reading {key:?}: {error:?}"),
        }
    }

    /// An object's tags.
    pub async fn tags(&self, key: &str) -> BTreeMap<String, String> {
        let answer = self
            .client
            .get_object_tagging()
            .bucket(&self.name)
            .key(key)
            .send()
            .await;
        let tags = answer.expect("tags").tag_set.into_iter();
        tags.map(|tag| (tag.key, tag.value)).collect()
    }

    /// Replaces an object's tags, and changes nothing else.
    pub async fn set_tags(&self, key: &str, tags: &BTreeMap<String, String>) {
        let set = tags.iter().map(|(name, value)| {
            let pair = Tag::builder().key(name).value(value).build();
            pair.expect("a tag")
        });
        let wanted = Tagging::builder().set_tag_set(Some(set.collect()));
        self.client
            .put_object_tagging()
            .bucket(&self.name)
            .key(key)
            .tagging(wanted.build().expect("tags"))
            .send()
            .await
            .expect("tags are put");
    }

    /// Allows objects of the bucket to have ACLs.
    pub async fn allow_acls(&self) {
        let rule = OwnershipControlsRule::builder()
            .object_ownership(ObjectOwnership::ObjectWriter)
            .build()
            .expect("a rule");
        let controls = OwnershipControls::builder().rules(rule).build();
        self.client
            .put_bucket_ownership_controls()
            .bucket(&self.name)
            .ownership_controls(controls.expect("ownership controls"))
            .send()
            .await
            .expect("ownership controls are put");
    }

    /// The permissions that an object's ACL grants, by grantee, without those of the owner.
    pub async fn grants(&self, key: &str) -> BTreeSet<(String, String)> {
        let answer = self
            .client
            .get_object_acl()
            .bucket(&self.name)
            .key(key)
            .send()
            .await
            .expect("an ACL");
        let owner = answer.owner().and_then(|owner| owner.id());
        let granted = answer.grants().iter().filter_map(|grant| {
            let grantee = grant.grantee()?.id()?;
            Some((grantee.to_owned(), grant.permission()?.as_str().to_owned()))
        });
        granted
            .filter(|(grantee, _)| Some(grantee.as_str()) != owner)
            .collect()
    }

    /// Removes all that an object's ACL grants to others than the owner.
    pub async fn revoke_grants(&self, key: &str) {
        let put = self.client.put_object_acl().bucket(&self.name).key(key);
        put.acl(ObjectCannedAcl::Private)
            .send()
            .await
            .expect("an ACL is put");
    }

    /// The bucket owner's canonical id.
    async fn owner(&self) -> String {
        let answer = self.client.list_buckets().send().await.expect("an answer");
        let owner = answer.owner.and_then(|owner| owner.id);
        owner.expect("an owner")
    }

    /// Sets or removes an object's legal hold.
    pub async fn set_legal_hold(&self, key: &str, on: bool) {
        let hold = ObjectLockLegalHold::builder().status(if on {
            ObjectLockLegalHoldStatus::On
        } else {
            ObjectLockLegalHoldStatus::Off
        });
        let put = self.client.put_object_legal_hold();
        put.bucket(&self.name)
            .key(key)
            .legal_hold(hold.build())
            .send()
            .await
            .expect("a legal hold is put");
    }

    /// Every object whose key begins with `prefix`.
    pub async fn list(&self, prefix: &str) -> BTreeMap<String, Listed> {
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(&self.name)
            .set_prefix((!prefix.is_empty()).then(|| prefix.to_owned()))
            .encoding_type(EncodingType::Url)
            .into_paginator()
            .send();
        let mut listed = BTreeMap::new();
        while let Some(page) = pages.next().await {
            for object in page.expect("a listing").contents() {
                let escaped = object.key().unwrap_or_default().replace('+', " ");
                let key = percent_decode_str(&escaped)
                    .decode_utf8()
                    .expect("UTF-8")
                    .into_owned();
                let found = Listed {
                    etag: unquoted(object.e_tag()),
                    bytes: object.size().unwrap_or_default(),
                };
                listed.insert(key, found);
            }
        }
        listed
    }

    /// Reads the HEAD and the tags of many objects.
    pub async fn looks(
        &self,
        keys: Vec<String>,
    ) -> BTreeMap<String, Option<(HeadObjectOutput, BTreeMap<String, String>)>> {
        let looks = keys.into_iter().map(|key| async move {
            let Some(head) = self.head(&key).await else {
                return (key, None);
            };
            // Not every server counts an object's tags in a HEAD.
            let tags = self.tags(&key).await;
            (key, Some((head, tags)))
        });
        stream::iter(looks)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await
    }

    /// Gives an object one tag with this value, or none if it is empty. Returns whether the object exists.
    pub async fn retag(&self, key: &str, value: &str) -> bool {
        let tag = Tag::builder().key("tag").value(value).build();
        let tags = (!value.is_empty()).then(|| vec![tag.expect("a tag")]);
        let tagging = Tagging::builder().set_tag_set(Some(tags.unwrap_or_default()));
        let put = self.client.put_object_tagging().bucket(&self.name).key(key);
        let put = put.tagging(tagging.build().expect("tags")).send().await;
        match put {
            Ok(_) => true,
            Err(error) if error.code() == Some("NoSuchKey") => false,
            Err(error) => panic!("tagging {key:?}: {error:?}"),
        }
    }

    /// The ids of the multipart uploads in progress.
    pub async fn uploads(&self) -> Vec<String> {
        let answer = self
            .client
            .list_multipart_uploads()
            .bucket(&self.name)
            .send()
            .await;
        let uploads = answer.expect("uploads").uploads.unwrap_or_default();
        let ids = uploads.into_iter().filter_map(|upload| upload.upload_id);
        ids.collect()
    }

    /// The bucket's notification configuration.
    pub async fn notifications(&self) -> GetBucketNotificationConfigurationOutput {
        let answer = self
            .client
            .get_bucket_notification_configuration()
            .bucket(&self.name);
        answer.send().await.expect("a notification configuration")
    }

    /// Deletes the bucket, which has to be empty.
    pub async fn delete_bucket(&self) {
        let deleted = self.client.delete_bucket().bucket(&self.name).send().await;
        deleted.expect("the bucket is deleted");
    }

    /// Replaces the notification configuration without validation, so that destinations need not exist.
    pub async fn set_notifications_untried(&self, configuration: NotificationConfiguration) {
        self.client
            .put_bucket_notification_configuration()
            .bucket(&self.name)
            .notification_configuration(configuration)
            .skip_destination_validation(true)
            .send()
            .await
            .expect("a notification configuration without validation");
    }

    /// Replaces the bucket's notification configuration.
    pub async fn set_notifications(&self, configuration: NotificationConfiguration) {
        self.client
            .put_bucket_notification_configuration()
            .bucket(&self.name)
            .notification_configuration(configuration)
            .send()
            .await
            .expect("a notification configuration is put");
    }
}

/// A grantee in the format of the header.
fn by_id(canonical_id: &str) -> String {
    format!("id=\"{canonical_id}\"")
}

/// Tags in the format of the header.
fn tagging(tags: &BTreeMap<String, String>) -> Option<String> {
    let escaped = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let pairs: Vec<String> = tags
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
        .collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

fn unquoted(etag: Option<&str>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}
