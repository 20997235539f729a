//! The operators of the stack: they pause and resume rules, and repeat requests that fail because of a fault.

use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use tandem_tests::cloud::{Cloud, FunctionError};
use tandem_tests::eventually::eventually;

use crate::ledger::Ledger;
use crate::settle::PATIENCE;
use crate::stage::Stage;

/// The ledger's heading for the operators' requests.
pub const OPERATORS: &str = "operators";
/// The ledger's heading for requests that failed and were repeated.
const REPEATED: &str = "requests that failed and were repeated";
/// The shortest and the longest time that an operator waits between two requests.
const BREAK_SECS: (f64, f64) = (1.0, 5.0);

/// The errors that faults explain: AWS failed, the function was killed, or it ran out of time. Any other error is
/// a refusal, which no fault explains.
const EXPLAINED: [&str; 4] = [
    "Internal",
    "Runtime.ExitError",
    "Runtime.HandlerError",
    "Sandbox.Timedout",
];

/// Pauses and resumes a pair's rule until it is `over`; leaves it resumed.
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

/// Runs the hourly maintenance before its schedule does.
pub async fn maintain(cloud: &Cloud, ledger: &Ledger) -> Result<(), String> {
    let request = json!({"action": "tend"});
    let answer = cloud.invoke("backfill", request.clone()).await;
    let maintained = answer.map_err(|error| explained(&request, &error))?;
    ledger.count(OPERATORS, "maintenance runs");
    let helped = maintained["helped_on"].as_array().map_or(0, Vec::len);
    ledger.add(OPERATORS, "jobs that maintenance continued", helped as u64);
    Ok(())
}

/// Sends a request until it succeeds.
///
/// # Panics
/// If it is refused for a reason that no fault explains.
pub async fn persistently(
    cloud: &Cloud,
    function: &str,
    request: &Value,
    ledger: &Ledger,
) -> Value {
    eventually(&request.to_string(), PATIENCE, async || {
        let answer = cloud.invoke(function, request.clone()).await;
        answer.map_err(|error| {
            ledger.count(REPEATED, &error.code);
            explained(request, &error)
        })
    })
    .await
}

/// Returns the error's text if faults explain the error.
///
/// # Panics
/// If no fault explains it.
pub fn explained(request: &Value, error: &FunctionError) -> String {
    assert!(
        EXPLAINED.contains(&error.code.as_str()),
        "{request} is refused: {error:?}"
    );
    format!("{error:?}")
}

/// Waits for a random time.
pub async fn rest(dice: &mut Rng) {
    let (least, most) = BREAK_SECS;
    tokio::time::sleep(Duration::from_secs_f64(least + (most - least) * dice.f64())).await;
}
