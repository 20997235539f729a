//! Storage class, archives and encryption.

use super::{Dress, IN_PARTS, KEY_ARN, Kind, Pair, Server, WHOLE, strict};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    GlacierJobParameters, RestoreRequest, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule, StorageClass, Tier,
};
use tandem_aws::s3::s3_pair::S3Pair;
use tandem_replication::fault::Reason;
use tandem_replication::names::{Etag, KmsKeyArn, ObjectKey, StorageClass as Class};
use tandem_replication::object::PROVENANCE_KEY;
use tandem_replication::options::{ClassChoice, Options};
use tandem_replication::replicator::Outcome;

// Promise: A replica has the storage class of its source when it was copied, or the rule's.
#[tokio::test]
async fn storage_class_of_the_source_or_of_the_rule() {
    let always = ClassChoice::Always(Class::new("GLACIER_IR"));
    for (choice, of_the_rule) in [(ClassChoice::Keep, None), (always, Some("GLACIER_IR"))] {
        let options = Options {
            storage_class: choice,
            ..Options::default()
        };
        let pair = Pair::new(Server::Strict, Kind::Plain, options).await;
        for class in ["STANDARD", "STANDARD_IA", "INTELLIGENT_TIERING"] {
            let dress = Dress {
                storage_class: Some(StorageClass::from(class)),
                ..Dress::default()
            };
            for (how, cut) in [("whole", WHOLE), ("parts", IN_PARTS)] {
                let key = format!("{how} {class}");
                pair.write(&key, cut, &dress).await;
                let (_, replica) = pair.carry(&key).await;
                let found = replica
                    .storage_class()
                    .map_or("STANDARD", StorageClass::as_str);
                assert_eq!(found, of_the_rule.unwrap_or(class), "{key}");
            }
        }
    }
}

/// The put hint never guesses a class that is paid for by the month.
#[tokio::test]
async fn a_storage_class_that_was_seen_before_costs_one_copy() {
    let pair = strict().await;
    for (n, class, copies) in [
        (0, "INTELLIGENT_TIERING", 2),
        (1, "INTELLIGENT_TIERING", 1),
        (2, "STANDARD", 2),
        (3, "STANDARD_IA", 2),
        (4, "STANDARD_IA", 2),
        (5, "STANDARD", 1),
    ] {
        let dress = Dress {
            storage_class: Some(StorageClass::from(class)),
            ..Dress::default()
        };
        let key = format!("{n}");
        pair.write(&key, WHOLE, &dress).await;
        let (_, replica) = pair.carry(&key).await;
        assert_eq!(pair.sent("CopyObject"), copies, "{key}");
        let found = replica.storage_class();
        assert_eq!(found.map_or("STANDARD", StorageClass::as_str), class);
    }
}

// Promise: An archived source counts as equal to a replica of another class; without a replica it is recorded
// as a failure, and carried over once it is restored.
#[tokio::test]
async fn an_archived_source_is_parked_and_copied_when_it_is_restored() {
    let pair = strict().await;
    let dress = Dress {
        storage_class: Some(StorageClass::Glacier),
        ..Dress::default()
    };
    for (key, cut) in [("whole", WHOLE), ("parts", IN_PARTS)] {
        pair.write(key, cut, &dress).await;
        let fault = pair.try_carry(key).await.expect_err("archived");
        assert_eq!(fault.reason, Reason::SrcObjectArchived, "{key}: {fault}");
        let restore = RestoreRequest::builder().days(1).glacier_job_parameters(
            GlacierJobParameters::builder()
                .tier(Tier::Standard)
                .build()
                .expect("a tier"),
        );
        let bucket = pair.rule.source.name.as_str();
        let restored = pair.source.restore_object().bucket(bucket).key(key);
        let restored = restored.restore_request(restore.build()).send().await;
        restored.expect("restored");
        // This is what `ObjectRestore:Completed` causes.
        let ended = pair.reconcile(key).await;
        assert!(
            matches!(ended, Ok(Outcome::Replicated { .. })),
            "{key}: {ended:?}"
        );
        let (source, replica) = pair.both(key).await;
        assert_eq!(source.e_tag(), replica.e_tag(), "{key}");
        assert_eq!(
            replica.storage_class(),
            Some(&StorageClass::Glacier),
            "{key}"
        );
        let uploads = pair.destination.list_multipart_uploads();
        let uploads = uploads
            .bucket(pair.rule.destination.name.as_str())
            .send()
            .await;
        assert!(uploads.expect("uploads").uploads().is_empty(), "{key}");
    }
}

#[tokio::test]
async fn an_object_under_its_writers_own_key_is_parked() {
    let pair = strict().await;
    let put = pair
        .source
        .put_object()
        .bucket(pair.rule.source.name.as_str());
    let put = put.key("secret").body(ByteStream::from_static(b"secret"));
    let key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let put = put
        .sse_customer_algorithm("AES256")
        .sse_customer_key(key)
        .sse_customer_key_md5("KYvwGXoFFJ42a2u2GDWhwQ==");
    let etag = put.send().await.expect("an object").e_tag.expect("an ETag");
    let buckets = S3Pair::of_rule(&pair.aws, &pair.table, &pair.rule);
    let (key, etag) = (ObjectKey::parse("secret").expect("a key"), Etag::new(&etag));
    let ended = pair.replicator(&buckets).put(&key, &etag, 6).await;
    assert_eq!(ended.expect_err("refused").reason, Reason::RequestRefused);
}

#[tokio::test]
async fn encryption_by_the_destinations_default() {
    let pair = strict().await;
    let by_default = ServerSideEncryptionByDefault::builder()
        .sse_algorithm(ServerSideEncryption::AwsKms)
        .kms_master_key_id(KEY_ARN)
        .build()
        .expect("an encryption");
    let rule = ServerSideEncryptionRule::builder()
        .apply_server_side_encryption_by_default(by_default)
        .build();
    let configuration = ServerSideEncryptionConfiguration::builder()
        .rules(rule)
        .build()
        .expect("an encryption");
    pair.destination
        .put_bucket_encryption()
        .bucket(pair.rule.destination.name.as_str())
        .server_side_encryption_configuration(configuration)
        .send()
        .await
        .expect("an encryption");
    assert_encrypted(&pair).await;
}

#[tokio::test]
async fn encryption_with_the_rules_key() {
    let options = Options {
        kms_key: Some(KmsKeyArn::parse(KEY_ARN).expect("an ARN")),
        ..Options::default()
    };
    let pair = Pair::new(Server::Strict, Kind::Plain, options).await;
    assert_encrypted(&pair).await;
}

/// Asserts that the replicas are encrypted with the key, and that those in parts name their source, because an `ETag`
/// under KMS is not a digest. (On this server it is, so a whole replica has the source's `ETag` in any case.)
async fn assert_encrypted(pair: &Pair) {
    for (key, cut) in [("whole", WHOLE), ("parts", IN_PARTS)] {
        let etag = pair.write(key, cut, &Dress::default()).await;
        let (source, replica) = pair.carry(key).await;
        assert_eq!(
            source.server_side_encryption(),
            Some(&ServerSideEncryption::Aes256)
        );
        assert_eq!(
            replica.server_side_encryption(),
            Some(&ServerSideEncryption::AwsKms),
            "{key}"
        );
        assert_eq!(replica.ssekms_key_id(), Some(KEY_ARN), "{key}");
        if key == "parts" || pair.rule.options.kms_key.is_some() {
            let named = replica.metadata().and_then(|map| map.get(PROVENANCE_KEY));
            assert_eq!(
                named.map(String::as_str),
                Some(etag.trim_matches('"')),
                "{key}"
            );
        }
        // Both sides are equal, and nothing is copied again.
        assert_eq!(
            pair.reconcile_attributes(key).await,
            Outcome::InSync,
            "{key}"
        );
    }
}

// Promise: Where the destination's default encryption or the rule's key changes `ETag`s, the replica names its
// source's `ETag` and becomes equal too.
#[tokio::test]
async fn a_replica_that_cannot_have_the_same_etag_names_its_sources() {
    // As under KMS: an ETag that is not a digest.
    let pair = Pair::new(Server::Strict, Kind::Plain, Options::default()).await;
    let dress = Dress {
        metadata: vec![("kept", "yes")],
        tagging: Some("a=b".to_owned()),
        cache_control: Some("no-store".to_owned()),
        ..Dress::default()
    };
    let etag = pair.write("a", WHOLE, &dress).await;
    let answer = "<CopyObjectResult><ETag>\"another-etag\"</ETag><LastModified>2026-11-22T21:00:00Z</LastModified></CopyObjectResult>";
    pair.proxy.script(
        1,
        |seen| seen.is("CopyObject"),
        tandem_tests::proxy::Action::Answer(200, answer.to_owned()),
    );
    let (source, replica) = pair.carry("a").await;
    let metadata = replica.metadata().expect("metadata");
    assert_eq!(
        metadata.get(PROVENANCE_KEY).map(String::as_str),
        Some(etag.trim_matches('"'))
    );
    assert_eq!(metadata.get("kept").map(String::as_str), Some("yes"));
    assert_eq!(replica.cache_control(), source.cache_control());
    let [tags, replicas] = pair.tags_of_both("a").await;
    assert_eq!(tags, replicas);
    assert_eq!(pair.sent("CopyObject"), 2);
    // The put hint now says that copies change the ETag, so b is copied once. Its copy keeps the ETag, and the hint
    // learns this, so c gets no mark.
    pair.write("b", WHOLE, &dress).await;
    pair.carry("b").await;
    assert_eq!(pair.sent("CopyObject"), 1);
    pair.write("c", WHOLE, &Dress::default()).await;
    let (_, replica) = pair.carry("c").await;
    assert_eq!(pair.sent("CopyObject"), 1);
    let metadata = replica.metadata().expect("metadata");
    assert!(!metadata.contains_key(PROVENANCE_KEY), "{metadata:?}");
}
