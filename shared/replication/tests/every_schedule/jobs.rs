//! Jobs: listed or named keys, another writer's objects at the destination, and the modes that protect those objects.

use tandem_replication::overwrite::Overwrite;
use tandem_replication::rule::Policy;

use super::cases::{CRASH, S3, WRITES, exhaust, pairs, scenario};
use super::model::{Budget, Job, JobKind, Object, Scenario, Service, Write};

pub const KINDS: [JobKind; 3] = [JobKind::Backfill, JobKind::Repair, JobKind::Named];
const MODES: [Overwrite; 3] = [Overwrite::Always, Overwrite::IfOlder, Overwrite::Never];

/// A job that has an object to copy while these writes happen.
pub fn job(kind: JobKind, overwrite: Overwrite, writes: &[Write]) -> Scenario {
    Scenario {
        source: Some(Object::old('x', '0')),
        job: Some(Job { kind, overwrite }),
        ..scenario(writes)
    }
}

fn kinds_and_policies() -> Vec<(JobKind, Policy)> {
    let both = |kind: JobKind| [(kind, Policy::Full), (kind, Policy::Write)];
    KINDS.into_iter().flat_map(both).collect()
}

// Promise: A backfill, a repair or a job of named keys may copy the key meanwhile, and its worker may die: the
// replica becomes equal all the same.
#[test]
fn a_job_and_one_change_converge_with_a_crash() {
    let mut scenarios = Vec::new();
    for write in WRITES {
        for (kind, policy) in kinds_and_policies() {
            for versioned in [false, true] {
                scenarios.push(Scenario {
                    policy,
                    budget: CRASH,
                    service: Service { versioned, ..S3 },
                    ..job(kind, Overwrite::Always, &[write])
                });
            }
        }
    }
    exhaust("a_job_and_one_change_converge_with_a_crash", scenarios);
}

// Promise: A backfill, a repair or a job of named keys may copy the key meanwhile, and its worker may die: the
// replica becomes equal all the same.
#[test]
fn a_job_and_two_changes_converge() {
    let writes = [
        Write::Put('x', '1', None),
        Write::Put('y', '1', Some('1')),
        Write::Tag(Some('2')),
        Write::Delete,
    ];
    let mut scenarios = Vec::new();
    for writes in pairs(&writes) {
        for kind in [JobKind::Backfill, JobKind::Named] {
            // What the job copies is older than the second in which all writes happen.
            scenarios.push(Scenario {
                budget: Budget::default(),
                ..job(kind, Overwrite::Always, &writes)
            });
        }
    }
    exhaust("a_job_and_two_changes_converge", scenarios);
}

/// 503, no answer, or a 5xx of a request that was carried out.
// Promise: S3 may refuse a request, leave it unanswered, or carry it out and answer with an error: the replica
// becomes equal all the same.
#[test]
fn a_job_whose_requests_fail_converges() {
    let mut scenarios = Vec::new();
    for write in WRITES {
        for kind in KINDS {
            for (refusals, timeouts) in [(1, 0), (0, 1)] {
                scenarios.push(Scenario {
                    budget: Budget {
                        refusals,
                        timeouts,
                        ticks: 1,
                        ..Budget::default()
                    },
                    ..job(kind, Overwrite::Always, &[write])
                });
            }
        }
    }
    exhaust("a_job_whose_requests_fail_converges", scenarios);
}

// Promise: A backfill, a repair or a job of named keys may copy the key meanwhile, and its worker may die: the
// replica becomes equal all the same.
#[test]
fn a_job_on_a_source_with_tags_in_parts_or_without_counted_tags_converges_with_a_crash() {
    let mut scenarios = Vec::new();
    let tagged = Object {
        tag: Some('1'),
        ..Object::old('x', '0')
    };
    let in_parts = Object {
        etag: super::model::Tagged {
            content: 'z',
            stored: super::model::Stored::InParts,
        },
        ..tagged
    };
    let writes = [
        Write::PutInParts('z', '1', None),
        Write::Put('x', '1', None),
        Write::Tag(Some('2')),
        Write::Tag(None),
        Write::Delete,
    ];
    for source in [tagged, in_parts] {
        for write in writes {
            for kind in KINDS {
                for counts_tags in [false, true] {
                    scenarios.push(Scenario {
                        source: Some(source),
                        budget: CRASH,
                        service: Service { counts_tags, ..S3 },
                        ..job(kind, Overwrite::Always, &[write])
                    });
                }
            }
        }
    }
    exhaust(
        "a_job_on_a_source_with_tags_in_parts_or_without_counted_tags_converges_with_a_crash",
        scenarios,
    );
}

/// The object that a job lists is deleted by its version id, and one with the same bytes becomes current.
// Promise: A backfill, a repair or a job of named keys may copy the key meanwhile, and its worker may die: the
// replica becomes equal all the same.
#[test]
fn a_job_and_an_older_version_that_becomes_current_converge() {
    let older = Object::old('x', '0');
    let newer = Object {
        version: 1,
        at: 7,
        ..Object::old('x', '1')
    };
    let mut scenarios = Vec::new();
    for (kind, policy) in kinds_and_policies() {
        for replica in [None, Some(older)] {
            scenarios.push(Scenario {
                source: Some(newer),
                replica,
                policy,
                budget: CRASH,
                service: Service {
                    versioned: true,
                    ..S3
                },
                ..job(kind, Overwrite::Always, &[Write::Restore(older)])
            });
        }
    }
    exhaust(
        "a_job_and_an_older_version_that_becomes_current_converge",
        scenarios,
    );
}

/// Another writer's object is at the destination before the job, or arrives at any time.
// Promise: The modes `never` and `if-older` are conditions on the write itself: an object that another writer
// puts between the listing and the write stays.
#[test]
fn a_job_keeps_another_writers_object_if_its_mode_protects_it() {
    let changes: [&[Write]; 4] = [
        &[],
        &[Write::Put('x', '1', None)],
        &[Write::Put('y', '1', None)],
        &[Write::Delete],
    ];
    let mut scenarios = Vec::new();
    for writes in changes {
        for kind in KINDS {
            for overwrite in MODES {
                let before = Scenario {
                    replica: Some(Object::others()),
                    budget: CRASH,
                    ..job(kind, overwrite, writes)
                };
                let during = Scenario {
                    replica: None,
                    others: vec![Object::others()],
                    ..before.clone()
                };
                scenarios.extend([before, during]);
            }
        }
    }
    exhaust(
        "a_job_keeps_another_writers_object_if_its_mode_protects_it",
        scenarios,
    );
}

/// If the source does not have a key, a job other than a repair deletes nothing.
// Promise: A backfill, or the successor of its dead worker, deletes no object of another writer, whether or not
// the source has the key.
#[test]
fn a_job_keeps_another_writers_object_of_a_key_without_a_source() {
    let mut scenarios = Vec::new();
    for kind in [JobKind::Backfill, JobKind::Named] {
        for overwrite in MODES {
            for (replica, others) in [
                (Some(Object::others()), vec![]),
                (None, vec![Object::others()]),
            ] {
                scenarios.push(Scenario {
                    source: None,
                    replica,
                    others,
                    budget: Budget {
                        crashes: 1,
                        refusals: 1,
                        ..Budget::default()
                    },
                    ..job(kind, overwrite, &[])
                });
            }
        }
    }
    exhaust(
        "a_job_keeps_another_writers_object_of_a_key_without_a_source",
        scenarios,
    );
}

/// On such a server, another writer's object may be lost. What the job and the live changes write still converges.
// Promise: On a server that ignores the pin of a copy or the conditions on its destination, the replica becomes
// equal too.
#[test]
fn a_job_converges_on_a_server_that_ignores_conditions() {
    let mut scenarios = Vec::new();
    for writes in [&[][..], &[Write::Put('y', '1', None)], &[Write::Delete]] {
        for kind in KINDS {
            for overwrite in MODES {
                scenarios.push(Scenario {
                    others: vec![Object::others()],
                    budget: CRASH,
                    service: Service {
                        honours_conditions: false,
                        ..S3
                    },
                    ..job(kind, overwrite, writes)
                });
            }
        }
    }
    exhaust(
        "a_job_converges_on_a_server_that_ignores_conditions",
        scenarios,
    );
}

/// Without a crash. For a crash, see `not_promised_an_unmarked_replica_of_a_dead_job_is_not_recognised`.
// Promise: Where the destination's default encryption or the rule's key changes `ETag`s, the replica names its
// source's `ETag` and becomes equal too.
#[test]
fn a_job_to_an_encrypting_destination_converges() {
    let mut scenarios = Vec::new();
    for write in WRITES {
        for kind in KINDS {
            scenarios.push(Scenario {
                budget: Budget::default(),
                service: Service {
                    encrypts: true,
                    ..S3
                },
                ..job(kind, Overwrite::Always, &[write])
            });
        }
    }
    exhaust("a_job_to_an_encrypting_destination_converges", scenarios);
}
