//! The lines of a list in S3, or of a part of it, read as they come.

use async_compression::tokio::bufread::GzipDecoder;
use tandem_aws::places::Place;
use tandem_aws::{Aws, AwsError};
use tandem_replication::names::{BucketName, Region};
use tandem_replication::s3_uri::S3Uri;
use tandem_replication::shard_state::ManifestPart;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};

/// A line that is longer is none: a bucket's name, a key of 1,024 bytes encoded, and some columns.
const LINE_BYTES_MAX: u64 = 16 << 10;

/// The lines of a part of a list, one after the other.
pub(crate) struct Lines {
    reader: Box<dyn AsyncBufRead + Send + Sync + Unpin>,
    gzip: bool,
    until: Option<u64>,
    /// Where the next line begins: a byte, or a line's number.
    at: u64,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Lines {
    /// The lines of `part` from `at` on.
    pub(crate) async fn open(aws: &Aws, part: &ManifestPart, at: u64) -> Result<Self, AwsError> {
        let doing = format!("reading s3://{}/{}", part.bucket, part.key);
        let unexpected = |error: String| AwsError::unexpected(doing.clone(), error);
        let bucket =
            BucketName::parse(&part.bucket).map_err(|error| unexpected(error.to_string()))?;
        let uri = S3Uri {
            bucket,
            key: part.key.clone(),
        };
        let place = Place::of(aws, uri, Region::new(part.region.clone()));
        // A part begins with the first line that begins in it: the byte before tells whether one does.
        let is_first_byte = at == part.from && at > 0 && !part.gzip;
        let from = match (part.gzip, is_first_byte) {
            (true, _) => 0,
            (false, true) => at - 1,
            (false, false) => at,
        };
        let body = place.read(&part.etag, from).await?.into_async_read();
        let reader: Box<dyn AsyncBufRead + Send + Sync + Unpin> = if part.gzip {
            Box::new(BufReader::new(GzipDecoder::new(BufReader::new(body))))
        } else {
            Box::new(BufReader::new(body))
        };
        let mut lines = Self {
            reader,
            gzip: part.gzip,
            until: part.until,
            at: if part.gzip { 0 } else { from },
        };
        let failed = |error: std::io::Error| unexpected(error.to_string());
        if is_first_byte {
            lines.read().await.map_err(failed)?;
        }
        while part.gzip && lines.at < at && lines.read().await.map_err(failed)?.is_some() {}
        Ok(lines)
    }

    /// Where the next line begins: a byte of the list, or a line's number in a compressed one.
    pub(crate) const fn at(&self) -> u64 {
        self.at
    }

    /// The next line; `None` at the end of the part.
    pub(crate) async fn read(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        if self.until.is_some_and(|until| self.at >= until) {
            return Ok(None);
        }
        let mut line = Vec::new();
        let mut limited = (&mut self.reader).take(LINE_BYTES_MAX);
        let bytes = limited.read_until(b'\n', &mut line).await? as u64;
        if bytes == 0 {
            return Ok(None);
        }
        if bytes == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            let problem =
                format!("a line has more than {LINE_BYTES_MAX} bytes: this is no list of keys");
            return Err(std::io::Error::other(problem));
        }
        self.at += if self.gzip { 1 } else { bytes };
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line of `text` is read in exactly one of its parts.
    #[tokio::test]
    async fn parts_share_the_lines_out() {
        let text = b"one\ntwo\nthree\nfour";
        for cut in 0..text.len() as u64 {
            let mut seen = Vec::new();
            for (from, until) in [(0, Some(cut)), (cut, Some(text.len() as u64))] {
                let begins = if from > 0 { from - 1 } else { 0 };
                let rest = &text[usize::try_from(begins).unwrap()..];
                let mut lines = Lines {
                    reader: Box::new(rest),
                    gzip: false,
                    until,
                    at: begins,
                };
                if from > 0 {
                    lines.read().await.unwrap();
                }
                while let Some(line) = lines.read().await.unwrap() {
                    seen.push(String::from_utf8(line).unwrap().trim_end().to_owned());
                }
            }
            assert_eq!(seen, ["one", "two", "three", "four"], "cut at {cut}");
        }
    }
}
