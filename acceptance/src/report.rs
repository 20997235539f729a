//! The report of a run, as Markdown for people and as JSON for programs. No I/O.

use std::fmt::Write as _;

use serde::Serialize;

use crate::cost::Estimate;

/// The results of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The run's id.
    pub run: String,
    /// Tandem's version.
    pub version: &'static str,
    /// The place of the run.
    pub place: RunPlace,
    /// The sources' region.
    pub source_region: String,
    /// The destinations' region.
    pub destination_region: String,
    /// The functions' processor.
    pub architecture: &'static str,
    /// The time of its start, in UTC.
    pub started_at: String,
    /// Its duration, including the removal.
    pub secs: u64,
    /// The estimated cost; `None` on a local cloud.
    pub estimate: Option<Estimate>,
    /// The steps in their order.
    pub steps: Vec<StepReport>,
    /// The things that could not be removed.
    pub left: Vec<LeftBehind>,
    /// Whether a signal ended it.
    pub interrupted: bool,
}

/// AWS, or a local cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunPlace {
    /// An account on AWS.
    Aws,
    /// An emulator on the user's machine.
    Local,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepReport {
    /// Its name.
    pub name: &'static str,
    /// What the step expects.
    pub expects: &'static str,
    /// Its result.
    pub verdict: Verdict,
    /// Its observations.
    pub seen: Vec<String>,
    /// Its duration.
    pub ms: u64,
}

/// The result of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "is", content = "why")]
pub enum Verdict {
    /// Everything was as expected.
    Passed,
    /// Something was not as expected; the reason.
    Failed(String),
    /// The step cannot run here, or has no meaning here; the reason.
    Skipped(String),
}

/// Something that could not be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftBehind {
    /// What it is.
    pub what: String,
    /// Why it still exists.
    pub why: String,
    /// The command that removes it.
    pub command: String,
}

impl Verdict {
    fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "**failed**",
            Self::Skipped(_) => "skipped",
        }
    }
}

impl Report {
    /// Returns whether everything was as expected, nothing is left, and the run was not interrupted.
    pub fn is_passed(&self) -> bool {
        let failed = |step: &StepReport| matches!(step.verdict, Verdict::Failed(_));
        !self.interrupted
            && self.left.is_empty()
            && !self.steps.is_empty()
            && !self.steps.iter().any(failed)
    }

    /// Returns a text such as `16 passed, 1 failed, 2 skipped`.
    pub fn counts(&self) -> String {
        let count =
            |is: fn(&Verdict) -> bool| self.steps.iter().filter(|step| is(&step.verdict)).count();
        format!(
            "{} passed, {} failed, {} skipped",
            count(|verdict| matches!(verdict, Verdict::Passed)),
            count(|verdict| matches!(verdict, Verdict::Failed(_))),
            count(|verdict| matches!(verdict, Verdict::Skipped(_)))
        )
    }

    /// Returns the report for programs.
    pub fn json(&self) -> String {
        let mut document = serde_json::to_value(self).unwrap_or_default();
        document["passed"] = self.is_passed().into();
        format!("{document:#}\n")
    }

    /// Returns the report for people.
    pub fn markdown(&self) -> String {
        let mut text = self.head();
        text.push_str("\n| step | expected | verdict | took |\n|---|---|---|---|\n");
        for step in &self.steps {
            let took = seconds(step.ms);
            put(
                &mut text,
                &format!(
                    "| {} | {} | {} | {took} |",
                    step.name,
                    cell(step.expects),
                    step.verdict.word()
                ),
            );
        }
        text.push_str("\n## Observations\n");
        for step in &self.steps {
            put(&mut text, &format!("\n### {}\n", step.name));
            match &step.verdict {
                Verdict::Failed(why) => put(&mut text, &format!("- **failed**: {}", item(why))),
                Verdict::Skipped(why) => put(&mut text, &format!("- skipped: {}", item(why))),
                Verdict::Passed => {}
            }
            for fact in &step.seen {
                put(&mut text, &format!("- {}", item(fact)));
            }
        }
        self.append_cost(&mut text);
        self.append_left(&mut text);
        text
    }

    fn head(&self) -> String {
        let place = match self.place {
            RunPlace::Aws => "an AWS account",
            RunPlace::Local => {
                "a local cloud (an emulator, with smaller sizes: this says nothing about AWS)"
            }
        };
        let verdict = match (self.interrupted, self.is_passed()) {
            (true, _) => "interrupted",
            (false, true) => "passed",
            (false, false) => "**failed**",
        };
        format!(
            "# Acceptance run {}\n\n\
             - verdict: {verdict} ({})\n\
             - Tandem {}, functions for {}\n\
             - in {place}, from {} to {}\n\
             - started {}, took {}\n",
            self.run,
            self.counts(),
            self.version,
            self.architecture,
            self.source_region,
            self.destination_region,
            self.started_at,
            seconds(self.secs * 1_000)
        )
    }

    fn append_cost(&self, text: &mut String) {
        let Some(estimate) = &self.estimate else {
            return;
        };
        text.push_str("\n## Estimated cost\n\n");
        text.push_str(&costs(estimate));
    }

    fn append_left(&self, text: &mut String) {
        if self.left.is_empty() {
            text.push_str(
                "\n## What is left\n\nNothing: the run removed everything that it had made.\n",
            );
            return;
        }
        text.push_str("\n## What is left\n\n");
        for left in &self.left {
            put(
                text,
                &format!(
                    "- {} ({}); remove it with:\n\n      {}\n",
                    left.what,
                    item(&left.why),
                    left.command
                ),
            );
        }
    }
}

/// Renders an estimate as a table in Markdown, which is readable on a terminal too.
pub fn costs(estimate: &Estimate) -> String {
    let mut text = String::from("| what | how much | USD |\n|---|---|---|\n");
    for line in &estimate.lines {
        put(
            &mut text,
            &format!(
                "| {} | {} {} | {:.4} |",
                line.what,
                amount(line.quantity),
                line.unit,
                line.usd
            ),
        );
    }
    put(
        &mut text,
        &format!("| **total** | | **{:.2}** |", estimate.usd),
    );
    put(
        &mut text,
        &format!(
            "\nPublic list prices as of {}, without free tiers and taxes.",
            estimate.prices_as_of
        ),
    );
    for note in &estimate.notes {
        put(&mut text, note);
    }
    text
}

fn put(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

fn amount(quantity: f64) -> String {
    if quantity >= 100.0 {
        format!("{quantity:.0}")
    } else {
        format!("{quantity:.2}")
    }
}

fn seconds(ms: u64) -> String {
    if ms < 60_000 {
        format!("{:.1} s", ms as f64 / 1_000.0)
    } else {
        format!("{} min {} s", ms / 60_000, ms / 1_000 % 60)
    }
}

/// Escapes text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// Formats text as one item of a list, even if it has several lines.
fn item(text: &str) -> String {
    text.trim().replace('\n', "\n  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Line;

    fn step(name: &'static str, verdict: Verdict, seen: &[&str]) -> StepReport {
        StepReport {
            name,
            expects: "a | b",
            verdict,
            seen: seen.iter().map(|&fact| fact.to_owned()).collect(),
            ms: 61_500,
        }
    }

    fn report() -> Report {
        Report {
            run: "1a2b3c4d5e6".to_owned(),
            version: "0.1.0",
            place: RunPlace::Aws,
            source_region: "us-east-1".to_owned(),
            destination_region: "us-west-2".to_owned(),
            architecture: "arm64",
            started_at: "2026-11-28T07:00:00Z".to_owned(),
            secs: 2_700,
            estimate: Some(Estimate {
                lines: vec![Line {
                    what: "bytes between the regions",
                    quantity: 6.1,
                    unit: "GB",
                    usd: 0.122,
                }],
                usd: 0.122,
                prices_as_of: "2025-10-28".to_owned(),
                notes: vec!["mars-1 is not in the price table".to_owned()],
            }),
            steps: vec![
                step("tags", Verdict::Passed, &["set after 12.0 s"]),
                step(
                    "circle",
                    Verdict::Skipped("no second\nstack".to_owned()),
                    &[],
                ),
            ],
            left: Vec::new(),
            interrupted: false,
        }
    }

    const MARKDOWN: &str = "\
# Acceptance run 1a2b3c4d5e6

- verdict: passed (1 passed, 0 failed, 1 skipped)
- Tandem 0.1.0, functions for arm64
- in an AWS account, from us-east-1 to us-west-2
- started 2026-11-28T07:00:00Z, took 45 min 0 s

| step | expected | verdict | took |
|---|---|---|---|
| tags | a \\| b | passed | 1 min 1 s |
| circle | a \\| b | skipped | 1 min 1 s |

## Observations

### tags

- set after 12.0 s

### circle

- skipped: no second
  stack

## Estimated cost

| what | how much | USD |
|---|---|---|
| bytes between the regions | 6.10 GB | 0.1220 |
| **total** | | **0.12** |

Public list prices as of 2025-10-28, without free tiers and taxes.
mars-1 is not in the price table

## What is left

Nothing: the run removed everything that it had made.
";

    #[test]
    fn a_report_has_this_markdown() {
        assert_eq!(report().markdown(), MARKDOWN);
    }

    #[test]
    fn failed_steps_and_remaining_things_are_named_with_the_command_that_removes_them() {
        let mut report = report();
        report.steps[0].verdict = Verdict::Failed("no replica".to_owned());
        report.left.push(LeftBehind {
            what: "the bucket b in us-east-1".to_owned(),
            why: "AccessDenied".to_owned(),
            command: "aws s3 rb s3://b".to_owned(),
        });
        let text = report.markdown();
        for part in [
            "- verdict: **failed** (0 passed, 1 failed, 1 skipped)",
            "- **failed**: no replica\n- set after 12.0 s",
            "- the bucket b in us-east-1 (AccessDenied); remove it with:\n\n      aws s3 rb s3://b\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        assert!(!text.contains("Nothing: the run"));
    }

    #[test]
    fn the_report_of_a_local_run_says_nothing_about_aws_and_has_no_cost() {
        let local = Report {
            place: RunPlace::Local,
            estimate: None,
            ..report()
        };
        let text = local.markdown();
        assert!(text.contains("says nothing about AWS") && !text.contains("USD"));
    }

    #[test]
    fn a_run_passes_only_if_it_was_not_interrupted_no_step_failed_and_nothing_is_left() {
        assert!(report().is_passed());
        let mut failed = report();
        failed.steps[1].verdict = Verdict::Failed(String::new());
        let interrupted = Report {
            interrupted: true,
            ..report()
        };
        let empty = Report {
            steps: Vec::new(),
            ..report()
        };
        let mut left = report();
        left.left.push(LeftBehind {
            what: String::new(),
            why: String::new(),
            command: String::new(),
        });
        for report in [failed, interrupted, empty, left] {
            assert!(!report.is_passed());
            assert!(report.json().contains("\"passed\": false"));
        }
    }

    #[test]
    fn the_json_has_the_verdicts_and_their_reasons() {
        let document: serde_json::Value = serde_json::from_str(&report().json()).unwrap();
        assert_eq!(document["passed"], true);
        assert_eq!(document["place"], "aws");
        assert_eq!(document["steps"][0]["verdict"]["is"], "passed");
        assert_eq!(document["steps"][1]["verdict"]["why"], "no second\nstack");
        assert_eq!(document["steps"][0]["seen"][0], "set after 12.0 s");
    }
}
