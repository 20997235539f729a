//! Lists of keys in S3, as a job is given them: a CSV, or what an S3 Inventory's `manifest.json` names. What
//! they hold is cut into parts that can be worked on at once; `backfill-shard` reads their lines.

use serde::Deserialize;
use tandem_aws::Aws;
use tandem_aws::places::Place;
use tandem_lambda::request::RequestError;
use tandem_replication::draft::{Refusal, RefusalCode};
use tandem_replication::names::BucketName;
use tandem_replication::s3_uri::S3Uri;
use tandem_replication::shard_state::ManifestPart;

/// How many bytes of a list one shard has, about.
const PART_BYTES: u64 = 4 << 20;
/// How many parts a list is cut into at most, whatever its size.
const PARTS_MAX: u64 = 256;
/// How large an inventory's `manifest.json` may be.
const INVENTORY_BYTES_MAX: u64 = 16 << 20;

/// What an S3 Inventory's `manifest.json` says, as far as it matters here (S3 user guide, "Inventory manifest").
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

/// The parts of the list at `uri`, whose keys are of `source`.
pub async fn parts(
    aws: &Aws,
    uri: &str,
    source: &BucketName,
) -> Result<Vec<ManifestPart>, RequestError> {
    let list = S3Uri::parse(uri).map_err(|problem| refused(uri, problem))?;
    let is_inventory = list.key.ends_with("manifest.json");
    let place = Place::find(aws, &list).await?.ok_or_else(|| {
        refused(
            uri,
            "is in a bucket that cannot be found; create it, or correct its name",
        )
    })?;
    if !is_inventory {
        return file_parts(&place, uri).await;
    }
    let inventory = read_inventory(&place, uri).await?;
    check(&inventory, uri, source)?;
    let mut parts = Vec::new();
    for file in inventory.files {
        let key = file.key.clone();
        let file = S3Uri {
            key,
            ..list.clone()
        };
        let place = Place::of(aws, file, place.region().clone());
        parts.extend(file_parts(&place, uri).await?);
    }
    Ok(parts)
}

async fn read_inventory(place: &Place, uri: &str) -> Result<Inventory, RequestError> {
    let found = place.head().await?.ok_or_else(|| missing(place, uri))?;
    if found.bytes > INVENTORY_BYTES_MAX {
        let problem = format!(
            "has {} bytes, which no inventory's manifest has; give its manifest.json",
            found.bytes
        );
        return Err(refused(uri, problem).into());
    }
    let body = place.read(&found.etag, 0).await?;
    let body = body
        .collect()
        .await
        .map_err(|error| tandem_aws::AwsError::unexpected(format!("reading {uri}"), error))?;
    serde_json::from_slice(&body.into_bytes()).map_err(|error| {
        let problem = format!("is no S3 Inventory manifest: {error}");
        refused(uri, problem).into()
    })
}

fn check(inventory: &Inventory, uri: &str, source: &BucketName) -> Result<(), Refusal> {
    if inventory.source_bucket != source.as_str() {
        let problem = format!(
            "is the inventory of {}, and the rule's source is {source}; give one of {source}",
            inventory.source_bucket
        );
        return Err(refused(uri, problem));
    }
    if inventory.file_format != "CSV" {
        let problem = format!(
            "lists {} files, which cannot be read here; set the inventory's format to CSV",
            inventory.file_format
        );
        return Err(refused(uri, problem));
    }
    let mut columns = inventory.file_schema.split(',').map(str::trim);
    if columns.next() != Some("Bucket") || columns.next() != Some("Key") {
        let problem = format!(
            "has the columns {:?}; they have to begin with Bucket, Key",
            inventory.file_schema
        );
        return Err(refused(uri, problem));
    }
    Ok(())
}

/// The parts of one file. What is compressed can only be read from its beginning, and is one part.
async fn file_parts(place: &Place, uri: &str) -> Result<Vec<ManifestPart>, RequestError> {
    let found = place.head().await?.ok_or_else(|| missing(place, uri))?;
    let gzip = std::path::Path::new(&place.uri().key)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    let part = |from, until| ManifestPart {
        bucket: place.uri().bucket.to_string(),
        region: place.region().to_string(),
        key: place.uri().key.clone(),
        etag: found.etag.clone(),
        gzip,
        from,
        until,
    };
    if gzip {
        return Ok(vec![part(0, None)]);
    }
    Ok(cuts(found.bytes)
        .into_iter()
        .map(|(from, until)| part(from, Some(until)))
        .collect())
}

/// The bytes from each of which on, and before which, a part's lines begin.
fn cuts(bytes: u64) -> Vec<(u64, u64)> {
    let width = PART_BYTES.max(bytes.div_ceil(PARTS_MAX));
    let count = bytes.div_ceil(width).max(1);
    (0..count)
        .map(|n| (n * width, bytes.min((n + 1) * width)))
        .collect()
}

fn missing(place: &Place, uri: &str) -> Refusal {
    let problem = format!(
        "cannot be read: there is no object s3://{}/{}; upload it, or correct the name",
        place.uri().bucket,
        place.uri().key
    );
    refused(uri, problem)
}

fn refused(uri: &str, problem: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::InvalidRequest, "manifest", uri, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_list_follow_each_other_and_are_not_too_many() {
        for bytes in [0, 1, PART_BYTES, PART_BYTES + 1, PART_BYTES * 1_000] {
            let cuts = cuts(bytes);
            assert_eq!(cuts.first().map(|cut| cut.0), Some(0));
            assert_eq!(cuts.last().map(|cut| cut.1), Some(bytes));
            assert!(cuts.windows(2).all(|pair| pair[0].1 == pair[1].0));
            assert!(cuts.len() as u64 <= PARTS_MAX);
        }
    }

    #[test]
    fn an_inventory_of_something_else_is_refused_with_what_is_right() {
        let photos = BucketName::parse("photos").unwrap();
        let inventory = |bucket: &str, format: &str, schema: &str| Inventory {
            source_bucket: bucket.into(),
            file_format: format.into(),
            file_schema: schema.into(),
            files: Vec::new(),
        };
        let schema = "Bucket, Key, Size";
        assert!(check(&inventory("photos", "CSV", schema), "s3://a/b", &photos).is_ok());
        for (wrong, said) in [
            (inventory("films", "CSV", schema), "inventory of films"),
            (inventory("photos", "ORC", schema), "to CSV"),
            (
                inventory("photos", "CSV", "Key, Bucket"),
                "begin with Bucket, Key",
            ),
        ] {
            let refusal = check(&wrong, "s3://a/b", &photos).unwrap_err().to_string();
            assert!(refusal.contains(said), "{refusal}");
        }
    }
}
