//! Requests as nobody should send them: they are read or refused, never a panic, and a refusal says which
//! field it is about.

use proptest::prelude::*;
use serde_json::Value;
use tandem_hostile::damage::{damaged, with_unknown_fields};
use tandem_hostile::documents::events;
use tandem_hostile::json::{any_value, odd_value};
use tandem_replication::draft::RefusalCode;

use crate::request::Request;

const CASES: u32 = 4_000;

fn requests() -> Vec<Value> {
    let mut requests = events("backfill");
    for mut request in requests.clone() {
        request["job_id"] = Value::from("job-0197f3c2b0c17d1f8a11");
        requests.push(request);
    }
    requests
}

/// Whether a request is one of the contract's, told in another way than the parser does.
fn is_of_the_contract(request: &Value) -> bool {
    let name = |value: &Value| {
        value
            .as_str()
            .is_some_and(|name| (1..=1_024).contains(&name.len()))
    };
    let Some(fields) = request.as_object() else {
        return false;
    };
    ["action", "rule"]
        .iter()
        .all(|name| fields.contains_key(*name))
        && fields.iter().all(|(field, value)| match field.as_str() {
            "action" => value == "start" || value == "status",
            "rule" => name(value),
            "job_id" => value.is_null() || name(value),
            _ => false,
        })
}

/// Reads a request, which is accepted just where the contract accepts it.
fn read(request: &Value) {
    let allowed = is_of_the_contract(request);
    match Request::parse(request.clone()) {
        Ok(read) => assert!(allowed, "{request} is taken for {read:?}"),
        Err(refusal) => {
            assert!(!allowed, "{request}: {refusal}");
            assert_eq!(refusal.code, RefusalCode::InvalidRequest);
            let names_one = ["action", "rule", "job_id"].contains(&refusal.field);
            let about_one = refusal.problem.contains("field `");
            assert!(
                names_one || about_one || !request.is_object(),
                "{request}: {refusal}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn anything_is_a_request_or_refused(document in any_value(), action in "start|status|.{0,8}", value in any_value()) {
        read(&document);
        read(&serde_json::json!({"action": action, "rule": value}));
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
        request[name] = value;
        read(&request);
        if let Err(refusal) = Request::parse(request.clone()) {
            prop_assert_eq!(refusal.field, name, "{}: {}", request, refusal);
        }
    }

    #[test]
    fn an_unknown_field_is_always_refused(
        (request, extended) in with_unknown_fields(requests(), |_| true),
    ) {
        prop_assert!(Request::parse(request).is_ok());
        let refusal = Request::parse(extended.clone()).unwrap_err();
        prop_assert!(refusal.problem.contains("unknown field"), "{}: {}", extended, refusal);
    }
}
