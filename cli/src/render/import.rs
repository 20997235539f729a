//! The plan for another service's configuration as tables. No I/O.

use super::{scope, table};
use crate::contract::{KeyChoice, OptionChanges};
use crate::import::Plan;

pub fn plan(plan: &Plan) -> String {
    let mut parts = Vec::new();
    if let Some(rule) = &plan.rule {
        let mut rows = table(&["Rule to create", ""]);
        rows.add_row(["Source", &rule.source])
            .add_row(["Destination", &rule.destination])
            .add_row(["Scope", &scope(&rule.scope, "\n")])
            .add_row(["Policy", &rule.policy.to_string()]);
        for (name, choice) in options(&rule.options) {
            rows.add_row([name, &choice]);
        }
        rows.add_row(["Historical", if rule.historical { "yes" } else { "no" }]);
        parts.push(rows.to_string());
    }
    if !plan.notes.is_empty() {
        let mut rows = table(&["Not carried over unchanged", ""]);
        for note in &plan.notes {
            rows.add_row([&note.element, &note.note]);
        }
        parts.push(rows.to_string());
    }
    parts.join("\n")
}

fn options(options: &OptionChanges) -> Vec<(&'static str, String)> {
    let key = options.kms_key.as_ref().map(|key| match key {
        KeyChoice::OfTheBucket => "the bucket's".to_owned(),
        KeyChoice::Arn(arn) => arn.clone(),
    });
    [
        ("Storage class", options.storage_class.clone()),
        ("KMS key", key),
        ("Destination account", options.destination_account.clone()),
    ]
    .into_iter()
    .filter_map(|(name, choice)| Some((name, choice?)))
    .collect()
}
