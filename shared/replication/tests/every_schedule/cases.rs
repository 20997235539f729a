//! Live changes.

use std::time::Instant;

use tandem_replication::overwrite::Overwrite;
use tandem_replication::rule::Policy;

use super::model::{Budget, Job, JobKind, Object, Removed, Scenario, Service, Write};
use super::program::Program;
use super::search::{Searched, search, walk};

/// S3.
pub const S3: Service = Service {
    versioned: false,
    counts_tags: true,
    honours_pins: true,
    honours_conditions: true,
    encrypts: false,
};

/// Two workers, and no faults.
pub fn scenario(writes: &[Write]) -> Scenario {
    Scenario {
        source: None,
        replica: None,
        writes: writes.to_vec(),
        others: Vec::new(),
        job: None,
        policy: Policy::Full,
        workers: 2,
        budget: Budget {
            ticks: 1,
            ..Budget::default()
        },
        service: S3,
        removed: Removed::Nothing,
    }
}

/// The same bytes come back with other metadata, so that an equal `ETag` proves nothing; and with another tag.
pub const WRITES: [Write; 7] = [
    Write::Put('x', '1', None),
    Write::Put('x', '2', Some('1')),
    Write::Put('y', '1', None),
    Write::Delete,
    Write::Tag(Some('1')),
    Write::Tag(Some('2')),
    Write::Tag(None),
];

pub fn pairs(writes: &[Write]) -> Vec<Vec<Write>> {
    let of = |a: &Write| writes.iter().map(|b| vec![*a, *b]).collect::<Vec<_>>();
    writes.iter().flat_map(of).collect()
}

/// Searches every scenario completely, and prints what the search covered. `name` is the test's.
pub fn exhaust(name: &str, scenarios: impl IntoIterator<Item = Scenario>) -> Searched {
    let began = Instant::now();
    let (mut cases, mut all, mut largest) = (0, Searched::default(), 0);
    for scenario in scenarios {
        let searched = search(&scenario)
            .unwrap_or_else(|violation| panic!("{}\n{}", violation.wrong, violation.schedule));
        assert_eq!(searched.frontier, 0, "not exhausted: {scenario:#?}");
        assert!(searched.ends > 0, "no end: {scenario:#?}");
        cases += 1;
        all.states += searched.states;
        all.ends += searched.ends;
        all.histories += searched.histories;
        largest = largest.max(searched.states);
    }
    println!(
        "{name}: {cases} cases, {states} states (the largest case has {largest}), {ends} ends, {histories} histories, frontier 0, {secs:.1} s",
        states = all.states,
        ends = all.ends,
        histories = all.histories,
        secs = began.elapsed().as_secs_f32(),
    );
    all
}

// Promise: Once a key stops changing at the source, and each of its notifications has been delivered at least
// once, its replica equals the source as the rule's options say; under policy `full` there is no replica where
// the source has no object.
#[test]
fn two_writes_with_two_workers_converge() {
    let mut scenarios = Vec::new();
    for writes in pairs(&WRITES) {
        for policy in [Policy::Full, Policy::Write] {
            for versioned in [false, true] {
                scenarios.push(Scenario {
                    policy,
                    service: Service { versioned, ..S3 },
                    ..scenario(&writes)
                });
            }
        }
    }
    exhaust("two_writes_with_two_workers_converge", scenarios);
}

/// One of each: two workers, a crash and a notification that S3 sends twice.
pub const CRASH_AND_DUPLICATE: Budget = Budget {
    crashes: 1,
    duplicates: 1,
    shared: 0,
    refusals: 0,
    timeouts: 0,
    ticks: 1,
};

pub const CRASH: Budget = Budget {
    duplicates: 0,
    ..CRASH_AND_DUPLICATE
};

// Promise: A worker may die at any step, and S3 may send a notification twice: the replica becomes equal all
// the same.
#[test]
fn two_writes_with_a_crash_and_a_duplicate_converge() {
    let scenarios = pairs(&WRITES).into_iter().map(|writes| Scenario {
        budget: CRASH_AND_DUPLICATE,
        ..scenario(&writes)
    });
    exhaust(
        "two_writes_with_a_crash_and_a_duplicate_converge",
        scenarios,
    );
}

// Promise: Once a key stops changing at the source, and each of its notifications has been delivered at least
// once, its replica equals the source as the rule's options say; under policy `full` there is no replica where
// the source has no object.
#[test]
fn three_writes_with_two_workers_converge() {
    let writes = [
        Write::Put('x', '1', None),
        Write::Put('y', '1', Some('1')),
        Write::Delete,
    ];
    let triples = pairs(&writes).into_iter().flat_map(|pair| {
        let third = |write: &Write| [pair.as_slice(), &[*write]].concat();
        writes.iter().map(third).collect::<Vec<_>>()
    });
    let scenarios = triples.map(|writes| scenario(&writes));
    exhaust("three_writes_with_two_workers_converge", scenarios);
}

/// The number of tags does not show their values.
// Promise: An equal `ETag` does not prove an equal object: other metadata and other tags of the same bytes
// arrive.
#[test]
fn the_same_object_put_with_other_tags_converges_with_a_crash() {
    let writes = [
        Write::Put('x', '1', Some('1')),
        Write::Put('x', '1', Some('2')),
        Write::Put('x', '1', None),
    ];
    let mut scenarios = Vec::new();
    for writes in pairs(&writes) {
        for versioned in [false, true] {
            scenarios.push(Scenario {
                budget: CRASH,
                service: Service { versioned, ..S3 },
                ..scenario(&writes)
            });
        }
    }
    exhaust(
        "the_same_object_put_with_other_tags_converges_with_a_crash",
        scenarios,
    );
}

/// A server whose HEAD does not count tags. For the same object put with other tags, see
/// `not_promised_the_same_object_put_with_other_tags_in_one_second_where_no_head_counts_them`.
#[test]
fn tags_converge_with_a_crash_where_no_head_counts_them() {
    let writes = [
        Write::Put('x', '1', Some('1')),
        Write::Put('x', '2', None),
        Write::Tag(Some('2')),
        Write::Tag(None),
    ];
    let scenarios = pairs(&writes).into_iter().map(|writes| Scenario {
        source: Some(Object::old('x', '0')),
        budget: CRASH,
        service: Service {
            counts_tags: false,
            ..S3
        },
        ..scenario(&writes)
    });
    exhaust(
        "tags_converge_with_a_crash_where_no_head_counts_them",
        scenarios,
    );
}

// Promise: An object in parts is copied in the same parts, and so keeps its `ETag`; it becomes equal although a
// worker dies.
#[test]
fn objects_in_parts_converge_with_a_crash() {
    let writes = [
        Write::PutInParts('z', '1', Some('1')),
        Write::PutInParts('z', '2', None),
        Write::Put('x', '1', None),
        Write::Tag(Some('2')),
        Write::Delete,
    ];
    let mut scenarios = Vec::new();
    for writes in pairs(&writes) {
        for counts_tags in [false, true] {
            scenarios.push(Scenario {
                budget: CRASH,
                service: Service { counts_tags, ..S3 },
                ..scenario(&writes)
            });
        }
    }
    exhaust("objects_in_parts_converge_with_a_crash", scenarios);
}

/// The replica's `ETag` is not the source's; the replica names it.
// Promise: Where the destination's default encryption or the rule's key changes `ETag`s, the replica names its
// source's `ETag` and becomes equal too.
#[test]
fn an_encrypting_destination_converges_with_a_crash() {
    let writes = [
        Write::Put('x', '1', None),
        Write::Put('x', '2', Some('1')),
        Write::PutInParts('z', '1', None),
        Write::Delete,
    ];
    let scenarios = pairs(&writes).into_iter().map(|writes| Scenario {
        budget: CRASH,
        service: Service {
            encrypts: true,
            ..S3
        },
        ..scenario(&writes)
    });
    exhaust(
        "an_encrypting_destination_converges_with_a_crash",
        scenarios,
    );
}

/// The current version is deleted by its id: an older one becomes current, and S3 notifies of a delete only.
// Promise: If the current version of a source object is deleted by its id, the version that becomes current is
// carried over, under either policy.
#[test]
fn an_older_version_that_becomes_current_converges() {
    let older = Object::old('x', '0');
    let writes = [
        Write::Put('x', '1', None),
        Write::Put('y', '1', Some('1')),
        Write::Restore(older),
        Write::Delete,
    ];
    let mut scenarios = Vec::new();
    for writes in pairs(&writes) {
        for policy in [Policy::Full, Policy::Write] {
            scenarios.push(Scenario {
                source: Some(older),
                replica: Some(older),
                policy,
                budget: CRASH,
                service: Service {
                    versioned: true,
                    ..S3
                },
                ..scenario(&writes)
            });
        }
    }
    exhaust("an_older_version_that_becomes_current_converges", scenarios);
}

/// The writes that the tests of servers without conditions explore.
const CHANGES: [Write; 4] = [
    Write::Put('x', '1', None),
    Write::Put('x', '2', Some('1')),
    Write::Put('y', '1', None),
    Write::Delete,
];

// Promise: S3 may refuse a request, leave it unanswered, or carry it out and answer with an error: the replica
// becomes equal all the same.
#[test]
fn a_refused_request_of_a_live_worker_converges() {
    let scenarios = pairs(&WRITES).into_iter().map(|writes| Scenario {
        budget: Budget {
            refusals: 1,
            ticks: 1,
            ..Budget::default()
        },
        ..scenario(&writes)
    });
    exhaust("a_refused_request_of_a_live_worker_converges", scenarios);
}

/// The sender gets no answer, or a 5xx. The request lands before that, later or never.
// Promise: S3 may refuse a request, leave it unanswered, or carry it out and answer with an error: the replica
// becomes equal all the same.
#[test]
fn a_write_without_an_answer_converges() {
    let mut scenarios = Vec::new();
    for writes in pairs(&WRITES) {
        for versioned in [false, true] {
            scenarios.push(Scenario {
                budget: Budget {
                    timeouts: 1,
                    ticks: 1,
                    ..Budget::default()
                },
                service: Service { versioned, ..S3 },
                ..scenario(&writes)
            });
        }
    }
    exhaust("a_write_without_an_answer_converges", scenarios);
}

// Promise: On a server that ignores the pin of a copy or the conditions on its destination, the replica becomes
// equal too.
#[test]
fn a_server_that_ignores_pins_and_conditions_converges() {
    let mut scenarios = Vec::new();
    for writes in pairs(&CHANGES) {
        for (honours_pins, honours_conditions) in [(false, true), (true, false), (false, false)] {
            scenarios.push(Scenario {
                source: Some(Object::old('y', '0')),
                budget: CRASH,
                service: Service {
                    honours_pins,
                    honours_conditions,
                    ..S3
                },
                ..scenario(&writes)
            });
        }
    }
    exhaust(
        "a_server_that_ignores_pins_and_conditions_converges",
        scenarios,
    );
}

/// SQS delivers one message to two workers, and both live.
// Promise: SQS may give one message to two workers at once: as long as both live, the replica becomes equal.
#[test]
fn one_message_at_two_live_workers_converges() {
    let scenarios = pairs(&WRITES).into_iter().map(|writes| Scenario {
        budget: Budget {
            shared: 1,
            ticks: 1,
            ..Budget::default()
        },
        ..scenario(&writes)
    });
    exhaust("one_message_at_two_live_workers_converges", scenarios);
}

/// A large case: four writes, two or three workers, a job, crashes, duplicates and errors.
fn large(case: u64) -> Scenario {
    let pick = |n: u32| usize::try_from(case / 3 / 7_u64.pow(n) % 7).unwrap();
    let writes: Vec<Write> = (0..4).map(|n| WRITES[pick(n)]).collect();
    let some = |of: u64| u8::try_from(case % of).unwrap();
    let kinds = [JobKind::Backfill, JobKind::Named, JobKind::Repair];
    Scenario {
        source: Some(Object::old('y', '0')),
        job: Some(Job {
            kind: kinds[usize::from(some(3))],
            overwrite: Overwrite::Always,
        }),
        policy: if case.is_multiple_of(5) {
            Policy::Write
        } else {
            Policy::Full
        },
        workers: 2 + usize::from(some(2)),
        budget: Budget {
            crashes: some(3),
            duplicates: some(4),
            refusals: some(2),
            timeouts: some(2),
            ticks: 2,
            shared: 0,
        },
        service: Service {
            versioned: case.is_multiple_of(4),
            honours_pins: !case.is_multiple_of(7),
            ..S3
        },
        ..scenario(&writes)
    }
}

/// Too large to visit every state.
// Promise: Once a key stops changing at the source, and each of its notifications has been delivered at least
// once, its replica equals the source as the rule's options say; under policy `full` there is no replica where
// the source has no object.
#[test]
fn bounded_random_schedules_of_four_writes_and_three_workers_converge() {
    const CASES: u64 = 1_500;
    const WALKS: u64 = 40;
    for case in 0..CASES {
        let scenario = large(case * 7_919);
        let mut program = Program::new(&scenario);
        for walked in 0..WALKS {
            walk(&scenario, &mut program, case << 16 | walked)
                .unwrap_or_else(|wrong| panic!("case {case}: {wrong}"));
        }
    }
    println!("{CASES} cases, {WALKS} random schedules each");
}
