//! Lists the objects of a bucket in a key range, page by page.

use aws_sdk_s3::types::EncodingType;
use aws_smithy_types::DateTime;
use percent_encoding::percent_decode_str;
use tandem_replication::Timestamp;
use tandem_replication::bucket_pair::Side;
use tandem_replication::diff::Listed;
use tandem_replication::names::{Etag, StorageClass};
use tandem_replication::object::WRITTEN_AT_UNKNOWN;
use tandem_replication::page_plan::ListingPage;
use tandem_replication::shard::ShardRange;

use crate::AwsError;
use crate::s3::s3_pair::S3Pair;

impl S3Pair {
    /// Returns the first page of `range` on one side: up to 1,000 objects, with one request.
    pub async fn list(&self, side: Side, range: &ShardRange) -> Result<ListingPage, AwsError> {
        self.list_at_most(side, range, None).await
    }

    async fn list_at_most(
        &self,
        side: Side,
        range: &ShardRange,
        keys_max: Option<i32>,
    ) -> Result<ListingPage, AwsError> {
        let bucket = self.bucket(side);
        let doing = || format!("listing {}", bucket.name);
        let answer = bucket
            .client
            .list_objects_v2()
            .bucket(bucket.name.as_str())
            .expected_bucket_owner(&bucket.owner)
            .set_prefix((!range.prefix.is_empty()).then(|| range.prefix.clone()))
            .set_start_after(range.after.clone())
            .set_max_keys(keys_max)
            // Keys may contain characters that XML cannot represent.
            .encoding_type(EncodingType::Url)
            .send()
            .await
            .map_err(|error| AwsError::request(doing(), error))?;
        let mut objects = Vec::with_capacity(answer.contents().len());
        let mut beyond = false;
        for object in answer.contents() {
            let key = listed_key(object.key().unwrap_or_default(), answer.encoding_type());
            if !range.contains(&key) {
                beyond = range.until.as_ref().is_some_and(|until| key > *until);
                continue;
            }
            let bytes = object.size().and_then(|bytes| u64::try_from(bytes).ok());
            // If the listing has no size, the `ETag` stays unknown too, and a HEAD has to read both.
            let etag = bytes.and_then(|_| object.e_tag());
            objects.push(Listed {
                key,
                etag: Etag::new(etag.unwrap_or_default()),
                bytes: bytes.unwrap_or_default(),
                last_modified: written_at(object.last_modified()),
                storage_class: object
                    .storage_class()
                    .map_or_else(StorageClass::standard, |class| {
                        StorageClass::new(class.as_str())
                    }),
            });
        }
        let reached = objects.last().map(|object| object.key.as_str()) >= range.until.as_deref()
            && range.until.is_some();
        Ok(ListingPage {
            objects,
            last: beyond || reached || !answer.is_truncated().unwrap_or_default(),
        })
    }

    /// Returns the first key of `range` at the source, with one request.
    pub async fn first_key(&self, range: &ShardRange) -> Result<Option<String>, AwsError> {
        let page = self.list_at_most(Side::Source, range, Some(1)).await?;
        Ok(page.objects.into_iter().next().map(|object| object.key))
    }

    /// Returns every object of `range` on one side. It reads page by page.
    pub async fn list_all(&self, side: Side, range: &ShardRange) -> Result<Vec<Listed>, AwsError> {
        let mut range = range.clone();
        let mut objects: Vec<Listed> = Vec::new();
        loop {
            let mut page = self.list(side, &range).await?;
            range.after = page
                .objects
                .last()
                .map(|object| object.key.clone())
                .or(range.after);
            let ended = page.last || page.objects.is_empty();
            objects.append(&mut page.objects);
            if ended {
                return Ok(objects);
            }
        }
    }
}

fn written_at(said: Option<&DateTime>) -> Timestamp {
    said.and_then(|at| Timestamp::from_timestamp(at.secs(), 0))
        .unwrap_or(WRITTEN_AT_UNKNOWN)
}

/// Returns a key from a listing, decoded. A server that does not know `encoding-type` writes keys as they are, and does
/// not name the encoding in its answer.
pub(crate) fn listed_key(text: &str, encoding: Option<&EncodingType>) -> String {
    if encoding == Some(&EncodingType::Url) {
        decoded(text)
    } else {
        text.to_owned()
    }
}

/// Decodes a key that `encoding-type=url` has encoded: percent-encoded, with `+` for a space.
fn decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_keys_are_decoded_as_s3_encodes_them() {
        let encoded = |text| listed_key(text, Some(&EncodingType::Url));
        assert_eq!(encoded("red+flower%2B1%25.jpg"), "red flower+1%.jpg");
        assert_eq!(encoded("%C3%BC/%0A"), "ü/\n");
        assert_eq!(listed_key("a+b%20c", None), "a+b%20c");
    }
}
