//! What the template promises to whoever operates a stack: nothing is lost by an update, everything is watched, and
//! every parameter says what it is for.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::collections::BTreeSet;

use tandem_tests::template::{of_type, read, resources, texts};
use yaml_rust2::Yaml;

const NAME_START: &str = "${AWS::StackName}-";

/// What a name that the template gives begins with after the stack's.
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

/// What the loops over alarms of a metric go over.
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

/// CloudFormation replaces a queue only for another name or kind, and cannot replace one whose name is taken.
#[test]
fn an_update_replaces_no_queue_and_loses_no_table() {
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
fn every_queue_and_every_function_is_watched() {
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
    // Those that requests start answer refusals as errors.
    let by_queue = functions
        .into_iter()
        .filter(|name| !["configure-rule", "backfill"].contains(&name.as_str()));
    assert_eq!(watched(&template, "Errors"), by_queue.collect());
}

#[test]
fn every_alarm_has_its_place_in_the_runbook() {
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
    names.extend(["*-dead", "*-errors", "*-throttles"].map(str::to_owned));
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(
            runbook.contains(&format!("`{name}`")),
            "docs/runbook.md lacks the alarm {name}"
        );
    }
}

#[test]
fn every_parameter_is_described_has_a_default_and_a_place_in_the_console() {
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
