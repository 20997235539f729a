//! Answers as tables and lines of text. No I/O, except that it checks whether stdout takes colours.

pub mod failures;
pub mod import;
pub mod job;
pub mod plan;
pub mod rules;
pub mod status;

use comfy_table::{
    Cell, CellAlignment, Color, ContentArrangement, Table, presets::UTF8_FULL_CONDENSED,
};

use crate::compare::{Difference, Field, Kind, Side, Summary};
use crate::contract::{Bucket, Policy, Scope};
use crate::human;
use crate::terminal;

/// Renders the summary of a comparison.
pub fn summary(summary: &Summary, policy: Policy) -> String {
    let mut table = table(&["", "Objects", "Bytes"]);
    let number = |number: u64| Cell::new(human::count(number)).set_alignment(CellAlignment::Right);
    let size = |size: u64| Cell::new(human::bytes(size)).set_alignment(CellAlignment::Right);
    let extra = match policy {
        Policy::Full => "extra",
        Policy::Write => "extra (policy write keeps them)",
    };
    table.add_row(vec![
        Cell::new("at the source"),
        number(summary.source_objects()),
        size(summary.source_bytes),
    ]);
    table.add_row(vec![
        Cell::new("at the destination"),
        number(summary.destination_objects()),
        size(summary.destination_bytes),
    ]);
    for (name, count) in [
        ("same", summary.same),
        ("missing", summary.missing),
        ("different", summary.different),
        (extra, summary.extra),
        ("not compared", summary.not_compared),
    ]
    .into_iter()
    .filter(|(name, count)| *name != "not compared" || *count > 0)
    {
        table.add_row(vec![Cell::new(name), number(count), Cell::new("")]);
    }
    table.to_string()
}

pub fn differences(summary: &Summary) -> String {
    let mut table = table(&["Key", "Difference", "Source", "Destination"]);
    for difference in &summary.differences {
        let (name, colour) = match difference.kind {
            Kind::Missing => ("missing".to_owned(), Color::Red),
            Kind::Different => (
                format!("different {}", fields(&difference.by)),
                Color::Yellow,
            ),
            Kind::Extra => ("extra".to_owned(), Color::Cyan),
            Kind::NotCompared => {
                let problem = difference.problem.as_deref().unwrap_or_default();
                (format!("not compared: {}", human::key(problem)), Color::Red)
            }
        };
        table.add_row(vec![
            Cell::new(human::key(&difference.key)),
            coloured(&name, colour),
            Cell::new(side(difference, difference.source.as_ref())),
            Cell::new(side(difference, difference.destination.as_ref())),
        ]);
    }
    if summary.differences_left_out == 0 {
        return table.to_string();
    }
    format!(
        "{table}\nand {} more; --max-differences shows more",
        human::count(summary.differences_left_out)
    )
}

/// `photos (us-east-1)`.
pub fn bucket(bucket: &Bucket) -> String {
    format!("{} ({})", bucket.bucket, bucket.region)
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
mod tests {
    use super::*;
    use crate::compare::{Listed, Verdict};

    #[test]
    fn differences_name_their_side_and_field() {
        let object = |key: &str, size, etag: &str| Listed {
            key: key.into(),
            size,
            etag: etag.into(),
            modified_at: None,
            storage_class: "STANDARD".into(),
        };
        let mut summary = Summary::new(Policy::Full, 3);
        summary.add(Verdict::Missing(object("a\tb", 1000, "1")));
        summary.add(Verdict::AskReplica {
            source: object("c", 2, "abc"),
            destination: object("c", 2, "def"),
        });
        summary.add(Verdict::Extra(object("d", 3, "3")));
        summary.add(Verdict::Extra(object("e", 3, "3")));
        let text = differences(&summary);
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
        let summary = self::summary(&summary, Policy::Write);
        assert!(summary.contains("policy write keeps them"), "{summary}");
    }
}
