//! Live replication: objects that are put, overwritten or deleted at the source are replicated, whatever the policy,
//! the prefixes, the versions and the key; other objects are not.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tandem_replication::rule_memory::REMEMBERED_FOR;
use tandem_tests::bucket::{Bucket, Object};
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::{Cloud, unique};
use tandem_tests::eventually::{SOON, eventually};
use tandem_tests::function_process::Start;
use tandem_tests::notification;

/// The `ETag` of an object that no test puts.
const NO_ETAG: &str = "00000000000000000000000000000000";

async fn stage(versioned: bool, fields: Value) -> (Cloud, Buckets, String) {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, versioned).await;
    let rule = cloud.rule(&buckets, fields).await;
    (cloud, buckets, rule)
}

/// The outcome of the one key of a notification with which the test invokes a function.
async fn outcome(cloud: &Cloud, function: &str, notification: Value) -> String {
    let answer = cloud
        .invoke(function, notification)
        .await
        .expect("an answer");
    answer["objects"][0]["outcome"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

// ---- Puts and deletes, by policy and versions ---------------------------------------------------

async fn changes_are_carried(policy: &str, versioned: bool) {
    let (_, buckets, _) = stage(versioned, json!({"policy": policy})).await;
    let Buckets {
        source,
        destination,
    } = &buckets;
    source.put("plain", "plain").await;
    source
        .put_object("dressed", &Object::of("dressed").dressed("first"))
        .await;
    source.put("overwritten", "first").await;
    source
        .put_object("redressed", &Object::of("the same bytes").dressed("first"))
        .await;
    source.put("deleted", "soon").await;
    buckets.become_equal("", SOON).await;

    source.put("overwritten", "and again").await;
    source
        .put_object("redressed", &Object::of("the same bytes").dressed("second"))
        .await;
    source.delete("deleted").await;
    if policy == "full" {
        buckets.become_equal("", SOON).await;
        assert_eq!(destination.head("deleted").await, None);
    } else {
        for key in ["plain", "dressed", "overwritten", "redressed"] {
            buckets.arrive(key, SOON).await;
        }
        assert_eq!(
            destination.bytes("deleted").await.as_deref(),
            Some(&b"soon"[..])
        );
    }
    assert_eq!(
        destination.bytes("overwritten").await.as_deref(),
        Some(&b"and again"[..])
    );
}

// Promise: Once a key stops changing at the source, and each of its notifications has been delivered at least
// once, its replica equals the source as the rule's options say; under policy `full` there is no replica where
// the source has no object.
#[tokio::test]
async fn puts_overwrites_and_deletes_are_replicated_without_versions() {
    changes_are_carried("full", false).await;
}

// Promise: Once a key stops changing at the source, and each of its notifications has been delivered at least
// once, its replica equals the source as the rule's options say; under policy `full` there is no replica where
// the source has no object.
#[tokio::test]
async fn puts_overwrites_and_deletes_are_replicated_between_versioned_buckets() {
    changes_are_carried("full", true).await;
}

// Promise: Under policy `write` nothing is deleted: a replica outlives its source.
#[tokio::test]
async fn policy_write_keeps_replicas_of_deleted_objects_without_versions() {
    changes_are_carried("write", false).await;
}

// Promise: Under policy `write` nothing is deleted: a replica outlives its source.
#[tokio::test]
async fn policy_write_keeps_replicas_of_deleted_objects_between_versioned_buckets() {
    changes_are_carried("write", true).await;
}

/// Deletes the current version of an object by its id.
async fn delete_current_version(bucket: &Bucket, key: &str) {
    let current = bucket.head(key).await.expect("an object");
    let deletion = bucket.client.delete_object().bucket(&bucket.name).key(key);
    deletion
        .set_version_id(current.version_id)
        .send()
        .await
        .expect("a deleted version");
}

/// S3 sends only `ObjectRemoved:Delete` when an older version becomes the current one.
// Promise: If the current version of a source object is deleted by its id, the version that becomes current is
// carried over, under either policy.
#[tokio::test]
async fn the_version_that_becomes_current_is_replicated_under_either_policy() {
    for policy in ["write", "full"] {
        let (_, buckets, _) = stage(true, json!({"policy": policy})).await;
        buckets.source.put("a", "one").await;
        buckets.arrive("a", SOON).await;
        buckets.source.put("a", "two").await;
        buckets.become_equal("", SOON).await;
        delete_current_version(&buckets.source, "a").await;
        eventually("the older version arrives", SOON, async || {
            let body = buckets.destination.bytes("a").await.unwrap_or_default();
            (body == b"one").then_some(()).ok_or(format!("{body:?}"))
        })
        .await;
        buckets.assert_equal("").await;
    }
}

// Promise: Under policy `write` nothing is deleted: a replica outlives its source.
#[tokio::test]
async fn policy_write_keeps_the_replica_of_a_source_whose_last_version_is_deleted() {
    let (cloud, buckets, _) = stage(true, json!({"policy": "write"})).await;
    buckets.source.put("a", "one").await;
    buckets.arrive("a", SOON).await;
    delete_current_version(&buckets.source, "a").await;
    let delete = notification::delete(&buckets.source, "a");
    assert_eq!(
        outcome(&cloud, "replicate-delete", delete).await,
        "Kept(PolicyKeepsDeletes)"
    );
    let kept = buckets.destination.bytes("a").await;
    assert_eq!(kept.as_deref(), Some(&b"one"[..]));
}

// Promise: A delete marker at the source hides the replica by a delete marker, and keeps the replica's
// versions.
#[tokio::test]
async fn a_delete_marker_hides_the_replica_and_keeps_its_versions() {
    let (_, buckets, _) = stage(true, json!({})).await;
    buckets.source.put("a", "one").await;
    buckets.arrive("a", SOON).await;
    buckets.source.delete("a").await;
    buckets.vanish("a", SOON).await;
    let versions = buckets
        .destination
        .client
        .list_object_versions()
        .bucket(&buckets.destination.name)
        .send()
        .await
        .expect("versions");
    assert!(!versions.versions().is_empty(), "{versions:?}");
    assert!(!versions.delete_markers().is_empty(), "{versions:?}");
}

// Promise: An object in parts is copied in the same parts, and so keeps its `ETag`; it becomes equal although a
// worker dies.
#[tokio::test]
async fn objects_completed_from_parts_and_copied_at_the_source_are_replicated() {
    let (_, buckets, _) = stage(false, json!({})).await;
    let object = Object::of(vec![7; 6 << 20]).dressed("parts");
    buckets
        .source
        .put_in_parts("of parts", &object, 5 << 20)
        .await;
    buckets.source.put("original", "copied").await;
    let copy = buckets
        .source
        .client
        .copy_object()
        .bucket(&buckets.source.name)
        .key("a copy");
    copy.copy_source(format!("{}/original", buckets.source.name))
        .send()
        .await
        .expect("a copy");
    buckets.become_equal("", SOON).await;
    assert_eq!(
        buckets.destination.bytes("of parts").await,
        Some(object.body)
    );
}

// Promise: An equal `ETag` does not prove an equal object: other metadata and other tags of the same bytes
// arrive.
#[tokio::test]
async fn other_tags_on_the_same_bytes_are_replicated() {
    let (_, buckets, _) = stage(true, json!({})).await;
    let mut object = Object::of("the same");
    for (name, value) in [("colour", "red"), ("colour", "blue"), ("size", "blue")] {
        object.tags = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        buckets.source.put_object("tagged", &object).await;
        buckets.arrive("tagged", SOON).await;
    }
}

// ---- Keys and prefixes -------------------------------------------------------------------------

/// Keys that tools handle wrongly, and one of the maximum length.
fn awkward_keys() -> Vec<String> {
    let mut keys: Vec<String> = [
        "two words.txt",
        " at both ends ",
        "a+b.txt",
        "100%.txt",
        "%2B is no plus.txt",
        "caf\u{e9} cafe\u{301} 日本語/😀.txt",
        "what?versionId=null&acl#anchor",
        "double//slash.txt",
        "/before",
        "a folder/",
        "quotes \"'`<Key>&amp;.txt",
        "back\\slash $(true) ~*!^|:@=,;()[]{}",
        "...",
        "tab\tand bell\u{7}.txt",
    ]
    .map(str::to_owned)
    .into();
    let mut longest = "lang/".to_owned();
    while longest.len() + "ü".len() <= 1_024 {
        longest.push('ü');
    }
    while longest.len() < 1_024 {
        longest.push('+');
    }
    keys.push(longest);
    keys
}

// Promise: Awkward keys, keys with line breaks and empty objects are carried over and deleted.
#[tokio::test]
async fn awkward_keys_and_empty_objects_are_replicated_and_deleted() {
    let (_, buckets, _) = stage(false, json!({})).await;
    let keys = awkward_keys();
    buckets
        .source
        .put_all(&keys, |key| key.as_bytes().to_vec())
        .await;
    buckets.source.put("empty", "").await;
    buckets.become_equal("", SOON).await;
    assert_eq!(buckets.destination.list("").await.len(), keys.len() + 1);
    buckets.source.delete_all(&keys).await;
    buckets.become_equal("", SOON).await;
    assert_eq!(buckets.destination.list("").await.len(), 1);
}

// Promise: Only keys within the rule's prefixes are carried over.
#[tokio::test]
async fn only_keys_within_the_prefixes_are_replicated() {
    let prefixes = ["in/", "ä b+%/", "ä c"];
    let (_, buckets, _) = stage(false, json!({"scope": {"prefixes": prefixes}})).await;
    buckets.destination.put("out/deleted", "stays").await;
    for key in ["out/a", "in", "ä b", "out/deleted", "In/a"] {
        buckets.source.put(key, "out of scope").await;
    }
    buckets.source.delete("out/deleted").await;
    for key in ["in/a", "in/", "ä b+%/a", "ä cd"] {
        buckets.source.put(key, "in scope").await;
        buckets.arrive(key, SOON).await;
    }
    let found: Vec<String> = buckets.destination.list("").await.into_keys().collect();
    assert_eq!(found, ["in/", "in/a", "out/deleted", "ä b+%/a", "ä cd"]);
}

// ---- Late, outdated and skipped notifications, with their outcomes ------------------------------

// Promise: A source that is gone by the time its put is processed is no failure.
#[tokio::test]
async fn a_put_whose_object_no_longer_exists_is_a_success() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    cloud.quiet_rule(&buckets, json!({})).await;
    let gone = |key: &str| notification::put(&buckets.source, key, NO_ETAG, 1);
    assert_eq!(
        outcome(&cloud, "replicate-put", gone("never there")).await,
        "BothAbsent"
    );
    buckets.destination.put("a", "a").await;
    assert_eq!(outcome(&cloud, "replicate-put", gone("a")).await, "Deleted");
    buckets.assert_equal("").await;
}

// Promise: Notifications may come in any order, late, and more than once: the source's present state decides.
#[tokio::test]
async fn a_delete_whose_key_was_put_again_copies_the_new_object() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    cloud.quiet_rule(&buckets, json!({})).await;
    buckets.source.put("a", "again").await;
    let late = notification::delete(&buckets.source, "a");
    assert_eq!(
        outcome(&cloud, "replicate-delete", late.clone()).await,
        "Replicated"
    );
    buckets.assert_equal("").await;
    assert_eq!(outcome(&cloud, "replicate-delete", late).await, "InSync");
}

#[tokio::test]
async fn every_skipped_change_has_an_outcome() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let put = |key: &str| notification::put(&buckets.source, key, NO_ETAG, 1);
    let delete = |key: &str| notification::delete(&buckets.source, key);
    assert_eq!(
        outcome(&cloud, "replicate-put", put("in/a")).await,
        "Skipped(NoRule)"
    );
    let fields = json!({"policy": "write", "scope": {"prefixes": ["in/"]}});
    let rule = cloud.quiet_rule(&buckets, fields).await;
    assert_eq!(
        outcome(&cloud, "replicate-put", put("out/a")).await,
        "Skipped(OutOfScope)"
    );
    assert_eq!(
        outcome(&cloud, "replicate-delete", delete("in/a")).await,
        "BothAbsent"
    );
    buckets.destination.put("in/a", "kept").await;
    assert_eq!(
        outcome(&cloud, "replicate-delete", delete("in/a")).await,
        "Kept(PolicyKeepsDeletes)"
    );
    cloud.change("pause", &rule).await;
    eventually("the pause takes effect", SOON, async || {
        match outcome(&cloud, "replicate-put", put("in/a")).await.as_str() {
            "Held" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    cloud.change("delete", &rule).await;
    // Warm functions may use the remembered rule for a few more seconds.
    eventually("the deletion takes effect", SOON, async || {
        match outcome(&cloud, "replicate-put", put("in/a")).await.as_str() {
            "Skipped(NoRule)" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    let left = buckets.destination.list("").await;
    assert!(left.keys().eq(["in/a"]), "{left:?}");
}

// Promise: A rule that is being deleted replicates nothing, deferred keys included, and its replicas outlive
// it.
#[tokio::test]
async fn nothing_is_replicated_after_the_rule_is_deleted() {
    let (cloud, buckets, rule) = stage(false, json!({})).await;
    buckets.source.put("before", "before").await;
    buckets.arrive("before", SOON).await;
    cloud.change("delete", &rule).await;
    // Longer than any function remembers the rule.
    tokio::time::sleep(REMEMBERED_FOR).await;
    let marker = notification::put(&buckets.source, "never there", NO_ETAG, 1);
    all_say(&cloud, "replicate-put", &marker, "Skipped(NoRule)").await;
    let etag = buckets.source.put("after", "after").await;
    let late = notification::put(&buckets.source, "after", &etag, 5);
    assert_eq!(
        outcome(&cloud, "replicate-put", late).await,
        "Skipped(NoRule)"
    );
    let found: Vec<String> = buckets.destination.list("").await.into_keys().collect();
    assert_eq!(found, ["before"], "replicas outlive their rule");
}

/// The emulator's IAM grants no permission for a key with a line break, so a function with all permissions replicates
/// this key.
// Promise: Awkward keys, keys with line breaks and empty objects are carried over and deleted.
#[tokio::test]
async fn a_key_with_line_breaks_is_replicated_and_deleted() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    cloud.quiet_rule(&buckets, json!({})).await;
    let key = "line\nbreak\r\nagain.txt";
    let etag = buckets.source.put(key, "a").await;
    let put = Start::of(&cloud, "replicate-put").await.start().await;
    put.invoke(notification::put(&buckets.source, key, &etag, 1))
        .await
        .expect("an answer");
    assert_eq!(
        buckets.destination.bytes(key).await.as_deref(),
        Some(&b"a"[..])
    );
    buckets.source.delete(key).await;
    let delete = Start::of(&cloud, "replicate-delete").await.start().await;
    delete
        .invoke(notification::delete(&buckets.source, key))
        .await
        .expect("an answer");
    assert!(buckets.destination.list("").await.is_empty());
}

#[tokio::test]
async fn a_change_is_replicated_whatever_the_form_of_its_notification() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    cloud.quiet_rule(&buckets, json!({})).await;
    // EventBridge writes keys unchanged; S3 form-encodes them.
    let key = "a+b c%20d ü";
    let bridged = |kind: &str| {
        json!({
            "version": "0",
            "source": "aws.s3",
            "detail-type": kind,
            "time": "2026-11-22T21:00:00Z",
            "detail": {"bucket": {"name": buckets.source.name}, "object": {"key": key, "sequencer": "01"}},
        })
    };
    buckets.source.put(key, "one").await;
    let created = outcome(&cloud, "replicate-put", bridged("Object Created")).await;
    assert_eq!(created, "Replicated");
    buckets.assert_equal("").await;
    buckets.source.delete(key).await;
    let deleted = outcome(&cloud, "replicate-delete", bridged("Object Deleted")).await;
    assert_eq!(deleted, "Deleted");
    buckets.assert_equal("").await;

    let etag = buckets.source.put(key, "two").await;
    let plain = notification::put(&buckets.source, key, &etag, 3);
    assert_eq!(outcome(&cloud, "replicate-put", plain).await, "Replicated");
    buckets.source.delete(key).await;
    let plain = notification::delete(&buckets.source, key);
    let wrapped = notification::batch(
        &function_queue(&cloud, "delete").await,
        &[plain.to_string(), bridged("Object Deleted").to_string()],
    );
    let answer = cloud.invoke("replicate-delete", wrapped).await;
    assert!(notification::kept(&answer.expect("an answer")).is_empty());
    buckets.assert_equal("").await;
}

// ---- Pausing -----------------------------------------------------------------------------------

async fn deferred(cloud: &Cloud, rule: &str) -> u64 {
    cloud.progress(rule).await["live"]["backlog"]["held"]
        .as_u64()
        .expect("a count")
}

// Promise: While a rule is paused its changed keys are kept; resuming replicates each from its present state,
// under the policy that the rule has by then.
#[tokio::test]
async fn a_paused_rule_defers_changes_and_a_resume_replicates_them_all() {
    let (cloud, buckets, rule) = stage(false, json!({})).await;
    let Buckets {
        source,
        destination,
    } = &buckets;
    let keys: Vec<String> = (0..20).map(|n| format!("key {n}")).collect();
    source.put_all(&keys, |_| b"before".to_vec()).await;
    buckets.become_equal("", SOON).await;

    assert_eq!(cloud.change("pause", &rule).await["state"], "paused");
    // A function may use the remembered rule for a few more seconds.
    let marker = notification::put(source, "marker", NO_ETAG, 1);
    for function in ["replicate-put", "replicate-delete"] {
        all_say(&cloud, function, &marker, "Held").await;
    }
    source
        .put_all(&keys[..5], |_| b"overwritten".to_vec())
        .await;
    source.delete_all(&keys[5..10]).await;
    source.put("new", "new").await;
    source.put("come and gone", "soon").await;
    source.delete("come and gone").await;
    // Ten keys, the new one, the one that was deleted again, and the marker.
    eventually(
        "every changed key is deferred",
        SOON,
        async || match deferred(&cloud, &rule).await {
            13 => Ok(()),
            other => Err(other.to_string()),
        },
    )
    .await;
    assert_eq!(
        destination.bytes("key 0").await.as_deref(),
        Some(&b"before"[..])
    );
    assert!(destination.head("key 5").await.is_some() && destination.head("new").await.is_none());

    assert_eq!(cloud.change("resume", &rule).await["state"], "enabled");
    buckets.become_equal("", SOON).await;
    eventually(
        "no key is deferred any more",
        SOON,
        async || match deferred(&cloud, &rule).await {
            0 => Ok(()),
            other => Err(other.to_string()),
        },
    )
    .await;
}

/// Waits until a function knows a change of a rule. The emulator has several environments of a function, each with
/// its own cache; all of them have to know the change.
async fn all_say(cloud: &Cloud, function: &str, notification: &Value, wanted: &str) {
    eventually(&format!("{function} says {wanted}"), SOON, async || {
        let asked = (0..8).map(|_| outcome(cloud, function, notification.clone()));
        let outcomes: Vec<String> = stream::iter(asked).buffer_unordered(8).collect().await;
        if outcomes.iter().all(|outcome| outcome == wanted) {
            Ok(())
        } else {
            Err(format!("{outcomes:?}"))
        }
    })
    .await;
}

// Promise: While a rule is paused its changed keys are kept; resuming replicates each from its present state,
// under the policy that the rule has by then.
#[tokio::test]
async fn nothing_is_lost_while_a_rule_is_paused_and_resumed_repeatedly() {
    let (cloud, buckets, rule) = stage(false, json!({})).await;
    let (source, putting) = (buckets.source.clone(), 40);
    let puts = async {
        for round in 0..putting {
            let keys: Vec<String> = (0..8).map(|n| format!("{n}/{}", round % 10)).collect();
            source
                .put_all(&keys, |key| format!("{key} {round}").into_bytes())
                .await;
            if round % 7 == 3 {
                source.delete_all(&keys[..2]).await;
            }
        }
    };
    let toggles = async {
        for _ in 0..4 {
            cloud.change("pause", &rule).await;
            tokio::time::sleep(Duration::from_millis(700)).await;
            cloud.change("resume", &rule).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    futures::join!(puts, toggles);
    buckets.become_equal("", SOON * 2).await;
}

// ---- Messages that cannot be read ---------------------------------------------------------------

// Promise: A message that cannot be read fails alone, and ends in the dead-letter queue.
#[tokio::test]
async fn a_bad_body_fails_alone() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    cloud.quiet_rule(&buckets, json!({})).await;
    let mut bodies = Vec::new();
    for key in ["a", "b", "c"] {
        let etag = buckets.source.put(key, key).await;
        bodies.push(notification::put(&buckets.source, key, &etag, 1).to_string());
    }
    bodies.insert(1, "{\"Records\": [{\"eventName\"".to_owned());
    bodies.insert(3, "{\"neither\": \"nor\"}".to_owned());
    let function = Start::of(&cloud, "replicate-put").await.start().await;
    let queue_arn = function_queue(&cloud, "put").await;
    let answer = function
        .invoke(notification::batch(&queue_arn, &bodies))
        .await;
    assert_eq!(notification::kept(&answer.expect("an answer")), ["1", "3"]);
    buckets.assert_equal("").await;
}

async fn function_queue(cloud: &Cloud, queue: &str) -> String {
    cloud.queue_arn(&cloud.queue_url(queue).await).await
}

// Promise: A message that cannot be read fails alone, and ends in the dead-letter queue.
#[tokio::test]
async fn an_unreadable_message_becomes_a_dead_letter_and_stops_no_other() {
    let (cloud, buckets, _) = stage(false, json!({})).await;
    let poison = unique("not a notification");
    let queue = cloud.queue_url("put").await;
    cloud.send(&queue, &poison).await;
    buckets.source.put("beside it", "fine").await;
    buckets.arrive("beside it", SOON).await;
    let dead = cloud.queue_url("put-dead").await;
    eventually("it is a dead letter", SOON, async || {
        let given_up = cloud.drain(&dead).await;
        if given_up.contains(&poison) {
            Ok(())
        } else {
            Err(format!("{given_up:?}"))
        }
    })
    .await;
}
