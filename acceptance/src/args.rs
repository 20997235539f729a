//! The command line. No I/O.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::steps;

/// What an acceptance run may cost, in USD, unless the user allows more.
const COST_MAX_USD: f64 = 1.0;

/// Deploys Tandem into two regions of an AWS account, tests and measures it, writes a report, and removes
/// everything again.
///
/// Prints what it will do and what that costs, and asks before it does anything.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "tandem-acceptance",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  make acceptance                                     us-east-1 and us-west-2, the default profile
  make acceptance REGIONS=eu-west-1,eu-central-1 PROFILE=sandbox
  make acceptance YES=1                               does not ask
  make acceptance CLEAN=1                             removes what killed runs have left behind
  make acceptance LOCAL=1                             the same steps, smaller, on a local cloud
  target/local/tandem-acceptance --local --only tags,pause     in a running local cloud

Ctrl-C ends the steps and starts the removal. A second Ctrl-C prints what still exists. A third one ends
the removal, and prints the remaining resources with the commands that remove them.

Exit codes:
  0    every step passed or was skipped with a reason, and everything is removed
  1    a step failed, or something could not be removed
  2    wrong usage, or refused; nothing was done
  130  ended by Ctrl-C"
)]
pub struct Args {
    /// Regions of the sources and of the destinations
    #[arg(long, value_name = "A,B", default_value = "us-east-1,us-west-2", value_parser = regions)]
    pub regions: Regions,

    /// Profile of the AWS configuration files [default: `AWS_PROFILE`, or "default"]
    #[arg(long, value_name = "NAME", conflicts_with = "local")]
    pub profile: Option<String>,

    /// Run in the local cloud that `AWS_ENDPOINT_URL` names, with smaller sizes
    #[arg(long)]
    pub local: bool,

    /// Do not ask for confirmation
    #[arg(long, short = 'y')]
    pub yes: bool,

    /// Only find and remove what earlier runs have left behind
    #[arg(long, conflicts_with = "only")]
    pub clean: bool,

    /// Only these steps, separated by commas
    #[arg(long, value_name = "STEPS", value_delimiter = ',', value_parser = step)]
    pub only: Vec<String>,

    /// Refuse to run if it would cost more
    #[arg(long, value_name = "USD", default_value_t = COST_MAX_USD, value_parser = usd)]
    pub cost_max: f64,

    /// Folder for report.md and report.json [default: .local/acceptance/ID]
    #[arg(long, value_name = "FOLDER")]
    pub report: Option<PathBuf>,

    /// The processor that the functions were built for [default: arm64; with --local this machine's]
    #[arg(long, value_enum)]
    pub arch: Option<Architecture>,
}

/// Two different regions of the same partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regions {
    /// The region of the stack and the sources.
    pub source: String,
    /// The region of the destinations and the second stack.
    pub destination: String,
}

/// A processor of Lambda, as the template names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Architecture {
    /// AWS's own.
    #[value(name = "arm64")]
    Arm64,
    /// Intel's and AMD's.
    #[value(name = "x86_64")]
    X86,
}

impl Architecture {
    /// Returns this machine's processor.
    pub fn of_this_machine() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Arm64
        } else {
            Self::X86
        }
    }

    /// Returns the value of the template's parameter.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arm64 => "arm64",
            Self::X86 => "x86_64",
        }
    }
}

impl Args {
    /// Returns the processor of the functions.
    pub fn architecture(&self) -> Architecture {
        match self.arch {
            Some(architecture) => architecture,
            None if self.local => Architecture::of_this_machine(),
            None => Architecture::Arm64,
        }
    }
}

fn regions(text: &str) -> Result<Regions, String> {
    let problem = "give two different regions, such as us-east-1,us-west-2";
    let (source, destination) = text.split_once(',').ok_or(problem)?;
    for region in [source, destination] {
        if !is_region(region) {
            return Err(format!("{region:?} is not a region; {problem}"));
        }
    }
    if source == destination {
        return Err(format!("{source} is given twice; {problem}"));
    }
    Ok(Regions {
        source: source.to_owned(),
        destination: destination.to_owned(),
    })
}

/// Returns whether the text is a region's name, such as `us-gov-west-1`.
fn is_region(text: &str) -> bool {
    let words: Vec<&str> = text.split('-').collect();
    let [first @ .., number] = words.as_slice() else {
        return false;
    };
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    first.len() >= 2
        && first.iter().all(is_word)
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn step(text: &str) -> Result<String, String> {
    let names: Vec<&str> = steps::ALL.iter().map(|step| step.name).collect();
    if names.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err(format!("the steps are {}", names.join(", ")))
    }
}

fn usd(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(usd) if usd.is_finite() && usd >= 0.0 => Ok(usd),
        _ => Err("give an amount in USD, such as 1.5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())
    }

    #[test]
    fn clap_accepts_the_definition_and_it_has_examples() {
        Args::command().debug_assert();
        let help = Args::command().render_long_help().to_string();
        assert!(help.contains("Examples:") && help.contains("make acceptance CLEAN=1"));
    }

    #[test]
    fn without_arguments_a_run_asks_and_uses_two_regions_of_the_default_groups() {
        let args = parse("tandem-acceptance").unwrap();
        assert_eq!(args.regions.source, "us-east-1");
        assert_eq!(args.regions.destination, "us-west-2");
        assert!(!args.yes && !args.local && !args.clean && args.only.is_empty());
        assert!((args.cost_max - COST_MAX_USD).abs() < f64::EPSILON);
        assert_eq!(args.architecture(), Architecture::Arm64);
    }

    #[test]
    fn bad_regions_are_refused_with_an_example() {
        for bad in [
            "us-east-1",
            "us-east-1,",
            "us-east-1,us-east-1",
            "a,b",
            "us-east-1,US-WEST-2",
        ] {
            let said = parse(&format!("tandem-acceptance --regions {bad}")).unwrap_err();
            assert!(said.contains("us-east-1,us-west-2"), "{bad}: {said}");
        }
        let fine = parse("tandem-acceptance --regions us-gov-west-1,us-gov-east-1").unwrap();
        assert_eq!(fine.regions.destination, "us-gov-east-1");
    }

    #[test]
    fn unknown_steps_are_refused_and_the_known_ones_named() {
        let said = parse("tandem-acceptance --only tags,nothing").unwrap_err();
        assert!(
            said.contains("nothing") && said.contains("hand-ons"),
            "{said}"
        );
        let args = parse("tandem-acceptance --only tags,pause").unwrap();
        assert_eq!(args.only, ["tags", "pause"]);
    }

    #[test]
    fn a_local_run_refuses_a_profile_and_clean_refuses_steps() {
        parse("tandem-acceptance --local --profile x").unwrap_err();
        parse("tandem-acceptance --clean --only tags").unwrap_err();
        parse("tandem-acceptance --cost-max nan").unwrap_err();
        let args = parse("tandem-acceptance --local").unwrap();
        assert_eq!(args.architecture(), Architecture::of_this_machine());
    }
}
