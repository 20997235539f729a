//! A copy as in S3: it reads the source at one instant and lands at a later one. The servers of the tests do both at
//! once, so the proxy makes such a copy itself: first to a temporary bucket, then from there to its destination.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use hyper::Response;
use hyper::body::Bytes;

use crate::proxy::Seen;

/// Makes slow copies.
#[derive(Debug)]
pub struct SlowCopy {
    /// The temporary bucket of copies to buckets that are not named below.
    pub aside: Aside,
    /// The temporary buckets of copies to these buckets.
    pub elsewhere: BTreeMap<String, Aside>,
}

/// A bucket in which copies wait before they land.
#[derive(Debug, Clone)]
pub struct Aside {
    /// A client of the destinations' region.
    pub client: Client,
    /// The bucket, which is in that region.
    pub bucket: String,
}

impl SlowCopy {
    /// Whether this request is a copy that can be made slowly: one that keeps the metadata.
    pub fn can_make(seen: &Seen) -> bool {
        seen.is("CopyObject") && !seen.headers.contains_key("x-amz-metadata-directive")
    }

    /// Reads the source now, and lands after a delay if the conditions on the destination hold then. Returns `None` if
    /// one of the two requests was refused; then the caller can pass the request itself on.
    pub async fn make(&self, seen: &Seen, after: Duration) -> Option<Response<Bytes>> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let Aside { client, bucket } = self.elsewhere.get(&seen.bucket).unwrap_or(&self.aside);
        let header = |name: &str| seen.headers.get(name)?.to_str().ok().map(str::to_owned);
        let aside = format!("copy-{}", MADE.fetch_add(1, Ordering::Relaxed));
        let read = client
            .copy_object()
            .bucket(bucket)
            .key(&aside)
            .copy_source(header("x-amz-copy-source")?)
            .set_copy_source_if_match(header("x-amz-copy-source-if-match"))
            .send()
            .await
            .ok()?;
        tokio::time::sleep(after).await;
        let landed = client
            .copy_object()
            .bucket(&seen.bucket)
            .key(&seen.key)
            .copy_source(format!("{bucket}/{aside}"))
            .set_if_match(header("if-match"))
            .set_if_none_match(header("if-none-match"))
            .send()
            .await
            .ok()?;
        let etag = landed.copy_object_result()?.e_tag()?.to_owned();
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CopyObjectResult><ETag>{etag}</ETag></CopyObjectResult>"
        );
        let mut answer = Response::builder().header("content-type", "application/xml");
        if let Some(version) = read.copy_source_version_id() {
            answer = answer.header("x-amz-copy-source-version-id", version);
        }
        answer.body(body.into()).ok()
    }
}
