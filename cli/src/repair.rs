//! `tandem verify --repair`: shows the differences, asks before anything is deleted, and lets the
//! functions repair them. I/O: the functions, S3, stdout, one question, and a bar on stderr.

use crate::args::Output;
use crate::args::verify::{DELETES_MAX, VerifyArgs};
use crate::client::Client;
use crate::comparison::Extent;
use crate::contract::{Job, Kind, Policy, Rule, Start};
use crate::error::Error;
use crate::exit::Exit;
use crate::human;
use crate::job;
use crate::render;
use crate::terminal;
use crate::verify;

pub async fn run(client: &Client, output: Output, args: VerifyArgs) -> Result<Exit, Error> {
    let extent = Extent::of(client, &args.rule.name, &args.prefix).await?;
    let rule = &extent.rule;
    let Some(found) = compare(client, output, &args, &extent).await? else {
        return Ok(Exit::Ok);
    };
    let limit = Limit::of(&args, rule.policy, &found, &rule.id)?;
    terminal::note(intention(rule, &found, &limit));
    if limit.has_to_ask {
        if !terminal::can_ask() {
            return Err(Error::Usage(format!(
                "nothing was repaired: {} would be deleted, and there is no terminal to confirm it \
                 on; give --yes, or --max-deletes 0 to delete nothing",
                human::objects(found.extra)
            )));
        }
        if !terminal::confirm("Repair, and delete?")? {
            return Err(Error::Usage("nothing was repaired".to_owned()));
        }
    }
    let start = Start {
        rule: &rule.id,
        kind: Some(Kind::Repair),
        prefix: args.job_prefix(),
        deletes_max: limit.deletes_max,
        report: args.job_report(),
        ..Start::default()
    };
    let (end, job) = job::carry_out(client, start).await?;
    job::show(output, &end)?;
    let keeps_extras = rule.policy == Policy::Write || limit.keeps_extras;
    if let Some(left) = what_is_left(&job, keeps_extras) {
        terminal::note(left);
    }
    job::explain_failures(client, &job).await;
    let is_good = job.has_succeeded() && (keeps_extras || job.extras_left() == 0);
    Ok(if is_good { Exit::Ok } else { Exit::Differences })
}

/// Returns what a repair has not repaired, and why; `None` if it has repaired everything.
fn what_is_left(job: &Job, keeps_extras: bool) -> Option<String> {
    let mut left = Vec::new();
    if job.state != "complete" {
        left.push(format!(
            "The repair is {}: the rest was not compared.",
            job.state
        ));
    }
    if job.failed > 0 {
        left.push(format!(
            "{} could not be made equal.",
            human::objects(job.failed)
        ));
    }
    let extras = job.extras_left();
    if extras > 0 && !keeps_extras {
        let failed = job.extra_failed.min(extras);
        if failed > 0 {
            left.push(format!(
                "{} at the destination only could not be deleted.",
                human::objects(failed)
            ));
        }
        let others = extras - failed;
        let max = job.deletes_max.unwrap_or(u64::MAX);
        if others > 0 && job.deleted + failed >= max {
            left.push(format!(
                "{} at the destination only: not deleted, because the limit of {} was reached.",
                human::objects(others),
                human::count(max)
            ));
        } else if others > 0 {
            left.push(format!(
                "{} at the destination only: not deleted, because of changes while the repair ran.",
                human::objects(others)
            ));
        }
    }
    (!left.is_empty()).then(|| left.join("\n"))
}

/// The differences that a comparison has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    missing: u64,
    different: u64,
    /// At the destination only.
    extra: u64,
}

/// Compares on this machine or on the functions, and shows the result. Returns `None` if nothing differs.
async fn compare(
    client: &Client,
    output: Output,
    args: &VerifyArgs,
    extent: &Extent,
) -> Result<Option<Found>, Error> {
    let extras_count = extent.rule.policy == Policy::Full;
    if args.job {
        let (end, job) = verify::on_the_functions(client, args, extent, None).await?;
        if !job.has_succeeded() {
            job::show(Output::Table, &end)?;
            job::explain_failures(client, &job).await;
            return Err(Error::Usage(format!(
                "nothing was repaired: the comparison has not succeeded (it is {}, with {} failures)",
                job.state,
                human::count(job.failures())
            )));
        }
        let differs = job.differences(extras_count) > 0;
        if output == Output::Table || !differs {
            job::show(output, &end)?;
        }
        return Ok(differs.then_some(Found {
            missing: job.missing,
            different: job.different,
            extra: job.extra,
        }));
    }
    let summary = verify::compare(client, extent, args).await?;
    // With --output json the only document is the repair's. If nothing differs, it is the comparison's.
    if output == Output::Table || summary.is_equal() {
        verify::show(output, extent, &summary)?;
    }
    Ok((!summary.is_equal()).then_some(Found {
        missing: summary.missing,
        different: summary.different,
        extra: summary.extra,
    }))
}

/// What a repair may delete.
#[derive(Debug, PartialEq, Eq)]
struct Limit {
    /// `None` under policy `write`, under which a repair deletes nothing.
    deletes_max: Option<u64>,
    has_to_ask: bool,
    /// Whether the user wants to keep extra objects.
    keeps_extras: bool,
}

impl Limit {
    /// | policy | extras | `--max-deletes` | `--yes` | then |
    /// |---|---|---|---|---|
    /// | write | any | any | any | nothing is deleted |
    /// | full | any | 0 | any | nothing is deleted |
    /// | full | none | | any | the limit is 1,000 |
    /// | full | up to the limit | | no | asks |
    /// | full | more | | no | refused |
    /// | full | more | given | yes | refused |
    /// | full | some | not given | yes | the limit is what was found |
    fn of(args: &VerifyArgs, policy: Policy, found: &Found, rule: &str) -> Result<Self, Error> {
        let keeps_extras = args.max_deletes == Some(0);
        if policy == Policy::Write || keeps_extras || found.extra == 0 {
            let max = args.max_deletes.unwrap_or(DELETES_MAX);
            return Ok(Self {
                deletes_max: (policy == Policy::Full).then_some(max),
                has_to_ask: false,
                keeps_extras,
            });
        }
        let max = match (args.max_deletes, args.yes) {
            (Some(max), _) => max,
            (None, true) => found.extra,
            (None, false) => DELETES_MAX,
        };
        if found.extra > max {
            let found = human::count(found.extra);
            let max = human::count(max);
            return Err(Error::Usage(format!(
                "nothing was repaired: {found} objects are at the destination only, and no more than \
                 {max} may be deleted\n\
                 list them with `tandem verify {rule} --report differences.csv`, then give --yes, or \
                 --max-deletes with a higher number, or with 0 to delete nothing"
            )));
        }
        Ok(Self {
            deletes_max: Some(max),
            has_to_ask: !args.yes,
            keeps_extras,
        })
    }
}

fn intention(rule: &Rule, found: &Found, limit: &Limit) -> String {
    let destination = render::bucket(&rule.destination);
    let copies = found.missing + found.different;
    let text = format!(
        "{} will be copied to {destination} ({} missing, {} different).",
        human::objects(copies),
        human::count(found.missing),
        human::count(found.different)
    );
    if found.extra == 0 {
        return text;
    }
    let extras = human::objects(found.extra);
    let source = render::bucket(&rule.source);
    let outcome = if rule.policy == Policy::Write {
        "at the destination only will stay (policy write)".to_owned()
    } else if limit.keeps_extras {
        "at the destination only will stay (--max-deletes 0)".to_owned()
    } else {
        format!("will be deleted from {destination}, if {source} has no such object by then")
    };
    format!("{text}\n{extras} {outcome}.")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};
    use crate::render::rules::tests::a_rule;

    fn limit(line: &str, policy: Policy, extra: u64) -> Result<Limit, String> {
        let line = format!("tandem verify a --repair {line}");
        let Command::Verify(args) = Cli::parse_from(line.split_whitespace()).command else {
            panic!("another command");
        };
        let found = Found {
            missing: 1,
            different: 2,
            extra,
        };
        Limit::of(&args, policy, &found, "rule-1").map_err(|error| error.to_string())
    }

    fn may_delete(max: u64, has_to_ask: bool) -> Limit {
        Limit {
            deletes_max: Some(max),
            has_to_ask,
            keeps_extras: max == 0,
        }
    }

    #[test]
    fn a_repair_asks_before_deletes_up_to_the_limit_and_refuses_more() {
        let full = |line, extra| limit(line, Policy::Full, extra);
        assert_eq!(full("", 0), Ok(may_delete(1000, false)));
        assert_eq!(full("", 1000), Ok(may_delete(1000, true)));
        assert!(full("", 1001).unwrap_err().contains("1,001 objects"));
        assert_eq!(full("--max-deletes 5", 5), Ok(may_delete(5, true)));
        assert!(full("--max-deletes 5", 6).unwrap_err().contains("--yes"));
    }

    #[test]
    fn yes_allows_the_deletes_that_were_found_but_not_more_than_max_deletes() {
        let full = |line, extra| limit(line, Policy::Full, extra);
        assert_eq!(full("--yes", 5000), Ok(may_delete(5000, false)));
        assert_eq!(full("--yes --max-deletes 5", 5), Ok(may_delete(5, false)));
        assert!(full("--yes --max-deletes 5", 6).is_err());
    }

    #[test]
    fn nothing_is_deleted_under_policy_write_or_with_a_limit_of_0() {
        assert_eq!(
            limit("--max-deletes 0", Policy::Full, 9),
            Ok(may_delete(0, false))
        );
        let write = limit("", Policy::Write, 5000).unwrap();
        assert_eq!((write.deletes_max, write.has_to_ask), (None, false));
    }

    #[test]
    fn a_repair_says_what_it_will_do() {
        let found = Found {
            missing: 1,
            different: 2,
            extra: 4,
        };
        let deleting = limit("", Policy::Full, 4).unwrap();
        let mut rule = a_rule();
        let text = intention(&rule, &found, &deleting);
        assert!(
            text.starts_with("3 objects will be copied to photos-replica"),
            "{text}"
        );
        assert!(text.contains("4 objects will be deleted"), "{text}");
        let keeping = limit("--max-deletes 0", Policy::Full, 4).unwrap();
        assert!(!intention(&rule, &found, &keeping).contains("deleted"));
        rule.policy = Policy::Write;
        let text = intention(&rule, &found, &limit("", Policy::Write, 4).unwrap());
        assert!(text.contains("will stay (policy write)"), "{text}");
    }
}
