//! Objects in S3 that a job is told of besides its rule's buckets: the list of its keys, and its report.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use tandem_replication::names::Region;
use tandem_replication::s3_uri::S3Uri;

use crate::bucket_lookup::region_of;
use crate::error::Refused;
use crate::{Aws, AwsError};
use tandem_raw_head::head;

/// A place in a bucket of this account.
#[derive(Debug, Clone)]
pub struct Place {
    client: Client,
    owner: String,
    uri: S3Uri,
    region: Region,
}

/// What a HEAD shows of an object there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its `ETag`, unquoted.
    pub etag: String,
    /// Its size.
    pub bytes: u64,
}

/// The bytes of an object, as they come.
#[derive(Debug)]
pub struct Body {
    stream: ByteStream,
    doing: String,
}

impl Body {
    /// The next bytes; `None` at the end. An error says that the connection failed: another read may succeed.
    pub async fn next(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, AwsError> {
        let next = self.stream.next().await.transpose();
        next.map_err(|error| AwsError::unexpected(self.doing.as_str(), error))
    }

    /// All bytes.
    pub async fn all(mut self) -> Result<Vec<u8>, AwsError> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(bytes.as_ref());
        }
        Ok(all)
    }
}

impl Place {
    /// The place, if its bucket can be found.
    pub async fn find(aws: &Aws, uri: &S3Uri) -> Result<Option<Self>, AwsError> {
        let region = region_of(aws, &uri.bucket).await?;
        Ok(region.map(|region| Self::of(aws, uri.clone(), region)))
    }

    /// The place in a bucket of this region.
    pub fn of(aws: &Aws, uri: S3Uri, region: Region) -> Self {
        Self {
            client: aws.s3(&region),
            owner: aws.account_id().to_owned(),
            uri,
            region,
        }
    }

    /// The region of its bucket.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Its bucket and key.
    pub fn uri(&self) -> &S3Uri {
        &self.uri
    }

    /// What is there; `None` if there is no such object.
    pub async fn head(&self) -> Result<Option<Found>, AwsError> {
        let request = self
            .client
            .head_object()
            .bucket(self.uri.bucket.as_str())
            .key(&self.uri.key)
            .expected_bucket_owner(&self.owner);
        match head(request).await {
            Ok(head) => {
                let found = head.etag().and_then(|etag| {
                    Ok(Found {
                        etag: etag.as_str().to_owned(),
                        bytes: head.bytes()?,
                    })
                });
                let unreadable = |error| AwsError::unexpected(self.doing("looking at"), error);
                found.map(Some).map_err(unreadable)
            }
            Err(error) if Refused::of(&error).status == Some(404) => Ok(None),
            Err(error) => Err(AwsError::request(self.doing("looking at"), &error)),
        }
    }

    /// The object's bytes from `from` on; refused if it is not the one of this `ETag` any more.
    pub async fn read(&self, etag: &str, from: u64) -> Result<Body, AwsError> {
        let range = (from > 0).then(|| format!("bytes={from}-"));
        self.get(etag, range).await
    }

    /// The object's first bytes, at most so many; refused if it is not the one of this `ETag` any more. The object
    /// must not be empty: S3 refuses any range of an empty object.
    pub async fn read_head(&self, etag: &str, bytes_max: u64) -> Result<Vec<u8>, AwsError> {
        let range = format!("bytes=0-{}", bytes_max.saturating_sub(1));
        self.get(etag, Some(range)).await?.all().await
    }

    async fn get(&self, etag: &str, range: Option<String>) -> Result<Body, AwsError> {
        let answer = self
            .client
            .get_object()
            .bucket(self.uri.bucket.as_str())
            .key(&self.uri.key)
            .if_match(format!("\"{etag}\""))
            .set_range(range)
            .expected_bucket_owner(&self.owner)
            .send()
            .await
            .map_err(|error| AwsError::request(self.doing("reading"), &error))?;
        Ok(Body {
            stream: answer.body,
            doing: self.doing("reading"),
        })
    }

    /// Writes an object of this name within the place.
    pub async fn write(&self, name: &str, body: Vec<u8>) -> Result<(), AwsError> {
        self.client
            .put_object()
            .bucket(self.uri.bucket.as_str())
            .key(self.uri.within(name))
            .body(ByteStream::from(body))
            .expected_bucket_owner(&self.owner)
            .send()
            .await
            .map_err(|error| AwsError::request(self.doing("writing to"), &error))?;
        Ok(())
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} s3://{}/{}", self.uri.bucket, self.uri.key)
    }
}
