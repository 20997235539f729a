//! Requests as nobody should send them: they are read or refused, never a panic, and a refusal says which
//! field it is about.

use proptest::prelude::*;
use serde_json::{Value, json};
use tandem_hostile::damage::{damaged, with_unknown_fields};
use tandem_hostile::documents::events;
use tandem_hostile::json::{any_value, odd_value};
use tandem_replication::draft::{Refusal, RefusalCode};
use tandem_replication::names::BucketName;
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
            "historical",
        ],
    ),
    ("get", &["rule"]),
    ("list", &[]),
    ("update", &["rule", "scope", "policy", "historical"]),
    ("pause", &["rule"]),
    ("resume", &["rule"]),
    ("delete", &["rule"]),
    ("progress", &["rule", "window_mins"]),
    ("destinations", &["source"]),
];

fn requests() -> Vec<Value> {
    events("configure-rule")
}

/// Whether a field may have this value, as the contract says; `null` is as good as left out.
fn fits(field: &str, value: &Value) -> bool {
    match field {
        "rule" => value
            .as_str()
            .is_some_and(|name| (1..=1_024).contains(&name.len())),
        "source" | "destination" => value
            .as_str()
            .is_some_and(|name| BucketName::parse(name).is_ok()),
        "destination_region" => value.is_null() || value.is_string(),
        "policy" => value.is_null() || value == "full" || value == "write",
        "historical" => value.is_null() || value.is_boolean(),
        "window_mins" => {
            value.is_null()
                || value
                    .as_u64()
                    .is_some_and(|mins| (1..=21_600).contains(&mins))
        }
        "scope" => {
            value.is_null()
                || value == "all"
                || serde_json::from_value::<Scope>(value.clone()).is_ok()
        }
        _ => false,
    }
}

/// Whether a request is one of the contract's, told in another way than the parser does.
fn is_of_the_contract(request: &Value) -> bool {
    let Some((_, known)) = FIELDS
        .iter()
        .find(|(action, _)| request["action"] == *action)
    else {
        return false;
    };
    let Some(fields) = request.as_object() else {
        return false;
    };
    let all_fit = fields.iter().all(|(name, value)| {
        name == "action" || known.contains(&name.as_str()) && fits(name, value)
    });
    let required = ["rule", "source", "destination"]
        .iter()
        .filter(|name| known.contains(name));
    let changes =
        |name: &&str| !fields.get(*name).is_none_or(Value::is_null) && fields[*name] != false;
    all_fit
        && required.clone().all(|name| fields.contains_key(*name))
        && (request["action"] != "update" || ["scope", "policy", "historical"].iter().any(changes))
}

/// A refusal is about a field of the contract; one of the whole request names the field that does not fit,
/// or there is no field to name.
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
            let about_none = !request.is_object() || refusal.problem.starts_with("changes nothing");
            assert!(about_a_field || about_none, "{request}: {said}");
        }
        "action" | "scope.prefixes" => {}
        field => assert!(
            in_contract.copied().any(|known| known == field),
            "{request}: {said}"
        ),
    }
}

/// Reads a request, which is accepted just where the contract accepts it.
fn read(request: &Value) {
    let allowed = is_of_the_contract(request);
    match Request::parse(request.clone()) {
        Ok(read) => assert!(allowed, "{request} is taken for {read:?}"),
        Err(refusal) => {
            assert!(!allowed, "{request}: {refusal}");
            assert_says_what_is_wrong(request, &refusal);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn anything_is_a_request_or_refused(document in any_value(), fields in any_value()) {
        read(&document);
        for (action, _) in FIELDS {
            let mut request = json!({"action": action});
            request.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap_or_default());
            read(&request);
        }
    }

    #[test]
    fn a_damaged_request_is_a_request_of_the_contract_or_refused(request in damaged(requests())) {
        read(&request);
    }

    #[test]
    fn a_field_of_another_type_is_named(
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
            let changes_nothing = refusal.problem.starts_with("changes nothing");
            prop_assert!(about == name || changes_nothing, "{}: {}", request, refusal);
        }
    }

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
