//! Reads the records of a list in S3, or of a part of it, as a stream.

use tandem_aws::s3::job_files::{Body, Place};
use tandem_aws::{Aws, AwsError};
use tandem_replication::key_list::{ListReader, Read, Record, Refused, Start};
use tandem_replication::names::{BucketName, Region};
use tandem_replication::s3_uri::S3Uri;
use tandem_replication::shard_session::SessionError;
use tandem_replication::shard_state::ManifestPart;

/// Up to this byte, an error message gives the number of a line. Counting lines reads the list from its beginning,
/// which has to be possible within an invocation.
const COUNTED_BYTES_MAX: u64 = 1 << 30;

/// The records of a part of a list, one after the other.
pub(crate) struct Lines {
    place: Place,
    part: ManifestPart,
    body: Body,
    reader: ListReader,
    /// Where the next record begins: a byte, or in a compressed list a number of records.
    at: u64,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines")
            .field("part", &self.part)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Lines {
    /// Opens the records of `part` from `at` on.
    pub(crate) async fn open(
        aws: &Aws,
        part: &ManifestPart,
        at: u64,
    ) -> Result<Self, SessionError<AwsError>> {
        let bucket = BucketName::parse(&part.bucket)
            .map_err(|error| AwsError::unexpected(reading(part), error))?;
        let uri = S3Uri {
            bucket,
            key: part.key.clone(),
        };
        let place = Place::of(aws, uri, Region::new(part.region.clone()));
        let start = start(part, at);
        let from = match start {
            Start::LineAt(from) => from,
            // The byte before shows whether a line begins at this one.
            Start::AfterByte(after) => after - 1,
        };
        let until = part.until.filter(|_| !part.gzip);
        let body = place.read_until(&part.etag, from, until).await;
        let body = body.map_err(unread)?;
        let mut lines = Self {
            reader: ListReader::new(&part.layout, part.gzip, start),
            part: part.clone(),
            place,
            body,
            at: if part.gzip { 0 } else { from },
        };
        while part.gzip && lines.at < at && lines.read().await?.is_some() {}
        Ok(lines)
    }

    /// Returns where the next record begins: a byte of the list, or in a compressed list a number of records.
    pub(crate) const fn at(&self) -> u64 {
        self.at
    }

    /// Returns the part of the list that is read.
    pub(crate) const fn part(&self) -> &ManifestPart {
        &self.part
    }

    /// Returns the next record, or `None` at the end of the part.
    pub(crate) async fn read(&mut self) -> Result<Option<Record>, SessionError<AwsError>> {
        let until = self.part.until.filter(|_| !self.part.gzip);
        let is_beyond = |at: u64| until.is_some_and(|until| at >= until);
        if is_beyond(self.reader.at()) {
            return Ok(None);
        }
        loop {
            match self.reader.read() {
                Ok(Read::Record(record)) if is_beyond(record.at) => return Ok(None),
                Ok(Read::Record(record)) => {
                    self.at = if self.part.gzip {
                        self.at + 1
                    } else {
                        self.reader.at()
                    };
                    return Ok(Some(record));
                }
                Ok(Read::End) if until.is_some() && !is_beyond(self.reader.at()) => {
                    let problem = "S3's answer ended before the end of the part";
                    return Err(AwsError::unexpected(reading(&self.part), problem).into());
                }
                Ok(Read::End) => return Ok(None),
                Ok(Read::NeedsMore) => match self.body.next().await.map_err(unread)? {
                    Some(bytes) => self.reader.feed(&bytes),
                    None => self.reader.end(),
                },
                Err(refused) => return Err(self.refusal(refused).await?),
            }
        }
    }

    /// Converts a refusal into an error. It is final, because another attempt would read the same list.
    pub(crate) async fn refusal(
        &self,
        refused: Refused,
    ) -> Result<SessionError<AwsError>, AwsError> {
        let first = self.reader.first_line_at();
        let said = if first > COUNTED_BYTES_MAX {
            format!("invalid list: counted from byte {first}, {refused}")
        } else {
            let lines = self.lines_before(first).await?;
            format!("invalid list: {}", refused.after_lines(lines))
        };
        Ok(SessionError::Final(AwsError::unexpected(
            reading(&self.part),
            said,
        )))
    }

    /// Counts the line breaks before a byte of the list, so that an error message can give the number of the line.
    async fn lines_before(&self, byte: u64) -> Result<u64, AwsError> {
        let mut left = usize::try_from(byte).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(0);
        }
        let mut body = self.place.read(&self.part.etag, 0).await?;
        let mut lines = 0;
        while left > 0
            && let Some(bytes) = body.next().await?
        {
            let before = bytes.get(..left.min(bytes.len())).unwrap_or_default();
            lines += before.split(|byte| *byte == b'\n').skip(1).count() as u64;
            left -= before.len();
        }
        Ok(lines)
    }
}

/// Returns where reading starts. A part begins with the first line that begins in it. A checkpoint is always at the
/// beginning of a record.
fn start(part: &ManifestPart, at: u64) -> Start {
    if part.gzip {
        Start::LineAt(0)
    } else if at == part.from && at > 0 {
        Start::AfterByte(at)
    } else {
        Start::LineAt(at)
    }
}

/// Converts a failed read into an error. It is final if the list was deleted or replaced.
fn unread(mut error: AwsError) -> SessionError<AwsError> {
    match error.status {
        // Source: S3 API reference, "GetObject": 404 for an object that does not exist, 412 for another `ETag`.
        Some(404 | 412) => {
            error.said += ": the list was deleted or replaced after the job began; start a new job";
            SessionError::Final(error)
        }
        _ => SessionError::Failed(error),
    }
}

fn reading(part: &ManifestPart) -> String {
    format!("reading s3://{}/{}", part.bucket, part.key)
}
