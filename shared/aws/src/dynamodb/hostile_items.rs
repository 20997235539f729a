//! Reads items that a newer version, an older version or a person may have written. Each must either read as the value
//! that it stores, or be an error. The reader must not guess or panic.
//!
//! Version 0.1.0 is the only one so far. So this file decides for each attribute whether an older version may have left
//! it out: an attribute is required if the item is ambiguous without it; otherwise its default is the initial state.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use proptest::prelude::*;
use proptest::sample::Index;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tandem_hostile::damage::unknown_name;
use tandem_replication::claims::Claim;
use tandem_replication::deferral::DeferredKey;
use tandem_replication::rule::{Rule, Scope};

use crate::AwsError;
use crate::dynamodb::failures::FailureItem;
use crate::dynamodb::jobs::Job;
use crate::dynamodb::request_tokens::RequestItem;
use crate::dynamodb::rules::{ClaimItem, RuleItem};
use crate::dynamodb::table::{Item, item, parsed};
use crate::dynamodb::transfers::TransferItem;
use crate::dynamodb::watermark::WatermarkItem;
use tandem_replication::shard_state::Shard;

const CASES: u32 = 4_000;
const SK: &str = "the-sort-key";

/// The kinds of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rule,
    Claim,
    Job,
    Shard,
    Held,
    Failure,
    Transfer,
    Upload,
    Watermark,
    Request,
}

/// A kind of item: an example as version 0.1.0 writes it, and how each missing attribute is read.
struct Form {
    kind: Kind,
    written: Value,
    /// Attributes without which the item cannot be understood.
    required: &'static [&'static str],
    /// Attributes that may be missing, with the values that are then read. Each value is the initial state: no backfill
    /// requested, not paused, no plan, no limit, no progress.
    defaults: Value,
}

impl Form {
    fn of(kind: Kind, written: Value, required: &'static [&'static str], defaults: Value) -> Self {
        Self {
            kind,
            written,
            required,
            defaults,
        }
    }
}

fn forms() -> Vec<Form> {
    let mut forms = forms_of_rules_and_jobs();
    forms.extend(forms_of_keys());
    forms.extend(forms_of_large_objects());
    forms
}

fn forms_of_rules_and_jobs() -> Vec<Form> {
    let at = "2026-11-22T21:00:00.123Z";
    vec![
        Form::of(
            Kind::Rule,
            json!({"id": "rule-1", "source_bucket": "photos", "source_region": "us-east-1",
                "destination_bucket": "photos-replica", "destination_region": "us-west-2",
                "scope": {"prefixes": ["a/", "b/"]}, "policy": "full", "historical": true, "notified_by": "eventbridge",
                "notified_since": at, "state": "paused",
                "options": {"storage_class": "GLACIER_IR", "tags": false},
                "revision": 3, "created_at": at, "updated_at": at, "paused_at": at,
                "destination_encryption": "aws:kms"}),
            // No function may act on a rule whose policy, state or scope is unknown.
            &[
                "id",
                "source_bucket",
                "source_region",
                "destination_bucket",
                "destination_region",
                "scope",
                "policy",
                "state",
                "revision",
                "created_at",
                "updated_at",
            ],
            json!({"historical": false, "notified_by": "bucket", "notified_since": null, "paused_at": null, "options": {},
                "destination_encryption": null}),
        ),
        // Without its role, a claim does not say whether the bucket's changes are replicated.
        Form::of(
            Kind::Claim,
            json!({"rule_id": "rule-1", "role": "source"}),
            &["rule_id", "role"],
            json!({}),
        ),
        Form::of(
            Kind::Job,
            json!({"id": "job-1", "rule_id": "rule-1", "state": "running", "plan_id": "p", "shards": 3,
                "started_at": at, "kind": "repair", "overwrite": "never", "prefix": "a/",
                "manifest": "s3://lists/keys.csv", "keys": "plain", "report": "s3://reports/a/", "objects_per_sec": 2.5,
                "concurrency": 3, "deletes_max": 10, "scheduled": true, "settled": true, "expires_at": 1_800_000_000}),
            &["id", "rule_id", "state", "started_at"],
            json!({"plan_id": null, "shards": 0, "kind": "backfill", "overwrite": "always", "prefix": null,
                "manifest": null, "keys": null, "report": null, "objects_per_sec": null, "concurrency": null,
                "deletes_max": null, "scheduled": false, "settled": false, "expires_at": null}),
        ),
        Form::of(
            Kind::Shard,
            json!({"index": 1, "prefix": "a/", "after": "a/1", "until": "a/9", "checkpoint": "a/3", "pages": 2,
                "ended_at": at, "listed": 10, "copied": 4, "equal": 3, "gone": 2, "failed": 1,
                "bytes_copied": 1234, "transfers": 1, "kept": 1, "missing": 1, "different": 1, "extra": 2,
                "deleted": 1, "extra_failed": 1, "splits": 1, "probes": 2, "known": "a/7", "empty_above": "a/8", "sent": true,
                "progressed_at": at, "error": "listing", "weight": 0.5, "weight_done": 0.25,
                "weight_from": "a/2", "s3_requests": 9, "expires_at": 1_800_000_000,
                "epoch": 3, "sent_by": "message", "recoveries_failed": 1,
                "lease": {"holder": "invocation", "message": "message", "until": 1_800_000_000_000_i64},
                "in_flight": {"last": "a/4", "writes": "AAAAAAAAAAAAAAAAAAAAAA"},
                "manifest": {"bucket": "lists", "region": "us-east-1", "key": "keys.csv", "etag": "e",
                    "gzip": false, "from": 0, "until": 9,
                    "layout": {"separator": ";", "keys": "plain", "header": true,
                        "columns": {"bucket": 0, "key": 1, "is_latest": 3}}}}),
            // Steps are conditional on `pages`, and DynamoDB cannot add to counts that are missing.
            &[
                "index",
                "prefix",
                "pages",
                "listed",
                "copied",
                "equal",
                "gone",
                "failed",
                "bytes_copied",
            ],
            json!({"after": null, "until": null, "checkpoint": null, "ended_at": null, "transfers": 0, "kept": 0,
                "missing": 0, "different": 0, "extra": 0, "deleted": 0, "extra_failed": 0, "splits": 0, "probes": 0, "known": null,
                "empty_above": null, "sent": false, "progressed_at": null, "error": null, "weight": 0.0,
                "weight_done": 0.0, "weight_from": null, "s3_requests": 0, "expires_at": null,
                "epoch": 0, "sent_by": null, "recoveries_failed": 0, "lease": null, "in_flight": null,
                "manifest": null}),
        ),
    ]
}

/// Items about single keys, and a rule's watermark.
fn forms_of_keys() -> Vec<Form> {
    let at = "2026-11-22T21:00:00.123Z";
    vec![
        Form::of(
            Kind::Held,
            json!({"key": "a/1", "changed_at": at, "token": "t", "overwrite": "never"}),
            // A deferred key is removed only by its token.
            &["key", "changed_at", "token"],
            json!({"overwrite": "always"}),
        ),
        Form::of(
            Kind::Failure,
            json!({"key": "a/1", "version_id": "v", "etag": "e", "bytes": 3, "reason": "TooLarge",
                "message": "copying", "first_at": at, "last_at": at, "attempts": 2,
                "overwrite": "if-older"}),
            &[
                "key", "reason", "message", "first_at", "last_at", "attempts",
            ],
            json!({"version_id": null, "etag": null, "bytes": null, "overwrite": "always"}),
        ),
        Form::of(
            Kind::Watermark,
            json!({"watermark": at}),
            &["watermark"],
            json!({}),
        ),
    ]
}

/// Items about large objects while they are copied.
fn forms_of_large_objects() -> Vec<Form> {
    let at = "2026-11-22T21:00:00.123Z";
    vec![
        Form::of(
            Kind::Transfer,
            json!({"id": "transfer-1", "key": "a/1", "source": {"etag": "e-2", "bytes": 11, "last_modified": at},
                "layout": [{"part_bytes": 10, "parts": 1}, {"part_bytes": 1, "parts": 1}], "range_bytes": 10,
                "upload": {"id": "u", "key": "a/1", "upload_id": "U", "began_at": at}, "records_etag": false,
                "checksum": {"algorithm": "CRC32", "full_object": false}, "started_at": at, "progressed_at": at,
                "sent": true, "event_time": at, "void": "overtaken", "overwrite": "never"}),
            &[
                "id",
                "key",
                "source",
                "layout",
                "range_bytes",
                "upload",
                "records_etag",
                "started_at",
                "progressed_at",
                "sent",
            ],
            json!({"checksum": null, "event_time": null, "void": null, "overwrite": "always"}),
        ),
        Form::of(
            Kind::Upload,
            json!({"id": "u", "key": "a/1", "upload_id": "U", "began_at": at}),
            &["id", "key", "began_at"],
            json!({"upload_id": null}),
        ),
        Form::of(
            Kind::Request,
            json!({"id": "rule-1", "expires_at": 1_800_000_000}),
            &["id", "expires_at"],
            json!({}),
        ),
    ]
}

impl Form {
    fn item(&self) -> Item {
        item("pk", SK, &self.written).unwrap()
    }

    fn attributes(&self) -> Vec<String> {
        self.written.as_object().unwrap().keys().cloned().collect()
    }

    /// Returns what an item of this kind reads as.
    fn read(&self, item: Item) -> Result<String, AwsError> {
        fn shown<T: DeserializeOwned + std::fmt::Debug>(item: Item) -> Result<String, AwsError> {
            parsed::<T>("pk", item).map(|value| format!("{value:?}"))
        }
        match self.kind {
            Kind::Rule => {
                parsed::<RuleItem>("pk", item).map(|item| format!("{:?}", Rule::from(item)))
            }
            Kind::Claim => {
                parsed::<ClaimItem>("pk", item).map(|item| format!("{:?}", Claim::from(item)))
            }
            Kind::Job => shown::<Job>(item),
            Kind::Shard => shown::<Shard>(item),
            Kind::Held => shown::<DeferredKey>(item),
            Kind::Failure => shown::<FailureItem>(item),
            Kind::Transfer => shown::<TransferItem>(item),
            Kind::Upload => shown::<tandem_replication::transfer::LoggedUpload>(item),
            Kind::Watermark => shown::<WatermarkItem>(item),
            Kind::Request => shown::<RequestItem>(item),
        }
    }
}

/// Asserts that an error names the item, so that an operator can find it.
fn assert_names_it(error: &AwsError) {
    let said = error.to_string();
    assert!(said.contains("pk") && said.contains(SK), "{said}");
}

fn number() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f32>().prop_map(|number| number.to_string()),
        prop::sample::select(vec![
            "1E+125",
            "-9.9999999999999999999999999999999999999E+125",
            "1E-130",
            "99999999999999999999999999999999999999",
            "0.1",
            "-0"
        ])
        .prop_map(str::to_owned),
    ]
    .prop_map(AttributeValue::N)
}

/// A value of a type that Tandem never writes. Most binary values here are text, some even a number or a time.
fn foreign_attribute() -> impl Strategy<Value = AttributeValue> + Clone {
    let bytes = || {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..8).prop_map(Blob::new),
            "[a-z0-9]{0,8}|full|always|2026-11-22T21:00:00Z"
                .prop_map(|text| Blob::new(text.into_bytes())),
        ]
    };
    prop_oneof![
        bytes().prop_map(AttributeValue::B),
        prop::collection::vec("[a-z]{1,4}/", 1..3).prop_map(AttributeValue::Ss),
        prop::collection::vec(any::<u8>().prop_map(|number| number.to_string()), 1..3)
            .prop_map(AttributeValue::Ns),
        prop::collection::vec(bytes(), 1..3).prop_map(AttributeValue::Bs),
    ]
}

/// Returns the path to every attribute of an item and to everything inside it, without the item's own key.
fn places(item: &Item) -> Vec<Vec<String>> {
    fn add(path: &[String], value: &AttributeValue, found: &mut Vec<Vec<String>>) {
        found.push(path.to_vec());
        let inner: Vec<(String, &AttributeValue)> = match value {
            AttributeValue::M(fields) => fields.iter().map(|(k, v)| (k.clone(), v)).collect(),
            AttributeValue::L(values) => (0_usize..).map(|at| at.to_string()).zip(values).collect(),
            _ => Vec::new(),
        };
        for (step, value) in inner {
            add(&[path, &[step]].concat(), value, found);
        }
    }
    let mut found = Vec::new();
    for (name, value) in item {
        if !["pk", "sk"].contains(&name.as_str()) {
            add(std::slice::from_ref(name), value, &mut found);
        }
    }
    found.sort();
    found
}

/// Returns the value at the end of a path.
fn value_at<'a>(item: &'a mut Item, path: &[String]) -> &'a mut AttributeValue {
    let first = item.get_mut(&path[0]).unwrap();
    path[1..].iter().fold(first, |value, step| match value {
        AttributeValue::M(fields) => fields.get_mut(step).unwrap(),
        AttributeValue::L(values) => &mut values[step.parse::<usize>().unwrap()],
        other => panic!("nothing is inside {other:?}"),
    })
}

/// Any attribute value at all.
fn attribute() -> impl Strategy<Value = AttributeValue> + Clone {
    let bytes = || prop::collection::vec(any::<u8>(), 0..8).prop_map(Blob::new);
    let leaf = prop_oneof![
        "\\PC{0,8}".prop_map(AttributeValue::S),
        number(),
        any::<bool>().prop_map(AttributeValue::Bool),
        any::<bool>().prop_map(|_| AttributeValue::Null(true)),
        bytes().prop_map(AttributeValue::B),
        prop::collection::vec("[a-z]{1,4}", 1..3).prop_map(AttributeValue::Ss),
        prop::collection::vec(any::<i64>().prop_map(|number| number.to_string()), 1..3)
            .prop_map(AttributeValue::Ns),
        prop::collection::vec(bytes(), 1..3).prop_map(AttributeValue::Bs),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(AttributeValue::L),
            prop::collection::hash_map("[a-z]{1,6}", inner, 0..3).prop_map(AttributeValue::M),
        ]
    })
    .no_shrink()
    .boxed()
}

fn form() -> impl Strategy<Value = Index> {
    any::<Index>()
}

/// Whether two attribute values are of one type.
fn of_one_type(one: &AttributeValue, other: &AttributeValue) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    // Promise: An item of the table that a newer version has extended reads as the same value.
    #[test]
    fn an_item_of_a_newer_version_reads_as_the_same_value(
        form in form(), more in prop::collection::hash_map(unknown_name(), attribute(), 1..5),
    ) {
        let (forms, mut item) = (forms(), Item::new());
        let form = form.get(&forms);
        item.extend(more);
        item.extend(form.item());
        prop_assert_eq!(form.read(item).unwrap(), form.read(form.item()).unwrap());
    }

    // Promise: An item with an attribute that is of another type, unknown to this version, or missing without a
    // default is an error that names the item.
    #[test]
    fn an_attribute_of_another_type_is_refused(form in form(), at in any::<Index>(), value in attribute()) {
        let forms = forms();
        let form = form.get(&forms);
        let attributes = form.attributes();
        let name = at.get(&attributes);
        let mut item = form.item();
        prop_assume!(!of_one_type(&item[name], &value));
        let unset = matches!(value, AttributeValue::Null(_)) && form.defaults.get(name) == Some(&Value::Null);
        let word = name == "scope" && matches!(value, AttributeValue::S(_));
        let set = name == "done" && matches!(value, AttributeValue::Ns(_));
        item.insert(name.clone(), value);
        match form.read(item) {
            Err(error) => assert_names_it(&error),
            Ok(read) => prop_assert!(unset || word || set, "{} reads as {}", name, read),
        }
    }

    #[test]
    fn a_binary_value_or_a_set_is_refused_at_any_depth(
        form in form(), at in any::<Index>(), value in foreign_attribute(),
    ) {
        let forms = forms();
        let form = form.get(&forms);
        let mut item = form.item();
        let places = places(&item);
        let place = at.get(&places);
        // The only set that Tandem writes.
        prop_assume!(place != &["done".to_owned()] || !matches!(value, AttributeValue::Ns(_)));
        *value_at(&mut item, place) = value;
        match form.read(item) {
            Err(error) => {
                assert_names_it(&error);
                prop_assert!(error.to_string().contains(&place[0]), "{:?}: {}", place, error);
            }
            Ok(read) => prop_assert!(false, "{:?} reads as {}", place, read),
        }
    }

    #[test]
    fn an_item_with_arbitrary_values_is_read_or_refused(
        form in form(), values in prop::collection::vec((any::<Index>(), attribute()), 1..4),
    ) {
        let forms = forms();
        let form = form.get(&forms);
        let attributes = form.attributes();
        let mut item = form.item();
        for (at, value) in values {
            item.insert(at.get(&attributes).clone(), value);
        }
        if let Err(error) = form.read(item) {
            assert_names_it(&error);
        }
    }

    // Promise: An item with an attribute that is of another type, unknown to this version, or missing without a
    // default is an error that names the item.
    #[test]
    fn an_unknown_word_is_refused(word in "[a-zA-Z]{0,9}|append|archiving|Full|Source") {
        for (kind, attribute, known) in [
            (Kind::Rule, "policy", &["full", "write"][..]),
            (Kind::Rule, "state", &["enabling", "enabled", "paused", "deleting"]),
            (Kind::Rule, "scope", &["all"]),
            (Kind::Claim, "role", &["source", "destination"]),
            (Kind::Job, "state", &["planning", "running", "paused", "complete", "failed", "cancelled"]),
            (Kind::Job, "kind", &["backfill", "verify", "repair"]),
            (Kind::Job, "overwrite", &["always", "if-older", "never"]),
            (Kind::Rule, "updated_at", &[]),
            (Kind::Held, "changed_at", &[]),
            (Kind::Transfer, "void", &["overtaken", "other-etag"]),
            (Kind::Watermark, "watermark", &[]),
        ] {
            let forms = forms();
            let form = forms.iter().find(|form| form.kind == kind).unwrap();
            let mut item = form.item();
            item.insert(attribute.to_owned(), AttributeValue::S(word.clone()));
            match form.read(item) {
                Err(error) => assert_names_it(&error),
                Ok(read) => prop_assert!(known.contains(&word.as_str()), "{}: {}", attribute, read),
            }
        }
    }

    #[test]
    fn a_stored_scope_is_read_only_if_a_request_could_set_it(
        prefixes in prop::collection::vec("[ab/]{0,3}", 0..8),
    ) {
        let forms = forms();
        let mut item = forms[0].item();
        let stored = prefixes.iter().cloned().map(AttributeValue::S).collect();
        let scope = AttributeValue::M([("prefixes".to_owned(), AttributeValue::L(stored))].into());
        item.insert("scope".to_owned(), scope);
        prop_assert_eq!(forms[0].read(item).is_ok(), Scope::prefixes_of(prefixes).is_ok());
    }
}

/// Where fields are flattened, serde would read bytes that are UTF-8 as text.
#[test]
fn binary_values_are_refused_in_place_of_text() {
    for form in forms() {
        for place in places(&form.item()) {
            let mut item = form.item();
            let value = value_at(&mut item, &place);
            let AttributeValue::S(text) = value else {
                continue;
            };
            *value = AttributeValue::B(Blob::new(text.clone().into_bytes()));
            let error = form.read(item).expect_err(&place.join("."));
            assert_names_it(&error);
            assert!(error.to_string().contains(&place[0]), "{place:?}: {error}");
        }
    }
}

// Promise: An item with an attribute that is of another type, unknown to this version, or missing without a
// default is an error that names the item.
#[test]
fn an_item_without_an_attribute_reads_with_its_default_or_is_refused() {
    for form in forms() {
        for name in form.attributes() {
            let mut item = form.item();
            item.remove(&name);
            let read = form.read(item);
            if form.required.contains(&name.as_str()) {
                let error = read.unwrap_err();
                assert_names_it(&error);
                assert!(error.to_string().contains(&name), "{name}: {error}");
            } else {
                let mut with_default = form.written.clone();
                with_default[&name] = form.defaults[&name].clone();
                let with_default = crate::dynamodb::table::item("pk", SK, &with_default).unwrap();
                assert_eq!(read.unwrap(), form.read(with_default).unwrap(), "{name}");
            }
        }
    }
}

#[test]
fn an_item_with_an_invalid_bucket_name_or_key_is_refused() {
    let long = "k".repeat(1_025);
    for (kind, attribute, value) in [
        (Kind::Rule, "source_bucket", ""),
        (Kind::Rule, "destination_bucket", "Pho tos"),
        (Kind::Held, "key", ""),
        (Kind::Held, "key", &long),
        (Kind::Failure, "key", ""),
        (Kind::Transfer, "key", &long),
        (Kind::Upload, "key", ""),
    ] {
        let forms = forms();
        let form = forms.iter().find(|form| form.kind == kind).unwrap();
        let mut item = form.item();
        item.insert(attribute.to_owned(), AttributeValue::S(value.to_owned()));
        assert_names_it(&form.read(item).unwrap_err());
    }
}

/// A scope with fields besides prefixes covers other keys than this version assumes.
#[test]
fn a_scope_with_fields_besides_prefixes_is_refused() {
    let form = &forms()[0];
    let mut written = form.written.clone();
    written["scope"]["tags"] = json!({"archive": "yes"});
    assert!(form.read(item("pk", SK, &written).unwrap()).is_err());
}
