//! Writes a report to a temporary file, and publishes it only when it is complete, so that no
//! half-written report remains. I/O: a temporary file; S3.

use std::io::{self, BufWriter};
use std::path::Path;

use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use tempfile::NamedTempFile;

use super::{Place, Report};
use crate::client::Client;
use crate::compare::Verdict;
use crate::contract::Policy;
use crate::error::Error;
use crate::terminal;

/// Larger reports are uploaded in parts of this size; S3 accepts 10,000 of them.
const PART_BYTES: u64 = 16 << 20;

/// A report that is being written. If it is dropped early, nothing remains.
pub struct Draft {
    report: Report<BufWriter<NamedTempFile>>,
    place: Place,
}

impl Draft {
    /// Opens the report before the comparison, so that a place that cannot be written is refused at once.
    pub fn begin(place: &Place, policy: Policy) -> Result<Self, Error> {
        let (spool, format) = match place {
            Place::File { path, format } => (beside(path), *format),
            Place::Object { format, .. } => (NamedTempFile::new(), *format),
            Place::Prefix(_) => {
                let problem = "only a job writes a report under a prefix";
                return Err(Error::Usage(problem.to_owned()));
            }
        };
        let report = spool
            .and_then(|spool| Report::new(BufWriter::new(spool), format, policy))
            .map_err(|error| failed(place, error))?;
        Ok(Self {
            report,
            place: place.clone(),
        })
    }

    pub fn add(&mut self, verdict: &Verdict) -> Result<(), Error> {
        let added = self.report.add(verdict);
        added.map_err(|error| failed(&self.place, error))
    }

    /// Moves the report to its place.
    pub async fn publish(self, client: &Client) -> Result<(), Error> {
        let place = self.place;
        let spool = self.report.finish().and_then(|writer| {
            let spool = writer
                .into_inner()
                .map_err(io::IntoInnerError::into_error)?;
            spool.as_file().sync_all()?;
            Ok(spool)
        });
        let spool = spool.map_err(|error| failed(&place, error))?;
        match &place {
            Place::File { path, .. } => {
                let kept = spool.persist(path);
                kept.map_err(|error| failed(&place, error.error))?;
            }
            Place::Object { bucket, key, .. } => {
                upload(client, bucket, key, spool.path(), &place).await?;
            }
            Place::Prefix(_) => {}
        }
        Ok(())
    }
}

/// Makes a temporary file in the report's folder, so that one rename publishes it.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    tempfile::Builder::new()
        .prefix(".tandem-report-")
        .tempfile_in(folder.unwrap_or(Path::new(".")))
}

fn failed(place: &Place, error: io::Error) -> Error {
    Error::Report {
        to: place.to_string(),
        error,
    }
}

async fn upload(
    client: &Client,
    bucket: &str,
    key: &str,
    spool: &Path,
    place: &Place,
) -> Result<(), Error> {
    let bytes = spool
        .metadata()
        .map_err(|error| failed(place, error))?
        .len();
    let upload = Upload {
        s3: client.s3(&client.bucket_region(bucket).await?),
        bucket,
        key,
        spool,
        doing: format!("writing the report {place}"),
    };
    if bytes <= PART_BYTES {
        return terminal::until_interrupted(upload.whole()).await;
    }
    let id = upload.begin().await?;
    let done = terminal::until_interrupted(upload.in_parts(&id, bytes)).await;
    if done.is_err() {
        upload.abort(&id).await;
    }
    done
}

struct Upload<'a> {
    s3: aws_sdk_s3::Client,
    bucket: &'a str,
    key: &'a str,
    spool: &'a Path,
    doing: String,
}

impl Upload<'_> {
    async fn whole(&self) -> Result<(), Error> {
        let put = self.s3.put_object().bucket(self.bucket).key(self.key);
        let body = self.range(0, None).await?;
        let put = put.body(body).send().await;
        put.map_err(|error| Error::aws(&self.doing, &error))?;
        Ok(())
    }

    async fn begin(&self) -> Result<String, Error> {
        let begun = self.s3.create_multipart_upload();
        let begun = begun.bucket(self.bucket).key(self.key).send().await;
        let begun = begun.map_err(|error| Error::aws(&self.doing, &error))?;
        begun
            .upload_id
            .ok_or_else(|| self.unexpected("no upload id"))
    }

    async fn in_parts(&self, id: &str, bytes: u64) -> Result<(), Error> {
        let mut parts = CompletedMultipartUpload::builder();
        let offsets = (0..bytes).step_by(usize::try_from(PART_BYTES).unwrap_or(usize::MAX));
        for (number, offset) in (1..).zip(offsets) {
            let length = PART_BYTES.min(bytes - offset);
            let part = self
                .s3
                .upload_part()
                .bucket(self.bucket)
                .key(self.key)
                .upload_id(id)
                .part_number(number)
                .body(self.range(offset, Some(length)).await?)
                .send()
                .await
                .map_err(|error| Error::aws(&self.doing, &error))?;
            let etag = part
                .e_tag
                .ok_or_else(|| self.unexpected("a part without an ETag"))?;
            let part = CompletedPart::builder().part_number(number).e_tag(etag);
            parts = parts.parts(part.build());
        }
        let complete = self.s3.complete_multipart_upload();
        let complete = complete.bucket(self.bucket).key(self.key).upload_id(id);
        let complete = complete.multipart_upload(parts.build()).send().await;
        complete.map_err(|error| Error::aws(&self.doing, &error))?;
        Ok(())
    }

    async fn abort(&self, id: &str) {
        let abort = self.s3.abort_multipart_upload();
        let abort = abort.bucket(self.bucket).key(self.key).upload_id(id);
        if abort.send().await.is_err() {
            terminal::note(format!(
                "The upload of s3://{}/{} could not be aborted; its parts stay until a lifecycle rule \
                 removes them.",
                self.bucket, self.key
            ));
        }
    }

    async fn range(&self, offset: u64, length: Option<u64>) -> Result<ByteStream, Error> {
        let mut part = ByteStream::read_from().path(self.spool).offset(offset);
        if let Some(length) = length {
            part = part.length(Length::Exact(length));
        }
        part.build().await.map_err(|error| Error::Report {
            to: format!("s3://{}/{}", self.bucket, self.key),
            error: io::Error::other(error),
        })
    }

    fn unexpected(&self, detail: &str) -> Error {
        Error::UnexpectedAnswer {
            from: self.doing.clone(),
            detail: detail.to_owned(),
        }
    }
}
