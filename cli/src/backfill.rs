//! `tandem backfill`: starts, shows, pauses, resumes and cancels jobs. I/O: `backfill`, stdout, a
//! bar on stderr, and one question before a job is cancelled.

use crate::args::Output;
use crate::args::backfill::{BackfillCommand, JobArgs, StartArgs};
use crate::client::{Answer, Client};
use crate::contract::{
    Backfill, ConfigureRule, Job, JobAnswer, JobName, JobsAnswer, Policy, RuleAnswer, Start,
};
use crate::error::Error;
use crate::exit::Exit;
use crate::job;
use crate::plan;
use crate::render;
use crate::terminal;

pub async fn run(client: &Client, output: Output, command: BackfillCommand) -> Result<Exit, Error> {
    match command {
        BackfillCommand::Plan(args) => plan::run(client, output, args).await,
        BackfillCommand::Prices => plan::print_prices(),
        BackfillCommand::Start(args) => start(client, output, &args).await,
        BackfillCommand::Status { job, watch: true } => watch(client, output, job).await,
        BackfillCommand::Status { job, watch: false } => {
            let answer = job::status(client, &job.rule.name, job.id.as_deref()).await?;
            Ok(stands(&job::show(output, &answer)?))
        }
        BackfillCommand::List { rule } => list(client, output, &rule.name).await,
        BackfillCommand::Pause(job) => {
            let answer = client.backfill(&Backfill::Pause(name(&job))).await?;
            Ok(stands(&job::show(output, &answer)?))
        }
        BackfillCommand::Resume(job) => {
            let answer = client.backfill(&Backfill::Resume(name(&job))).await?;
            Ok(stands(&job::show(output, &answer)?))
        }
        BackfillCommand::Cancel { job, yes } => cancel(client, output, &job, yes).await,
    }
}

async fn start(client: &Client, output: Output, args: &StartArgs) -> Result<Exit, Error> {
    let start = Start {
        rule: &args.rule.name,
        overwrite: args.overwrite,
        prefix: args.prefix.as_deref(),
        manifest: args.manifest.as_deref(),
        keys: args.keys,
        objects_per_sec: args.objects_per_sec,
        concurrency: args.concurrency,
        ..Start::default()
    };
    if args.wait {
        let (end, job) = job::carry_out(client, start).await?;
        job::show(output, &end)?;
        job::explain_failures(client, &job).await;
        return outcome(client, &job).await;
    }
    let answer = job::start(client, start).await?;
    Ok(stands(&job::show(output, &answer)?))
}

async fn watch(client: &Client, output: Output, job: JobArgs) -> Result<Exit, Error> {
    let print = |answer: &Answer| match output {
        Output::Json => terminal::print_json_line(&answer.json),
        Output::Table => Ok(()),
    };
    let end = job::follow(client, &job.rule.name, job.id, print);
    let end = terminal::until_interrupted(end).await?;
    if output == Output::Table {
        job::show(output, &end)?;
    }
    let job = end.read::<JobAnswer>()?.job;
    job::explain_failures(client, &job).await;
    outcome(client, &job).await
}

async fn list(client: &Client, output: Output, rule: &str) -> Result<Exit, Error> {
    let answer = client.backfill(&Backfill::List { rule }).await?;
    if output == Output::Json {
        terminal::print_json(&answer.json)?;
        return Ok(Exit::Ok);
    }
    let jobs = answer.read::<JobsAnswer>()?.jobs;
    if jobs.is_empty() {
        terminal::note(format!(
            "There is no backfill of {rule} yet; `tandem backfill plan {rule}` shows what one would do."
        ));
    } else {
        terminal::print(render::job::jobs(&jobs))?;
    }
    Ok(Exit::Ok)
}

async fn cancel(client: &Client, output: Output, job: &JobArgs, yes: bool) -> Result<Exit, Error> {
    let mut name = name(job);
    let shown;
    if !yes {
        let answer = job::status(client, name.rule, name.job_id).await?;
        shown = answer.read::<JobAnswer>()?.job;
        if !terminal::confirm(&question(&shown))? {
            return Err(Error::Usage("the job was not cancelled".to_owned()));
        }
        // Cancel the job that was shown, even if a newer one exists by now.
        name.job_id = Some(&shown.id);
    }
    let answer = client.backfill(&Backfill::Cancel(name)).await?;
    let job = job::show(output, &answer)?;
    Ok(if job.state == "cancelled" {
        Exit::Ok
    } else {
        Exit::Differences
    })
}

fn question(job: &Job) -> String {
    format!(
        "{}: {}\nObjects already copied stay. The rest is not copied, and the job cannot be resumed.\n\
         Cancel {} {}?",
        job.state,
        render::job::objects(job),
        job.kind,
        job.id
    )
}

fn name(job: &JobArgs) -> JobName<'_> {
    JobName {
        rule: &job.rule.name,
        job_id: job.id.as_deref(),
    }
}

/// Returns the exit code for a job that may still be running.
fn stands(job: &Job) -> Exit {
    if job.state == "failed" || job.warning.is_some() {
        Exit::Differences
    } else {
        Exit::Ok
    }
}

/// Returns the exit code for a job that the command waited for. Extra objects that a verification or a repair leaves at
/// the destination count under policy `full`, unless the repair was to delete nothing.
async fn outcome(client: &Client, job: &Job) -> Result<Exit, Error> {
    let leaves_extras =
        job.kind != "backfill" && job.extras_left() > 0 && job.deletes_max != Some(0);
    let extras_count = leaves_extras && {
        let request = ConfigureRule::Get { rule: &job.rule_id };
        let answer = client.configure_rule(&request).await?;
        answer.read::<RuleAnswer>()?.rule.policy == Policy::Full
    };
    let is_good = job.has_succeeded() && job.differences(false) == 0 && !extras_count;
    Ok(if is_good { Exit::Ok } else { Exit::Differences })
}
