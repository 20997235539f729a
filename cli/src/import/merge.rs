//! Merges several rules of a bucket into one, because a bucket has one rule in Tandem. No I/O.

use std::cmp::Reverse;

use tandem_replication::rule::PREFIXES_MAX;

use super::{Found, Notes, Planned};
use crate::contract::{Policy, Scope};

/// Returns the one rule of a source bucket, merged from all rules found for it.
pub fn one(
    mut found: Vec<Found>,
    source: &str,
    destination: Option<&str>,
    notes: &mut Notes,
) -> Option<Planned> {
    found.sort_by_key(|rule| Reverse(rule.priority));
    let first = found.first()?.clone();
    let (same, others): (Vec<Found>, Vec<Found>) = found
        .into_iter()
        .partition(|rule| rule.destination == first.destination);
    for other in others {
        let note = format!(
            "goes to {}, and a bucket has one destination: {} of {} is carried over, this rule is left out",
            other.destination, first.destination, first.path
        );
        notes.at(&other.path, note);
    }
    let scope = scope(&same, notes)?;
    for rule in &same[1..] {
        differences(&first, rule, notes);
    }
    // If some rules do not replicate deletes, the merged rule does not: it must not delete more than they did.
    let policy = if same.iter().all(|rule| rule.policy == Policy::Full) {
        Policy::Full
    } else {
        Policy::Write
    };
    Some(Planned {
        source: source.to_owned(),
        destination: destination.unwrap_or(&first.destination).to_owned(),
        scope,
        policy,
        options: first.options,
        historical: same.iter().any(|rule| rule.historical),
    })
}

/// Notes the points in which two rules differ, of which only one can be carried over.
fn differences(first: &Found, other: &Found, notes: &mut Notes) {
    if other.options != first.options {
        let note = format!(
            "has other options for its replicas than {}, whose options count for all replicas",
            first.path
        );
        notes.at(&other.path, note);
    }
    if other.policy != first.policy {
        let note = format!(
            "and {} differ about deletes; the rule replicates no deletes (policy write)",
            first.path
        );
        notes.at(&other.path, note);
    }
    if other.historical != first.historical {
        let note = format!(
            "and {} differ about existing objects; the rule copies all of them",
            first.path
        );
        notes.at(&other.path, note);
    }
}

/// Returns all prefixes, without those inside others; `None` if there are too many.
fn scope(rules: &[Found], notes: &mut Notes) -> Option<Scope> {
    if let Some(all) = rules.iter().find(|rule| rule.prefixes.is_empty()) {
        for rule in rules.iter().filter(|rule| !rule.prefixes.is_empty()) {
            notes.at(
                &rule.path,
                format!("covers keys that {} covers too", all.path),
            );
        }
        return Some(Scope::All);
    }
    let mut prefixes: Vec<(&str, &str)> = rules
        .iter()
        .flat_map(|rule| {
            rule.prefixes
                .iter()
                .map(|prefix| (prefix.as_str(), rule.path.as_str()))
        })
        .collect();
    prefixes.sort_by_key(|(prefix, _)| prefix.len());
    let mut kept: Vec<String> = Vec::new();
    for (prefix, path) in prefixes {
        match kept.iter().find(|outer| prefix.starts_with(outer.as_str())) {
            Some(outer) => notes.at(
                path,
                format!("covers {prefix:?}, which {outer:?} covers too"),
            ),
            None => kept.push(prefix.to_owned()),
        }
    }
    kept.sort();
    if kept.len() > PREFIXES_MAX {
        let note = format!(
            "and the rules to the same bucket have {} prefixes, more than the {PREFIXES_MAX} of a rule: nothing is \
             carried over; create the rule by hand, with shorter prefixes or for all objects",
            kept.len()
        );
        notes.at(&rules[0].path, note);
        return None;
    }
    Some(Scope::Prefixes(kept))
}
