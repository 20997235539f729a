//! Object Lock and versions.

use super::{Dress, IN_PARTS, Kind, Pair, Server, WHOLE};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode};
use std::time::{Duration, SystemTime};
use tandem_replication::options::{LockChoice, Options};
use tandem_replication::replicator::Outcome;

#[tokio::test]
async fn object_lock_of_the_bucket_or_of_the_source() {
    let until = SystemTime::now() + Duration::from_hours(24);
    let dress = Dress {
        retain: Some((ObjectLockMode::Governance, until)),
        legal_hold: true,
        ..Dress::default()
    };
    for object_lock in [LockChoice::Bucket, LockChoice::Keep] {
        let options = Options {
            object_lock,
            ..Options::default()
        };
        let pair = Pair::new(Server::Strict, Kind::Locked, options).await;
        for (key, cut) in [("whole", WHOLE), ("parts", IN_PARTS)] {
            pair.write(key, cut, &dress).await;
            let (source, replica) = pair.carry(key).await;
            let lock = |head: &HeadObjectOutput| {
                (
                    head.object_lock_mode().cloned(),
                    head.object_lock_retain_until_date().map(DateTime::secs),
                    head.object_lock_legal_hold_status().cloned(),
                )
            };
            assert_eq!(source.object_lock_mode(), Some(&ObjectLockMode::Governance));
            match object_lock {
                LockChoice::Keep => assert_eq!(lock(&replica), lock(&source), "{key}"),
                LockChoice::Bucket => assert_eq!(lock(&replica).0, None, "{key}"),
            }
        }
    }
}

// Promise: A lock that the rule keeps is part of the copy, and is never taken off a replica or shortened.
#[tokio::test]
async fn a_lock_is_prolonged_without_a_copy_and_never_shortened() {
    let options = Options {
        object_lock: LockChoice::Keep,
        ..Options::default()
    };
    let pair = Pair::new(Server::Strict, Kind::Locked, options).await;
    let day = Duration::from_hours(24);
    let dress = Dress {
        retain: Some((ObjectLockMode::Governance, SystemTime::now() + day)),
        ..Dress::default()
    };
    pair.write("a", WHOLE, &dress).await;
    pair.carry("a").await;
    for (client, bucket, outcome) in [
        (&pair.source, &pair.rule.source, Outcome::Adjusted),
        // The destination's owner protects the replica for longer than its source.
        (&pair.destination, &pair.rule.destination, Outcome::InSync),
    ] {
        let days = if outcome == Outcome::Adjusted { 2 } else { 3 };
        let retention = ObjectLockRetention::builder()
            .mode(ObjectLockRetentionMode::Governance)
            .retain_until_date((SystemTime::now() + days * day).into());
        let put = client.put_object_retention().bucket(bucket.name.as_str());
        let put = put.key("a").retention(retention.build());
        put.send().await.expect("a retention");
        assert_eq!(pair.reconcile_attributes("a").await, outcome);
        assert_eq!(pair.sent("CopyObject"), 0);
    }
    let (source, replica) = pair.both("a").await;
    let until = |head: &HeadObjectOutput| head.object_lock_retain_until_date().map(DateTime::secs);
    assert!(until(&replica) > until(&source), "{replica:?}");
}

#[tokio::test]
async fn versions_the_present_state_is_copied_and_each_write_adds_a_version() {
    let pair = Pair::new(Server::Strict, Kind::Versioned, Options::default()).await;
    for content in ["one", "two"] {
        let dress = Dress {
            metadata: vec![("content", content)],
            ..Dress::default()
        };
        pair.write("a", WHOLE, &dress).await;
        pair.carry("a").await;
    }
    let bucket = pair.rule.source.name.as_str();
    let deletion = pair.source.delete_object().bucket(bucket).key("a");
    deletion.send().await.expect("a delete marker");
    // This server does not support conditional deletes; S3 does.
    let ended = pair.reconcile("a").await;
    assert_eq!(ended.expect("reconciled"), Outcome::Deleted);
    let versions = pair.destination.list_object_versions();
    let versions = versions.bucket(pair.rule.destination.name.as_str());
    let versions = versions.send().await.expect("versions");
    assert_eq!(versions.versions().len(), 2, "{versions:?}");
    assert_eq!(versions.delete_markers().len(), 1, "{versions:?}");
}
