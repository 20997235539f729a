//! One run from its announcement to its report. I/O: the terminal, and all that the steps do.

use std::fs;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use tandem_demo::console;
use tandem_demo::error::Error;
use tandem_prices::{Prices, TABLE};

use crate::account::Account;
use crate::args::Args;
use crate::cost::{Estimate, estimate};
use crate::deploy::{Deployment, repository};
use crate::interrupts::Interrupts;
use crate::leftovers::{Thing, listed};
use crate::names::Names;
use crate::removal::{Left, Removal};
use crate::report::{LeftBehind, Report, RunPlace, StepReport, Verdict, costs};
use crate::scale::Scale;
use crate::stage::Stage;
use crate::steps::{self, About, HandOns, Outcome, Step};

/// The exit code of a run that passed, and of one that did not.
const PASSED: i32 = 0;
const FAILED: i32 = 1;

/// A run that has been agreed to.
struct Run<'a> {
    args: &'a Args,
    account: &'a Account,
    interrupts: &'a Interrupts,
    names: Names,
    scale: Scale,
    folder: PathBuf,
    started: Instant,
    started_at: SystemTime,
    steps: Vec<StepReport>,
}

/// Does what the arguments say. Returns the exit code.
pub async fn run(args: &Args) -> i32 {
    let interrupts = Interrupts::listen();
    let done = tokio::select! {
        begun = begin(args) => begun,
        signal = interrupts.reach(1) => Err(Error::Interrupted { signal }),
    };
    let ended = match done {
        Ok(Some((account, estimate))) => {
            if args.clean {
                clean(args, &account, &interrupts).await
            } else {
                accept(args, &account, estimate, &interrupts).await
            }
        }
        Ok(None) => Ok(PASSED),
        Err(error) => Err(error),
    };
    ended.unwrap_or_else(|error| {
        console::end_line();
        console::note(format!("error: {error}"));
        error.exit_code()
    })
}

/// Connects, and asks whether to go on. `None` if there is nothing to do, or the user does not want it.
async fn begin(args: &Args) -> Result<Option<(Account, Option<Estimate>)>, Error> {
    let account = Account::connect(args).await?;
    let left = Left::default();
    let found = removal(args, &account, &left).find(None).await?;
    if args.clean {
        if found.is_empty() {
            console::print("nothing is left of earlier runs");
            return Ok(None);
        }
        console::print(&format!(
            "left in the account {} by earlier runs:\n",
            account.id
        ));
        console::print(&shown(&found));
        let question = "\nRemove all this? A run that is going on now would lose it too.";
        return Ok(confirmed(args, question).await?.then_some((account, None)));
    }
    let scale = scale_of(args);
    let estimate = reckoned(args, &scale)?;
    announce(args, &account, &scale, estimate.as_ref());
    if !found.is_empty() {
        console::print(&format!(
            "\nLeft by earlier runs, or used by one that is going on:\n{}\nRemove it with: make acceptance CLEAN=1",
            shown(&found)
        ));
    }
    Ok(confirmed(args, "\nGo on?")
        .await?
        .then_some((account, estimate)))
}

fn removal<'a>(args: &'a Args, account: &'a Account, left: &'a Left) -> Removal<'a> {
    Removal {
        account,
        regions: &args.regions,
        left,
    }
}

fn scale_of(args: &Args) -> Scale {
    if args.local {
        Scale::of_local()
    } else {
        Scale::of_aws()
    }
}

/// What the run costs, if that is not too much.
fn reckoned(args: &Args, scale: &Scale) -> Result<Option<Estimate>, Error> {
    if args.local {
        return Ok(None);
    }
    let prices = Prices::parse(TABLE)
        .map_err(|problem| Error::Unexpected(format!("the price table: {problem}")))?;
    let estimate = estimate(scale, &args.regions, &prices);
    if estimate.usd > args.cost_max {
        return Err(Error::Refused(format!(
            "a run between {} and {} would cost {:.2} USD, more than {:.2}; choose other regions, or allow it with \
             --cost-max {:.2}",
            args.regions.source,
            args.regions.destination,
            estimate.usd,
            args.cost_max,
            estimate.usd + 0.01
        )));
    }
    Ok(Some(estimate))
}

fn announce(args: &Args, account: &Account, scale: &Scale, estimate: Option<&Estimate>) {
    let place = if args.local {
        "the local cloud, as account"
    } else {
        "the AWS account"
    };
    console::print(&format!(
        "This deploys Tandem into {} and {} of {place} {}, under names that begin with \"{}\".\n\
         It makes about ten pairs of buckets, writes some thousand small objects and one of {}, copies them between \
         the regions, changes bucket policies, notifications and rules of its own buckets only, and removes \
         everything at the end. It takes about {}.\n",
        args.regions.source,
        args.regions.destination,
        account.id,
        crate::names::PREFIX,
        console::bytes(scale.large_bytes()),
        console::duration(scale.about)
    ));
    for about in chosen(args) {
        console::say(format!("{}: {}", about.name, about.expects));
    }
    match estimate {
        Some(estimate) => console::print(&format!("\nWhat it costs:\n\n{}", costs(estimate))),
        None => console::print("\nIt costs nothing."),
    }
    console::print(
        "What AWS keeps afterwards, free of charge: the backup of a deleted table (35 days), metrics, and the key \
         aws/s3 of KMS.",
    );
}

fn chosen(args: &Args) -> impl Iterator<Item = &'static About> {
    let is_chosen =
        |about: &&About| args.only.is_empty() || args.only.iter().any(|name| name == about.name);
    steps::ALL.iter().filter(is_chosen)
}

/// Asks, unless the answer is known.
async fn confirmed(args: &Args, question: &str) -> Result<bool, Error> {
    if args.yes || args.local {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Error::Refused(
            "nothing is done: there is no terminal to confirm it on; give --yes (make acceptance YES=1)".to_owned(),
        ));
    }
    console::print(&format!("{question} [y/N] "));
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    })
    .await;
    let answer = answer.ok().and_then(Result::ok).unwrap_or_default();
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

fn shown(things: &[Thing]) -> String {
    let lines: Vec<String> = things
        .iter()
        .map(|thing| format!("  {}", thing.shown()))
        .collect();
    lines.join("\n")
}

/// Removes what earlier runs have left.
async fn clean(args: &Args, account: &Account, interrupts: &Interrupts) -> Result<i32, Error> {
    let left = remove_all(args, account, interrupts, None, 0).await;
    say_what_is_left(&left);
    Ok(if left.is_empty() { PASSED } else { FAILED })
}

/// The run itself.
async fn accept(
    args: &Args,
    account: &Account,
    estimate: Option<Estimate>,
    interrupts: &Interrupts,
) -> Result<i32, Error> {
    let names = Names::new();
    let folder = match &args.report {
        Some(folder) => folder.clone(),
        None => repository().join(".local/acceptance").join(&names.id),
    };
    fs::create_dir_all(&folder).map_err(|error| {
        Error::Refused(format!("making the folder {}: {error}", folder.display()))
    })?;
    let mut run = Run {
        args,
        account,
        interrupts,
        names,
        scale: scale_of(args),
        folder,
        started: Instant::now(),
        started_at: SystemTime::now(),
        steps: Vec::new(),
    };
    let signal = run.steps_or_interrupt().await;
    let before = interrupts.count();
    console::step(format!(
        "removing everything that run {} has made",
        run.names.id
    ));
    if signal.is_some() {
        console::say(
            "interrupted: Ctrl-C again says what is still there, and a third time leaves it there",
        );
    }
    let left = remove_all(args, account, interrupts, Some(&run.names.id), before).await;
    let report = run.report(estimate, left, signal.is_some());
    run.write(&report)?;
    say_what_is_left(&report.left);
    console::print(&format!(
        "\n{}: {}",
        if report.is_passed() {
            "passed"
        } else {
            "FAILED"
        },
        report.counts()
    ));
    Ok(match signal {
        Some(signal) => 128 + signal,
        None if report.is_passed() => PASSED,
        None => FAILED,
    })
}

impl Run<'_> {
    /// Does the steps until a signal comes. Returns its number.
    async fn steps_or_interrupt(&mut self) -> Option<i32> {
        let interrupts = self.interrupts.clone();
        tokio::select! {
            end = self.do_steps() => match end {
                Err(Error::Interrupted { signal }) => Some(signal),
                Ok(()) | Err(_) => None,
            },
            signal = interrupts.reach(1) => Some(signal),
        }
    }

    /// Only an interruption is an error: everything else is a verdict.
    async fn do_steps(&mut self) -> Result<(), Error> {
        let stage = match self.deploy().await {
            Ok(stage) => stage,
            Err(error @ Error::Interrupted { .. }) => return Err(error),
            Err(error) => {
                let expects = "both stacks are deployed";
                self.ended("deploy", expects, Instant::now(), Err(error));
                return Ok(());
            }
        };
        let hand_ons = self.begin_hand_ons(&stage).await?;
        for about in chosen(self.args) {
            console::step(format!("{}: {}", about.name, about.expects));
            let began = Instant::now();
            let end = steps::run(about.step, &stage, hand_ons.as_ref()).await;
            if let Err(error @ Error::Interrupted { .. }) = end {
                return Err(error);
            }
            self.ended(about.name, about.expects, began, end);
        }
        Ok(())
    }

    /// Starts the job that takes longest, if it is wanted.
    async fn begin_hand_ons(&mut self, stage: &Stage) -> Result<Option<HandOns>, Error> {
        if !chosen(self.args).any(|about| about.step == Step::HandOns) {
            return Ok(None);
        }
        match steps::begin_hand_ons(stage).await {
            Ok(begun) => Ok(Some(begun)),
            Err(error @ Error::Interrupted { .. }) => Err(error),
            Err(error) => {
                console::say(format!(
                    "✗ the job of the step hand-ons could not be started: {error}"
                ));
                Ok(None)
            }
        }
    }

    async fn deploy(&mut self) -> Result<Stage, Error> {
        let began = Instant::now();
        let regions = self.args.regions.clone();
        let stage = Stage::new(
            self.account.clone(),
            regions,
            self.names.clone(),
            self.scale.clone(),
        )?;
        console::step(format!(
            "deploying Tandem to {} and {}",
            stage.regions.source, stage.regions.destination
        ));
        let deployment = Deployment {
            account: self.account,
            names: &self.names,
            scale: &self.scale,
            architecture: self.args.architecture(),
            folder: &self.folder,
        };
        let one = async |region: &str, stack: &str, bucket: &str| {
            let bucket = stage.make_bucket(region, bucket).await?;
            deployment.deploy(stack, region, &bucket.name).await
        };
        let (stack, second) = (self.names.stack(), self.names.second_stack());
        futures::try_join!(
            one(&stage.regions.source, &stack, "artifacts"),
            one(&stage.regions.destination, &second, "artifacts-back")
        )?;
        let seen = format!(
            "both stacks were there after {}",
            console::duration(began.elapsed())
        );
        self.ended(
            "deploy",
            "both stacks are deployed",
            began,
            Ok(Outcome::Passed(vec![seen])),
        );
        Ok(stage)
    }

    /// Writes down what came of a step, and shows it.
    fn ended(
        &mut self,
        name: &'static str,
        expects: &'static str,
        began: Instant,
        end: Result<Outcome, Error>,
    ) {
        let (verdict, seen) = match end {
            Ok(Outcome::Passed(seen)) => (Verdict::Passed, seen),
            Ok(Outcome::Skipped(why)) => (Verdict::Skipped(why), Vec::new()),
            Err(error) => (Verdict::Failed(error.to_string()), Vec::new()),
        };
        match &verdict {
            Verdict::Passed => seen.iter().for_each(console::check),
            Verdict::Skipped(why) => console::say(format!("skipped: {why}")),
            Verdict::Failed(why) => console::say(format!("✗ {why}")),
        }
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.steps.push(StepReport {
            name,
            expects,
            verdict,
            seen,
            ms,
        });
    }

    fn report(
        &mut self,
        estimate: Option<Estimate>,
        left: Vec<LeftBehind>,
        interrupted: bool,
    ) -> Report {
        let started_at = DateTime::<Utc>::from(self.started_at);
        Report {
            run: self.names.id.clone(),
            version: env!("CARGO_PKG_VERSION"),
            place: if self.args.local {
                RunPlace::Local
            } else {
                RunPlace::Aws
            },
            source_region: self.args.regions.source.clone(),
            destination_region: self.args.regions.destination.clone(),
            architecture: self.args.architecture().name(),
            started_at: started_at.to_rfc3339_opts(SecondsFormat::Secs, true),
            secs: self.started.elapsed().as_secs(),
            estimate,
            steps: std::mem::take(&mut self.steps),
            left,
            interrupted,
        }
    }

    fn write(&self, report: &Report) -> Result<(), Error> {
        for (name, text) in [
            ("report.md", report.markdown()),
            ("report.json", report.json()),
        ] {
            let file = self.folder.join(name);
            fs::write(&file, text).map_err(|error| {
                Error::Unexpected(format!("writing {}: {error}", file.display()))
            })?;
            console::print(&format!("the report is {}", canonical(&file).display()));
        }
        Ok(())
    }
}

fn canonical(file: &Path) -> PathBuf {
    fs::canonicalize(file).unwrap_or_else(|_| file.to_owned())
}

/// Finds and removes what this run, or every run, has made. Signals: one more than `before` says what is still there,
/// one more than that leaves it there. Returns what is left, with the reasons.
async fn remove_all(
    args: &Args,
    account: &Account,
    interrupts: &Interrupts,
    run: Option<&str>,
    before: u32,
) -> Vec<LeftBehind> {
    let left = Left::default();
    let removal = removal(args, account, &left);
    let profile = args.profile.as_deref();
    let behind = |thing: &Thing, why: &str| LeftBehind {
        what: thing.shown(),
        why: why.to_owned(),
        command: thing.by_hand(profile),
    };
    let removing = async {
        let failed = match removal.find(run).await {
            Ok(found) => removal.remove(found, run).await,
            Err(error) => return vec![not_found_out(&error)],
        };
        // What was made meanwhile, and what seemed to be removed.
        match removal.find(run).await {
            Ok(again) => again
                .iter()
                .map(|thing| {
                    let why = failed
                        .iter()
                        .find(|(other, _)| other == thing)
                        .map(|(_, why)| why.as_str());
                    behind(thing, why.unwrap_or("it is still listed"))
                })
                .collect(),
            Err(error) => vec![not_found_out(&error)],
        }
    };
    let reminding = async {
        let first = interrupts.reach(before + 1).await;
        console::end_line();
        console::say(format!(
            "the removal goes on; still there:\n{}\nCtrl-C again leaves that there",
            listed(&left.now(), profile)
        ));
        let _ = first;
        interrupts.reach(before + 2).await
    };
    tokio::select! {
        left = removing => left,
        _ = reminding => left.now().iter().map(|thing| behind(thing, "the removal was interrupted")).collect(),
    }
}

fn not_found_out(error: &Error) -> LeftBehind {
    LeftBehind {
        what: "anything that the run has made".to_owned(),
        why: format!("what there is could not be found out: {error}"),
        command: "make acceptance CLEAN=1".to_owned(),
    }
}

fn say_what_is_left(left: &[LeftBehind]) {
    if left.is_empty() {
        console::print("everything is removed");
        return;
    }
    console::print("NOT removed; remove it with these commands, or with: make acceptance CLEAN=1");
    for thing in left {
        console::say(format!(
            "{}: {}\n    {}",
            thing.what, thing.why, thing.command
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        use clap::Parser;
        Args::parse_from(line.split_whitespace())
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(
            ["y\n", "YES", " Yes \n"]
                .iter()
                .all(|answer| is_yes(answer))
        );
        assert!(
            ["", "\n", "n", "yo", "no"]
                .iter()
                .all(|answer| !is_yes(answer))
        );
    }

    #[test]
    fn a_run_that_costs_too_much_is_refused_with_what_helps() {
        let args = args("tandem-acceptance --cost-max 0.05");
        let refused = reckoned(&args, &Scale::of_aws()).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().contains("--cost-max 0."), "{refused}");
    }

    #[test]
    fn a_local_run_costs_nothing_and_a_real_one_less_than_a_dollar() {
        let local = args("tandem-acceptance --local");
        assert_eq!(reckoned(&local, &Scale::of_local()).unwrap(), None);
        let real = args("tandem-acceptance");
        assert!(reckoned(&real, &Scale::of_aws()).unwrap().unwrap().usd < 1.0);
    }

    #[test]
    fn only_the_chosen_steps_are_done() {
        let names = |line| {
            chosen(&args(line))
                .map(|about| about.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names("tandem-acceptance --only pause,tags"),
            ["tags", "pause"]
        );
        assert_eq!(names("tandem-acceptance").len(), steps::ALL.len());
    }
}
