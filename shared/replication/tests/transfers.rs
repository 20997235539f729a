//! Transfers of a large object under every schedule: ranges delivered twice and to two workers, workers that die at any
//! request, a source that changes, completions that land late or without an answer, pauses, sweeps, and another writer
//! at the destination. The search of each case covers all states, and prints how many there were.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]
#![allow(
    clippy::struct_excessive_bools,
    reason = "a scenario says what may happen in it"
)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "a scenario is written where it is used"
)]
#![allow(clippy::enum_variant_names, reason = "the name that the product uses")]

mod transfer_search;

use tandem_replication::overwrite::Overwrite;
use tandem_replication::rule::Policy;
use transfer_search::run::{Began, Scenario, Write};
use transfer_search::search::{Covered, Violation, exhaust};
use transfer_search::world::{Etags, Removed};

/// More states than any case has.
const STATES_MAX: usize = 200_000;

/// Two workers have the two ranges of an object that does not change; nothing goes wrong.
const CALM: Scenario = Scenario {
    began: Began::LiveTransfer,
    mode: Overwrite::Always,
    policy: Policy::Full,
    has_replica: false,
    writes: &[],
    workers: 2,
    crashes: 0,
    duplicates: 0,
    sweeps: 0,
    pauses: 0,
    unanswered: 0,
    etags: Etags::Digests,
    removed: Removed::Nothing,
};

/// The same after one range is done. The other range has to reach the completion.
const LAST_RANGE: Scenario = Scenario {
    began: Began::LiveLastRange,
    ..CALM
};

/// Plays a case to its end, and prints what the search covered.
fn explore(name: &str, scenario: &Scenario) -> Result<Covered, Box<Violation>> {
    let began = std::time::Instant::now();
    let covered = exhaust(scenario, STATES_MAX)?;
    let took = began.elapsed().as_secs_f32();
    let Covered {
        states,
        runs,
        frontier,
    } = covered;
    println!("{name}: {states} states, {runs} runs, {took:.1} s");
    assert_eq!(frontier, 0, "{name} is not exhausted");
    Ok(covered)
}

/// Every schedule of these cases ends well.
fn all_hold(cases: &[(&str, Scenario)]) {
    for (name, scenario) in cases {
        if let Err(violation) = explore(name, scenario) {
            panic!("{name}: {}: {:?}", violation.wrong, violation.schedule);
        }
    }
}

/// Asserts that some schedule of the case ends in a violation without the rule, and none with it.
fn needs(removed: Removed, scenario: Scenario, wrong: &str) {
    all_hold(&[("with the rule", scenario.clone())]);
    let weakened = Scenario {
        removed,
        ..scenario
    };
    match explore("without the rule", &weakened) {
        Ok(covered) => panic!("no violation without {removed:?} in {covered:?}"),
        Err(violation) => {
            let Violation {
                schedule,
                wrong: found,
            } = *violation;
            assert!(found.contains(wrong), "{found}: {schedule:?}");
        }
    }
}

// Promise: A transfer arrives although its ranges are delivered late, twice or to two workers, functions die at
// any request, answers are lost, or another writer aborts its upload.
#[test]
fn an_object_that_does_not_change_arrives() {
    all_hold(&[
        ("calm", CALM),
        (
            "from the beginning, one worker after another, two crashes",
            Scenario {
                began: Began::Live,
                workers: 1,
                crashes: 2,
                ..CALM
            },
        ),
        ("two workers, a crash", Scenario { crashes: 1, ..CALM }),
        (
            "a crash and a message at two workers",
            Scenario {
                crashes: 1,
                duplicates: 1,
                ..LAST_RANGE
            },
        ),
        (
            "two lost answers",
            Scenario {
                unanswered: 2,
                ..CALM
            },
        ),
    ]);
}

// Promise: No object is completed from parts of two objects: a source that changes during its transfer arrives
// as it is at the end.
#[test]
fn a_source_overwritten_during_its_transfer_arrives_in_its_final_state() {
    all_hold(&[
        (
            "by a large object",
            Scenario {
                writes: &[Write::Put("y-2")],
                ..LAST_RANGE
            },
        ),
        (
            "by a large object, one worker after another, a crash",
            Scenario {
                writes: &[Write::Put("y-2")],
                workers: 1,
                crashes: 1,
                ..CALM
            },
        ),
        (
            "by a small object, a crash and a message at two workers",
            Scenario {
                writes: &[Write::Put("s")],
                crashes: 1,
                duplicates: 1,
                ..LAST_RANGE
            },
        ),
        (
            "by a small object, a lost answer",
            Scenario {
                writes: &[Write::Put("s")],
                unanswered: 1,
                ..CALM
            },
        ),
    ]);
}

// Promise: Under policy `full` a source that is deleted during its transfer leaves neither a replica nor an
// upload.
#[test]
fn a_source_deleted_during_its_transfer_leaves_nothing() {
    all_hold(&[
        (
            "a crash and a message at two workers",
            Scenario {
                writes: &[Write::Delete],
                crashes: 1,
                duplicates: 1,
                ..LAST_RANGE
            },
        ),
        (
            "a lost answer",
            Scenario {
                writes: &[Write::Delete],
                unanswered: 1,
                ..CALM
            },
        ),
        (
            "in a job, a crash and a message at two workers",
            Scenario {
                began: Began::JobLastRange,
                writes: &[Write::Delete],
                crashes: 1,
                duplicates: 1,
                ..CALM
            },
        ),
        (
            "under the policy write, a crash",
            Scenario {
                policy: Policy::Write,
                writes: &[Write::Delete],
                crashes: 1,
                ..CALM
            },
        ),
    ]);
}

// Promise: A pause keeps the parts that are copied; resuming copies the others, and none if the replica is
// there by then.
#[test]
fn a_pause_during_a_transfer_loses_nothing() {
    all_hold(&[
        (
            "a crash",
            Scenario {
                pauses: 1,
                crashes: 1,
                ..LAST_RANGE
            },
        ),
        (
            "a delete",
            Scenario {
                pauses: 1,
                writes: &[Write::Delete],
                ..LAST_RANGE
            },
        ),
    ]);
}

// Promise: A sweep aborts the uploads that functions have left behind, and no upload of another writer.
#[test]
fn a_sweep_aborts_every_abandoned_upload_and_no_other() {
    all_hold(&[
        ("two workers at the ranges", Scenario { sweeps: 1, ..CALM }),
        (
            "from the beginning",
            Scenario {
                began: Began::Live,
                sweeps: 1,
                ..CALM
            },
        ),
        (
            "from the beginning, one worker after another, a crash",
            Scenario {
                began: Began::Live,
                workers: 1,
                sweeps: 1,
                crashes: 1,
                ..CALM
            },
        ),
        (
            "at the last range, a crash",
            Scenario {
                sweeps: 1,
                crashes: 1,
                ..LAST_RANGE
            },
        ),
        (
            "a delete",
            Scenario {
                writes: &[Write::Delete],
                sweeps: 1,
                ..LAST_RANGE
            },
        ),
    ]);
}

// Promise: A transfer arrives although its ranges are delivered late, twice or to two workers, functions die at
// any request, answers are lost, or another writer aborts its upload.
#[test]
fn an_upload_that_another_writer_aborts_is_restarted() {
    all_hold(&[(
        "a crash",
        Scenario {
            writes: &[Write::AbortUploads],
            crashes: 1,
            ..LAST_RANGE
        },
    )]);
}

#[test]
fn a_destination_that_hides_digests_gets_a_replica_that_names_its_source() {
    let hidden = |etags| Scenario {
        etags,
        crashes: 1,
        ..LAST_RANGE
    };
    all_hold(&[
        ("known at the creation", hidden(Etags::Hidden)),
        ("seen at the completion", hidden(Etags::HiddenUnannounced)),
    ]);
}

/// A job's transfer in a mode that protects objects of the destination.
fn protecting(mode: Overwrite, writes: &'static [Write]) -> Scenario {
    Scenario {
        began: Began::JobTransfer,
        mode,
        writes,
        ..CALM
    }
}

// Promise: The modes `never` and `if-older` are conditions on the write itself: an object that another writer
// puts between the listing and the write stays.
#[test]
fn another_writers_object_stays_in_the_modes_that_protect_it() {
    let theirs: &'static [Write] = &[Write::PutReplica, Write::DeleteReplica];
    all_hold(&[
        ("never", protecting(Overwrite::Never, theirs)),
        (
            "never, a crash",
            Scenario {
                crashes: 1,
                ..protecting(Overwrite::Never, &theirs[..1])
            },
        ),
        (
            "never, a lost answer",
            Scenario {
                unanswered: 1,
                ..protecting(Overwrite::Never, &theirs[..1])
            },
        ),
        ("if-older", protecting(Overwrite::IfOlder, theirs)),
        (
            "if-older, onto an older object that is deleted meanwhile",
            Scenario {
                has_replica: true,
                began: Began::JobLastRange,
                crashes: 1,
                ..protecting(Overwrite::IfOlder, &[Write::DeleteReplica])
            },
        ),
        (
            "if-older, onto an older object that is replaced meanwhile",
            Scenario {
                has_replica: true,
                began: Began::JobLastRange,
                crashes: 1,
                ..protecting(Overwrite::IfOlder, &[Write::PutReplica])
            },
        ),
    ]);
}

#[test]
fn without_logging_before_the_creation_an_upload_stays_for_ever() {
    let scenario = Scenario {
        began: Began::Live,
        workers: 1,
        crashes: 1,
        ..CALM
    };
    needs(Removed::LogBeforeCreation, scenario, "1 uploads");
}

#[test]
fn without_uploading_parts_before_noting_them_a_range_is_never_copied() {
    let scenario = Scenario { crashes: 1, ..CALM };
    needs(Removed::PartsBeforeNote, scenario, "dead letter");
}

#[test]
fn without_reading_the_source_after_the_completion_a_deleted_object_stays() {
    let scenario = Scenario {
        writes: &[Write::Delete],
        ..CALM
    };
    needs(
        Removed::ReadAfterCompletion,
        scenario,
        "the source holds None",
    );
}

#[test]
fn without_invalidating_before_sending_the_object_joins_a_finished_transfer() {
    let scenario = Scenario {
        writes: &[Write::AbortUploads],
        ..LAST_RANGE
    };
    needs(
        Removed::InvalidateBeforeSending,
        scenario,
        "the source holds Some",
    );
}

#[test]
fn without_aborting_before_the_decision_a_late_completion_restores_a_deleted_object() {
    let scenario = Scenario {
        writes: &[Write::Delete],
        crashes: 1,
        duplicates: 1,
        ..LAST_RANGE
    };
    needs(
        Removed::AbortBeforeDecision,
        scenario,
        "the source holds None",
    );
}

// Promise: A sweep aborts the uploads that functions have left behind, and no upload of another writer.
#[test]
fn without_the_log_the_sweep_aborts_another_writers_upload() {
    let scenario = Scenario { sweeps: 1, ..CALM };
    needs(
        Removed::OnlyLoggedUploads,
        scenario,
        "another writer's upload was aborted",
    );
}

#[test]
fn without_conditions_another_writers_object_is_replaced() {
    let scenario = protecting(Overwrite::Never, &[Write::PutReplica]);
    needs(
        Removed::Conditions,
        scenario,
        "another writer's object was replaced",
    );
}
