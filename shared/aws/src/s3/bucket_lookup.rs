//! Examines a bucket before a rule is created for it.

use aws_sdk_s3::operation::head_bucket::{HeadBucketError, HeadBucketOutput};
use aws_sdk_s3::types::{ObjectLockEnabled, ObjectOwnership, ServerSideEncryption};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tandem_replication::names::{BucketName, Region};
use tandem_replication::option_checks::BucketSetup;
use tandem_replication::options::{AclChoice, LockChoice, Options};
use tandem_replication::rule::{Bucket, BucketEncryption};

use crate::error::Refused;
use crate::{Aws, AwsError};

/// The result of looking up a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It exists, the expected account owns it, and Tandem can list it.
    Readable(Region),
    /// It does not exist.
    Missing,
    /// Another account owns it.
    OtherOwner,
    /// Another account owns it, or Tandem has no permission to read it. Contains S3's message.
    NotAccessible(String),
}

/// A bucket of the account, as the account's own list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnBucket {
    /// Its name.
    pub name: BucketName,
    /// Its region, if S3 returns it.
    pub region: Option<Region>,
}

/// Determines the region of `bucket`, whether the account `owner` owns it, and whether Tandem can read it.
pub async fn look_up(aws: &Aws, bucket: &BucketName, owner: &str) -> Result<Found, AwsError> {
    match locate(aws, bucket, Some(owner)).await {
        Ok(region) => listed(aws, bucket, owner, region).await,
        Err(error) => refused(aws, bucket, owner, &error).await,
    }
}

/// Determines whether Tandem can list a bucket in this region.
async fn listed(
    aws: &Aws,
    bucket: &BucketName,
    owner: &str,
    region: Region,
) -> Result<Found, AwsError> {
    let listed = aws
        .s3(&region)
        .list_objects_v2()
        .bucket(bucket.as_str())
        .max_keys(1)
        .expected_bucket_owner(owner)
        .send()
        .await;
    match listed {
        Ok(_) => Ok(Found::Readable(region)),
        Err(error) if Refused::of(&error).status == Some(403) => Ok(Found::NotAccessible(
            AwsError::request("listing it", error).to_string(),
        )),
        Err(error) => Err(AwsError::request(format!("listing {bucket}"), error)),
    }
}

/// Whether a bucket is a website, so that its clients follow the redirects of its objects. Returns true if S3
/// does not say.
pub async fn is_website(aws: &Aws, bucket: &Bucket) -> bool {
    let answer = aws
        .s3(&bucket.region)
        .get_bucket_website()
        .bucket(bucket.name.as_str())
        .expected_bucket_owner(aws.account_id())
        .send()
        .await;
    !matches!(
        answer.map_err(|error| Refused::of(&error).code),
        Err(Some(code)) if code == "NoSuchWebsiteConfiguration"
    )
}

/// Returns the account's buckets, sorted by name.
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
            page.map_err(|error| AwsError::request("listing the account's buckets", error))?;
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

/// Whether S3 returns the list of the account's own buckets, and this bucket is not in it.
async fn is_anothers(aws: &Aws, bucket: &BucketName) -> bool {
    let own = own_buckets(aws).await;
    own.is_ok_and(|own| own.iter().all(|own| own.name != *bucket))
}

/// Returns the bucket's region if Tandem may read the bucket and, if `owner` is given, this account owns it.
async fn locate(aws: &Aws, bucket: &BucketName, owner: Option<&str>) -> Result<Region, HeadError> {
    match head(aws, aws.region(), bucket, owner).await {
        Ok(answer) => Ok(answer
            .bucket_region()
            .map_or_else(|| aws.region().clone(), Region::new)),
        Err(error) => match (bucket_region(&error), Refused::of(&error).status) {
            // A redirect names the region. A request to that region checks the owner.
            (Some(region), Some(301 | 307 | 400)) => {
                head(aws, &region, bucket, owner).await.map(|_| region)
            }
            _ => Err(error),
        },
    }
}

/// Returns the region of one of the account's own buckets, or `None` if there is no such bucket. A failure of the
/// service is an error, because it does not show whether the bucket exists.
pub(crate) async fn region_of(aws: &Aws, bucket: &BucketName) -> Result<Option<Region>, AwsError> {
    match head(aws, aws.region(), bucket, Some(aws.account_id())).await {
        Ok(answer) => Ok(answer.bucket_region().map(Region::new)),
        Err(error) => match (bucket_region(&error), Refused::of(&error).status) {
            (Some(region), _) => Ok(Some(region)),
            // The bucket is missing, or it is another account's.
            (None, Some(403 | 404)) => Ok(None),
            (None, _) => Err(AwsError::request(format!("locating {bucket}"), error)),
        },
    }
}

/// Reads the setup of `bucket`, as far as `options` depend on it. A setting that S3 does not return stays unknown.
pub async fn look_at_setup(
    aws: &Aws,
    bucket: &Bucket,
    owner: &str,
    options: &Options,
) -> BucketSetup {
    let (has_object_lock, has_acls) = futures::join!(
        async {
            match options.object_lock {
                LockChoice::Keep => has_object_lock(aws, bucket, owner).await,
                LockChoice::Bucket => None,
            }
        },
        async {
            match options.acl {
                AclChoice::Keep => has_acls(aws, bucket, owner).await,
                AclChoice::Reset => None,
            }
        },
    );
    BucketSetup {
        has_object_lock,
        has_acls,
    }
}

async fn has_object_lock(aws: &Aws, bucket: &Bucket, owner: &str) -> Option<bool> {
    let answer = aws
        .s3(&bucket.region)
        .get_object_lock_configuration()
        .bucket(bucket.name.as_str())
        .expected_bucket_owner(owner)
        .send()
        .await;
    match answer {
        Ok(answer) => {
            let enabled = answer.object_lock_configuration()?.object_lock_enabled();
            Some(enabled == Some(&ObjectLockEnabled::Enabled))
        }
        Err(error) => {
            is_unset(bucket, "ObjectLockConfigurationNotFoundError", &error).then_some(false)
        }
    }
}

async fn has_acls(aws: &Aws, bucket: &Bucket, owner: &str) -> Option<bool> {
    let answer = aws
        .s3(&bucket.region)
        .get_bucket_ownership_controls()
        .bucket(bucket.name.as_str())
        .expected_bucket_owner(owner)
        .send()
        .await;
    match answer {
        Ok(answer) => {
            let rule = answer.ownership_controls()?.rules().first()?;
            Some(*rule.object_ownership() != ObjectOwnership::BucketOwnerEnforced)
        }
        // The bucket is older than ownership controls, and so has ACLs.
        Err(error) => is_unset(bucket, "OwnershipControlsNotFoundError", &error).then_some(true),
    }
}

/// Returns the default encryption of a bucket of the account `owner`, or `None` if S3 does not return it, or returns a
/// word that this version does not know.
pub async fn default_encryption(
    aws: &Aws,
    bucket: &Bucket,
    owner: &str,
) -> Option<BucketEncryption> {
    let answer = aws
        .s3(&bucket.region)
        .get_bucket_encryption()
        .bucket(bucket.name.as_str())
        .expected_bucket_owner(owner)
        .send()
        .await;
    match answer {
        Ok(answer) => {
            let rule = answer
                .server_side_encryption_configuration()?
                .rules()
                .first()?;
            match rule
                .apply_server_side_encryption_by_default()?
                .sse_algorithm()
            {
                ServerSideEncryption::Aes256 => Some(BucketEncryption::Aes256),
                ServerSideEncryption::AwsKms => Some(BucketEncryption::Kms),
                ServerSideEncryption::AwsKmsDsse => Some(BucketEncryption::KmsDsse),
                _ => None,
            }
        }
        // S3 user guide, "Setting default server-side encryption behavior for Amazon S3 buckets": since January 2023
        // every bucket that has no other encryption has this one.
        Err(error) => is_unset(
            bucket,
            "ServerSideEncryptionConfigurationNotFoundError",
            &error,
        )
        .then_some(BucketEncryption::Aes256),
    }
}

/// Whether S3 answers, by this code, that the bucket has no such configuration.
fn is_unset<E>(bucket: &Bucket, code: &str, error: &SdkError<E, Response>) -> bool
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let error = AwsError::described(format!("reading the setup of {}", bucket.name), error);
    if error.is(code) {
        return true;
    }
    tracing::warn!(%error, "cannot read the bucket's setup; it stays unknown");
    false
}

type HeadError = SdkError<HeadBucketError, Response>;

async fn head(
    aws: &Aws,
    region: &Region,
    bucket: &BucketName,
    owner: Option<&str>,
) -> Result<HeadBucketOutput, HeadError> {
    let request = aws.s3(region).head_bucket().bucket(bucket.as_str());
    request
        .set_expected_bucket_owner(owner.map(str::to_owned))
        .send()
        .await
}

fn bucket_region(error: &HeadError) -> Option<Region> {
    error
        .raw_response()?
        .headers()
        .get("x-amz-bucket-region")
        .map(Region::new)
}

async fn refused(
    aws: &Aws,
    bucket: &BucketName,
    owner: &str,
    error: &HeadError,
) -> Result<Found, AwsError> {
    match Refused::of(error).status {
        Some(404) => Ok(Found::Missing),
        // The request succeeds without an expected owner, so S3 refused the owner.
        Some(403) if locate(aws, bucket, None).await.is_ok() => Ok(Found::OtherOwner),
        // The role denies every request to another account's bucket. Only the list of the own buckets shows the owner.
        Some(403) if owner == aws.account_id() && is_anothers(aws, bucket).await => {
            Ok(Found::OtherOwner)
        }
        status @ Some(400..=499) => {
            let said = AwsError::described("S3 answers", error).to_string();
            match (status, bucket_region(error)) {
                // The answer to a HEAD has no message. The answer to a listing may name the policy that denies it.
                (Some(403), Some(region)) => match listed(aws, bucket, owner, region).await {
                    Ok(Found::NotAccessible(words)) => Ok(Found::NotAccessible(words)),
                    _ => Ok(Found::NotAccessible(said)),
                },
                _ => Ok(Found::NotAccessible(said)),
            }
        }
        _ => Err(AwsError::described(format!("looking up {bucket}"), error)),
    }
}
