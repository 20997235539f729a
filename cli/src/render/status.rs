//! A rule's progress as lines of text, and its transfers as a table. No I/O.

use chrono::{DateTime, Utc};
use comfy_table::{Cell, CellAlignment};

use super::job::{beside_bar, objects, reconciliation};
use super::{bucket, scope, table};
use crate::contract::{Backlog, Lag, Live, Progress, Transfer, Transfers};
use crate::human::{self, UNKNOWN};
use crate::rate::Rate;

/// The width of a bar drawn as text, in characters.
const BAR_WIDTH: usize = 20;

/// One rule's progress: the text before the historical bar, beside it, and after it.
pub struct StatusLines {
    pub head: String,
    pub historical: String,
    pub rest: String,
}

/// Renders a rule's progress. The caller draws the bar beside which `historical` stands.
pub fn status_lines(progress: &Progress, rate: Option<Rate>, now: DateTime<Utc>) -> StatusLines {
    let rule = &progress.rule;
    let head = format!(
        "{}  {} -> {}\n  {}, policy {}, {}{}",
        rule.id,
        bucket(&rule.source),
        bucket(&rule.destination),
        rule.state,
        rule.policy,
        scope(&rule.scope, ", "),
        notified_by(rule.notified_by.as_deref()),
    );
    let historical = progress
        .historical
        .as_ref()
        .map_or_else(|| "no backfill".to_owned(), |job| beside_bar(job, rate));
    let objects = progress.historical.as_ref().map(|job| ("", objects(job)));
    let rest = objects
        .into_iter()
        .chain(live_lines(&progress.live, now))
        .chain(transfers_line(&progress.transfers).map(|text| ("transfers", text)))
        .chain([("failures", human::maybe_count(progress.failures))])
        .chain(reconciled(progress, now).map(|text| ("reconciled", text)))
        .map(|(name, text)| format!("  {name:<11}{text}"))
        .collect::<Vec<_>>()
        .join("\n");
    StatusLines {
        head,
        historical,
        rest,
    }
}

/// Returns how the source reports changes, unless it is the usual way.
fn notified_by(by: Option<&str>) -> String {
    match by {
        None | Some("bucket") => String::new(),
        Some(by) => format!(", notified by {}", super::rules::notified_by(by)),
    }
}

/// Renders one rule's progress as plain text, with the bar.
pub fn status(progress: &Progress, rate: Option<Rate>, now: DateTime<Utc>) -> String {
    let lines = status_lines(progress, rate, now);
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

fn live_lines(live: &Live, now: DateTime<Utc>) -> Vec<(&'static str, String)> {
    let watermark = live.watermark.map_or_else(
        || UNKNOWN.to_owned(),
        |at| {
            format!(
                "{}: every change received before it is replicated or listed as failed",
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
        "put {}, delete {}, work {}, part {}, deferred {}, dead letter {}",
        human::maybe_count(backlog.put),
        human::maybe_count(backlog.delete),
        human::maybe_count(backlog.work),
        human::maybe_count(backlog.part),
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

/// Renders the newest scheduled job, or that a scheduled rule has had none yet.
fn reconciled(progress: &Progress, now: DateTime<Utc>) -> Option<String> {
    let often = progress.rule.options.reconcile.as_str();
    match &progress.reconciliation {
        Some(job) => Some(format!("{often}; {}", reconciliation(job, now))),
        None if often == "never" => None,
        None => Some(format!("{often}; not yet")),
    }
}

/// Renders transfers in one line, if there are any: `2, 30.0 % of 40.00 GiB copied`.
fn transfers_line(transfers: &Transfers) -> Option<String> {
    if transfers.count == 0 {
        return None;
    }
    let sum = |bytes: fn(&Transfer) -> u64| transfers.shown.iter().map(bytes).sum::<u64>();
    let (all, copied) = (
        sum(|transfer| transfer.bytes),
        sum(|transfer| transfer.bytes_copied),
    );
    let more = if transfers.count > transfers.shown.len() as u64 {
        format!(" (of the first {})", transfers.shown.len())
    } else {
        String::new()
    };
    Some(format!(
        "{}, {} of {} copied{more}",
        human::count(transfers.count),
        share(copied, all),
        human::bytes(all)
    ))
}

/// Renders the objects that many invocations copy, one per row; `None` if there are none.
pub fn transfers(transfers: &Transfers, now: DateTime<Utc>) -> Option<String> {
    if transfers.shown.is_empty() {
        return None;
    }
    let mut table = table(&[
        "Large object",
        "Copied",
        "Of",
        "",
        "Started",
        "Last progress",
    ]);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    for transfer in &transfers.shown {
        table.add_row(vec![
            Cell::new(human::key(&transfer.key)),
            right(human::bytes(transfer.bytes_copied)),
            right(human::bytes(transfer.bytes)),
            right(share(transfer.bytes_copied, transfer.bytes)),
            Cell::new(human::age(transfer.started_at, now)),
            Cell::new(human::age(transfer.progressed_at, now)),
        ]);
    }
    let left_out = transfers.count.saturating_sub(transfers.shown.len() as u64);
    if left_out == 0 {
        return Some(table.to_string());
    }
    Some(format!("{table}\nand {} more", human::count(left_out)))
}

fn share(copied: u64, all: u64) -> String {
    human::percent(if all == 0 {
        0.0
    } else {
        copied as f64 / all as f64
    })
}

fn bar(fraction: f64) -> String {
    // The value is between 0 and BAR_WIDTH.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let full = (fraction.clamp(0.0, 1.0) * BAR_WIDTH as f64).floor() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR_WIDTH - full))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::job::tests::job;
    use crate::render::rules::tests::a_rule;

    fn progress(live: serde_json::Value) -> Progress {
        Progress {
            rule: a_rule(),
            historical: Some(job()),
            live: serde_json::from_value(live).unwrap(),
            failures: None,
            transfers: Transfers::default(),
            reconciliation: None,
        }
    }

    fn at() -> DateTime<Utc> {
        "2026-11-22T21:05:00Z".parse().unwrap()
    }

    #[test]
    fn a_status_shows_every_number() {
        let live = json!({
            "watermark": "2026-11-22T21:04:58.000Z",
            "backlog": {"put": 1, "delete": 2, "work": 3, "part": 6, "held": 4, "dead_letter": 5},
            "window_mins": 60, "replicated": 1203, "deleted": 17, "failed": 0, "bytes": 8_123_456,
            "lag_ms": {"p50": 410, "p99": 1900, "max": 2300}
        });
        let rate = Rate {
            objects_per_sec: 212.04,
            left_ms: Some(125_000.0),
        };
        let expected = "\
rule-1  photos (us-east-1) -> photos-replica (us-west-2)
  enabled, policy full, 2025/, new\\nline/
  historical ████████░░░░░░░░░░░░  42.0 %  running, 212.0 objects/s, about 2 min 5 s left
             4,211 objects (4,100 copied, 98 equal, 3 gone, 10 failed), 87.01 MiB copied
  watermark  2026-11-22 21:04:58 UTC (2.0 s ago): every change received before it is replicated or listed as failed
  backlog    put 1, delete 2, work 3, part 6, deferred 4, dead letter 5
  live       1,203 replicated, 17 deleted, 0 failed, 7.75 MiB (in 1 h 0 min)
  lag        p50 410 ms, p99 1.9 s, max 2.3 s
  failures   unknown";
        assert_eq!(status(&progress(live), Some(rate), at()), expected);
    }

    #[test]
    fn an_unknown_number_is_shown_as_unknown_and_never_as_zero() {
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
    fn a_reconciliation_is_shown_if_there_is_one_or_the_rule_has_a_schedule() {
        let mut progress = progress(json!({}));
        let text = |progress: &Progress| status(progress, None, at());
        assert!(!text(&progress).contains("reconciled"));
        progress.rule.options.reconcile = "weekly".into();
        assert!(text(&progress).ends_with("  reconciled weekly; not yet"));
        progress.reconciliation = Some(job());
        let shown = text(&progress);
        assert!(
            shown.contains("reconciled weekly; running (42.0 %), started"),
            "{shown}"
        );
    }

    #[test]
    fn bars_are_full_only_at_the_end() {
        assert_eq!(bar(0.0).matches('█').count(), 0);
        assert_eq!(bar(0.999).matches('█').count(), BAR_WIDTH - 1);
        assert_eq!(bar(1.0).matches('█').count(), BAR_WIDTH);
        assert_eq!(bar(f64::NAN).chars().count(), BAR_WIDTH);
    }

    #[test]
    fn transfers_are_summed_up_and_listed() {
        let transfer = |key: &str, copied: u64| {
            json!({"id": "transfer-1", "key": key, "bytes": 8_u64 << 30, "bytes_copied": copied << 30,
                   "parts": 100, "started_at": "2026-11-22T20:05:00.000Z",
                   "progressed_at": "2026-11-22T21:04:58.000Z"})
        };
        let both = [transfer("a\tb", 2), transfer("c", 4)];
        let found: Transfers = serde_json::from_value(json!({"count": 3, "shown": both})).unwrap();
        assert_eq!(
            transfers_line(&found).unwrap(),
            "3, 37.5 % of 16.00 GiB copied (of the first 2)"
        );
        let text = transfers(&found, at()).unwrap();
        for part in [
            "a\\tb",
            "2.00 GiB",
            "8.00 GiB",
            "25.0 %",
            "50.0 %",
            "1 h 0 min ago",
            "2.0 s ago",
            "and 1 more",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(transfers_line(&Transfers::default()).is_none());
        assert!(transfers(&Transfers::default(), at()).is_none());
    }
}
