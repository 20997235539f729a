//! The few requests to the local cloud's S3 and CloudWatch that the demo needs. I/O: both.
//!
//! This module does not use the environment: region and credentials are the demo's own dummies.
//! `endpoint.rs` has checked that the address is this machine's.

use std::collections::BTreeMap;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CompletedMultipartUpload, CompletedPart,
    CreateBucketConfiguration, MetadataDirective, VersioningConfiguration,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::console::shown;
use crate::endpoint::LocalEndpoint;
use crate::error::Error;
use crate::object::{Headers, Object};

/// The region of the stack and the source buckets.
pub const SOURCE_REGION: &str = "us-east-1";
/// The region of the destination.
pub const DESTINATION_REGION: &str = "us-west-2";

/// The access key and the secret key that a local cloud accepts.
pub const ACCESS_KEY: &str = "test";

/// Everything except S3's unreserved characters and the slash.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

fn credentials() -> Credentials {
    Credentials::new(ACCESS_KEY, ACCESS_KEY, None, None, "the demo's dummies")
}

/// Returns a client for the metrics of the stack.
pub fn cloudwatch(endpoint: &LocalEndpoint) -> aws_sdk_cloudwatch::Client {
    let config = aws_sdk_cloudwatch::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(SOURCE_REGION))
        .credentials_provider(credentials())
        .endpoint_url(endpoint.url())
        .build();
    aws_sdk_cloudwatch::Client::from_conf(config)
}

/// A bucket, through a client of its own region.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// The client.
    pub client: Client,
    /// The bucket's name.
    pub name: String,
    region: String,
}

impl Bucket {
    /// A bucket of the local cloud. Sends no request yet.
    pub fn new(endpoint: &LocalEndpoint, region: &'static str, name: &str) -> Self {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .credentials_provider(credentials())
            .endpoint_url(endpoint.url())
            .force_path_style(true)
            .build();
        Self {
            client: Client::from_conf(config),
            name: name.to_owned(),
            region: region.to_owned(),
        }
    }

    /// A bucket of the client's region.
    pub fn with_client(client: Client, region: &str, name: String) -> Self {
        Self {
            client,
            name,
            region: region.to_owned(),
        }
    }

    /// The bucket's region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Creates the bucket.
    pub async fn create(&self) -> Result<(), Error> {
        // S3 requires that a request does not name this region.
        let place = (self.region != "us-east-1").then(|| {
            CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::from(self.region.as_str()))
                .build()
        });
        self.client
            .create_bucket()
            .bucket(&self.name)
            .set_create_bucket_configuration(place)
            .send()
            .await
            .map_err(|error| Error::aws(format!("creating the bucket {}", self.name), &error))?;
        Ok(())
    }

    /// Turns on versioning for the bucket.
    pub async fn keep_versions(&self) -> Result<(), Error> {
        let enabled = VersioningConfiguration::builder()
            .status(BucketVersioningStatus::Enabled)
            .build();
        self.client
            .put_bucket_versioning()
            .bucket(&self.name)
            .versioning_configuration(enabled)
            .send()
            .await
            .map_err(|error| Error::aws(format!("versioning {}", self.name), &error))?;
        Ok(())
    }

    /// Writes an object by one request, and returns its `ETag`.
    pub async fn put(&self, key: &str, object: &Object) -> Result<String, Error> {
        let Headers {
            content_type,
            cache_control,
            content_disposition,
            content_encoding,
            content_language,
        } = object.headers.clone();
        let answer = self
            .client
            .put_object()
            .bucket(&self.name)
            .key(key)
            .body(ByteStream::from(object.body.clone()))
            .set_content_type(content_type)
            .set_cache_control(cache_control)
            .set_content_disposition(content_disposition)
            .set_content_encoding(content_encoding)
            .set_content_language(content_language)
            .set_metadata(Some(object.metadata.clone().into_iter().collect()))
            .set_tagging(tagging(&object.tags))
            .send()
            .await
            .map_err(|error| self.error("putting", key, &error))?;
        Ok(answer.e_tag.unwrap_or_default())
    }

    /// Writes an object in parts of `part_bytes`.
    pub async fn put_in_parts(
        &self,
        key: &str,
        object: &Object,
        part_bytes: usize,
    ) -> Result<(), Error> {
        let upload = self
            .client
            .create_multipart_upload()
            .bucket(&self.name)
            .key(key)
            .set_content_type(object.headers.content_type.clone())
            .set_metadata(Some(object.metadata.clone().into_iter().collect()))
            .send()
            .await
            .map_err(|error| self.error("beginning the upload of", key, &error))?;
        let id = upload.upload_id.unwrap_or_default();
        let mut parts = Vec::new();
        for (number, part) in (1..).zip(object.body.chunks(part_bytes)) {
            let body = ByteStream::from(part.to_vec());
            parts.push(self.upload_part(key, &id, number, body).await?);
        }
        self.complete(key, &id, parts).await
    }

    /// Sends one part of an upload.
    pub async fn upload_part(
        &self,
        key: &str,
        upload_id: &str,
        number: i32,
        body: ByteStream,
    ) -> Result<CompletedPart, Error> {
        let answer = self
            .client
            .upload_part()
            .bucket(&self.name)
            .key(key)
            .upload_id(upload_id)
            .part_number(number)
            .body(body)
            .send()
            .await
            .map_err(|error| self.error("uploading a part of", key, &error))?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(answer.e_tag)
            .set_checksum_crc32(answer.checksum_crc32)
            .build())
    }

    /// Completes an upload.
    pub async fn complete(
        &self,
        key: &str,
        upload_id: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<(), Error> {
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        self.client
            .complete_multipart_upload()
            .bucket(&self.name)
            .key(key)
            .upload_id(upload_id)
            .multipart_upload(parts)
            .send()
            .await
            .map_err(|error| self.error("completing the upload of", key, &error))?;
        Ok(())
    }

    /// Gives an object other headers and metadata without sending its bytes.
    pub async fn replace_metadata(&self, key: &str, object: &Object) -> Result<(), Error> {
        let Headers {
            content_type,
            cache_control,
            content_disposition,
            content_encoding,
            content_language,
        } = object.headers.clone();
        self.client
            .copy_object()
            .copy_source(self.copy_source(key))
            .bucket(&self.name)
            .key(key)
            .metadata_directive(MetadataDirective::Replace)
            .set_content_type(content_type)
            .set_cache_control(cache_control)
            .set_content_disposition(content_disposition)
            .set_content_encoding(content_encoding)
            .set_content_language(content_language)
            .set_metadata(Some(object.metadata.clone().into_iter().collect()))
            .send()
            .await
            .map_err(|error| self.error("changing the metadata of", key, &error))?;
        Ok(())
    }

    /// Returns an object's name in the format of the header `x-amz-copy-source`.
    pub fn copy_source(&self, key: &str) -> String {
        format!("{}/{}", self.name, utf8_percent_encode(key, ESCAPED))
    }

    /// Deletes an object.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        self.client
            .delete_object()
            .bucket(&self.name)
            .key(key)
            .send()
            .await
            .map_err(|error| self.error("deleting", key, &error))?;
        Ok(())
    }

    /// Returns an object's headers and metadata; `None` if there is no such object.
    pub async fn head(&self, key: &str) -> Result<Option<HeadObjectOutput>, Error> {
        let answer = self
            .client
            .head_object()
            .bucket(&self.name)
            .key(key)
            .send()
            .await;
        match answer {
            Ok(head) => Ok(Some(head)),
            Err(SdkError::ServiceError(answer)) if answer.err().is_not_found() => Ok(None),
            Err(error) => Err(self.error("reading the headers of", key, &error)),
        }
    }

    /// Reads an object with its headers, metadata and tags; `None` if there is no such object.
    pub async fn get(&self, key: &str) -> Result<Option<Object>, Error> {
        let Some((body, mut object)) = self.open(key).await? else {
            return Ok(None);
        };
        let body = body
            .collect()
            .await
            .map_err(|error| self.broken(key, &error))?;
        object.body = body.to_vec();
        Ok(Some(object))
    }

    /// Starts to read an object. Returns a stream of its bytes, and the object without its bytes.
    pub async fn open(&self, key: &str) -> Result<Option<(ByteStream, Object)>, Error> {
        let answer = self
            .client
            .get_object()
            .bucket(&self.name)
            .key(key)
            .send()
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(SdkError::ServiceError(answer)) if answer.err().is_no_such_key() => {
                return Ok(None);
            }
            Err(error) => return Err(self.error("reading", key, &error)),
        };
        let object = Object {
            body: Vec::new(),
            headers: Headers {
                content_type: answer.content_type,
                cache_control: answer.cache_control,
                content_disposition: answer.content_disposition,
                content_encoding: answer.content_encoding,
                content_language: answer.content_language,
            },
            metadata: answer.metadata.unwrap_or_default().into_iter().collect(),
            tags: self.tags(key).await?,
        };
        Ok(Some((answer.body, object)))
    }

    /// Returns the error for an answer that broke off.
    pub fn broken(&self, key: &str, error: &dyn std::error::Error) -> Error {
        Error::Aws {
            doing: format!("reading {}/{}", self.name, shown(key)),
            cause: error.to_string(),
        }
    }

    async fn tags(&self, key: &str) -> Result<BTreeMap<String, String>, Error> {
        let answer = self
            .client
            .get_object_tagging()
            .bucket(&self.name)
            .key(key)
            .send()
            .await
            .map_err(|error| self.error("reading the tags of", key, &error))?;
        let tags = answer.tag_set.into_iter();
        Ok(tags.map(|tag| (tag.key, tag.value)).collect())
    }

    /// Returns the error of a request for one object.
    pub fn error<E, R>(&self, doing: &str, key: &str, error: &SdkError<E, R>) -> Error
    where
        E: std::error::Error + aws_sdk_s3::error::ProvideErrorMetadata + 'static,
        R: std::fmt::Debug,
    {
        Error::aws(format!("{doing} {}/{}", self.name, shown(key)), error)
    }
}

/// Returns tags in the format of their header.
fn tagging(tags: &BTreeMap<String, String>) -> Option<String> {
    let escaped = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let pairs: Vec<String> = tags
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
        .collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_escaped_for_their_header() {
        let object = Object::default().dressed("x y");
        assert_eq!(
            tagging(&object.tags).unwrap(),
            "a%2Bb=c%3Dd%3Ae%2Ff%40g&written%20by=x%20y"
        );
        assert_eq!(tagging(&BTreeMap::new()), None);
    }
}
