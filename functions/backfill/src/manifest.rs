//! Lists of keys in S3 for a job: a CSV, or the files that an inventory's `manifest.json` names. Cuts them into parts
//! that workers can process at the same time. `backfill-shard` reads their records. If the beginning of a list is
//! invalid, this module refuses the list before the job begins.

use futures::{StreamExt, stream};
use serde::Deserialize;
use tandem_aws::Aws;
use tandem_aws::s3::job_files::{Found, Place};
use tandem_lambda::request::RequestError;
use tandem_replication::key_list::{Columns, HEAD_BYTES, Head, KeyEncoding, inspect};
use tandem_replication::names::BucketName;
use tandem_replication::refusal::{Refusal, RefusalCode};
use tandem_replication::s3_uri::S3Uri;
use tandem_replication::shard_state::ManifestPart;

/// About how many bytes of a list one shard has.
const PART_BYTES: u64 = 4 << 20;
/// Into how many parts a list of any size is cut at most.
const PARTS_MAX: u64 = 256;
/// How large an inventory's `manifest.json` may be.
const INVENTORY_BYTES_MAX: u64 = 16 << 20;
/// How many files of an inventory the function inspects at the same time.
const FILES_AT_ONCE: usize = 16;

/// The fields of an inventory's `manifest.json` that Tandem uses. Sources: S3 user guide, "Inventory manifest"; OSS
/// user guide, "Bucket inventory", whose manifest has the same fields.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inventory {
    source_bucket: String,
    file_format: String,
    file_schema: String,
    files: Vec<InventoryFile>,
}

#[derive(Debug, Deserialize)]
struct InventoryFile {
    key: String,
}

/// Returns the parts of the list at `uri`. Its keys are those of `source`, in the encoding `keys`.
pub async fn parts(
    aws: &Aws,
    uri: &str,
    source: &BucketName,
    keys: Option<KeyEncoding>,
) -> Result<Vec<ManifestPart>, RequestError> {
    let list = S3Uri::parse(uri).map_err(|problem| refused(uri, problem))?;
    let place = Place::find(aws, &list).await?.ok_or_else(|| {
        refused(
            uri,
            "is in a bucket that does not exist in this account; create it, or correct its name",
        )
    })?;
    let keys = keys.unwrap_or_default();
    if !is_inventory(&list.key) {
        return file_parts(&place, uri, source, keys, None).await;
    }
    let inventory = read_inventory(&place, uri).await?;
    let columns = check(&inventory, uri, source)?;
    let files = stream::iter(inventory.files).map(|file| {
        let file = S3Uri {
            key: file.key,
            ..list.clone()
        };
        let place = Place::of(aws, file, place.region().clone());
        let columns = Some(columns.clone());
        async move {
            if is_inventory(&place.uri().key) {
                let problem = format!(
                    "names another manifest, s3://{}/{}, among its files; give each inventory to a job of its own",
                    place.uri().bucket,
                    place.uri().key
                );
                return Err(refused(uri, problem).into());
            }
            file_parts(&place, uri, source, keys, columns).await
        }
    });
    let parts = files.buffered(FILES_AT_ONCE).collect::<Vec<_>>().await;
    let parts: Result<Vec<_>, RequestError> = parts.into_iter().collect();
    Ok(parts?.concat())
}

/// Whether a key names the `manifest.json` of an inventory.
fn is_inventory(key: &str) -> bool {
    key.ends_with("manifest.json")
}

async fn read_inventory(place: &Place, uri: &str) -> Result<Inventory, RequestError> {
    let found = head(place, uri).await?;
    if found.bytes > INVENTORY_BYTES_MAX {
        let problem = format!(
            "has {} bytes, which is too large for an inventory's manifest; give its manifest.json",
            found.bytes
        );
        return Err(refused(uri, problem).into());
    }
    let bytes = place.read(&found.etag, 0).await?.all().await?;
    let json = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    serde_json::from_slice(json).map_err(|error| {
        let problem = format!("is not an S3 Inventory manifest: {error}");
        refused(uri, problem).into()
    })
}

/// Returns the columns of an inventory, or refuses it if it is of another bucket or in another format.
fn check(inventory: &Inventory, uri: &str, source: &BucketName) -> Result<Columns, Refusal> {
    if inventory.source_bucket != source.as_str() {
        let problem = format!(
            "is the inventory of {}, and the rule's source is {source}; give one of {source}",
            inventory.source_bucket
        );
        return Err(refused(uri, problem));
    }
    if !inventory.file_format.eq_ignore_ascii_case("CSV") {
        let problem = format!(
            "lists {} files, which Tandem cannot read; set the inventory's format to CSV",
            inventory.file_format
        );
        return Err(refused(uri, problem));
    }
    let columns = Columns::named(inventory.file_schema.split(','));
    columns
        .filter(|columns| columns.bucket.is_some())
        .ok_or_else(|| {
            let problem = format!(
                "has the columns {:?}; Bucket and Key have to be among them",
                inventory.file_schema
            );
            refused(uri, problem)
        })
}

/// Returns the parts of one file. A compressed file is one part, because it can only be read from its beginning. A file
/// whose keys are not encoded is one part too, because a line break may be part of a key.
async fn file_parts(
    place: &Place,
    uri: &str,
    source: &BucketName,
    keys: KeyEncoding,
    columns: Option<Columns>,
) -> Result<Vec<ManifestPart>, RequestError> {
    let found = head(place, uri).await?;
    let bytes = match found.bytes {
        0 => Vec::new(),
        _ => place.read_head(&found.etag, HEAD_BYTES).await?,
    };
    let head = Head {
        bytes: &bytes,
        is_whole: bytes.len() as u64 == found.bytes,
        is_named_gzip: is_named_gzip(&place.uri().key),
    };
    let (gzip, layout) = inspect(head, source, keys, columns)
        .map_err(|problem| unreadable(place, uri, &problem.to_string()))?;
    let part = |from, until| ManifestPart {
        bucket: place.uri().bucket.to_string(),
        region: place.region().to_string(),
        key: place.uri().key.clone(),
        etag: found.etag.clone(),
        gzip,
        layout: layout.clone(),
        from,
        until,
    };
    if gzip {
        return Ok(vec![part(0, None)]);
    }
    if layout.keys != KeyEncoding::Encoded {
        return Ok(vec![part(0, Some(found.bytes))]);
    }
    Ok(cuts(found.bytes)
        .into_iter()
        .map(|(from, until)| part(from, Some(until)))
        .collect())
}

fn is_named_gzip(key: &str) -> bool {
    std::path::Path::new(key)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

/// Returns what a HEAD shows of a file. Refuses the list if the file does not exist or S3 denies access.
async fn head(place: &Place, uri: &str) -> Result<Found, RequestError> {
    match place.head().await {
        Ok(Some(found)) => Ok(found),
        Ok(None) => {
            let problem = "there is no such object; upload it, or correct the name";
            Err(unreadable(place, uri, problem).into())
        }
        // A HEAD's answer has no code.
        Err(error) if error.status == Some(403) => {
            let problem = format!(
                "{error}; its bucket has to be one of this account that the stack's parameter JobBucketPattern allows"
            );
            Err(unreadable(place, uri, &problem).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Cuts a list of this many bytes. Returns the ranges of bytes; a part has the lines that begin within its range.
fn cuts(bytes: u64) -> Vec<(u64, u64)> {
    let width = PART_BYTES.max(bytes.div_ceil(PARTS_MAX));
    let count = bytes.div_ceil(width).max(1);
    (0..count)
        .map(|n| (n * width, bytes.min((n + 1) * width)))
        .collect()
}

fn unreadable(place: &Place, uri: &str, problem: &str) -> Refusal {
    let (bucket, key) = (&place.uri().bucket, &place.uri().key);
    let file = format!("s3://{bucket}/{key}");
    if file == uri {
        return refused(uri, format!("cannot be read: {problem}"));
    }
    refused(
        uri,
        format!("names {file}, which cannot be read: {problem}"),
    )
}

fn refused(uri: &str, problem: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::InvalidRequest, "manifest", uri, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_whole_list_and_are_not_too_many() {
        for bytes in [0, 1, PART_BYTES, PART_BYTES + 1, PART_BYTES * 1_000] {
            let cuts = cuts(bytes);
            assert_eq!(cuts.first().map(|cut| cut.0), Some(0));
            assert_eq!(cuts.last().map(|cut| cut.1), Some(bytes));
            assert!(cuts.windows(2).all(|pair| pair[0].1 == pair[1].0));
            assert!(cuts.len() as u64 <= PARTS_MAX);
        }
    }

    #[test]
    fn an_unusable_inventory_is_refused_with_a_correction() {
        let photos = BucketName::parse("photos").unwrap();
        let inventory = |bucket: &str, format: &str, schema: &str| Inventory {
            source_bucket: bucket.into(),
            file_format: format.into(),
            file_schema: schema.into(),
            files: Vec::new(),
        };
        let schema = "Bucket, Key, Size";
        let columns = check(&inventory("photos", "CSV", schema), "s3://a/b", &photos).unwrap();
        assert_eq!((columns.bucket, columns.key), (Some(0), 1));
        let turned = inventory("photos", "CSV", "Key,Bucket,IsDeleteMarker");
        let columns = check(&turned, "s3://a/b", &photos).unwrap();
        assert_eq!((columns.bucket, columns.key), (Some(1), 0));
        assert_eq!(columns.is_delete_marker, Some(2));
        for (wrong, said) in [
            (inventory("films", "CSV", schema), "inventory of films"),
            (inventory("photos", "ORC", schema), "to CSV"),
            (
                inventory("photos", "Parquet", schema),
                "lists Parquet files",
            ),
            (
                inventory("photos", "CSV", "Bucket, Size"),
                "Bucket and Key have to be",
            ),
        ] {
            let refusal = check(&wrong, "s3://a/b", &photos).unwrap_err().to_string();
            assert!(refusal.contains(said), "{refusal}");
        }
    }
}
