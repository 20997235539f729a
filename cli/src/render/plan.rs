//! The plan and the cost of a backfill, as tables. No I/O.

use chrono::NaiveDate;
use comfy_table::{Cell, CellAlignment, Table};

use super::{bucket, table};
use crate::compare::Listed;
use crate::contract::{Overwrite, Rule};
use crate::estimate::{self, Estimate, Work};
use crate::human::{self, UNKNOWN};
use crate::survey::{ClassLoad, Example, Newer, Survey, Volume};

/// Renders what was found, and what each choice of `--overwrite` would do.
pub fn plan(rule: &Rule, survey: &Survey, chosen: Overwrite) -> String {
    let mut parts = vec![
        format!("{} -> {}", bucket(&rule.source), bucket(&rule.destination)),
        found(survey, chosen),
        ways(survey, chosen),
    ];
    if !survey.examples.is_empty() {
        parts.push(examples(survey));
    }
    if survey.archived.objects > 0 {
        parts.push(format!(
            "{} archived at the source cannot be copied before being restored. A backfill copies \
             restored objects.",
            human::objects(survey.archived.objects)
        ));
    }
    parts.join("\n")
}

fn found(survey: &Survey, chosen: Overwrite) -> String {
    let mut table = table(&["", "Objects", "Bytes"]);
    let copy = survey.load(chosen).total();
    let whole = Volume {
        objects: copy.objects - copy.in_parts,
        bytes: 0,
    };
    let all_different = survey.load(Overwrite::Always).total();
    let missing = survey.missing.total();
    row(&mut table, "at the source", survey.source);
    row(&mut table, "at the destination", survey.destination);
    row(&mut table, "equal already", survey.equal);
    row(&mut table, "missing at the destination", volume(&missing));
    let different = Volume {
        objects: all_different.objects - missing.objects,
        bytes: all_different.bytes - missing.bytes,
    };
    row(&mut table, "same name, but different", different);
    row(&mut table, "archived, cannot be copied", survey.archived);
    row(&mut table, "only at the destination, stay", survey.extra);
    row(
        &mut table,
        &format!("to copy (--overwrite {})", chosen.word()),
        volume(&copy),
    );
    for (name, objects) in [
        ("  by one request each", whole.objects),
        ("  in parts", copy.in_parts),
    ] {
        table.add_row(vec![Cell::new(name), number(objects), Cell::new("")]);
    }
    if copy.transfers > 0 {
        let transfers = Volume {
            objects: copy.transfers,
            bytes: copy.transfer_bytes,
        };
        row(&mut table, "  of them transfers", transfers);
    }
    table.to_string()
}

fn ways(survey: &Survey, chosen: Overwrite) -> String {
    let mut table = table(&["--overwrite", "Copies", "Bytes", "Replaces", "Leaves"]);
    for way in Overwrite::ALL {
        let load = survey.load(way).total();
        let replaced = survey.replaced(way);
        let mark = if way == chosen { " *" } else { "" };
        table.add_row(vec![
            Cell::new(format!("{}{mark}", way.word())),
            number(load.objects),
            right(human::bytes(load.bytes)),
            number(replaced),
            number(survey.different() - replaced),
        ]);
    }
    table.to_string()
}

fn examples(survey: &Survey) -> String {
    let mut table = table(&["Same name, but different", "Newer", "Source", "Destination"]);
    for Example {
        source,
        destination,
        newer,
    } in &survey.examples
    {
        let newer = match newer {
            Newer::Source => "source",
            Newer::Destination => "destination",
            Newer::Neither => "neither",
        };
        table.add_row(vec![
            Cell::new(human::key(&source.key)),
            Cell::new(newer),
            Cell::new(side(source)),
            Cell::new(side(destination)),
        ]);
    }
    match survey.examples_left_out {
        0 => table.to_string(),
        more => format!(
            "{table}\nand {} more; --examples shows more",
            human::count(more)
        ),
    }
}

fn side(listed: &Listed) -> String {
    let modified = listed
        .modified_at
        .map_or_else(|| UNKNOWN.to_owned(), human::instant);
    format!(
        "{} B\n{}\n{modified}",
        human::count(listed.size),
        listed.etag
    )
}

/// Renders the cost and the time of a backfill, and the assumptions behind them.
pub fn estimate(estimate: &Estimate, work: &Work, as_of: NaiveDate) -> String {
    let mut table = table(&["Once", "Quantity", "", "USD"]);
    for line in &estimate.lines {
        table.add_row(vec![
            Cell::new(&line.what),
            right(quantity(line.quantity)),
            Cell::new(line.unit),
            right(usd(line.usd)),
        ]);
    }
    table.add_row(vec![
        Cell::new("in all"),
        Cell::new(""),
        Cell::new(""),
        right(usd(estimate.usd)),
    ]);
    let mut lines = vec![
        table.to_string(),
        format!(
            "Storage of the copies: {} USD per month; the storage of replaced objects is not subtracted.",
            usd(estimate.storage_usd_per_month)
        ),
        format!(
            "Time: about {} ({}).",
            human::millis(estimate.secs * 1000.0),
            estimate::assumptions(work)
        ),
        format!(
            "Prices: AWS's public prices as of {as_of}, without free tiers, discounts and taxes."
        ),
    ];
    lines.extend(estimate.notes.iter().map(|note| format!("Note: {note}.")));
    lines.join("\n")
}

/// Renders USD as `12.34`; less than a cent keeps its first two significant digits.
fn usd(usd: f64) -> String {
    if usd == 0.0 {
        return "0.00".to_owned();
    }
    if usd >= 0.01 {
        return with_thousands(usd, 2);
    }
    // Between 3 and 9 digits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let digits = (1.0 - usd.log10().floor()).clamp(3.0, 9.0) as usize;
    let text = format!("{usd:.digits$}");
    if text.ends_with('0') && text.trim_matches(['0', '.']).is_empty() {
        return "under 0.000000001".to_owned();
    }
    text
}

fn quantity(quantity: f64) -> String {
    if quantity >= 100.0 || quantity.fract() == 0.0 {
        with_thousands(quantity, 0)
    } else {
        format!("{quantity:.3}")
    }
}

fn with_thousands(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let whole = whole
        .parse()
        .map_or_else(|_| whole.to_owned(), human::count);
    if rest.is_empty() {
        whole
    } else {
        format!("{whole}.{rest}")
    }
}

fn volume(load: &ClassLoad) -> Volume {
    Volume {
        objects: load.objects,
        bytes: load.bytes,
    }
}

fn row(table: &mut Table, name: &str, volume: Volume) {
    table.add_row(vec![
        Cell::new(name),
        number(volume.objects),
        right(human::bytes(volume.bytes)),
    ]);
}

fn number(number: u64) -> Cell {
    right(human::count(number))
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Verdict;
    use crate::estimate::Line;
    use crate::render::rules::tests::a_rule;
    use crate::survey::tests::{different, object};

    fn survey() -> Survey {
        let plain = |key: &str, at| object(key, 1000, "e", "STANDARD", at);
        let mut survey = Survey::new(1);
        survey.add(Verdict::Missing(object(
            "a",
            8 << 30,
            "e-1024",
            "STANDARD",
            0,
        )));
        survey.add(Verdict::Missing(object("b", 7, "e", "GLACIER", 0)));
        survey.add(different(plain("c\n", 5), plain("c\n", 4)));
        survey.add(different(plain("d", 5), plain("d", 6)));
        survey.add(Verdict::Extra(plain("e", 0)));
        survey
    }

    /// The numbers of a row, by its name.
    fn numbers(text: &str, name: &str) -> Vec<String> {
        let line = text.lines().find(|line| line.contains(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
        let cells = line.split(['│', '┆']).map(|cell| cell.trim().to_owned());
        cells.skip(2).filter(|cell| !cell.is_empty()).collect()
    }

    #[test]
    fn a_plan_shows_what_was_found_and_what_each_overwrite_mode_would_do() {
        let text = plan(&a_rule(), &survey(), Overwrite::IfOlder);
        assert_eq!(numbers(&text, "at the source "), ["4", "8.00 GiB"]);
        assert_eq!(
            numbers(&text, "same name, but different"),
            ["2", "1.95 KiB"]
        );
        assert_eq!(numbers(&text, "archived, cannot"), ["1", "7 B"]);
        assert_eq!(numbers(&text, "only at the destination"), ["1", "1000 B"]);
        assert_eq!(numbers(&text, "to copy (--overwrite if-older)")[0], "2");
        assert_eq!(numbers(&text, "by one request each"), ["1"]);
        assert_eq!(numbers(&text, "of them transfers"), ["1", "8.00 GiB"]);
        assert_eq!(numbers(&text, " always ")[2..], ["2", "0"]);
        assert_eq!(numbers(&text, " if-older *")[2..], ["1", "1"]);
        assert_eq!(numbers(&text, " never ")[2..], ["0", "2"]);
        for part in [
            "c\\n",
            "1,000 B",
            "source",
            "and 1 more",
            "1 object archived",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn an_estimate_shows_its_lines_and_assumptions() {
        let found = Estimate {
            lines: vec![Line {
                what: "S3 LIST".into(),
                quantity: 3060.0,
                unit: "requests",
                usd: 0.0153,
            }],
            usd: 1234.5,
            storage_usd_per_month: 0.0002,
            secs: 125.0,
            notes: vec!["mars-1 is not known".into()],
        };
        let work = Work {
            source_region: "a".into(),
            destination_region: "b".into(),
            source_keys: 0,
            destination_keys: 0,
            prefixes: 1,
            pages_with_copies: 0,
            different: 0,
            load: survey().missing,
            storage_class: None,
            reads_per_copy: 0,
            concurrency: 7,
            objects_per_sec: None,
        };
        let as_of = NaiveDate::from_ymd_opt(2025, 10, 28).unwrap();
        let text = estimate(&found, &work, as_of);
        for part in [
            "3,060",
            "1,234.50",
            "0.00020 USD per month",
            "2 min 5 s",
            "7 shards at once",
            "2025-10-28",
            "Note: mars-1 is not known.",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn small_amounts_are_not_shown_as_zero() {
        let shown = [
            (0.0, "0.00"),
            (12.345, "12.35"),
            (0.01, "0.01"),
            (0.0049, "0.0049"),
            (0.000_000_2, "0.00000020"),
            (1e-12, "under 0.000000001"),
        ];
        for (amount, expected) in shown {
            assert_eq!(usd(amount), expected);
        }
    }
}
