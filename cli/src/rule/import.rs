//! `tandem rule import`: shows how Tandem would carry over another service's configuration, and creates the rule.
//! I/O: a file, `configure-rule`, stdout, and one question.

use std::fs;
use std::io::{self, Read};

use serde_json::json;

use crate::args::import::ImportArgs;
use crate::args::{Global, Output};
use crate::client::{Answer, Client};
use crate::contract::{ConfigureRule, RuleAnswer};
use crate::error::Error;
use crate::exit::Exit;
use crate::import::{Plan, Planned, plan};
use crate::render;
use crate::terminal;
use crate::token;

/// Reads the file, shows the plan, and creates the rule. A dry run needs no stack.
pub async fn run(global: &Global, args: &ImportArgs) -> Result<Exit, Error> {
    let output = global.output;
    let plan = plan(
        &read(&args.file)?,
        &args.source,
        args.destination.as_deref(),
    )
    .map_err(|error| Error::Usage(format!("{}: {error}", args.file)))?;
    if output == Output::Table {
        terminal::print(render::import::plan(&plan))?;
    }
    let (Some(rule), false) = (&plan.rule, args.dry_run) else {
        if output == Output::Json {
            terminal::print_json(&plan)?;
        }
        return if plan.rule.is_none() {
            Err(Error::Usage(format!(
                "no rule was created from {}: nothing of it can be carried over",
                args.file
            )))
        } else {
            Ok(Exit::Ok)
        };
    };
    let client = Client::connect(global).await?;
    if !args.yes && !terminal::confirm("Create this rule?")? {
        return Err(Error::Usage("no rule was created".to_owned()));
    }
    let answer = create(&client, rule).await?;
    show(output, &plan, &answer)
}

fn read(file: &str) -> Result<Vec<u8>, Error> {
    let read = if file == "-" {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(file)
    };
    read.map_err(|error| Error::Usage(format!("cannot read {file}: {error}")))
}

async fn create(client: &Client, rule: &Planned) -> Result<Answer, Error> {
    let request = ConfigureRule::Create {
        source: &rule.source,
        destination: &rule.destination,
        destination_region: None,
        scope: rule.scope.clone(),
        policy: rule.policy,
        options: rule.options.clone().if_any(),
        historical: rule.historical,
        token: &token::new(),
    };
    client.configure_rule(&request).await
}

fn show(output: Output, plan: &Plan, answer: &Answer) -> Result<Exit, Error> {
    if output == Output::Json {
        let mut document = answer.json.clone();
        document["notes"] = json!(plan.notes);
        terminal::print_json(&document)?;
        return Ok(Exit::Ok);
    }
    let RuleAnswer { rule, remarks, .. } = answer.read()?;
    for remark in remarks {
        terminal::note(remark);
    }
    terminal::print(format!(
        "Rule {} is created. The old configuration still exists: when `tandem status {}` shows what you expect, remove \
         it (aws s3api delete-bucket-replication --bucket {}).",
        rule.id, rule.source.bucket, rule.source.bucket
    ))?;
    Ok(Exit::Ok)
}
