//! `tandem backfill`: starts a backfill, shows how far it is, waits for its end. I/O: `backfill`,
//! stdout, and a bar on stderr.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::args::{BackfillCommand, Output};
use crate::client::{Answer, Client};
use crate::contract::{Backfill, Job, JobAnswer};
use crate::error::Error;
use crate::exit::Exit;
use crate::pace::{self, Pacer};
use crate::render;
use crate::terminal;
use crate::watch::{self, Patience};

/// Between two looks at a job that is waited for.
const INTERVAL: Duration = Duration::from_secs(1);

/// Steps of a bar: a fraction is not a count.
const BAR_STEPS: u64 = 1000;

/// Steps between two notes, where nobody would see a bar move.
const NOTE_STEPS: u64 = BAR_STEPS / 10;

pub async fn run(client: &Client, output: Output, command: BackfillCommand) -> Result<Exit, Error> {
    match command {
        BackfillCommand::Start { rule, wait } => {
            let answer = client
                .backfill(&Backfill::Start { rule: &rule.name })
                .await?;
            if !wait {
                return show(output, &answer);
            }
            let job = answer.read::<JobAnswer>()?.job;
            let end = follow(client, &rule.name, Some(job.id), |_| Ok(()));
            let end = terminal::until_interrupted(end).await?;
            show(output, &end)?;
            outcome(&end)
        }
        BackfillCommand::Status {
            rule,
            job,
            watch: true,
        } => {
            let print = |answer: &Answer| match output {
                Output::Json => terminal::print_json_line(&answer.json),
                Output::Table => Ok(()),
            };
            let end = follow(client, &rule.name, job, print);
            let end = terminal::until_interrupted(end).await?;
            if output == Output::Table {
                show(output, &end)?;
            }
            outcome(&end)
        }
        BackfillCommand::Status {
            rule,
            job,
            watch: false,
        } => show(output, &status(client, &rule.name, job.as_deref()).await?),
    }
}

/// Looks at a job until it ends, moving a bar; the last look is the answer.
async fn follow(
    client: &Client,
    rule: &str,
    mut job_id: Option<String>,
    each: impl Fn(&Answer) -> Result<(), Error>,
) -> Result<Answer, Error> {
    let bar = bar(ProgressDrawTarget::stderr());
    let mut pacer = Pacer::default();
    let mut patience = Patience::default();
    let mut noted = 0;
    loop {
        let looked = status(client, rule, job_id.as_deref()).await;
        if let Some(answer) =
            patience.outlive(looked, |text| bar.suspend(|| terminal::note(text)))?
        {
            let job = answer.read::<JobAnswer>()?.job;
            each(&answer)?;
            let pace = pacer.pace(&job, terminal::now());
            bar.set_position(position(&job));
            let beside = render::beside_bar(&job, pace);
            bar.set_message(format!("{beside}\n{}", render::objects(&job)));
            if !terminal::shows_bars() && position(&job) / NOTE_STEPS != noted {
                noted = position(&job) / NOTE_STEPS;
                terminal::note(format!("{beside}: {}", render::objects(&job)));
            }
            if job.is_finished() {
                return Ok(answer);
            }
            // The newest at the first look, and the same one from then on.
            job_id = Some(job.id);
        }
        watch::pause(INTERVAL).await;
    }
}

async fn status(client: &Client, rule: &str, job_id: Option<&str>) -> Result<Answer, Error> {
    client.backfill(&Backfill::Status { rule, job_id }).await
}

fn show(output: Output, answer: &Answer) -> Result<Exit, Error> {
    if output == Output::Json {
        terminal::print_json(&answer.json)?;
    } else {
        let job = answer.read::<JobAnswer>()?.job;
        terminal::print(render::job(&job, pace::since_start(&job, terminal::now())))?;
        if job.transfers > 0 && job.is_finished() {
            terminal::note(format!(
                "Objects left to transfers may still be on their way; see `tandem status {}`.",
                job.rule_id
            ));
        }
    }
    Ok(Exit::Ok)
}

fn outcome(end: &Answer) -> Result<Exit, Error> {
    let job = end.read::<JobAnswer>()?.job;
    if job.state != "complete" || job.failed > 0 {
        return Ok(Exit::Differences);
    }
    Ok(Exit::Ok)
}

/// A bar for a fraction, with what there is to say beside it.
pub fn bar(target: ProgressDrawTarget) -> ProgressBar {
    ProgressBar::with_draw_target(Some(BAR_STEPS), target)
        .with_style(
            ProgressStyle::with_template("{bar:20}  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("█▓░"),
        )
        .with_finish(ProgressFinish::Abandon)
}

/// Where a bar stands.
pub fn position(job: &Job) -> u64 {
    // Within 0 and BAR_STEPS.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let steps = (job.fraction.unwrap_or(0.0).clamp(0.0, 1.0) * BAR_STEPS as f64) as u64;
    steps
}
