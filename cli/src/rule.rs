//! `tandem rule`: creates, shows, changes and deletes rules. I/O: `configure-rule`, stdout, and one
//! question before a rule is deleted.

mod import;

use crate::args::rule::{CreateArgs, RuleCommand, UpdateArgs};
use crate::args::{Global, Output};
use crate::client::{Answer, Client};
use crate::contract::{ConfigureRule, Destinations, Rule, RuleAnswer, RulesAnswer};
use crate::error::Error;
use crate::exit::Exit;
use crate::render;
use crate::terminal;
use crate::token;

/// Runs a command. `import` makes its own connection, because a dry run needs none.
pub async fn run(global: &Global, command: RuleCommand) -> Result<Exit, Error> {
    let output = global.output;
    let connect = || Client::connect(global);
    let show = |answer: Answer| show_rule(output, &answer);
    match command {
        RuleCommand::Create(args) => show(create(&connect().await?, &args).await?),
        RuleCommand::List => list(&connect().await?, output).await,
        RuleCommand::Show { rule } => {
            let request = ConfigureRule::Get { rule: &rule.name };
            show(connect().await?.configure_rule(&request).await?)
        }
        RuleCommand::Update(args) => show(update(&connect().await?, &args).await?),
        RuleCommand::Pause { rule } => {
            let request = ConfigureRule::Pause { rule: &rule.name };
            show(connect().await?.configure_rule(&request).await?)
        }
        RuleCommand::Resume { rule } => {
            let request = ConfigureRule::Resume { rule: &rule.name };
            show(connect().await?.configure_rule(&request).await?)
        }
        RuleCommand::Delete { rule, yes } => {
            delete(&connect().await?, output, &rule.name, yes).await
        }
        RuleCommand::Import(args) => import::run(global, &args).await,
        RuleCommand::Destinations { source } => {
            destinations(&connect().await?, output, &source).await
        }
    }
}

async fn create(client: &Client, args: &CreateArgs) -> Result<Answer, Error> {
    let request = ConfigureRule::Create {
        source: &args.source,
        destination: &args.destination,
        destination_region: args.destination_region.as_deref(),
        scope: args.scope(),
        policy: args.policy,
        options: args.options().if_any(),
        historical: args.historical,
        token: &token::new(),
    };
    client.configure_rule(&request).await
}

async fn update(client: &Client, args: &UpdateArgs) -> Result<Answer, Error> {
    let token = args.change.historical.then(token::new);
    let request = ConfigureRule::Update {
        rule: &args.rule.name,
        scope: args.change.scope(),
        policy: args.change.policy,
        options: args.change.options.changes().if_any(),
        historical: args.change.historical.then_some(true),
        token: token.as_deref(),
    };
    client.configure_rule(&request).await
}

async fn list(client: &Client, output: Output) -> Result<Exit, Error> {
    let answer = client.configure_rule(&ConfigureRule::List).await?;
    if output == Output::Json {
        terminal::print_json(&answer.json)?;
        return Ok(Exit::Ok);
    }
    let rules = answer.read::<RulesAnswer>()?.rules;
    if rules.is_empty() {
        terminal::note("There are no rules yet; `tandem rule create` creates one.");
    } else {
        terminal::print(render::rules::rules(&rules))?;
    }
    Ok(Exit::Ok)
}

async fn delete(client: &Client, output: Output, name: &str, yes: bool) -> Result<Exit, Error> {
    let before = client
        .configure_rule(&ConfigureRule::Get { rule: name })
        .await?;
    let rule = before.read::<RuleAnswer>()?.rule;
    if !yes && !terminal::confirm(&question(&rule))? {
        return Err(Error::Usage("the rule was not deleted".to_owned()));
    }
    // Delete the rule that was found, even if another one has its buckets by now.
    let delete = ConfigureRule::Delete { rule: &rule.id };
    let answer = match client.configure_rule(&delete).await {
        // The rule existed a moment ago: the answer to a first invocation was lost, or another caller has deleted it.
        Err(Error::Refused { code, .. }) if code == "RuleNotFound" => before,
        answer => answer?,
    };
    if output == Output::Json {
        terminal::print_json(&answer.json)?;
        return Ok(Exit::Ok);
    }
    terminal::print(format!(
        "Rule {} is deleted. Tandem has deleted no objects of {} or {}.",
        rule.id, rule.source.bucket, rule.destination.bucket
    ))?;
    Ok(Exit::Ok)
}

fn question(rule: &Rule) -> String {
    format!(
        "Changes of {} will no longer be replicated to {}. Tandem deletes no objects.\n\
         Delete rule {}?",
        render::bucket(&rule.source),
        render::bucket(&rule.destination),
        rule.id
    )
}

async fn destinations(client: &Client, output: Output, source: &str) -> Result<Exit, Error> {
    let request = ConfigureRule::Destinations { source };
    let answer = client.configure_rule(&request).await?;
    if output == Output::Json {
        terminal::print_json(&answer.json)?;
    } else {
        terminal::print(render::rules::destinations(&answer.read::<Destinations>()?))?;
    }
    Ok(Exit::Ok)
}

fn show_rule(output: Output, answer: &Answer) -> Result<Exit, Error> {
    if output == Output::Json {
        terminal::print_json(&answer.json)?;
        return Ok(Exit::Ok);
    }
    let RuleAnswer {
        rule,
        job_id,
        remarks,
    } = answer.read()?;
    terminal::print(render::rules::rule(&rule))?;
    for remark in remarks {
        terminal::note(remark);
    }
    if let Some(job_id) = job_id {
        terminal::note(format!(
            "Backfill {job_id} is started; see `tandem status {} --watch`.",
            rule.source.bucket
        ));
    }
    Ok(Exit::Ok)
}
