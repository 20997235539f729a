//! The files in `events/`: each one is a request that its function accepts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tandem_lambda::notification::parse;
use tandem_lambda::sqs_batch::parse as parse_batch;
use tandem_replication::event::{Change, ObjectEvent};
use tandem_replication::work::{PartWork, Work};
use tandem_tests::cloud::Cloud;
use tandem_tests::notification;

/// The files of a function, each with its name.
fn files(function: &str) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../events")
        .join(function);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("a folder of events")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    let read = paths.into_iter().map(|path| {
        let text = std::fs::read(&path).expect("an event");
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let event = serde_json::from_slice(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (name, event)
    });
    read.collect()
}

/// The object events of a file, out of all their envelopes.
fn object_events(event: Value) -> Vec<ObjectEvent> {
    let bodies = parse_batch(event)
        .into_iter()
        .map(|message| message.body.expect("a body that is JSON"));
    bodies
        .flat_map(|body| parse(body).expect("a notification"))
        .collect()
}

#[test]
fn every_notification_of_a_put_is_read() {
    for (name, event) in files("replicate-put") {
        let read = object_events(event);
        assert_eq!(read.is_empty(), name == "test-event", "{name}");
        for event in read {
            let Change::Created { etag, bytes, .. } = event.change else {
                panic!("{name}: {event:?}");
            };
            assert!(etag.is_some() && bytes.is_some(), "{name}");
            assert!(!event.key.as_str().contains('%'), "{name}: {}", event.key);
        }
    }
}

#[test]
fn every_notification_of_a_delete_is_read() {
    for (name, event) in files("replicate-delete") {
        let read = object_events(event);
        assert_eq!(read.is_empty(), name == "test-event", "{name}");
        for event in read {
            assert_eq!(event.change, Change::Removed, "{name}");
            assert!(!event.key.as_str().contains('%'), "{name}: {}", event.key);
        }
    }
}

#[test]
fn every_message_file_of_the_work_queue_is_accepted() {
    for (name, event) in files("backfill-shard") {
        let messages = parse_batch(event);
        assert!(
            !messages.is_empty() && messages[0].delivery.received().is_some(),
            "{name}"
        );
        for message in messages {
            let body = message.body.expect("a body that is JSON");
            serde_json::from_value::<Work>(body).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[test]
fn every_message_file_of_the_part_queue_is_accepted() {
    for (name, event) in files("copy-parts") {
        for message in parse_batch(event) {
            let body = message.body.expect("a body that is JSON");
            let work = serde_json::from_value::<PartWork>(body);
            work.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[tokio::test]
async fn live_functions_accept_their_files_and_skip_changes_without_a_rule() {
    let cloud = Cloud::connect().await;
    for function in ["replicate-put", "replicate-delete"] {
        for (name, event) in files(function) {
            let answer = cloud
                .invoke(function, event)
                .await
                .unwrap_or_else(|error| panic!("{name}: {error:?}"));
            match name.as_str() {
                "sqs" => assert_eq!(answer["batchItemFailures"], json!([]), "{name}"),
                "test-event" => assert_eq!(answer, json!({"objects": []}), "{name}"),
                _ => assert_eq!(
                    answer["objects"][0]["outcome"], "Skipped(NoRule)",
                    "{name}: {answer}"
                ),
            }
        }
    }
}

#[tokio::test]
async fn requests_are_accepted_and_work_without_a_rule_is_acknowledged() {
    let cloud = Cloud::connect().await;
    for function in ["configure-rule", "backfill"] {
        for (name, event) in files(function) {
            // This request would retry what other tests have made fail.
            if name == "retry-all" {
                continue;
            }
            match cloud.invoke(function, event).await {
                Ok(answer) => assert!(answer.is_object(), "{name}"),
                // The buckets of the request do not exist here.
                Err(error) => {
                    let codes = ["BucketNotFound", "RuleNotFound"];
                    assert!(codes.contains(&error.code.as_str()), "{name}: {error:?}");
                }
            }
        }
    }
    for (name, event) in files("copy-parts") {
        let answer = cloud
            .invoke("copy-parts", event)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        match name.as_str() {
            "sweep" => assert!(answer["aborted"].is_u64(), "{answer}"),
            _ => assert_eq!(answer["batchItemFailures"], json!([]), "{name}"),
        }
    }
    for (name, event) in files("backfill-shard") {
        let answer = cloud
            .invoke("backfill-shard", event)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(answer["batchItemFailures"], json!([]), "{name}");
    }
}

// Promise: Fields that a newer version adds to a message of the work queue are passed over.
// Promise: In an invocation of `backfill-shard` by hand an unknown field is refused.
#[tokio::test]
async fn an_unknown_field_is_ignored_in_a_message_and_refused_by_hand() {
    let cloud = Cloud::connect().await;
    let work = json!({
        "kind": "held", "rule_id": "rule-00000000000000000000", "partition": 1, "priority": "high",
    });
    let queue = cloud.queue_arn(&cloud.queue_url("work").await).await;
    let delivery = notification::batch(&queue, &[work.to_string()]);
    let answer = cloud.invoke("backfill-shard", delivery).await;
    let answer = answer.expect("an answer");
    assert!(notification::kept(&answer).is_empty(), "{answer}");
    let refusal = cloud.invoke("backfill-shard", work).await;
    let refusal = refusal.expect_err("a refusal");
    assert!(refusal.message.contains("priority"), "{refusal:?}");
}

/// The actions in the table of a function's section of `docs/contract.md`.
fn actions_of_the_contract(function: &str) -> BTreeSet<String> {
    let heading = format!("## `{function}`\n");
    let (_, section) = include_str!("../../../docs/contract.md")
        .split_once(&heading)
        .expect("a section of the function");
    let table = section
        .lines()
        .skip_while(|line| !line.starts_with("| `action`"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    table
        .flat_map(|row| row.split('|').nth(1).expect("a first column").split(','))
        .map(|name| name.trim().trim_matches('`').to_owned())
        .collect()
}

#[test]
fn every_action_of_the_contract_has_a_file() {
    for function in ["configure-rule", "backfill"] {
        let shown: BTreeSet<String> = files(function)
            .iter()
            .map(|(_, event)| event["action"].as_str().expect("an action").to_owned())
            .collect();
        assert_eq!(shown, actions_of_the_contract(function), "{function}");
    }
}
