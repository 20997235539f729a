//! The arguments of `tandem backfill`. No I/O.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::RuleName;
use crate::contract::{Keys, Overwrite};
use crate::error::Error;

#[derive(Debug, Subcommand)]
pub enum BackfillCommand {
    /// Show what a backfill would copy, replace and cost, without writing anything
    #[command(after_help = "\
Examples:
  tandem backfill plan photos
  tandem backfill plan photos --prefix 2025/ --overwrite if-older
  tandem backfill plan photos --prices our-prices.json --output json | jq .estimate.usd

The command lists both buckets and writes nothing. The cost is in USD, from AWS's public prices in
the table that `tandem backfill prices` prints. It leaves out free tiers, discounts, taxes, logs
and requests to KMS.")]
    Plan(PlanArgs),

    /// Print the price table, so that you can edit it and give it to `plan --prices`
    #[command(after_help = "\
Examples:
  tandem backfill prices > our-prices.json
  tandem backfill plan photos --prices our-prices.json")]
    Prices,

    /// Start a backfill of a rule's historical objects
    #[command(after_help = "\
Examples:
  tandem backfill start photos
  tandem backfill start photos --wait    exit code 1 if any object failed
  tandem backfill start photos --overwrite never --prefix 2025/
  tandem backfill start photos --manifest s3://tandem-lists/photos/manifest.json
  tandem backfill start photos --manifest s3://tandem-lists/keys.csv --keys plain
  tandem backfill start photos --objects-per-sec 200 --concurrency 4

A list has one key per line, or columns separated by `,`, `;` or tabs: a bucket, a key, and any
others. It may be compressed by gzip. If a line cannot be read, the backfill is refused, and the
message names line and column.

`tandem backfill plan` shows beforehand what a backfill would copy, replace and cost.

With --wait, the exit code is 1 also if more than half of the keys in the list do not exist.")]
    Start(StartArgs),

    /// Show the progress of a rule's backfill
    #[command(after_help = "\
Examples:
  tandem backfill status photos
  tandem backfill status photos --watch
  tandem backfill status photos --job job-0197f3c2b0c17d1f8a11 --output json

The exit code is 1 if the backfill has failed or has a warning; with --watch also if it had
failures or was cancelled.")]
    Status {
        #[command(flatten)]
        job: JobArgs,
        /// Repeat until the backfill ends; with --output json, one document per line
        #[arg(long)]
        watch: bool,
    },

    /// List a rule's backfills, verifications and repairs, newest first
    #[command(after_help = "\
Examples:
  tandem backfill list photos
  tandem backfill list photos --output json | jq -r '.jobs[].id'")]
    List {
        #[command(flatten)]
        rule: RuleName,
    },

    /// Pause a backfill; it keeps what it has done
    #[command(after_help = "\
Examples:
  tandem backfill pause photos")]
    Pause(JobArgs),

    /// Resume a paused backfill where it stopped
    #[command(after_help = "\
Examples:
  tandem backfill resume photos")]
    Resume(JobArgs),

    /// Cancel a backfill; the objects that it has copied stay
    #[command(after_help = "\
Examples:
  tandem backfill cancel photos
  tandem backfill cancel photos --yes        does not ask; needed without a terminal")]
    Cancel {
        #[command(flatten)]
        job: JobArgs,
        /// Do not ask for confirmation
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

impl BackfillCommand {
    /// Refuses to cancel without `--yes` where there is no terminal to ask on.
    pub fn check(&self, can_ask: bool) -> Result<(), Error> {
        match self {
            Self::Cancel { job, yes: false } if !can_ask => Err(Error::Usage(format!(
                "the backfill of {} was not cancelled: there is no terminal to confirm it on; \
                 give --yes",
                job.rule
            ))),
            _ => Ok(()),
        }
    }
}

/// One job of a rule.
#[derive(Debug, Args)]
pub struct JobArgs {
    #[command(flatten)]
    pub rule: RuleName,
    /// The job's id [default: the newest job]
    #[arg(long = "job", value_name = "ID")]
    pub id: Option<String>,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub rule: RuleName,

    /// Only keys that begin with this
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub prefix: String,

    /// What to do if the destination has a different object under the same key
    #[arg(long, value_name = "MODE", value_enum, default_value = "always")]
    pub overwrite: Overwrite,

    /// Use this price table instead of the command's own
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,

    /// Show at most N keys under which the destination has a different object
    #[arg(long, value_name = "N", default_value = "10")]
    pub examples: usize,

    /// Estimate the time with N shards at once; the stack's own limit is 16 by default
    #[arg(long, value_name = "N", default_value = "16",
          value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub concurrency: u64,

    /// Estimate a backfill with this limit, in objects per second
    #[arg(long, value_name = "N", value_parser = rate)]
    pub objects_per_sec: Option<f64>,
}

#[derive(Debug, Args)]
pub struct StartArgs {
    #[command(flatten)]
    pub rule: RuleName,

    /// What to do if the destination has a different object under the same key [default: always]
    #[arg(long, value_name = "MODE", value_enum)]
    pub overwrite: Option<Overwrite>,

    /// Only keys that begin with this
    #[arg(long, value_name = "PREFIX", allow_hyphen_values = true)]
    pub prefix: Option<String>,

    /// Only the keys in this list: a CSV file, a CSV report of `tandem verify`, or the manifest.json
    /// of an inventory
    #[arg(long, value_name = "s3://BUCKET/KEY", value_parser = object_url)]
    pub manifest: Option<String>,

    /// How keys are written in the CSV file of --manifest [default: encoded]
    #[arg(long, value_name = "ENCODING", value_enum, requires = "manifest")]
    pub keys: Option<Keys>,

    /// Start at most N objects per second
    #[arg(long, value_name = "N", value_parser = rate)]
    pub objects_per_sec: Option<f64>,

    /// Work on at most N shards at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub concurrency: Option<u64>,

    /// Show a progress bar, and wait until the backfill ends
    #[arg(long)]
    pub wait: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("a rate is a number above 0".to_owned()),
    }
}

fn object_url(url: &str) -> Result<String, String> {
    let object = url
        .strip_prefix("s3://")
        .and_then(|rest| rest.split_once('/'));
    match object {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => Ok(url.to_owned()),
        _ => Err("give an object as s3://BUCKET/KEY".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn parse(line: &str) -> Result<BackfillCommand, clap::Error> {
        match Cli::try_parse_from(line.split(' '))?.command {
            Command::Backfill { command } => Ok(command),
            _ => panic!("another command"),
        }
    }

    #[test]
    fn a_plan_has_its_defaults() {
        let BackfillCommand::Plan(args) = parse("tandem backfill plan a").unwrap() else {
            panic!("another command");
        };
        assert_eq!(args.overwrite, Overwrite::Always);
        assert_eq!((args.examples, args.concurrency), (10, 16));
    }

    #[test]
    fn a_refusal_names_the_argument_or_the_accepted_values() {
        let cases = [
            ("start a --overwrite older", "if-older"),
            ("start a --objects-per-sec 0", "above 0"),
            ("start a --objects-per-sec NaN", "above 0"),
            ("start a --concurrency 0", "1..=1000"),
            ("start a --manifest keys.csv", "s3://BUCKET/KEY"),
            ("start a --manifest s3://bucket", "s3://BUCKET/KEY"),
            ("start a --keys plain", "--manifest"),
            ("start a --manifest s3://b/k --keys raw", "plain"),
            ("plan a --concurrency 1001", "1..=1000"),
            ("plan a --examples few", "--examples"),
        ];
        for (line, right) in cases {
            let error = parse(&format!("tandem backfill {line}")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(right), "{line}: {error}");
        }
    }

    #[test]
    fn cancelling_needs_yes_or_a_terminal() {
        let plain = parse("tandem backfill cancel a").unwrap();
        assert!(plain.check(true).is_ok());
        let refused = plain.check(false).unwrap_err().to_string();
        assert!(refused.contains("--yes"), "{refused}");
        let yes = parse("tandem backfill cancel a --yes --job job-1").unwrap();
        assert!(yes.check(false).is_ok());
    }
}
