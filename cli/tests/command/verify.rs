//! `tandem verify`: its findings, its reports and its exit codes.

use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::Response;
use crate::{buckets, buckets_and, exit, functions, object, page, rule, stderr, stdout};

#[test]
fn buckets_that_agree_over_pages_and_marked_replicas_exit_with_0() {
    let server = buckets("full", |bucket, token| match (bucket, token) {
        ("photos", None) => page(&[object("a+b%2B", 1, "1")], Some("more")),
        ("photos", _) => page(&[object("marked", 9, "big-2"), object("z", 3, "3")], None),
        _ => page(
            &[
                object("a%20b%2B", 1, "1"),
                object("marked", 9, "small"),
                object("z", 3, "3"),
            ],
            None,
        ),
    });
    let output = server.run("verify photos --output json");
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["equal"], true);
    assert_eq!(report["same"], 3);
    assert_eq!(report["source_bytes"], 13);
    let output = server.run("verify photos");
    assert!(stdout(&output).ends_with("agree.\n"), "{}", stdout(&output));
}

#[test]
fn buckets_that_differ_exit_with_1_and_the_differences_are_named() {
    let list = |bucket: &str, _: Option<&str>| {
        let objects = match bucket {
            "photos" => [
                object("etag", 5, "1"),
                object("gone", 5, "1"),
                object("new", 7, "1"),
            ],
            _ => [
                object("etag", 5, "2"),
                object("extra", 1, "1"),
                object("gone", 5, "2"),
            ],
        };
        page(&objects, None)
    };
    let output = buckets("full", list).run("verify photos --output json");
    assert_eq!(exit(&output), 1, "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let found: Vec<(&str, &str)> = report["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| {
            (
                found["key"].as_str().unwrap(),
                found["kind"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("etag", "different"),
            ("extra", "extra"),
            ("gone", "missing"),
            ("new", "missing")
        ]
    );
    let output = buckets("full", list).run("verify photos --max-differences 1");
    assert_eq!(exit(&output), 1);
    let text = stdout(&output);
    assert!(
        text.contains("different (etag)") && text.contains("and 3 more"),
        "{text}"
    );
}

#[test]
fn extras_alone_are_no_difference_under_policy_write() {
    let list = |bucket: &str, _: Option<&str>| match bucket {
        "photos" => page(&[], None),
        _ => page(&[object("kept", 5, "2")], None),
    };
    assert_eq!(exit(&buckets("write", list).run("verify photos")), 0);
    assert_eq!(exit(&buckets("full", list).run("verify photos")), 1);
}

#[test]
fn a_listing_that_fails_midway_is_a_failure_and_not_a_difference() {
    let output = buckets("full", |bucket, token| match (bucket, token) {
        ("replica", Some(_)) => Response::new(
            403,
            "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
        ),
        _ => page(
            &[object("a", 1, "1")],
            (bucket == "replica").then_some("more"),
        ),
    })
    .run("verify photos --output json");
    assert_eq!((exit(&output), stdout(&output)), (3, String::new()));
    let expected = "error: listing replica: AWS said AccessDenied: Access Denied\n";
    assert_eq!(stderr(&output), expected);
}

#[test]
fn a_listing_out_of_order_is_a_failure() {
    let list = |_: &str, _: Option<&str>| page(&[object("b", 1, "1"), object("a", 1, "1")], None);
    let output = buckets("full", list).run("verify photos");
    assert_eq!(exit(&output), 3);
    assert!(
        stderr(&output).contains("not in key order"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_prefix_outside_the_scope_is_refused() {
    let server = functions(|_, _| {
        let mut rule = rule();
        rule["scope"] = json!({"prefixes": ["a/"]});
        Response::new(200, json!({ "rule": rule }).to_string())
    });
    let output = server.run("verify photos --prefix b/");
    assert_eq!(exit(&output), 2);
    assert!(stderr(&output).contains("covers a/"), "{}", stderr(&output));
}

/// A mistyped prefix must not look like a successful verification.
#[test]
fn a_prefix_without_any_key_exits_with_1() {
    let server = buckets("full", |_, _| page(&[], None));
    let whole = server.run("verify photos");
    assert_eq!(exit(&whole), 0, "{}", stderr(&whole));
    let output = server.run("verify photos --prefix nosuch/");
    assert_eq!(exit(&output), 1);
    let said = stderr(&output);
    assert!(said.contains("begins with \"nosuch/\""), "{said}");
}

fn odd_keys(bucket: &str, _: Option<&str>) -> Response {
    match bucket {
        "photos" => page(
            &[object("a%0Ab%2C%22c%22", 1, "1"), object("%C3%A9", 2, "2")],
            None,
        ),
        _ => page(&[object("z", 3, "3")], None),
    }
}

#[test]
fn a_report_has_every_difference_though_few_are_shown() {
    let folder = TempDir::new().unwrap();
    for name in ["report.csv", "report.jsonl"] {
        let file = folder.path().join(name);
        let line = format!(
            "verify photos --max-differences 1 --report {}",
            file.display()
        );
        let output = buckets("full", odd_keys).run(&line);
        assert_eq!(exit(&output), 1, "{}", stderr(&output));
        assert!(
            stderr(&output).contains("3 differences"),
            "{}",
            stderr(&output)
        );
        let text = std::fs::read_to_string(&file).unwrap();
        let keys: Vec<String> = if name == "report.csv" {
            csv::Reader::from_reader(text.as_bytes())
                .records()
                .map(|record| record.unwrap()[0].to_owned())
                .collect()
        } else {
            text.lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap())
                .map(|row| row["key"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(keys, ["a\nb,\"c\"", "z", "é"]);
    }
}

#[test]
fn a_report_goes_to_a_bucket_as_one_object() {
    let server = buckets_and("full", odd_keys, |request| {
        assert!(
            request.target.starts_with("/reports/x/diff.jsonl"),
            "{}",
            request.target
        );
        assert_eq!(
            request.body.matches("destination_etag").count(),
            3,
            "{}",
            request.body
        );
        Response::new(200, "")
    });
    let output = server.run("verify photos --report s3://reports/x/diff.jsonl");
    assert_eq!(exit(&output), 1, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("s3://reports/x/diff.jsonl: 3"),
        "{}",
        stderr(&output)
    );
}

/// Listings of a source of 17 pages with keys of 1,000 bytes, and of an empty destination.
fn long_keys(bucket: &str, token: Option<&str>) -> Response {
    if bucket == "replica" {
        return page(&[], None);
    }
    let number: u32 = token.map_or(0, |token| token.parse().unwrap());
    let objects: Vec<String> = (0..1000)
        .map(|key| object(&format!("{number:03}{key:0997}"), 1, "1"))
        .collect();
    let next = (number + 1).to_string();
    page(&objects, (number < 16).then_some(next.as_str()))
}

#[test]
fn a_large_report_is_uploaded_in_parts_and_aborted_if_one_fails() {
    for fails in [false, true] {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let server = buckets_and("full", long_keys, move |request| {
            let (_, query) = request.target.split_once('?').unwrap();
            log.lock()
                .unwrap()
                .push(format!("{} {query}", request.method));
            let is_second = query.contains("partNumber=2");
            match request.method.as_str() {
                "POST" if query.contains("uploads") => {
                    let body = "<InitiateMultipartUploadResult><UploadId>u-1</UploadId>\
                                </InitiateMultipartUploadResult>";
                    Response::new(200, body)
                }
                "POST" => {
                    assert_eq!(
                        request.body.matches("<Part>").count(),
                        2,
                        "{}",
                        request.body
                    );
                    Response::new(200, "<CompleteMultipartUploadResult/>")
                }
                "PUT" if is_second && fails => {
                    Response::new(403, "<Error><Code>AccessDenied</Code></Error>")
                }
                "PUT" => Response::new(200, "").header("ETag", "\"e\""),
                _ => Response::new(204, ""),
            }
        });
        let output = server.run("verify photos --max-differences 0 --report s3://reports/big.csv");
        assert_eq!(
            exit(&output),
            if fails { 3 } else { 1 },
            "{}",
            stderr(&output)
        );
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 4, "{asked:?}");
        let last = if fails { "DELETE" } else { "POST" };
        assert!(asked[3].starts_with(last), "{asked:?}");
        assert!(asked[3].contains("uploadId=u-1"), "{asked:?}");
    }
}

#[test]
fn an_incomplete_report_is_not_published() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("report.csv");
    let server = buckets("full", |bucket, token| match (bucket, token) {
        ("replica", Some(_)) => Response::new(403, "<Error><Code>AccessDenied</Code></Error>"),
        _ => page(
            &[object("a", 1, "1")],
            (bucket == "replica").then_some("more"),
        ),
    });
    let output = server.run(&format!("verify photos --report {}", file.display()));
    assert_eq!(exit(&output), 3, "{}", stderr(&output));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn an_interrupted_report_is_not_published() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("report.csv");
    let server = buckets("full", |_, token| {
        if token.is_some() {
            // The server does not answer while the command runs.
            std::thread::park();
        }
        page(&[object("a", 1, "1")], Some("more"))
    });
    let mut verify = server
        .command(&format!("verify photos --report {}", file.display()))
        .spawn()
        .unwrap();
    let count = || std::fs::read_dir(folder.path()).unwrap().count();
    while count() == 0 {
        std::thread::yield_now();
    }
    let interrupt = Command::new("kill")
        .args(["-INT", &verify.id().to_string()])
        .status();
    assert!(interrupt.unwrap().success());
    assert_eq!(verify.wait().unwrap().code(), Some(130));
    assert_eq!(count(), 0);
}

#[test]
fn a_report_that_cannot_be_written_is_refused_before_any_listing() {
    let server = buckets("full", |_, _| panic!("nothing is listed"));
    let output = server.run("verify photos --report /no/such/folder/report.csv");
    assert_eq!(exit(&output), 3);
    let said = stderr(&output);
    assert!(
        said.contains("cannot write the report /no/such/folder/report.csv"),
        "{said}"
    );
    let refused = server.run("verify photos --report report.xlsx");
    assert_eq!(exit(&refused), 2);
    assert!(stderr(&refused).contains(".jsonl"), "{}", stderr(&refused));
}

#[test]
fn a_job_compares_on_the_functions_and_its_findings_are_the_exit_code() {
    for (missing, extra, policy, code) in [
        (0, 0, "full", 0),
        (1, 0, "full", 1),
        (0, 1, "full", 1),
        (0, 1, "write", 0),
    ] {
        let answer = json!({"job": {
            "id": "job-1", "rule_id": "rule-1", "kind": "verify", "state": "complete",
            "fraction": 1.0, "shards": null, "listed": 1, "copied": 0, "equal": 1 - missing,
            "gone": 0, "failed": 0, "missing": missing, "extra": extra, "bytes_copied": 0,
            "started_at": null, "finished_at": null
        }});
        let body = answer.to_string();
        let server = buckets_and(
            policy,
            |_, _| panic!("nothing is listed here"),
            move |request| {
                let asked: Value = serde_json::from_str(&request.body).unwrap();
                if asked["action"] == "start" {
                    let expected = json!({"action": "start", "rule": "rule-1", "kind": "verify",
                    "prefix": "2026/", "report": "s3://reports/p/"});
                    assert_eq!(crate::without_token(asked), expected);
                }
                Response::new(200, body.clone())
            },
        );
        let output =
            server.run("verify photos --job --prefix 2026/ --report s3://reports/p/ --output json");
        assert_eq!(exit(&output), code, "{}", stderr(&output));
        assert_eq!(
            serde_json::from_str::<Value>(&stdout(&output)).unwrap(),
            answer
        );
    }
}
