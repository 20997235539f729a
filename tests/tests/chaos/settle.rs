//! What has to be true once everybody has stopped and the weather is fair: first that everything comes to
//! rest, then that nothing is missing, too much, or wrongly counted.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tandem_tests::cloud::Cloud;
use tandem_tests::eventually::eventually;
use tokio::process::Command;

use crate::ledger::Ledger;
use crate::operators::Started;
use crate::stage::{Pair, Stage};

/// For how long nothing may change: more than what any message waits for.
pub const PATIENCE: Duration = Duration::from_mins(5);

/// Under which the ledger counts what was found when everybody had stopped.
pub const LEFT: &str = "once it was over";

const DEAD_QUEUES: [&str; 4] = ["put", "delete", "work", "part"];

/// Waits until nothing is under way any more, and all pairs agree. What was given up on the way is sent
/// round again, as an operator would.
pub async fn come_to_rest(stage: &Stage, started: &[Started], ledger: &Ledger) {
    eventually("everything comes to rest", PATIENCE, async || {
        let mut waiting = Vec::new();
        let mut given_up = 0;
        for pair in &stage.pairs {
            let progress = pair_progress(stage, pair).await?;
            let backlog = &progress["live"]["backlog"];
            for queue in ["put", "delete", "work", "part", "held"] {
                if backlog[queue] != 0 {
                    waiting.push(format!("{}: {} {queue}", pair.name, backlog[queue]));
                }
            }
            if progress["transfers"]["count"] != 0 {
                waiting.push(format!("{}: {}", pair.name, progress["transfers"]));
            }
            given_up += number(backlog, "dead_letter") + number(&progress, "failures");
        }
        if !waiting.is_empty() {
            return Err(waiting.join(", "));
        }
        if given_up > 0 {
            let retried = retry_all(&stage.cloud).await?;
            ledger.add(LEFT, "failures and messages sent round again", retried);
            return Err(format!("{given_up} given up, {retried} sent round again"));
        }
        for (place, job_id) in started {
            let job = stage.pairs[*place].job(&stage.cloud, job_id).await?;
            if job["state"] != "complete" {
                return Err(job.to_string());
            }
        }
        for pair in &stage.pairs {
            pair.agrees().await?;
        }
        Ok(())
    })
    .await;
}

/// # Panics
/// If anything is not as it has to be.
pub async fn check(stage: &Stage, started: &[Started], ledger: &Ledger) {
    for pair in &stage.pairs {
        verify(&pair.rule).await;
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
    for (place, job_id) in started {
        let job = stage.pairs[*place].job(&stage.cloud, job_id).await;
        let job = job.expect("a job");
        assert_eq!(job["state"], "complete", "{job}");
    }
}

/// Sends round again what was given up. Answers how much that was.
async fn retry_all(cloud: &Cloud) -> Result<u64, String> {
    let mut retried = 0;
    let mut after = Value::Null;
    loop {
        let mut request = json!({"action": "retry", "all": true});
        if !after.is_null() {
            request["after"] = after;
        }
        match cloud.configure(request).await {
            Ok(answer) => {
                let moved = &answer["moved"];
                let moved = DEAD_QUEUES.iter().map(|queue| number(moved, queue));
                retried += number(&answer, "retried") + moved.sum::<u64>();
                if answer["next"].is_null() {
                    return Ok(retried);
                }
                after = answer["next"].clone();
            }
            // A stack that does not know the action: what is in the dead-letter queues is all there is.
            Err(error) if error.code == "InvalidRequest" => return Ok(redrive(cloud).await),
            Err(error) => return Err(format!("{error:?}")),
        }
    }
}

async fn redrive(cloud: &Cloud) -> u64 {
    let mut moved = 0;
    for queue in DEAD_QUEUES {
        let dead = cloud.queue_url(&format!("{queue}-dead")).await;
        let alive = cloud.queue_url(queue).await;
        for body in cloud.drain(&dead).await {
            cloud.send(&alive, &body).await;
            moved += 1;
        }
    }
    moved
}

/// # Panics
/// If the real command does not find the rule's buckets equal.
async fn verify(rule: &str) {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let tandem = target.join("local/tandem");
    let output = Command::new(&tandem).args(["verify", rule]).output().await;
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
    let answer = stage.cloud.configure(request).await;
    answer.map_err(|error| format!("{error:?}"))
}

fn number(document: &Value, field: &str) -> u64 {
    document[field].as_u64().unwrap_or_default()
}
