//! Chaos on the deployed stack: writers that never pause, jobs of every kind, rules paused and resumed, other writers
//! at the destination, functions that are killed and frozen in the middle of their work, messages at two workers,
//! clocks that differ, and a proxy that makes requests fail in every way. Afterwards every pair of buckets has to be
//! as promised, and every kind of fault has to have happened.
//!
//! It has its own binary because it changes the stack: cargo runs one test binary after the other.
//! `CHAOS_SEED` and `CHAOS_MINUTES` select the run; `make chaos` sets them. The same seed produces the same operations,
//! faults and kills, each at its place; their timing depends on the machine.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

mod deployment;
mod duplicates;
mod jobs;
mod ledger;
mod notifications;
mod operators;
mod other_writers;
mod processes;
mod settle;
mod stage;
mod writers;

use std::io::Write;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures::future::join_all;
use futures::{FutureExt, join};
use tandem_memory_s3::Change;
use tandem_tests::cloud::Cloud;
use tandem_tests::fault_plan::FaultPlan;
use tandem_tests::fault_proxy::{FaultProxy, Report, Setup};
use tandem_tests::journal::Journal;
use tandem_tests::shorter_waits::ShorterWaits;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use crate::deployment::{BACKOFF_MAX, Deployment, second_attempt};
use crate::duplicates::deliver_twice;
use crate::jobs::{StartedJobs, start_jobs, start_last_jobs};
use crate::ledger::Ledger;
use crate::notifications::notify;
use crate::operators::{OPERATORS, pause_and_resume};
use crate::other_writers::{OTHER_WRITERS, violations};
use crate::processes::Functions;
use crate::stage::Stage;
use crate::writers::{OPERATIONS, Writer};

/// The seed of `make test`.
const USUAL_SEED: u64 = 20_261;
/// How long writers write in `make test`.
const USUAL_TIME: Duration = Duration::from_secs(45);
/// The minimum number of operations, however slow the machine is.
const OPERATIONS_MIN: u64 = 1_500;
/// The maximum factor by which a run is prolonged until every kind of fault has happened.
const EXTENSION_MAX: u32 = 3;
const WRITERS: u64 = 6;
/// The pair whose rule is paused and resumed.
const PAUSED: usize = 0;

/// How many lines about the keys of a failure are printed; the journal has all of them.
const LINES_SHOWN_MAX: usize = 40;

/// The ledger's heading for faults.
const FAULTS: &str = "faults";

/// The parameters of the run, and its records.
#[derive(Debug)]
struct Run {
    seed: u64,
    time: Duration,
    ledger: Arc<Ledger>,
    journal: Arc<Journal>,
}

impl Run {
    fn from_environment() -> Self {
        let number = |name: &str| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
            let number: f64 = value
                .parse()
                .unwrap_or_else(|_| panic!("{name} is {value:?}, which is not a number"));
            Some((value, number))
        };
        let seed = number("CHAOS_SEED").map_or(USUAL_SEED, |(seed, _)| {
            seed.parse().expect("a whole number")
        });
        let time = number("CHAOS_MINUTES").map_or(USUAL_TIME, |(_, minutes)| {
            Duration::from_secs_f64(minutes * 60.0)
        });
        let journal = format!("chaos-{seed}.log");
        Self {
            seed,
            time,
            ledger: Arc::default(),
            journal: Arc::new(Journal::begin(
                Path::new(env!("CARGO_TARGET_TMPDIR")).join(journal),
            )),
        }
    }

    /// The command that repeats the run.
    fn command(&self) -> String {
        let minutes = self.time.as_secs_f64() / 60.0;
        format!("make chaos SEED={} MINUTES={minutes}", self.seed)
    }
}

// Promise: Once a key stops changing at the source, and each of its notifications has been delivered at least
// once, its replica equals the source as the rule's options say; under policy `full` there is no replica where
// the source has no object.
// Promise: The deployed stack converges under chaos: errors, throttling, lost and late requests and answers,
// killed and frozen functions, messages at two workers, and clocks that differ.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_converges_under_chaos() {
    let run = Run::from_environment();
    say(&format!("chaos with seed {}, {:?}", run.seed, run.time));
    let cloud = Cloud::connect().await;
    let deployment = Deployment::remember(&cloud).await;
    let body = AssertUnwindSafe(chaos(&run, &cloud, &deployment)).catch_unwind();
    let outcome = body.await;
    deployment.restore(&cloud).await;
    say(&run.ledger.table());
    let journal = run.journal.close().display();
    if let Err(panic) = outcome {
        let reason = panic.downcast_ref::<String>().map_or("", String::as_str);
        for line in run.journal.about(reason, LINES_SHOWN_MAX) {
            say(&line);
        }
        say(&format!(
            "chaos with seed {} failed; journal: {journal}; to repeat the run: {}",
            run.seed,
            run.command()
        ));
        resume_unwind(panic);
    }
}

async fn chaos(run: &Run, cloud: &Cloud, deployment: &Deployment) {
    deployment.quicken(cloud).await;
    let stage = Stage::set(cloud.clone()).await;
    let setup = Setup {
        plan: FaultPlan::new(run.seed, stage.bucket_names()),
        elsewhere: stage.elsewhere(),
        shorter_waits: ShorterWaits {
            sqs: cloud.sqs.clone(),
            delay_max: second_attempt(),
            visibility_max: BACKOFF_MAX,
        },
        slow_copy: stage.slow_copy().await,
        senders: Arc::new(Functions),
        journal: run.journal.clone(),
    };
    let changes = stage.memory.follow_changes();
    let proxy = FaultProxy::start(&cloud.endpoint, setup).await;
    deployment.expose(cloud, &proxy.url()).await;
    let ending = AssertUnwindSafe(write_and_settle(run, &stage, &proxy, changes)).catch_unwind();
    let outcome = ending.await;
    enter(&proxy.report(), &run.ledger);
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
    let missing = missing(run, &stage, &proxy);
    assert!(missing.is_empty(), "never happened: {missing:?}");
    stage.strike().await;
}

/// Adds the proxy's counts to the ledger.
fn enter(report: &Report, ledger: &Ledger) {
    ledger.add("proxy", "requests of functions", report.requests);
    for (fault, count) in &report.faults {
        ledger.add(FAULTS, fault.name(), *count);
    }
    for (operation, count) in &report.by_operation {
        ledger.add("faults by operation", operation, *count);
    }
    for (secs, count) in &report.skewed {
        let kind = format!("answers of a clock {secs:+} s from ours");
        ledger.add("clocks", &kind, *count);
    }
}

/// The kinds of faults and of work that have not happened yet.
fn missing(run: &Run, stage: &Stage, proxy: &FaultProxy) -> Vec<String> {
    let ledger = &run.ledger;
    let mut missing: Vec<String> = proxy
        .missing_faults()
        .iter()
        .map(|fault| fault.name().to_owned())
        .collect();
    let is_skewed = proxy.report().skewed.keys().any(|secs| *secs != 0);
    if !is_skewed {
        missing.push("a clock that differs".to_owned());
    }
    let queues = duplicates::missing(ledger).into_iter();
    missing.extend(queues.map(|queue| format!("a {queue} message at two workers")));
    missing.extend(jobs::missing(stage, ledger).into_iter().map(str::to_owned));
    for heading in [OPERATORS, OTHER_WRITERS] {
        if ledger.total(heading) == 0 {
            missing.push(heading.to_owned());
        }
    }
    missing
}

async fn write_and_settle(
    run: &Run,
    stage: &Stage,
    proxy: &FaultProxy,
    mut changes: UnboundedReceiver<Change>,
) {
    let ledger = &run.ledger;
    let began = Instant::now();
    proxy.activate();
    let (started, mut workers) = write(run, stage, proxy).await;
    ledger.add("seconds", "of writing", began.elapsed().as_secs());
    proxy.deactivate();
    say(&format!(
        "{} operations are done; waiting until nothing is under way",
        ledger.total(OPERATIONS)
    ));
    let ended = Instant::now();
    while let Some(ended) = workers.join_next().await {
        ended.expect("a delivery to two workers ends");
    }
    settle::come_to_rest(stage, &started, ledger).await;
    start_last_jobs(stage, run.seed, ledger, &started).await;
    settle::come_to_rest(stage, &started, ledger).await;
    ledger.add("seconds", "until rest", ended.elapsed().as_secs());
    settle::check(stage, &proxy.url(), ledger).await;
    let mut all = Vec::new();
    while let Ok(change) = changes.try_recv() {
        all.push(change);
    }
    for pair in stage.pairs.iter().filter(|pair| !pair.promise.is_live()) {
        let violations = violations(pair, &all);
        assert!(
            violations.is_empty(),
            "{}: {} violations: {}",
            pair.name,
            violations.len(),
            violations.join("; ")
        );
    }
}

/// Runs all writers and operators until the time is over and everything has happened. Returns the jobs that were
/// started, and the tasks of duplicate messages that are still busy.
async fn write(run: &Run, stage: &Stage, proxy: &FaultProxy) -> (StartedJobs, JoinSet<()>) {
    let ledger = &*run.ledger;
    let began = Instant::now();
    let over = || {
        let elapsed = began.elapsed();
        let is_enough = elapsed >= run.time && ledger.total(OPERATIONS) >= OPERATIONS_MIN;
        is_enough && (elapsed >= run.time * EXTENSION_MAX || missing(run, stage, proxy).is_empty())
    };
    let started = StartedJobs::default();
    let plan = FaultPlan::new(run.seed, stage.bucket_names());
    let dice = |number: u64| Rng::with_seed(run.seed.wrapping_mul(1_000).wrapping_sub(number));
    let writers = (0..WRITERS)
        .map(|number| Writer::new(number, run.seed, stage, ledger, &run.journal).write(over));
    let places = || (0_u64..).zip(0..stage.pairs.len());
    let jobs = places()
        .map(|(number, place)| start_jobs(place, stage, dice(10 + number), ledger, &started, over));
    let others = places().filter(|(_, place)| !stage.pairs[*place].promise.is_live());
    let others = others.map(|(number, place)| {
        let changes = stage.memory.follow_changes();
        other_writers::write(place, stage, dice(20 + number), changes, ledger, over)
    });
    let notified = stage.memory.follow_changes();
    // The writers are a future of their own: notifications continue until all of them have stopped.
    let writing = async {
        join!(join_all(writers), join_all(others));
    };
    let writing = writing.shared();
    let have_stopped = || writing.peek().is_some();
    let ((), _, (), workers, ()) = join!(
        writing.clone(),
        join_all(jobs),
        pause_and_resume(PAUSED, stage, dice(1), ledger, over),
        deliver_twice(stage, dice(2), &run.ledger, &run.journal, over),
        notify(stage, &plan, dice(3), notified, ledger, have_stopped),
    );
    (started, workers)
}

/// Prints a line that `make test` shows too, although it hides the output of passing tests.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}
