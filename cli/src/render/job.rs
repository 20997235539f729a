//! Jobs as tables and lines of text. No I/O.

use chrono::{DateTime, Utc};
use comfy_table::{Cell, CellAlignment, Table};

use super::{state, style, table};
use crate::contract::Job;
use crate::human::{self, UNKNOWN};
use crate::rate::Rate;

pub fn job(job: &Job, rate: Option<Rate>) -> String {
    let mut table = Table::new();
    style(&mut table);
    table
        .add_row([kind(&job.kind), &job.id])
        .add_row(["Rule", &job.rule_id]);
    for (name, text) in asked_for(job) {
        table.add_row([name, &text]);
    }
    table.add_row(vec![Cell::new("State"), state(&job.state)]);
    if let Some(error) = &job.error {
        table.add_row(["Error", error]);
    }
    if let Some(warning) = &job.warning {
        table.add_row(["Warning", warning]);
    }
    if let Some(since) = job.stalled_since {
        table.add_row(["Stalled", &stalled(since)]);
    }
    table
        .add_row(["Progress", &fraction(job)])
        .add_row(["Objects", &counts(job)]);
    if let Some(extras) = extras(job) {
        table.add_row(["Extra", &extras]);
    }
    if job.kind != "verify" {
        table.add_row(["Copied", &human::bytes(job.bytes_copied)]);
    }
    if let Some(shards) = &job.shards {
        let done = human::maybe_count(shards.done);
        let total = human::maybe_count(shards.total);
        table.add_row(["Shards", &format!("{done} of {total} done")]);
    }
    if let Some(requests) = job.s3_requests {
        table.add_row(["S3 requests", &human::count(requests)]);
    }
    if let Some(rate) = rate {
        table.add_row(["Rate", &self::rate(rate)]);
    }
    for (name, at) in [("Started", job.started_at), ("Finished", job.finished_at)] {
        if let Some(at) = at {
            table.add_row([name, &human::instant(at)]);
        }
    }
    table.to_string()
}

/// Renders a rule's jobs, one per row.
pub fn jobs(jobs: &[Job]) -> String {
    let mut table = table(&[
        "Job", "Kind", "State", "Started", "Objects", "Done", "Failed",
    ]);
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    for job in jobs {
        let kind = if job.scheduled {
            format!("{} (scheduled)", job.kind)
        } else {
            job.kind.clone()
        };
        let started = job
            .started_at
            .map_or_else(|| UNKNOWN.to_owned(), human::instant);
        table.add_row(vec![
            Cell::new(&job.id),
            Cell::new(kind),
            state(&job.state),
            Cell::new(started),
            right(human::count(job.listed)),
            right(fraction(job)),
            right(human::count(job.failed)),
        ]);
    }
    table.to_string()
}

/// Renders the text beside a job's bar: `42.0 %  running, 212.0 objects/s, about 2 min 5 s left`.
pub fn beside_bar(job: &Job, rate: Option<Rate>) -> String {
    let rate = rate.map(|rate| format!(", {}", self::rate(rate)));
    let stalled = job
        .stalled_since
        .map(|since| format!(", stalled {}", self::stalled(since)));
    format!(
        "{}  {}{}{}",
        fraction(job),
        job.state,
        rate.unwrap_or_default(),
        stalled.unwrap_or_default()
    )
}

/// Renders what a job has done so far: `4,211 objects (4,100 copied, ...), 87.01 MiB copied`.
pub fn objects(job: &Job) -> String {
    let extras = extras(job).map(|extras| format!(", {extras}"));
    let copied = if job.kind == "verify" {
        String::new()
    } else {
        format!(", {} copied", human::bytes(job.bytes_copied))
    };
    format!("{}{copied}{}", counts(job), extras.unwrap_or_default())
}

/// Renders the state of the newest scheduled job: `complete 2026-11-22 21:04:58 UTC (4.0 s ago): ...`.
pub fn reconciliation(job: &Job, now: DateTime<Utc>) -> String {
    let at = job.finished_at.or(job.started_at);
    let at = at.map_or_else(|| UNKNOWN.to_owned(), |at| human::instant_and_age(at, now));
    let state = if job.is_finished() {
        job.state.clone()
    } else {
        format!("{} ({}), started", job.state, fraction(job))
    };
    let error = job.error.as_ref().map(|error| format!("; {error}"));
    let stalled = job
        .stalled_since
        .map(|since| format!("; stalled {}", self::stalled(since)));
    format!(
        "{state} {at}: {}{}{}",
        objects(job),
        error.unwrap_or_default(),
        stalled.unwrap_or_default()
    )
}

fn stalled(since: DateTime<Utc>) -> String {
    format!(
        "since {}; Tandem continues it within the hour",
        human::instant(since)
    )
}

/// Returns the job's options that are not the defaults.
fn asked_for(job: &Job) -> Vec<(&'static str, String)> {
    let overwrite = job.overwrite.as_deref().filter(|way| *way != "always");
    let prefix = job.prefix.as_deref().map(human::key);
    let rate = job
        .objects_per_sec
        .map(|rate| format!("at most {rate} objects/s"));
    let concurrency = job
        .concurrency
        .map(|shards| format!("at most {} shards at once", human::count(shards)));
    [
        (
            "Started by",
            job.scheduled.then(|| "the rule's schedule".to_owned()),
        ),
        ("Overwrite", overwrite.map(str::to_owned)),
        ("Prefix", prefix),
        ("Manifest", job.manifest.clone()),
        ("Keys", job.keys.clone().filter(|keys| keys != "encoded")),
        ("Limit", rate),
        ("Concurrency", concurrency),
        ("Report", job.report.clone()),
    ]
    .into_iter()
    .filter_map(|(name, text)| text.map(|text| (name, text)))
    .collect()
}

fn kind(kind: &str) -> &'static str {
    match kind {
        "backfill" => "Backfill",
        "verify" => "Verification",
        "repair" => "Repair",
        _ => "Job",
    }
}

fn fraction(job: &Job) -> String {
    job.fraction
        .map_or_else(|| UNKNOWN.to_owned(), human::percent)
}

/// Renders the counts of a job. Those that fit its kind are always shown, the others only if they are not 0.
fn counts(job: &Job) -> String {
    let copies = job.kind != "verify";
    let counts = [
        (job.copied, copies, "copied"),
        (job.equal, true, "equal"),
        (job.missing, !copies, "missing"),
        (job.different, !copies, "different"),
        (job.kept, false, "kept"),
        (job.gone, copies, "gone"),
        (job.failed, copies, "failed"),
        (job.transfers, false, "left to transfers"),
    ]
    .into_iter()
    .filter(|(count, always, _)| *always || *count > 0)
    .map(|(count, _, what)| format!("{} {what}", human::count(count)))
    .collect::<Vec<_>>();
    format!("{} ({})", human::objects(job.listed), counts.join(", "))
}

/// Renders `5 extra, 3 deleted, 1 failed`, if there are any.
fn extras(job: &Job) -> Option<String> {
    let some = |count: u64, what: &str| match count {
        0 => String::new(),
        count => format!(", {} {what}", human::count(count)),
    };
    let (deleted, failed) = (
        some(job.deleted, "deleted"),
        some(job.extra_failed, "failed"),
    );
    (job.extra > 0).then(|| format!("{} extra{deleted}{failed}", human::count(job.extra)))
}

fn rate(rate: Rate) -> String {
    let per_sec = format!("{:.1} objects/s", rate.objects_per_sec);
    match rate.left_ms {
        Some(left_ms) => format!("{per_sec}, about {} left", human::millis(left_ms)),
        None => per_sec,
    }
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;

    /// A job as an older stack returns it.
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

    fn repair() -> Job {
        serde_json::from_value(json!({
            "id": "job-2", "rule_id": "rule-1", "kind": "repair", "overwrite": null,
            "prefix": "a\n/", "manifest": null, "report": "s3://reports/photos/",
            "objects_per_sec": 200.5, "concurrency": 4, "deletes_max": 3, "scheduled": true,
            "state": "failed", "error": "shard 3: no such bucket", "fraction": 0.9, "shards": null,
            "listed": 120, "copied": 7, "equal": 112, "kept": 0, "gone": 0, "failed": 0,
            "transfers": 1, "missing": 0, "different": 0, "extra": 5, "deleted": 3,
            "bytes_copied": 1024, "s3_requests": 4300,
            "started_at": "2026-11-22T21:00:01.000Z", "finished_at": "2026-11-22T21:04:58.000Z"
        }))
        .unwrap()
    }

    #[test]
    fn a_job_shows_its_counts_and_only_those_options_that_are_set() {
        let text = self::super::job(&job(), None);
        for part in [
            "Backfill",
            "42.0 %",
            "4,211 objects",
            "5 of 16 done",
            "87.01 MiB",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        for part in [
            "transfers",
            "kept",
            "missing",
            "Extra",
            "Error",
            "Prefix",
            "Overwrite",
        ] {
            assert!(!text.contains(part), "{part} in\n{text}");
        }
        let large = Job {
            transfers: 2,
            kept: 5,
            ..job()
        };
        let text = objects(&large);
        assert!(
            text.contains("98 equal, 5 kept, 3 gone, 10 failed, 2 left to transfers"),
            "{text}"
        );
    }

    #[test]
    fn a_repair_shows_its_options_and_why_it_failed() {
        let stalled = Job {
            extra_failed: 2,
            stalled_since: Some("2026-11-22T20:00:00Z".parse().unwrap()),
            ..repair()
        };
        let text = self::super::job(&stalled, None);
        for part in [
            "Repair",
            "failed",
            "shard 3: no such bucket",
            "a\\n/",
            "s3://reports/photos/",
            "200.5 objects/s",
            "4 shards",
            "5 extra, 3 deleted, 2 failed",
            "4,300",
            "schedule",
            "since 2026-11-22 20:00:00 UTC",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        let listed = jobs(&[repair(), job()]);
        assert!(listed.contains("repair (scheduled)"), "{listed}");
    }

    #[test]
    fn a_verification_counts_what_it_found_and_copies_nothing() {
        let verify = Job {
            kind: "verify".into(),
            copied: 0,
            missing: 2,
            different: 0,
            ..repair()
        };
        assert_eq!(
            objects(&verify),
            "120 objects (112 equal, 2 missing, 0 different, 1 left to transfers), 5 extra, 3 deleted"
        );
        assert!(!self::super::job(&verify, None).contains("Copied"));
    }

    #[test]
    fn a_reconciliation_shows_its_state_time_and_counts() {
        let now = "2026-11-22T21:05:00Z".parse().unwrap();
        assert_eq!(
            reconciliation(&repair(), now),
            "failed 2026-11-22 21:04:58 UTC (2.0 s ago): 120 objects (7 copied, 112 equal, 0 gone, \
             0 failed, 1 left to transfers), 1.00 KiB copied, 5 extra, 3 deleted; \
             shard 3: no such bucket"
        );
        let running = reconciliation(&job(), now);
        assert!(
            running.starts_with("running (42.0 %), started 2026-11-22"),
            "{running}"
        );
    }
}
