//! Encryption of replicas: the real adapter and protocol against the S3 in memory. No local cloud.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::time::{Duration, SystemTime};

use tandem_aws::dynamodb::table::Table;
use tandem_aws::s3::bucket_lookup::default_encryption;
use tandem_aws::s3::s3_pair::S3Pair;
use tandem_lambda::put_hints::PutHints;
use tandem_memory_s3::server::ACCOUNT_ID;
use tandem_memory_s3::{Attributes, HeaderValue, Object, Operation};
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::names::{Etag, KmsKeyArn, ObjectKey};
use tandem_replication::object::PROVENANCE_KEY;
use tandem_replication::options::{EncryptionChoice, Options};
use tandem_replication::part_plan::CopyLimits;
use tandem_replication::replicator::{Outcome, Replicator};
use tandem_replication::rule::BucketEncryption;
use tandem_tests::memory_pair::MemoryPair;

const KEY: &str = "arn:aws:kms:us-west-2:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// A pair of buckets, and processes that replicate objects.
struct Stage(MemoryPair);

impl Stage {
    async fn new(options: Options) -> Self {
        Self(MemoryPair::new(options).await)
    }

    /// Stores the default encryption in the rule, as `configure-rule` does when it makes the rule and at every check.
    async fn note_default_encryption(&mut self) {
        let noted = default_encryption(&self.0.aws, &self.0.rule.destination, ACCOUNT_ID).await;
        self.0.rule.destination_encryption = noted;
    }

    /// Puts an object and replicates it, in a process that may have replicated others. Returns the number of copies.
    async fn carry(&self, process: &PutHints, key: &str) -> u64 {
        let at = SystemTime::now().into();
        let object = Object::new("bytes".into(), Attributes::default(), at);
        self.carry_object(process, key, object)
            .await
            .expect("the object is replicated")
    }

    async fn carry_object(
        &self,
        process: &PutHints,
        key: &str,
        object: Object,
    ) -> Result<u64, Fault> {
        let (etag, bytes) = (Etag::new(object.etag()), object.size());
        self.0.memory.put("source", key, object);
        self.0.memory.take_counts();
        self.0.proxy.take();
        let table = Table::new(&self.0.aws, "table");
        let pair = S3Pair::of_rule(&self.0.aws, &table, &self.0.rule);
        let hint = process.of(&self.0.rule);
        let replicator = Replicator::new(
            &pair,
            self.0.rule.policy,
            &self.0.rule.options,
            CopyLimits::default(),
        )
        .with_hint(&hint);
        let key = ObjectKey::parse(key).expect("a key");
        let ended = replicator.put(&key, &etag, bytes).await?;
        assert_eq!(ended, Outcome::Replicated { bytes });
        assert_eq!(
            replicator.reconcile(&key).await.expect("reconciled"),
            Outcome::InSync
        );
        let counts = self.0.memory.take_counts();
        let copies = counts.get(&("replica".to_owned(), Operation::CopyObject));
        Ok(copies.copied().unwrap_or_default())
    }

    /// The encryptions that copies and uploads named, in order.
    fn asked(&self) -> Vec<Option<String>> {
        let orders = self.0.proxy.take().into_iter();
        let orders =
            orders.filter(|seen| seen.is("CopyObject") || seen.is("CreateMultipartUpload"));
        orders
            .map(|seen| {
                let asked = seen.headers.get("x-amz-server-side-encryption")?;
                asked.to_str().ok().map(str::to_owned)
            })
            .collect()
    }

    fn replica(&self, key: &str) -> Attributes {
        let replica = self.0.memory.object("replica", key).expect("a replica");
        replica.attributes().clone()
    }
}

// Promise: The first put of a process costs one copy also where the destination's default encryption changes `ETag`s.
#[tokio::test]
async fn the_first_put_of_a_process_costs_one_copy_whatever_the_default_encryption() {
    let mut stage = Stage::new(Options::default()).await;
    stage.0.memory.set_default_encryption("replica", Some(KEY));
    // If S3 did not return the encryption, a process finds it out by a copy that has to be repeated.
    let learning = PutHints::default();
    assert_eq!(stage.carry(&learning, "a").await, 2);
    assert_eq!(stage.carry(&learning, "b").await, 1);
    stage.note_default_encryption().await;
    assert_eq!(
        stage.0.rule.destination_encryption,
        Some(BucketEncryption::Kms)
    );
    assert_eq!(stage.carry(&PutHints::default(), "c").await, 1);
    for key in ["a", "b", "c"] {
        let replica = stage.replica(key);
        assert_eq!(replica.kms_key.as_deref(), Some(KEY), "{key}");
        assert!(replica.metadata.contains_key(PROVENANCE_KEY), "{key}");
    }
    // The default changes after the last check. The stored encryption is then wrong, but no put fails because of that.
    stage.0.memory.set_default_encryption("replica", None);
    let process = PutHints::default();
    assert_eq!(stage.carry(&process, "d").await, 1);
    assert_eq!(stage.carry(&process, "e").await, 1);
    assert!(!stage.replica("e").metadata.contains_key(PROVENANCE_KEY));
    stage.note_default_encryption().await;
    assert_eq!(stage.carry(&PutHints::default(), "f").await, 1);
    assert!(!stage.replica("f").metadata.contains_key(PROVENANCE_KEY));
}

#[tokio::test]
async fn the_encryption_of_a_bucket_that_does_not_return_it_is_unknown() {
    let stage = Stage::new(Options::default()).await;
    let noted = default_encryption(&stage.0.aws, &stage.0.rule.destination, "111122223333").await;
    assert_eq!(noted, None);
}

// Promise: Every copy and every upload asks for the rule's encryption, so that a destination whose policy requires
// one takes them.
#[tokio::test]
async fn a_rule_with_an_encryption_satisfies_a_policy_that_requires_it() {
    let key = || Some(KmsKeyArn::parse(KEY).expect("an ARN"));
    let managed = Some("alias/aws/s3");
    for (encryption, kms_key, asks, encrypts) in [
        (EncryptionChoice::Aes256, None, "AES256", None),
        (EncryptionChoice::Kms, None, "aws:kms", managed),
        (EncryptionChoice::Kms, key(), "aws:kms", Some(KEY)),
        (EncryptionChoice::Bucket, key(), "aws:kms", Some(KEY)),
    ] {
        let options = Options {
            encryption,
            kms_key,
            ..Options::default()
        };
        let stage = Stage::new(options).await;
        // The requests do not name the bucket's default encryption.
        stage
            .0
            .memory
            .set_default_encryption("replica", Some("another key"));
        stage.0.memory.require_encryption("replica", asks);
        let process = PutHints::default();
        assert_eq!(stage.carry(&process, "whole").await, 1, "{asks}");
        assert_eq!(stage.asked(), [Some(asks.to_owned())]);
        // S3 accepts smaller parts only as the last one.
        let parts = vec![vec![b'x'; 5 << 20].into(), "more".into()];
        let in_parts = Object::of_parts(parts, Attributes::default(), SystemTime::now().into());
        let carried = stage.carry_object(&process, "parts", in_parts).await;
        assert_eq!(carried.expect("the object is replicated"), 0, "{asks}");
        assert_eq!(stage.asked(), [Some(asks.to_owned())]);
        for key in ["whole", "parts"] {
            let replica = stage.replica(key);
            assert_eq!(replica.kms_key.as_deref(), encrypts, "{asks} {key}");
            let marked = replica.metadata.contains_key(PROVENANCE_KEY);
            assert_eq!(marked, encrypts.is_some(), "{asks} {key}");
        }
    }
}

#[tokio::test]
async fn a_policy_that_requires_an_encryption_denies_a_rule_without_one() {
    let stage = Stage::new(Options::default()).await;
    stage.0.memory.require_encryption("replica", "AES256");
    let at = SystemTime::now().into();
    let object = Object::new("bytes".into(), Attributes::default(), at);
    let carried = stage.carry_object(&PutHints::default(), "a", object).await;
    let denied = carried.expect_err("denied");
    // A failure that is recorded is explained by more requests.
    let table = Table::new(&stage.0.aws, "table");
    let pair = S3Pair::of_rule(&stage.0.aws, &table, &stage.0.rule);
    let key = ObjectKey::parse("a").expect("a key");
    let fault = pair.explained(&key, denied).await;
    assert_eq!(fault.reason, Reason::DstPutObjectNotPermitted, "{fault}");
    assert_eq!(stage.asked()[0], None);
}

// Promise: A replica whose metadata leave no room for the source's `ETag` is recognised by its size, its metadata and
// its time: it was written after its source.
#[tokio::test]
async fn a_replica_without_space_for_the_mark_is_recognised() {
    let options = Options {
        encryption: EncryptionChoice::Kms,
        ..Options::default()
    };
    let stage = Stage::new(options).await;
    let full = Attributes {
        metadata: [("filling".to_owned(), value(&"x".repeat(2_041)))].into(),
        ..Attributes::default()
    };
    // S3 stores metadata that no header can contain, and reports its number (API reference, "HeadObject").
    let unshown = Attributes {
        headers: [("x-amz-missing-meta", value("1"))].into(),
        ..Attributes::default()
    };
    for (key, attributes) in [("full", full), ("unshown", unshown)] {
        let yesterday = SystemTime::now() - Duration::from_hours(24);
        let object = Object::new("bytes".into(), attributes.clone(), yesterday.into());
        let carried = stage.carry_object(&PutHints::default(), key, object).await;
        assert_eq!(carried.expect("the object is replicated"), 1, "{key}");
        let replica = stage.replica(key);
        assert_eq!(replica.metadata, attributes.metadata, "{key}");
        assert_eq!(replica.headers, attributes.headers, "{key}");
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("a header")
}
