//! Answers as tables and lines of text. No I/O but a look at whether stdout takes colours.

pub mod failures;
pub mod import;
pub mod rules;
pub mod status;

use comfy_table::{
    Cell, CellAlignment, Color, ContentArrangement, Table, presets::UTF8_FULL_CONDENSED,
};

use crate::compare::{Difference, Field, Kind, Side, Tally};
use crate::contract::{Bucket, Job, Policy, Scope};
use crate::human::{self, UNKNOWN};
use crate::pace::Pace;
use crate::terminal;

pub fn job(job: &Job, pace: Option<Pace>) -> String {
    let mut table = Table::new();
    style(&mut table);
    table
        .add_row(["Backfill", &job.id])
        .add_row(["Rule", &job.rule_id])
        .add_row(vec![Cell::new("State"), state(&job.state)])
        .add_row(["Progress", &fraction(job)])
        .add_row(["Objects", &counts(job)])
        .add_row(["Copied", &human::bytes(job.bytes_copied)]);
    if let Some(shards) = &job.shards {
        let done = human::maybe_count(shards.done);
        let total = human::maybe_count(shards.total);
        table.add_row(["Shards", &format!("{done} of {total} done")]);
    }
    if let Some(pace) = pace {
        table.add_row(["Pace", &self::pace(pace)]);
    }
    for (name, at) in [("Started", job.started_at), ("Finished", job.finished_at)] {
        if let Some(at) = at {
            table.add_row([name, &human::instant(at)]);
        }
    }
    table.to_string()
}

/// What stands beside a job's bar: `42.0 %  running, 212.0 objects/s, about 2 min 5 s left`.
pub fn beside_bar(job: &Job, pace: Option<Pace>) -> String {
    let pace = pace.map(|pace| format!(", {}", self::pace(pace)));
    format!(
        "{}  {}{}",
        fraction(job),
        job.state,
        pace.unwrap_or_default()
    )
}

/// What a job has done so far: `4,211 objects (4,100 copied, ...), 87.01 MiB copied`.
pub fn objects(job: &Job) -> String {
    format!("{}, {} copied", counts(job), human::bytes(job.bytes_copied))
}

/// The summary of a comparison.
pub fn tally(tally: &Tally, policy: Policy) -> String {
    let mut table = table(&["", "Objects", "Bytes"]);
    let number = |number: u64| Cell::new(human::count(number)).set_alignment(CellAlignment::Right);
    let size = |size: u64| Cell::new(human::bytes(size)).set_alignment(CellAlignment::Right);
    let extra = match policy {
        Policy::Full => "extra",
        Policy::Write => "extra (policy write keeps them)",
    };
    table.add_row(vec![
        Cell::new("at the source"),
        number(tally.source_objects()),
        size(tally.source_bytes),
    ]);
    table.add_row(vec![
        Cell::new("at the destination"),
        number(tally.destination_objects()),
        size(tally.destination_bytes),
    ]);
    for (name, count) in [
        ("same", tally.same),
        ("missing", tally.missing),
        ("different", tally.different),
        (extra, tally.extra),
    ] {
        table.add_row(vec![Cell::new(name), number(count), Cell::new("")]);
    }
    table.to_string()
}

pub fn differences(tally: &Tally) -> String {
    let mut table = table(&["Key", "Difference", "Source", "Destination"]);
    for difference in &tally.differences {
        let (name, colour) = match difference.kind {
            Kind::Missing => ("missing".to_owned(), Color::Red),
            Kind::Different => (
                format!("different {}", fields(&difference.by)),
                Color::Yellow,
            ),
            Kind::Extra => ("extra".to_owned(), Color::Cyan),
        };
        table.add_row(vec![
            Cell::new(human::key(&difference.key)),
            coloured(&name, colour),
            Cell::new(side(difference, difference.source.as_ref())),
            Cell::new(side(difference, difference.destination.as_ref())),
        ]);
    }
    if tally.differences_left_out == 0 {
        return table.to_string();
    }
    format!(
        "{table}\nand {} more; --max-differences shows more",
        human::count(tally.differences_left_out)
    )
}

/// `photos (us-east-1)`.
pub fn bucket(bucket: &Bucket) -> String {
    format!("{} ({})", bucket.bucket, bucket.region)
}

fn fraction(job: &Job) -> String {
    job.fraction
        .map_or_else(|| UNKNOWN.to_owned(), human::percent)
}

fn counts(job: &Job) -> String {
    let transfers = match job.transfers {
        0 => String::new(),
        transfers => format!(", {} left to transfers", human::count(transfers)),
    };
    format!(
        "{} ({} copied, {} equal, {} gone, {} failed{transfers})",
        human::objects(job.listed),
        human::count(job.copied),
        human::count(job.equal),
        human::count(job.gone),
        human::count(job.failed)
    )
}

fn pace(pace: Pace) -> String {
    let rate = format!("{:.1} objects/s", pace.objects_per_sec);
    match pace.left_ms {
        Some(left_ms) => format!("{rate}, about {} left", human::millis(left_ms)),
        None => rate,
    }
}

fn scope(scope: &Scope, separator: &str) -> String {
    match scope {
        Scope::All => "all objects".to_owned(),
        Scope::Prefixes(prefixes) => prefixes
            .iter()
            .map(|prefix| human::key(prefix))
            .collect::<Vec<_>>()
            .join(separator),
    }
}

fn fields(fields: &[Field]) -> &'static str {
    match fields {
        [Field::Size] => "(size)",
        [Field::Etag] => "(etag)",
        _ => "(size, etag)",
    }
}

fn side(difference: &Difference, side: Option<&Side>) -> String {
    let Some(side) = side else {
        return "-".to_owned();
    };
    let bytes = format!("{} B", human::count(side.size));
    if difference.by.contains(&Field::Etag) {
        format!("{bytes}\n{}", side.etag)
    } else {
        bytes
    }
}

fn state(state: &str) -> Cell {
    let colour = match state {
        "enabled" | "complete" => Color::Green,
        "enabling" | "planning" | "running" => Color::Cyan,
        "paused" | "cancelled" => Color::Yellow,
        _ => Color::Red,
    };
    coloured(state, colour)
}

fn coloured(text: &str, colour: Color) -> Cell {
    let cell = Cell::new(text);
    if terminal::has_colours() {
        cell.fg(colour)
    } else {
        cell
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    style(&mut table);
    table.set_header(header);
    table
}

fn style(table: &mut Table) {
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic);
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;
    use crate::compare::{Listed, Verdict};

    pub fn job() -> Job {
        serde_json::from_value(json!({
            "id": "job-1", "rule_id": "rule-1", "state": "running", "fraction": 0.42,
            "shards": {"total": 16, "done": 5},
            "listed": 4211, "copied": 4100, "equal": 98, "gone": 3, "failed": 10,
            "bytes_copied": 91_234_567,
            "started_at": "2026-11-22T21:00:01.000Z", "finished_at": null
        }))
        .unwrap()
    }

    #[test]
    fn differences_name_their_side_and_field() {
        let object = |key: &str, size, etag: &str| Listed {
            key: key.into(),
            size,
            etag: etag.into(),
        };
        let mut tally = Tally::new(Policy::Full, 3);
        tally.add(Verdict::Missing(object("a\tb", 1000, "1")));
        tally.add(Verdict::AskReplica {
            source: object("c", 2, "abc"),
            destination: object("c", 2, "def"),
        });
        tally.add(Verdict::Extra(object("d", 3, "3")));
        tally.add(Verdict::Extra(object("e", 3, "3")));
        let text = differences(&tally);
        for part in [
            "a\\tb",
            "missing",
            "1,000 B",
            "different (etag)",
            "abc",
            "def",
            "extra",
            "and 1 more",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let summary = self::tally(&tally, Policy::Write);
        assert!(summary.contains("policy write keeps them"), "{summary}");
    }

    #[test]
    fn a_job_shows_its_counts() {
        let text = self::super::job(&job(), None);
        for part in ["42.0 %", "4,211 objects", "5 of 16 done", "87.01 MiB"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("transfers"), "{text}");
        let large = Job {
            transfers: 2,
            ..job()
        };
        let text = self::super::job(&large, None);
        assert!(text.contains("10 failed, 2 left to transfers"), "{text}");
    }
}
