//! `tandem verify --repair`: its requests, and what it refuses.

use serde_json::{Value, json};

use crate::server::{Response, Server};
use crate::{buckets, buckets_and, exit, object, page, stderr, stdout};

/// Listings with one missing, one equal and two extra objects.
fn list(bucket: &str, _: Option<&str>) -> Response {
    match bucket {
        "photos" => page(&[object("a", 1, "1"), object("b", 2, "2")], None),
        _ => page(
            &[
                object("a", 1, "1"),
                object("c", 3, "3"),
                object("d", 4, "4"),
            ],
            None,
        ),
    }
}

fn ended(extra: u64, deleted: u64, failed: u64) -> Value {
    json!({"job": {
        "id": "job-1", "rule_id": "rule-1", "kind": "repair", "state": "complete", "fraction": 1.0,
        "shards": null, "listed": 2, "copied": 1 - failed, "equal": 1, "gone": 0, "failed": failed,
        "extra": extra, "deleted": deleted, "deletes_max": 2, "bytes_copied": 2,
        "started_at": null, "finished_at": null
    }})
}

/// A stack whose repair ends with `end`; the request must have this `deletes_max`.
fn repairing(policy: &'static str, deletes_max: Option<u64>, end: Value) -> Server {
    buckets_and(policy, list, move |request| {
        let asked: Value = serde_json::from_str(&request.body).unwrap();
        if asked["action"] == "start" {
            let mut expected = json!({"action": "start", "rule": "rule-1", "kind": "repair"});
            if let Some(max) = deletes_max {
                expected["deletes_max"] = max.into();
            }
            assert_eq!(crate::without_token(asked), expected);
        }
        Response::new(200, end.to_string())
    })
}

#[test]
fn a_repair_without_a_terminal_deletes_only_with_yes() {
    let output = buckets("full", list).run("verify photos --repair");
    assert_eq!(exit(&output), 2);
    let said = stderr(&output);
    assert!(
        said.contains("2 objects will be deleted from replica"),
        "{said}"
    );
    assert!(said.contains("--yes"), "{said}");

    let server = repairing("full", Some(2), ended(2, 2, 0));
    let output = server.run("verify photos --repair --yes");
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    let shown = stdout(&output);
    assert!(
        shown.contains("missing") && shown.contains("Repair"),
        "{shown}"
    );
}

#[test]
fn more_extras_than_may_be_deleted_are_refused() {
    let output = buckets("full", list).run("verify photos --repair --max-deletes 1 --yes");
    assert_eq!(exit(&output), 2);
    let said = stderr(&output);
    assert!(
        said.contains("2 objects are at the destination only"),
        "{said}"
    );
    assert!(said.contains("no more than 1 may be deleted"), "{said}");
}

#[test]
fn a_repair_that_deletes_nothing_does_not_need_yes() {
    let server = repairing("full", Some(0), ended(2, 0, 0));
    let output = server.run("verify photos --repair --max-deletes 0");
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    let server = repairing("write", None, ended(2, 0, 0));
    let output = server.run("verify photos --repair --output json");
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    assert_eq!(
        serde_json::from_str::<Value>(&stdout(&output)).unwrap(),
        ended(2, 0, 0)
    );
}

#[test]
fn a_repair_that_leaves_differences_exits_with_1() {
    for end in [ended(2, 2, 1), ended(3, 2, 0)] {
        let output = repairing("full", Some(2), end).run("verify photos --repair --yes");
        assert_eq!(exit(&output), 1, "{}", stderr(&output));
    }
}

// Promise: A command ends with exit code 0 only if all is done that it reports as done.
#[test]
fn a_repair_whose_deletes_are_denied_exits_with_1_and_says_what_is_left_and_why() {
    let mut denied = ended(2, 1, 0);
    denied["job"]["extra_failed"] = 1.into();
    denied["job"]["started_at"] = "2026-11-22T21:00:00.000Z".into();
    let output = repairing("full", Some(2), denied).run("verify photos --repair --yes");
    assert_eq!(exit(&output), 1, "{}", stderr(&output));
    let said = stderr(&output);
    for part in [
        "1 object at the destination only could not be deleted",
        "secret: SrcGetObjectNotPermitted (Access Denied)",
        "tandem failures list --rule rule-1",
    ] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    assert!(!said.contains("older"), "{said}");
}

// Promise: A command ends with exit code 0 only if all is done that it reports as done.
#[test]
fn a_repair_that_leaves_an_extra_object_for_any_reason_exits_with_1() {
    // An older stack does not count what failed.
    let output = repairing("full", Some(2), ended(2, 1, 0)).run("verify photos --repair --yes");
    assert_eq!(exit(&output), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("1 object at the destination only: not deleted"));
    let mut cancelled = ended(2, 2, 0);
    cancelled["job"]["state"] = "cancelled".into();
    let output = repairing("full", Some(2), cancelled).run("verify photos --repair --yes");
    assert_eq!(exit(&output), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains("The repair is cancelled"));
}

#[test]
fn buckets_that_agree_are_not_repaired() {
    let same = |_: &str, _: Option<&str>| page(&[object("a", 1, "1")], None);
    let output = buckets("full", same).run("verify photos --repair");
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).ends_with("agree.\n"), "{}", stdout(&output));
}

#[test]
fn a_repair_with_job_uses_a_comparison_of_the_functions() {
    let server = buckets_and(
        "full",
        |_, _| panic!("nothing is listed here"),
        |request| {
            let asked: Value = serde_json::from_str(&request.body).unwrap();
            let is_verify = asked["kind"] == "verify" || asked["job_id"] == "job-0";
            let mut end = ended(1, 1, 0);
            if is_verify {
                end["job"]["id"] = "job-0".into();
                end["job"]["kind"] = "verify".into();
                end["job"]["copied"] = 0.into();
                end["job"]["missing"] = 1.into();
            } else if asked["action"] == "start" {
                assert_eq!(asked["deletes_max"], 1);
            }
            Response::new(200, end.to_string())
        },
    );
    let output = server.run("verify photos --repair --job --yes");
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    let shown = stdout(&output);
    assert!(
        shown.contains("Verification") && shown.contains("Repair"),
        "{shown}"
    );
}
