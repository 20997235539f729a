//! Tests of which events the patterns match.

use proptest::prelude::*;

use super::*;
use crate::Timestamp;
use crate::names::{BucketName, ObjectKey, Region, RuleId};
use crate::notified_by::NotifiedBy;
use crate::rule::{Bucket, RuleState};

fn rule(scope: Scope, policy: Policy, options: Options) -> Rule {
    let bucket = |name: &str| Bucket {
        name: BucketName::parse(name).unwrap(),
        region: Region::new("us-east-1"),
    };
    Rule {
        scope,
        policy,
        options,
        notified_by: NotifiedBy::EventBridge,
        state: RuleState::Enabled,
        ..Rule::new(
            RuleId::new("rule-1"),
            bucket("photos"),
            bucket("replica"),
            Timestamp::UNIX_EPOCH,
        )
    }
}

/// Returns whether EventBridge would match an event with a pattern. It supports what these patterns use: a field is one
/// of the texts, begins with a prefix, or exists and is anything but a text.
fn chooses(pattern: &Value, event: &Value) -> bool {
    match pattern {
        Value::Object(fields) => fields
            .iter()
            .all(|(name, wanted)| chooses(wanted, &event[name])),
        Value::Array(any) => any.iter().any(|wanted| match wanted {
            Value::Object(wanted) => event.as_str().is_some_and(|found| {
                wanted.iter().all(|(how, text)| {
                    let text = text.as_str().unwrap();
                    match how.as_str() {
                        "prefix" => found.starts_with(text),
                        "anything-but" => found != text,
                        _ => panic!("{how}"),
                    }
                })
            }),
            text => text == event,
        }),
        _ => panic!("{pattern}"),
    }
}

fn event(detail_type: &str, key: &str, deletion_type: &str, reason: &str) -> Value {
    json!({
        "source": "aws.s3", "detail-type": detail_type,
        "detail": {"bucket": {"name": "photos"}, "object": {"key": key}, "deletion-type": deletion_type, "reason": reason},
    })
}

/// Returns the queues to which an event is sent.
fn lanes(rule: &Rule, event: &Value) -> Vec<Lane> {
    let chosen = |lane: &Lane| {
        let pattern: Value = serde_json::from_str(&pattern(rule, *lane)).unwrap();
        chooses(&pattern, event)
    };
    [Lane::Put, Lane::Delete]
        .into_iter()
        .filter(chosen)
        .collect()
}

#[test]
fn a_pattern_has_the_form_that_eventbridge_expects() {
    let scope = Scope::prefixes_of(vec!["photos/".into(), "a b=ü/".into()]).unwrap();
    let rule = rule(scope, Policy::Full, Options::default());
    let read = |lane| serde_json::from_str::<Value>(&pattern(&rule, lane)).unwrap();
    // Keys are not encoded in EventBridge's events, so prefixes are not either.
    let key = json!([{"prefix": "a b=ü/"}, {"prefix": "photos/"}]);
    assert_eq!(
        read(Lane::Put),
        json!({
            "source": ["aws.s3"],
            "detail-type": ["Object Created", "Object Restore Completed", "Object Tags Added", "Object Tags Deleted"],
            "detail": {"bucket": {"name": ["photos"]}, "object": {"key": key}},
        })
    );
    assert_eq!(
        read(Lane::Delete),
        json!({
            "source": ["aws.s3"],
            "detail-type": ["Object Deleted"],
            "detail": {"bucket": {"name": ["photos"]}, "object": {"key": key},
                       "reason": [{"anything-but": "Lifecycle Expiration"}]},
        })
    );
}

#[test]
fn a_rule_gets_the_events_that_it_needs_and_no_others() {
    let all = |policy, options| rule(Scope::All, policy, options);
    let plain = all(Policy::Full, Options::default());
    let untagged = all(
        Policy::Full,
        Options {
            tags: false,
            ..Options::default()
        },
    );
    let with_acl = all(
        Policy::Full,
        Options {
            acl: AclChoice::Keep,
            ..Options::default()
        },
    );
    let with_expirations = all(
        Policy::Full,
        Options {
            lifecycle_deletes: true,
            ..Options::default()
        },
    );
    let write = all(Policy::Write, Options::default());
    let plain_event = |detail_type| event(detail_type, "k", "", "");
    for (rule, event, wanted) in [
        (&plain, plain_event("Object Created"), vec![Lane::Put]),
        (
            &plain,
            plain_event("Object Restore Completed"),
            vec![Lane::Put],
        ),
        (&plain, plain_event("Object Restore Initiated"), vec![]),
        (&plain, plain_event("Object Tags Deleted"), vec![Lane::Put]),
        (&untagged, plain_event("Object Tags Deleted"), vec![]),
        (&plain, plain_event("Object ACL Updated"), vec![]),
        (
            &with_acl,
            plain_event("Object ACL Updated"),
            vec![Lane::Put],
        ),
    ] {
        assert_eq!(lanes(rule, &event), wanted, "{event}");
    }
    let deleted = |deletion_type, reason| event("Object Deleted", "k", deletion_type, reason);
    let (for_good, hidden) = ("Permanently Deleted", "Delete Marker Created");
    for (rule, event, sent) in [
        (&plain, deleted(for_good, "DeleteObject"), true),
        (&plain, deleted(hidden, "DeleteObject"), true),
        (&plain, deleted(hidden, LIFECYCLE_EXPIRATION), false),
        (
            &with_expirations,
            deleted(hidden, LIFECYCLE_EXPIRATION),
            true,
        ),
        (&write, deleted(for_good, "DeleteObject"), true),
        (&write, deleted(hidden, "DeleteObject"), false),
        (&write, deleted(for_good, LIFECYCLE_EXPIRATION), false),
    ] {
        let wanted = if sent { vec![Lane::Delete] } else { vec![] };
        assert_eq!(lanes(rule, &event), wanted, "{event}");
    }
    let mut of_another_bucket = plain_event("Object Created");
    of_another_bucket["detail"]["bucket"]["name"] = json!("photos-2");
    assert_eq!(lanes(&plain, &of_another_bucket), []);
}

proptest! {
    // Promise: Prefixes that are too long for a pattern of EventBridge are shortened there; the rule covers the same
    // keys.
    #[test]
    fn a_pattern_is_never_too_long_and_matches_every_key_that_the_rule_covers(
        prefixes in prop::collection::vec(
            prop_oneof!["[a-c/\"\\\\ü\u{1}]{1,8}", "[a-c/\"\\\\ü\u{1}]{100,500}", "[a-b]{1024}"], 1..=5),
        rest in "[a-c/]{0,3}",
        other in "[a-c/\"\\\\ü]{1,9}",
        write in any::<bool>(),
    ) {
        let Ok(scope) = Scope::prefixes_of(prefixes) else { return Ok(()) };
        let Scope::Prefixes(prefixes) = scope.clone() else { unreachable!() };
        let policy = if write { Policy::Write } else { Policy::Full };
        let rule = rule(scope.clone(), policy, Options::default());
        for lane in [Lane::Put, Lane::Delete] {
            let text = pattern(&rule, lane);
            prop_assert!(text.len() <= PATTERN_CHARS_MAX);
            let read: Value = serde_json::from_str(&text).unwrap();
            let detail_type = if lane == Lane::Put { "Object Created" } else { "Object Deleted" };
            for prefix in &prefixes {
                let key = event(detail_type, &format!("{prefix}{rest}"), "Permanently Deleted", "DeleteObject");
                prop_assert!(chooses(&read, &key), "{text}: {key}");
            }
            if pattern_with(&rule, lane, KEY_BYTES_MAX) == text {
                let key = ObjectKey::parse(&other).unwrap();
                let event = event(detail_type, &other, "Permanently Deleted", "DeleteObject");
                prop_assert_eq!(chooses(&read, &event), scope.covers(&key));
            }
        }
    }
}
