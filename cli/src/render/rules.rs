//! Rules and possible destinations, as tables. No I/O.

use comfy_table::{Cell, Color, Table};

use super::{bucket, coloured, scope, state, style, table};
use crate::contract::{Candidate, Destinations, Options, Policy, Rule};
use crate::human::{self, UNKNOWN};

pub fn rules(rules: &[Rule]) -> String {
    let mut table = table(&[
        "Rule",
        "Source",
        "Destination",
        "Scope",
        "Policy",
        "Historical",
        "State",
    ]);
    for rule in rules {
        table.add_row(vec![
            Cell::new(&rule.id),
            Cell::new(bucket(&rule.source)),
            Cell::new(bucket(&rule.destination)),
            Cell::new(scope(&rule.scope, "\n")),
            Cell::new(rule.policy),
            Cell::new(yes_no(rule.historical)),
            state(&rule.state),
        ]);
    }
    table.to_string()
}

pub fn rule(rule: &Rule) -> String {
    let mut table = Table::new();
    style(&mut table);
    let policy = match rule.policy {
        Policy::Full => "full (add, change, delete)",
        Policy::Write => "write (add, change)",
    };
    table
        .add_row(["Rule", &rule.id])
        .add_row(["Source", &bucket(&rule.source)])
        .add_row(["Destination", &bucket(&rule.destination)])
        .add_row(["Scope", &scope(&rule.scope, "\n")])
        .add_row(["Policy", policy]);
    for (name, choice) in unusual(&rule.options) {
        table.add_row([name, &choice]);
    }
    table.add_row(["Historical", yes_no(rule.historical)]);
    if let Some(by) = &rule.notified_by {
        table.add_row(["Notified by", notified_by(by)]);
    }
    table.add_row(vec![Cell::new("State"), state(&rule.state)]);
    if let Some(revision) = rule.revision {
        table.add_row(["Revision", &revision.to_string()]);
    }
    for (name, at) in [
        ("Created", rule.created_at),
        ("Updated", rule.updated_at),
        ("Paused", rule.paused_at),
    ] {
        if let Some(at) = at {
            table.add_row([name, &human::instant(at)]);
        }
    }
    table.to_string()
}

pub fn destinations(answer: &Destinations) -> String {
    let regions = if answer.regions.iter().any(|region| region == "*") {
        "any other region".to_owned()
    } else {
        answer.regions.join(", ")
    };
    let head = format!(
        "{} ({}) may be replicated to: {regions}",
        answer.source, answer.source_region
    );
    if answer.buckets.is_empty() {
        return format!("{head}\nThere is no bucket in those regions.");
    }
    let mut table = table(&["Bucket", "Region", "Available"]);
    for candidate in &answer.buckets {
        table.add_row(vec![
            Cell::new(&candidate.bucket),
            Cell::new(candidate.region.as_deref().unwrap_or(UNKNOWN)),
            availability(candidate),
        ]);
    }
    format!("{head}\n{table}")
}

/// Returns the options that differ from the defaults of a new rule.
fn unusual(options: &Options) -> Vec<(&'static str, String)> {
    let Options {
        storage_class,
        encryption,
        kms_key,
        tags,
        acl,
        object_lock,
        lifecycle_deletes,
        destination_account,
        reconcile,
        rpo_secs,
        notifications,
        enable_eventbridge,
    } = options;
    let default = Options::default();
    let key = || kms_key.clone().unwrap_or_default();
    let account = || destination_account.clone().unwrap_or_default();
    [
        (
            *storage_class != default.storage_class,
            "Storage class",
            storage_class.clone(),
        ),
        (
            *encryption != default.encryption,
            "Encryption",
            encryption.clone(),
        ),
        (*kms_key != default.kms_key, "KMS key", key()),
        (*tags != default.tags, "Tags", yes_no(*tags).to_owned()),
        (*acl != default.acl, "ACL", acl.clone()),
        (
            *object_lock != default.object_lock,
            "Object Lock",
            object_lock.clone(),
        ),
        (
            *lifecycle_deletes != default.lifecycle_deletes,
            "Lifecycle deletes",
            yes_no(*lifecycle_deletes).to_owned(),
        ),
        (
            *destination_account != default.destination_account,
            "Destination account",
            account(),
        ),
        (
            *reconcile != default.reconcile,
            "Reconcile",
            reconcile.clone(),
        ),
        (
            *rpo_secs != default.rpo_secs,
            "Objective",
            format!("{} seconds", human::count(u64::from(*rpo_secs))),
        ),
        (
            *notifications != default.notifications,
            "Notifications",
            notifications.clone(),
        ),
        (
            *enable_eventbridge != default.enable_eventbridge,
            "May enable EventBridge",
            yes_no(*enable_eventbridge).to_owned(),
        ),
    ]
    .into_iter()
    .filter(|(is_unusual, ..)| *is_unusual)
    .map(|(_, name, choice)| (name, choice))
    .collect()
}

/// Returns in words how the source reports changes; an unknown word is returned unchanged.
pub fn notified_by(by: &str) -> &str {
    match by {
        "bucket" => "the bucket's own notifications",
        "eventbridge" => "EventBridge",
        other => other,
    }
}

fn availability(candidate: &Candidate) -> Cell {
    match (candidate.available, &candidate.reason) {
        (true, _) => coloured("yes", Color::Green),
        (false, Some(reason)) => Cell::new(format!("no: {reason}")),
        (false, None) => Cell::new("no"),
    }
}

fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;

    pub fn a_rule() -> Rule {
        serde_json::from_value(json!({
            "id": "rule-1",
            "source": {"bucket": "photos", "region": "us-east-1"},
            "destination": {"bucket": "photos-replica", "region": "us-west-2"},
            "scope": {"prefixes": ["2025/", "new\nline/"]}, "policy": "full",
            "historical": true, "state": "enabled"
        }))
        .unwrap()
    }

    #[test]
    fn rules_and_destinations_are_tables() {
        let text = rules(&[a_rule()]);
        for part in [
            "rule-1",
            "photos (us-east-1)",
            "2025/",
            "new\\nline/",
            "enabled",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let answer: Destinations = serde_json::from_value(json!({
            "source": "photos", "source_region": "us-east-1", "regions": ["*"],
            "buckets": [{"bucket": "x", "region": "us-east-2", "available": false,
                         "reason": "it is in use"}]
        }))
        .unwrap();
        let text = destinations(&answer);
        assert!(
            text.contains("any other region") && text.contains("no: it is in use"),
            "{text}"
        );
    }

    #[test]
    fn only_options_that_are_not_the_default_are_rows() {
        let plain = rule(&a_rule());
        for part in [
            "class",
            "Encryption",
            "KMS",
            "Tags",
            "ACL",
            "Lock",
            "Lifecycle",
            "account",
            "Reconcile",
            "Objective",
            "Notif",
            "May enable",
        ] {
            assert!(!plain.contains(part), "{part} in\n{plain}");
        }
        let mut by_events = a_rule();
        by_events.notified_by = Some("eventbridge".to_owned());
        let text = rule(&by_events);
        assert!(
            text.contains("Notified by") && text.contains("EventBridge"),
            "{text}"
        );
        let mut unusual = a_rule();
        unusual.options = serde_json::from_value(json!({
            "storage_class": "GLACIER_IR", "encryption": "aws:kms", "kms_key": "arn:1", "tags": false, "acl": "keep",
            "object_lock": "keep", "lifecycle_deletes": true, "destination_account": "4444", "reconcile": "weekly",
            "rpo_secs": 3600, "notifications": "eventbridge", "enable_eventbridge": true
        }))
        .unwrap();
        let text = rule(&unusual);
        for part in [
            "GLACIER_IR",
            "aws:kms",
            "arn:1",
            "Tags",
            "ACL",
            "Object Lock",
            "4444",
            "3,600 seconds",
            "weekly",
            "Notifications",
            "May enable EventBridge",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}
