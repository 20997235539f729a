//! One key's life under every schedule: deferred while its rule is paused, replayed by a resume or by hourly
//! maintenance, failed and recorded, replicated by two workers at once.
//!
//! Also shows that the search can fail: without any one of the rules, it finds a violation.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod lifecycle_search;

use lifecycle_search::run::{Case, Op};
use lifecycle_search::search::{Violation, exhaust};
use lifecycle_search::world::Without;
use tandem_replication::rule::{Policy, RuleState};

/// More than any case needs. A case that reaches this number is not exhausted and fails.
const RUNS_MAX: u64 = 5_000_000;

/// Explores every schedule of a case, and prints how many states it has.
fn assert_exhausted(name: &str, case: &Case) {
    match exhaust(case, RUNS_MAX) {
        Err(violation) => panic!("{name}: {violation}\n{case:?}"),
        Ok(explored) => {
            println!("{name}: {explored:?}");
            assert_eq!(
                explored.frontier, 0,
                "{name} is not exhausted: {explored:?}"
            );
        }
    }
}

fn violation(case: &Case) -> Violation {
    match exhaust(case, RUNS_MAX) {
        Err(violation) => {
            println!("without {:?}: {violation}", case.without);
            *violation
        }
        Ok(explored) => panic!("no violation without {:?}: {explored:?}", case.without),
    }
}

fn paused_and_resumed(writes: &[u8]) -> Case {
    Case::new(writes, &[Op::Pause, Op::Resume])
}

/// The same case without hourly maintenance, which would repair a loss.
fn at_once(case: Case) -> Case {
    Case {
        maintenance_max: 0,
        ..case
    }
}

// Promise: While a rule is paused its changed keys are kept; resuming replicates each from its present state,
// under the policy that the rule has by then.
#[test]
fn no_key_is_lost_while_its_rule_is_paused_and_resumed() {
    for writes in [&[1][..], &[1, 2], &[1, 0]] {
        let case = at_once(paused_and_resumed(writes));
        assert_exhausted(&format!("pause, resume, writes {writes:?}"), &case);
    }
}

// Promise: While a rule is paused its changed keys are kept; resuming replicates each from its present state,
// under the policy that the rule has by then.
#[test]
fn no_key_is_lost_while_its_rule_is_paused_and_resumed_twice() {
    let case = Case::new(&[1], &[Op::Pause, Op::Resume, Op::Pause, Op::Resume]);
    assert_exhausted("pause, resume, twice", &at_once(case));
}

// Promise: A resume that dies half-way, a worker that dies, a message at two workers and a failed request lose
// no deferred key.
#[test]
fn a_resume_that_dies_half_way_loses_no_key() {
    let case = Case {
        half_ops: 1,
        ..paused_and_resumed(&[1])
    };
    assert_exhausted("a resume dies", &case);
}

// Promise: A resume that dies half-way, a worker that dies, a message at two workers and a failed request lose
// no deferred key.
#[test]
fn a_resume_that_dies_after_an_earlier_one_was_replayed_loses_no_key() {
    let case = Case {
        half_ops: 1,
        ..Case::new(&[1], &[Op::Pause, Op::Resume, Op::Pause, Op::Resume])
    };
    assert_exhausted("two resumes, one dies", &case);
}

// Promise: A resume that dies half-way, a worker that dies, a message at two workers and a failed request lose
// no deferred key.
#[test]
fn a_worker_that_dies_while_it_defers_or_replays_loses_no_key() {
    let case = Case {
        crashes: 1,
        ..paused_and_resumed(&[1])
    };
    assert_exhausted("a worker dies", &case);
}

// Promise: A resume that dies half-way, a worker that dies, a message at two workers and a failed request lose
// no deferred key.
#[test]
fn a_message_at_two_workers_loses_no_key() {
    let case = Case {
        duplicates: 1,
        ..paused_and_resumed(&[1])
    };
    assert_exhausted("a message at two workers", &at_once(case));
}

// Promise: A resume that dies half-way, a worker that dies, a message at two workers and a failed request lose
// no deferred key.
#[test]
fn a_request_that_is_refused_or_whose_answer_is_lost_loses_no_key() {
    let case = Case {
        errors: 1,
        ..paused_and_resumed(&[1])
    };
    assert_exhausted("a request fails", &case);
}

// Promise: While a rule is paused its changed keys are kept; resuming replicates each from its present state,
// under the policy that the rule has by then.
#[test]
fn a_large_object_is_deferred_and_replayed_as_well() {
    let case = Case {
        object: true,
        ..paused_and_resumed(&[1])
    };
    assert_exhausted("a large object", &case);
}

// Promise: A change of a rule takes effect within seconds: a remembered rule expires by the larger of the wall
// clock and the monotonic clock, and by a clock that was set back.
#[test]
fn a_frozen_process_does_not_use_an_expired_rule() {
    for (ops, writes) in [
        (vec![Op::Policy(Policy::Write)], &[1, 0][..]),
        (vec![Op::Pause], &[1, 2]),
        (vec![Op::Pause, Op::Resume], &[1]),
        (vec![Op::Delete], &[1]),
    ] {
        let case = Case {
            freezes: 1,
            ..Case::new(writes, &ops)
        };
        assert_exhausted(&format!("a freeze, {ops:?}"), &case);
    }
}

// Promise: A change of a rule takes effect within seconds: a remembered rule expires by the larger of the wall
// clock and the monotonic clock, and by a clock that was set back.
#[test]
fn a_clock_that_is_set_back_does_not_prolong_a_remembered_rule() {
    let case = Case {
        set_backs: 1,
        ..Case::new(&[1, 0], &[Op::Policy(Policy::Write)])
    };
    assert_exhausted("the clock is set back", &case);
}

/// A rule with policy `write` is changed to policy `full`.
fn widened() -> Case {
    Case {
        policy: Policy::Write,
        ..Case::new(&[1, 0], &[Op::Policy(Policy::Full)])
    }
}

// Promise: A function passes over a change only by a rule that it read after it received the message.
#[test]
fn a_rule_that_was_just_widened_loses_no_change() {
    assert_exhausted("from write to full", &widened());
}

// Promise: While a rule is paused its changed keys are kept; resuming replicates each from its present state,
// under the policy that the rule has by then.
#[test]
fn a_replay_uses_the_rules_policy_at_that_time() {
    let ops = [Op::Pause, Op::Policy(Policy::Write), Op::Resume];
    assert_exhausted(
        "pause, to write, resume",
        &at_once(Case::new(&[1, 0], &ops)),
    );
}

// Promise: A rule that is being deleted replicates nothing, deferred keys included, and its replicas outlive
// it.
#[test]
fn nothing_is_replicated_under_a_rule_that_is_being_deleted() {
    for (object, crashes) in [(false, 1), (true, 0)] {
        let case = Case {
            crashes,
            object,
            ..Case::new(&[1], &[Op::Pause, Op::Delete])
        };
        assert_exhausted(&format!("pause, delete, large object {object}"), &case);
    }
}

fn denied(writes: &[u8]) -> Case {
    Case {
        failed_before: true,
        ..Case::new(writes, &[Op::Deny(true)])
    }
}

// Promise: A success clears the record of its key, but only the record that it saw before it read the source.
#[test]
fn a_success_does_not_clear_the_record_of_a_newer_failure() {
    assert_exhausted("two writes, denied", &denied(&[1, 2]));
    let case = Case {
        crashes: 1,
        ..denied(&[1])
    };
    assert_exhausted("denied, a worker dies", &case);
    let case = Case {
        failed_before: true,
        ..Case::new(
            &[1],
            &[Op::Pause, Op::Deny(true), Op::Resume, Op::Deny(false)],
        )
    };
    assert_exhausted("denied while it is replayed", &case);
}

// Promise: No failure stays recorded of a key that is in sync: a change that fails for good, and of which there
// was no record, is attempted once more.
#[test]
fn no_failure_is_recorded_for_a_key_that_is_in_sync() {
    for failed_before in [false, true] {
        let case = Case {
            failed_before,
            ..Case::new(&[1, 2], &[Op::Deny(true), Op::Deny(false)])
        };
        assert_exhausted(&format!("denied, allowed, {failed_before}"), &case);
    }
}

// Promise: A function passes over a change only by a rule that it read after it received the message.
#[test]
fn without_any_of_its_rules_a_key_is_lost() {
    let paused = |without| Case {
        without,
        ..at_once(paused_and_resumed(&[1]))
    };
    violation(&paused(Without::ReadingAfterDeferring));
    violation(&paused(Without::RuleBeforeKeys));
    violation(&Case {
        without: Without::ReadingBeforeSkipping,
        ..widened()
    });
    violation(&Case {
        state: RuleState::Paused,
        writes: vec![1, 2],
        ops: vec![Op::Resume, Op::Pause],
        ..paused(Without::Tokens)
    });
    violation(&Case {
        half_ops: 1,
        ..paused(Without::Nothing)
    });
}

#[test]
fn without_the_larger_clock_a_rule_is_used_after_it_expired() {
    violation(&Case {
        without: Without::WallClock,
        freezes: 1,
        ..Case::new(&[1, 0], &[Op::Policy(Policy::Write)])
    });
    for without in [Without::MonotonicClock, Without::UnknownAges] {
        violation(&Case {
            without,
            set_backs: 1,
            ..Case::new(&[1, 0], &[Op::Policy(Policy::Write)])
        });
    }
}

#[test]
fn without_checking_again_a_key_is_replicated_under_a_rule_that_is_being_deleted() {
    violation(&Case {
        without: Without::CheckingAfterDeferring,
        ..Case::new(&[1], &[Op::Pause, Op::Delete])
    });
}

#[test]
fn without_the_rules_of_failure_records_a_record_is_wrong() {
    violation(&Case {
        without: Without::RevisionOfRecords,
        ..denied(&[1, 2])
    });
    violation(&Case {
        without: Without::RecordBeforeAcknowledging,
        crashes: 1,
        ..denied(&[1, 2])
    });
    for without in [Without::SecondAttempt, Without::AttemptAfterChangedRecord] {
        violation(&Case {
            without,
            failed_before: without == Without::AttemptAfterChangedRecord,
            ..Case::new(&[1, 2], &[Op::Deny(true), Op::Deny(false)])
        });
    }
}
