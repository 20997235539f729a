//! `tandem verify`: whether a rule's two buckets agree, by listing both. I/O: `configure-rule`,
//! S3, stdout, and a spinner on stderr.

use std::time::Duration;

use aws_sdk_s3::error::SdkError;
use futures::stream::{StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::args::{Output, VerifyArgs};
use crate::client::Client;
use crate::compare::{self, Field, Tally, Verdict};
use crate::contract::{ConfigureRule, Policy, Rule, RuleAnswer, Scope};
use crate::error::Error;
use crate::exit::Exit;
use crate::human;
use crate::listing;
use crate::render;
use crate::terminal;

/// User metadata of a replica that could not keep its source's `ETag`: that one, without quotes.
const SOURCE_ETAG: &str = "tandem-source-etag";

/// Replicas that are asked about at once.
const ASKED_AT_ONCE: usize = 32;

/// Keys between two changes of the spinner's text.
const KEYS_PER_MESSAGE: u64 = 500;

pub async fn run(client: &Client, output: Output, args: VerifyArgs) -> Result<Exit, Error> {
    let request = ConfigureRule::Get {
        rule: &args.rule.name,
    };
    let answer = client.configure_rule(&request).await?;
    let rule = answer.read::<RuleAnswer>()?.rule;
    let prefixes = rule.scope.listing_prefixes(&args.prefix);
    if prefixes.is_empty() {
        return Err(outside_scope(&rule, &args.prefix));
    }
    let comparison = compare_buckets(client, &rule, prefixes.clone(), args.max_differences);
    let tally = terminal::until_interrupted(comparison).await?;
    match output {
        Output::Json => terminal::print_json(&Report::new(&rule, &prefixes, &tally))?,
        Output::Table => print_tables(&rule, &tally)?,
    }
    Ok(if tally.is_equal() {
        Exit::Ok
    } else {
        Exit::Differences
    })
}

async fn compare_buckets(
    client: &Client,
    rule: &Rule,
    prefixes: Vec<String>,
    differences_max: usize,
) -> Result<Tally, Error> {
    let source = client.s3(&rule.source.region);
    let destination = client.s3(&rule.destination.region);
    let bucket = rule.destination.bucket.as_str();
    let mut tally = Tally::new(rule.policy, differences_max);
    let spinner = spinner();
    let mut verdicts = std::pin::pin!(
        compare::merge(
            listing::list(source, &rule.source, prefixes.clone()),
            listing::list(destination.clone(), &rule.destination, prefixes),
        )
        .map_ok(|pair| settle(&destination, bucket, pair.judge()))
        .try_buffered(ASKED_AT_ONCE)
    );
    let mut keys: u64 = 0;
    while let Some(verdict) = verdicts.next().await {
        tally.add(verdict?);
        keys += 1;
        if keys.is_multiple_of(KEYS_PER_MESSAGE) {
            spinner.set_message(format!(
                "{} compared, {} differ",
                human::objects(keys),
                human::count(tally.differences_count())
            ));
        }
    }
    Ok(tally)
}

/// Asks the replica where its listing left the question open.
async fn settle(
    destination: &aws_sdk_s3::Client,
    bucket: &str,
    verdict: Verdict,
) -> Result<Verdict, Error> {
    let Verdict::AskReplica {
        source,
        destination: replica,
    } = verdict
    else {
        return Ok(verdict);
    };
    let head = destination
        .head_object()
        .bucket(bucket)
        .key(&replica.key)
        .send()
        .await;
    match head {
        Ok(head) => {
            let marked = head
                .metadata
                .as_ref()
                .and_then(|metadata| metadata.get(SOURCE_ETAG));
            Ok(if marked == Some(&source.etag) {
                Verdict::Same {
                    source,
                    destination: replica,
                }
            } else {
                Verdict::Different {
                    source,
                    destination: replica,
                    by: vec![Field::Etag],
                }
            })
        }
        // Deleted since it was listed.
        Err(SdkError::ServiceError(answer)) if answer.err().is_not_found() => {
            Ok(Verdict::Missing(source))
        }
        Err(error) => {
            let doing = format!(
                "reading the metadata of {bucket}/{}",
                human::key(&replica.key)
            );
            Err(Error::aws(doing, &error))
        }
    }
}

fn outside_scope(rule: &Rule, prefix: &str) -> Error {
    let covered = match &rule.scope {
        Scope::All => "every key".to_owned(),
        Scope::Prefixes(prefixes) => prefixes
            .iter()
            .map(|prefix| human::key(prefix))
            .collect::<Vec<_>>()
            .join(", "),
    };
    Error::Usage(format!(
        "--prefix {} is outside the scope of {}, which covers {covered}",
        human::key(prefix),
        rule.id
    ))
}

fn print_tables(rule: &Rule, tally: &Tally) -> Result<(), Error> {
    if !tally.differences.is_empty() || tally.differences_left_out > 0 {
        terminal::print(render::differences(tally))?;
    }
    terminal::print(render::tally(tally, rule.policy))?;
    let source = render::bucket(&rule.source);
    let destination = render::bucket(&rule.destination);
    let conclusion = match tally.differences_count() {
        0 if tally.source_objects() == 0 => {
            format!("{source} has no objects in the rule's scope, and {destination} agrees.")
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
struct Report<'a> {
    rule: &'a str,
    source: &'a str,
    destination: &'a str,
    policy: Policy,
    /// What was listed; one empty prefix is the whole bucket.
    prefixes: &'a [String],
    equal: bool,
    #[serde(flatten)]
    tally: &'a Tally,
}

impl<'a> Report<'a> {
    fn new(rule: &'a Rule, prefixes: &'a [String], tally: &'a Tally) -> Self {
        Self {
            rule: &rule.id,
            source: &rule.source.bucket,
            destination: &rule.destination.bucket,
            policy: rule.policy,
            prefixes,
            equal: tally.is_equal(),
            tally,
        }
    }
}

fn spinner() -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message("listing both buckets");
    spinner.set_style(
        ProgressStyle::with_template("{spinner} {msg} [{elapsed}]")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}
