//! The contract of the S3 in memory, checked with the AWS SDK.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on says why"
)]

mod buckets;
mod conditions;
mod copies;
mod listings;
mod objects;
mod uploads;
mod watching;

use aws_config::BehaviorVersion;
use aws_config::Region;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::complete_multipart_upload::builders::CompleteMultipartUploadFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use tandem_memory_s3::MemoryS3;

const EAST: &str = "us-east-1";
const WEST: &str = "us-west-2";
/// Small parts make small tests.
const PART: usize = 100;

struct Stage {
    server: MemoryS3,
    s3: Client,
}

fn client(server: &MemoryS3, region: &'static str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .endpoint_url(server.url())
        .force_path_style(true)
        .credentials_provider(Credentials::new("test", "test", None, None, "a test"))
        .build();
    Client::from_conf(config)
}

/// Starts a server with two empty buckets, `one` and `two`.
async fn stage() -> Stage {
    let server = MemoryS3::start().await.unwrap();
    server.set_part_bytes_min(PART as u64);
    for bucket in ["one", "two"] {
        server.make_bucket(bucket, EAST);
    }
    Stage {
        s3: client(&server, EAST),
        server,
    }
}

/// The code and the status of a request that has to fail.
fn refused<T: std::fmt::Debug, E>(
    answer: Result<T, SdkError<E, aws_sdk_s3::config::http::HttpResponse>>,
) -> (String, u16)
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let error = answer.expect_err("a refusal");
    let status = error.raw_response().expect("an answer").status().as_u16();
    (error.code().unwrap_or_default().to_owned(), status)
}

fn code(name: &str, status: u16) -> (String, u16) {
    (name.to_owned(), status)
}

impl Stage {
    async fn put(&self, key: &str, body: &str) -> String {
        let put = self.s3.put_object().bucket("one").key(key);
        let put = put.body(ByteStream::from(body.as_bytes().to_vec()));
        put.send().await.unwrap().e_tag.unwrap()
    }

    async fn get(&self, bucket: &str, key: &str) -> String {
        let got = self.s3.get_object().bucket(bucket).key(key).send().await;
        let bytes = got.unwrap().body.collect().await.unwrap().to_vec();
        String::from_utf8(bytes).unwrap()
    }

    async fn begin(&self, key: &str) -> String {
        let begun = self.s3.create_multipart_upload().bucket("one").key(key);
        begun.send().await.unwrap().upload_id.unwrap()
    }

    async fn part(&self, key: &str, id: &str, number: i32, body: String) -> CompletedPart {
        let part = self.s3.upload_part().bucket("one").key(key).upload_id(id);
        let part = part.part_number(number).body(body.into_bytes().into());
        let etag = part.send().await.unwrap().e_tag.unwrap();
        CompletedPart::builder()
            .part_number(number)
            .e_tag(etag)
            .build()
    }

    fn completing(
        &self,
        key: &str,
        id: &str,
        parts: &[CompletedPart],
    ) -> CompleteMultipartUploadFluentBuilder {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.to_vec()));
        let complete = self.s3.complete_multipart_upload().bucket("one").key(key);
        complete.upload_id(id).multipart_upload(parts.build())
    }

    async fn keys(&self, prefix: &str) -> Vec<String> {
        let mut pages = self
            .s3
            .list_objects_v2()
            .bucket("one")
            .prefix(prefix)
            .max_keys(2)
            .into_paginator()
            .send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let contents = page.unwrap().contents.unwrap_or_default();
            assert!(contents.len() <= 2);
            keys.extend(contents.into_iter().filter_map(|object| object.key));
        }
        keys
    }
}
