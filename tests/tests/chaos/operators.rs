//! Those who run the stack meanwhile: they start backfills, and pause and resume rules. A request that
//! fails in the bad weather they send again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use tandem_tests::cloud::{Cloud, unique};
use tandem_tests::eventually::eventually;

use crate::ledger::Ledger;
use crate::settle::PATIENCE;
use crate::stage::{Pair, Stage};

/// Under which the ledger counts what operators do.
pub const OPERATORS: &str = "operators";
/// One of their deeds.
pub const BACKFILLS: &str = "backfills started";

/// How long an operator waits between two deeds, at the least and at the most.
const BREAK_SECS: (f64, f64) = (2.0, 8.0);

/// A backfill that was started: the pair's place, and the job's id.
pub type Started = (usize, String);

/// Starts one backfill of a pair after another, until it is `over`.
pub async fn backfill(
    place: usize,
    stage: &Stage,
    mut dice: Rng,
    ledger: &Ledger,
    started: &Mutex<Vec<Started>>,
    over: impl Fn() -> bool,
) {
    let pair = &stage.pairs[place];
    rest(&mut dice).await;
    while !over() {
        let job_id = unique("job");
        let request = json!({"action": "start", "rule": pair.rule, "job_id": job_id});
        persistently(&stage.cloud, "backfill", &request, ledger).await;
        ledger.count(OPERATORS, BACKFILLS);
        started
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((place, job_id.clone()));
        while !over() && !is_complete(&stage.cloud, pair, &job_id).await {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        rest(&mut dice).await;
    }
}

/// Pauses and resumes a pair's rule again and again, until it is `over`; leaves it resumed.
pub async fn pause_and_resume(
    place: usize,
    stage: &Stage,
    mut dice: Rng,
    ledger: &Ledger,
    over: impl Fn() -> bool,
) {
    let rule = &stage.pairs[place].rule;
    while !over() {
        rest(&mut dice).await;
        for action in ["pause", "resume"] {
            let request = json!({"action": action, "rule": rule});
            persistently(&stage.cloud, "configure-rule", &request, ledger).await;
            ledger.count(OPERATORS, &format!("rules {action}d"));
            rest(&mut dice).await;
        }
    }
}

async fn persistently(cloud: &Cloud, function: &str, request: &Value, ledger: &Ledger) -> Value {
    eventually(&request.to_string(), PATIENCE, async || {
        let answer = cloud.invoke(function, request.clone()).await;
        answer.map_err(|error| {
            ledger.count(OPERATORS, "requests that failed and were sent again");
            format!("{error:?}")
        })
    })
    .await
}

async fn is_complete(cloud: &Cloud, pair: &Pair, job_id: &str) -> bool {
    let job = pair.job(cloud, job_id).await;
    job.is_ok_and(|job| job["state"] == "complete")
}

async fn rest(dice: &mut Rng) {
    let (least, most) = BREAK_SECS;
    tokio::time::sleep(Duration::from_secs_f64(least + (most - least) * dice.f64())).await;
}
