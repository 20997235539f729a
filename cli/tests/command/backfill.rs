//! `tandem backfill`: its requests, its output and its exit codes.

use serde_json::{Value, json};

use crate::server::Response;
use crate::{exit, failures, functions, job, refusing, stderr, stdout, without_token};

#[test]
fn the_exit_code_after_wait_is_the_outcome_of_the_backfill() {
    for (state, failed, code) in [("complete", 0, 0), ("complete", 1, 1), ("cancelled", 0, 1)] {
        let server = functions(move |function, request| {
            if function == "tandem-configure-rule" {
                return Response::new(200, failures(&request).to_string());
            }
            assert_eq!(function, "tandem-backfill");
            if request["action"] == "start" {
                return Response::new(200, job("running", 0).to_string());
            }
            assert_eq!(request["job_id"], "job-1");
            Response::new(200, job(state, failed).to_string())
        });
        let output = server.run("backfill start photos --wait --output json");
        assert_eq!(exit(&output), code, "{}", stderr(&output));
        assert_eq!(
            serde_json::from_str::<Value>(&stdout(&output)).unwrap(),
            job(state, failed)
        );
        let is_reported =
            stderr(&output).contains("secret: SrcGetObjectNotPermitted (Access Denied)");
        assert_eq!(is_reported, failed > 0, "{}", stderr(&output));
    }
}

#[test]
fn start_sends_only_the_options_that_are_given() {
    let server = functions(|_, request| {
        let expected = json!({"action": "start", "rule": "photos", "overwrite": "if-older",
            "prefix": "2025/", "manifest": "s3://inventory/keys.csv", "keys": "plain",
            "objects_per_sec": 12.5, "concurrency": 4});
        assert_eq!(without_token(request), expected);
        Response::new(200, job("planning", 0).to_string())
    });
    let output = server.run(
        "backfill start photos --overwrite if-older --prefix 2025/ \
         --manifest s3://inventory/keys.csv --keys plain --objects-per-sec 12.5 --concurrency 4",
    );
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    let server = functions(|_, request| {
        let expected = json!({"action": "start", "rule": "photos"});
        assert_eq!(without_token(request), expected);
        Response::new(200, job("planning", 0).to_string())
    });
    let output = server.run("backfill start photos");
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
}

#[test]
fn a_failed_backfill_shows_why_and_exits_with_1() {
    let failed = || {
        let mut failed = job("failed", 0);
        failed["job"]["error"] = "shard 3: the bucket is gone".into();
        failed
    };
    let server = functions(move |_, _| Response::new(200, failed().to_string()));
    for line in [
        "backfill status photos",
        "backfill status photos --watch",
        "backfill start photos --wait",
    ] {
        let output = server.run(line);
        assert_eq!(exit(&output), 1, "{line}: {}", stderr(&output));
        assert!(
            stdout(&output).contains("the bucket is gone"),
            "{}",
            stdout(&output)
        );
    }
}

// Promise: A finished job of which more than half of the listed keys do not exist has a warning, and the command
// ends with exit code 1.
#[test]
fn a_backfill_whose_list_names_keys_that_do_not_exist_warns_and_exits_with_1() {
    let odd = || {
        let mut odd = job("complete", 0);
        odd["job"]["warning"] = "2 of 3 keys in the list do not exist".into();
        odd
    };
    for line in [
        "backfill status photos",
        "backfill status photos --watch",
        "backfill status photos --watch --output json",
        "backfill start photos --manifest s3://tandem-lists/keys.csv --wait",
        "backfill start photos --manifest s3://tandem-lists/keys.csv --wait --output json",
    ] {
        let server = functions(move |_, _| Response::new(200, odd().to_string()));
        let output = server.run(line);
        assert_eq!(exit(&output), 1, "{line}: {}", stderr(&output));
        let shown = format!("{}{}", stdout(&output), stderr(&output));
        assert!(shown.contains("2 of 3 keys"), "{line}: {shown}");
    }
}

#[test]
fn a_backfill_is_paused_resumed_and_cancelled_by_name() {
    for (line, asked) in [
        ("pause photos", json!({"action": "pause", "rule": "photos"})),
        (
            "resume photos --job job-7",
            json!({"action": "resume", "rule": "photos", "job_id": "job-7"}),
        ),
        (
            "cancel photos --yes",
            json!({"action": "cancel", "rule": "photos"}),
        ),
    ] {
        let becomes = if line.starts_with("cancel") {
            "cancelled"
        } else {
            "paused"
        };
        for (state, code) in [(becomes, 0), ("failed", 1)] {
            let asked = asked.clone();
            let server = functions(move |function, request| {
                assert_eq!((function, &request), ("tandem-backfill", &asked));
                Response::new(200, job(state, 0).to_string())
            });
            let output = server.run(&format!("backfill {line}"));
            assert_eq!(exit(&output), code, "{}", stderr(&output));
            assert!(stdout(&output).contains(state), "{}", stdout(&output));
        }
    }
    let output = refusing("JobStateConflict").run("backfill resume photos");
    assert_eq!(exit(&output), 2, "{}", stderr(&output));
}

#[test]
fn cancelling_without_a_terminal_needs_yes() {
    let server = functions(|_, _| panic!("nothing is asked for"));
    let output = server.run("backfill cancel photos");
    assert_eq!(exit(&output), 2);
    assert!(stderr(&output).contains("--yes"), "{}", stderr(&output));
}

#[test]
fn jobs_are_listed() {
    let server = functions(|_, request| {
        assert_eq!(request, json!({"action": "list", "rule": "photos"}));
        let jobs = [
            job("running", 0)["job"].clone(),
            job("complete", 1)["job"].clone(),
        ];
        Response::new(200, json!({ "jobs": jobs }).to_string())
    });
    let output = server.run("backfill list photos");
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    let shown = stdout(&output);
    assert_eq!(shown.matches("job-1").count(), 2, "{shown}");
    let json = stdout(&server.run("backfill list photos --output json"));
    let document: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(document["jobs"].as_array().unwrap().len(), 2);
}
