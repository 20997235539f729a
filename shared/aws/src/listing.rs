//! Pages of a bucket's listing, within a key range.

use aws_sdk_s3::types::EncodingType;
use percent_encoding::percent_decode_str;
use tandem_replication::bucket_pair::Side;
use tandem_replication::diff::Listed;
use tandem_replication::names::Etag;
use tandem_replication::shard::ShardRange;

use crate::AwsError;
use crate::s3_pair::S3Pair;

/// Some objects of a range, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The objects.
    pub objects: Vec<Listed>,
    /// Whether these are the last ones of the range.
    pub last: bool,
}

impl S3Pair {
    /// The first page of `range` on one side: up to 1,000 objects, one request.
    pub async fn list(&self, side: Side, range: &ShardRange) -> Result<Page, AwsError> {
        let bucket = self.bucket(side);
        let doing = || format!("listing {}", bucket.name);
        let answer = bucket
            .client
            .list_objects_v2()
            .bucket(bucket.name.as_str())
            .expected_bucket_owner(&bucket.owner)
            .set_prefix((!range.prefix.is_empty()).then(|| range.prefix.clone()))
            .set_start_after(range.after.clone())
            // Keys may hold characters that XML cannot.
            .encoding_type(EncodingType::Url)
            .send()
            .await
            .map_err(|error| AwsError::request(doing(), &error))?;
        let mut objects = Vec::with_capacity(answer.contents().len());
        let mut beyond = false;
        for object in answer.contents() {
            let key = decoded(object.key().unwrap_or_default());
            if !range.contains(&key) {
                beyond = range.until.as_ref().is_some_and(|until| key > *until);
                continue;
            }
            objects.push(Listed {
                key,
                etag: Etag::new(object.e_tag().unwrap_or_default()),
                bytes: object
                    .size()
                    .and_then(|bytes| u64::try_from(bytes).ok())
                    .unwrap_or_default(),
            });
        }
        Ok(Page {
            objects,
            last: beyond || !answer.is_truncated().unwrap_or_default(),
        })
    }

    /// Every object of `range` on one side, page by page.
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

/// A key as `encoding-type=url` writes it: percent-encoded, with `+` for a space.
fn decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn listed_keys_are_decoded_as_s3_encodes_them() {
        assert_eq!(decoded("red+flower%2B1%25.jpg"), "red flower+1%.jpg");
        assert_eq!(decoded("%C3%BC/%0A"), "ü/\n");
    }
}
