//! What there is to know about a bucket before a rule is made for it.

use aws_sdk_s3::operation::head_bucket::{HeadBucketError, HeadBucketOutput};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use tandem_replication::names::{BucketName, Region};

use crate::error::Refused;
use crate::{Aws, AwsError};

/// What looking for a bucket found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is there, it is ours, and it can be listed.
    Readable(Region),
    /// There is no such bucket.
    Missing,
    /// It belongs to another account, or may not be read; in S3's words.
    NotAccessible(String),
}

/// A bucket of the account, as the account's own list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnBucket {
    /// Its name.
    pub name: BucketName,
    /// Its region, where it can be told.
    pub region: Option<Region>,
}

/// Finds out where `bucket` is, and whether it can be read.
pub async fn look_up(aws: &Aws, bucket: &BucketName) -> Result<Found, AwsError> {
    let region = match head(aws, aws.region(), bucket).await {
        Ok(answer) => answer
            .bucket_region()
            .map_or_else(|| aws.region().clone(), Region::new),
        Err(error) => match (bucket_region(&error), Refused::of(&error).status) {
            (_, Some(404)) => return Ok(Found::Missing),
            // A redirect names the region; ask there who owns the bucket.
            (Some(region), Some(301 | 307 | 400)) => match head(aws, &region, bucket).await {
                Ok(_) => region,
                Err(error) => return refused(bucket, &error),
            },
            _ => return refused(bucket, &error),
        },
    };
    let listed = aws
        .s3(&region)
        .list_objects_v2()
        .bucket(bucket.as_str())
        .max_keys(1)
        .expected_bucket_owner(aws.account_id())
        .send()
        .await;
    match listed {
        Ok(_) => Ok(Found::Readable(region)),
        Err(error) if Refused::of(&error).status == Some(403) => Ok(Found::NotAccessible(
            AwsError::request("listing it", &error).to_string(),
        )),
        Err(error) => Err(AwsError::request(format!("listing {bucket}"), &error)),
    }
}

/// The account's buckets, sorted by name.
pub async fn own_buckets(aws: &Aws) -> Result<Vec<OwnBucket>, AwsError> {
    let mut buckets = Vec::new();
    let mut pages = aws
        .s3(aws.region())
        .list_buckets()
        .max_buckets(1_000)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page =
            page.map_err(|error| AwsError::request("listing the account's buckets", &error))?;
        for bucket in page.buckets() {
            let Some(Ok(name)) = bucket.name().map(BucketName::parse) else {
                continue;
            };
            let region = match bucket.bucket_region() {
                Some(region) => Some(Region::new(region)),
                None => region_of(aws, &name).await?,
            };
            buckets.push(OwnBucket { name, region });
        }
    }
    buckets.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(buckets)
}

async fn region_of(aws: &Aws, bucket: &BucketName) -> Result<Option<Region>, AwsError> {
    Ok(match head(aws, aws.region(), bucket).await {
        Ok(answer) => answer.bucket_region().map(Region::new),
        Err(error) => bucket_region(&error),
    })
}

type HeadError = SdkError<HeadBucketError, Response>;

async fn head(
    aws: &Aws,
    region: &Region,
    bucket: &BucketName,
) -> Result<HeadBucketOutput, HeadError> {
    let request = aws.s3(region).head_bucket().bucket(bucket.as_str());
    request.expected_bucket_owner(aws.account_id()).send().await
}

fn bucket_region(error: &HeadError) -> Option<Region> {
    error
        .raw_response()?
        .headers()
        .get("x-amz-bucket-region")
        .map(Region::new)
}

fn refused(bucket: &BucketName, error: &HeadError) -> Result<Found, AwsError> {
    match Refused::of(error).status {
        Some(404) => Ok(Found::Missing),
        Some(400..=499) => {
            let said = AwsError::request("S3 answers", error).to_string();
            Ok(Found::NotAccessible(said))
        }
        _ => Err(AwsError::request(format!("looking for {bucket}"), error)),
    }
}
