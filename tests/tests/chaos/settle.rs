//! The checks once all writers have stopped and no more faults happen: first that everything comes to rest, then that
//! nothing is missing, superfluous, or wrongly counted.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use serde_json::{Value, json};
use tandem_tests::cloud::Cloud;
use tandem_tests::eventually::eventually;
use tokio::process::Command;

use crate::jobs::{Started, StartedJobs};
use crate::ledger::Ledger;
use crate::operators::{explained, maintain};
use crate::stage::{Pair, Stage};

/// How long nothing may change: longer than any message waits.
pub const PATIENCE: Duration = Duration::from_mins(5);

/// The period of maintenance, which runs every hour in production.
const MAINTENANCE_PERIOD: Duration = Duration::from_secs(10);

/// The ledger's heading for the state after the writers have stopped.
pub const LEFT: &str = "after the writing";
/// The ledger's heading for failures in that state.
const FAILURES: &str = "failures after the writing";
/// The ledger's heading for the ends of jobs.
const JOB_ENDS: &str = "jobs, their ends";

const QUEUES: [&str; 4] = ["put", "delete", "work", "part"];
const BACKLOG: [&str; 5] = ["put", "delete", "work", "part", "held"];

/// The reasons for which an object may fail here. No fault explains any other.
const EXPLAINED: [&str; 4] = ["KeptChanging", "Throttled", "ServiceFailed", "NotAnswered"];

/// Waits until nothing is under way and all pairs agree. Retries failures and dead letters, and resumes failed jobs,
/// as an operator would do.
///
/// # Panics
/// If something has failed for a reason that no fault explains.
pub async fn come_to_rest(stage: &Stage, started: &StartedJobs, ledger: &Ledger) {
    let mut ended = BTreeSet::new();
    let mut helped = BTreeSet::new();
    let mut next_maintenance = Instant::now();
    eventually("everything comes to rest", PATIENCE, async || {
        if Instant::now() >= next_maintenance {
            maintain(&stage.cloud, ledger).await?;
            next_maintenance = Instant::now() + MAINTENANCE_PERIOD;
        }
        let mut waiting = Vec::new();
        let mut failed = 0;
        for pair in &stage.pairs {
            let progress = pair_progress(stage, pair).await?;
            let backlog = &progress["live"]["backlog"];
            for queue in BACKLOG {
                if backlog[queue] != 0 {
                    waiting.push(format!("{}: {} {queue}", pair.name, backlog[queue]));
                }
            }
            if progress["transfers"]["count"] != 0 {
                waiting.push(format!("{}: {}", pair.name, progress["transfers"]));
            }
            failed += number(backlog, "dead_letter") + number(&progress, "failures");
        }
        if !waiting.is_empty() {
            return Err(waiting.join(", "));
        }
        if failed > 0 {
            check_failures(stage, ledger).await?;
            let retried = retry_all(&stage.cloud).await?;
            ledger.add(LEFT, "failures and dead letters retried", retried);
            return Err(format!("{failed} failed, {retried} retried"));
        }
        let jobs = started.all();
        for job in &jobs {
            let end = has_ended(stage, job, &jobs, &mut ended, ledger).await;
            if end.is_err() && helped.insert(job.id.clone()) {
                an_hour_passes(stage, job, ledger).await;
                next_maintenance = Instant::now();
            }
            end?;
        }
        for pair in &stage.pairs {
            pair.agrees().await?;
        }
        Ok(())
    })
    .await;
}

/// Lets an hour pass for a job that has no message under way, so that maintenance finds it. A function leaves such a
/// job if it dies after storing that a shard has a message and before sending the message.
async fn an_hour_passes(stage: &Stage, started: &Started, ledger: &Ledger) {
    let job = stage.pairs[started.place]
        .job(&stage.cloud, &started.id)
        .await;
    let is_planned = job.is_ok_and(|job| job["state"] != "planning");
    let (partition, attribute) = if is_planned {
        ("shard#", "progressed_at")
    } else {
        ("job#", "started_at")
    };
    let ago = TimeDelta::hours(2);
    let cloud = &stage.cloud;
    cloud.set_back(partition, &started.id, attribute, ago).await;
    ledger.count(LEFT, "jobs without a message, left to maintenance");
}

/// Checks that a job has ended in an expected state. Resumes a job that has failed.
async fn has_ended(
    stage: &Stage,
    started: &Started,
    all: &[Started],
    ended: &mut BTreeSet<String>,
    ledger: &Ledger,
) -> Result<(), String> {
    let pair = &stage.pairs[started.place];
    let job = pair.job(&stage.cloud, &started.id).await?;
    let end = job["state"].as_str().unwrap_or_default();
    match end {
        "failed" if !started.is_replaced(all) => {
            ledger.count(JOB_ENDS, &format!("failed and resumed: {}", job["error"]));
            let request = json!({"action": "resume", "rule": pair.rule, "job_id": started.id});
            let resumed = stage.cloud.invoke("backfill", request.clone()).await;
            resumed.map_err(|error| explained(&request, &error))?;
            Err(format!("resumed: {job}"))
        }
        "complete" => {
            if ended.insert(started.id.clone()) {
                ledger.count(JOB_ENDS, end);
            }
            Ok(())
        }
        "cancelled" | "failed" if started.is_replaced(all) => {
            if ended.insert(started.id.clone()) {
                ledger.count(JOB_ENDS, &format!("{end}, then replaced"));
            }
            Ok(())
        }
        _ => Err(job.to_string()),
    }
}

/// # Panics
/// If anything is not as it has to be.
pub async fn check(stage: &Stage, s3_url: &str, ledger: &Ledger) {
    for pair in &stage.pairs {
        if pair.promise.is_live() {
            verify(&pair.rule, s3_url).await;
        }
        let progress = pair_progress(stage, pair).await.expect("progress");
        let backlog =
            json!({"put": 0, "delete": 0, "work": 0, "part": 0, "held": 0, "dead_letter": 0});
        assert_eq!(progress["live"]["backlog"], backlog, "{progress}");
        assert_eq!(progress["failures"], 0, "{progress}");
    }
    let request = json!({"kind": "sweep", "older_than_secs": 0});
    let swept = stage.cloud.invoke("copy-parts", request).await;
    let swept = swept.expect("a sweep");
    ledger.add(
        LEFT,
        "uploads left behind, swept",
        number(&swept, "aborted"),
    );
    for pair in &stage.pairs {
        let left = pair.buckets.destination.uploads().await;
        assert!(
            left.is_empty(),
            "{}: uploads {left:?} after {swept}",
            pair.name
        );
    }
}

/// Counts the failures by reason.
///
/// # Panics
/// If there is one that no fault explains.
async fn check_failures(stage: &Stage, ledger: &Ledger) -> Result<(), String> {
    /// The most that one request returns.
    const LIMIT: usize = 500;
    for pair in &stage.pairs {
        let request = json!({"action": "failures", "rule": pair.rule, "limit": LIMIT});
        let answer = stage.cloud.configure(request.clone()).await;
        let answer = answer.map_err(|error| explained(&request, &error))?;
        for failure in answer["failures"].as_array().into_iter().flatten() {
            let reason = failure["reason"].as_str().unwrap_or_default();
            ledger.count(FAILURES, reason);
            assert!(EXPLAINED.contains(&reason), "{}: {failure}", pair.name);
        }
    }
    Ok(())
}

/// Retries all failures and dead letters. Returns how many there were.
async fn retry_all(cloud: &Cloud) -> Result<u64, String> {
    let mut retried = 0;
    let mut after = Value::Null;
    loop {
        let mut request = json!({"action": "retry", "all": true});
        if !after.is_null() {
            request["after"] = after;
        }
        let answer = cloud.configure(request.clone()).await;
        let answer = answer.map_err(|error| explained(&request, &error))?;
        assert_eq!(answer["unreadable"]["count"], 0, "{answer}");
        let moved = &answer["moved"];
        let moved = QUEUES.iter().map(|queue| number(moved, queue));
        retried += number(&answer, "retried") + moved.sum::<u64>();
        if answer["next"].is_null() {
            return Ok(retried);
        }
        after = answer["next"].clone();
    }
}

/// # Panics
/// If the real command does not find the rule's buckets equal.
async fn verify(rule: &str, s3_url: &str) {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let tandem = target.join("local/tandem");
    let mut command = Command::new(&tandem);
    // Some of the buckets are found through the proxy only.
    command.args(["verify", rule]);
    command.env("AWS_ENDPOINT_URL_S3", s3_url);
    let output = command.output().await;
    let output =
        output.unwrap_or_else(|error| panic!("{}: {error}; run `make test`", tandem.display()));
    assert!(
        output.status.success(),
        "tandem verify {rule}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

async fn pair_progress(stage: &Stage, pair: &Pair) -> Result<Value, String> {
    let request = json!({"action": "progress", "rule": pair.rule});
    let answer = stage.cloud.configure(request.clone()).await;
    answer.map_err(|error| explained(&request, &error))
}

fn number(document: &Value, field: &str) -> u64 {
    document[field].as_u64().unwrap_or_default()
}
