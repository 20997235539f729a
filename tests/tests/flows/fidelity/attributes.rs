//! Tags, ACLs and owners.

use super::{ACCOUNT, Dress, IN_PARTS, Kind, Pair, Server, WHOLE};
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{ObjectCannedAcl, Tag, Tagging};
use tandem_aws::s3::s3_pair::S3Pair;
use tandem_replication::decide::KeepReason;
use tandem_replication::names::{AccountId, Etag, ObjectKey};
use tandem_replication::options::{AclChoice, Options};
use tandem_replication::overwrite::Overwrite;
use tandem_replication::replicator::Outcome;

// Promise: A replica has its source's tags, or none where the rule says so.
#[tokio::test]
async fn tags() {
    for tags in [true, false] {
        let options = Options {
            tags,
            ..Options::default()
        };
        let pair = Pair::new(Server::Strict, Kind::Plain, options).await;
        let dress = Dress {
            tagging: Some("written%20by=me&%C3%BC=%2B".to_owned()),
            ..Dress::default()
        };
        for (key, cut) in [("whole", WHOLE), ("parts", IN_PARTS)] {
            pair.write(key, cut, &dress).await;
            pair.carry(key).await;
            let [source, replica] = pair.tags_of_both(key).await;
            assert_eq!(source.len(), 2, "{key}");
            let wanted = if tags { source } else { Vec::new() };
            assert_eq!(replica, wanted, "{key}");
        }
    }
}

#[tokio::test]
async fn tags_that_change_alone_are_set_without_a_copy() {
    for kind in [Kind::Plain, Kind::Versioned] {
        let pair = Pair::new(Server::Strict, kind, Options::default()).await;
        for (key, cut) in [("whole", WHOLE), ("parts", IN_PARTS)] {
            pair.write(key, cut, &Dress::default()).await;
            let (_, before) = pair.carry(key).await;
            let bucket = pair.rule.source.name.as_str();
            let tag = Tag::builder()
                .key("since")
                .value("then ü")
                .build()
                .expect("a tag");
            let tagging = Tagging::builder().tag_set(tag).build().expect("tags");
            let tagged = pair.source.put_object_tagging().bucket(bucket).key(key);
            tagged.tagging(tagging).send().await.expect("tagged");
            assert_eq!(
                pair.reconcile_attributes(key).await,
                Outcome::Adjusted,
                "{key}"
            );
            assert_eq!(
                pair.sent("CopyObject") + pair.sent("UploadPartCopy"),
                0,
                "{key}"
            );
            let [source, replica] = pair.tags_of_both(key).await;
            assert_eq!(source.len(), 1, "{key}");
            assert_eq!(replica, source, "{key}");

            let untagged = pair.source.delete_object_tagging().bucket(bucket).key(key);
            untagged.send().await.expect("untagged");
            assert_eq!(
                pair.reconcile_attributes(key).await,
                Outcome::Adjusted,
                "{key}"
            );
            assert_eq!(pair.tags_of_both(key).await, [vec![], vec![]], "{key}");
            assert_eq!(
                pair.reconcile_attributes(key).await,
                Outcome::InSync,
                "{key}"
            );
            let (_, after) = pair.both(key).await;
            assert_eq!(after.version_id(), before.version_id(), "no new version");
        }
    }
}

// Promise: Grants to others than the owner are kept where the rule says so, and so are changes of them.
#[tokio::test]
async fn acls_are_reset_or_kept() {
    for acl in [AclChoice::Reset, AclChoice::Keep] {
        let options = Options {
            acl,
            ..Options::default()
        };
        let pair = Pair::new(Server::Strict, Kind::Plain, options).await;
        let dress = Dress {
            acl: Some(ObjectCannedAcl::PublicRead),
            ..Dress::default()
        };
        for (key, cut) in [("whole", WHOLE), ("parts", IN_PARTS)] {
            pair.write(key, cut, &dress).await;
            pair.carry(key).await;
            let source = pair.grants(&pair.source, &pair.rule.source, key).await;
            let replica = pair
                .grants(&pair.destination, &pair.rule.destination, key)
                .await;
            assert_eq!(source.len(), 2, "{source:?}");
            match acl {
                AclChoice::Keep => assert_eq!(replica, source, "{key}"),
                AclChoice::Reset => assert_eq!(replica.len(), 1, "{key}: {replica:?}"),
            }
        }
    }
}

#[tokio::test]
async fn tags_of_a_protected_object_stay() {
    let pair = Pair::new(Server::Strict, Kind::Plain, Options::default()).await;
    pair.write("a", WHOLE, &Dress::default()).await;
    pair.carry("a").await;
    let set = |client: &Client, bucket: &str, value: &str| {
        let tag = Tag::builder().key("whose").value(value).build();
        let tagging = Tagging::builder().tag_set(tag.expect("a tag")).build();
        let put = client.put_object_tagging().bucket(bucket).key("a");
        put.tagging(tagging.expect("tags")).send()
    };
    let (source, destination) = (&pair.rule.source.name, &pair.rule.destination.name);
    set(&pair.source, source.as_str(), "source")
        .await
        .expect("tagged");
    set(&pair.destination, destination.as_str(), "somebody")
        .await
        .expect("tagged");
    let buckets = S3Pair::of_rule(&pair.aws, &pair.table, &pair.rule);
    let key = ObjectKey::parse("a").expect("a key");
    let never = pair.replicator(&buckets).overwriting(Overwrite::Never);
    let kept = never.reconcile_attributes(&key).await.expect("reconciled");
    assert_eq!(kept, Outcome::Kept(KeepReason::DestinationExists));
    let [source, replica] = pair.tags_of_both("a").await;
    assert_ne!(source, replica);
}

#[tokio::test]
async fn acls_that_change_alone_are_set_without_a_copy() {
    let options = Options {
        acl: AclChoice::Keep,
        ..Options::default()
    };
    let pair = Pair::new(Server::Strict, Kind::Plain, options).await;
    pair.write("a", WHOLE, &Dress::default()).await;
    pair.carry("a").await;
    let bucket = pair.rule.source.name.as_str();
    for (acl, grants) in [
        (ObjectCannedAcl::PublicRead, 2),
        (ObjectCannedAcl::Private, 1),
    ] {
        let put = pair.source.put_object_acl().bucket(bucket).key("a");
        put.acl(acl).send().await.expect("an ACL");
        assert_eq!(pair.reconcile_attributes("a").await, Outcome::Adjusted);
        assert_eq!(pair.sent("CopyObject"), 0);
        let replica = pair
            .grants(&pair.destination, &pair.rule.destination, "a")
            .await;
        assert_eq!(replica.len(), grants, "{replica:?}");
    }
}

// Promise: A destination of another account has to be named as such, and its owner owns the replicas.
#[tokio::test]
async fn another_accounts_bucket_owns_its_replicas() {
    let options = Options {
        destination_account: Some(AccountId::parse("111122223333").expect("an id")),
        ..Options::default()
    };
    let pair = Pair::new(Server::Strict, Kind::Plain, options).await;
    for (key, cut) in [("whole", WHOLE), ("parts", IN_PARTS)] {
        pair.write(key, cut, &Dress::default()).await;
        let source = pair.head(&pair.source, &pair.rule.source, key).await;
        let buckets = S3Pair::of_rule(&pair.aws, &pair.table, &pair.rule);
        pair.proxy.take();
        let etag = Etag::new(source.e_tag().unwrap_or_default());
        let ended = pair
            .replicator(&buckets)
            .put(&ObjectKey::parse(key).expect("a key"), &etag, 9)
            .await;
        ended.expect("the object is replicated");
        let (mut written, replica) = (0, pair.rule.destination.name.as_str());
        for seen in pair.proxy.take() {
            let header = |name: &str| seen.headers.get(name).and_then(|value| value.to_str().ok());
            let owner = if seen.bucket == replica {
                "111122223333"
            } else {
                ACCOUNT
            };
            assert_eq!(
                header("x-amz-expected-bucket-owner"),
                Some(owner),
                "{seen:?}"
            );
            if seen.is("CopyObject") || seen.is("CreateMultipartUpload") {
                written += 1;
                assert_eq!(
                    header("x-amz-acl"),
                    Some("bucket-owner-full-control"),
                    "{seen:?}"
                );
            }
            if seen.is("CopyObject") || seen.is("UploadPartCopy") {
                let source = header("x-amz-source-expected-bucket-owner");
                assert_eq!(source, Some(ACCOUNT), "{seen:?}");
            }
        }
        assert_eq!(written, 1, "{key}");
    }
}
