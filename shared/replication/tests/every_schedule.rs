//! The promise of the protocol, shown on the code that runs in the functions: whatever the order of
//! notifications, duplicates, crashes and interleavings, in the end the replica is what the source is.
//!
//! And shown to be worth something: without the protocol's rules the same search finds what goes wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod explorer;

use explorer::buckets::{Object, Weakness};
use explorer::run::{Scenario, Write};
use explorer::search::{Violation, exhaust, sample};
use tandem_replication::rule::Policy;

/// Schedules a small case may have; beyond it is cut off, and said so.
const SCHEDULES_MAX: u64 = 20_000;
const SAMPLES: u64 = 60_000;

/// The same bytes come back with other metadata, so that an equal `ETag` is no proof.
const WRITES: [Write; 7] = [
    Write::Put("x", "1"),
    Write::Put("x", "2"),
    Write::Put("y", "1"),
    Write::Delete,
    Write::Tag(Some("1")),
    Write::Tag(Some("2")),
    Write::Tag(None),
];

fn scenario(writes: Vec<Write>) -> Scenario {
    Scenario {
        writes,
        workers: 2,
        crashes: 0,
        duplicates: 0,
        versioned: false,
        counts_tags: true,
        policy: Policy::Full,
        tick_ms: 100,
        backfill_of: None,
        backfill_died: false,
        weakness: Weakness::None,
    }
}

fn pairs() -> impl Iterator<Item = Vec<Write>> {
    WRITES
        .into_iter()
        .flat_map(|a| WRITES.into_iter().map(move |b| vec![a, b]))
}

fn show(violation: &Violation) -> String {
    format!(
        "{}\n{:?}\n{:#?}",
        violation.wrong, violation.scenario, violation.schedule
    )
}

#[test]
fn two_writes_and_two_workers_converge_under_every_schedule() {
    let (mut played, mut whole) = (0, 0);
    for writes in pairs() {
        for policy in [Policy::Full, Policy::Write] {
            for versioned in [false, true] {
                let scenario = Scenario {
                    versioned,
                    policy,
                    ..scenario(writes.clone())
                };
                let (schedules, all) =
                    exhaust(&scenario, SCHEDULES_MAX).unwrap_or_else(|v| panic!("{}", show(&v)));
                played += schedules;
                whole += u32::from(all);
            }
        }
    }
    println!("{played} schedules, {whole} of 196 cases exhausted");
    assert!(played > 50_000, "only {played} schedules");
}

#[test]
fn one_write_with_a_crash_and_a_duplicate_converges_under_every_schedule() {
    let mut played = 0;
    for write in WRITES {
        for backfill_of in [
            None,
            Some(Object {
                etag: "y",
                metadata: "0",
                tag: Some("1"),
                version: 0,
                written_ms: 5_000,
            }),
        ] {
            let scenario = Scenario {
                crashes: 1,
                duplicates: 1,
                backfill_of,
                ..scenario(vec![write])
            };
            let (schedules, _) =
                exhaust(&scenario, SCHEDULES_MAX).unwrap_or_else(|v| panic!("{}", show(&v)));
            played += schedules;
        }
    }
    println!("{played} schedules");
    assert!(played > 10_000, "only {played} schedules");
}

/// Four writes, three workers, crashes and duplicates; `seed` repeats a failure.
fn large(seed: u64, weakness: Weakness) -> Result<(), Box<Violation>> {
    // A change of tags makes good whatever went wrong before, so not every run has them.
    let choices: u64 = if seed % 8 < 3 { 7 } else { 4 };
    let pick = |n: u32| usize::try_from(seed / 7 / choices.pow(n) % choices).unwrap_or_default();
    let writes = (0..4).map(|n| WRITES[pick(n)]).collect();
    let backfill_of = seed.is_multiple_of(2).then_some(Object {
        etag: "y",
        metadata: "0",
        tag: Some("1"),
        version: 0,
        written_ms: 5_000,
    });
    let scenario = Scenario {
        workers: 2 + usize::try_from(seed % 2).unwrap_or_default(),
        crashes: u32::try_from(seed % 3).unwrap_or_default(),
        duplicates: u32::try_from(seed % 4).unwrap_or_default(),
        versioned: seed.is_multiple_of(3),
        counts_tags: !(seed / 16).is_multiple_of(2),
        policy: if seed.is_multiple_of(5) {
            Policy::Write
        } else {
            Policy::Full
        },
        // From many steps in one second, where Last-Modified tells little, to some seconds a step.
        tick_ms: [1, 100, 700, 3_000][usize::try_from(seed % 4).unwrap_or_default()],
        backfill_of,
        weakness,
        ..scenario(writes)
    };
    sample(&scenario, seed)
}

#[test]
fn four_writes_crashes_and_duplicates_converge_under_random_schedules() {
    for seed in 0..SAMPLES {
        large(seed, Weakness::None).unwrap_or_else(|v| panic!("seed {seed}: {}", show(&v)));
    }
    println!("{SAMPLES} schedules");
}

#[test]
fn a_server_that_ignores_the_pin_of_a_copy_is_borne() {
    for seed in 0..SAMPLES / 4 {
        large(seed, Weakness::PinIgnored).unwrap_or_else(|v| panic!("seed {seed}: {}", show(&v)));
    }
}

/// The first violation that random schedules find, with its seed.
fn found(weakness: Weakness) -> (u64, Box<Violation>) {
    (0..SAMPLES)
        .find_map(|seed| {
            large(seed, weakness)
                .err()
                .map(|violation| (seed, violation))
        })
        .unwrap_or_else(|| {
            panic!("{weakness:?} does no harm in {SAMPLES} schedules: the check is blind")
        })
}

#[test]
fn without_reading_the_source_again_the_check_finds_a_violation() {
    let (seed, violation) = found(Weakness::NoReread);
    println!("seed {seed}: {}", show(&violation));
}

#[test]
fn with_a_refused_copy_taken_for_success_the_check_finds_a_violation() {
    let (seed, violation) = found(Weakness::RefusedIsDone);
    println!("seed {seed}: {}", show(&violation));
}

/// A tag that is changed while a copy is under way.
fn retagged(tick_ms: i64, weakness: Weakness) -> Scenario {
    Scenario {
        tick_ms,
        weakness,
        ..scenario(vec![Write::Put("x", "1"), Write::Tag(Some("1"))])
    }
}

#[test]
fn a_change_of_tags_under_way_with_a_copy_converges_under_every_schedule() {
    for tick_ms in [100, 700, 3_000, 6_000] {
        for versioned in [false, true] {
            let scenario = Scenario {
                versioned,
                ..retagged(tick_ms, Weakness::None)
            };
            exhaust(&scenario, SCHEDULES_MAX).unwrap_or_else(|v| panic!("{}", show(&v)));
        }
    }
}

#[test]
fn with_every_copy_taken_for_quick_the_check_finds_a_violation() {
    let scenario = retagged(6_000, Weakness::AllCopiesAreQuick);
    let violation = exhaust(&scenario, SCHEDULES_MAX).expect_err("the check is blind");
    println!("{}", show(&violation));
}

#[test]
fn with_a_change_of_tags_looked_at_at_once_the_check_finds_a_violation() {
    let scenario = Scenario {
        versioned: true,
        ..retagged(100, Weakness::LabelsUnsettled)
    };
    let violation = exhaust(&scenario, SCHEDULES_MAX).expect_err("the check is blind");
    println!("{}", show(&violation));
}

/// What a backfill has listed before anything changes.
const LISTED: Object = Object {
    etag: "x",
    metadata: "0",
    tag: None,
    version: 0,
    written_ms: 5_000,
};

/// A backfill's copy of old metadata lands when its worker is dead, on top of what came later.
#[test]
fn with_a_listing_believed_after_a_crash_the_check_finds_a_violation() {
    let crashed = |weakness| Scenario {
        crashes: 1,
        backfill_of: Some(LISTED),
        weakness,
        ..scenario(vec![Write::Put("x", "1")])
    };
    let believing = crashed(Weakness::ListedSameIsSame);
    let violation = (0..SAMPLES).find_map(|seed| sample(&believing, seed).err());
    println!("{}", show(&violation.expect("the check is blind")));
    for seed in 0..SAMPLES {
        sample(&crashed(Weakness::None), seed).unwrap_or_else(|v| panic!("{}", show(&v)));
    }
}

#[test]
fn with_an_equal_etag_taken_for_the_same_object_the_check_finds_a_violation() {
    let rewrite = vec![Write::Put("x", "1"), Write::Put("x", "2")];
    let scenario = Scenario {
        weakness: Weakness::SameEtagIsSame,
        ..scenario(rewrite)
    };
    let violation = exhaust(&scenario, SCHEDULES_MAX).expect_err("the check is blind");
    println!("{}", show(&violation));
}

/// A copy that read old tags lands when its worker is dead and the change of tags was seen to, where a HEAD does
/// not show that there are any.
#[test]
fn with_a_head_believed_after_a_crash_the_check_finds_a_violation() {
    let crashed = |tick_ms, weakness| Scenario {
        counts_tags: false,
        backfill_of: Some(LISTED),
        backfill_died: true,
        tick_ms,
        weakness,
        ..scenario(vec![Write::Tag(Some("1"))])
    };
    let believing = crashed(6_000, Weakness::DeadLeaveNothing);
    let violation = (0..SAMPLES).find_map(|seed| sample(&believing, seed).err());
    println!("{}", show(&violation.expect("the check is blind")));
    for tick_ms in [100, 3_000, 6_000] {
        let scenario = crashed(tick_ms, Weakness::None);
        for seed in 0..SAMPLES {
            sample(&scenario, seed).unwrap_or_else(|v| panic!("{}", show(&v)));
        }
    }
}
