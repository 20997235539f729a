//! Arbitrary values, and values on which parsers tend to fail. No I/O.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Longer than any limit of S3, DynamoDB or a format's width (65,535).
const LONG: usize = 70_000;

/// Strings that are nearly what a parser expects: truncated encodings, bytes that are not text, invalid times and
/// times at the limit of a type, names at and over their limits.
const ODD_TEXTS: &[&str] = &[
    "",
    " ",
    "%",
    "%F",
    "%FF",
    "%C3%28",
    "%00",
    "%zz",
    "a%2",
    "+",
    "..",
    "a/../b",
    "\0",
    "\u{202e}\u{feff}",
    "\u{10ffff}",
    "\"",
    "\r\nx-amz-acl: public-read",
    "null",
    "-1",
    "1e999",
    "18446744073709551616",
    "2026-02-30T00:00:00Z",
    "2026-11-22",
    "2026-11-22T23:59:60Z",
    "2026-11-22T21:00:00+23:59",
    "2026-11-22T21:00:00.123456789123Z",
    "9999-99-99T99:99:99Z",
    "+262142-12-31T23:59:59.999999999Z",
    "+262142-12-31T23:59:59-23:59",
    "-262143-01-01T00:00:00Z",
    "-262143-01-01T00:00:00+23:59",
    "Photos",
    "s3:TestEvent",
    "ObjectCreated:",
    "ObjectRemoved:Delete",
    "tandem-",
    "tandem--",
    "aws:sqs",
    "append",
    "all",
];

/// Any JSON, a few levels deep.
pub fn any_value() -> impl Strategy<Value = Value> + Clone {
    let leaf = prop_oneof![odd_value(), ".{0,12}".prop_map(Value::from)];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((any_name(), inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A value that is rarely intended: numbers at their limits, strings that are nearly right, long values, deeply
/// nested values.
pub fn odd_value() -> impl Strategy<Value = Value> + Clone {
    prop_oneof![
        1 => Just(json!(null)),
        1 => any::<bool>().prop_map(Value::from),
        2 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        2 => prop::sample::select(vec![
            json!(-1), json!(0), json!(1.5), json!(-0.0), json!(1e300), json!(u64::MAX), json!(i64::MIN),
            json!([]), json!({}), json!([null]), json!({"": null}),
        ]),
        6 => prop::sample::select(ODD_TEXTS).prop_map(Value::from),
        1 => long_text().prop_map(Value::from),
        1 => (1..100_usize).prop_map(deep),
    ]
}

/// Any string of a few characters, or an odd one.
pub fn any_text() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        2 => ".{0,200}",
        1 => prop::sample::select(ODD_TEXTS).prop_map(str::to_owned),
        1 => r#"[\[\]{}",:\\a-f0-9eE+.\- ]{0,60}"#,
        1 => (1..100_000_usize).prop_map(|depth| "[".repeat(depth)),
    ]
}

/// A field name: one that has a meaning somewhere, or any.
fn any_name() -> impl Strategy<Value = String> + Clone {
    const KNOWN: &[&str] = &[
        "Records",
        "s3",
        "bucket",
        "object",
        "key",
        "name",
        "eventName",
        "eventTime",
        "detail",
        "detail-type",
        "time",
        "Event",
        "body",
        "eventSource",
        "action",
        "rule",
        "source",
        "kind",
    ];
    prop_oneof![
        3 => prop::sample::select(KNOWN).prop_map(str::to_owned),
        1 => ".{0,8}",
    ]
}

fn long_text() -> impl Strategy<Value = String> + Clone {
    let lengths = prop::sample::select(vec![64, 1_024, 1_025, 2_049, LONG]);
    (
        prop::sample::select(vec!["a", "0", "1", "ü", "%41", "%FF", "+", "/"]),
        lengths,
    )
        .prop_map(|(text, times)| text.repeat(times))
}

/// Arrays nested to this depth. A parser of JSON text stops at a depth of 128.
fn deep(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!([inner]))
}
