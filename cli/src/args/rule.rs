//! The arguments of `tandem rule`. No I/O.

use clap::{ArgAction, Args, Subcommand};

use super::RuleName;
use super::import::ImportArgs;
use super::options::OptionArgs;
use crate::contract::{OptionChanges, Policy, Scope};

#[derive(Debug, Subcommand)]
pub enum RuleCommand {
    /// Create a rule: from now on, Tandem replicates every change of the source to the destination
    #[command(after_help = "\
Examples:
  tandem rule create --source photos --destination photos-replica
  tandem rule create --source photos --destination photos-replica --historical \\
      --prefix 2025/ --prefix 2026/ --policy write
  tandem rule create --source photos --destination photos-replica --destination-region us-west-2
  tandem rule create --source photos --destination photos-archive \\
      --storage-class DEEP_ARCHIVE --tags false
  tandem rule create --source photos --destination their-photos \\
      --destination-account 444455556666 \\
      --kms-key arn:aws:kms:us-west-2:444455556666:key/1234abcd-12ab-34cd-56ef-1234567890ab")]
    Create(CreateArgs),

    /// List all rules
    #[command(after_help = "\
Examples:
  tandem rule list
  tandem rule list --output json | jq -r '.rules[].id'")]
    List,

    /// Show one rule
    #[command(after_help = "\
Examples:
  tandem rule show photos
  tandem rule show rule-0197f3c2a1b47c3e9d52 --output json")]
    Show {
        #[command(flatten)]
        rule: RuleName,
    },

    /// Change a rule's scope, policy or options, or start a backfill of its historical objects
    #[command(
        override_usage = "tandem rule update <RULE> <CHANGE>...",
        after_help = "\
Examples:
  tandem rule update photos --prefix 2026/
  tandem rule update photos --all-objects --historical
  tandem rule update photos --policy write
  tandem rule update photos --storage-class keep --kms-key none
  tandem rule update photos --lifecycle-deletes false
  tandem rule update photos --reconcile weekly

Existing replicas stay as they are until their source changes."
    )]
    Update(UpdateArgs),

    /// Pause a rule; Tandem stores its changes until the rule is resumed
    #[command(after_help = "\
Examples:
  tandem rule pause photos")]
    Pause {
        #[command(flatten)]
        rule: RuleName,
    },

    /// Resume a paused rule
    #[command(after_help = "\
Examples:
  tandem rule resume photos")]
    Resume {
        #[command(flatten)]
        rule: RuleName,
    },

    /// Delete a rule; Tandem deletes no objects
    #[command(after_help = "\
Examples:
  tandem rule delete photos
  tandem rule delete photos --yes        does not ask; needed without a terminal")]
    Delete {
        #[command(flatten)]
        rule: RuleName,
        /// Do not ask for confirmation
        #[arg(long, short = 'y')]
        yes: bool,
    },

    /// Create a rule from a bucket's replication configuration of S3 or OSS
    #[command(after_help = "\
Examples:
  aws s3api get-bucket-replication --bucket photos > replication.json
  tandem rule import replication.json --source photos --dry-run
  tandem rule import replication.json --source photos
  tandem rule import oss.xml --source photos --destination photos-replica --yes

Reads S3's configuration as JSON or XML, and OSS's as XML. The command lists what cannot be carried
over. It leaves the old configuration as it is.")]
    Import(ImportArgs),

    /// List the buckets that a source may be replicated to
    #[command(after_help = "\
Examples:
  tandem rule destinations photos")]
    Destinations {
        /// The source bucket
        source: String,
    },
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Bucket to replicate from; in the stack's region
    #[arg(long, value_name = "BUCKET")]
    pub source: String,

    /// Bucket to replicate to; in another region
    #[arg(long, value_name = "BUCKET")]
    pub destination: String,

    /// Refuse the rule if the destination is not in this region
    #[arg(long, value_name = "REGION")]
    pub destination_region: Option<String>,

    /// Account that owns the destination, if it is another one; that account then owns the replicas
    #[arg(long, value_name = "ACCOUNT")]
    pub destination_account: Option<String>,

    /// Only keys that begin with this; up to five times [default: all objects]
    #[arg(long = "prefix", value_name = "PREFIX", action = ArgAction::Append, allow_hyphen_values = true)]
    pub prefixes: Vec<String>,

    /// What to replicate
    #[arg(long, value_enum, default_value = "full")]
    pub policy: Policy,

    /// Also copy existing objects; objects with the same keys at the destination are overwritten
    #[arg(long)]
    pub historical: bool,

    #[command(flatten)]
    pub options: OptionArgs,
}

impl CreateArgs {
    pub fn options(&self) -> OptionChanges {
        OptionChanges {
            destination_account: self.destination_account.clone(),
            ..self.options.changes()
        }
    }

    pub fn scope(&self) -> Scope {
        if self.prefixes.is_empty() {
            Scope::All
        } else {
            Scope::Prefixes(self.prefixes.clone())
        }
    }
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    #[command(flatten)]
    pub rule: RuleName,
    #[command(flatten)]
    pub change: RuleChange,
}

/// The changes of a rule; `update` needs at least one of these or of the options.
#[derive(Debug, Args)]
#[group(required = true, multiple = true, args = [
    "prefixes", "all_objects", "policy", "historical",
    "storage_class", "encryption", "kms_key", "tags", "acl", "object_lock", "lifecycle_deletes",
    "reconcile", "rpo_secs", "notifications", "enable_eventbridge",
])]
pub struct RuleChange {
    /// From now on, only keys that begin with this; up to five times
    #[arg(long = "prefix", value_name = "PREFIX", action = ArgAction::Append, allow_hyphen_values = true)]
    pub prefixes: Vec<String>,

    /// From now on, all keys
    #[arg(long, conflicts_with = "prefixes")]
    pub all_objects: bool,

    /// What to replicate from now on
    #[arg(long, value_enum)]
    pub policy: Option<Policy>,

    /// Start a backfill of the existing objects
    #[arg(long)]
    pub historical: bool,

    #[command(flatten)]
    pub options: OptionArgs,
}

impl RuleChange {
    pub fn scope(&self) -> Option<Scope> {
        if self.all_objects {
            Some(Scope::All)
        } else if self.prefixes.is_empty() {
            None
        } else {
            Some(Scope::Prefixes(self.prefixes.clone()))
        }
    }
}
