//! The arguments of `tandem failures`. No I/O.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use tandem_replication::fault::REASONS;

use crate::error::Error;

#[derive(Debug, Subcommand)]
pub enum FailuresCommand {
    /// List failed objects, each with its reason
    #[command(after_help = "\
Examples:
  tandem failures list
  tandem failures list --rule photos --reason DstPutObjectNotPermitted
  tandem failures list --output json | jq -r '.failures[].key'

An object is in the list from its failure until it succeeds.")]
    List {
        #[command(flatten)]
        choice: FailureChoice,
        /// Show at most N
        #[arg(long, value_name = "N", default_value = "100",
              value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
    },

    /// Show one object's failure, what it means and what to do about it
    #[command(after_help = "\
Examples:
  tandem failures show photos 2026/01/cat.jpg")]
    Show {
        /// The rule's id, or the name of either of its buckets
        #[arg(value_name = "RULE")]
        rule: String,
        /// The object's key
        #[arg(allow_hyphen_values = true)]
        key: String,
    },

    /// Retry failed objects, and move messages out of the dead-letter queues
    #[command(after_help = "\
Examples:
  tandem failures retry --all
  tandem failures retry --rule photos --reason DstPutObjectNotPermitted
  tandem failures retry --rule photos --key-prefix 2026/

Tandem reconciles each object from the source's present state, so retrying is always safe. Objects
that fail again stay in `tandem failures list`. Messages that cannot be read stay where they are,
and the command shows them.")]
    Retry {
        #[command(flatten)]
        choice: FailureChoice,
        /// Retry every failure of every rule
        #[arg(long, conflicts_with_all = ["rule", "reason", "key_prefix"])]
        all: bool,
    },
}

impl FailuresCommand {
    /// Refuses a retry that does not say which failures to retry.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Retry { choice, all: false } if choice.is_everything() => {
                let problem =
                    "nothing was retried: give --rule, --reason or --key-prefix, or --all";
                Err(Error::Usage(problem.to_owned()))
            }
            _ => Ok(()),
        }
    }
}

/// The failures to list or retry.
#[derive(Debug, Clone, Args)]
pub struct FailureChoice {
    /// Only failures of this rule: its id, or the name of either of its buckets
    #[arg(long, value_name = "RULE")]
    pub rule: Option<String>,

    /// Only failures with this reason
    #[arg(long, value_name = "REASON", hide_possible_values = true,
          value_parser = PossibleValuesParser::new(REASONS.map(|entry| entry.word)))]
    pub reason: Option<String>,

    /// Only failures whose key begins with this
    #[arg(long, value_name = "PREFIX", allow_hyphen_values = true)]
    pub key_prefix: Option<String>,
}

impl FailureChoice {
    /// Whether no filter is given.
    pub fn is_everything(&self) -> bool {
        self.rule.is_none() && self.reason.is_none() && self.key_prefix.is_none()
    }
}
