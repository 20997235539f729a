//! One job of the `backfill` function, of any kind: starts it, follows it to its end, and shows it.
//! I/O: `backfill`, stdout, and a bar on stderr.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::args::Output;
use crate::client::{Answer, Client};
use crate::contract::{Backfill, ConfigureRule, FailuresAnswer, Job, JobAnswer, JobName, Start};
use crate::error::Error;
use crate::rate::{self, RateMeter};
use crate::render;
use crate::terminal;
use crate::token;
use crate::watch::{self, Patience};

/// The time between two requests for a job's state.
const INTERVAL: Duration = Duration::from_secs(1);

/// The number of steps of a bar, because a bar needs a count and a job has a fraction.
const BAR_STEPS: u64 = 1000;

/// Steps between two notes, which replace the bar if stderr is no terminal.
const NOTE_STEPS: u64 = BAR_STEPS / 10;

/// Starts a job.
pub async fn start(client: &Client, start: Start<'_>) -> Result<Answer, Error> {
    let token = token::new();
    let start = Start {
        token: Some(&token),
        ..start
    };
    client.backfill(&Backfill::Start(start)).await
}

/// Starts a job and follows it to its end.
pub async fn carry_out(client: &Client, asked: Start<'_>) -> Result<(Answer, Job), Error> {
    let rule = asked.rule;
    let answer = start(client, asked).await?;
    let job = answer.read::<JobAnswer>()?.job;
    let end = follow(client, rule, Some(job.id), |_| Ok(()));
    let end = terminal::until_interrupted(end).await?;
    let job = end.read::<JobAnswer>()?.job;
    Ok((end, job))
}

/// Reads a job's state until the job ends, and moves a bar. Returns the last answer.
pub async fn follow(
    client: &Client,
    rule: &str,
    mut job_id: Option<String>,
    each: impl Fn(&Answer) -> Result<(), Error>,
) -> Result<Answer, Error> {
    let bar = bar(ProgressDrawTarget::stderr());
    let mut meter = RateMeter::default();
    let mut patience = Patience::default();
    let mut noted = 0;
    loop {
        let response = status(client, rule, job_id.as_deref()).await;
        if let Some(answer) =
            patience.outlive(response, |text| bar.suspend(|| terminal::note(text)))?
        {
            let job = answer.read::<JobAnswer>()?.job;
            each(&answer)?;
            let rate = meter.rate(&job, terminal::now());
            bar.set_position(position(&job));
            let beside = render::job::beside_bar(&job, rate);
            bar.set_message(format!("{beside}\n{}", render::job::objects(&job)));
            if !terminal::shows_bars() && position(&job) / NOTE_STEPS != noted {
                noted = position(&job) / NOTE_STEPS;
                terminal::note(format!("{beside}: {}", render::job::objects(&job)));
            }
            if job.is_finished() {
                return Ok(answer);
            }
            // The first answer is the newest job; the following requests name that job.
            job_id = Some(job.id);
        }
        watch::pause(INTERVAL).await;
    }
}

pub async fn status(client: &Client, rule: &str, job_id: Option<&str>) -> Result<Answer, Error> {
    client
        .backfill(&Backfill::Status(JobName { rule, job_id }))
        .await
}

/// Prints a job, as unchanged JSON or as a table.
pub fn show(output: Output, answer: &Answer) -> Result<Job, Error> {
    let job = answer.read::<JobAnswer>()?.job;
    if let Some(warning) = &job.warning {
        terminal::note(format!("warning: {warning}"));
    }
    if output == Output::Json {
        terminal::print_json(&answer.json)?;
        return Ok(job);
    }
    terminal::print(render::job::job(
        &job,
        rate::since_start(&job, terminal::now()),
    ))?;
    if job.transfers > 0 && job.is_finished() {
        terminal::note(format!(
            "Transfers may still be copying large objects; see `tandem status {}`.",
            job.rule_id
        ));
    }
    Ok(job)
}

/// How many failures the command shows at the end of a job.
const FAILURES_NAMED: u64 = 10;

/// Prints the first keys that failed while a job ran, and why. If that cannot be read, prints only the command for it.
pub async fn explain_failures(client: &Client, job: &Job) {
    if job.failures() == 0 {
        return;
    }
    let request = ConfigureRule::Failures {
        rule: Some(&job.rule_id),
        reason: None,
        key_prefix: None,
        limit: FAILURES_NAMED,
        after: None,
    };
    let answer = client.configure_rule(&request).await;
    let failures = answer.and_then(|answer| answer.read::<FailuresAnswer>());
    let mut failures = failures.map_or_else(|_| Vec::new(), |answer| answer.failures);
    failures.retain(|failure| Some(failure.last_at) >= job.started_at);
    if !failures.is_empty() {
        terminal::note(render::failures::reasons(&failures));
    }
    terminal::note(format!(
        "`tandem failures list --rule {}` shows what failed and why.",
        job.rule_id
    ));
}

/// Returns a bar for a fraction, with a message beside it.
pub fn bar(target: ProgressDrawTarget) -> ProgressBar {
    ProgressBar::with_draw_target(Some(BAR_STEPS), target)
        .with_style(
            ProgressStyle::with_template("{bar:20}  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("█▓░"),
        )
        .with_finish(ProgressFinish::Abandon)
}

/// Returns the position of a job's bar.
pub fn position(job: &Job) -> u64 {
    // The value is between 0 and BAR_STEPS.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let steps = (job.fraction.unwrap_or(0.0).clamp(0.0, 1.0) * BAR_STEPS as f64) as u64;
    steps
}
