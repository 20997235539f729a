//! Reads and writes a job's files in S3: the list of its keys, and its report.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use tandem_replication::names::Region;
use tandem_replication::s3_uri::S3Uri;

use crate::error::Refused;
use crate::s3::bucket_lookup::region_of;
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

/// What a HEAD shows of an object at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its `ETag`, unquoted.
    pub etag: String,
    /// Its size.
    pub bytes: u64,
}

/// How many bytes of an object are requested at once. S3 resets a connection from which the client does not read for a
/// while, and a caller may need minutes to process what it has read. So no answer stays open between two reads.
const CHUNK_BYTES: u64 = 4 << 20;
/// How many bytes are requested if only the end of a line is needed.
const TAIL_BYTES: u64 = 64 << 10;
/// How often a chunk is requested if its answer is interrupted.
const CHUNK_ATTEMPTS: u32 = 3;

/// The bytes of an object, in chunks. A chunk is requested when it is needed, and read completely at once.
#[derive(Debug)]
pub struct Body {
    place: Place,
    etag: String,
    /// A chunk that was read and not returned yet.
    ready: Option<Chunk>,
    /// Where the next chunk begins.
    at: u64,
    /// Before this position the caller needs most of the bytes.
    until: Option<u64>,
    /// The object's size, once an answer has shown it.
    size: Option<u64>,
}

/// A range of an object's bytes.
#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    /// The object's size.
    size: u64,
}

impl Body {
    /// Returns the next bytes, or `None` at the end. After an error, another read may succeed.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, AwsError> {
        let chunk = match self.ready.take() {
            Some(chunk) => chunk,
            None if self.size.is_some_and(|size| self.at >= size) => return Ok(None),
            None => self.read().await?,
        };
        self.size = Some(chunk.size);
        self.at += chunk.bytes.len() as u64;
        Ok((!chunk.bytes.is_empty()).then_some(chunk.bytes))
    }

    async fn read(&self) -> Result<Chunk, AwsError> {
        let whole = self.at + CHUNK_BYTES;
        let end = match self.until {
            Some(until) if self.at < until => whole.min(until),
            Some(_) => self.at + TAIL_BYTES,
            None => whole,
        };
        self.place.chunk(&self.etag, self.at, end).await
    }

    /// Returns all bytes.
    pub async fn all(mut self) -> Result<Vec<u8>, AwsError> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }
}

impl Place {
    /// Returns the place, if its bucket exists in this account.
    pub async fn find(aws: &Aws, uri: &S3Uri) -> Result<Option<Self>, AwsError> {
        let region = region_of(aws, &uri.bucket).await?;
        Ok(region.map(|region| Self::of(aws, uri.clone(), region)))
    }

    /// Returns the place in a bucket of this region.
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

    /// Returns what a HEAD shows of the object, or `None` if it does not exist.
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
                let unreadable =
                    |error| AwsError::unexpected(self.doing("reading the headers of"), error);
                found.map(Some).map_err(unreadable)
            }
            Err(error) if Refused::of(&error).status == Some(404) => Ok(None),
            Err(error) => Err(AwsError::request(
                self.doing("reading the headers of"),
                error,
            )),
        }
    }

    /// Returns the object's bytes from `from` on, or an error if the object no longer has this `ETag`.
    pub async fn read(&self, etag: &str, from: u64) -> Result<Body, AwsError> {
        self.read_until(etag, from, None).await
    }

    /// Returns the same bytes as [`Self::read`], but reads few of those after `until`.
    pub async fn read_until(
        &self,
        etag: &str,
        from: u64,
        until: Option<u64>,
    ) -> Result<Body, AwsError> {
        let mut body = Body {
            place: self.clone(),
            etag: etag.to_owned(),
            ready: None,
            at: from,
            until,
            size: None,
        };
        body.ready = Some(body.read().await?);
        Ok(body)
    }

    /// Returns at most this many of the object's first bytes, or an error if the object no longer has this `ETag`.
    pub async fn read_head(&self, etag: &str, bytes_max: u64) -> Result<Vec<u8>, AwsError> {
        Ok(self.chunk(etag, 0, bytes_max).await?.bytes)
    }

    /// Returns the bytes from `from` to before `end`, or to the object's end. There are none if it ends before `from`.
    async fn chunk(&self, etag: &str, from: u64, end: u64) -> Result<Chunk, AwsError> {
        let mut attempt = 1;
        loop {
            let request = self
                .client
                .get_object()
                .bucket(self.uri.bucket.as_str())
                .key(&self.uri.key)
                .if_match(format!("\"{etag}\""))
                .range(format!("bytes={from}-{}", end.saturating_sub(1)))
                .expected_bucket_owner(&self.owner);
            let answer = match request.send().await {
                // The range contains no byte of the object. This is also the answer for an empty object.
                Err(error) if Refused::of(&error).status == Some(416) => {
                    return Ok(Chunk {
                        bytes: Vec::new(),
                        size: from,
                    });
                }
                answer => {
                    answer.map_err(|error| AwsError::request(self.doing("reading"), error))?
                }
            };
            let range = answer.content_range().map(str::to_owned);
            match answer.body.collect().await {
                Ok(bytes) => {
                    let bytes = bytes.to_vec();
                    let size = range.as_deref().and_then(size_in).ok_or_else(|| {
                        let problem = "the answer has no valid Content-Range";
                        AwsError::unexpected(self.doing("reading"), problem)
                    })?;
                    return Ok(Chunk { bytes, size });
                }
                Err(error) if attempt == CHUNK_ATTEMPTS => {
                    return Err(AwsError::unexpected(self.doing("reading"), error));
                }
                Err(_) => attempt += 1,
            }
        }
    }

    /// Writes an object with this name below the place.
    pub async fn write(&self, name: &str, body: Vec<u8>) -> Result<(), AwsError> {
        self.client
            .put_object()
            .bucket(self.uri.bucket.as_str())
            .key(self.uri.within(name))
            .body(ByteStream::from(body))
            .expected_bucket_owner(&self.owner)
            .send()
            .await
            .map_err(|error| AwsError::request(self.doing("writing to"), error))?;
        Ok(())
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} s3://{}/{}", self.uri.bucket, self.uri.key)
    }
}

/// Returns the object's size in a `Content-Range`, such as `bytes 0-9/10`.
fn size_in(content_range: &str) -> Option<u64> {
    content_range.rsplit_once('/')?.1.parse().ok()
}
