//! Shows the promises of a job's shards on the code that the functions run: whatever worker dies at whatever step, and
//! however often messages are delivered, every key ends equal, no object of another writer is deleted, the counts add
//! up, and the job ends. Also shows that the search can fail: where a rule is removed, it finds a violation.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod shard_search;

use shard_search::run::{Change, Run, Scenario};
use shard_search::search::exhaust;
use shard_search::world::Weakness;
use tandem_replication::shard_session::{Gate, RECOVERIES_MAX};

/// Exhausts every scenario, and prints how many states each one has.
fn all_hold(about: &str, scenarios: impl IntoIterator<Item = Scenario>) {
    let (mut cases, mut states) = (0, 0);
    for scenario in scenarios {
        let found = exhaust(&scenario);
        let found = found.unwrap_or_else(|violation| panic!("{about}: {scenario:?}\n{violation}"));
        cases += 1;
        states += found;
    }
    println!("{about}: {cases} cases, {states} states, all exhausted");
}

fn fails(scenario: &Scenario) {
    let violation = exhaust(scenario).expect_err("the search found no violation");
    println!("{:?}: {violation}", scenario.weakness);
}

/// What may happen to a key while a job copies it.
fn changes() -> Vec<Vec<Change>> {
    vec![
        vec![],
        vec![Change::Put("a", "y", "new")],
        // The same bytes with other metadata look equal in a listing.
        vec![Change::Put("a", "x", "new")],
        vec![Change::Delete("a")],
        vec![Change::Put("a", "y", "new"), Change::Delete("a")],
        vec![Change::Delete("a"), Change::Put("a", "x", "new")],
        vec![Change::Foreign("b"), Change::Delete("a")],
        vec![Change::Delete("a"), Change::Foreign("a")],
    ]
}

fn each_change(scenario: &Scenario) -> Vec<Scenario> {
    let with = |changes| Scenario {
        changes,
        ..scenario.clone()
    };
    changes().into_iter().map(with).collect()
}

// Promise: The counts of a job add up, `listed = copied + equal + kept + gone + failed + transfers + missing +
// different`, although messages come twice and workers die.
// Promise: A job is complete only when none of its pages is in flight.
// Promise: A running job comes to its end whichever worker dies at whichever step, and whenever maintenance
// runs.
// Promise: A backfill, or the successor of its dead worker, deletes no object of another writer, whether or not
// the source has the key.
#[test]
fn a_worker_may_die_at_any_step() {
    let scenario = Scenario {
        deaths: 1,
        ..Scenario::default()
    };
    all_hold("one death", each_change(&scenario));
}

// Promise: A running job comes to its end whichever worker dies at whichever step, and whenever maintenance
// runs.
// Promise: Under policy `full` what a job copies is deleted again if its key is deleted meanwhile, also if the
// worker dies or its page fails with the copy in flight: the successor knows what the worker may have written.
// Promise: What is in flight stays recorded until the checkpoint has passed it, across hand-ons, splits and
// further deaths.
#[test]
fn workers_may_die_one_after_the_other() {
    let scenario = |changes| Scenario {
        workers: 1,
        deaths: 2,
        changes,
        ..Scenario::default()
    };
    all_hold("two deaths", changes().into_iter().map(scenario));
}

// Promise: The counts of a job add up, `listed = copied + equal + kept + gone + failed + transfers + missing +
// different`, although messages come twice and workers die.
// Promise: No message of a healthy shard is received so often that it becomes a dead letter.
#[test]
fn a_message_may_be_delivered_to_two_workers_one_of_which_dies() {
    let scenario = |changes| Scenario {
        deaths: 1,
        duplicates: 1,
        changes,
        ..Scenario::default()
    };
    let changes = [
        vec![Change::Put("a", "x", "new")],
        vec![Change::Delete("a")],
    ];
    all_hold("one message at two workers", changes.map(scenario));
}

// Promise: A running job comes to its end whichever worker dies at whichever step, and whenever maintenance
// runs.
// Promise: No message of a healthy shard is received so often that it becomes a dead letter.
#[test]
fn maintenance_may_send_a_second_message_at_any_moment() {
    let scenario = |deaths| Scenario {
        deaths,
        maintenance: 1,
        ..Scenario::default()
    };
    let changes = |deaths, changes| Scenario {
        changes,
        ..scenario(deaths)
    };
    let scenarios = [
        changes(0, vec![Change::Put("a", "x", "new")]),
        changes(0, vec![Change::Delete("a"), Change::Foreign("a")]),
        changes(1, vec![Change::Delete("a")]),
    ];
    all_hold("maintenance", scenarios);
}

// Promise: Every key belongs to one shard, however often shards are split, handed on and released.
#[test]
fn shards_may_be_handed_on_split_and_released_one_after_the_other() {
    let several = Scenario {
        keys: &["a", "b", "c"],
        ..Scenario::default()
    };
    let handed_on = Scenario {
        pages_max: 1,
        ..several.clone()
    };
    let split = Scenario {
        splits: 1,
        ..several.clone()
    };
    let released = Scenario {
        shards: 2,
        concurrency: 1,
        keys: &["a", "b"],
        ..several
    };
    let mut scenarios = Vec::new();
    for scenario in [handed_on, split, released] {
        for deaths in [0, 1] {
            scenarios.push(Scenario {
                workers: if deaths == 1 { 1 } else { 2 },
                deaths,
                ..scenario.clone()
            });
        }
    }
    all_hold("hand-on, split, release", scenarios);
}

// Promise: The redelivery of a shard's message recovers the page of a dead worker; if the message is gone,
// hourly maintenance sends one once the lease has expired.
#[test]
fn a_successor_does_not_wait_for_maintenance() {
    let scenario = |scenario: Scenario| Scenario {
        deaths: 1,
        workers: 1,
        maintained: false,
        ..scenario
    };
    let scenarios = [
        Scenario::default(),
        Scenario {
            keys: &["a", "b"],
            pages_max: 1,
            ..Scenario::default()
        },
        Scenario {
            keys: &["a", "b"],
            shards: 2,
            concurrency: 1,
            ..Scenario::default()
        },
        Scenario {
            keys: &["a", "b", "c"],
            splits: 1,
            ..Scenario::default()
        },
    ];
    all_hold("without maintenance", scenarios.map(scenario));
}

// Promise: What is in flight stays recorded until the checkpoint has passed it, across hand-ons, splits and
// further deaths.
#[test]
fn a_child_verifies_what_was_in_flight_when_its_parent_was_split() {
    all_hold("split after a death", [split_after_a_death()]);
}

// Promise: A dead worker's page is verified although the job is paused or cancelled meanwhile.
#[test]
fn a_stopped_job_is_recovered_and_a_resumed_one_completed() {
    let stops = [
        vec![Change::Stop(Gate::Shut), Change::Resume],
        vec![Change::Stop(Gate::Recoveries), Change::Resume],
        vec![Change::Stop(Gate::Recoveries), Change::Delete("a")],
        vec![
            Change::Delete("a"),
            Change::Stop(Gate::Shut),
            Change::Resume,
        ],
    ];
    let scenarios = stops.into_iter().flat_map(|changes| {
        [0, 1].map(|deaths| Scenario {
            deaths,
            changes: changes.clone(),
            ..Scenario::default()
        })
    });
    all_hold("stop and resume", scenarios);
}

// Promise: Under policy `full` what a job copies is deleted again if its key is deleted meanwhile, also if the
// worker dies or its page fails with the copy in flight: the successor knows what the worker may have written.
#[test]
fn a_page_may_fail_after_its_copies_have_landed() {
    let scenario = Scenario {
        failures: 1,
        ..Scenario::default()
    };
    all_hold("failed pages", each_change(&scenario));
}

/// A successor that does not have enough time for the whole page of its predecessor.
fn short_of_time() -> Scenario {
    Scenario {
        keys: &["a", "b"],
        page_keys: [2, 2],
        tasks_max: 1,
        workers: 1,
        deaths: 1,
        changes: vec![Change::Delete("b")],
        ..Scenario::default()
    }
}

// Promise: A successor verifies every key that the dead worker may have written, although both sides look equal
// in the listings.
#[test]
fn a_successor_may_run_out_of_time_in_the_middle_of_its_predecessors_page() {
    all_hold("short of time", [short_of_time()]);
}

#[test]
fn with_a_child_that_inherits_nothing_the_search_finds_a_violation() {
    fails(&Scenario {
        weakness: Weakness::ChildInheritsNothing,
        ..split_after_a_death()
    });
}

fn split_after_a_death() -> Scenario {
    Scenario {
        keys: &["a", "b", "c"],
        // So that only the successor splits the shard.
        page_keys: [3, 1],
        changes: vec![Change::Delete("c")],
        workers: 1,
        deaths: 1,
        splits: 1,
        ..Scenario::default()
    }
}

#[test]
fn a_recovery_that_fails_three_times_ends_its_shard_as_failed() {
    let scenario = Scenario::default();
    let mut run = Run::new(&scenario);
    run.leave_in_flight("a");
    let ended = run.fail_for_the_last_time();
    assert!(ended.has_ended() && ended.in_flight.is_some(), "{ended:?}");
    for failed in 1..RECOVERIES_MAX {
        let shard = run.fail_for_the_last_time();
        assert_eq!(shard.recoveries_failed, failed);
        assert!(shard.in_flight.is_some(), "{shard:?}");
    }
    let shard = run.fail_for_the_last_time();
    assert_eq!(shard.in_flight, None);
    let problem = shard.error.expect("an error");
    assert!(problem.contains("verify --repair"), "{problem}");
}

// Promise: A compressed list that is truncated or damaged, or is not what its name says, ends its job at once with
// the reason.
#[test]
fn an_error_that_no_redelivery_resolves_fails_its_shard_at_the_first_delivery() {
    let scenario = Scenario::default();
    let mut run = Run::new(&scenario);
    let shard = run.fail_for_good();
    assert!(shard.has_ended() && shard.lease.is_none(), "{shard:?}");
    assert_eq!(shard.error.as_deref(), Some("the service failed"));
    // A recovery that cannot succeed is not repeated either.
    let mut run = Run::new(&scenario);
    run.leave_in_flight("a");
    let shard = run.fail_for_good();
    assert!(shard.has_ended() && shard.in_flight.is_some(), "{shard:?}");
    let shard = run.fail_for_good();
    assert_eq!(shard.in_flight, None);
    assert!(
        shard
            .error
            .is_some_and(|problem| problem.contains("verify --repair"))
    );
}

fn death_while(changes: Vec<Change>, weakness: Weakness) -> Scenario {
    Scenario {
        deaths: 1,
        changes,
        weakness,
        ..Scenario::default()
    }
}

// Promise: Under policy `full` what a job copies is deleted again if its key is deleted meanwhile, also if the
// worker dies or its page fails with the copy in flight: the successor knows what the worker may have written.
#[test]
fn without_a_record_of_the_page_the_search_finds_a_deleted_key_that_reappears() {
    fails(&death_while(
        vec![Change::Delete("a")],
        Weakness::PageNotRecorded,
    ));
}

// Promise: A backfill, or the successor of its dead worker, deletes no object of another writer, whether or not
// the source has the key.
#[test]
fn with_every_leftover_taken_for_own_the_search_finds_another_writers_object_deleted() {
    let changes = vec![Change::Delete("a"), Change::Foreign("a")];
    fails(&death_while(changes, Weakness::EveryLeftoverIsOwn));
}

#[test]
fn without_a_lease_the_search_finds_wrong_counts() {
    fails(&Scenario {
        duplicates: 1,
        weakness: Weakness::NoLease,
        ..Scenario::default()
    });
}

#[test]
fn with_a_lease_that_ends_too_early_the_search_finds_a_violation() {
    fails(&death_while(
        vec![Change::Put("a", "x", "new")],
        Weakness::LeaseEndsAtOnce,
    ));
}

#[test]
fn with_a_release_that_ignores_the_epoch_the_search_finds_a_stalled_job() {
    let stopped = vec![Change::Stop(Gate::Recoveries), Change::Resume];
    let scenario = Scenario {
        changes: stopped,
        // Maintenance would repair this after an hour.
        maintained: false,
        weakness: Weakness::ReleaseIgnoresEpoch,
        ..Scenario::default()
    };
    fails(&scenario);
}

#[test]
fn with_nothing_sent_again_the_search_finds_a_violation() {
    fails(&Scenario {
        keys: &["a", "b"],
        pages_max: 1,
        workers: 1,
        deaths: 1,
        maintained: false,
        weakness: Weakness::NothingSentAgain,
        ..Scenario::default()
    });
}

#[test]
fn with_a_step_that_forgets_suspects_the_search_finds_a_violation() {
    fails(&Scenario {
        weakness: Weakness::StepForgetsSuspects,
        ..short_of_time()
    });
}
