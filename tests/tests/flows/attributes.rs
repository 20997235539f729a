//! The attributes that an object has besides its bytes and that can change without them: tags, ACLs and locks. The
//! requests that a function sends to S3 for them, and the result on the deployed stack.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tandem_lambda::runtime::now;
use tandem_tests::bucket::{Bucket, Object, tags};
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::Cloud;
use tandem_tests::eventually::{SOON, eventually};
use tandem_tests::notification;
use tandem_tests::proxy::Seen;

use crate::stage::{Stage, copies};

/// A grantee.
const SOMEBODY: &str = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be";

/// Puts an object with a tag. Returns the notification.
async fn put_red(bucket: &Bucket) -> Value {
    let object = Object {
        tags: tags(&[("colour", "red")]),
        ..Object::of("tagged")
    };
    let etag = bucket.put_object("a", &object).await;
    notification::put(bucket, "a", &etag, object.body.len())
}

// Promise: A replica has its source's tags, or none where the rule says so.
#[tokio::test]
async fn tags_are_not_copied_if_the_rule_drops_them() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    cloud
        .rule(&buckets, json!({"options": {"tags": false}}))
        .await;
    let mut object = Object::of("tagged").dressed("mark");
    buckets.source.put_object("a", &object).await;
    buckets.source.put_object("b", &object).await;
    let arrived = async |key: &str| {
        eventually("it arrives", SOON, async || {
            let bytes = buckets.destination.bytes(key).await;
            bytes.ok_or_else(|| "nothing".to_owned())
        })
        .await
    };
    for key in ["a", "b"] {
        arrived(key).await;
        assert!(buckets.destination.tags(key).await.is_empty(), "{key}");
    }
    // Everything else is replicated.
    object.tags.clear();
    for key in ["a", "b"] {
        buckets.source.set_tags(key, &object.tags).await;
    }
    buckets.assert_equal("").await;
}

/// The emulator sends no notification of changed tags, so the test does.
// Promise: A change of tags alone is set on the replica without a copy, also if it comes while the rule is
// paused, or fails at first.
#[tokio::test]
async fn a_change_of_tags_alone_reaches_the_replica_without_a_copy() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    cloud.rule(&buckets, json!({})).await;
    let source = &buckets.source;
    let queue = cloud.queue_url("put").await;
    put_red(source).await;
    buckets.arrive("a", SOON).await;
    let written = buckets.destination.head("a").await.expect("a replica");

    source.set_tags("a", &tags(&[("colour", "blue")])).await;
    let event = notification::settled(source, "ObjectTagging:Put", "a");
    cloud.send(&queue, &event.to_string()).await;
    buckets.arrive("a", SOON).await;

    // A change that happens now waits until no copy that read the old tags can be under way.
    source.set_tags("a", &BTreeMap::new()).await;
    let event = notification::event(source, "ObjectTagging:Delete", "a", now());
    cloud.send(&queue, &event.to_string()).await;
    buckets.arrive("a", SOON).await;
    let head = buckets.destination.head("a").await.expect("a replica");
    assert_eq!(
        head.last_modified, written.last_modified,
        "the object was copied again"
    );
}

// Promise: A change of tags alone is set on the replica without a copy, also if it comes while the rule is
// paused, or fails at first.
#[tokio::test]
async fn a_change_of_tags_alone_costs_no_copy() {
    let stage = Stage::new("replicate-put").await;
    let source = &stage.buckets.source;
    let put = put_red(source).await;
    assert!(stage.acknowledged(put).await);
    stage.proxy.take();
    for (changed, written) in [
        (tags(&[("colour", "blue")]), "PutObjectTagging"),
        (BTreeMap::new(), "DeleteObjectTagging"),
    ] {
        source.set_tags("a", &changed).await;
        let event = notification::settled(source, "ObjectTagging:Put", "a");
        assert!(stage.acknowledged(event).await);
        let counts = stage.proxy.take_counts();
        assert_eq!(counts.get("CopyObject"), None, "{counts:?}");
        assert_eq!(counts.get(written), Some(&1), "{counts:?}");
        assert_eq!(stage.buckets.destination.tags("a").await, changed);
    }
    // The same notification again causes no write.
    let event = notification::settled(source, "ObjectTagging:Put", "a");
    assert!(stage.acknowledged(event).await);
    let counts = stage.proxy.take_counts();
    let writes = ["CopyObject", "PutObjectTagging", "DeleteObjectTagging"];
    assert!(
        !writes.iter().any(|write| counts.contains_key(*write)),
        "{counts:?}"
    );
}

// Promise: A change of tags is processed when no earlier quick copy can land any more, and a slow copy reads
// the tags again.
#[tokio::test]
async fn tags_that_have_just_changed_are_compared_later() {
    let stage = Stage::new("replicate-put").await;
    stage.buckets.source.put("a", "one").await;
    let event = notification::event(&stage.buckets.source, "ObjectTagging:Put", "a", now());
    assert!(!stage.acknowledged(event).await);
    let story = stage.proxy.take_story(&stage.buckets);
    assert_eq!(story, ["SQS.ChangeMessageVisibility"]);
}

// Promise: A change of tags alone is set on the replica without a copy, also if it comes while the rule is
// paused, or fails at first.
#[tokio::test]
async fn tags_that_changed_while_the_rule_was_paused_reach_the_replica_after_a_resume() {
    let stage = Stage::new("replicate-put").await;
    let source = &stage.buckets.source;
    let put = put_red(source).await;
    // Not in the stage's function, which shall read the rule for the first time when it is paused.
    let carried = stage.cloud.invoke("replicate-put", put).await;
    carried.expect("the object is replicated");
    stage.cloud.change("pause", &stage.rule).await;
    source.set_tags("a", &tags(&[("colour", "blue")])).await;
    let event = notification::settled(source, "ObjectTagging:Put", "a");
    assert!(stage.acknowledged(event).await);
    let shown = stage.cloud.progress(&stage.rule).await;
    assert_eq!(shown["live"]["backlog"]["held"], 1, "{shown}");
    assert_eq!(
        stage.buckets.destination.tags("a").await,
        tags(&[("colour", "red")])
    );
    stage.cloud.change("resume", &stage.rule).await;
    stage.buckets.become_equal("", SOON).await;
}

// Promise: Grants to others than the owner are kept where the rule says so, and so are changes of them.
#[tokio::test]
async fn grants_are_copied_if_the_rule_keeps_acls() {
    let cloud = Cloud::connect().await;
    let granted = Object {
        reader: Some(SOMEBODY.to_owned()),
        ..Object::of("granted")
    };
    let theirs = BTreeSet::from([(SOMEBODY.to_owned(), "READ".to_owned())]);
    for (acl, arrives) in [("keep", theirs), ("reset", BTreeSet::new())] {
        let buckets = Buckets::new(&cloud, false).await;
        for bucket in [&buckets.source, &buckets.destination] {
            bucket.allow_acls().await;
        }
        let fields = json!({"options": {"acl": acl}});
        cloud.rule(&buckets, fields).await;
        buckets.source.put_object("a", &granted).await;
        buckets.arrive("a", SOON).await;
        eventually("the grants arrive", SOON, async || {
            let found = buckets.destination.grants("a").await;
            if found == arrives {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            }
        })
        .await;
        if acl == "reset" {
            continue;
        }
        // The emulator sends no notification of changed ACLs.
        buckets.source.revoke_grants("a").await;
        let event = notification::settled(&buckets.source, "ObjectAcl:Put", "a");
        let queue = cloud.queue_url("put").await;
        cloud.send(&queue, &event.to_string()).await;
        eventually("the grants go", SOON, async || {
            match buckets.destination.grants("a").await {
                found if found.is_empty() => Ok(()),
                found => Err(format!("{found:?}")),
            }
        })
        .await;
    }
}

// Promise: A lock that the rule keeps is part of the copy, and is never taken off a replica or shortened.
#[tokio::test]
async fn a_lock_is_copied_at_first_and_when_it_changes() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::lockable(&cloud).await;
    let options = json!({"options": {"object_lock": "keep"}});
    let stage = Stage::between(cloud, buckets, "replicate-put", options).await;
    let source = &stage.buckets.source;
    let etag = source.put("a", "held").await;
    source.set_legal_hold("a", true).await;
    let put = notification::put(source, "a", &etag, 4);
    assert!(stage.acknowledged(put.clone()).await);
    let seen = stage.proxy.take();
    let copied: Vec<&Seen> = seen.iter().filter(|seen| copies(seen)).collect();
    assert_eq!(copied.len(), 1, "locked at once");
    assert_eq!(copied[0].headers["x-amz-object-lock-legal-hold"], "ON");

    // A protected replica stays protected until a user removes the protection at the destination.
    source.set_legal_hold("a", false).await;
    assert!(stage.acknowledged(put).await);
    let counts = stage.proxy.take_counts();
    let written = ["CopyObject", "PutObjectLegalHold"].map(|operation| counts.get(operation));
    assert_eq!(written, [None, None], "{counts:?}");

    let etag = source.put("b", "held later").await;
    let put = notification::put(source, "b", &etag, 10);
    assert!(stage.acknowledged(put.clone()).await);
    source.set_legal_hold("b", true).await;
    stage.proxy.take();
    assert!(stage.acknowledged(put).await);
    let counts = stage.proxy.take_counts();
    assert_eq!(counts.get("CopyObject"), None, "{counts:?}");
    assert_eq!(counts.get("PutObjectLegalHold"), Some(&1), "{counts:?}");
}
