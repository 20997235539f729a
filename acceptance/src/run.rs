//! One run from its start to its report. I/O: the terminal, and the I/O of the steps.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use tandem_demo::console;
use tandem_demo::error::Error;

use crate::account::Account;
use crate::announcement::{begin, chosen, scale_of};
use crate::args::Args;
use crate::cost::Estimate;
use crate::deploy::{Deployment, repository};
use crate::ending::{remove_all, say_what_is_left};
use crate::interrupts::Interrupts;
use crate::names::Names;
use crate::report::{LeftBehind, Report, RunPlace, StepReport, Verdict};
use crate::scale::Scale;
use crate::stage::Stage;
use crate::steps::{self, HandOns, Outcome, Step};

/// What the deployment step expects.
const DEPLOYED: &str = "Tandem is deployed";

/// The exit code of a run that passed, and of one that did not.
const PASSED: i32 = 0;
const FAILED: i32 = 1;

/// A run that the user has confirmed.
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

/// Runs the program as the arguments say. Returns the exit code.
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

/// Removes what earlier runs have left behind.
async fn clean(args: &Args, account: &Account, interrupts: &Interrupts) -> Result<i32, Error> {
    let left = remove_all(args, account, interrupts, None, 0).await;
    say_what_is_left(&left);
    Ok(if left.is_empty() { PASSED } else { FAILED })
}

/// Runs the steps, removes everything, and writes the report.
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
        Error::Refused(format!(
            "cannot create the folder {}: {error}",
            folder.display()
        ))
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
            "interrupted: a second Ctrl-C prints what still exists, and a third one leaves it",
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
    /// Runs the steps until a signal arrives. Returns its number.
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

    /// Runs the steps. Returns an error only for an interruption: everything else is a verdict.
    async fn do_steps(&mut self) -> Result<(), Error> {
        let stage = match self.deploy().await {
            Ok(stage) => stage,
            Err(error @ Error::Interrupted { .. }) => return Err(error),
            Err(error) => {
                self.ended("deploy", DEPLOYED, Instant::now(), Err(error));
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

    /// Starts the job that takes longest, if its step is chosen.
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
        let first = one(&stage.regions.source, &stack, "artifacts");
        let stacks = if chosen(self.args).any(|about| about.step == Step::Circle) {
            let second = one(&stage.regions.destination, &second, "artifacts-back");
            futures::try_join!(first, second)?;
            "both stacks were ready"
        } else {
            first.await?;
            "the stack was ready"
        };
        let seen = format!("{stacks} after {}", console::duration(began.elapsed()));
        let end = Ok(Outcome::Passed(vec![seen]));
        self.ended("deploy", DEPLOYED, began, end);
        Ok(stage)
    }

    /// Records the result of a step, and prints it.
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
                Error::Unexpected(format!("cannot write {}: {error}", file.display()))
            })?;
            console::print(&format!("the report is {}", canonical(&file).display()));
        }
        Ok(())
    }
}

fn canonical(file: &Path) -> PathBuf {
    fs::canonicalize(file).unwrap_or_else(|_| file.to_owned())
}
