//! Sends hostile requests. Each must be read or refused without a panic, and a refusal must name the field.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tandem_hostile::damage::{damaged, with_unknown_fields};
use tandem_hostile::documents::events;
use tandem_hostile::json::{any_value, odd_value};
use tandem_replication::fault::REASONS;
use tandem_replication::names::{BucketName, KmsKeyArn};
use tandem_replication::options::STORAGE_CLASSES;
use tandem_replication::refusal::{Refusal, RefusalCode};
use tandem_replication::rule::Scope;

use crate::request::Request;

const CASES: u32 = 4_000;

/// The fields of the contract, by action.
const FIELDS: &[(&str, &[&str])] = &[
    (
        "create",
        &[
            "source",
            "destination",
            "destination_region",
            "scope",
            "policy",
            "options",
            "historical",
            "token",
        ],
    ),
    ("get", &["rule"]),
    ("list", &[]),
    (
        "update",
        &["rule", "scope", "policy", "options", "historical", "token"],
    ),
    ("pause", &["rule"]),
    ("resume", &["rule"]),
    ("delete", &["rule"]),
    ("progress", &["rule", "window_mins"]),
    ("destinations", &["source"]),
    (
        "failures",
        &["rule", "reason", "key_prefix", "limit", "after"],
    ),
    ("failure", &["rule", "key"]),
    ("retry", &["rule", "reason", "key_prefix", "all", "after"]),
    ("check", &["rule"]),
];

/// Whether a field of an action is optional.
fn is_optional(action: &str, field: &str) -> bool {
    matches!((action, field), ("failures" | "retry" | "check", "rule"))
        || !["rule", "source", "destination", "key"].contains(&field)
}

fn requests() -> Vec<Value> {
    events("configure-rule")
}

/// Whether the contract allows this value of a field. `null` means that the field is left out.
fn fits(action: &str, field: &str, value: &Value) -> bool {
    if value.is_null() {
        return is_optional(action, field);
    }
    match field {
        "key" => value
            .as_str()
            .is_some_and(|key| (1..=1_024).contains(&key.len())),
        "reason" => value
            .as_str()
            .is_some_and(|word| REASONS.iter().any(|entry| entry.word == word)),
        "limit" => value
            .as_u64()
            .is_some_and(|limit| (1..=500).contains(&limit)),
        "after" => is_place(value),
        "token" => value
            .as_str()
            .is_some_and(|token| (1..=128).contains(&token.len())),
        "rule" => value
            .as_str()
            .is_some_and(|name| (1..=1_024).contains(&name.len())),
        "source" | "destination" => value
            .as_str()
            .is_some_and(|name| BucketName::parse(name).is_ok()),
        "destination_region" => value.is_string(),
        "key_prefix" => value.as_str().is_some_and(|prefix| prefix.len() <= 1_024),
        "policy" => value == "full" || value == "write",
        "historical" | "all" => value.is_boolean(),
        "window_mins" => value
            .as_u64()
            .is_some_and(|mins| (1..=21_600).contains(&mins)),
        "options" => value
            .as_object()
            .is_some_and(|options| options.iter().all(|(name, value)| option_fits(name, value))),
        "scope" => value == "all" || serde_json::from_value::<Scope>(value.clone()).is_ok(),
        _ => false,
    }
}

/// Whether an option may have this value. `null` requests its default.
fn option_fits(name: &str, value: &Value) -> bool {
    let is_one_of = |words: &[&str]| value.is_null() || words.iter().any(|word| value == word);
    match name {
        "storage_class" => is_one_of(&STORAGE_CLASSES) || value == "keep",
        "encryption" => is_one_of(&["bucket", "AES256", "aws:kms"]),
        "acl" => is_one_of(&["reset", "keep"]),
        "object_lock" => is_one_of(&["bucket", "keep"]),
        "notifications" => is_one_of(&["auto", "bucket", "eventbridge"]),
        "tags" | "lifecycle_deletes" | "enable_eventbridge" => {
            value.is_null() || value.is_boolean()
        }
        "kms_key" => value.is_null() || serde_json::from_value::<KmsKeyArn>(value.clone()).is_ok(),
        "destination_account" => {
            let is_id = |id: &str| id.len() == 12 && id.chars().all(|digit| digit.is_ascii_digit());
            value.is_null() || value.as_str().is_some_and(is_id)
        }
        _ => false,
    }
}

fn is_place(value: &Value) -> bool {
    let Some(fields) = value.as_object() else {
        return false;
    };
    fields.iter().all(|(name, value)| match name.as_str() {
        "rule_id" => value.is_string(),
        "key" => value.is_null() || fits("failure", "key", value),
        _ => false,
    }) && fields.contains_key("rule_id")
}

/// Whether a retry has either a choice or `all`, and not both.
fn chooses(fields: &Map<String, Value>) -> bool {
    let some = ["rule", "reason", "key_prefix"].iter().any(|name| {
        fields
            .get(*name)
            .is_some_and(|value| !value.is_null() && value != "")
    });
    let all = fields.get("all") == Some(&json!(true));
    some != all
}

/// Whether the contract accepts a request. Does not use the parser's code.
fn is_of_the_contract(request: &Value) -> bool {
    let Some((action, known)) = FIELDS
        .iter()
        .find(|(action, _)| request["action"] == *action)
    else {
        return false;
    };
    let Some(fields) = request.as_object() else {
        return false;
    };
    let all_fit = fields.iter().all(|(name, value)| {
        name == "action" || known.contains(&name.as_str()) && fits(action, name, value)
    });
    let mut required = known.iter().filter(|name| !is_optional(action, name));
    let changes = |name: &&str| {
        let value = fields.get(*name).unwrap_or(&Value::Null);
        !(value.is_null() || *value == false || *value == json!({}))
    };
    all_fit
        && required.all(|name| fields.contains_key(*name))
        && (*action != "retry" || chooses(fields))
        && (request["action"] != "update"
            || ["scope", "policy", "options", "historical"]
                .iter()
                .any(changes))
}

/// Asserts that a refusal is about a field of the contract. A refusal of the whole request has to name the invalid
/// field, unless there is no field to name.
fn assert_says_what_is_wrong(request: &Value, refusal: &Refusal) {
    let said = refusal.to_string();
    let codes = [
        RefusalCode::InvalidRequest,
        RefusalCode::InvalidBucketName,
        RefusalCode::InvalidScope,
    ];
    assert!(codes.contains(&refusal.code), "{request}: {said}");
    let named = |name: &str| refusal.problem.contains(&format!("`{name}`"));
    let in_contract = FIELDS.iter().flat_map(|(_, fields)| *fields);
    match refusal.field {
        "request" => {
            let in_request = request
                .as_object()
                .into_iter()
                .flat_map(|fields| fields.keys());
            let about_a_field = in_contract
                .copied()
                .chain(in_request.map(String::as_str))
                .any(named);
            assert!(
                about_a_field || !request.is_object() || asks_for_nothing(refusal),
                "{request}: {said}"
            );
        }
        "action" | "scope.prefixes" => {}
        field => assert!(
            in_contract
                .copied()
                .any(|known| known == field.split('.').next().unwrap_or_default()),
            "{request}: {said}"
        ),
    }
}

/// Whether there is no field to name, because the request changes or chooses nothing.
fn asks_for_nothing(refusal: &Refusal) -> bool {
    ["changes nothing", "chooses nothing"]
        .iter()
        .any(|problem| refusal.problem.starts_with(problem))
}

/// Reads a request, and asserts that it is accepted exactly if the contract accepts it.
fn read(request: &Value) {
    let allowed = is_of_the_contract(request);
    match Request::parse(request.clone()) {
        Ok(read) => assert!(allowed, "{request} is read as {read:?}"),
        Err(refusal) => {
            assert!(!allowed, "{request}: {refusal}");
            assert_says_what_is_wrong(request, &refusal);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn any_document_is_read_or_refused(document in any_value(), fields in any_value()) {
        read(&document);
        for (action, _) in FIELDS {
            let mut request = json!({"action": action});
            request.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap_or_default());
            read(&request);
        }
    }

    // Promise: A request to `configure-rule` or `backfill` is accepted where the contract accepts it, and
    // otherwise refused by the name of the wrong field; an unknown field is always wrong.
    #[test]
    fn a_damaged_request_is_accepted_only_if_the_contract_accepts_it(request in damaged(requests())) {
        read(&request);
    }

    // Promise: A request to `configure-rule` or `backfill` is accepted where the contract accepts it, and
    // otherwise refused by the name of the wrong field; an unknown field is always wrong.
    #[test]
    fn a_refusal_names_a_field_of_another_type(
        request in prop::sample::select(requests()), at in any::<prop::sample::Index>(), value in odd_value(),
    ) {
        let mut request = request;
        let names: Vec<String> = request.as_object().unwrap().keys().cloned().collect();
        let name = at.get(&names);
        request[name] = value.clone();
        read(&request);
        if let Err(refusal) = Request::parse(request.clone())
            && name != "action"
        {
            let about = refusal.field.split('.').next().unwrap();
            prop_assert!(about == name || asks_for_nothing(&refusal), "{}: {}", request, refusal);
        }
    }

    // Promise: A request to `configure-rule` or `backfill` is accepted where the contract accepts it, and
    // otherwise refused by the name of the wrong field; an unknown field is always wrong.
    #[test]
    fn an_unknown_field_is_always_refused(
        (request, extended) in with_unknown_fields(requests(), |_| true),
    ) {
        read(&request);
        prop_assert!(Request::parse(request).is_ok());
        let refusal = Request::parse(extended.clone()).unwrap_err();
        prop_assert!(refusal.problem.contains("unknown field"), "{}: {}", extended, refusal);
        read(&extended);
    }
}
