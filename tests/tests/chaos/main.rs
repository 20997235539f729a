//! Chaos on the deployed stack: writers who never rest, backfills, rules paused and resumed, functions that
//! are killed in the middle of their work, and weather in which every request may fail in any way. Once it
//! is over, every pair of buckets has to be equal.
//!
//! It has a binary of its own because it changes the stack: cargo runs one test binary after the other.
//! `CHAOS_SEED` and `CHAOS_MINUTES` say which run it is; `make chaos` sets them. The same seed gives the
//! same operations, faults and kills, each at its place; how they meet is up to the machine.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

mod deployment;
mod ledger;
mod operators;
mod reaper;
mod settle;
mod stage;
mod writers;

use std::io::Write;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures::future::join_all;
use futures::{FutureExt, join};
use tandem_tests::bucket::Bucket;
use tandem_tests::cloud::{Cloud, WEST, unique};
use tandem_tests::journal::Journal;
use tandem_tests::slow_copy::SlowCopy;
use tandem_tests::sooner::Sooner;
use tandem_tests::weather::{Forecast, Weather};

use crate::deployment::{Deployment, PUT_OFF_MAX, second_attempt};
use crate::ledger::Ledger;
use crate::operators::{Started, backfill, pause_and_resume};
use crate::stage::Stage;
use crate::writers::{OPERATIONS, Writer};

/// The seed of `make test`.
const USUAL_SEED: u64 = 20_261;
/// How long `make test` writes.
const USUAL_TIME: Duration = Duration::from_secs(45);
/// How much is written at least, however slow the machine.
const OPERATIONS_MIN: u64 = 2_000;
const WRITERS: u64 = 6;

/// How much of what happened to the keys of a failure is shown at once; the journal has all of it.
const TOLD_MAX: usize = 40;

/// Under which the ledger counts what the weather did.
const FAULTS: &str = "faults";

/// Which run it is, and what is written down about it.
#[derive(Debug)]
struct Run {
    seed: u64,
    time: Duration,
    ledger: Ledger,
    journal: Arc<Journal>,
}

impl Run {
    fn from_environment() -> Self {
        let number = |name: &str| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
            let number: f64 = value
                .parse()
                .unwrap_or_else(|_| panic!("{name} is {value:?}, which is no number"));
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
            ledger: Ledger::default(),
            journal: Arc::new(Journal::begin(
                Path::new(env!("CARGO_TARGET_TMPDIR")).join(journal),
            )),
        }
    }

    /// How to see it again.
    fn command(&self) -> String {
        let minutes = self.time.as_secs_f64() / 60.0;
        format!("make chaos SEED={} MINUTES={minutes}", self.seed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_converges_under_chaos() {
    let run = Run::from_environment();
    say(&format!("chaos of seed {}, {:?}", run.seed, run.time));
    let cloud = Cloud::connect().await;
    let deployment = Deployment::remember(&cloud).await;
    let body = AssertUnwindSafe(chaos(&run, &cloud, &deployment)).catch_unwind();
    let outcome = body.await;
    deployment.restore(&cloud).await;
    say(&run.ledger.table());
    let journal = run.journal.close().display();
    if let Err(panic) = outcome {
        let reason = panic.downcast_ref::<String>().map_or("", String::as_str);
        for line in run.journal.about(reason, TOLD_MAX) {
            say(&line);
        }
        say(&format!(
            "chaos of seed {} failed; what happened when: {journal}; again: {}",
            run.seed,
            run.command()
        ));
        resume_unwind(panic);
    }
}

async fn chaos(run: &Run, cloud: &Cloud, deployment: &Deployment) {
    let ledger = &run.ledger;
    deployment.quicken(cloud).await;
    let stage = Stage::set(cloud.clone()).await;
    let forecast = Forecast {
        seed: run.seed,
        buckets: stage.bucket_names(),
        sooner: Sooner {
            sqs: cloud.sqs.clone(),
            delay_max: second_attempt(),
            put_off_max: PUT_OFF_MAX,
        },
        slow_copy: SlowCopy {
            client: cloud.s3(WEST),
            aside: aside(cloud).await,
        },
        killer: Box::new(reaper::kill),
        journal: run.journal.clone(),
    };
    let weather = Weather::start(&cloud.endpoint, forecast).await;
    deployment.expose(cloud, &weather.url()).await;
    let ending = AssertUnwindSafe(storm_and_calm(run, &stage, &weather)).catch_unwind();
    let outcome = ending.await;
    let report = weather.report();
    ledger.add("weather", "requests of functions", report.requests);
    ledger.add("weather", "functions killed", report.kills);
    for (kind, count) in report.by_kind {
        ledger.add(FAULTS, kind, count);
    }
    for (operation, count) in &report.by_operation {
        ledger.add("faults by operation", operation, *count);
    }
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
    assert!(ledger.total(FAULTS) > 0, "the weather was fair");
    stage.strike().await;
}

/// Where slow copies wait before they land.
async fn aside(cloud: &Cloud) -> String {
    Bucket::create(cloud, WEST, unique("aside"), false)
        .await
        .name
}

async fn storm_and_calm(run: &Run, stage: &Stage, weather: &Weather) {
    let ledger = &run.ledger;
    let began = Instant::now();
    weather.turn(false);
    let started = storm(run, stage).await;
    ledger.add("seconds", "of writing", began.elapsed().as_secs());
    weather.turn(true);
    say(&format!(
        "{} operations are done; waiting for rest",
        ledger.total(OPERATIONS)
    ));
    let calm = Instant::now();
    settle::come_to_rest(stage, &started, ledger).await;
    ledger.add("seconds", "until rest", calm.elapsed().as_secs());
    settle::check(stage, &started, ledger).await;
}

/// Everybody at work, until it is over. Answers which backfills were started.
async fn storm(run: &Run, stage: &Stage) -> Vec<Started> {
    let ledger = &run.ledger;
    let began = Instant::now();
    let over = || began.elapsed() >= run.time && ledger.total(OPERATIONS) >= OPERATIONS_MIN;
    let started = Mutex::default();
    let dice = |number: u64| Rng::with_seed(run.seed.wrapping_mul(1_000).wrapping_sub(number));
    let writers = (0..WRITERS)
        .map(|number| Writer::new(number, run.seed, stage, ledger, &run.journal).write(over));
    join!(
        join_all(writers),
        backfill(0, stage, dice(1), ledger, &started, over),
        backfill(1, stage, dice(2), ledger, &started, over),
        pause_and_resume(0, stage, dice(3), ledger, over),
    );
    started.into_inner().expect("nobody panicked")
}

/// Says something that is seen in `make test` too, which hides what passing tests print.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}
