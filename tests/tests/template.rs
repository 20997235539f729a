//! What the template promises to the operators of a stack: an update loses nothing, everything has an alarm, and
//! every parameter has a description.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::collections::{BTreeMap, BTreeSet};

use tandem_tests::template::{of_type, queue, read, resources, role, statements, texts};
use yaml_rust2::Yaml;

const NAME_START: &str = "${AWS::StackName}-";

/// A name that the template gives, without the stack's name at its start.
fn own_name(name: &Yaml) -> String {
    let name = name.as_str().expect("a name of its own");
    let own = name
        .strip_prefix(NAME_START)
        .expect("a name that begins with the stack's");
    own.to_owned()
}

fn queues(template: &Yaml) -> BTreeSet<String> {
    of_type(template, "AWS::SQS::Queue")
        .map(|(_, queue)| own_name(&queue["Properties"]["QueueName"]))
        .collect()
}

/// The values over which the loop of a metric's alarms runs.
fn watched(template: &Yaml, metric: &str) -> BTreeSet<String> {
    let all = resources(template).as_hash().expect("resources");
    let mut watched = BTreeSet::new();
    for (name, one) in all {
        let Some(parts) = one.as_vec().filter(|_| {
            name.as_str()
                .is_some_and(|name| name.starts_with("Fn::ForEach"))
        }) else {
            continue;
        };
        let alarms = parts[2].as_hash().expect("what is repeated").values();
        for alarm in
            alarms.filter(|alarm| alarm["Properties"]["MetricName"].as_str() == Some(metric))
        {
            let dimension = &alarm["Properties"]["Dimensions"][0]["Value"];
            let dimension = own_name(dimension);
            let identifier = format!("${{{}}}", parts[0].as_str().expect("an identifier"));
            watched.extend(
                texts(&parts[1])
                    .iter()
                    .map(|value| dimension.replace(&identifier, value)),
            );
        }
    }
    watched
}

/// CloudFormation replaces a queue only if its name or type changes, and cannot replace one whose name is in use.
#[test]
fn an_update_replaces_no_queue_and_deletes_no_table() {
    let template = read();
    assert_eq!(queues(&template).len(), 8);
    let mut tables = 0;
    for (id, table) in of_type(&template, "AWS::DynamoDB::Table") {
        tables += 1;
        assert_eq!(
            table["UpdateReplacePolicy"].as_str(),
            Some("Retain"),
            "{id}"
        );
        let properties = &table["Properties"];
        assert!(
            !properties["DeletionProtectionEnabled"].is_badvalue(),
            "{id}"
        );
        let backups = &properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"];
        assert_eq!(backups.as_bool(), Some(true), "{id}");
    }
    assert_eq!(tables, 1);
}

#[test]
fn every_queue_and_every_function_has_alarms() {
    let template = read();
    let (dead, working): (BTreeSet<String>, BTreeSet<String>) = queues(&template)
        .into_iter()
        .partition(|queue| queue.ends_with("-dead"));
    assert_eq!(watched(&template, "ApproximateAgeOfOldestMessage"), working);
    assert_eq!(
        watched(&template, "ApproximateNumberOfMessagesVisible"),
        dead
    );
    let functions: BTreeSet<String> = of_type(&template, "AWS::Serverless::Function")
        .map(|(_, function)| own_name(&function["Properties"]["FunctionName"]))
        .collect();
    assert_eq!(watched(&template, "Throttles"), functions);
    assert_eq!(watched(&template, "RecursiveInvocationsDropped"), functions);
    // Functions that serve requests answer refusals as errors.
    let by_queue = functions
        .into_iter()
        .filter(|name| !["configure-rule", "backfill"].contains(&name.as_str()));
    assert_eq!(watched(&template, "Errors"), by_queue.collect());
}

/// The functions that a function can start, by invoking them or through queues to which its role may send.
fn started<'a>(template: &'a Yaml, logical_id: &str) -> BTreeSet<&'a str> {
    let functions = || of_type(template, "AWS::Serverless::Function");
    let mut started = BTreeSet::new();
    for statement in statements(template, logical_id) {
        let actions = texts(&statement["Action"]);
        if statement["Effect"].as_str() != Some("Allow") {
            continue;
        }
        for resource in texts(&statement["Resource"]) {
            assert!(
                resource != "*" || actions != ["sqs:SendMessage"],
                "{logical_id} may send anywhere"
            );
            if actions.contains(&"sqs:SendMessage") {
                let fed = functions().filter(|(id, _)| queue(template, id) == Some(resource));
                started.extend(fed.map(|(id, _)| id));
            }
            if actions.contains(&"lambda:InvokeFunction") {
                let invoked = functions().filter(|(_, function)| {
                    let name = function["Properties"]["FunctionName"].as_str();
                    resource.ends_with(&format!(":function:{}", name.expect("a name")))
                });
                started.extend(invoked.map(|(id, _)| id));
            }
        }
    }
    started
}

/// Lambda ends a chain of invocations when a function occurs in it for about the 16th time, unless the function allows
/// this (Lambda developer guide, "Use Lambda recursive loop detection"). A chain through another bucket's notifications
/// is not in the template: it is the replication circle that the detection is meant for.
#[test]
fn a_function_allows_loops_exactly_if_it_can_start_itself() {
    let template = read();
    let starts: BTreeMap<&str, BTreeSet<&str>> = of_type(&template, "AWS::Serverless::Function")
        .map(|(id, _)| (id, started(&template, id)))
        .collect();
    assert!(
        starts["ReplicatePut"].contains("BackfillShard"),
        "{starts:?}"
    );
    assert!(starts["ConfigureRule"].contains("Backfill"), "{starts:?}");
    let mut in_a_loop = BTreeSet::new();
    for (&function, next) in &starts {
        let mut reached = next.clone();
        for _ in &starts {
            let further = reached.iter().flat_map(|id| &starts[id]).copied();
            reached.extend(further.collect::<Vec<_>>());
        }
        if reached.contains(function) {
            in_a_loop.insert(function);
        }
    }
    assert_eq!(in_a_loop, BTreeSet::from(["BackfillShard", "CopyParts"]));
    for (id, function) in of_type(&template, "AWS::Serverless::Function") {
        let allows = function["Properties"]["RecursiveLoop"].as_str();
        let expected = in_a_loop.contains(id).then_some("Allow");
        assert_eq!(allows, expected, "{id}");
    }
}

// Promise: Table, queues, logs and topic are encrypted with the key that `StackKey` names, and all roles have the path and
// the permissions boundary that the stack names.
#[test]
fn every_resource_has_the_key_path_and_boundary_of_the_stack() {
    let template = read();
    let mut checked = 0;
    for (kind, property, condition, parameter) in [
        (
            "AWS::SQS::Queue",
            "KmsMasterKeyId",
            "WithStackKey",
            "StackKey",
        ),
        (
            "AWS::Logs::LogGroup",
            "KmsKeyId",
            "WithStackKey",
            "StackKey",
        ),
        (
            "AWS::SNS::Topic",
            "KmsMasterKeyId",
            "WithStackKey",
            "StackKey",
        ),
        (
            "AWS::IAM::Role",
            "PermissionsBoundary",
            "Bounded",
            "PermissionsBoundary",
        ),
        ("AWS::IAM::Role", "Path", "WithRolePath", "RolePath"),
        (
            "AWS::IAM::ManagedPolicy",
            "Path",
            "WithRolePath",
            "RolePath",
        ),
    ] {
        for (id, resource) in of_type(&template, kind) {
            let value = texts(&resource["Properties"][property]);
            assert_eq!(
                value,
                [condition, parameter, "AWS::NoValue"],
                "{id} {property}"
            );
            checked += 1;
        }
    }
    assert_eq!(checked, 8 + 6 + 1 + 6 + 6 + 2);
    for (id, table) in of_type(&template, "AWS::DynamoDB::Table") {
        let encryption = &table["Properties"]["SSESpecification"];
        let key = texts(&encryption["KMSMasterKeyId"]);
        assert_eq!(key, ["WithStackKey", "StackKey", "AWS::NoValue"], "{id}");
    }
    for (id, _) in of_type(&template, "AWS::Serverless::Function") {
        let policies = texts(&role(&template, id)["ManagedPolicyArns"]);
        assert!(policies.contains(&"StackKeyPolicy"), "{id}");
    }
}

#[test]
fn every_alarm_is_in_the_runbook() {
    let runbook = include_str!("../../docs/runbook.md");
    let template = read();
    let mut names: BTreeSet<String> = of_type(&template, "AWS::CloudWatch::Alarm")
        .map(|(_, alarm)| own_name(&alarm["Properties"]["AlarmName"]))
        .collect();
    names.extend(
        watched(&template, "ApproximateAgeOfOldestMessage")
            .iter()
            .map(|queue| format!("{queue}-age")),
    );
    names.extend(["*-dead", "*-errors", "*-recursion", "*-throttles"].map(str::to_owned));
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(
            runbook.contains(&format!("`{name}`")),
            "docs/runbook.md lacks the alarm {name}"
        );
    }
}

#[test]
fn every_parameter_has_a_description_a_default_and_a_group_in_the_console() {
    let template = read();
    let parameters = template["Parameters"].as_hash().expect("parameters");
    let interface = &template["Metadata"]["AWS::CloudFormation::Interface"];
    let groups = interface["ParameterGroups"].as_vec().expect("groups");
    let placed: Vec<&str> = groups
        .iter()
        .flat_map(|group| texts(&group["Parameters"]))
        .collect();
    assert_eq!(placed.len(), parameters.len());
    for (name, parameter) in parameters {
        let name = name.as_str().expect("a name");
        assert!(placed.contains(&name), "{name} is in no group");
        assert!(
            !interface["ParameterLabels"][name].is_badvalue(),
            "{name} has no label"
        );
        assert!(
            parameter["Description"].as_str().is_some(),
            "{name} has no description"
        );
        assert!(!parameter["Default"].is_badvalue(), "{name} has no default");
        let is_bounded = ["AllowedPattern", "AllowedValues", "MinValue"]
            .iter()
            .any(|bound| !parameter[*bound].is_badvalue());
        assert!(is_bounded, "{name} may be anything");
    }
}
