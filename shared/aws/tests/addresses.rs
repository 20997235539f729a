//! How the SDK addresses a bucket. No I/O.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use aws_sdk_s3::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};

/// A name with capitals or underscores cannot be part of a host name.
// Promise: A source in us-east-1, or a destination there, may have a name from before March 2018.
#[tokio::test]
async fn a_bucket_with_an_old_name_is_addressed_in_the_path() {
    for (bucket, url) in [
        ("photos", "https://photos.s3.us-east-1.amazonaws.com"),
        (
            "ABCD_Central_1",
            "https://s3.us-east-1.amazonaws.com/ABCD_Central_1",
        ),
        (
            &"X".repeat(255),
            &format!("https://s3.us-east-1.amazonaws.com/{}", "X".repeat(255)),
        ),
    ] {
        let parameters = Params::builder().region("us-east-1").bucket(bucket).build();
        let resolver = DefaultResolver::new();
        let endpoint = resolver.resolve_endpoint(&parameters.unwrap()).await;
        assert_eq!(endpoint.unwrap().url(), url);
    }
}
