//! Waits until every change of the source has been replicated, and names what has not. I/O: runs the
//! `tandem` command.

use std::time::{Duration, Instant};

use crate::console::{self, Meter};
use crate::error::Error;
use crate::tandem_command::{Backlog, Comparison, Status, Tandem};

/// The time between two checks.
const PAUSE: Duration = Duration::from_millis(300);
/// The demo gives up after this many checks in a row with failed objects and an empty backlog.
const FAILURE_LOOKS: u32 = 5;
/// The number of differences that are named.
const NAMED_MAX: usize = 5;

/// Waits for one rule.
#[derive(Debug)]
pub struct Settling<'a> {
    /// The command.
    pub tandem: &'a Tandem,
    /// The rule.
    pub rule: &'a str,
    /// The longest wait.
    pub timeout: Duration,
    /// Dead letters that existed before the demo began, perhaps of another rule.
    pub dead_before: u64,
}

impl Settling<'_> {
    /// Waits until the backlog is empty and both buckets contain the same `objects` objects. Returns
    /// how long that took.
    pub async fn until_equal(&self, objects: usize) -> Result<Duration, Error> {
        let started = Instant::now();
        let mut checks_with_failures = 0;
        let mut meter = Meter::waiting("waiting for the destination");
        loop {
            let status = self.status().await?;
            let backlog = &status.live.backlog;
            meter.show(|| match backlog.waiting() {
                0 => "comparing".to_owned(),
                waiting => console::counted(waiting, "message"),
            });
            if backlog.dead_letter > self.dead_before {
                return Err(self.failure(
                    "messages were moved to the dead-letter queues",
                    &status,
                    None,
                ));
            }
            let comparison = match backlog.waiting() {
                0 => Some(self.compare().await?),
                _ => None,
            };
            checks_with_failures = match (&comparison, status.failures) {
                (Some(found), Some(1..)) if !found.equal => checks_with_failures + 1,
                _ => 0,
            };
            if checks_with_failures >= FAILURE_LOOKS {
                let problem = "objects failed, and Tandem does not retry them automatically";
                return Err(self.failure(problem, &status, comparison.as_ref()));
            }
            if comparison
                .as_ref()
                .is_some_and(|found| found.equal && found.same == objects as u64)
            {
                return Ok(started.elapsed());
            }
            if started.elapsed() > self.timeout {
                let comparison = match comparison {
                    Some(comparison) => comparison,
                    None => self.compare().await?,
                };
                let problem = format!(
                    "the buckets do not agree on {} after {} s",
                    console::counted(objects, "object"),
                    self.timeout.as_secs()
                );
                return Err(self.failure(&problem, &status, Some(&comparison)));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until the rule's backfill exists, because another function starts it.
    pub async fn until_backfill_begins(&self) -> Result<(), Error> {
        let started = Instant::now();
        while self.status().await?.historical.is_none() {
            if started.elapsed() > self.timeout {
                return Err(Error::Unexpected(format!(
                    "no backfill has started within {} s",
                    self.timeout.as_secs()
                )));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Returns the rule's status.
    pub async fn status(&self) -> Result<Status, Error> {
        self.tandem.ask(&["status", self.rule]).await
    }

    /// Compares the buckets.
    pub async fn compare(&self) -> Result<Comparison, Error> {
        self.tandem.ask(&["verify", self.rule]).await
    }

    fn failure(&self, problem: &str, status: &Status, comparison: Option<&Comparison>) -> Error {
        let mut lines = vec![
            problem.to_owned(),
            backlog_line(&status.live.backlog, status.failures),
        ];
        lines.extend(comparison.map(difference_lines).unwrap_or_default());
        lines.push(format!(
            "See the functions' logs for details, and: tandem status {}",
            self.rule
        ));
        Error::Unexpected(lines.join("\n   "))
    }
}

fn backlog_line(backlog: &Backlog, failures: Option<u64>) -> String {
    let Backlog {
        put,
        delete,
        work,
        part,
        held,
        dead_letter,
    } = backlog;
    format!(
        "waiting: {put} put, {delete} delete, {work} work, {part} part, {held} deferred; dead letters: {dead_letter}; \
         failed objects: {}",
        failures.map_or_else(|| "unknown".to_owned(), console::count)
    )
}

fn difference_lines(comparison: &Comparison) -> Vec<String> {
    let counts = format!(
        "same {}, missing {}, different {}, extra {}",
        comparison.same, comparison.missing, comparison.different, comparison.extra
    );
    let named = comparison
        .differences
        .iter()
        .take(NAMED_MAX)
        .map(|difference| format!("{}: {}", difference.kind, console::shown(&difference.key)));
    std::iter::once(counts).chain(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_counted_and_the_first_are_named() {
        let differences: Vec<_> = (0..9)
            .map(|n| serde_json::json!({"key": format!("k{n}\n"), "kind": "missing"}))
            .collect();
        let comparison = serde_json::from_value(serde_json::json!({
            "equal": false, "same": 1, "missing": 9, "different": 0, "extra": 0,
            "source_bytes": 1, "destination_bytes": 1, "differences": differences
        }));
        let lines = difference_lines(&comparison.unwrap());
        assert_eq!(lines[0], "same 1, missing 9, different 0, extra 0");
        assert_eq!(lines[1], "missing: k0\\n");
        assert_eq!(lines.len(), 1 + NAMED_MAX);
    }
}
