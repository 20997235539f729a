//! `tandem backfill plan`: shows what a backfill would copy, replace and cost, without writing anything.
//! I/O: `configure-rule`, S3 listings, a price table's file, stdout.

use std::path::Path;

use serde::Serialize;

use crate::args::Output;
use crate::args::backfill::PlanArgs;
use crate::client::Client;
use crate::comparison::Extent;
use crate::contract::{Options, Overwrite};
use crate::error::Error;
use crate::estimate::{self, Estimate, Work};
use crate::exit::Exit;
use crate::prices::{self, Prices};
use crate::render;
use crate::survey::{ClassLoad, Newer, Survey, Volume};
use crate::terminal;

pub fn print_prices() -> Result<Exit, Error> {
    terminal::print(prices::TABLE.trim_end())?;
    Ok(Exit::Ok)
}

pub async fn run(client: &Client, output: Output, args: PlanArgs) -> Result<Exit, Error> {
    // The price table is read first, so that a bad one is refused before the listing.
    let prices = read_prices(args.prices.as_deref())?;
    let extent = Extent::of(client, &args.rule.name, &args.prefix).await?;
    let mut survey = Survey::new(args.examples);
    let walk = extent.walk(client, |verdict| {
        survey.add(verdict);
        Ok(survey.missing_objects() + survey.different())
    });
    terminal::until_interrupted(walk).await?;
    let work = work(&extent, &survey, &args);
    let estimate = estimate::estimate(&work, &prices);
    match output {
        Output::Json => {
            let document = Document::new(&extent, &survey, args.overwrite, &work, &estimate);
            terminal::print_json(&document)?;
        }
        Output::Table => {
            let rule = &extent.rule;
            terminal::print(render::plan::plan(rule, &survey, args.overwrite))?;
            terminal::print(render::plan::estimate(&estimate, &work, prices.as_of))?;
        }
    }
    Ok(Exit::Ok)
}

fn read_prices(file: Option<&Path>) -> Result<Prices, Error> {
    let Some(path) = file else {
        let own = Prices::parse(prices::TABLE);
        return own.map_err(|problem| Error::Usage(format!("the command's prices: {problem}")));
    };
    let refused = |problem: String| {
        Error::Usage(format!(
            "cannot use --prices {}: {problem}\n`tandem backfill prices` prints a table to start from",
            path.display()
        ))
    };
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    Prices::parse(&text).map_err(refused)
}

fn work(extent: &Extent, survey: &Survey, args: &PlanArgs) -> Work {
    let rule = &extent.rule;
    let Options {
        storage_class,
        encryption,
        kms_key,
        acl,
        object_lock,
        ..
    } = &rule.options;
    // With these options Tandem sends a HEAD to both sides: before a copy, or after it.
    let by_kms = kms_key.is_some() || encryption == "aws:kms";
    let heads = [by_kms || object_lock == "keep", acl == "keep"];
    Work {
        source_region: rule.source.region.clone(),
        destination_region: rule.destination.region.clone(),
        source_keys: survey.source.objects,
        destination_keys: survey.destination.objects,
        prefixes: extent.prefixes.len() as u64,
        pages_with_copies: survey.pages_with_copies(args.overwrite),
        different: survey.different(),
        load: survey.load(args.overwrite),
        storage_class: Some(storage_class.clone()).filter(|class| class != "keep"),
        reads_per_copy: 2 * heads.into_iter().filter(|sent| *sent).count() as u64,
        concurrency: args.concurrency,
        objects_per_sec: args.objects_per_sec,
    }
}

/// The answer as JSON.
#[derive(Serialize)]
struct Document<'a> {
    rule: &'a str,
    source: &'a str,
    destination: &'a str,
    /// The listed prefixes; one empty prefix is the whole bucket.
    prefixes: &'a [String],
    overwrite: &'static str,
    at_source: Volume,
    at_destination: Volume,
    /// What would be copied, and how many of these objects would replace a different one.
    copy: ClassLoad,
    replaced: u64,
    equal: Volume,
    missing: ClassLoad,
    different: u64,
    different_and_older: u64,
    extra: Volume,
    archived: Volume,
    examples: Vec<Example<'a>>,
    examples_left_out: u64,
    concurrency: u64,
    estimate: &'a Estimate,
}

/// A key under which the destination has a different object.
#[derive(Serialize)]
struct Example<'a> {
    key: &'a str,
    newer: Newer,
    source_bytes: u64,
    source_etag: &'a str,
    destination_bytes: u64,
    destination_etag: &'a str,
}

impl<'a> Document<'a> {
    fn new(
        extent: &'a Extent,
        survey: &'a Survey,
        overwrite: Overwrite,
        work: &Work,
        estimate: &'a Estimate,
    ) -> Self {
        let rule = &extent.rule;
        let examples = survey.examples.iter().map(|example| Example {
            key: &example.source.key,
            newer: example.newer,
            source_bytes: example.source.size,
            source_etag: &example.source.etag,
            destination_bytes: example.destination.size,
            destination_etag: &example.destination.etag,
        });
        Self {
            rule: &rule.id,
            source: &rule.source.bucket,
            destination: &rule.destination.bucket,
            prefixes: &extent.prefixes,
            overwrite: overwrite.word(),
            at_source: survey.source,
            at_destination: survey.destination,
            copy: survey.load(overwrite).total(),
            replaced: survey.replaced(overwrite),
            equal: survey.equal,
            missing: survey.missing.total(),
            different: survey.different(),
            different_and_older: survey.replaced(Overwrite::IfOlder),
            extra: survey.extra,
            archived: survey.archived,
            examples: examples.collect(),
            examples_left_out: survey.examples_left_out,
            concurrency: work.concurrency,
            estimate,
        }
    }
}
