//! Shows that the search can fail: without any one rule of the protocol, it finds a violation. Also shows what is not
//! promised.

use tandem_replication::diff::{Finding, Verdict, diff};
use tandem_replication::overwrite::Overwrite;

use super::cases::{CRASH, S3, exhaust, scenario};
use super::jobs::job;
use super::model::{Budget, JobKind, Object, Removed, Scenario, Service, Write};
use super::search::{Violation, search};

const PUT_X: Write = Write::Put('x', '1', None);
const PUT_Y: Write = Write::Put('y', '1', None);

const NOT_RIGHT: &str = "the source holds";

/// Asserts that the search finds a violation without a rule, and none with it.
fn fails_without(removed: Removed, scenario: Scenario, wrong: &str) -> Box<Violation> {
    exhaust(&format!("with {removed:?}"), [scenario.clone()]);
    let found = search(&Scenario {
        removed,
        ..scenario
    });
    let violation = match found {
        Ok(searched) => panic!("no violation without {removed:?}: {searched:?}"),
        Err(violation) => violation,
    };
    assert!(violation.wrong.contains(wrong), "{}", violation.wrong);
    println!(
        "without {removed:?}: {}\n{}",
        violation.wrong, violation.schedule
    );
    violation
}

// Promise: Notifications may come in any order, late, and more than once: the source's present state decides.
#[test]
fn rule_1_the_sources_state_decides_and_not_the_notification() {
    let old = Scenario {
        source: Some(Object::old('x', '0')),
        replica: Some(Object::old('x', '0')),
        ..scenario(&[Write::Delete, PUT_Y])
    };
    fails_without(Removed::StateDecides, old, NOT_RIGHT);
}

// Promise: On a server that ignores the pin of a copy or the conditions on its destination, the replica becomes
// equal too.
#[test]
fn rule_2_without_pins_reading_the_source_again_is_enough() {
    let unpinned = Scenario {
        service: Service {
            honours_pins: false,
            ..S3
        },
        ..scenario(&[PUT_X, PUT_Y])
    };
    fails_without(Removed::ReadAgain, unpinned, NOT_RIGHT);
}

// Promise: Once a key stops changing at the source, and each of its notifications has been delivered at least
// once, its replica equals the source as the rule's options say; under policy `full` there is no replica where
// the source has no object.
#[test]
fn rule_3_the_source_is_read_again_after_a_copy() {
    fails_without(Removed::ReadAgain, scenario(&[PUT_X, PUT_Y]), NOT_RIGHT);
}

// Promise: An equal `ETag` does not prove an equal object: other metadata and other tags of the same bytes
// arrive.
#[test]
fn rule_3_an_equal_etag_does_not_prove_an_equal_object() {
    let rewritten = scenario(&[PUT_X, Write::Put('x', '2', None)]);
    fails_without(Removed::EqualEtagIsNoProof, rewritten, NOT_RIGHT);
}

// Promise: Once a key stops changing at the source, and each of its notifications has been delivered at least
// once, its replica equals the source as the rule's options say; under policy `full` there is no replica where
// the source has no object.
#[test]
fn rule_4_a_refused_copy_is_not_a_success() {
    let crashed = Scenario {
        budget: CRASH,
        ..scenario(&[PUT_X, PUT_Y])
    };
    fails_without(Removed::RefusedIsNoSuccess, crashed, NOT_RIGHT);
}

// Promise: S3 may refuse a request, leave it unanswered, or carry it out and answer with an error: the replica
// becomes equal all the same.
#[test]
fn rule_5_the_message_of_an_unsettled_attempt_returns_to_the_queue() {
    let refused = Scenario {
        budget: Budget {
            refusals: 1,
            ..Budget::default()
        },
        ..scenario(&[PUT_X])
    };
    fails_without(Removed::BackToTheQueue, refused, NOT_RIGHT);
}

// Promise: A replica is deleted only under policy `full`, and only when the source itself answers 404 for the
// key: a 403, an error, a missing answer or a listing is never taken for absence.
#[test]
fn rule_6_only_a_404_from_the_source_deletes_the_replica() {
    let refused = Scenario {
        source: Some(Object::old('x', '0')),
        replica: Some(Object::old('x', '0')),
        budget: Budget {
            refusals: 2,
            ..Budget::default()
        },
        ..scenario(&[Write::Tag(Some('1'))])
    };
    fails_without(Removed::OnlyThe404Deletes, refused, NOT_RIGHT);
}

// Promise: Once a key stops changing at the source, and each of its notifications has been delivered at least
// once, its replica equals the source as the rule's options say; under policy `full` there is no replica where
// the source has no object.
#[test]
fn rule_6_the_source_is_read_again_after_a_delete() {
    let same_bytes_again = Scenario {
        source: Some(Object::old('x', '0')),
        replica: Some(Object::old('x', '0')),
        ..scenario(&[Write::Delete, PUT_X])
    };
    fails_without(Removed::ReadAgainAfterDelete, same_bytes_again, NOT_RIGHT);
}

// Promise: A replica is deleted on the condition that it is the one that was seen.
#[test]
fn rule_6_a_job_deletes_only_the_replica_that_it_has_seen() {
    let others = Scenario {
        others: vec![Object::others()],
        ..job(JobKind::Named, Overwrite::Always, &[Write::Delete])
    };
    fails_without(
        Removed::DeleteIfMatch,
        others,
        "a job deleted another writer's object",
    );
}

// Promise: A change of tags is processed when no earlier quick copy can land any more, and a slow copy reads
// the tags again.
#[test]
fn rule_6_a_change_of_tags_is_processed_when_earlier_quick_copies_have_landed() {
    let tagged = Scenario {
        service: Service {
            versioned: true,
            ..S3
        },
        ..scenario(&[PUT_X, Write::Tag(Some('1'))])
    };
    fails_without(Removed::AttributesSettle, tagged, NOT_RIGHT);
}

// Promise: A change of tags is processed when no earlier quick copy can land any more, and a slow copy reads
// the tags again.
#[test]
fn rule_6_a_slow_copy_reads_the_tags_again() {
    let tagged = scenario(&[PUT_X, Write::Tag(Some('1'))]);
    fails_without(Removed::SlowCopiesReadOldTags, tagged, NOT_RIGHT);
}

#[test]
fn rule_6_a_redelivery_reads_the_tags() {
    let crashed = Scenario {
        budget: CRASH,
        service: Service {
            counts_tags: false,
            ..S3
        },
        ..scenario(&[Write::PutInParts('z', '1', None), Write::Tag(Some('1'))])
    };
    fails_without(Removed::RedeliveriesCompareAttributes, crashed, NOT_RIGHT);
}

// Promise: A worker may die at any step, and S3 may send a notification twice: the replica becomes equal all
// the same.
#[test]
fn rule_8_a_message_is_redelivered_only_when_its_dead_worker_has_nothing_in_flight() {
    let crashed = Scenario {
        budget: CRASH,
        ..scenario(&[PUT_X, PUT_Y])
    };
    fails_without(Removed::VisibilityTimeout, crashed, NOT_RIGHT);
}

// Promise: A change of tags and a put of one key in one batch do not replace each other.
#[test]
fn rule_9_a_change_of_tags_is_not_coalesced_with_the_puts_of_its_batch() {
    let twice = Scenario {
        budget: Budget {
            duplicates: 1,
            ..Budget::default()
        },
        service: Service {
            counts_tags: false,
            ..S3
        },
        ..scenario(&[
            Write::PutInParts('z', '1', Some('1')),
            Write::Tag(Some('2')),
        ])
    };
    fails_without(Removed::AttributesStayApart, twice, NOT_RIGHT);
}

/// Any message of a key would do, since the source's state decides. The newest needs the fewest requests.
// Promise: Notifications may come in any order, late, and more than once: the source's present state decides.
#[test]
fn rule_9_convergence_does_not_depend_on_which_message_of_a_batch_is_kept() {
    let changes = [PUT_X, PUT_Y, Write::Delete];
    let oldest = super::cases::pairs(&changes)
        .into_iter()
        .map(|writes| Scenario {
            removed: Removed::NewestOfBatch,
            budget: CRASH,
            ..scenario(&writes)
        });
    exhaust(
        "rule_9_convergence_does_not_depend_on_which_message_of_a_batch_is_kept",
        oldest,
    );
}

// Promise: A replica is deleted only under policy `full`, and only when the source itself answers 404 for the
// key: a 403, an error, a missing answer or a listing is never taken for absence.
#[test]
fn rule_10_absence_from_a_listing_deletes_no_replica() {
    let put_again = job(
        JobKind::Backfill,
        Overwrite::Always,
        &[Write::Delete, Write::Put('x', '0', None)],
    );
    fails_without(Removed::ListingDoesNotDelete, put_again, NOT_RIGHT);
}

// Promise: Under policy `full` what a job copies is deleted again if its key is deleted meanwhile, also if the
// worker dies or its page fails with the copy in flight: the successor knows what the worker may have written.
#[test]
fn rule_11_a_job_deletes_its_own_copy_of_a_key_that_is_deleted_meanwhile() {
    for kind in [JobKind::Backfill, JobKind::Named] {
        let deleted = job(kind, Overwrite::Always, &[Write::Delete]);
        fails_without(Removed::OwnIsDeleted, deleted, NOT_RIGHT);
    }
}

// Promise: A backfill, or the successor of its dead worker, deletes no object of another writer, whether or not
// the source has the key.
#[test]
fn rule_11_a_job_deletes_only_what_it_wrote() {
    let extra = Scenario {
        source: None,
        replica: Some(Object::others()),
        ..job(JobKind::Named, Overwrite::Always, &[])
    };
    fails_without(
        Removed::OthersAreKept,
        extra,
        "a job deleted another writer's object",
    );
}

// Promise: Under policy `full` what a job copies is deleted again if its key is deleted meanwhile, also if the
// worker dies or its page fails with the copy in flight: the successor knows what the worker may have written.
#[test]
fn rule_12_a_successor_deletes_what_its_dead_predecessor_announced() {
    for kind in [JobKind::Backfill, JobKind::Named] {
        for removed in [Removed::SuccessorKnows, Removed::Announce] {
            let deleted = Scenario {
                budget: CRASH,
                ..job(kind, Overwrite::Always, &[Write::Delete])
            };
            fails_without(removed, deleted, NOT_RIGHT);
        }
    }
}

// Promise: In the modes `never` and `if-older` a later round of an attempt replaces only what the attempt
// itself, or a dead worker of its job, has written.
#[test]
fn rule_13_a_protecting_mode_has_conditions_in_every_round() {
    for overwrite in [Overwrite::Never, Overwrite::IfOlder] {
        let others = Scenario {
            others: vec![Object::others()],
            ..job(JobKind::Named, overwrite, &[PUT_Y])
        };
        fails_without(Removed::ConditionsStay, others, "replaced another writer's");
    }
}

// Promise: A write that is not answered, or answered with a 5xx other than `SlowDown` or with an error inside a
// 200, may have been carried out: its attempt does not repeat it, and its message is redelivered after the
// visibility timeout.
#[test]
fn rule_16_an_unanswered_write_is_not_repeated_at_once() {
    let carried_out = Scenario {
        budget: Budget {
            timeouts: 1,
            ..Budget::default()
        },
        ..scenario(&[PUT_X, PUT_Y])
    };
    fails_without(Removed::NoBlindRepeat, carried_out, NOT_RIGHT);
}

/// SQS deletes a message for both workers that have received it. If one acknowledges it and the other dies with its
/// copy in flight, no message remains when that copy lands.
fn one_message_at_two_workers(writes: &[Write]) -> Box<Violation> {
    let shared = Scenario {
        budget: Budget { shared: 1, ..CRASH },
        ..scenario(writes)
    };
    let violation = search(&shared).expect_err("no violation found: add this to the promises");
    println!("{}\n{}", violation.wrong, violation.schedule);
    violation
}

/// Whether the listings of both sides, as a job compares them, differ at the end.
fn listings_differ(violation: &Violation) -> bool {
    let listed = |object: Option<Object>| -> Vec<_> { object.iter().map(Object::listed).collect() };
    let end = &violation.end;
    let (source, replica) = (listed(end.source), listed(end.replica));
    let same = |finding: &Finding<'_>| {
        matches!(
            finding,
            Finding::Source {
                verdict: Verdict::Same,
                ..
            }
        )
    };
    !diff(&source, &replica).iter().all(same)
}

#[test]
fn not_promised_one_message_at_two_workers_one_of_which_dies() {
    let other_bytes = one_message_at_two_workers(&[PUT_X, PUT_Y]);
    assert!(listings_differ(&other_bytes), "a repair finds it");
    let deleted = one_message_at_two_workers(&[PUT_X, Write::Delete]);
    assert!(listings_differ(&deleted), "a repair finds it");
    let same_bytes = one_message_at_two_workers(&[PUT_X, Write::Put('x', '2', None)]);
    assert!(!listings_differ(&same_bytes), "no listing shows it");
}

/// The first copy to a destination with default encryption has an `ETag` that was never announced, and no mark yet.
/// If its worker dies at that moment and the source is deleted, the successor takes the replica for another
/// writer's. A repair deletes it.
#[test]
fn not_promised_an_unmarked_replica_of_a_dead_job_is_not_recognised() {
    let encrypting = Scenario {
        budget: CRASH,
        service: Service {
            encrypts: true,
            ..S3
        },
        ..job(JobKind::Backfill, Overwrite::Always, &[Write::Delete])
    };
    let violation = search(&encrypting).expect_err("no violation found: add this to the promises");
    println!("{}\n{}", violation.wrong, violation.schedule);
    assert!(listings_differ(&violation), "a repair finds it");
}

/// S3's HEAD counts tags. On a server whose HEAD does not, a copy is not recognised as old if it began in the second in
/// which the same bytes were put with other tags. Its tags stay until the next attempt that reads tags.
#[test]
fn not_promised_the_same_object_put_with_other_tags_in_one_second_where_no_head_counts_them() {
    let again = |counts_tags| Scenario {
        service: Service { counts_tags, ..S3 },
        ..scenario(&[
            Write::Put('x', '1', Some('1')),
            Write::Put('x', '1', Some('2')),
        ])
    };
    exhaust("the same object put with other tags", [again(true)]);
    let violation =
        search(&again(false)).expect_err("no violation found: add this to the promises");
    println!("{}\n{}", violation.wrong, violation.schedule);
    assert!(violation.wrong.contains(NOT_RIGHT));
}
