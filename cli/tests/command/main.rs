//! The command's requests, output and exit codes. I/O: runs the binary against a server on loopback.

#![allow(clippy::unwrap_used)]

mod backfill;
mod denied;
mod import;
mod odd_answers;
mod plan;
mod repair;
mod server;
mod verify;

use std::io::Read;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use server::{Request, Response, Server, tandem};

fn rule() -> Value {
    json!({
        "id": "rule-1", "source": {"bucket": "photos", "region": "us-east-1"},
        "destination": {"bucket": "replica", "region": "us-west-2"},
        "scope": "all", "policy": "full", "historical": false, "state": "enabled",
        "revision": 1, "created_at": "2026-11-22T21:00:00.000Z",
        "updated_at": "2026-11-22T21:00:00.000Z", "paused_at": null
    })
}

fn job(state: &str, failed: u64) -> Value {
    json!({"job": {
        "id": "job-1", "rule_id": "rule-1", "state": state, "fraction": 1.0,
        "shards": {"total": 1, "done": 1}, "listed": 1, "copied": 1 - failed, "equal": 0,
        "gone": 0, "failed": failed, "bytes_copied": 5,
        "started_at": "2026-11-22T21:00:00.000Z", "finished_at": "2026-11-22T21:00:01.000Z"
    }})
}

/// The failures of a rule, which the command requests if a job had failures: an older one, and one of the job.
fn failures(request: &Value) -> Value {
    assert_eq!(request["action"], "failures");
    let failure = |key: &str, at: &str| {
        json!({
            "rule_id": "rule-1", "key": key, "version_id": null, "etag": "e", "bytes": 5,
            "reason": "SrcGetObjectNotPermitted", "message": "Access Denied",
            "first_at": at, "last_at": at, "attempts": 1,
        })
    };
    json!({"next": null, "failures": [
        failure("older", "2026-11-22T20:00:00.000Z"), failure("secret", "2026-11-22T21:00:00.500Z"),
    ]})
}

/// Returns the request without its token, which differs in every request.
fn without_token(mut request: Value) -> Value {
    let token = request.as_object_mut().unwrap().remove("token");
    let token = token.unwrap_or_default();
    let digits = token.as_str().unwrap_or_default();
    assert_eq!(digits.len(), 32, "{request}: {token}");
    request
}

fn exit(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Starts a server that answers only for the two functions.
fn functions(answer: impl Fn(&str, Value) -> Response + Send + Sync + 'static) -> Server {
    Server::start(move |request: &Request| {
        let function = request.target.split('/').nth(3).unwrap();
        answer(function, serde_json::from_str(&request.body).unwrap())
    })
}

fn refusing(code: &'static str) -> Server {
    functions(move |_, _| Response::function_error(code, "source: no such thing"))
}

/// One object of a listing.
fn object(key: &str, size: u64, etag: &str) -> String {
    format!(
        "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>&quot;{etag}&quot;</ETag></Contents>"
    )
}

fn page(objects: &[String], next: Option<&str>) -> Response {
    let next = next.map_or_else(
        || "<IsTruncated>false</IsTruncated>".to_owned(),
        |token| {
            format!(
                "<IsTruncated>true</IsTruncated>\
                 <NextContinuationToken>{token}</NextContinuationToken>"
            )
        },
    );
    Response::new(
        200,
        format!(
            "<ListBucketResult><EncodingType>url</EncodingType>{next}{}</ListBucketResult>",
            objects.concat()
        ),
    )
}

/// Starts a server for the functions and both buckets; `list` answers listings, by bucket and token.
fn buckets(
    policy: &'static str,
    list: impl Fn(&str, Option<&str>) -> Response + Send + Sync + 'static,
) -> Server {
    buckets_and(policy, list, |request| {
        panic!("{} {} was not expected", request.method, request.target)
    })
}

/// Like [`buckets`]; `rest` answers the requests to the `backfill` function, and those that write a report.
fn buckets_and(
    policy: &'static str,
    list: impl Fn(&str, Option<&str>) -> Response + Send + Sync + 'static,
    rest: impl Fn(&Request) -> Response + Send + Sync + 'static,
) -> Server {
    Server::start(move |request: &Request| {
        if request.target.contains("configure-rule") {
            let asked: Value = serde_json::from_str(&request.body).unwrap();
            if asked["action"] == "failures" {
                return Response::new(200, failures(&asked).to_string());
            }
            let mut rule = rule();
            rule["policy"] = policy.into();
            return Response::new(200, json!({ "rule": rule }).to_string());
        }
        let is_report = request.target.starts_with("/reports/") && request.method != "HEAD";
        if request.target.contains("tandem-backfill") || is_report {
            return rest(request);
        }
        let (path, query) = request
            .target
            .split_once('?')
            .unwrap_or((&request.target, ""));
        if request.method == "HEAD" {
            let marked = Response::new(200, "").header("x-amz-meta-tandem-source-etag", "big-2");
            return match path {
                "/replica/marked" => marked,
                "/replica/gone" => Response::new(404, ""),
                // The two sides have different ETags.
                _ => Response::head(5, path),
            };
        }
        assert!(query.contains("encoding-type=url"), "{query}");
        let token = query
            .split('&')
            .find_map(|part| part.strip_prefix("continuation-token="));
        list(path.trim_matches('/'), token)
    })
}

#[test]
fn json_output_is_the_functions_answer_and_nothing_else() {
    let answer = json!({"rule": rule(), "job_id": "job-1", "news": [1]});
    let body = answer.to_string();
    let server = functions(move |function, request| {
        assert_eq!(function, "other-configure-rule");
        let expected = json!({"action": "create", "source": "photos", "destination": "replica",
            "scope": {"prefixes": ["a/"]}, "policy": "write", "historical": true});
        assert_eq!(without_token(request), expected);
        Response::new(200, body.clone())
    });
    let output = server.run(
        "rule create --source photos --destination replica --prefix a/ --policy write \
         --historical --output json --stack-name other",
    );
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    assert_eq!(
        serde_json::from_str::<Value>(&stdout(&output)).unwrap(),
        answer
    );
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_refusal_shows_its_message_and_code_and_exits_with_2() {
    let output = refusing("BucketNotFound").run("rule show photos");
    assert_eq!(exit(&output), 2);
    assert_eq!(
        stderr(&output),
        "error: source: no such thing (BucketNotFound)\n"
    );
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_failed_function_exits_with_3() {
    for code in ["Internal", "Sandbox.Timedout"] {
        assert_eq!(exit(&refusing(code).run("rule list")), 3);
    }
}

#[test]
fn the_error_for_a_missing_stack_names_it_and_says_what_to_do() {
    let server = Server::start(|_| {
        Response::new(404, r#"{"Type":"User","Message":"Function not found: x"}"#)
            .header("X-Amzn-ErrorType", "ResourceNotFoundException")
    });
    let output = server.run("rule list --stack-name other");
    assert_eq!(exit(&output), 3);
    let said = stderr(&output);
    assert!(said.contains("other-configure-rule in us-east-1"), "{said}");
    assert!(
        said.contains("--stack-name") && said.contains("--region"),
        "{said}"
    );
}

#[test]
fn errors_of_the_environment_say_what_to_do() {
    let output = tandem("rule list").output().unwrap();
    assert_eq!((exit(&output), stdout(&output)), (3, String::new()));
    assert!(
        stderr(&output).contains("AWS_REGION"),
        "{}",
        stderr(&output)
    );

    let output = tandem("rule list --region us-east-1").output().unwrap();
    assert_eq!(exit(&output), 3);
    let said = stderr(&output);
    assert!(
        said.starts_with("error: no usable AWS credentials"),
        "{said}"
    );
    assert!(said.lines().count() <= 3, "{said}");

    for url in ["", "localhost:4566"] {
        let mut command = refusing("Internal").command("rule list");
        let output = command
            .env("AWS_ENDPOINT_URL_LAMBDA", url)
            .output()
            .unwrap();
        assert_eq!(exit(&output), 2);
        let said = stderr(&output);
        assert!(said.contains("AWS_ENDPOINT_URL_LAMBDA"), "{said}");
    }

    // Nothing listens on port 1.
    let output = refusing("Internal").run("rule list --endpoint-url http://127.0.0.1:1");
    assert_eq!(exit(&output), 3);
    let said = stderr(&output);
    assert!(
        said.contains("no connection") && said.contains("--endpoint-url"),
        "{said}"
    );
}

#[test]
fn only_given_options_are_sent_and_only_unusual_options_are_shown() {
    let server = functions(|_, request| {
        assert_eq!(
            request,
            json!({"action": "update", "rule": "photos",
                   "options": {"storage_class": "GLACIER_IR", "kms_key": null, "tags": false}})
        );
        let mut rule = rule();
        rule["options"] = json!({"storage_class": "GLACIER_IR", "tags": false, "acl": "reset"});
        Response::new(200, json!({ "rule": rule }).to_string())
    });
    let output =
        server.run("rule update photos --storage-class GLACIER_IR --kms-key none --tags false");
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    let shown = stdout(&output);
    assert!(
        shown.contains("GLACIER_IR") && shown.contains("Tags"),
        "{shown}"
    );
    assert!(!shown.contains("ACL"), "{shown}");
    let refused = refusing("InvalidOptions").run("rule update photos --acl keep");
    assert_eq!(exit(&refused), 2, "{}", stderr(&refused));
}

#[test]
fn transfers_are_listed_only_if_one_rule_is_requested() {
    let server = functions(|_, request| {
        let answer = if request["action"] == "list" {
            json!({ "rules": [rule()] })
        } else {
            let transfer = json!({
                "id": "transfer-1", "key": "2026/film.mov", "bytes": 1_u64 << 40,
                "bytes_copied": 1_u64 << 38, "parts": 8000,
                "started_at": "2026-11-22T21:00:00.000Z",
                "progressed_at": "2026-11-22T21:05:00.000Z"
            });
            json!({"rule": rule(), "historical": null, "live": {}, "failures": 0,
                   "transfers": {"count": 1, "shown": [transfer]}})
        };
        Response::new(200, answer.to_string())
    });
    let alone = stdout(&server.run("status photos"));
    let among_all = stdout(&server.run("status"));
    for text in [&alone, &among_all] {
        assert!(text.contains("1, 25.0 % of 1.00 TiB copied"), "{text}");
    }
    assert!(alone.contains("2026/film.mov"), "{alone}");
    assert!(!among_all.contains("2026/film.mov"), "{among_all}");
}

#[test]
fn deleting_without_a_terminal_needs_yes() {
    let server = functions(|_, request| {
        let asked = [
            json!({"action": "get", "rule": "photos"}),
            json!({"action": "delete", "rule": "rule-1"}),
        ];
        assert!(asked.contains(&request), "{request}");
        Response::new(200, json!({ "rule": rule() }).to_string())
    });
    let output = server.run("rule delete photos");
    assert_eq!(exit(&output), 2);
    assert!(stderr(&output).contains("--yes"), "{}", stderr(&output));
    let output = server.run("rule delete photos --yes");
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("has deleted no objects"));
}

// Promise: An invocation whose answer is lost is sent again with the same token, and a rule or job is made once.
#[test]
fn a_repeated_invocation_has_the_same_token() {
    for (line, answer) in [
        (
            "rule create --source photos --destination replica",
            json!({"rule": rule(), "job_id": null}),
        ),
        (
            "rule update photos --historical",
            json!({"rule": rule(), "job_id": "job-1"}),
        ),
        ("backfill start photos", job("running", 0)),
    ] {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let server = functions({
            let asked = asked.clone();
            move |_, request| {
                let mut asked = asked.lock().unwrap();
                asked.push(request);
                // The connection breaks before the first answer arrives.
                match asked.len() {
                    1 => Response::broken_off(),
                    _ => Response::new(200, answer.to_string()),
                }
            }
        });
        let output = server.run(line);
        assert_eq!(exit(&output), 0, "{line}: {}", stderr(&output));
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 2, "{line}");
        assert_eq!(asked[0], asked[1], "{line}");
        without_token(asked[0].clone());
    }
}

#[test]
fn a_rule_that_is_gone_when_its_deletion_is_repeated_counts_as_deleted() {
    for output in ["table", "json"] {
        let server = functions(|_, request| {
            if request["action"] == "get" {
                Response::new(200, json!({ "rule": rule() }).to_string())
            } else {
                Response::function_error("RuleNotFound", "no such rule")
            }
        });
        let output = server.run(&format!("rule delete photos --yes --output {output}"));
        assert_eq!(exit(&output), 0, "{}", stderr(&output));
        assert!(stdout(&output).contains("rule-1"), "{}", stdout(&output));
    }
    let refused = refusing("RuleNotFound").run("rule delete photos --yes");
    assert_eq!(exit(&refused), 2, "{}", stderr(&refused));
}

/// Uses credentials as `aws login` stores them (AWS SDKs reference guide, "Login provider").
#[test]
fn credentials_of_aws_login_are_used() {
    const SESSION: &str = "arn:aws:iam::000000000000:user/test";
    // The file's name is the SHA-256 of the session.
    const CACHED: &str = "bde41da3d88a3425c3455dafe97c06f992bb12d6a3b3e233739219874d42af15.json";
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("config");
    std::fs::write(&config, format!("[default]\nlogin_session = {SESSION}\n")).unwrap();
    let token = json!({
        "accessToken": {"accessKeyId": "AKIDOFLOGIN", "secretAccessKey": "secret", "sessionToken": "session",
            "accountId": "000000000000", "expiresAt": "2099-01-01T00:00:00Z"},
        "tokenType": "aws_sigv4", "refreshToken": "refresh", "clientId": "arn:aws:signin:::devtools/same-device",
        "dpopKey": "key"
    });
    std::fs::write(home.path().join(CACHED), token.to_string()).unwrap();
    let signed = Arc::new(Mutex::new(String::new()));
    let server = Server::start({
        let signed = signed.clone();
        move |request| {
            signed.lock().unwrap().clone_from(&request.headers);
            Response::new(200, json!({"rules": []}).to_string())
        }
    });
    let mut command = server.command("rule list");
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env("AWS_CONFIG_FILE", &config)
        .env("AWS_LOGIN_CACHE_DIRECTORY", home.path());
    let output = command.output().unwrap();
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    let signed = signed.lock().unwrap();
    assert!(signed.contains("Credential=AKIDOFLOGIN/"), "{signed}");
}

/// As with the AWS CLI, a profile that is given as an option wins over the environment's access key.
#[test]
fn a_given_profile_wins_over_the_environments_credentials() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("credentials");
    let profile = "[prod]\naws_access_key_id = AKIDOFPROD\naws_secret_access_key = secret\n";
    std::fs::write(&file, profile).unwrap();
    let signed = Arc::new(Mutex::new(String::new()));
    let server = Server::start({
        let signed = signed.clone();
        move |request| {
            signed.lock().unwrap().clone_from(&request.headers);
            Response::new(200, json!({"rules": []}).to_string())
        }
    });
    let run = |line: &str| {
        let mut command = server.command(line);
        command.env("AWS_SHARED_CREDENTIALS_FILE", &file);
        command.output().unwrap()
    };
    for (line, key) in [
        ("rule list", "test"),
        ("rule list --profile prod", "AKIDOFPROD"),
    ] {
        let output = run(line);
        assert_eq!(exit(&output), 0, "{}", stderr(&output));
        let signed = signed.lock().unwrap();
        assert!(
            signed.contains(&format!("Credential={key}/")),
            "{line}: {signed}"
        );
    }
    let unknown = run("rule list --profile nosuch");
    assert_eq!(exit(&unknown), 3, "{}", stderr(&unknown));
    assert!(stderr(&unknown).contains("nosuch"), "{}", stderr(&unknown));
}

fn progress_server() -> Server {
    functions(|_, request| {
        let answer = if request["action"] == "list" {
            json!({ "rules": [rule(), rule()] })
        } else {
            assert_eq!(request, json!({"action": "progress", "rule": "rule-1"}));
            json!({"rule": rule(), "historical": null, "live": {}, "failures": 0})
        };
        Response::new(200, answer.to_string())
    })
}

#[test]
fn the_status_of_every_rule_is_one_document() {
    let output = progress_server().run("status --output json");
    let document: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(document["progress"].as_array().unwrap().len(), 2);
    let output = progress_server().run("status");
    assert_eq!(stdout(&output).matches("no backfill").count(), 2);
}

#[test]
fn a_watch_prints_one_document_per_line_and_ends_when_its_reader_does() {
    let mut watch = progress_server()
        .command("status --watch --interval 1 --output json")
        .spawn()
        .unwrap();
    let mut first = Vec::new();
    let mut out = watch.stdout.take().unwrap();
    let mut byte = [0];
    while byte != *b"\n" {
        out.read_exact(&mut byte).unwrap();
        first.push(byte[0]);
    }
    serde_json::from_slice::<Value>(&first).unwrap();
    drop(out);
    let mut said = String::new();
    watch
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(watch.wait().unwrap().code(), Some(141));
    assert_eq!(said, "");
}

#[test]
fn help_goes_to_stdout_with_0_and_usage_errors_to_stderr_with_2() {
    let output = tandem("--help").output().unwrap();
    assert_eq!((exit(&output), stderr(&output)), (0, String::new()));
    assert!(stdout(&output).contains("Exit codes:"));
    let output = tandem("rule create --source a")
        .stdout(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(exit(&output), 2);
    assert!(stderr(&output).contains("--destination"));
}

fn failure(key: &str) -> Value {
    json!({
        "rule_id": "rule-1", "key": key, "version_id": null, "etag": "e", "bytes": 5,
        "reason": "SrcObjectArchived", "message": "copying", "attempts": 1,
        "first_at": "2026-11-22T21:00:00.000Z", "last_at": "2026-11-22T21:00:00.000Z"
    })
}

#[test]
fn failures_are_listed_page_by_page_up_to_the_limit() {
    let server = functions(|_, request| {
        assert_eq!(request["action"], "failures");
        assert_eq!(request["reason"], "SrcObjectArchived");
        let answer = if request.get("after").is_none() {
            assert_eq!(request["limit"], 2);
            json!({"failures": [failure("a")], "next": {"rule_id": "rule-1", "key": "a"}})
        } else {
            assert_eq!(request["after"], json!({"rule_id": "rule-1", "key": "a"}));
            assert_eq!(request["limit"], 1);
            json!({"failures": [failure("b")], "next": {"rule_id": "rule-1", "key": "b"}})
        };
        Response::new(200, answer.to_string())
    });
    let line = "failures list --reason SrcObjectArchived --limit 2";
    let output = server.run(&format!("{line} --output json"));
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    let answer: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(answer["failures"], json!([failure("a"), failure("b")]));
    assert_eq!(answer["next"]["key"], "b");
    let output = server.run(line);
    assert!(
        stderr(&output).contains("more than these 2"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_retry_goes_on_until_everything_is_sent_and_shows_the_sum() {
    let server = functions(|_, request| {
        assert_eq!(
            (&request["action"], &request["all"]),
            (&json!("retry"), &json!(true))
        );
        let mut answer = json!({
            "retried": 3, "moved": {"put": 1, "delete": 0, "work": 0}, "next": null,
            "unreadable": {"count": 0, "messages": []}
        });
        if request.get("after").is_none() {
            answer["next"] = json!({"rule_id": "rule-1", "key": null});
        }
        Response::new(200, answer.to_string())
    });
    let output = server.run("failures retry --all");
    assert_eq!(exit(&output), 0, "{}", stderr(&output));
    let said = stdout(&output);
    assert!(
        said.starts_with("6 objects sent for another attempt; 2 messages moved"),
        "{said}"
    );
}
