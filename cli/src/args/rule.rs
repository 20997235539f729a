//! The arguments of `tandem rule`. No I/O.

use clap::{ArgAction, Args, Subcommand};

use super::RuleName;
use super::import::ImportArgs;
use super::options::OptionArgs;
use crate::contract::{OptionChanges, Policy, Scope};

#[derive(Debug, Subcommand)]
pub enum RuleCommand {
    /// Make a rule: from now on, every change at the source is carried to the destination
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

    /// List every rule
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

    /// Change a rule's scope, policy or what its replicas are like, or have its historical objects
    /// carried across
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

Replicas that are there already stay as they are until their source changes."
    )]
    Update(UpdateArgs),

    /// Stop carrying changes across; they are kept until the rule is resumed
    #[command(after_help = "\
Examples:
  tandem rule pause photos")]
    Pause {
        #[command(flatten)]
        rule: RuleName,
    },

    /// Go on where the rule was paused
    #[command(after_help = "\
Examples:
  tandem rule resume photos")]
    Resume {
        #[command(flatten)]
        rule: RuleName,
    },

    /// End a rule; both buckets keep their objects
    #[command(after_help = "\
Examples:
  tandem rule delete photos
  tandem rule delete photos --yes        no question; needed without a terminal")]
    Delete {
        #[command(flatten)]
        rule: RuleName,
        /// Don't ask
        #[arg(long, short = 'y')]
        yes: bool,
    },

    /// Make a rule of a bucket's replication configuration of S3 or OSS
    #[command(after_help = "\
Examples:
  aws s3api get-bucket-replication --bucket photos > replication.json
  tandem rule import replication.json --source photos --dry-run
  tandem rule import replication.json --source photos
  tandem rule import oss.xml --source photos --destination photos-replica --yes

Reads S3's configuration as JSON or XML, and OSS's as XML. What cannot be carried over is listed;
nothing of the old configuration is taken away.")]
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
    /// Bucket whose changes are carried across; in the stack's region
    #[arg(long, value_name = "BUCKET")]
    pub source: String,

    /// Bucket they are carried to; in another region
    #[arg(long, value_name = "BUCKET")]
    pub destination: String,

    /// Refuse where the destination is not in this region
    #[arg(long, value_name = "REGION")]
    pub destination_region: Option<String>,

    /// Account that owns the destination, where it is another one; it then owns the replicas
    #[arg(long, value_name = "ACCOUNT")]
    pub destination_account: Option<String>,

    /// Only keys that begin with this; up to five times [default: all objects]
    #[arg(long = "prefix", value_name = "PREFIX", action = ArgAction::Append, allow_hyphen_values = true)]
    pub prefixes: Vec<String>,

    /// What is carried across
    #[arg(long, value_enum, default_value = "full")]
    pub policy: Policy,

    /// Also the objects that are there already; same-named ones at the destination are overwritten
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

/// At least one of these, or of the options.
#[derive(Debug, Args)]
#[group(required = true, multiple = true, args = [
    "prefixes", "all_objects", "policy", "historical",
    "storage_class", "encryption", "kms_key", "tags", "acl", "object_lock", "lifecycle_deletes",
    "reconcile", "rpo_secs", "notifications", "enable_eventbridge",
])]
pub struct RuleChange {
    /// From now on only keys that begin with this; up to five times
    #[arg(long = "prefix", value_name = "PREFIX", action = ArgAction::Append, allow_hyphen_values = true)]
    pub prefixes: Vec<String>,

    /// From now on every key
    #[arg(long, conflicts_with = "prefixes")]
    pub all_objects: bool,

    /// What is carried across from now on
    #[arg(long, value_enum)]
    pub policy: Option<Policy>,

    /// Start a backfill of the objects that are there already
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
