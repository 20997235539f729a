//! How two listings compare, and when a HEAD is needed.

use std::collections::BTreeMap;

use futures::FutureExt;
use proptest::prelude::*;

use super::*;

fn object(key: &str, size: u64, etag: &str) -> Listed {
    Listed {
        key: key.to_owned(),
        size,
        etag: etag.to_owned(),
        modified_at: None,
        storage_class: "STANDARD".to_owned(),
    }
}

type Results = Vec<Result<Listed, &'static str>>;

fn pairs(source: Results, destination: Results) -> Vec<Result<Pair, &'static str>> {
    merge(stream::iter(source), stream::iter(destination))
        .collect()
        .now_or_never()
        .unwrap()
}

fn summary(policy: Policy, max: usize, source: &[Listed], destination: &[Listed]) -> Summary {
    let ok = |listed: &[Listed]| listed.iter().cloned().map(Ok).collect();
    let mut summary = Summary::new(policy, max);
    for pair in pairs(ok(source), ok(destination)) {
        summary.add(pair.unwrap().judge());
    }
    summary
}

#[test]
fn each_kind_of_difference_is_named() {
    let source = [
        object("a", 1, "1"),
        object("b", 2, "2"),
        object("c", 3, "3"),
        object("d", 4, "4"),
    ];
    let destination = [
        object("a", 1, "1"),
        object("b", 9, "2"),
        object("c", 3, "x"),
        object("e", 5, "5"),
    ];
    let summary = summary(Policy::Full, 10, &source, &destination);
    let kinds: Vec<_> = summary
        .differences
        .iter()
        .map(|difference| (difference.key.as_str(), difference.kind, &difference.by[..]))
        .collect();
    assert_eq!(
        kinds,
        [
            ("b", Kind::Different, &[Field::Size][..]),
            ("c", Kind::Different, &[Field::Etag][..]),
            ("d", Kind::Missing, &[][..]),
            ("e", Kind::Extra, &[][..]),
        ]
    );
    assert_eq!((summary.source_bytes, summary.destination_bytes), (10, 18));
    assert_eq!(
        (summary.source_objects(), summary.destination_objects()),
        (4, 4)
    );
}

#[test]
fn the_same_size_with_another_etag_needs_a_head_of_the_replica() {
    let both = Pair::Both {
        source: object("a", 1, "1"),
        destination: object("a", 1, "2"),
    };
    assert!(matches!(both.judge(), Verdict::AskReplica { .. }));
}

#[test]
fn objects_without_a_listed_etag_need_a_head_of_the_replica() {
    for (source, destination) in [("", ""), ("1", ""), ("", "1")] {
        let both = Pair::Both {
            source: object("a", 0, source),
            destination: object("a", 1, destination),
        };
        assert!(matches!(both.judge(), Verdict::AskReplica { .. }));
    }
}

#[test]
fn a_key_that_was_not_compared_does_not_count_as_equal() {
    let mut summary = Summary::new(Policy::Full, 10);
    summary.add(Verdict::NotCompared {
        source: object("a", 1, "1"),
        destination: object("a", 1, "2"),
        problem: "denied".to_owned(),
    });
    assert!(!summary.is_equal());
    assert_eq!((summary.differences_count(), summary.not_compared), (0, 1));
    assert_eq!(summary.differences[0].problem.as_deref(), Some("denied"));
}

#[test]
fn extras_are_a_difference_under_full_and_only_counted_under_write() {
    let extra = [object("a", 1, "1")];
    let full = summary(Policy::Full, 10, &[], &extra);
    assert!(!full.is_equal() && full.differences.len() == 1);
    let write = summary(Policy::Write, 10, &[], &extra);
    assert!(write.is_equal() && write.differences.is_empty());
    assert_eq!((full.extra, write.extra), (1, 1));
}

#[test]
fn differences_beyond_the_limit_are_counted_and_not_kept() {
    let source: Vec<_> = (0..9).map(|n| object(&n.to_string(), 1, "1")).collect();
    for max in [0, 3, 9] {
        let summary = summary(Policy::Full, max, &source, &[]);
        assert_eq!(summary.differences.len(), max);
        assert_eq!(summary.differences_left_out, 9 - max as u64);
        assert!(!summary.is_equal());
    }
}

#[test]
fn a_failed_listing_is_never_taken_for_the_end_of_the_bucket() {
    let failed = || vec![Ok(object("a", 1, "1")), Err("access denied")];
    let whole = || vec![Ok(object("a", 1, "1")), Ok(object("b", 1, "1"))];
    for (source, destination) in [(failed(), whole()), (whole(), failed())] {
        let pairs = pairs(source, destination);
        assert!(matches!(pairs[0], Ok(Pair::Both { .. })));
        assert_eq!(pairs[1], Err("access denied"));
    }
}

fn bucket() -> impl Strategy<Value = BTreeMap<String, (u64, String)>> {
    // A small alphabet, of one to four bytes per character, so that both buckets share keys.
    proptest::collection::btree_map("[a/é\u{ffff}😀]{1,3}", (0_u64..3, "[xy]"), 0..20)
}

fn listing(bucket: &BTreeMap<String, (u64, String)>) -> Vec<Listed> {
    bucket
        .iter()
        .map(|(key, (size, etag))| object(key, *size, etag))
        .collect()
}

proptest! {
    #[test]
    fn merging_agrees_with_comparing_two_maps(source in bucket(), destination in bucket()) {
        let summary = summary(Policy::Full, usize::MAX, &listing(&source), &listing(&destination));
        let same = source.iter().filter(|(key, object)| destination.get(*key) == Some(object));
        let missing = source.keys().filter(|key| !destination.contains_key(*key)).count();
        let extra = destination.keys().filter(|key| !source.contains_key(*key)).count();
        let same = same.count();
        prop_assert_eq!(summary.same, same as u64);
        prop_assert_eq!(summary.missing, missing as u64);
        prop_assert_eq!(summary.extra, extra as u64);
        prop_assert_eq!(summary.different, (source.len() - same - missing) as u64);
        prop_assert_eq!(summary.is_equal(), source == destination);
        prop_assert!(summary.differences.is_sorted_by_key(|difference| difference.key.clone()));
    }
}
