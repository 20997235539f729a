//! Sends hostile requests. Each must be read or refused without a panic, and a refusal must name the field.

use proptest::prelude::*;
use serde_json::Value;
use tandem_hostile::damage::{damaged, with_unknown_fields};
use tandem_hostile::documents::events;
use tandem_hostile::json::{any_value, odd_value};
use tandem_replication::refusal::RefusalCode;

use crate::request::Request;

const CASES: u32 = 4_000;

fn requests() -> Vec<Value> {
    let mut requests = events("backfill");
    for mut request in requests.clone() {
        if ["start", "status"]
            .iter()
            .any(|action| request["action"] == *action)
        {
            request["job_id"] = Value::from("job-0197f3c2b0c17d1f8a11");
            requests.push(request);
        }
    }
    requests
}

/// The fields of a request.
const FIELDS: [&str; 13] = [
    "action",
    "rule",
    "job_id",
    "token",
    "kind",
    "overwrite",
    "prefix",
    "manifest",
    "keys",
    "report",
    "objects_per_sec",
    "concurrency",
    "deletes_max",
];

/// Whether the contract accepts a request. Does not use the parser's code.
fn is_of_the_contract(request: &Value) -> bool {
    let Some(fields) = request.as_object() else {
        return false;
    };
    let said = |field: &str| fields.get(field).filter(|value| !value.is_null());
    let is = |field: &str, words: &[&str]| {
        said(field).is_none_or(|value| words.iter().any(|word| value == word))
    };
    let text = |field: &str, bytes: usize| {
        said(field).is_none_or(|value| {
            value
                .as_str()
                .is_some_and(|text| (1..=bytes).contains(&text.len()))
        })
    };
    let place = |field: &str, is_object: bool| {
        said(field).is_none_or(|value| {
            let rest = value.as_str().and_then(|text| text.strip_prefix("s3://"));
            rest.is_some_and(|rest| {
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                let name = tandem_replication::names::BucketName::parse(bucket);
                let names = name.is_ok_and(|name| !name.is_old());
                names && (!is_object || !(key.is_empty() || key.ends_with('/')))
            })
        })
    };
    let starts = fields.get("action").is_some_and(|action| action == "start");
    let tends = fields.get("action").is_some_and(|action| action == "tend");
    let lists = fields.get("action").is_some_and(|action| action == "list");
    let of_start = FIELDS[3..]
        .iter()
        .all(|field| starts || said(field).is_none());
    let kind = said("kind").and_then(Value::as_str).unwrap_or("backfill");
    let goes = |field: &str, kinds: &[&str]| said(field).is_none() || kinds.contains(&kind);
    fields.keys().all(|field| FIELDS.contains(&field.as_str()))
        && said("action").is_some()
        && is(
            "action",
            &[
                "start", "status", "list", "pause", "resume", "cancel", "tend",
            ],
        )
        && (said("rule").is_some() != tends)
        && text("rule", 1_024)
        && text("job_id", 1_024)
        && !(said("job_id").is_some() && (tends || lists))
        && of_start
        && text("token", 128)
        && !(said("token").is_some() && said("job_id").is_some())
        && is("kind", &["backfill", "verify", "repair"])
        && is("overwrite", &["always", "if-older", "never"])
        && text("prefix", 1_024)
        && place("manifest", true)
        && is("keys", &["encoded", "plain"])
        && !(said("keys").is_some() && said("manifest").is_none())
        && place("report", false)
        && said("objects_per_sec")
            .is_none_or(|rate| rate.as_f64().is_some_and(|rate| rate > 0.0 && rate <= 1e6))
        && said("concurrency").is_none_or(|n| n.as_u64().is_some_and(|n| (1..=1_000).contains(&n)))
        && said("deletes_max").is_none_or(|n| n.as_u64().is_some())
        && goes("overwrite", &["backfill"])
        && goes("manifest", &["backfill"])
        && goes("report", &["verify", "repair"])
        && goes("deletes_max", &["repair"])
        && !(said("manifest").is_some() && said("prefix").is_some())
}

/// Reads a request, and asserts that it is accepted exactly if the contract accepts it.
fn read(request: &Value) {
    let allowed = is_of_the_contract(request);
    match Request::parse(request.clone()) {
        Ok(read) => assert!(allowed, "{request} is read as {read:?}"),
        Err(refusal) => {
            assert!(!allowed, "{request}: {refusal}");
            assert_eq!(refusal.code, RefusalCode::InvalidRequest);
            let names_one = FIELDS.contains(&refusal.field);
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
    fn any_document_is_read_or_refused(document in any_value(), action in "start|status|list|pause|resume|cancel|tend|.{0,8}", value in any_value()) {
        read(&document);
        read(&serde_json::json!({"action": action, "rule": value}));
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
        request[name] = value;
        read(&request);
        if let Err(refusal) = Request::parse(request.clone()) {
            // Another action or kind makes other fields invalid, and so does a missing manifest.
            let named = refusal.field == name
                || ["action", "kind"].contains(&name.as_str())
                || (name == "manifest" && refusal.field == "keys");
            prop_assert!(named, "{}: {}", request, refusal);
        }
    }

    // Promise: A request to `configure-rule` or `backfill` is accepted where the contract accepts it, and
    // otherwise refused by the name of the wrong field; an unknown field is always wrong.
    #[test]
    fn an_unknown_field_is_always_refused(
        (request, extended) in with_unknown_fields(requests(), |_| true),
    ) {
        prop_assert!(Request::parse(request).is_ok());
        let refusal = Request::parse(extended.clone()).unwrap_err();
        prop_assert!(refusal.problem.contains("unknown field"), "{}: {}", extended, refusal);
    }
}
