//! The policies in `docs/security.md` fit the template: they are JSON, they allow what the document says, and the key's
//! policy and the boundary omit nothing that the stack needs.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::collections::BTreeSet;

use serde_json::Value;
use tandem_tests::template::{if_there, of_type, read, statements, texts};

/// The policies of the document, in order.
fn policies() -> [Value; 5] {
    let document = include_str!("../../docs/security.md");
    let blocks = document.split("```json").skip(1);
    let policies = blocks.map(|block| {
        let json = block.split("```").next().expect("a policy");
        serde_json::from_str(json).expect("JSON")
    });
    let policies: Vec<Value> = policies.collect();
    policies.try_into().expect("five policies")
}

fn statements_of(policy: &Value) -> &Vec<Value> {
    policy["Statement"].as_array().expect("statements")
}

/// The strings of a value that is one string or several.
fn words(value: &Value) -> Vec<&str> {
    match value {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().flat_map(words).collect(),
        other => panic!("neither a text nor a list of texts: {other}"),
    }
}

fn actions(policy: &Value) -> Vec<&str> {
    let statements = statements_of(policy).iter();
    statements.flat_map(|one| words(&one["Action"])).collect()
}

/// Whether an IAM pattern covers an action. The pattern has at most one wildcard, at its end.
fn covers(pattern: &str, action: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => action.starts_with(beginning),
        None => action == pattern,
    }
}

#[test]
fn a_reader_may_change_nothing_and_invoke_nothing() {
    let [reading, ..] = policies();
    let reads = ["Describe", "Filter", "Get", "List", "Query"];
    for action in actions(&reading) {
        let (_, word) = action.split_once(':').expect("a service and an action");
        assert!(reads.iter().any(|read| word.starts_with(read)), "{action}");
    }
}

#[test]
fn the_policy_for_making_rules_does_not_allow_jobs() {
    let [_, rules, operator, ..] = policies();
    assert_eq!(actions(&rules), ["lambda:InvokeFunction"]);
    let on = words(&statements_of(&rules)[0]["Resource"]);
    assert_eq!(on.len(), 1);
    assert!(on[0].ends_with(":function:tandem-configure-rule"), "{on:?}");
    assert_eq!(words(&statements_of(&operator)[0]["Resource"]).len(), 2);
}

#[test]
fn the_boundary_allows_everything_that_the_roles_allow() {
    let [_, _, _, boundary, _] = policies();
    let template = read();
    let patterns = actions(&boundary);
    let mut used = BTreeSet::new();
    for (id, _) in of_type(&template, "AWS::Serverless::Function") {
        let allowed = statements(&template, id)
            .into_iter()
            .filter(|statement| statement["Effect"].as_str() == Some("Allow"))
            .flat_map(|statement| texts(&statement["Action"]));
        for action in allowed {
            let pattern = patterns.iter().find(|pattern| covers(pattern, action));
            used.insert(*pattern.unwrap_or_else(|| panic!("the boundary lacks {action} of {id}")));
        }
    }
    let all: BTreeSet<&str> = patterns.iter().copied().collect();
    assert_eq!(used, all, "patterns that are of no use");
}

/// Every service that the template allows to send to an encrypted queue or topic has to be allowed to use the key.
#[test]
fn the_keys_policy_allows_every_service_that_sends() {
    let [.., key] = policies();
    let allowed: BTreeSet<&str> = statements_of(&key)
        .iter()
        .filter(|statement| {
            words(&statement["Action"])
                .iter()
                .any(|action| covers(action, "kms:GenerateDataKey"))
        })
        .filter(|statement| {
            words(&statement["Action"])
                .iter()
                .any(|action| covers(action, "kms:Decrypt"))
        })
        .filter_map(|statement| statement["Principal"].get("Service"))
        .flat_map(words)
        .collect();
    let template = read();
    let policies = ["AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy"];
    let mut senders = BTreeSet::new();
    for (_, policy) in policies
        .into_iter()
        .flat_map(|kind| of_type(&template, kind))
    {
        let statements = policy["Properties"]["PolicyDocument"]["Statement"].as_vec();
        for statement in statements.expect("statements").iter().map(if_there) {
            let service = &statement["Principal"]["Service"];
            if !service.is_badvalue() {
                senders.extend(texts(service));
            }
        }
    }
    assert!(senders.contains("s3.amazonaws.com"), "{senders:?}");
    assert!(
        senders.is_subset(&allowed),
        "{senders:?} send, {allowed:?} may use the key"
    );
    assert!(
        allowed.contains("logs.us-east-1.amazonaws.com"),
        "{allowed:?}"
    );
}
