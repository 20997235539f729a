//! Tests that parse documents of S3, EventBridge and SNS.

use serde_json::json;

use super::*;

fn record(name: &str, key: &str) -> Value {
    json!({"eventName": name, "eventTime": "2026-11-22T21:00:00.123Z", "s3": {
        "configurationId": "tandem-rule-7-put-0",
        "bucket": {"name": "photos"},
        "object": {"key": key, "size": 3, "eTag": "abc", "sequencer": "0055"}}})
}

#[test]
fn every_record_is_read_and_keys_are_form_decoded() {
    let events = parse(json!({"Records": [record("ObjectCreated:Put", "red+flower%2B%25.jpg"), record("ObjectRemoved:Delete", "b")]})).unwrap();
    assert_eq!(events[0].key.as_str(), "red flower+%.jpg");
    assert_eq!(events[0].sent_for.as_ref().unwrap().as_str(), "rule-7");
    assert_eq!(events[1].change, Change::Removed);
}

#[test]
fn eventbridge_keys_are_not_decoded() {
    let events = parse(json!({"detail-type": "Object Created", "time": "2026-11-22T21:00:00Z",
        "detail": {"bucket": {"name": "photos"}, "object": {"key": "a+b%20c", "etag": "abc", "size": 1}}}))
    .unwrap();
    assert_eq!(events[0].key.as_str(), "a+b%20c");
}

// Promise: An object that a copy created is compared with its replica first, and nothing is written if they agree.
#[test]
fn every_creation_except_a_put_or_post_may_be_tandems_own_copy() {
    let by = |event: &ObjectEvent| match event.change {
        Change::Created { by, .. } => by,
        _ => panic!("{event:?}"),
    };
    for (name, reason, wanted) in [
        ("ObjectCreated:Put", "PutObject", CreatedBy::Put),
        ("ObjectCreated:Post", "POST Object", CreatedBy::Put),
        ("ObjectCreated:Copy", "CopyObject", CreatedBy::Copy),
        (
            "ObjectCreated:CompleteMultipartUpload",
            "CompleteMultipartUpload",
            CreatedBy::Copy,
        ),
        ("ObjectCreated:New", "NewRequest", CreatedBy::Copy),
    ] {
        let events = parse(json!({"Records": [record(name, "a")]})).unwrap();
        assert_eq!(by(&events[0]), wanted, "{name}");
        let event = bridged("Object Created", &json!({"reason": reason}));
        assert_eq!(by(&event), wanted, "{reason}");
    }
}

fn bridged(detail_type: &str, detail: &Value) -> ObjectEvent {
    let mut document = json!({"version": "0", "source": "aws.s3", "detail-type": detail_type,
        "time": "2026-11-22T21:00:00Z", "detail": {"version": "0", "bucket": {"name": "photos"},
        "object": {"key": "a", "size": 3, "etag": "abc", "version-id": "v1", "sequencer": "0055"}}});
    for (name, value) in detail.as_object().unwrap() {
        document["detail"][name] = value.clone();
    }
    parse(document).unwrap().remove(0)
}

/// The events are those of the S3 user guide, "EventBridge event message structure".
#[test]
fn every_event_type_of_eventbridge_is_read_as_its_change() {
    let created = bridged(
        "Object Created",
        &json!({"reason": "CompleteMultipartUpload"}),
    );
    let wanted = Change::Created {
        etag: Some(Etag::new("abc")),
        bytes: Some(3),
        version_id: Some(VersionId::new("v1".to_owned())),
        by: CreatedBy::Copy,
    };
    assert_eq!(created.change, wanted);
    assert_eq!(created.sequencer, Some(Sequencer::new("0055")));
    for (detail_type, detail, change) in [
        (
            "Object Deleted",
            json!({"reason": "DeleteObject", "deletion-type": "Delete Marker Created"}),
            Change::Removed,
        ),
        (
            "Object Deleted",
            json!({"reason": "Lifecycle Expiration", "deletion-type": "Permanently Deleted"}),
            Change::Expired,
        ),
        ("Object Tags Added", json!({}), Change::Attributes),
        ("Object Tags Deleted", json!({}), Change::Attributes),
        ("Object ACL Updated", json!({}), Change::Attributes),
        (
            "Object Restore Completed",
            json!({"restore-expiry-time": "2026-11-25T00:00:00Z", "source-storage-class": "GLACIER"}),
            Change::Other,
        ),
    ] {
        let read = bridged(detail_type, &detail);
        assert_eq!(read.change, change, "{detail_type}: {detail}");
    }
}

#[test]
fn a_change_of_tags_from_eventbridge_is_at_the_end_of_its_second() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let tagged = bridged("Object Tags Added", &json!({}));
    assert_eq!(tagged.event_time, at("2026-11-22T21:00:01Z"));
    let created = bridged("Object Created", &json!({}));
    assert_eq!(created.event_time, at("2026-11-22T21:00:00Z"));
}

// Promise: Deletes by the source's lifecycle rules are carried over only if the rule says so
// (`lifecycle_deletes`).
#[test]
fn a_lifecycle_expiration_is_distinguished_from_a_delete() {
    let events = parse(json!({"Records": [record("LifecycleExpiration:Delete", "a")]})).unwrap();
    assert_eq!(events[0].change, Change::Expired);
}

#[test]
fn a_test_event_has_no_object_events() {
    let events =
        parse(json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos"}))
            .unwrap();
    assert!(events.is_empty());
}

fn in_sns(message: &str) -> Value {
    json!({"Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:us-east-1:111122223333:photos",
        "Subject": "Amazon S3 Notification", "Message": message, "Timestamp": "2026-11-22T21:00:00.000Z",
        "SignatureVersion": "1", "Signature": "x", "SigningCertURL": "x", "UnsubscribeURL": "x"})
}

// Promise: A notification that an SNS topic delivers is read like one that S3 sends itself, with and without raw
// message delivery.
#[test]
fn a_message_of_sns_is_read_like_the_notification_in_it() {
    let test_event = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos"});
    let bridge = json!({"detail-type": "Object Deleted", "time": "2026-11-22T21:00:00Z",
        "detail": {"bucket": {"name": "photos"}, "object": {"key": "a+b"}}});
    let records = json!({"Records": [record("ObjectCreated:Put", "red+flower.jpg"),
        record("ObjectRemoved:Delete", "b")]});
    for document in [records, bridge, test_event] {
        let raw = parse(document.clone()).unwrap();
        assert_eq!(
            parse(in_sns(&document.to_string())).unwrap(),
            raw,
            "{document}"
        );
    }
    // The publisher may have written one line or several.
    let pretty =
        serde_json::to_string_pretty(&json!({"Records": [record("ObjectCreated:Put", "a")]}));
    assert_eq!(parse(in_sns(&pretty.unwrap())).unwrap().len(), 1);
}

#[test]
fn an_error_about_a_message_of_sns_names_the_topic() {
    let twice = in_sns(&in_sns("{}").to_string()).to_string();
    for (message, said) in [
        ("", "EOF"),
        ("hello", "expected"),
        ("{}", "neither"),
        ("[]", "neither"),
        (&twice, "neither"),
        (r#"{"Records": [{}]}"#, "missing field"),
    ] {
        let error = parse(in_sns(message)).unwrap_err().to_string();
        assert!(
            error.contains(said) && error.contains("photos"),
            "{message}: {error}"
        );
    }
    let mut no_text = in_sns("");
    no_text["Message"] = json!({"Records": []});
    assert!(parse(no_text).is_err());
}

#[test]
fn a_subscription_confirmation_is_an_error_that_names_the_subscribe_url() {
    for kind in ["SubscriptionConfirmation", "UnsubscribeConfirmation"] {
        let mut asks = in_sns("You have chosen to subscribe to the topic");
        asks["Type"] = json!(kind);
        asks["SubscribeURL"] =
            json!("https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription");
        let error = parse(asks).unwrap_err().to_string();
        assert!(
            error.contains(kind) && error.contains("SubscribeURL"),
            "{error}"
        );
    }
}

#[test]
fn a_document_with_records_and_sns_fields_is_read_as_a_notification() {
    let mut document = in_sns("{}");
    document["Records"] = json!([record("ObjectCreated:Put", "a")]);
    assert_eq!(parse(document).unwrap().len(), 1);
}

#[test]
fn an_invalid_document_is_refused_with_a_reason() {
    for (document, said) in [
        (json!({}), "neither"),
        (json!([1]), "neither"),
        (
            json!({"Records": [{"eventName": "ObjectCreated:Put"}]}),
            "missing field",
        ),
        (
            json!({"Records": [record("ObjectCreated:Put", "%ff")]}),
            "UTF-8",
        ),
        (
            json!({"Records": [record("ObjectCreated:Put", "")]}),
            "1 to 1024",
        ),
    ] {
        let error = parse(document.clone()).unwrap_err().to_string();
        assert!(error.contains(said), "{document}: {error}");
    }
}
