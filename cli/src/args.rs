//! The command line: every command, argument and example. No I/O.

pub mod backfill;
pub mod failures;
pub mod import;
pub mod options;
pub mod rule;
pub mod verify;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::error::Error;

use self::backfill::BackfillCommand;
use self::failures::FailuresCommand;
use self::rule::RuleCommand;
use self::verify::VerifyArgs;

/// Cross-region replication of S3 buckets: rules, backfills, progress, and whether two buckets agree.
#[derive(Debug, Parser)]
#[command(
    name = "tandem",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "\
Examples:
  tandem rule create --source photos --destination photos-replica --historical
  tandem backfill plan photos
  tandem status --watch
  tandem verify photos

A RULE is a rule's id, or the name of either of its buckets.

Exit codes:
  0    done; for verify, the two buckets agree
  1    not everything was done: verify found differences, could not compare a key or found no key
       under --prefix, a repair left differences, a backfill failed or has a warning, a job that the
       command waited for had failures or was cancelled, or dead letters remain
  2    wrong usage, or the request was refused; nothing was done
  3    AWS, the network or the credentials failed
  130  ended by Ctrl-C"
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// The deployed stack to use, and how to print answers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help = "Profile of the AWS configuration files [default: AWS_PROFILE, or \"default\"]"
    )]
    pub profile: Option<String>,

    #[arg(
        long,
        global = true,
        value_name = "REGION",
        help = "The stack's region [default: AWS_REGION, or the profile's]"
    )]
    pub region: Option<String>,

    /// Name of the deployed stack; the functions' names begin with it
    #[arg(
        long,
        global = true,
        env = "TANDEM_STACK_NAME",
        value_name = "NAME",
        default_value = "tandem"
    )]
    pub stack_name: String,

    #[arg(
        long,
        global = true,
        value_name = "URL",
        value_parser = endpoint_url,
        help = "Send requests to this server instead of AWS [default: AWS_ENDPOINT_URL]"
    )]
    pub endpoint_url: Option<String>,

    /// Tables for people, or the functions' JSON answers for programs
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        value_enum,
        default_value = "table"
    )]
    pub output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create, list, change and delete replication rules
    #[command(after_help = "\
Examples:
  tandem rule create --source photos --destination photos-replica
  tandem rule list
  tandem rule pause photos")]
    Rule {
        #[command(subcommand)]
        command: RuleCommand,
    },

    /// Copy the objects that existed before the rule
    #[command(after_help = "\
Examples:
  tandem backfill plan photos
  tandem backfill start photos --wait
  tandem backfill status photos --watch")]
    Backfill {
        #[command(subcommand)]
        command: BackfillCommand,
    },

    /// Show the progress of replication: historical objects, watermark, backlog, lag, failures
    #[command(after_help = "\
Examples:
  tandem status                       every rule
  tandem status photos --watch        one rule, until Ctrl-C
  tandem status photos --output json | jq .live.lag_ms
  tandem status --watch --output json   one JSON document per line

With --output json, the output for one RULE is the function's answer; for all rules it is
{\"progress\": [ANSWER, ...]}.")]
    Status(StatusArgs),

    /// Show which objects failed and why, and retry them
    #[command(after_help = "\
Examples:
  tandem failures list
  tandem failures show photos 2026/01/cat.jpg
  tandem failures retry --all")]
    Failures {
        #[command(subcommand)]
        command: FailuresCommand,
    },

    /// Compare a rule's two buckets, and repair differences
    #[command(after_help = "\
Examples:
  tandem verify photos
  tandem verify photos --prefix 2026/ --report differences.csv
  tandem verify photos --output json | jq -r '.differences[].key'
  tandem verify photos --job --report s3://reports/photos/
  tandem verify photos --repair
  tandem verify photos --repair --max-deletes 20 --yes

The command compares keys, sizes and ETags within the rule's scope. A replica that cannot have its
source's ETag stores that ETag in its metadata, and the command compares it there. Objects that
exist only at the destination are a difference under policy full; under policy write they are only
counted.

Both buckets can change while the command lists them. An object that changes meanwhile, or is still
in the backlog, may be shown as a difference. `tandem status` shows the backlog.

A repair copies each missing or different object in the source's state at that time. Under policy
full it also deletes objects that exist only at the destination, if the source itself confirms that
it has no such object. The command first shows what the repair will do, and asks before it deletes.

A report contains every difference, not only those that are shown. A CSV report puts an apostrophe
in front of a cell that a spreadsheet would take for a formula, and in front of a cell that begins
with an apostrophe. `tandem backfill start --manifest` accepts such a report as its list of keys.

Exit codes: 0 the buckets agree, or agree after the repair; 1 they differ, or a key could not be
compared; 2 wrong usage or refused; 3 AWS failed.")]
    Verify(VerifyArgs),
}

impl Command {
    /// Refuses what can be refused before any request to AWS. `can_ask` says whether a terminal is
    /// there to confirm on.
    pub fn check(&self, can_ask: bool) -> Result<(), Error> {
        match self {
            Self::Rule {
                command: RuleCommand::Delete { rule, yes: false },
            } if !can_ask => Err(Error::Usage(format!(
                "rule {rule} was not deleted: there is no terminal to confirm it on; give --yes"
            ))),
            Self::Rule {
                command: RuleCommand::Import(args),
            } if !can_ask && !args.yes && !args.dry_run => Err(Error::Usage(
                "no rule was created: there is no terminal to confirm it on; give --yes, or --dry-run"
                    .to_owned(),
            )),
            Self::Backfill { command } => command.check(can_ask),
            Self::Failures { command } => command.check(),
            Self::Verify(args) => args.check(),
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Args)]
pub struct RuleName {
    /// The rule's id, or the name of either of its buckets
    #[arg(value_name = "RULE")]
    pub name: String,
}

impl std::fmt::Display for RuleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The rule's id, or the name of either of its buckets [default: every rule]
    #[arg(value_name = "RULE")]
    pub rule: Option<String>,

    /// Repeat until Ctrl-C
    #[arg(long)]
    pub watch: bool,

    /// Seconds between two updates
    #[arg(long, value_name = "SECS", requires = "watch", default_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,

    /// Take counts and lag from the last MINS minutes [default: 60]
    #[arg(long, value_name = "MINS", value_parser = clap::value_parser!(u32).range(1..))]
    pub window_mins: Option<u32>,
}

/// Accepts an address only if the SDK can use it. The SDK panics on some of the others.
pub fn endpoint_url(url: &str) -> Result<String, String> {
    let address = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    match address {
        Some(address) if !address.is_empty() => Ok(url.to_owned()),
        _ => Err("an endpoint is http://HOST:PORT or https://HOST".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::contract::{
        AclChoice, EncryptionChoice, KeyChoice, LockChoice, NotificationChoice, OptionChanges,
        Policy, Reconcile, Scope,
    };

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    fn refused(line: &str) -> String {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        error.to_string()
    }

    #[test]
    fn clap_accepts_the_definition() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        fn check(command: &clap::Command) {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Examples:"), "{}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn create_takes_prefixes_one_by_one() {
        let line = "tandem rule create --source a --destination b --prefix x/ --prefix -y";
        let Command::Rule {
            command: RuleCommand::Create(args),
        } = parse(line).unwrap().command
        else {
            panic!("another command");
        };
        assert_eq!(
            args.scope(),
            Scope::Prefixes(vec!["x/".into(), "-y".into()])
        );
        assert_eq!(args.policy, Policy::Full);
        assert!(!args.historical);
    }

    #[test]
    fn create_without_prefixes_is_all_objects() {
        let Command::Rule {
            command: RuleCommand::Create(args),
        } = parse("tandem rule create --source a --destination b")
            .unwrap()
            .command
        else {
            panic!("another command");
        };
        assert_eq!(args.scope(), Scope::All);
    }

    #[test]
    fn update_needs_a_change_and_refuses_two_scopes() {
        assert!(refused("tandem rule update a").contains("--all-objects"));
        refused("tandem rule update a --all-objects --prefix x/");
        refused("tandem rule update --policy write");
        for change in [
            "--all-objects",
            "--prefix x/",
            "--policy write",
            "--historical",
            "--storage-class STANDARD_IA",
            "--kms-key none",
            "--tags false",
            "--acl keep",
            "--object-lock bucket",
            "--lifecycle-deletes",
            "--reconcile weekly",
        ] {
            parse(&format!("tandem rule update a {change}")).unwrap();
        }
    }

    #[test]
    fn update_makes_only_the_changes_that_are_given() {
        let Command::Rule {
            command: RuleCommand::Update(args),
        } = parse("tandem rule update a --policy write")
            .unwrap()
            .command
        else {
            panic!("another command");
        };
        assert_eq!(args.change.scope(), None);
        assert!(!args.change.historical);
        assert_eq!(args.change.options.changes().if_any(), None);
    }

    #[test]
    fn only_the_options_that_are_given_are_sent() {
        let create = "tandem rule create --source a --destination b --kms-key none --tags false \
                      --acl reset --object-lock keep --lifecycle-deletes \
                      --destination-account 111122223333 --storage-class keep --reconcile daily \
                       --rpo-secs 3600 --encryption AES256 --notifications eventbridge \
                       --enable-eventbridge";
        let Command::Rule {
            command: RuleCommand::Create(args),
        } = parse(create).unwrap().command
        else {
            panic!("another command");
        };
        let asked = OptionChanges {
            storage_class: Some("keep".into()),
            encryption: Some(EncryptionChoice::Aes256),
            kms_key: Some(KeyChoice::OfTheBucket),
            tags: Some(false),
            acl: Some(AclChoice::Reset),
            object_lock: Some(LockChoice::Keep),
            lifecycle_deletes: Some(true),
            destination_account: Some("111122223333".into()),
            reconcile: Some(Reconcile::Daily),
            rpo_secs: Some(3_600),
            notifications: Some(NotificationChoice::EventBridge),
            enable_eventbridge: Some(true),
        };
        assert_eq!(args.options(), asked);
        let update = "tandem rule update a --lifecycle-deletes false --kms-key arn:x";
        let Command::Rule {
            command: RuleCommand::Update(args),
        } = parse(update).unwrap().command
        else {
            panic!("another command");
        };
        let asked = OptionChanges {
            lifecycle_deletes: Some(false),
            kms_key: Some(KeyChoice::Arn("arn:x".into())),
            ..OptionChanges::default()
        };
        assert_eq!(args.change.options.changes(), asked);
    }

    #[test]
    fn deleting_needs_yes_or_a_terminal() {
        let plain = parse("tandem rule delete a").unwrap().command;
        assert!(plain.check(true).is_ok());
        assert!(
            plain
                .check(false)
                .unwrap_err()
                .to_string()
                .contains("--yes")
        );
        let yes = parse("tandem rule delete a --yes").unwrap().command;
        assert!(yes.check(false).is_ok());
    }

    #[test]
    fn global_options_may_stand_before_or_after_the_command() {
        for line in [
            "tandem --output json --region eu-west-1 rule list",
            "tandem rule list --output json --region eu-west-1",
        ] {
            let global = parse(line).unwrap().global;
            assert_eq!(global.output, Output::Json);
            assert_eq!(global.region.as_deref(), Some("eu-west-1"));
        }
    }

    #[test]
    fn a_refusal_of_a_value_names_the_accepted_values() {
        assert!(refused("tandem rule list --endpoint-url localhost:4566").contains("http://"));
        assert!(
            refused("tandem rule create --source a --destination b --policy all").contains("write")
        );
        let class = "tandem rule update a --storage-class COLD";
        assert!(refused(class).contains("GLACIER_IR"));
        assert!(refused("tandem rule update a --encryption kms").contains("aws:kms"));
        refused("tandem rule update a --tags");
        assert!(refused("tandem rule update a --reconcile hourly").contains("weekly"));
        assert!(refused("tandem rule update a --rpo-secs 59").contains("60..=604800"));
        refused("tandem rule update a --destination-account 111122223333");
        refused("tandem status --watch --interval 0");
        refused("tandem status --interval 5");
        refused("tandem verify a --max-differences -1");
        refused("tandem verify");
        let nothing = parse("tandem failures retry").unwrap().command.check(true);
        assert!(nothing.unwrap_err().to_string().contains("--all"));
        refused("tandem failures retry --all --rule a");
        refused("tandem failures list --limit 0");
        assert!(refused("tandem failures list --reason Bad").contains("SrcObjectArchived"));
    }
}
