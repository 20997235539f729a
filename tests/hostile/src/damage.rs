//! Damage to documents: one to three faults at random places. No I/O.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};

use crate::json::{any_value, odd_value};

/// The maximum number of faults in a document.
const DAMAGES_MAX: usize = 3;

/// One fault.
#[derive(Debug, Clone)]
enum Damage {
    /// A field, or an element of an array, is missing.
    Removed,
    /// Another value stands in its place.
    Replaced(Value),
    /// A field has another name.
    Renamed(String),
    /// It occurs twice: an element after itself, or a field under a second name.
    Doubled,
    /// It is wrapped in an array or an object.
    Nested(bool),
    /// A string has something before or after it.
    Extended(String, bool),
}

/// Returns one of `documents` with one to three faults.
pub fn damaged(documents: Vec<Value>) -> impl Strategy<Value = Value> {
    let damages = prop::collection::vec((any::<Index>(), damage()), 1..=DAMAGES_MAX);
    (prop::sample::select(documents), damages).prop_map(|(mut document, damages)| {
        for (place, damage) in damages {
            let places = places(&document);
            if !places.is_empty() {
                damage.apply(&mut document, &places[place.index(places.len())]);
            }
        }
        document
    })
}

/// Returns the text of one of `documents` in which a piece is missing, doubled or replaced. The result is rarely JSON,
/// and sometimes has a field twice.
pub fn damaged_text(documents: Vec<Value>) -> impl Strategy<Value = String> {
    let piece = (any::<Index>(), 0..40_usize);
    let other = prop_oneof![
        Just(None),
        Just(Some(None)),
        "\\PC{0,3}".prop_map(|text| Some(Some(text)))
    ];
    (prop::sample::select(documents), piece, other).prop_map(|(document, (at, length), other)| {
        let text: Vec<char> = document.to_string().chars().collect();
        let from = at.index(text.len());
        let to = (from + length).min(text.len());
        let piece: String = text[from..to].iter().collect();
        let between = match other {
            None => String::new(),
            Some(None) => format!("{piece}{piece}"),
            Some(Some(other)) => other,
        };
        let (before, after) = (&text[..from], &text[to..]);
        before.iter().collect::<String>() + &between + &after.iter().collect::<String>()
    })
}

/// Returns one of `documents`, and the same document with unknown fields in the objects that `extensible` allows.
/// `extensible` gets the names on the path to the object, without the indices of arrays.
pub fn with_unknown_fields(
    documents: Vec<Value>,
    extensible: fn(&[&str]) -> bool,
) -> impl Strategy<Value = (Value, Value)> {
    let extra = prop::collection::vec((any::<Index>(), unknown_name(), any_value()), 1..6);
    (prop::sample::select(documents), extra).prop_map(move |(document, extra)| {
        let mut extended = document.clone();
        let mut objects: Vec<Vec<String>> = places(&document);
        objects.push(Vec::new());
        objects.retain(|path| {
            let names: Vec<&str> = path
                .iter()
                .map(String::as_str)
                .filter(|step| step.parse::<usize>().is_err())
                .collect();
            at(&mut extended, path).is_object() && extensible(&names)
        });
        for (place, name, value) in extra {
            if let Value::Object(fields) = at(&mut extended, &objects[place.index(objects.len())]) {
                fields.insert(name, value);
            }
        }
        (document, extended)
    })
}

/// A field name that no version uses so far.
pub fn unknown_name() -> impl Strategy<Value = String> + Clone {
    "(x-|zz_)[a-zA-Z0-9_-]{0,12}"
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        3 => Just(Damage::Removed),
        4 => odd_value().prop_map(Damage::Replaced),
        2 => any_value().prop_map(Damage::Replaced),
        2 => "[a-zA-Z]{0,8}".prop_map(Damage::Renamed),
        1 => Just(Damage::Doubled),
        1 => any::<bool>().prop_map(Damage::Nested),
        2 => ("(%|%F|%FF|%00|\\+|0|-|\\PC){1,3}", any::<bool>())
            .prop_map(|(text, before)| Damage::Extended(text, before)),
    ]
}

impl Damage {
    fn apply(self, document: &mut Value, path: &[String]) {
        let Some((last, way)) = path.split_last() else {
            return;
        };
        match self {
            Self::Replaced(value) => *at(document, path) = value,
            Self::Nested(array) => {
                let place = at(document, path);
                let inner = place.take();
                *place = if array {
                    json!([inner])
                } else {
                    json!({"x": inner})
                };
            }
            Self::Extended(extra, before) => {
                if let Value::String(text) = at(document, path) {
                    *text = if before {
                        extra + text
                    } else {
                        text.clone() + &extra
                    };
                }
            }
            Self::Removed | Self::Renamed(_) | Self::Doubled => match at(document, way) {
                Value::Object(fields) => self.change_field(fields, last),
                Value::Array(elements) => self.change_element(elements, last),
                _ => {}
            },
        }
    }

    fn change_field(self, fields: &mut Map<String, Value>, name: &str) {
        let Some(value) = fields.get(name).cloned() else {
            return;
        };
        match self {
            Self::Doubled => _ = fields.insert(format!("{name}2"), value),
            Self::Renamed(other) => {
                fields.remove(name);
                fields.insert(other, value);
            }
            _ => _ = fields.remove(name),
        }
    }

    fn change_element(self, elements: &mut Vec<Value>, place: &str) {
        let place: usize = place.parse().unwrap_or_default();
        match self {
            Self::Doubled => elements.insert(place, elements[place].clone()),
            _ => _ = elements.remove(place),
        }
    }
}

/// The paths of every field and element of a document, at any depth.
fn places(document: &Value) -> Vec<Vec<String>> {
    let children: Vec<(String, &Value)> = match document {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), value))
            .collect(),
        Value::Array(elements) => (0_usize..).map(|at| at.to_string()).zip(elements).collect(),
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    for (step, value) in children {
        found.push(vec![step.clone()]);
        for mut rest in places(value) {
            rest.insert(0, step.clone());
            found.push(rest);
        }
    }
    found
}

/// The value at the end of the path.
fn at<'a>(document: &'a mut Value, path: &[String]) -> &'a mut Value {
    path.iter().fold(document, |value, step| match value {
        Value::Array(elements) => &mut elements[step.parse::<usize>().unwrap_or_default()],
        value => &mut value[step.as_str()],
    })
}
