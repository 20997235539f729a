//! Answers as tables and lines of text. No I/O but a look at whether stdout takes colours.

pub mod failures;

use chrono::{DateTime, Utc};
use comfy_table::{
    Cell, CellAlignment, Color, ContentArrangement, Table, presets::UTF8_FULL_CONDENSED,
};

use crate::compare::{Difference, Field, Kind, Side, Tally};
use crate::contract::{
    Backlog, Bucket, Candidate, Destinations, Job, Lag, Live, Policy, Progress, Rule, Scope,
};
use crate::human::{self, UNKNOWN};
use crate::pace::Pace;
use crate::terminal;

/// Characters of a bar drawn as text.
const BAR_WIDTH: usize = 20;

pub fn rules(rules: &[Rule]) -> String {
    let mut table = table(&[
        "Rule",
        "Source",
        "Destination",
        "Scope",
        "Policy",
        "Historical",
        "State",
    ]);
    for rule in rules {
        table.add_row(vec![
            Cell::new(&rule.id),
            Cell::new(bucket(&rule.source)),
            Cell::new(bucket(&rule.destination)),
            Cell::new(scope(&rule.scope, "\n")),
            Cell::new(rule.policy),
            Cell::new(yes_no(rule.historical)),
            state(&rule.state),
        ]);
    }
    table.to_string()
}

pub fn rule(rule: &Rule) -> String {
    let mut table = Table::new();
    style(&mut table);
    let policy = match rule.policy {
        Policy::Full => "full (add, change, delete)",
        Policy::Write => "write (add, change)",
    };
    table
        .add_row(["Rule", &rule.id])
        .add_row(["Source", &bucket(&rule.source)])
        .add_row(["Destination", &bucket(&rule.destination)])
        .add_row(["Scope", &scope(&rule.scope, "\n")])
        .add_row(["Policy", policy])
        .add_row(["Historical", yes_no(rule.historical)])
        .add_row(vec![Cell::new("State"), state(&rule.state)]);
    if let Some(revision) = rule.revision {
        table.add_row(["Revision", &revision.to_string()]);
    }
    for (name, at) in [
        ("Created", rule.created_at),
        ("Updated", rule.updated_at),
        ("Paused", rule.paused_at),
    ] {
        if let Some(at) = at {
            table.add_row([name, &human::instant(at)]);
        }
    }
    table.to_string()
}

pub fn destinations(answer: &Destinations) -> String {
    let regions = if answer.regions.iter().any(|region| region == "*") {
        "any other region".to_owned()
    } else {
        answer.regions.join(", ")
    };
    let head = format!(
        "{} ({}) may be replicated to: {regions}",
        answer.source, answer.source_region
    );
    if answer.buckets.is_empty() {
        return format!("{head}\nThere is no bucket in those regions.");
    }
    let mut table = table(&["Bucket", "Region", "Available"]);
    for candidate in &answer.buckets {
        table.add_row(vec![
            Cell::new(&candidate.bucket),
            Cell::new(candidate.region.as_deref().unwrap_or(UNKNOWN)),
            availability(candidate),
        ]);
    }
    format!("{head}\n{table}")
}

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

/// One rule's progress: what comes before the historical bar, beside it, and after it.
pub struct StatusLines {
    pub head: String,
    pub historical: String,
    pub rest: String,
}

/// `historical` speaks beside a bar that is drawn by whoever shows these lines.
pub fn status_lines(progress: &Progress, pace: Option<Pace>, now: DateTime<Utc>) -> StatusLines {
    let rule = &progress.rule;
    let head = format!(
        "{}  {} -> {}\n  {}, policy {}, {}",
        rule.id,
        bucket(&rule.source),
        bucket(&rule.destination),
        rule.state,
        rule.policy,
        scope(&rule.scope, ", "),
    );
    let historical = progress
        .historical
        .as_ref()
        .map_or_else(|| "no backfill".to_owned(), |job| beside_bar(job, pace));
    let objects = progress.historical.as_ref().map(|job| ("", objects(job)));
    let rest = objects
        .into_iter()
        .chain(live_lines(&progress.live, now))
        .chain([("failures", human::maybe_count(progress.failures))])
        .map(|(name, text)| format!("  {name:<11}{text}"))
        .collect::<Vec<_>>()
        .join("\n");
    StatusLines {
        head,
        historical,
        rest,
    }
}

/// One rule's progress as plain text, bar and all.
pub fn status(progress: &Progress, pace: Option<Pace>, now: DateTime<Utc>) -> String {
    let lines = status_lines(progress, pace, now);
    let bar = progress
        .historical
        .as_ref()
        .map(|job| format!("{}  ", bar(job.fraction.unwrap_or(0.0))))
        .unwrap_or_default();
    format!(
        "{}\n  historical {bar}{}\n{}",
        lines.head, lines.historical, lines.rest
    )
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

fn live_lines(live: &Live, now: DateTime<Utc>) -> Vec<(&'static str, String)> {
    let watermark = live.watermark.map_or_else(
        || UNKNOWN.to_owned(),
        |at| {
            format!(
                "{}: every change before it is replicated",
                human::instant_and_age(at, now)
            )
        },
    );
    let window = live.window_mins.map_or_else(
        || UNKNOWN.to_owned(),
        |mins| format!("in {}", human::millis(mins as f64 * 60_000.0)),
    );
    vec![
        ("watermark", watermark),
        ("backlog", backlog(live.backlog.as_ref())),
        (
            "live",
            format!(
                "{} replicated, {} deleted, {} failed, {} ({window})",
                human::maybe_count(live.replicated),
                human::maybe_count(live.deleted),
                human::maybe_count(live.failed),
                live.bytes
                    .map_or_else(|| format!("{UNKNOWN} bytes"), human::bytes),
            ),
        ),
        ("lag", lag(live.lag_ms.as_ref())),
    ]
}

fn backlog(backlog: Option<&Backlog>) -> String {
    let Some(backlog) = backlog else {
        return UNKNOWN.to_owned();
    };
    format!(
        "put {}, delete {}, work {}, held {}, dead letter {}",
        human::maybe_count(backlog.put),
        human::maybe_count(backlog.delete),
        human::maybe_count(backlog.work),
        human::maybe_count(backlog.held),
        human::maybe_count(backlog.dead_letter),
    )
}

fn lag(lag: Option<&Lag>) -> String {
    match lag {
        Some(lag) if lag.p50.or(lag.p99).or(lag.max).is_some() => format!(
            "p50 {}, p99 {}, max {}",
            human::maybe_millis(lag.p50),
            human::maybe_millis(lag.p99),
            human::maybe_millis(lag.max),
        ),
        _ => UNKNOWN.to_owned(),
    }
}

fn fraction(job: &Job) -> String {
    job.fraction
        .map_or_else(|| UNKNOWN.to_owned(), human::percent)
}

fn counts(job: &Job) -> String {
    format!(
        "{} ({} copied, {} equal, {} gone, {} failed)",
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

fn bar(fraction: f64) -> String {
    // Within 0 and BAR_WIDTH.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let full = (fraction.clamp(0.0, 1.0) * BAR_WIDTH as f64).floor() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR_WIDTH - full))
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

fn availability(candidate: &Candidate) -> Cell {
    match (candidate.available, &candidate.reason) {
        (true, _) => coloured("yes", Color::Green),
        (false, Some(reason)) => Cell::new(format!("no: {reason}")),
        (false, None) => Cell::new("no"),
    }
}

fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
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

    fn a_rule() -> Rule {
        serde_json::from_value(json!({
            "id": "rule-1",
            "source": {"bucket": "photos", "region": "us-east-1"},
            "destination": {"bucket": "photos-replica", "region": "us-west-2"},
            "scope": {"prefixes": ["2025/", "new\nline/"]}, "policy": "full",
            "historical": true, "state": "enabled"
        }))
        .unwrap()
    }

    fn progress(live: serde_json::Value) -> Progress {
        Progress {
            rule: a_rule(),
            historical: Some(job()),
            live: serde_json::from_value(live).unwrap(),
            failures: None,
        }
    }

    fn at() -> DateTime<Utc> {
        "2026-11-22T21:05:00Z".parse().unwrap()
    }

    #[test]
    fn a_status_shows_every_number() {
        let live = json!({
            "watermark": "2026-11-22T21:04:58.000Z",
            "backlog": {"put": 1, "delete": 2, "work": 3, "held": 4, "dead_letter": 5},
            "window_mins": 60, "replicated": 1203, "deleted": 17, "failed": 0, "bytes": 8_123_456,
            "lag_ms": {"p50": 410, "p99": 1900, "max": 2300}
        });
        let pace = Pace {
            objects_per_sec: 212.04,
            left_ms: Some(125_000.0),
        };
        let expected = "\
rule-1  photos (us-east-1) -> photos-replica (us-west-2)
  enabled, policy full, 2025/, new\\nline/
  historical ████████░░░░░░░░░░░░  42.0 %  running, 212.0 objects/s, about 2 min 5 s left
             4,211 objects (4,100 copied, 98 equal, 3 gone, 10 failed), 87.01 MiB copied
  watermark  2026-11-22 21:04:58 UTC (2.0 s ago): every change before it is replicated
  backlog    put 1, delete 2, work 3, held 4, dead letter 5
  live       1,203 replicated, 17 deleted, 0 failed, 7.75 MiB (in 1 h 0 min)
  lag        p50 410 ms, p99 1.9 s, max 2.3 s
  failures   unknown";
        assert_eq!(status(&progress(live), Some(pace), at()), expected);
    }

    #[test]
    fn what_is_not_known_is_said_to_be_unknown_and_never_zero() {
        let mut progress = progress(json!({"lag_ms": {"p50": null, "p99": null, "max": null}}));
        progress.historical = None;
        let text = status(&progress, None, at());
        assert!(text.contains("historical no backfill"), "{text}");
        assert!(text.contains("watermark  unknown"), "{text}");
        assert!(text.contains("lag        unknown"), "{text}");
        let (_, numbers) = text.split_once("watermark").unwrap();
        assert!(!numbers.contains('0'), "{text}");
    }

    #[test]
    fn bars_are_full_only_at_the_end() {
        assert_eq!(bar(0.0).matches('█').count(), 0);
        assert_eq!(bar(0.999).matches('█').count(), BAR_WIDTH - 1);
        assert_eq!(bar(1.0).matches('█').count(), BAR_WIDTH);
        assert_eq!(bar(f64::NAN).chars().count(), BAR_WIDTH);
    }

    #[test]
    fn rules_and_destinations_are_tables() {
        let text = rules(&[a_rule()]);
        for part in [
            "rule-1",
            "photos (us-east-1)",
            "2025/",
            "new\\nline/",
            "enabled",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let answer: Destinations = serde_json::from_value(json!({
            "source": "photos", "source_region": "us-east-1", "regions": ["*"],
            "buckets": [{"bucket": "x", "region": "us-east-2", "available": false,
                         "reason": "it is in use"}]
        }))
        .unwrap();
        let text = destinations(&answer);
        assert!(
            text.contains("any other region") && text.contains("no: it is in use"),
            "{text}"
        );
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
    }
}
