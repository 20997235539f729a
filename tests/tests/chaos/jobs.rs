//! The jobs that start during the run: backfills in all modes, of listings and of lists of keys, repairs and
//! verifications.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tandem_tests::cloud::unique;

use crate::ledger::Ledger;
use crate::operators::{persistently, rest};
use crate::stage::{Pair, Promise, Stage};

/// The ledger's heading for jobs that were started.
pub const JOBS: &str = "jobs started";

/// How long the next job of a pair waits for the one before it. A job that starts sooner cancels one of the same
/// kind.
const JOB_WAIT_MAX: Duration = Duration::from_secs(12);
/// The percentage of a list's lines that name a missing object.
const MISSING_PERCENT: u32 = 5;

/// One way to start a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JobKind {
    Backfill,
    BackfillOfList,
    Repair,
    Verify,
    Never,
    NeverOfList,
    IfOlder,
    IfOlderOfList,
}

/// A job that was started.
#[derive(Debug, Clone)]
pub struct Started {
    /// The index of the pair.
    pub place: usize,
    /// The job's id.
    pub id: String,
    /// `backfill`, `repair` or `verify`: a later job of the same kind cancels it.
    pub kind: &'static str,
}

/// The jobs that were started, in this order.
#[derive(Debug, Default)]
pub struct StartedJobs(Mutex<Vec<Started>>);

impl StartedJobs {
    fn push(&self, job: Started) {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.push(job);
    }

    /// Returns all started jobs.
    pub fn all(&self) -> Vec<Started> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Started {
    /// Whether a later job has replaced this one, which cancels it if it has not ended.
    pub fn is_replaced(&self, all: &[Started]) -> bool {
        let place = all.iter().position(|job| job.id == self.id);
        let later = &all[place.map_or(0, |place| place + 1)..];
        later
            .iter()
            .any(|job| (job.place, job.kind) == (self.place, self.kind))
    }
}

impl JobKind {
    /// The kinds of jobs of a pair, which start in this order again and again.
    fn of(pair: &Pair) -> &'static [Self] {
        match (pair.promise, pair.name) {
            (Promise::Never, _) => &[Self::Never, Self::NeverOfList],
            (Promise::IfOlder, _) => &[Self::IfOlder, Self::IfOlderOfList],
            (Promise::Covering, _) => &[Self::IfOlder, Self::Never],
            (Promise::Equal, "versioned") => &[Self::Verify, Self::Repair, Self::Backfill],
            (Promise::Equal, _) => &[Self::Backfill, Self::Repair, Self::BackfillOfList],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::BackfillOfList => "backfill of a list",
            Self::Repair => "repair",
            Self::Verify => "verification",
            Self::Never => "backfill, never",
            Self::NeverOfList => "backfill of a list, never",
            Self::IfOlder => "backfill, if-older",
            Self::IfOlderOfList => "backfill of a list, if-older",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Repair => "repair",
            Self::Verify => "verify",
            _ => "backfill",
        }
    }

    fn mode(self) -> Option<&'static str> {
        match self {
            Self::Never | Self::NeverOfList => Some("never"),
            Self::IfOlder | Self::IfOlderOfList => Some("if-older"),
            _ => None,
        }
    }

    fn is_of_list(self) -> bool {
        let of_lists = [Self::BackfillOfList, Self::NeverOfList, Self::IfOlderOfList];
        of_lists.contains(&self)
    }
}

/// The kinds of jobs that have not been started yet.
pub fn missing(stage: &Stage, ledger: &Ledger) -> Vec<&'static str> {
    let kinds = stage.pairs.iter().flat_map(JobKind::of);
    let names = kinds.map(|kind| kind.name());
    names
        .filter(|name| ledger.number(JOBS, name) == 0)
        .collect()
}

/// Starts the jobs of a pair one after another, until it is `over`.
pub async fn start_jobs(
    place: usize,
    stage: &Stage,
    mut dice: Rng,
    ledger: &Ledger,
    started: &StartedJobs,
    over: impl Fn() -> bool,
) {
    let pair = &stage.pairs[place];
    for kind in JobKind::of(pair).iter().cycle() {
        rest(&mut dice).await;
        if over() {
            return;
        }
        let id = start(*kind, place, stage, &mut dice, ledger, started).await;
        let began = Instant::now();
        while !over() && began.elapsed() < JOB_WAIT_MAX && !is_complete(stage, pair, &id).await {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Starts the last job of each pair whose objects only jobs write.
pub async fn start_last_jobs(stage: &Stage, seed: u64, ledger: &Ledger, started: &StartedJobs) {
    for (place, pair) in stage.pairs.iter().enumerate() {
        if !pair.promise.is_live() {
            let mut dice = Rng::with_seed(seed);
            start(
                JobKind::of(pair)[0],
                place,
                stage,
                &mut dice,
                ledger,
                started,
            )
            .await;
        }
    }
}

async fn start(
    kind: JobKind,
    place: usize,
    stage: &Stage,
    dice: &mut Rng,
    ledger: &Ledger,
    started: &StartedJobs,
) -> String {
    let pair = &stage.pairs[place];
    let id = unique("job");
    let mut request = json!({
        "action": "start", "rule": pair.rule, "job_id": id, "kind": kind.kind(),
    });
    if let Some(mode) = kind.mode() {
        request["overwrite"] = json!(mode);
    }
    if kind == JobKind::Repair {
        // More than a job can delete.
        request["deletes_max"] = json!(1_000_000);
    }
    if kind.is_of_list() {
        request["manifest"] = json!(list(stage, pair, &id, dice).await);
    }
    started.push(Started {
        place,
        id: id.clone(),
        kind: kind.kind(),
    });
    persistently(&stage.cloud, "backfill", &request, ledger).await;
    ledger.count(JOBS, kind.name());
    id
}

/// Writes a list of the source's keys as they are now, with some missing keys. Returns its address.
async fn list(stage: &Stage, pair: &Pair, id: &str, dice: &mut Rng) -> Value {
    let source = &pair.buckets.source;
    let mut lines = String::new();
    for key in source.list("").await.into_keys() {
        let escaped = utf8_percent_encode(&key, NON_ALPHANUMERIC);
        let _ = writeln!(lines, "{},{escaped}", source.name);
        if dice.u32(0..100) < MISSING_PERCENT {
            let _ = writeln!(lines, "{},{escaped}-is-missing", source.name);
        }
    }
    let key = format!("{id}.csv");
    stage.lists.put(&key, lines).await;
    json!(format!("s3://{}/{key}", stage.lists.name))
}

async fn is_complete(stage: &Stage, pair: &Pair, job_id: &str) -> bool {
    let job = pair.job(&stage.cloud, job_id).await;
    job.is_ok_and(|job| job["state"] == "complete")
}
