//! Uploads a folder's files to the source bucket, large ones in parts, streaming from disk. I/O:
//! reads files, writes S3.

use std::path::Path;
use std::time::UNIX_EPOCH;

use aws_sdk_s3::primitives::{ByteStream, Length};
use futures::{StreamExt, TryStreamExt, stream};

use crate::cloud::Bucket;
use crate::console::{self, Meter};
use crate::error::Error;
use crate::source_tree::{SkipReason, Skipped, SourceFile, SourceTree};

/// Files that are uploaded at once.
const FILES_AT_ONCE: usize = 16;
/// Parts of one file that are uploaded at once.
const PARTS_AT_ONCE: usize = 4;
/// Files of at least this size are sent in parts.
const IN_PARTS_FROM_BYTES: u64 = 64 * 1024 * 1024;
/// The size of a part, unless that makes too many parts.
const PART_BYTES: u64 = 16 * 1024 * 1024;
/// S3's limit on the parts of an object.
const PARTS_MAX: u64 = 10_000;

/// The user metadata for the time when the file was last written, in seconds since 1970.
pub const MODIFIED: &str = "mtime";

/// Uploads a folder. Returns the files that became objects, and those that changed meanwhile.
pub async fn upload(
    tree: &SourceTree,
    source: &Bucket,
) -> Result<(Vec<SourceFile>, Vec<Skipped>), Error> {
    let mut meter = Meter::start("uploading", tree.files.len());
    let mut uploads = stream::iter(&tree.files)
        .map(|file| upload_file(file, source))
        .buffer_unordered(FILES_AT_ONCE);
    let (mut uploaded, mut skipped, mut bytes) = (Vec::new(), Vec::new(), 0);
    while let Some(outcome) = uploads.try_next().await? {
        match outcome {
            Ok(file) => {
                bytes += file.bytes;
                uploaded.push(file);
            }
            Err(left_out) => skipped.push(left_out),
        }
        meter.advance(|| format!("files, {}", console::bytes(bytes)));
    }
    Ok((uploaded, skipped))
}

async fn upload_file(
    file: &SourceFile,
    source: &Bucket,
) -> Result<Result<SourceFile, Skipped>, Error> {
    let sent = if file.bytes < IN_PARTS_FROM_BYTES {
        send_whole(file, source).await
    } else {
        send_in_parts(file, source).await
    };
    match sent {
        Ok(()) => Ok(Ok(file.clone())),
        Err(_) if has_changed(file) => Ok(Err(Skipped {
            path: file.path.clone(),
            reason: SkipReason::Changed,
        })),
        Err(error) => Err(error),
    }
}

async fn send_whole(file: &SourceFile, source: &Bucket) -> Result<(), Error> {
    source
        .client
        .put_object()
        .bucket(&source.name)
        .key(&file.key)
        .content_type(content_type(&file.path))
        .set_metadata(file.modified_secs.map(metadata))
        .body(read(file, 0, file.bytes).await?)
        .send()
        .await
        .map_err(|error| source.error("putting", &file.key, &error))?;
    Ok(())
}

async fn send_in_parts(file: &SourceFile, source: &Bucket) -> Result<(), Error> {
    let upload = source
        .client
        .create_multipart_upload()
        .bucket(&source.name)
        .key(&file.key)
        .content_type(content_type(&file.path))
        .set_metadata(file.modified_secs.map(metadata))
        .send()
        .await
        .map_err(|error| source.error("beginning the upload of", &file.key, &error))?;
    let id = upload.upload_id.unwrap_or_default();
    let mut sent: Vec<_> = stream::iter((1..).zip(part_ranges(file.bytes)))
        .map(|(number, (from, bytes))| {
            let id = &id;
            async move {
                let body = read(file, from, bytes).await?;
                source.upload_part(&file.key, id, number, body).await
            }
        })
        .buffer_unordered(PARTS_AT_ONCE)
        .try_collect()
        .await?;
    sent.sort_by_key(aws_sdk_s3::types::CompletedPart::part_number);
    source.complete(&file.key, &id, sent).await
}

/// Returns a slice of a file, which is read while it is sent.
async fn read(file: &SourceFile, from: u64, bytes: u64) -> Result<ByteStream, Error> {
    if bytes == 0 {
        return Ok(ByteStream::from_static(b""));
    }
    ByteStream::read_from()
        .path(&file.path)
        .offset(from)
        .length(Length::Exact(bytes))
        .build()
        .await
        .map_err(|error| Error::Unexpected(format!("reading {}: {error}", file.path.display())))
}

/// Returns the offsets and lengths of parts that cover this many bytes.
fn part_ranges(bytes: u64) -> impl Iterator<Item = (u64, u64)> {
    let part = PART_BYTES.max(bytes.div_ceil(PARTS_MAX));
    (0..bytes.div_ceil(part)).map(move |number| {
        let from = number * part;
        (from, part.min(bytes - from))
    })
}

/// Returns whether a file has changed since the folder was read.
pub fn has_changed(file: &SourceFile) -> bool {
    let modified_secs = |metadata: &std::fs::Metadata| {
        let modified = metadata.modified().ok()?;
        Some(modified.duration_since(UNIX_EPOCH).ok()?.as_secs())
    };
    std::fs::File::open(&file.path)
        .and_then(|opened| opened.metadata())
        .map_or(true, |metadata| {
            metadata.len() != file.bytes || modified_secs(&metadata) != file.modified_secs
        })
}

fn metadata(modified_secs: u64) -> std::collections::HashMap<String, String> {
    [(MODIFIED.to_owned(), modified_secs.to_string())].into()
}

/// Guesses the content type from the ending of the name.
pub fn content_type(path: &Path) -> &'static str {
    let ending = path
        .extension()
        .map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    match ending.as_deref() {
        Some("txt" | "rs" | "md" | "toml" | "lock" | "yaml" | "yml") => "text/plain; charset=utf-8",
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("css") => "text/css",
        Some("js" | "mjs") => "text/javascript",
        Some("json") => "application/json",
        Some("pdf") => "application/pdf",
        Some("zip") => "application/zip",
        Some("gz" | "tgz") => "application/gzip",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("svg") => "image/svg+xml",
        Some("webp") => "image/webp",
        Some("mp3") => "audio/mpeg",
        Some("mp4") => "video/mp4",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source_tree::Limits;

    #[test]
    fn parts_cover_every_byte_once() {
        for bytes in [
            1,
            PART_BYTES,
            PART_BYTES + 1,
            5 * PART_BYTES - 1,
            PART_BYTES * PARTS_MAX + 1,
        ] {
            let mut next = 0;
            let mut parts = 0;
            for (from, length) in part_ranges(bytes) {
                assert!(from == next && length > 0);
                next += length;
                parts += 1;
            }
            assert_eq!(next, bytes);
            assert!(parts <= PARTS_MAX);
        }
    }

    #[test]
    fn the_ending_of_a_name_in_any_case_gives_its_type() {
        assert_eq!(content_type(Path::new("a/B.JPG")), "image/jpeg");
        assert_eq!(content_type(Path::new("a/b")), "application/octet-stream");
    }

    #[test]
    fn a_file_that_was_rewritten_or_removed_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "one").unwrap();
        let tree = crate::source_tree::read(folder.path(), Limits::default()).unwrap();
        let file = &tree.files[0];
        assert!(!has_changed(file));
        std::fs::write(&file.path, "three").unwrap();
        assert!(has_changed(file));
        std::fs::remove_file(&file.path).unwrap();
        assert!(has_changed(file));
    }
}
