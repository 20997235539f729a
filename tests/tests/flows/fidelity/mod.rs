//! What a replica takes from its source, row by row of `docs/fidelity.md`: the real adapter and protocol against
//! real servers, for objects written in one request and in parts alike.
//!
//! Most rows are tested on the stricter S3, which knows parts, locks and archives; the rows that it does not support,
//! on the S3 of the local cloud.

mod attributes;
mod content;
mod storage;
mod versions;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, ChecksumAlgorithm, ChecksumMode,
    ChecksumType, CompletedMultipartUpload, CompletedPart, CreateBucketConfiguration,
    ObjectCannedAcl, ObjectLockLegalHoldStatus, ObjectLockMode, StorageClass,
    VersioningConfiguration,
};
use std::time::SystemTime;
use tandem_aws::Aws;
use tandem_aws::dynamodb::table::Table;
use tandem_aws::s3::s3_pair::S3Pair;
use tandem_lambda::runtime::now;
use tandem_replication::fault::Fault;
use tandem_replication::names::{BucketName, Etag, ObjectKey, Region, RuleId};
use tandem_replication::options::Options;
use tandem_replication::part_plan::CopyLimits;
use tandem_replication::put_hint::PutHint;
use tandem_replication::replicator::{Outcome, Replicator};
use tandem_replication::rule::{Bucket, Rule, RuleState};
use tandem_tests::cloud::{Cloud, unique};
use tandem_tests::endpoint;
use tandem_tests::proxy::Proxy;

const PART_BYTES: usize = 5 << 20;
/// The ways to write an object: whole, in one part, in equal parts, in uneven parts.
const CUTS: [&[usize]; 4] = [
    &[],
    &[700],
    &[PART_BYTES, PART_BYTES, 700],
    &[PART_BYTES, PART_BYTES + 9, 700],
];
const WHOLE: &[usize] = CUTS[0];
const IN_PARTS: &[usize] = CUTS[3];
const KEY_ARN: &str = "arn:aws:kms:us-west-2:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const ACCOUNT: &str = "000000000000";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    /// The S3 that knows parts, locks and archives.
    Strict,
    /// The S3 of the local cloud.
    Emulator,
}

/// The kind of buckets that a test needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Versioned,
    Locked,
}

/// A pair of buckets, and a rule between them.
struct Pair {
    aws: Aws,
    table: Table,
    rule: Rule,
    source: Client,
    destination: Client,
    proxy: Proxy,
    hint: PutHint,
}

/// The attributes of a source object besides its bytes.
#[derive(Debug, Clone, Default)]
struct Dress {
    content_type: Option<String>,
    content_encoding: Option<String>,
    content_language: Option<String>,
    content_disposition: Option<String>,
    cache_control: Option<String>,
    expires: Option<String>,
    metadata: Vec<(&'static str, &'static str)>,
    tagging: Option<String>,
    storage_class: Option<StorageClass>,
    website: Option<String>,
    checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    acl: Option<ObjectCannedAcl>,
    retain: Option<(ObjectLockMode, SystemTime)>,
    legal_hold: bool,
}

/// Sets the attributes of a request; both ways of writing have the same methods.
macro_rules! dressed {
    ($request:expr, $dress:expr) => {{
        let expires = $dress.expires.clone();
        let metadata = $dress.metadata.iter();
        let metadata = metadata.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        $request
            .set_content_type($dress.content_type.clone())
            .set_content_encoding($dress.content_encoding.clone())
            .set_content_language($dress.content_language.clone())
            .set_content_disposition($dress.content_disposition.clone())
            .set_cache_control($dress.cache_control.clone())
            .set_metadata(Some(metadata.collect()))
            .set_tagging($dress.tagging.clone())
            .set_storage_class($dress.storage_class.clone())
            .set_website_redirect_location($dress.website.clone())
            .set_checksum_algorithm($dress.checksum.clone().map(|(algorithm, _)| algorithm))
            .set_acl($dress.acl.clone())
            .set_object_lock_mode($dress.retain.clone().map(|(mode, _)| mode))
            .set_object_lock_retain_until_date($dress.retain.clone().map(|(_, until)| until.into()))
            .set_object_lock_legal_hold_status(
                $dress.legal_hold.then_some(ObjectLockLegalHoldStatus::On),
            )
            .customize()
            .mutate_request(move |request| {
                if let Some(expires) = expires.clone() {
                    request.headers_mut().insert("expires", expires);
                }
            })
    }};
}

impl Pair {
    async fn new(server: Server, kind: Kind, options: Options) -> Self {
        let cloud = Cloud::connect().await;
        let upstream = match server {
            Server::Strict => endpoint::strict_s3_from_environment(),
            Server::Emulator => cloud.endpoint.clone(),
        };
        let proxy = Proxy::start(&upstream).await.for_tests_too();
        let config = |url: &str| {
            aws_config::defaults(aws_config::BehaviorVersion::latest())
                .region(aws_config::Region::new("us-east-1"))
                .endpoint_url(url)
                .load()
        };
        let (aws, table_aws) = (config(&proxy.url()).await, config(&cloud.endpoint).await);
        let aws = Aws::new(aws, ACCOUNT.to_owned()).expect("clients");
        let table_aws = Aws::new(table_aws, ACCOUNT.to_owned()).expect("clients");
        let table = Table::new(&table_aws, cloud.table().await);
        let bucket = |name: &str, region: &str| Bucket {
            name: BucketName::parse(&unique(name)).expect("a name"),
            region: Region::new(region),
        };
        let rule = Rule {
            options,
            state: RuleState::Enabled,
            ..Rule::new(
                RuleId::new(unique("fidelity")),
                bucket("source", "us-east-1"),
                bucket("replica", "us-west-2"),
                now(),
            )
        };
        let pair = Self {
            source: aws.s3(&rule.source.region),
            destination: aws.s3(&rule.destination.region),
            aws,
            table,
            rule,
            proxy,
            hint: PutHint::default(),
        };
        create(&pair.source, &pair.rule.source, kind).await;
        create(&pair.destination, &pair.rule.destination, kind).await;
        pair
    }

    /// Writes a source object. Returns its `ETag`.
    async fn write(&self, key: &str, cut: &[usize], dress: &Dress) -> String {
        let (client, bucket) = (&self.source, self.rule.source.name.as_str());
        if cut.is_empty() {
            let put = client.put_object().bucket(bucket).key(key);
            let put = put.body(ByteStream::from_static(b"the bytes"));
            let written = dressed!(put, dress).send().await;
            return written.expect("an object").e_tag.expect("an ETag");
        }
        let create = client.create_multipart_upload().bucket(bucket).key(key);
        let kind = dress.checksum.clone().map(|(_, kind)| kind);
        let create = create.set_checksum_type(kind.clone());
        let upload = dressed!(create, dress).send().await.expect("an upload");
        let upload_id = upload.upload_id.expect("an id");
        let mut parts = Vec::new();
        for (number, bytes) in (1..).zip(cut) {
            let filling = u8::try_from(number).unwrap_or_default();
            let part = client
                .upload_part()
                .bucket(bucket)
                .key(key)
                .upload_id(&upload_id)
                .part_number(number)
                .set_checksum_algorithm(dress.checksum.clone().map(|(algorithm, _)| algorithm))
                .body(ByteStream::from(vec![filling; *bytes]))
                .send()
                .await
                .expect("a part");
            let part = if dress.checksum.is_some() {
                CompletedPart::builder()
                    .set_checksum_crc32(part.checksum_crc32)
                    .set_checksum_crc32_c(part.checksum_crc32_c)
                    .set_checksum_crc64_nvme(part.checksum_crc64_nvme)
                    .set_checksum_sha1(part.checksum_sha1)
                    .set_checksum_sha256(part.checksum_sha256)
                    .set_e_tag(part.e_tag)
            } else {
                CompletedPart::builder().set_e_tag(part.e_tag)
            };
            parts.push(part.part_number(number).build());
        }
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts));
        let complete = client.complete_multipart_upload().bucket(bucket).key(key);
        let complete = complete.set_checksum_type(kind).upload_id(upload_id);
        let written = complete.multipart_upload(parts.build()).send().await;
        written.expect("an object").e_tag.expect("an ETag")
    }

    /// Replicates a key as a notification of its put would.
    async fn try_carry(&self, key: &str) -> Result<Outcome, Fault> {
        let source = self.head(&self.source, &self.rule.source, key).await;
        let etag = Etag::new(source.e_tag().unwrap_or_default());
        let bytes = u64::try_from(source.content_length().unwrap_or_default());
        let key = ObjectKey::parse(key).expect("a key");
        let buckets = S3Pair::of_rule(&self.aws, &self.table, &self.rule);
        self.proxy.take();
        self.replicator(&buckets)
            .put(&key, &etag, bytes.unwrap_or_default())
            .await
    }

    fn replicator<'a>(&'a self, buckets: &'a S3Pair) -> Replicator<'a, S3Pair> {
        Replicator::new(
            buckets,
            self.rule.policy,
            &self.rule.options,
            CopyLimits::default(),
        )
        .with_hint(&self.hint)
    }

    /// Replicates a key. Returns the HEADs of both sides.
    async fn carry(&self, key: &str) -> (HeadObjectOutput, HeadObjectOutput) {
        let outcome = self.try_carry(key).await.expect("the object is replicated");
        assert!(matches!(outcome, Outcome::Replicated { .. }), "{outcome:?}");
        self.both(key).await
    }

    async fn reconcile_attributes(&self, key: &str) -> Outcome {
        let buckets = S3Pair::of_rule(&self.aws, &self.table, &self.rule);
        let key = ObjectKey::parse(key).expect("a key");
        self.proxy.take();
        let ended = self.replicator(&buckets).reconcile_attributes(&key).await;
        ended.expect("reconciled")
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, Fault> {
        let buckets = S3Pair::of_rule(&self.aws, &self.table, &self.rule);
        let key = ObjectKey::parse(key).expect("a key");
        self.replicator(&buckets).reconcile(&key).await
    }

    async fn both(&self, key: &str) -> (HeadObjectOutput, HeadObjectOutput) {
        futures::join!(
            self.head(&self.source, &self.rule.source, key),
            self.head(&self.destination, &self.rule.destination, key)
        )
    }

    async fn head(&self, client: &Client, bucket: &Bucket, key: &str) -> HeadObjectOutput {
        let head = client.head_object().bucket(bucket.name.as_str()).key(key);
        let head = head.checksum_mode(ChecksumMode::Enabled).send().await;
        head.unwrap_or_else(|error| panic!("{key:?} in {}: {error:?}", bucket.name))
    }

    async fn tags(&self, client: &Client, bucket: &Bucket, key: &str) -> Vec<(String, String)> {
        let tags = client.get_object_tagging().bucket(bucket.name.as_str());
        let tags = tags.key(key).send().await.expect("tags");
        let mut tags: Vec<_> = tags
            .tag_set
            .into_iter()
            .map(|tag| (tag.key, tag.value))
            .collect();
        tags.sort();
        tags
    }

    async fn tags_of_both(&self, key: &str) -> [Vec<(String, String)>; 2] {
        [
            self.tags(&self.source, &self.rule.source, key).await,
            self.tags(&self.destination, &self.rule.destination, key)
                .await,
        ]
    }

    async fn grants(&self, client: &Client, bucket: &Bucket, key: &str) -> Vec<String> {
        let acl = client.get_object_acl().bucket(bucket.name.as_str());
        let acl = acl.key(key).send().await.expect("an ACL");
        let mut grants: Vec<String> = acl
            .grants()
            .iter()
            .map(|grant| format!("{:?} {:?}", grant.grantee(), grant.permission()))
            .collect();
        grants.sort();
        grants
    }

    /// The number of requests of this operation in the last attempt.
    fn sent(&self, operation: &str) -> usize {
        let counts = self.proxy.take_counts();
        counts.get(operation).copied().unwrap_or_default()
    }
}

async fn create(client: &Client, bucket: &Bucket, kind: Kind) {
    let name = bucket.name.as_str();
    let place = (bucket.region.as_str() != "us-east-1").then(|| {
        CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::from(bucket.region.as_str()))
            .build()
    });
    client
        .create_bucket()
        .bucket(name)
        .set_create_bucket_configuration(place)
        .set_object_lock_enabled_for_bucket((kind == Kind::Locked).then_some(true))
        .send()
        .await
        .expect("a bucket");
    if kind == Kind::Versioned {
        let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled);
        let versioning = client.put_bucket_versioning().bucket(name);
        let versioning = versioning.versioning_configuration(enabled.build());
        versioning.send().await.expect("versions");
    }
}

async fn strict() -> Pair {
    Pair::new(Server::Strict, Kind::Plain, Options::default()).await
}
