//! Lists a bucket as a stream of objects in key order, a few pages ahead of the reader. I/O: S3.

use aws_sdk_s3::Client;
use aws_sdk_s3::types::EncodingType;
use chrono::DateTime;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use percent_encoding::percent_decode_str;
use tokio::sync::mpsc;

use crate::compare::Listed;
use crate::contract::Bucket;
use crate::error::Error;
use crate::prices::STANDARD;

/// Pages (of up to 1,000 objects, S3's own limit) that are read ahead.
const PAGES_AHEAD: usize = 4;

/// What the lister sends to the reader. It sends the end explicitly, because a lister that died must
/// not look like the end of the bucket.
enum Part {
    Page(Vec<Listed>),
    End,
}

/// Returns every object of `bucket` under any of `prefixes`, which are in order and do not overlap. The
/// listing runs in the background until it is done or the stream is dropped.
pub fn list(
    client: Client,
    bucket: &Bucket,
    prefixes: Vec<String>,
) -> impl Stream<Item = Result<Listed, Error>> + use<> {
    let (sender, receiver) = mpsc::channel(PAGES_AHEAD);
    let name = bucket.bucket.clone();
    let lister = name.clone();
    tokio::spawn(async move {
        let last = match send_pages(&client, &lister, prefixes, &sender).await {
            Ok(()) => Ok(Part::End),
            Err(error) => Err(error),
        };
        // If the reader has dropped the stream, sending fails; that is no error.
        let _ = sender.send(last).await;
    });
    stream::unfold(Some(receiver), move |receiver| {
        let from = format!("listing {name}");
        async move {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Some(Ok(Part::Page(page))) => Some((Ok(page), Some(receiver))),
                Some(Ok(Part::End)) => None,
                Some(Err(error)) => Some((Err(error), None)),
                None => {
                    let detail = "the listing stopped unexpectedly".to_owned();
                    Some((Err(Error::UnexpectedAnswer { from, detail }), None))
                }
            }
        }
    })
    .map_ok(|page| stream::iter(page).map(Ok))
    .try_flatten()
}

async fn send_pages(
    client: &Client,
    bucket: &str,
    prefixes: Vec<String>,
    sender: &mpsc::Sender<Result<Part, Error>>,
) -> Result<(), Error> {
    let mut previous: Option<String> = None;
    for prefix in prefixes {
        let mut token = None;
        loop {
            let (page, next) = read_page(client, bucket, &prefix, token).await?;
            for listed in &page {
                if let Some(previous) = previous.as_ref().filter(|key| **key >= listed.key) {
                    return Err(Error::unordered(bucket, previous, &listed.key));
                }
                previous = Some(listed.key.clone());
            }
            if sender.send(Ok(Part::Page(page))).await.is_err() {
                return Ok(());
            }
            token = next;
            if token.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// Reads one page. Returns its objects and the token of the next page.
async fn read_page(
    client: &Client,
    bucket: &str,
    prefix: &str,
    token: Option<String>,
) -> Result<(Vec<Listed>, Option<String>), Error> {
    let doing = format!("listing {bucket}");
    let page = client
        .list_objects_v2()
        .bucket(bucket)
        .prefix(prefix)
        .encoding_type(EncodingType::Url)
        .set_continuation_token(token)
        .send()
        .await
        .map_err(|error| Error::aws(&doing, &error))?;
    let unexpected = |detail: &str| Error::UnexpectedAnswer {
        from: doing.clone(),
        detail: detail.to_owned(),
    };
    // A server that does not know the parameter sends unencoded keys, and no `EncodingType`.
    let is_encoded = page.encoding_type == Some(EncodingType::Url);
    let objects = page
        .contents
        .unwrap_or_default()
        .into_iter()
        .map(|object| {
            let key = object
                .key
                .ok_or_else(|| unexpected("an object without a key"))?;
            let size = object.size.and_then(|size| u64::try_from(size).ok());
            Ok(Listed {
                key: if is_encoded {
                    decode(&key).ok_or_else(|| unexpected("a key that is not UTF-8"))?
                } else {
                    key
                },
                // Without a size or an `ETag` the comparison needs a HEAD.
                etag: object
                    .e_tag
                    .filter(|_| size.is_some())
                    .map(|etag| etag.trim_matches('"').to_owned())
                    .unwrap_or_default(),
                size: size.unwrap_or_default(),
                modified_at: object
                    .last_modified
                    .and_then(|at| DateTime::from_timestamp(at.secs(), 0)),
                storage_class: object
                    .storage_class
                    .map_or_else(|| STANDARD.to_owned(), |class| class.as_str().to_owned()),
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let next = page
        .next_continuation_token
        .filter(|token| !token.is_empty());
    match (page.is_truncated.unwrap_or(false), next) {
        (true, None) => Err(unexpected(
            "a truncated listing without a continuation token",
        )),
        (true, next) => Ok((objects, next)),
        (false, _) => Ok((objects, None)),
    }
}

/// S3's `encoding-type=url` writes a space as `+` and a plus as `%2B`.
fn decode(key: &str) -> Option<String> {
    let spaces = key.replace('+', " ");
    let decoded = percent_decode_str(&spaces).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_keys_are_read_back() {
        let keys = [
            ("a/b.jpg", "a/b.jpg"),
            ("red+flower.jpg", "red flower.jpg"),
            ("1%2B1%3D2", "1+1=2"),
            ("100%25", "100%"),
            ("a%0Ab", "a\nb"),
            ("%C3%A9/%F0%9F%98%80", "é/😀"),
        ];
        for (encoded, key) in keys {
            assert_eq!(decode(encoded).as_deref(), Some(key));
        }
        assert_eq!(decode("%FF"), None);
    }
}
