//! Every command, if access to the functions, to S3 or to a part of the request is denied: its exit code is not 0.

use serde_json::{Value, json};

use crate::server::{Response, Server};
use crate::{buckets, buckets_and, exit, functions, job, object, page, stderr, stdout};

/// Every command that sends a request to the stack.
const COMMANDS: [&str; 24] = [
    "rule create --source photos --destination replica",
    "rule list",
    "rule show photos",
    "rule update photos --policy write",
    "rule pause photos",
    "rule resume photos",
    "rule delete photos --yes",
    "rule destinations photos",
    "backfill plan photos",
    "backfill start photos",
    "backfill start photos --wait",
    "backfill status photos",
    "backfill list photos",
    "backfill pause photos",
    "backfill resume photos",
    "backfill cancel photos --yes",
    "status",
    "status photos",
    "failures list",
    "failures show photos key",
    "failures retry --all",
    "verify photos",
    "verify photos --job",
    "verify photos --repair --yes",
];

fn denied() -> Response {
    Response::new(
        403,
        r#"{"Message":"not authorized to perform: lambda:InvokeFunction"}"#,
    )
    .header("X-Amzn-ErrorType", "AccessDeniedException")
}

// Promise: A command ends with exit code 0 only if all is done that it reports as done.
#[test]
fn no_command_exits_with_0_if_it_may_not_invoke_a_function() {
    let server = Server::start(|_| denied());
    for line in COMMANDS {
        let output = server.run(line);
        assert_eq!(
            (exit(&output), stdout(&output)),
            (3, String::new()),
            "{line}"
        );
        assert!(
            stderr(&output).contains("AccessDenied"),
            "{line}: {}",
            stderr(&output)
        );
    }
}

// Promise: A command ends with exit code 0 only if all is done that it reports as done.
#[test]
fn no_command_exits_with_0_if_its_function_fails_or_refuses() {
    for (code, exits) in [("Internal", 3), ("RuleNotFound", 2)] {
        let server = functions(move |_, _| Response::function_error(code, "rule: no such thing"));
        for line in COMMANDS {
            let output = server.run(line);
            assert_eq!(
                (exit(&output), stdout(&output)),
                (exits, String::new()),
                "{line}"
            );
        }
    }
}

// Promise: A command ends with exit code 0 only if all is done that it reports as done.
#[test]
fn every_command_that_lists_fails_if_a_listing_is_denied() {
    let answer = || {
        let body = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
        Response::new(403, body)
    };
    for side in ["photos", "replica"] {
        let server = buckets("full", move |bucket, _| {
            if bucket == side {
                answer()
            } else {
                page(&[], None)
            }
        });
        for line in [
            "verify photos",
            "verify photos --repair --yes",
            "backfill plan photos",
        ] {
            let output = server.run(line);
            assert_eq!(
                (exit(&output), stdout(&output)),
                (3, String::new()),
                "{line}"
            );
            let said = stderr(&output);
            assert!(
                said.contains(&format!("listing {side}: AWS said AccessDenied")),
                "{said}"
            );
        }
    }
}

fn list(_: &str, _: Option<&str>) -> Response {
    page(&[object("a", 1, "1")], None)
}

/// A stack whose job ends with `end`.
fn ending(end: Value) -> Server {
    let differing = |bucket: &str, token: Option<&str>| match bucket {
        "photos" => list(bucket, token),
        _ => page(&[object("a", 2, "2")], None),
    };
    buckets_and("full", differing, move |_| {
        Response::new(200, end.to_string())
    })
}

// Promise: A command ends with exit code 0 only if all is done that it reports as done.
#[test]
fn every_command_that_waits_for_a_job_exits_with_1_if_the_job_left_something_undone() {
    let lines = [
        "backfill start photos --wait",
        "backfill status photos --watch",
        "verify photos --job",
        "verify photos --repair",
    ];
    let with = |field: &str, value: Value| {
        let mut end = job("complete", 0);
        end["job"]["kind"] = "repair".into();
        end["job"][field] = value;
        end
    };
    for end in [
        with("failed", json!(1)),
        with("state", json!("failed")),
        with("state", json!("cancelled")),
        with("extra", json!(1)),
    ] {
        let server = ending(end.clone());
        for line in lines {
            let output = server.run(line);
            assert_eq!(exit(&output), 1, "{line} {end}: {}", stderr(&output));
        }
    }
}

// Promise: A command ends with exit code 0 only if all is done that it reports as done.
#[test]
fn a_command_fails_if_it_may_not_write_its_report() {
    let refused = |_: &crate::server::Request| {
        let body = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
        Response::new(403, body)
    };
    let server = buckets_and("full", list, refused);
    let output = server.run("verify photos --report s3://reports/found.csv");
    assert_eq!(exit(&output), 3, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("s3://reports/found.csv"),
        "{}",
        stderr(&output)
    );
}

// Promise: A command ends with exit code 0 only if all is done that it reports as done.
#[test]
fn a_retry_that_leaves_dead_letters_behind_exits_with_1() {
    let answer = |unreadable: u64, unseen: bool| {
        json!({
            "retried": 2, "moved": {"put": 1, "delete": 0, "work": 0, "part": 0}, "next": null,
            "unreadable": {"count": unreadable, "messages": []}, "unseen": unseen,
        })
    };
    for (unreadable, unseen, code) in [(0, false, 0), (1, false, 1), (0, true, 1)] {
        let server =
            functions(move |_, _| Response::new(200, answer(unreadable, unseen).to_string()));
        let output = server.run("failures retry --all");
        assert_eq!(exit(&output), code, "{}", stderr(&output));
    }
}
