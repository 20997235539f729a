//! Reads replicas back and compares them with what was written, byte by byte and header by header.
//! Listings show less, and this does not rely on any `ETag`. I/O: reads S3 and the folder.

use std::fs::File;
use std::io::Read;

use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_types::byte_stream::error::Error as ByteStreamError;
use futures::{StreamExt, TryStreamExt, stream};

use crate::cloud::Bucket;
use crate::console::{Meter, shown};
use crate::error::Error;
use crate::expected::Expected;
use crate::object::Object;
use crate::source_tree::SourceFile;
use crate::upload::{MODIFIED, content_type, has_changed};

/// Objects that are read at once.
const OBJECTS_AT_ONCE: usize = 16;
/// The number of files of the folder that are read back, spread over the whole folder.
const FILES_MAX: usize = 300;
/// The most bytes of these files.
const BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// The number of faults that are named.
const NAMED_MAX: usize = 10;
/// User metadata that a replica may have in addition: the source's `ETag`, which it could not keep.
const SOURCE_ETAG: &str = "tandem-source-etag";

/// How many replicas were read back and are correct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadBack {
    /// Objects that were written live.
    pub live: usize,
    /// Files of the folder.
    pub files: usize,
    /// Deleted keys that have no replica.
    pub gone: usize,
}

/// One replica to check.
enum Look<'a> {
    Live(&'a str, &'a Object),
    File(&'a SourceFile),
    Gone(&'a str),
}

/// Reads every live object back, and a sample of the historical ones.
pub async fn read_back(destination: &Bucket, expected: &Expected) -> Result<ReadBack, Error> {
    let files = sample(expected);
    let live = expected
        .live
        .iter()
        .map(|(key, object)| Look::Live(key, object));
    let gone = expected.gone.iter().map(|key| Look::Gone(key));
    let checks: Vec<Look> = live
        .chain(files.iter().map(|file| Look::File(file)))
        .chain(gone)
        .collect();
    let mut meter = Meter::start("reading back", checks.len());
    let mut found = stream::iter(&checks)
        .map(|check| check.fault(destination))
        .buffer_unordered(OBJECTS_AT_ONCE);
    let mut faults = Vec::new();
    while let Some(fault) = found.try_next().await? {
        faults.extend(fault);
        meter.advance(|| "replicas".to_owned());
    }
    if faults.is_empty() {
        return Ok(ReadBack {
            live: expected.live.len(),
            files: files.len(),
            gone: expected.gone.len(),
        });
    }
    faults.sort();
    let (number, named) = (faults.len(), faults.into_iter().take(NAMED_MAX));
    let named: Vec<String> = named.collect();
    Err(Error::Unexpected(format!(
        "{number} replicas differ from the objects that were written:\n   {}",
        named.join("\n   ")
    )))
}

/// Returns files spread evenly over the folder.
fn sample(expected: &Expected) -> Vec<&SourceFile> {
    let every = expected.historical.len().div_ceil(FILES_MAX).max(1);
    let mut bytes_left = BYTES_MAX;
    expected
        .historical
        .values()
        .step_by(every)
        .filter(|file| match bytes_left.checked_sub(file.bytes) {
            Some(left) => {
                bytes_left = left;
                true
            }
            None => false,
        })
        .collect()
}

impl Look<'_> {
    /// Returns what is wrong with the replica, if anything is.
    async fn fault(&self, destination: &Bucket) -> Result<Option<String>, Error> {
        match self {
            Self::Gone(key) => {
                let found = destination.head(key).await?;
                Ok(found.map(|_| fault(key, "was deleted, but its replica exists")))
            }
            Self::Live(key, object) => {
                let found = destination.get(key).await?;
                let difference = found.map_or(Some("is missing".to_owned()), |found| {
                    difference(object, found)
                });
                Ok(difference.map(|difference| fault(key, &difference)))
            }
            Self::File(file) => {
                let difference = match destination.open(&file.key).await? {
                    None => Some("is missing".to_owned()),
                    Some((body, found)) => {
                        let same = same_bytes(body, file)
                            .await
                            .map_err(|error| destination.broken(&file.key, &error))?;
                        if same {
                            difference(&uploaded(file), found)
                        } else {
                            Some("has other bytes than the file".to_owned())
                        }
                    }
                };
                // If the file has changed since its upload, its replica cannot be compared with it.
                Ok(difference
                    .filter(|_| !has_changed(file))
                    .map(|difference| fault(&file.key, &difference)))
            }
        }
    }
}

/// Compares both piece by piece. A file that cannot be read counts as different.
async fn same_bytes(mut body: ByteStream, file: &SourceFile) -> Result<bool, ByteStreamError> {
    let Ok(mut on_disk) = File::open(&file.path) else {
        return Ok(false);
    };
    let mut piece_on_disk = Vec::new();
    while let Some(piece) = body.try_next().await? {
        piece_on_disk.resize(piece.len(), 0);
        if on_disk.read_exact(&mut piece_on_disk).is_err() || piece != piece_on_disk {
            return Ok(false);
        }
    }
    Ok(on_disk.read(&mut [0]).is_ok_and(|left| left == 0))
}

fn fault(key: &str, problem: &str) -> String {
    format!("{} {problem}", shown(key))
}

/// Returns the object that a file became, without its bytes.
fn uploaded(file: &SourceFile) -> Object {
    let mut object = Object::text("");
    object.headers.content_type = Some(content_type(&file.path).to_owned());
    if let Some(secs) = file.modified_secs {
        object
            .metadata
            .insert(MODIFIED.to_owned(), secs.to_string());
    }
    object
}

fn difference(wanted: &Object, mut found: Object) -> Option<String> {
    found.metadata.remove(SOURCE_ETAG);
    if found.body != wanted.body {
        return Some(format!(
            "has other bytes: {} instead of {}",
            found.body.len(),
            wanted.body.len()
        ));
    }
    if found.headers != wanted.headers {
        return Some(format!(
            "has {:?} instead of {:?}",
            found.headers, wanted.headers
        ));
    }
    if found.metadata != wanted.metadata {
        return Some(format!(
            "has metadata {:?} instead of {:?}",
            found.metadata, wanted.metadata
        ));
    }
    (found.tags != wanted.tags)
        .then(|| format!("has tags {:?} instead of {:?}", found.tags, wanted.tags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference_is_named() {
        let wanted = Object::text("body").dressed("a");
        assert_eq!(difference(&wanted, wanted.clone()), None);
        let mut marked = wanted.clone();
        marked.metadata.insert(SOURCE_ETAG.into(), "abc-2".into());
        assert_eq!(difference(&wanted, marked), None);
        let said = |found: Object| difference(&wanted, found).unwrap();
        assert!(said(Object::text("b0dy").dressed("a")).contains("other bytes"));
        assert!(said(Object::text("body")).contains("Headers"));
        let mut other = wanted.clone();
        other.metadata.clear();
        assert!(said(other).contains("has metadata {}"));
        let mut other = wanted.clone();
        other.tags.clear();
        assert!(said(other).contains("has tags {}"));
    }

    #[test]
    fn a_sample_is_spread_over_the_folder_and_small() {
        let mut expected = Expected::default();
        for n in 0..1000 {
            let key = format!("{n:04}");
            let file = SourceFile {
                path: key.clone().into(),
                key: key.clone(),
                bytes: if n == 0 { u64::MAX } else { 1 },
                modified_secs: None,
            };
            expected.historical.insert(key, file);
        }
        let sample = sample(&expected);
        assert!(sample.len() <= FILES_MAX && sample.len() > FILES_MAX / 2);
        assert!(sample[0].key == "0004" && *sample.last().unwrap().key > *"0990");
    }
}
