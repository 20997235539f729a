//! Prints what a run will do and cost before it does anything, and asks whether to go on. I/O: the terminal.

use std::io::{BufRead, IsTerminal};

use tandem_demo::console;
use tandem_demo::error::Error;
use tandem_prices::{Prices, TABLE};

use crate::account::Account;
use crate::args::Args;
use crate::cost::{Estimate, estimate};
use crate::leftovers::Thing;
use crate::removal::{Left, Removal};
use crate::report::costs;
use crate::scale::Scale;
use crate::steps::{self, About};

/// Connects, and asks whether to go on. Returns `None` if there is nothing to do, or the user says no.
pub async fn begin(args: &Args) -> Result<Option<(Account, Option<Estimate>)>, Error> {
    let account = Account::connect(args).await?;
    let left = Left::default();
    let removal = Removal {
        account: &account,
        regions: &args.regions,
        left: &left,
    };
    let found = removal.find(None).await?;
    if args.clean {
        if found.is_empty() {
            console::print("nothing is left of earlier runs");
            return Ok(None);
        }
        console::print(&format!(
            "left in the account {} by earlier runs:\n",
            account.id
        ));
        console::print(&shown(&found));
        let question = "\nRemove all this? A run in progress would lose its resources too.";
        return Ok(confirmed(args, question).await?.then_some((account, None)));
    }
    let scale = scale_of(args);
    let estimate = reckoned(args, &scale)?;
    announce(args, &account, &scale, estimate.as_ref());
    if !found.is_empty() {
        console::print(&format!(
            "\nLeft by earlier runs, or used by a run in progress:\n{}\nRemove it with: make acceptance CLEAN=1",
            shown(&found)
        ));
    }
    Ok(confirmed(args, "\nGo on?")
        .await?
        .then_some((account, estimate)))
}

/// Returns the sizes of the run.
pub fn scale_of(args: &Args) -> Scale {
    if args.local {
        Scale::of_local()
    } else {
        Scale::of_aws()
    }
}

/// Returns what the run costs, or an error if that is too much.
fn reckoned(args: &Args, scale: &Scale) -> Result<Option<Estimate>, Error> {
    if args.local {
        return Ok(None);
    }
    let prices = Prices::parse(TABLE)
        .map_err(|problem| Error::Unexpected(format!("the price table: {problem}")))?;
    let estimate = estimate(scale, &args.regions, &prices);
    if estimate.usd > args.cost_max {
        return Err(Error::Refused(format!(
            "a run between {} and {} would cost {:.2} USD, more than {:.2}; choose other regions, or allow it with \
             --cost-max {:.2}",
            args.regions.source,
            args.regions.destination,
            estimate.usd,
            args.cost_max,
            estimate.usd + 0.01
        )));
    }
    Ok(Some(estimate))
}

fn announce(args: &Args, account: &Account, scale: &Scale, estimate: Option<&Estimate>) {
    let place = if args.local {
        "the local cloud, as account"
    } else {
        "the AWS account"
    };
    console::print(&format!(
        "This deploys Tandem into {} and {} of {place} {}, under names that begin with \"{}\".\n\
         It creates about ten pairs of buckets, writes some thousand small objects and one of {}, and copies them \
         between the regions. It changes bucket policies, notifications and rules of its own buckets only. At the end \
         it removes everything. It takes about {}.\n",
        args.regions.source,
        args.regions.destination,
        account.id,
        crate::names::PREFIX,
        console::bytes(scale.large_bytes()),
        console::duration(scale.about)
    ));
    for about in chosen(args) {
        console::say(format!("{}: {}", about.name, about.expects));
    }
    match estimate {
        Some(estimate) => console::print(&format!("\nWhat it costs:\n\n{}", costs(estimate))),
        None => console::print("\nIt costs nothing."),
    }
    console::print(
        "What AWS keeps afterwards, free of charge: the backup of a deleted table (35 days), metrics, and the key \
         aws/s3 of KMS.",
    );
}

/// Returns the steps to run.
pub fn chosen(args: &Args) -> impl Iterator<Item = &'static About> {
    let is_chosen =
        |about: &&About| args.only.is_empty() || args.only.iter().any(|name| name == about.name);
    steps::ALL.iter().filter(is_chosen)
}

/// Asks, unless the answer is known.
async fn confirmed(args: &Args, question: &str) -> Result<bool, Error> {
    if args.yes || args.local {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Err(Error::Refused(
            "nothing was done: there is no terminal to confirm it on; give --yes (make acceptance YES=1)".to_owned(),
        ));
    }
    console::print(&format!("{question} [y/N] "));
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    })
    .await;
    let answer = answer.ok().and_then(Result::ok).unwrap_or_default();
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

fn shown(things: &[Thing]) -> String {
    let lines: Vec<String> = things
        .iter()
        .map(|thing| format!("  {}", thing.shown()))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        use clap::Parser;
        Args::parse_from(line.split_whitespace())
    }

    #[test]
    fn only_yes_or_y_confirms() {
        assert!(
            ["y\n", "YES", " Yes \n"]
                .iter()
                .all(|answer| is_yes(answer))
        );
        assert!(
            ["", "\n", "n", "yo", "no"]
                .iter()
                .all(|answer| !is_yes(answer))
        );
    }

    #[test]
    fn a_run_that_costs_too_much_is_refused_with_the_option_to_allow_it() {
        let args = args("tandem-acceptance --cost-max 0.05");
        let refused = reckoned(&args, &Scale::of_aws()).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().contains("--cost-max 0."), "{refused}");
    }

    #[test]
    fn a_local_run_costs_nothing_and_a_real_one_less_than_a_dollar() {
        let local = args("tandem-acceptance --local");
        assert_eq!(reckoned(&local, &Scale::of_local()).unwrap(), None);
        let real = args("tandem-acceptance");
        assert!(reckoned(&real, &Scale::of_aws()).unwrap().unwrap().usd < 1.0);
    }

    #[test]
    fn only_the_chosen_steps_run() {
        let names = |line| {
            chosen(&args(line))
                .map(|about| about.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names("tandem-acceptance --only pause,tags"),
            ["tags", "pause"]
        );
        assert_eq!(names("tandem-acceptance").len(), steps::ALL.len());
    }
}
