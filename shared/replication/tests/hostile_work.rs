//! Malformed messages of the work and part queues: each is read or refused without a panic.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;
use tandem_hostile::damage::{damaged, damaged_text, with_unknown_fields};
use tandem_hostile::documents::bodies;
use tandem_hostile::json::{any_text, any_value, odd_value};
use tandem_replication::names::ObjectKey;
use tandem_replication::work::{PartWork, Work};

const CASES: u32 = 4_000;

fn messages() -> Vec<Value> {
    let mut messages = bodies("backfill-shard");
    messages.extend(bodies("copy-parts"));
    messages
}

/// Reads a message, and checks that an accepted one is valid and is forwarded unchanged.
fn read(document: Value) -> Result<(), String> {
    if document["kind"] == "range" || document["kind"] == "sweep" {
        let work: PartWork = serde_json::from_value(document).map_err(|error| error.to_string())?;
        if let PartWork::Range { key, .. } = &work {
            assert!(ObjectKey::parse(key.as_str()).is_ok(), "{work:?}");
        }
        let handed_on = serde_json::to_string(&work).unwrap();
        assert_eq!(serde_json::from_str::<PartWork>(&handed_on).unwrap(), work);
        return Ok(());
    }
    let work: Work = serde_json::from_value(document).map_err(|error| error.to_string())?;
    if let Work::Object { key, .. } = &work {
        assert!(ObjectKey::parse(key.as_str()).is_ok(), "{work:?}");
    }
    let handed_on = serde_json::to_string(&work).unwrap();
    assert_eq!(serde_json::from_str::<Work>(&handed_on).unwrap(), work);
    Ok(())
}

/// Whether this is the path to the message itself, and not to a part of it.
fn is_the_message(way: &[&str]) -> bool {
    way.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn anything_is_work_or_refused(document in any_value(), text in any_text()) {
        let _ = read(document);
        if let Ok(document) = serde_json::from_str(&text) {
            let _ = read(document);
        }
    }

    #[test]
    fn damaged_work_is_work_or_refused(document in damaged(messages()), text in damaged_text(messages())) {
        let _ = read(document);
        if let Ok(document) = serde_json::from_str(&text) {
            let _ = read(document);
        }
    }

    #[test]
    fn work_with_any_value_in_a_field_is_work_or_refused(
        message in prop::sample::select(messages()), at in any::<Index>(), value in odd_value(),
    ) {
        let mut message = message;
        let names: Vec<String> = message.as_object().unwrap().keys().cloned().collect();
        message[at.get(&names)] = value;
        let _ = read(message);
    }

    /// So a deployment loses no message while jobs run.
    // Promise: Fields that a newer version adds to a message of the work queue are passed over.
    #[test]
    fn fields_that_a_newer_version_adds_to_work_are_ignored(
        (document, extended) in with_unknown_fields(bodies("backfill-shard"), is_the_message),
    ) {
        let work: Work = serde_json::from_value(document).unwrap();
        assert_eq!(serde_json::from_value::<Work>(extended).unwrap(), work);
    }

    /// A newer version may give the field a meaning that this version would ignore.
    #[test]
    fn part_work_with_an_unknown_field_is_refused(
        (document, extended) in with_unknown_fields(bodies("copy-parts"), |_| true),
    ) {
        assert!(read(document).is_ok());
        let said = read(extended).unwrap_err();
        assert!(said.contains("unknown field"), "{said}");
    }
}
