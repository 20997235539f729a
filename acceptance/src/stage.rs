//! The resources of the steps: the account, the stacks, and pairs of buckets with a rule, which are created when they
//! are needed. I/O: creates buckets and rules.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws_sdk_s3::types::{
    ServerSideEncryption, ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration,
    ServerSideEncryptionRule, Tag, Tagging,
};
use serde_json::Value;
use tandem_demo::cloud::Bucket;
use tandem_demo::error::Error;
use tandem_demo::tandem_command::{Comparison, Tandem};
use tokio::sync::OnceCell;

use crate::account::Account;
use crate::args::Regions;
use crate::names::{Names, TAG};
use crate::scale::Scale;

/// The key that AWS manages for S3, which costs nothing.
const S3_KEY: &str = "alias/aws/s3";
/// The time between two checks.
const PAUSE: Duration = Duration::from_millis(500);

/// The resources of the steps.
#[derive(Debug)]
pub struct Stage {
    /// The account.
    pub account: Account,
    /// The two regions.
    pub regions: Regions,
    /// The names of the run's resources.
    pub names: Names,
    /// The sizes.
    pub scale: Scale,
    /// The command for the stack in the sources' region.
    pub tandem: Tandem,
    /// The command for the stack in the destinations' region.
    pub back: Tandem,
    /// The time at which the stacks were deployed.
    pub began: Instant,
    plain: OnceCell<Replicated>,
}

/// A source and a destination.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The source, in the first region.
    pub source: Bucket,
    /// The destination, in the second region.
    pub replica: Bucket,
}

/// A pair with a rule.
#[derive(Debug, Clone)]
pub struct Replicated {
    /// The buckets.
    pub pair: Pair,
    /// The rule's id.
    pub rule: String,
}

/// The settings of a pair's buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Without versions, with the default encryption.
    Plain,
    /// With versions.
    Versioned,
    /// Encrypted by the account's own KMS key for S3.
    Kms,
}

impl Stage {
    /// The stage of a run whose stacks are being deployed.
    pub fn new(
        account: Account,
        regions: Regions,
        names: Names,
        scale: Scale,
    ) -> Result<Self, Error> {
        let command = |region: &str, stack: &str| {
            Tandem::beside_this_program(account.target.clone(), region, stack)
        };
        Ok(Self {
            tandem: command(&regions.source, &names.stack())?,
            back: command(&regions.destination, &names.second_stack())?,
            account,
            regions,
            names,
            scale,
            began: Instant::now(),
            plain: OnceCell::new(),
        })
    }

    /// Creates a bucket with the run's tag.
    pub async fn make_bucket(&self, region: &str, what: &str) -> Result<Bucket, Error> {
        let bucket = self.account.bucket(region, self.names.bucket(what));
        bucket.create().await?;
        let unexpected =
            |error| Error::Unexpected(format!("tagging {}: {error}", self.names.bucket(what)));
        let tag = Tag::builder()
            .key(TAG)
            .value(&self.names.id)
            .build()
            .map_err(unexpected)?;
        let tags = Tagging::builder()
            .tag_set(tag)
            .build()
            .map_err(unexpected)?;
        bucket
            .client
            .put_bucket_tagging()
            .bucket(&bucket.name)
            .tagging(tags)
            .send()
            .await
            .map_err(|error| Error::aws(format!("tagging {}", bucket.name), &error))?;
        Ok(bucket)
    }

    /// Creates a pair of buckets.
    pub async fn make_pair(&self, what: &str, kind: Kind) -> Result<Pair, Error> {
        let pair = Pair {
            source: self
                .make_bucket(&self.regions.source, &format!("{what}-source"))
                .await?,
            replica: self
                .make_bucket(&self.regions.destination, &format!("{what}-replica"))
                .await?,
        };
        for bucket in [&pair.source, &pair.replica] {
            match kind {
                Kind::Plain => {}
                Kind::Versioned => bucket.keep_versions().await?,
                Kind::Kms => encrypt(bucket).await?,
            }
        }
        Ok(pair)
    }

    /// Creates a pair of buckets and its rule.
    pub async fn replicated(&self, what: &str, kind: Kind) -> Result<Replicated, Error> {
        let pair = self.make_pair(what, kind).await?;
        self.with_rule(pair).await
    }

    /// Creates a rule for a pair.
    pub async fn with_rule(&self, pair: Pair) -> Result<Replicated, Error> {
        let rule = create_rule(&self.tandem, &pair.source.name, &pair.replica.name).await?;
        Ok(Replicated { pair, rule })
    }

    /// Returns the pair that most steps share.
    pub async fn plain(&self) -> Result<&Replicated, Error> {
        self.plain
            .get_or_try_init(|| self.replicated("plain", Kind::Plain))
            .await
    }

    /// Waits until `tandem verify` finds both sides equal. Returns how long that took, and how many objects there are.
    ///
    /// It does not use the stack's backlog, because the job that is handed on has a message in it for most of the run.
    pub async fn settle(&self, replicated: &Replicated) -> Result<(Duration, usize), Error> {
        let Replicated { pair, rule } = replicated;
        let objects = list(&pair.source, "").await?.len();
        let what = format!(
            "{} and {} become equal",
            pair.source.name, pair.replica.name
        );
        let ((), took) = self
            .until(&what, self.scale.patience, async || {
                let found: Comparison = self.tandem.ask(&["verify", rule]).await?;
                Ok(if found.equal && found.same == objects as u64 {
                    Ok(())
                } else {
                    Err(format!("of {objects} objects: {found:?}"))
                })
            })
            .await?;
        Ok((took, objects))
    }

    /// Repeats `check` until it has an answer, or fails with what it saw last.
    pub async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut check: impl AsyncFnMut() -> Result<Result<T, String>, Error>,
    ) -> Result<(T, Duration), Error> {
        let started = Instant::now();
        loop {
            match check().await? {
                Ok(seen) => return Ok((seen, started.elapsed())),
                Err(last) if started.elapsed() > limit => {
                    let secs = limit.as_secs();
                    return Err(Error::Unexpected(format!(
                        "{what}: not within {secs} s; last seen: {last}"
                    )));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// Creates a rule and returns its id.
pub async fn create_rule(
    tandem: &Tandem,
    source: &str,
    destination: &str,
) -> Result<String, Error> {
    let words = [
        "rule",
        "create",
        "--source",
        source,
        "--destination",
        destination,
    ];
    let created: Value = tandem.ask(&words).await?;
    match created["rule"]["id"].as_str() {
        Some(id) => Ok(id.to_owned()),
        None => Err(Error::Unexpected(format!(
            "the new rule of {source} has no id: {created}"
        ))),
    }
}

/// Returns the keys under a prefix, each with its `ETag` and size.
pub async fn list(bucket: &Bucket, prefix: &str) -> Result<BTreeMap<String, (String, i64)>, Error> {
    let mut pages = bucket
        .client
        .list_objects_v2()
        .bucket(&bucket.name)
        .prefix(prefix)
        .encoding_type(aws_sdk_s3::types::EncodingType::Url)
        .into_paginator()
        .send();
    let mut found = BTreeMap::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| Error::aws(format!("listing {}", bucket.name), &error))?;
        for object in page.contents.unwrap_or_default() {
            let key = object.key.unwrap_or_default();
            found.insert(
                key,
                (
                    object.e_tag.unwrap_or_default(),
                    object.size.unwrap_or_default(),
                ),
            );
        }
    }
    Ok(found)
}

async fn encrypt(bucket: &Bucket) -> Result<(), Error> {
    let unexpected = |error| Error::Unexpected(format!("encrypting {}: {error}", bucket.name));
    let default = ServerSideEncryptionByDefault::builder()
        .sse_algorithm(ServerSideEncryption::AwsKms)
        .kms_master_key_id(S3_KEY)
        .build()
        .map_err(unexpected)?;
    // With a bucket key, S3 sends one request to KMS in some minutes per bucket, instead of one per object.
    let rule = ServerSideEncryptionRule::builder()
        .apply_server_side_encryption_by_default(default)
        .bucket_key_enabled(true)
        .build();
    let configuration = ServerSideEncryptionConfiguration::builder()
        .rules(rule)
        .build()
        .map_err(unexpected)?;
    bucket
        .client
        .put_bucket_encryption()
        .bucket(&bucket.name)
        .server_side_encryption_configuration(configuration)
        .send()
        .await
        .map_err(|error| Error::aws(format!("encrypting {}", bucket.name), &error))?;
    Ok(())
}
