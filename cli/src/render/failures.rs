//! Failures as tables.

use comfy_table::{Cell, CellAlignment, Table};
use tandem_replication::fault::{Disposition, Reason};

use super::{style, table};
use crate::contract::{Failure, RetryAnswer};
use crate::human::{self, UNKNOWN};

/// Characters shown of a message in a table.
const MESSAGE_SHOWN: usize = 120;

pub fn failures(failures: &[Failure]) -> String {
    let mut table = table(&[
        "Rule", "Key", "Reason", "Attempts", "First", "Last", "Message",
    ]);
    for failure in failures {
        table.add_row(vec![
            Cell::new(&failure.rule_id),
            Cell::new(human::key(&failure.key)),
            Cell::new(&failure.reason),
            Cell::new(human::count(failure.attempts)).set_alignment(CellAlignment::Right),
            Cell::new(human::instant(failure.first_at)),
            Cell::new(human::instant(failure.last_at)),
            Cell::new(beginning(&failure.message)),
        ]);
    }
    table.to_string()
}

/// Renders key, reason and message of each failure on one line.
pub fn reasons(failures: &[Failure]) -> String {
    let lines = failures.iter().map(|failure| {
        let key = human::key(&failure.key);
        format!(
            "{key}: {} ({})",
            failure.reason,
            human::key(&beginning(&failure.message))
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

pub fn failure(failure: &Failure) -> String {
    let mut table = Table::new();
    style(&mut table);
    let or_unknown = |text: Option<&String>| text.map_or(UNKNOWN.to_owned(), String::clone);
    table
        .add_row(["Rule", &failure.rule_id])
        .add_row(["Key", &human::key(&failure.key)])
        .add_row(["Version", &or_unknown(failure.version_id.as_ref())])
        .add_row(["ETag", &or_unknown(failure.etag.as_ref())])
        .add_row([
            "Size",
            &failure.bytes.map_or(UNKNOWN.to_owned(), human::bytes),
        ])
        .add_row(["Reason", &failure.reason])
        .add_row(["Message", &failure.message])
        .add_row(["First failed", &human::instant(failure.first_at)])
        .add_row(["Last failed", &human::instant(failure.last_at)])
        .add_row(["Attempts", &human::count(failure.attempts)]);
    // A newer stack may know reasons that this command does not.
    if let Ok(reason) = failure.reason.parse::<Reason>() {
        let entry = reason.entry();
        let retry = match entry.disposition {
            Disposition::Retry => "ended: all attempts failed; run `tandem failures retry`",
            Disposition::Park => "no: fix the cause, then run `tandem failures retry`",
        };
        table
            .add_row(["What happened", entry.meaning])
            .add_row(["What to do", entry.remedy])
            .add_row(["Automatic retry", retry]);
    }
    table.to_string()
}

pub fn retried(retried: &RetryAnswer) -> String {
    let moved = &retried.moved;
    let mut lines = vec![format!(
        "{} sent for another attempt; {} moved back from dead-letter queues.",
        human::objects(retried.retried),
        messages(moved.total()),
    )];
    if retried.unseen {
        lines.push(
            "There was no time to receive all dead letters; repeat this command in some minutes."
                .into(),
        );
    }
    let unreadable = &retried.unreadable;
    if unreadable.count > 0 {
        lines.push(format!(
            "{} cannot be read; their queues keep them until they expire:",
            messages(unreadable.count)
        ));
        let mut table = table(&["Queue", "Message id", "Problem", "Body"]);
        for message in &unreadable.messages {
            table.add_row([
                &message.queue,
                &message.message_id,
                &human::key(&message.problem),
                &human::key(&message.body),
            ]);
        }
        lines.push(table.to_string());
    }
    lines.join("\n")
}

fn messages(count: u64) -> String {
    match count {
        1 => "1 message".to_owned(),
        _ => format!("{} messages", human::count(count)),
    }
}

fn beginning(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_SHOWN) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(reason: &str) -> Failure {
        serde_json::from_value(serde_json::json!({
            "rule_id": "rule-1", "key": "a b", "version_id": null, "etag": "e", "bytes": 2048,
            "reason": reason, "message": "copying \"a b\": ü".repeat(20),
            "first_at": "2026-11-22T21:00:00.000Z", "last_at": "2026-11-22T21:05:00.000Z",
            "attempts": 3,
        }))
        .unwrap()
    }

    #[test]
    fn a_failure_is_shown_with_what_to_do() {
        let shown = failure(&failed("SrcObjectArchived"));
        assert!(shown.contains("restore the object"), "{shown}");
        assert!(shown.contains("2.00 KiB"), "{shown}");
        let newer = failure(&failed("SomethingNew"));
        assert!(newer.contains("SomethingNew"), "{newer}");
    }

    #[test]
    fn messages_that_cannot_be_read_are_shown() {
        let answer = serde_json::json!({
            "retried": 2, "moved": {"put": 1, "delete": 0, "work": 0, "part": 2}, "next": null,
            "unreadable": {"count": 1, "messages": [
                {"queue": "put", "message_id": "m", "problem": "the body is not JSON", "body": "hm"}]},
        });
        let shown = retried(&serde_json::from_value(answer).unwrap());
        assert!(shown.starts_with("2 objects sent"), "{shown}");
        assert!(shown.contains("3 messages moved back"), "{shown}");
        assert!(shown.contains("not JSON"), "{shown}");
    }
}
