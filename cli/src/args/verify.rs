//! The arguments of `tandem verify`. No I/O.

use clap::Args;

use super::RuleName;
use crate::error::Error;
use crate::report::Place;

/// The default limit of objects that a repair deletes at the destination.
pub const DELETES_MAX: u64 = 1000;

#[derive(Debug, Args)]
pub struct VerifyArgs {
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

    /// Show at most N differences; all are counted
    #[arg(long, value_name = "N", default_value = "100")]
    pub max_differences: usize,

    #[arg(
        long,
        value_name = "FILE|s3://BUCKET/KEY",
        help = "Write every difference to a file or an object whose name ends in .csv or .jsonl. With \
                --job, give a prefix (s3://BUCKET/PREFIX/); the functions write under it"
    )]
    pub report: Option<Place>,

    /// Let the functions compare, not this machine, and wait for the end
    #[arg(long)]
    pub job: bool,

    /// Let the functions repair the differences, and wait for the end
    #[arg(long)]
    pub repair: bool,

    /// Refuse the repair if it would delete more than N objects [default: 1000, or with --yes as
    /// many as the comparison finds]
    #[arg(long, value_name = "N", requires = "repair")]
    pub max_deletes: Option<u64>,

    /// Do not ask before deleting objects at the destination
    #[arg(long, short = 'y', requires = "repair")]
    pub yes: bool,
}

impl VerifyArgs {
    /// Refuses a `--report` that the side which compares cannot write.
    pub fn check(&self) -> Result<(), Error> {
        let problem = match &self.report {
            Some(Place::Prefix(prefix)) if !self.job && !self.repair => format!(
                "--report {prefix} is a prefix, which needs --job; add it, or give a name that ends in .csv or .jsonl"
            ),
            Some(Place::File { .. } | Place::Object { .. }) if self.job => {
                "with --job the functions write the report; give --report s3://BUCKET/PREFIX/"
                    .to_owned()
            }
            _ => return Ok(()),
        };
        Err(Error::Usage(problem))
    }

    /// Returns the prefix to send with a job.
    pub fn job_prefix(&self) -> Option<&str> {
        Some(self.prefix.as_str()).filter(|prefix| !prefix.is_empty())
    }

    /// Returns the report's prefix to send with a job.
    pub fn job_report(&self) -> Option<&str> {
        match &self.report {
            Some(Place::Prefix(prefix)) => Some(prefix),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::{Cli, Command};

    fn check(line: &str) -> Result<(), String> {
        let cli = Cli::try_parse_from(format!("tandem verify a {line}").split_whitespace());
        match cli.map_err(|error| error.to_string())?.command {
            Command::Verify(args) => args.check().map_err(|error| error.to_string()),
            _ => panic!("another command"),
        }
    }

    #[test]
    fn a_report_that_cannot_be_written_is_refused() {
        for line in [
            "--report x.csv",
            "--report s3://b/x.jsonl",
            "--report s3://b/x/ --job",
            "--report s3://b/x/ --repair",
            "--report x.csv --repair",
            "--repair --max-deletes 5 --yes",
            "--repair --job",
        ] {
            assert_eq!(check(line), Ok(()), "{line}");
        }
        for (line, said) in [
            ("--report s3://b/x/", ".csv"),
            ("--report x.csv --job", "s3://BUCKET/PREFIX/"),
            ("--report x.xlsx", ".jsonl"),
            ("--report x", ".jsonl"),
            ("--report s3://b", "s3://"),
            ("--max-deletes 5", "--repair"),
            ("--yes", "--repair"),
            ("--repair --max-deletes few", "--max-deletes"),
        ] {
            let problem = check(line).unwrap_err();
            assert!(problem.contains(said), "{line}: {problem}");
        }
    }
}
