//! Tests of the notifications that a rule asks for, beside those that exist already.

use super::*;
use crate::Timestamp;
use crate::names::{BucketName, Region};
use crate::rule::{Bucket, RuleState};

fn rule(scope: Scope, policy: Policy) -> Rule {
    let bucket = |name: &str| Bucket {
        name: BucketName::parse(name).unwrap(),
        region: Region::new("us-east-1"),
    };
    Rule {
        scope,
        policy,
        state: RuleState::Enabled,
        ..Rule::new(
            RuleId::new("rule-1"),
            bucket("source"),
            bucket("replica"),
            Timestamp::UNIX_EPOCH,
        )
    }
}

fn scope(prefixes: &[&str]) -> Scope {
    Scope::prefixes_of(prefixes.iter().map(|&p| p.to_owned()).collect()).unwrap()
}

fn their(events: &str, prefix: &str, suffix: &str) -> Entry {
    Entry {
        id: "theirs".into(),
        events: vec![events.into()],
        prefix: KeyFilter::read(prefix),
        suffix: KeyFilter::read(suffix),
    }
}

#[test]
fn entries_filter_by_the_prefixes_of_the_scope() {
    let entries = entries(&rule(scope(&["logs/", "img/"]), Policy::Full));
    let found: Vec<_> = entries
        .iter()
        .map(|(lane, entry)| (*lane, entry.prefix.as_written()))
        .collect();
    let wanted = [
        (Lane::Put, "img/"),
        (Lane::Put, "logs/"),
        (Lane::Delete, "img/"),
        (Lane::Delete, "logs/"),
    ];
    assert_eq!(found, wanted);
}

// Promise: If the current version of a source object is deleted by its id, the version that becomes current
// is carried over, under either policy.
#[test]
fn a_write_rule_asks_for_deletes_of_versions_and_not_for_delete_markers() {
    let entries = entries(&rule(Scope::All, Policy::Write));
    let lanes: Vec<Lane> = entries.iter().map(|(lane, _)| *lane).collect();
    assert_eq!(lanes, [Lane::Put, Lane::Delete]);
    assert_eq!(entries[1].1.events, ["s3:ObjectRemoved:Delete"]);
}

#[test]
fn a_write_rule_from_before_it_asked_for_deletes_has_a_gap() {
    let wanted = entries(&rule(Scope::All, Policy::Write));
    let found: Vec<_> = wanted
        .iter()
        .filter(|(lane, _)| *lane == Lane::Put)
        .cloned()
        .collect();
    let gaps = gaps(&wanted, &found);
    assert_eq!(gaps.len(), 1);
    assert_eq!(
        gaps[0].to_string(),
        "s3:ObjectRemoved:Delete of any key is not sent to the delete queue"
    );
}

#[test]
fn the_events_of_a_full_rule_are_enough_for_a_write_rule_but_not_the_other_way_round() {
    let full = entries(&rule(Scope::All, Policy::Full));
    let write = entries(&rule(Scope::All, Policy::Write));
    assert_eq!(gaps(&write, &full), []);
    assert_eq!(gaps(&full, &write).len(), 1);
}

#[test]
fn options_add_and_remove_events() {
    let options = Options {
        tags: false,
        acl: AclChoice::Keep,
        lifecycle_deletes: true,
        ..Options::default()
    };
    let put = [
        "s3:ObjectCreated:*",
        "s3:ObjectRestore:Completed",
        "s3:ObjectAcl:Put",
    ];
    assert_eq!(Lane::Put.events(Policy::Full, &options), put);
    assert_eq!(Lane::Put.events(Policy::Write, &options), put);
    let delete = ["s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"];
    assert_eq!(Lane::Delete.events(Policy::Full, &options), delete);
    assert_eq!(
        Lane::Delete.events(Policy::Full, &Options::default()),
        ["s3:ObjectRemoved:*"]
    );
}

fn filters(prefixes: &[&str]) -> Vec<String> {
    let filters = filter_prefixes(&scope(prefixes)).into_iter();
    filters.map(|it| it.as_written().to_owned()).collect()
}

#[test]
fn special_characters_are_encoded_and_do_not_shorten_a_filter() {
    assert_eq!(
        filters(&["a b/", "a c/", "x+y", "ü/"]),
        ["a+b/", "a+c/", "x%2By", "%C3%BC/"]
    );
}

#[test]
fn filters_that_have_to_be_shortened_never_overlap() {
    assert_eq!(filters(&["a(1)/", "a(2)/", "b"]), ["a", "b"]);
    assert_eq!(filters(&["(1)/", "plain/"]), [""]);
    assert_eq!(filters(&["é", "z"]), ["z", "%C3%A9"]);
}

/// Returns whether a notification for `filter` and `suffix` conflicts with a rule for `prefix`.
fn conflicts(prefix: &str, filter: &str, suffix: &str) -> bool {
    let ours = entries(&rule(scope(&[prefix]), Policy::Full));
    let theirs = [((), their("s3:ObjectCreated:*", filter, suffix))];
    conflict(&ours, &theirs).is_some()
}

// Promise: Filters are compared by the keys that they mean to S3: notifications for other keys are no conflict.
#[test]
fn filters_are_compared_by_the_keys_they_mean() {
    for (prefix, filter) in [
        ("snap/schemaVersion=2/", "snap/schemaVersion%3D1/"),
        ("snap/schemaVersion=2/", "snap/schemaVersion%3d1/"),
        ("dt=2026-11-28/hour=01/", "dt%3D2026-11-28/hour%3D02/"),
        ("red flower/", "red+tree/"),
        ("a+b/", "a+b/"),
        ("ü/", "%C3%A4/"),
        ("100%/", "100%2F/"),
    ] {
        assert!(!conflicts(prefix, filter, ""), "{prefix} and {filter}");
    }
    for (prefix, filter) in [
        ("snap/schemaVersion=1/", "snap/schemaVersion%3D1/"),
        ("snap/schemaVersion=1/", "snap/schemaVersion%3d"),
        ("red flower/", "red+flower/today/"),
        ("red flower/", "red%20flower/"),
        ("a+b/", "a%2Bb/"),
        ("ü/", "%C3"),
        ("x(1)/", "x(2)/"),
    ] {
        assert!(conflicts(prefix, filter, ""), "{prefix} and {filter}");
    }
    assert!(conflicts("a", "a", "%2Ejpg"));
}

// Promise: Events that a bucket sends to a topic in `NotificationTopics` are not attached a second time.
#[test]
fn events_that_a_topic_forwards_are_not_attached_again() {
    let wanted = || entries(&rule(scope(&["logs/", "img/"]), Policy::Full));
    let events_left = |forwarded: &[Entry]| {
        let left = not_forwarded(wanted(), forwarded).into_iter();
        left.map(|(_, entry)| (entry.prefix.to_string(), entry.events))
            .collect::<Vec<_>>()
    };
    assert_eq!(not_forwarded(wanted(), &[]), wanted());
    let all = [
        "s3:ObjectCreated:*",
        "s3:ObjectRestore:*",
        "s3:ObjectTagging:*",
        "s3:ObjectRemoved:*",
    ];
    let all = Entry {
        events: all.map(str::to_owned).into(),
        ..their("", "", "")
    };
    assert_eq!(events_left(std::slice::from_ref(&all)), []);
    // Only of one prefix; only some events.
    let logs = Entry {
        prefix: KeyFilter::read("logs/"),
        ..all.clone()
    };
    assert_eq!(events_left(&[logs]).len(), 2);
    let created = their("s3:ObjectCreated:*", "", "");
    let left = events_left(&[created]);
    assert_eq!(
        left[0].1,
        ["s3:ObjectRestore:Completed", "s3:ObjectTagging:*"]
    );
    assert_eq!(left.len(), 4);
    // A suffix, or a part of the keys or of the events, is not enough.
    for part in [
        their("s3:ObjectCreated:*", "", ".jpg"),
        their("s3:ObjectCreated:*", "logs/2026/", ""),
        their("s3:ObjectCreated:Put", "", ""),
    ] {
        assert_eq!(
            not_forwarded(wanted(), std::slice::from_ref(&part)),
            wanted()
        );
        assert!(conflict(&wanted(), &[((), part)]).is_some());
    }
}

#[test]
fn a_list_of_all_types_equals_their_wildcard() {
    let listed = Entry {
        events: ["Put", "Post", "Copy", "CompleteMultipartUpload"]
            .map(|kind| format!("s3:ObjectCreated:{kind}"))
            .into(),
        ..their("", "", "")
    };
    let wanted = entries(&rule(Scope::All, Policy::Full));
    let left = not_forwarded(wanted.clone(), std::slice::from_ref(&listed));
    assert!(!left[0].1.events.contains(&"s3:ObjectCreated:*".to_owned()));
    let fewer = Entry {
        events: listed.events[1..].to_vec(),
        ..listed
    };
    assert_eq!(not_forwarded(wanted.clone(), &[fewer]), wanted);
}

#[test]
fn a_filter_that_matches_nothing_leaves_a_gap() {
    let wanted = entries(&rule(scope(&["dt=1/"]), Policy::Full));
    assert_eq!(gaps(&wanted, &wanted), []);
    let plain = |(lane, entry): &(Lane, Entry)| {
        let prefix = KeyFilter::read("dt=1/");
        (
            *lane,
            Entry {
                prefix,
                ..entry.clone()
            },
        )
    };
    let rewritten: Vec<_> = wanted.iter().map(plain).collect();
    assert_eq!(gaps(&wanted, &rewritten).len(), 4);
}

#[test]
fn an_entrys_name_contains_its_rule() {
    for (_, entry) in entries(&rule(scope(&["a", "b"]), Policy::Full)) {
        assert_eq!(rule_of_entry(&entry.id), Some(RuleId::new("rule-1")));
    }
    assert_eq!(rule_of_entry("someone-elses"), None);
    assert_eq!(rule_of_entry("tandem-x"), None);
}

#[test]
fn overlapping_entries_of_others_are_found() {
    let ours = entries(&rule(scope(&["logs/"]), Policy::Full));
    for clash in [
        their("s3:ObjectCreated:*", "", ""),
        their("s3:ObjectCreated:Put", "logs/2026/", ""),
        their("s3:ObjectRemoved:Delete", "lo", ".gz"),
        their("s3:ObjectTagging:Put", "logs/", ""),
    ] {
        assert!(
            conflict(&ours, &[((), clash.clone())]).is_some(),
            "{clash:?}"
        );
    }
    for fits in [
        their("s3:ObjectCreated:*", "img/", ""),
        their("s3:ObjectRestore:Post", "", ""),
        their("s3:ObjectAcl:Put", "logs/", ""),
    ] {
        assert!(conflict(&ours, &[((), fits.clone())]).is_none(), "{fits:?}");
    }
}
#[test]
fn an_event_that_no_entry_sends_is_a_gap() {
    let wanted = entries(&rule(scope(&["logs/"]), Policy::Full));
    assert_eq!(gaps(&wanted, &wanted), []);
    let shown = |found: &[(Lane, Entry)]| {
        let gaps = gaps(&wanted, found);
        gaps.iter().map(Gap::to_string).collect::<Vec<_>>()
    };
    assert_eq!(shown(&[]).len(), 4);
    let only_puts: Vec<_> = wanted
        .iter()
        .filter(|(lane, _)| *lane == Lane::Put)
        .cloned()
        .collect();
    assert_eq!(
        shown(&only_puts),
        ["s3:ObjectRemoved:* of keys that begin with \"logs/\" is not sent to the delete queue"]
    );
}

#[test]
fn entries_of_any_name_that_send_the_same_events_leave_no_gap() {
    let wanted: Vec<_> = entries(&rule(scope(&["logs/"]), Policy::Write))
        .into_iter()
        .filter(|(lane, _)| *lane == Lane::Put)
        .collect();
    let sends = |prefix: &str, suffix: &str| their("s3:*", prefix, suffix);
    for (lane, entry, leaves_gaps) in [
        (Lane::Put, sends("", ""), false),
        (Lane::Put, sends("lo", ""), false),
        (Lane::Put, sends("logs/2026/", ""), true),
        (Lane::Put, sends("", ".gz"), true),
        (Lane::Delete, sends("", ""), true),
    ] {
        let found = [(lane, entry)];
        assert_eq!(!gaps(&wanted, &found).is_empty(), leaves_gaps, "{found:?}");
    }
}
