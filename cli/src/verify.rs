//! `tandem verify`: compares a rule's two buckets, by listing both on this machine or by a job of the
//! functions. I/O: the functions, S3, stdout, a report, and a spinner or a bar on stderr.

use serde::Serialize;

use crate::args::Output;
use crate::args::verify::VerifyArgs;
use crate::client::{Answer, Client};
use crate::compare::Summary;
use crate::comparison::Extent;
use crate::contract::{Job, Kind, Policy, Rule, Start};
use crate::error::Error;
use crate::exit::Exit;
use crate::human;
use crate::job;
use crate::render;
use crate::report::Place;
use crate::report::store::Draft;
use crate::terminal;

pub async fn run(client: &Client, output: Output, args: VerifyArgs) -> Result<Exit, Error> {
    let extent = Extent::of(client, &args.rule.name, &args.prefix).await?;
    if args.job {
        let (end, job) = on_the_functions(client, &args, &extent, args.job_report()).await?;
        job::show(output, &end)?;
        job::explain_failures(client, &job).await;
        let extras_count = extent.rule.policy == Policy::Full;
        let agree = job.has_succeeded() && job.differences(extras_count) == 0;
        return Ok(if agree { Exit::Ok } else { Exit::Differences });
    }
    let summary = compare(client, &extent, &args).await?;
    show(output, &extent, &summary)?;
    let found_nothing = summary.source_objects() + summary.destination_objects() == 0;
    if found_nothing && !args.prefix.is_empty() {
        terminal::note(format!(
            "No key of either bucket begins with {:?}, so nothing was compared; check --prefix.",
            args.prefix
        ));
        return Ok(Exit::Differences);
    }
    Ok(if summary.is_equal() {
        Exit::Ok
    } else {
        Exit::Differences
    })
}

/// Compares on this machine, and writes the requested report.
pub async fn compare(
    client: &Client,
    extent: &Extent,
    args: &VerifyArgs,
) -> Result<Summary, Error> {
    let policy = extent.rule.policy;
    let mut summary = Summary::new(policy, args.max_differences);
    let compared = async {
        let mut draft = match &args.report {
            Some(place @ (Place::File { .. } | Place::Object { .. })) => {
                Some(Draft::begin(place, policy)?)
            }
            _ => None,
        };
        let walk = extent.walk(client, |verdict| {
            if let Some(draft) = &mut draft {
                draft.add(&verdict)?;
            }
            summary.add(verdict);
            Ok(summary.differences_count())
        });
        walk.await?;
        Ok(draft)
    };
    let draft = terminal::until_interrupted(compared).await?;
    if let (Some(draft), Some(place)) = (draft, &args.report) {
        draft.publish(client).await?;
        terminal::note(format!(
            "Report {place}: {} differences.",
            human::count(summary.differences_count())
        ));
    }
    if summary.not_compared > 0 {
        terminal::note(format!(
            "{} could not be compared: you need s3:GetObject on both buckets; or let the functions \
             compare (--job).",
            human::objects(summary.not_compared)
        ));
    }
    Ok(summary)
}

/// Starts a comparison on the functions, and waits for its end.
pub async fn on_the_functions(
    client: &Client,
    args: &VerifyArgs,
    extent: &Extent,
    report: Option<&str>,
) -> Result<(Answer, Job), Error> {
    let start = Start {
        rule: &extent.rule.id,
        kind: Some(Kind::Verify),
        prefix: args.job_prefix(),
        report,
        ..Start::default()
    };
    job::carry_out(client, start).await
}

/// Prints what a comparison on this machine has found.
pub fn show(output: Output, extent: &Extent, summary: &Summary) -> Result<(), Error> {
    match output {
        Output::Json => terminal::print_json(&Document::new(extent, summary)),
        Output::Table => print_tables(&extent.rule, summary),
    }
}

fn print_tables(rule: &Rule, summary: &Summary) -> Result<(), Error> {
    if !summary.differences.is_empty() || summary.differences_left_out > 0 {
        terminal::print(render::differences(summary))?;
    }
    terminal::print(render::summary(summary, rule.policy))?;
    let source = render::bucket(&rule.source);
    let destination = render::bucket(&rule.destination);
    let conclusion = match summary.differences_count() {
        0 if summary.not_compared > 0 => format!(
            "{source} and {destination} agree as far as they were compared; {} could not be compared.",
            human::objects(summary.not_compared)
        ),
        0 if summary.source_objects() == 0 => {
            format!("{source} has no objects to compare; {destination} agrees.")
        }
        0 => format!("{source} and {destination} agree."),
        1 => format!("{source} and {destination} differ in 1 key."),
        keys => format!(
            "{source} and {destination} differ in {} keys.",
            human::count(keys)
        ),
    };
    terminal::print(conclusion)
}

/// The answer as JSON.
#[derive(Serialize)]
struct Document<'a> {
    rule: &'a str,
    source: &'a str,
    destination: &'a str,
    policy: Policy,
    /// The listed prefixes; one empty prefix is the whole bucket.
    prefixes: &'a [String],
    equal: bool,
    #[serde(flatten)]
    summary: &'a Summary,
}

impl<'a> Document<'a> {
    fn new(extent: &'a Extent, summary: &'a Summary) -> Self {
        let rule = &extent.rule;
        Self {
            rule: &rule.id,
            source: &rule.source.bucket,
            destination: &rule.destination.bucket,
            policy: rule.policy,
            prefixes: &extent.prefixes,
            equal: summary.is_equal(),
            summary,
        }
    }
}
