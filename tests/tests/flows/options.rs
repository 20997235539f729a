//! A rule's options for its replicas: storage class, key, expirations, and the account of their bucket. Covers the
//! refusals, the requests to S3, and the result on the deployed stack. Tags, ACLs and locks: `attributes.rs`.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_s3::types::{Event, NotificationConfiguration, QueueConfiguration};
use serde_json::{Value, json};
use tandem_tests::bucket::{Bucket, Object, tags};
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::{Cloud, EAST, FunctionError, WEST, unique};
use tandem_tests::eventually::{SOON, eventually};
use tandem_tests::function_process::{FunctionProcess, Start};
use tandem_tests::notification;
use tandem_tests::proxy::{Action, Proxy, Seen};

use crate::stage::{Stage, copies};

/// A KMS key in the region of destinations. It need not exist, because the emulator checks no keys.
const KEY: &str = "arn:aws:kms:us-west-2:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const OWN_ACCOUNT: &str = "000000000000";
const OTHER_ACCOUNT: &str = "444455556666";

async fn class(bucket: &Bucket, key: &str) -> Option<String> {
    let head = bucket.head(key).await.expect("an object");
    head.storage_class.map(|class| class.as_str().to_owned())
}

// ---- Refusals ----------------------------------------------------------------------------------

/// Asserts that the error has this code, names the field and the value, and says what to do.
fn assert_refused(error: &FunctionError, code: &str, said: [&str; 3]) {
    let [field, value, remedy] = said;
    assert_eq!(error.code, code, "{}", error.message);
    let begins = format!("{field} = ");
    assert!(error.message.starts_with(&begins), "{}", error.message);
    for part in [value, remedy] {
        assert!(error.message.contains(part), "{part}: {}", error.message);
    }
}

/// Options that are refused whatever the buckets are, each with the field, the value and what to do.
fn wrong_options() -> Vec<(Value, &'static str, [&'static str; 3])> {
    vec![
        (
            json!({"storage_class": "COLD"}),
            "InvalidRequest",
            ["options.storage_class", "COLD", "GLACIER_IR"],
        ),
        (
            json!({"storage_class": "standard"}),
            "InvalidRequest",
            ["options.storage_class", "standard", "STANDARD"],
        ),
        (
            json!({"kms_key": "alias/mine"}),
            "InvalidRequest",
            ["options.kms_key", "alias/mine", "use the whole ARN"],
        ),
        (
            json!({"tags": "yes"}),
            "InvalidRequest",
            ["options.tags", "yes", "give true or false"],
        ),
        (
            json!({"acl": "private"}),
            "InvalidRequest",
            ["options.acl", "private", "use \"reset\""],
        ),
        (
            json!({"object_lock": true}),
            "InvalidRequest",
            ["options.object_lock", "true", "give a text"],
        ),
        (
            json!({"lifecycle_deletes": 1}),
            "InvalidRequest",
            ["options.lifecycle_deletes", "1", "give true or false"],
        ),
        (
            json!({"kms_key": KEY.replace("000000000000", "999988887777")}),
            "InvalidOptions",
            [
                "options.kms_key",
                "999988887777",
                "DestinationAccounts=444455556666,111122223333,999988887777",
            ],
        ),
        (
            json!({"destination_account": "1234"}),
            "InvalidRequest",
            ["options.destination_account", "1234", "12 digits"],
        ),
        (
            json!({"class": "STANDARD"}),
            "InvalidRequest",
            ["options", "unknown field `class`", "storage_class"],
        ),
        (
            json!(["tags"]),
            "InvalidRequest",
            ["options", "[\"tags\"]", "give an object"],
        ),
        (
            json!({"encryption": "AES256", "kms_key": KEY}),
            "InvalidOptions",
            [
                "options.encryption",
                "AES256",
                "set options.kms_key to null",
            ],
        ),
        (
            json!({"kms_key": KEY.replace("us-west-2", "us-east-1")}),
            "InvalidOptions",
            ["options.kms_key", "us-east-1", "name a key of us-west-2"],
        ),
        (
            json!({"object_lock": "keep"}),
            "InvalidOptions",
            ["options.object_lock", "keep", "enable it there"],
        ),
        (
            json!({"acl": "keep"}),
            "InvalidOptions",
            ["options.acl", "keep", "BucketOwnerPreferred"],
        ),
    ]
}

// Promise: An update of a rule changes the options that it names and no others; a refused update or creation
// changes nothing.
#[tokio::test]
async fn invalid_options_are_refused_and_leave_nothing_behind() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    for (options, code, said) in wrong_options() {
        let fields = json!({ "options": options });
        let error = cloud.create(&buckets, fields).await.expect_err("a refusal");
        assert_refused(&error, code, said);
    }
    let expirations = json!({"policy": "write", "options": {"lifecycle_deletes": true}});
    let error = cloud.create(&buckets, expirations).await;
    let said = [
        "options.lifecycle_deletes",
        "true",
        "the policy to \"full\"",
    ];
    assert_refused(&error.expect_err("a refusal"), "InvalidOptions", said);
    let theirs = json!({"options": {"acl": "keep", "destination_account": OTHER_ACCOUNT}});
    let error = cloud.create(&buckets, theirs).await;
    let said = ["options.acl", "keep", "use \"reset\""];
    assert_refused(&error.expect_err("a refusal"), "InvalidOptions", said);
    let unlisted = json!({"options": {"destination_account": "999988887777"}});
    let error = cloud.create(&buckets, unlisted).await;
    let said = [
        "options.destination_account",
        "999988887777",
        "DestinationAccounts=444455556666,111122223333,999988887777",
    ];
    assert_refused(&error.expect_err("a refusal"), "InvalidOptions", said);
    assert_eq!(cloud.items_with(&buckets.source.name).await.len(), 0);
    let found = buckets.source.notifications().await;
    assert!(found.queue_configurations().is_empty(), "{found:?}");
}

// Promise: An update of a rule changes the options that it names and no others; a refused update or creation
// changes nothing.
#[tokio::test]
async fn a_refused_update_does_not_change_the_rule() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let fields = json!({"options": {"storage_class": "STANDARD_IA", "lifecycle_deletes": true}});
    let id = cloud.rule(&buckets, fields).await;
    let get = json!({"action": "get", "rule": id});
    let rule = cloud.configure(get.clone()).await.expect("a rule");
    let notifications = buckets.source.notifications().await;
    let update = async |fields: Value| {
        let mut request = json!({"action": "update", "rule": id});
        let fields = fields.as_object().cloned().unwrap_or_default();
        request.as_object_mut().expect("an object").extend(fields);
        cloud.configure(request).await.expect_err("a refusal")
    };
    for (options, code, said) in wrong_options() {
        let error = update(json!({ "options": options })).await;
        assert_refused(&error, code, said);
    }
    let error = update(json!({"policy": "write"})).await;
    let said = ["options.lifecycle_deletes", "true", "set it to false"];
    assert_refused(&error, "InvalidOptions", said);
    let error = update(json!({"options": {"destination_account": OTHER_ACCOUNT}})).await;
    let said = [
        "options.destination_account",
        OTHER_ACCOUNT,
        "make a new one",
    ];
    assert_refused(&error, "InvalidOptions", said);
    let error = update(json!({"options": {}})).await;
    assert!(error.message.contains("changes nothing"), "{error:?}");
    assert_eq!(cloud.configure(get).await.expect("a rule"), rule);
    assert_eq!(
        buckets.source.notifications().await.queue_configurations,
        notifications.queue_configurations
    );
}

/// `configure-rule` behind a proxy.
async fn configure_rule(cloud: &Cloud) -> (Proxy, FunctionProcess) {
    let proxy = Proxy::start(&cloud.endpoint).await;
    let start = Start::of(cloud, "configure-rule").await.through(&proxy);
    (proxy, start.start().await)
}

fn create(buckets: &Buckets, options: &Value) -> Value {
    json!({
        "action": "create", "options": options,
        "source": buckets.source.name, "destination": buckets.destination.name,
    })
}

/// The role that makes a rule may have fewer permissions for reading a bucket's settings than the functions need.
#[tokio::test]
async fn unreadable_bucket_settings_refuse_no_rule() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let (proxy, function) = configure_rule(&cloud).await;
    for operation in [
        "GetObjectLockConfiguration",
        "GetBucketOwnershipControls",
        "GetBucketEncryption",
    ] {
        let denied = Action::s3_error(403, "AccessDenied");
        proxy.script(1, move |seen| seen.is(operation), denied);
    }
    let keep = json!({"object_lock": "keep", "acl": "keep"});
    let answer = function.invoke(create(&buckets, &keep)).await;
    let rule = &answer.expect("a rule")["rule"];
    assert_eq!(rule["options"]["object_lock"], "keep");
    assert_eq!(rule["options"]["acl"], "keep");
    assert_eq!(rule["destination_encryption"], Value::Null);
}

#[tokio::test]
async fn only_settings_that_the_options_need_are_read() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let (proxy, function) = configure_rule(&cloud).await;
    function
        .invoke(create(&buckets, &json!({"kms_key": KEY})))
        .await
        .expect("a rule");
    let story = proxy.take_story(&buckets);
    for operation in ["GetObjectLockConfiguration", "GetBucketOwnershipControls"] {
        assert!(!story.join(" ").contains(operation), "{story:?}");
    }
}

// ---- Other accounts ----------------------------------------------------------------------------

/// Matches requests that expect this account to own `bucket`. S3 answers 403 to them if another account owns it.
fn expects(bucket: &Bucket, account: &'static str) -> impl Fn(&Seen) -> bool + Send + Sync + use<> {
    let name = bucket.name.clone();
    move |seen| {
        let owner = seen.headers.get("x-amz-expected-bucket-owner");
        seen.bucket == name && owner.is_some_and(|owner| owner == account)
    }
}

// Promise: A destination of another account has to be named as such, and its owner owns the replicas.
#[tokio::test]
async fn a_destination_of_another_account_has_to_be_named_as_such() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let (proxy, function) = configure_rule(&cloud).await;
    let denied = || Action::s3_error(403, "AccessDenied");
    // Another account owns the bucket, and allows this one to read it.
    proxy.script(9, expects(&buckets.destination, OWN_ACCOUNT), denied());
    let error = function.invoke(create(&buckets, &json!({}))).await;
    let said = [
        "destination",
        "belongs to another account;",
        "name the other one in options.destination_account",
    ];
    assert_refused(&error.expect_err("a refusal"), "BucketNotAccessible", said);
    let theirs = json!({"destination_account": OTHER_ACCOUNT});
    let answer = function.invoke(create(&buckets, &theirs)).await;
    let rule = &answer.expect("a rule")["rule"];
    assert_eq!(rule["options"]["destination_account"], OTHER_ACCOUNT);
    // An update accepts the options as they were read.
    let mut update = json!({"action": "update", "rule": rule["id"], "options": rule["options"]});
    update["options"]["tags"] = json!(false);
    let updated = function.invoke(update).await.expect("a rule");
    assert_eq!(
        updated["rule"]["options"]["destination_account"],
        OTHER_ACCOUNT
    );
}

#[tokio::test]
async fn an_account_that_does_not_own_the_destination_is_refused() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let (proxy, function) = configure_rule(&cloud).await;
    let denied = Action::s3_error(403, "AccessDenied");
    proxy.script(9, expects(&buckets.destination, OTHER_ACCOUNT), denied);
    let wrong = json!({"destination_account": OTHER_ACCOUNT});
    let error = function.invoke(create(&buckets, &wrong)).await;
    let said = [
        "options.destination_account",
        OTHER_ACCOUNT,
        "name the account that does",
    ];
    assert_refused(&error.expect_err("a refusal"), "BucketNotAccessible", said);
    assert_eq!(cloud.items_with(&buckets.source.name).await.len(), 0);
}

#[tokio::test]
async fn naming_the_own_account_equals_naming_none() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let fields = json!({"options": {"destination_account": OWN_ACCOUNT}});
    let rule = cloud.create(&buckets, fields).await.expect("a rule");
    assert_eq!(rule["options"]["destination_account"], Value::Null);
    let again = json!({"destination_account": OWN_ACCOUNT, "tags": false});
    let update = json!({"action": "update", "rule": rule["id"], "options": again});
    let updated = cloud.configure(update).await.expect("a rule");
    assert_eq!(
        updated["rule"]["options"]["destination_account"],
        Value::Null
    );
}

// Promise: A destination of another account has to be named as such, and its owner owns the replicas.
#[tokio::test]
async fn another_account_owns_the_replicas_in_its_bucket() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let options = json!({"options": {"destination_account": OTHER_ACCOUNT}});
    let stage = Stage::between(cloud, buckets, "replicate-put", options).await;
    let put = stage.put("a", "one").await;
    assert!(stage.acknowledged(put).await);
    let seen = stage.proxy.take();
    let copy = seen.iter().find(|seen| copies(seen)).expect("a copy");
    for (header, value) in [
        ("x-amz-acl", "bucket-owner-full-control"),
        ("x-amz-expected-bucket-owner", OTHER_ACCOUNT),
        ("x-amz-source-expected-bucket-owner", OWN_ACCOUNT),
    ] {
        assert_eq!(copy.headers[header], value, "{header}");
    }
    stage.buckets.assert_equal("").await;
}

/// The policy in the README, for these two accounts and this bucket.
fn policy_of_the_readme(bucket: &str) -> String {
    let readme = include_str!("../../../README.md");
    let policy = readme.split("```json").nth(1).expect("a policy");
    let policy = policy.split("```").next().expect("its end");
    policy
        .replace("111122223333", OWN_ACCOUNT)
        .replace("their-photos", bucket)
}

/// The emulator does not find a copy's source in another account than the destination's, so nothing is copied here.
#[tokio::test]
async fn the_policy_in_the_readme_is_enough_for_another_account() {
    let cloud = Cloud::connect().await;
    let theirs = cloud.of_account(OTHER_ACCOUNT);
    let name = unique("theirs");
    let buckets = Buckets {
        source: Bucket::create(&cloud, EAST, format!("{name}-source"), true).await,
        destination: Bucket::create(&theirs, WEST, format!("{name}-replica"), true).await,
    };
    let destination = &buckets.destination;
    for bucket in [&buckets.source, destination] {
        bucket.put("a", "on both sides").await;
    }
    let fields = json!({"historical": true, "options": {"destination_account": OTHER_ACCOUNT}});
    let error = cloud.create(&buckets, fields.clone()).await;
    let said = [
        "destination",
        OTHER_ACCOUNT,
        "check that its policy allows this stack",
    ];
    assert_refused(&error.expect_err("a refusal"), "BucketNotAccessible", said);
    let put = destination.client.put_bucket_policy();
    put.bucket(&destination.name)
        .policy(policy_of_the_readme(&destination.name))
        .send()
        .await
        .expect("a policy");
    let rule = cloud.rule(&buckets, fields).await;
    eventually("both sides are listed and found equal", SOON, async || {
        let status = json!({"action": "status", "rule": rule});
        match cloud.invoke("backfill", status).await {
            Ok(answer) if answer["job"]["equal"] == 1 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    for changed in [tags(&[("colour", "red")]), BTreeMap::new()] {
        buckets.source.set_tags("a", &changed).await;
        let event = notification::settled(&buckets.source, "ObjectTagging:Put", "a");
        let queue = cloud.queue_url("put").await;
        cloud.send(&queue, &event.to_string()).await;
        buckets.arrive("a", SOON).await;
    }
    buckets.source.delete("a").await;
    buckets.vanish("a", SOON).await;
}

// ---- Storage classes and keys --------------------------------------------------------------------

// Promise: A replica has the storage class of its source when it was copied, or the rule's.
#[tokio::test]
async fn replicas_are_written_in_the_rules_storage_class() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let fields = json!({"options": {"storage_class": "GLACIER_IR"}});
    cloud.rule(&buckets, fields).await;
    let infrequent = Object {
        storage_class: Some("STANDARD_IA".to_owned()),
        ..Object::of("infrequent")
    };
    buckets.source.put("plain", "plain").await;
    buckets.source.put_object("infrequent", &infrequent).await;
    let large = Object::of(vec![7; 6 << 20]).dressed("parts");
    buckets.source.put_in_parts("parts", &large, 5 << 20).await;
    buckets.become_equal("", SOON).await;
    for key in ["plain", "infrequent", "parts"] {
        let class = class(&buckets.destination, key).await;
        assert_eq!(class.as_deref(), Some("GLACIER_IR"), "{key}");
    }
}

// Promise: A replica has the storage class of its source when it was copied, or the rule's.
#[tokio::test]
async fn a_storage_class_is_kept() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    cloud.rule(&buckets, json!({})).await;
    let infrequent = Object {
        storage_class: Some("STANDARD_IA".to_owned()),
        ..Object::of("infrequent")
    };
    buckets.source.put_object("a", &infrequent).await;
    buckets.arrive("a", SOON).await;
    let found = class(&buckets.destination, "a").await;
    assert_eq!(found.as_deref(), Some("STANDARD_IA"));
}

/// The emulator always copies into the source's class and with its redirect, so this test checks the requests.
#[tokio::test]
async fn a_copy_names_the_class_and_the_redirect_of_its_source() {
    let stage = Stage::new("replicate-put").await;
    let object = Object {
        storage_class: Some("STANDARD_IA".to_owned()),
        website_redirect: Some("/elsewhere.html".to_owned()),
        ..Object::of("moved")
    };
    stage.buckets.source.put_object("a", &object).await;
    // The notification does not name an `ETag`, so the function reads the source first.
    let put = notification::put(&stage.buckets.source, "a", "", object.body.len());
    assert!(stage.acknowledged(put).await);
    let seen = stage.proxy.take();
    let copy = seen.iter().find(|seen| copies(seen)).expect("a copy");
    assert_eq!(copy.headers["x-amz-storage-class"], "STANDARD_IA");
    assert_eq!(
        copy.headers["x-amz-website-redirect-location"],
        "/elsewhere.html"
    );
}

// Promise: A website redirect is carried over.
#[tokio::test]
async fn a_website_redirect_is_copied() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    cloud.rule(&buckets, json!({})).await;
    let moved = Object {
        website_redirect: Some("/elsewhere.html".to_owned()),
        ..Object::of("moved")
    };
    buckets.source.put_object("a", &moved).await;
    buckets.arrive("a", SOON).await;
    let head = buckets.destination.head("a").await.expect("a replica");
    let redirect = head.website_redirect_location();
    assert_eq!(redirect, Some("/elsewhere.html"));
}

// Promise: Where the destination's default encryption or the rule's key changes `ETag`s, the replica names its
// source's `ETag` and becomes equal too.
#[tokio::test]
async fn replicas_are_encrypted_with_the_rules_key_and_name_their_source() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    cloud
        .rule(&buckets, json!({"options": {"kms_key": KEY}}))
        .await;
    let etag = buckets.source.put("a", "one").await;
    buckets.arrive("a", SOON).await;
    let head = buckets.destination.head("a").await.expect("a replica");
    assert_eq!(head.ssekms_key_id(), Some(KEY));
    let named = head
        .metadata()
        .and_then(|all| all.get("tandem-source-etag"));
    assert_eq!(named, Some(&etag));
}

// ---- Expirations ---------------------------------------------------------------------------------

// Promise: Deletes by the source's lifecycle rules are carried over only if the rule says so
// (`lifecycle_deletes`).
#[tokio::test]
async fn an_expiration_is_skipped_unless_the_rule_replicates_it() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let rule = cloud.quiet_rule(&buckets, json!({})).await;
    buckets.destination.put("a", "expired at the source").await;
    let expired = notification::settled(&buckets.source, "LifecycleExpiration:Delete", "a");
    let outcome = async || {
        let answer = cloud.invoke("replicate-delete", expired.clone()).await;
        let answer = answer.expect("an answer");
        answer["objects"][0]["outcome"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(outcome().await, "Skipped(LifecycleExpiration)");
    assert!(buckets.destination.head("a").await.is_some());
    let update = json!({"action": "update", "rule": rule, "options": {"lifecycle_deletes": true}});
    cloud.configure(update).await.expect("a rule");
    eventually("the update takes effect", SOON, async || {
        match outcome().await.as_str() {
            "Deleted" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    assert!(buckets.destination.head("a").await.is_none());
}

// ---- Changes of options --------------------------------------------------------------------------

/// The event types of the source's notifications.
async fn asked(bucket: &Bucket) -> BTreeSet<String> {
    let found = bucket.notifications().await;
    let entries = found.queue_configurations().iter();
    entries
        .flat_map(QueueConfiguration::events)
        .map(|event| event.as_str().to_owned())
        .collect()
}

fn set(events: &[&str]) -> BTreeSet<String> {
    events.iter().map(|event| (*event).to_owned()).collect()
}

// Promise: An update of a rule changes the options that it names and no others; a refused update or creation
// changes nothing.
#[tokio::test]
async fn an_update_changes_the_options_that_it_names_and_the_notifications() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    buckets.destination.allow_acls().await;
    let fields = json!({"options": {"storage_class": "GLACIER_IR", "kms_key": KEY}});
    let rule = cloud.rule(&buckets, fields).await;
    let by_default = [
        "s3:ObjectCreated:*",
        "s3:ObjectRemoved:*",
        "s3:ObjectRestore:Completed",
        "s3:ObjectTagging:*",
    ];
    assert_eq!(asked(&buckets.source).await, set(&by_default));
    let changed = json!({"kms_key": null, "tags": false, "acl": "keep", "lifecycle_deletes": true});
    let update = json!({"action": "update", "rule": rule, "options": changed});
    let updated = cloud.configure(update).await.expect("a rule");
    assert_eq!(
        updated["rule"]["options"],
        json!({
            "storage_class": "GLACIER_IR", "encryption": "bucket", "kms_key": null, "tags": false, "acl": "keep",
            "object_lock": "bucket", "lifecycle_deletes": true, "destination_account": null,
            "reconcile": "never", "rpo_secs": 900, "notifications": "auto", "enable_eventbridge": false,
        })
    );
    let shown = cloud
        .configure(json!({"action": "get", "rule": rule}))
        .await;
    assert_eq!(shown.expect("a rule")["rule"], updated["rule"]);
    let wanted = [
        "s3:LifecycleExpiration:*",
        "s3:ObjectAcl:Put",
        "s3:ObjectCreated:*",
        "s3:ObjectRemoved:*",
        "s3:ObjectRestore:Completed",
    ];
    assert_eq!(asked(&buckets.source).await, set(&wanted));
    eventually("the update takes effect", SOON, async || {
        let key = unique("key");
        let tagged = Object {
            tags: tags(&[("colour", "red")]),
            ..Object::of("one")
        };
        buckets.source.put_object(&key, &tagged).await;
        let arrived = eventually("it arrives", SOON, async || {
            let head = buckets.destination.head(&key).await;
            head.ok_or_else(|| "nothing".to_owned())
        })
        .await;
        let tags = buckets.destination.tags(&key).await;
        match (arrived.ssekms_key_id(), tags.is_empty()) {
            (None, true) => Ok(()),
            before => Err(format!("{before:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_rule_without_tags_is_possible_if_another_writer_is_notified_of_tags() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let queue = cloud.own_queue().await;
    let theirs = QueueConfiguration::builder()
        .id("theirs")
        .queue_arn(cloud.queue_arn(&queue).await)
        .events(Event::from("s3:ObjectTagging:Put"))
        .build()
        .expect("an entry");
    let configuration = NotificationConfiguration::builder().queue_configurations(theirs);
    allow_notifications(&cloud, &queue).await;
    buckets
        .source
        .set_notifications(configuration.build())
        .await;
    let error = cloud.create(&buckets, json!({})).await;
    let said = [
        "source",
        buckets.source.name.as_str(),
        "set options.tags to false",
    ];
    assert_refused(&error.expect_err("a refusal"), "NotificationConflict", said);
    cloud
        .rule(&buckets, json!({"options": {"tags": false}}))
        .await;
}

/// Allows S3 to send to a queue of the test.
async fn allow_notifications(cloud: &Cloud, queue_url: &str) {
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage", "Resource": cloud.queue_arn(queue_url).await,
    }]});
    cloud
        .sqs
        .set_queue_attributes()
        .queue_url(queue_url)
        .attributes(
            aws_sdk_sqs::types::QueueAttributeName::Policy,
            policy.to_string(),
        )
        .send()
        .await
        .expect("a queue policy");
}
