//! `tandem rule import`: its output, its requests, and when it creates no rule.

use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::server::{Request, Response, Server, tandem};
use crate::{exit, stderr, stdout};

type Requests = Arc<Mutex<Vec<Value>>>;

/// Returns a server that creates every rule, and the requests that it receives.
fn stack() -> (Server, Requests) {
    let requests = Requests::default();
    let seen = requests.clone();
    let server = Server::start(move |request: &Request| {
        let request: Value = serde_json::from_str(&request.body).unwrap();
        let rule = json!({
            "id": "rule-1", "source": {"bucket": request["source"], "region": "us-east-1"},
            "destination": {"bucket": request["destination"], "region": "us-west-2"},
            "scope": request["scope"], "policy": request["policy"], "historical": request["historical"],
            "state": "enabled"
        });
        seen.lock().unwrap().push(request);
        Response::new(200, json!({"rule": rule, "job_id": null}).to_string())
    });
    (server, requests)
}

fn import(server: &Server, file: &str, more: &str) -> Output {
    let file = format!(
        "{}/tests/fixtures/import/{file}",
        env!("CARGO_MANIFEST_DIR")
    );
    let mut command = server.command("rule import");
    command.arg(file).args(["--source", "photos"]);
    command.args(more.split_whitespace()).output().unwrap()
}

fn texts(output: &Output) -> (i32, String, String) {
    (exit(output), stdout(output), stderr(output))
}

#[test]
fn a_dry_run_shows_the_rule_and_what_is_left_out_and_creates_nothing() {
    let (server, requests) = stack();
    let (exit, shown, said) = texts(&import(&server, "s3-v2.json", "--dry-run"));
    assert_eq!((exit, said.as_str()), (0, ""), "{shown}");
    for part in [
        "archive-444455556666",
        "invoices/",
        "GLACIER_IR",
        "by their tags",
        "Rule[4]",
    ] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    let (_, json, _) = texts(&import(&server, "s3-v2.json", "--dry-run --output json"));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["rule"]["policy"], "write");
    assert!(json["notes"].as_array().unwrap().len() > 5, "{json}");
    assert!(requests.lock().unwrap().is_empty());
}

#[test]
fn a_rule_is_created_from_the_file_only_if_it_is_confirmed() {
    let (server, requests) = stack();
    let (exit, _, said) = texts(&import(&server, "oss.xml", "--destination photos-replica"));
    assert_eq!(exit, 2);
    assert!(said.contains("no terminal to confirm it on"), "{said}");
    let yes = "--destination photos-replica --yes";
    let (exit, shown, said) = texts(&import(&server, "oss.xml", yes));
    assert_eq!((exit, said.as_str()), (0, ""));
    assert!(shown.contains("Rule rule-1 is created"), "{shown}");
    let requests = std::mem::take(&mut *requests.lock().unwrap());
    let requests: Vec<Value> = requests.into_iter().map(crate::without_token).collect();
    assert_eq!(
        requests,
        [json!({
            "action": "create", "source": "photos", "destination": "photos-replica",
            "scope": {"prefixes": ["source_image", "video"]}, "policy": "write", "historical": false
        })]
    );
}

#[test]
fn a_missing_or_unreadable_file_is_refused() {
    let (server, requests) = stack();
    let (exit, _, said) = texts(&import(&server, "no-such-file.json", "--yes"));
    assert!(exit == 2 && said.contains("cannot read"), "{said}");
    let mut command = server.command("rule import - --source photos --yes");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let (exit, _, said) = texts(&output);
    assert!(
        exit == 2 && said.contains("-: the file is neither XML nor JSON"),
        "{said}"
    );
    assert!(requests.lock().unwrap().is_empty());
}

fn write_file(folder: &tempfile::TempDir, text: &[u8]) -> String {
    let path = folder.path().join("replication.xml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

// Promise: `rule import --dry-run` only reads the file: it needs no region, no credentials and no stack.
#[test]
fn a_dry_run_needs_no_region_and_no_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let file = write_file(&folder, b"<ReplicationConfiguration><Rule><Status>Enabled</Status><Prefix> leading space/\
        </Prefix><Destination><Bucket>arn:aws:s3:::replica-a</Bucket></Destination></Rule></ReplicationConfiguration>");
    for format in ["table", "json"] {
        let mut command = tandem("rule import --source photos --dry-run --output");
        let output = command.args([format, &file]).output().unwrap();
        let (exit, shown, said) = texts(&output);
        assert_eq!((exit, said.as_str()), (0, ""), "{shown}");
        assert!(shown.contains(" leading space/"), "{shown}");
    }
    // The command reports errors of a file without a stack. Creating the rule needs one.
    let wrong = write_file(&folder, b"<ReplicationConfiguration>\xff");
    let output = tandem("rule import --source photos --yes")
        .arg(wrong)
        .output();
    let (exit, _, said) = texts(&output.unwrap());
    assert!(
        exit == 2 && said.contains("not UTF-8 from byte 26 on"),
        "{said}"
    );
    let mut command = tandem("rule import --source photos --yes");
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/import/s3-v1.json"
    );
    let (exit, _, said) = texts(&command.arg(fixture).output().unwrap());
    assert!(exit == 3 && said.contains("no region is set"), "{said}");
}
