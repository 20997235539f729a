//! `tandem failures`: shows failed objects, and retries them. I/O: `configure-rule`, stdout.

use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::{Value, json};

use crate::args::Output;
use crate::args::failures::{FailureChoice, FailuresCommand};
use crate::client::Client;
use crate::contract::{ConfigureRule, Failure, FailureAnswer, FailuresAnswer, RetryAnswer};
use crate::error::Error;
use crate::exit::Exit;
use crate::human;
use crate::render;
use crate::terminal;

/// The most failures that `configure-rule` returns in one answer.
const PAGE_MAX: u64 = 500;

pub async fn run(client: &Client, output: Output, command: FailuresCommand) -> Result<Exit, Error> {
    match command {
        FailuresCommand::List { choice, limit } => list(client, output, &choice, limit).await,
        FailuresCommand::Show { rule, key } => show(client, output, &rule, &key).await,
        FailuresCommand::Retry { choice, all } => {
            terminal::until_interrupted(retry(client, output, &choice, all)).await
        }
    }
}

async fn list(
    client: &Client,
    output: Output,
    choice: &FailureChoice,
    limit: u64,
) -> Result<Exit, Error> {
    let mut documents: Vec<Value> = Vec::new();
    let mut failures: Vec<Failure> = Vec::new();
    let mut next: Option<Value> = None;
    loop {
        let shown = documents.len() as u64;
        let request = ConfigureRule::Failures {
            rule: choice.rule.as_deref(),
            reason: choice.reason.as_deref(),
            key_prefix: choice.key_prefix.as_deref(),
            limit: (limit - shown).min(PAGE_MAX),
            after: next.as_ref(),
        };
        let answer = client.configure_rule(&request).await?;
        let page: FailuresAnswer = answer.read()?;
        failures.extend(page.failures);
        if let Some(page) = answer.json["failures"].as_array() {
            documents.extend(page.iter().cloned());
        }
        next = page.next;
        if next.is_none() || documents.len() as u64 >= limit {
            break;
        }
    }
    if output == Output::Json {
        terminal::print_json(&json!({"failures": documents, "next": next}))?;
        return Ok(Exit::Ok);
    }
    if failures.is_empty() {
        terminal::note(if choice.is_everything() {
            "No object has failed."
        } else {
            "No failures match these filters."
        });
        return Ok(Exit::Ok);
    }
    terminal::print(render::failures::failures(&failures))?;
    if next.is_some() {
        terminal::note(format!(
            "There are more than these {}; give --limit, --rule, --reason or --key-prefix.",
            human::count(limit)
        ));
    }
    terminal::note(
        "`tandem failures show RULE KEY` shows what to do; `tandem failures retry` retries.",
    );
    Ok(Exit::Ok)
}

async fn show(client: &Client, output: Output, rule: &str, key: &str) -> Result<Exit, Error> {
    let answer = client
        .configure_rule(&ConfigureRule::Failure { rule, key })
        .await?;
    if output == Output::Json {
        terminal::print_json(&answer.json)?;
    } else {
        let FailureAnswer { failure } = answer.read()?;
        terminal::print(render::failures::failure(&failure))?;
    }
    Ok(Exit::Ok)
}

/// Goes on until all chosen failures are sent for another attempt. An interruption does not undo those already sent.
async fn retry(
    client: &Client,
    output: Output,
    choice: &FailureChoice,
    all: bool,
) -> Result<Exit, Error> {
    let spinner = ProgressBar::with_draw_target(
        None,
        if terminal::shows_bars() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        },
    );
    let mut sum = RetryAnswer::default();
    loop {
        let request = ConfigureRule::Retry {
            rule: choice.rule.as_deref(),
            reason: choice.reason.as_deref(),
            key_prefix: choice.key_prefix.as_deref(),
            all: all.then_some(true),
            after: sum.next.as_ref(),
        };
        let answer: RetryAnswer = client.configure_rule(&request).await?.read()?;
        sum.add(answer);
        spinner.set_message(format!("{} sent", human::objects(sum.retried)));
        spinner.tick();
        if sum.next.is_none() {
            break;
        }
    }
    spinner.finish_and_clear();
    if output == Output::Json {
        terminal::print_json(&sum)?;
    } else {
        terminal::print(render::failures::retried(&sum))?;
        if sum.retried > 0 {
            terminal::note("`tandem failures list` shows the objects that fail again.");
        }
    }
    // The function retries no message that it could not read or did not receive.
    Ok(if sum.unreadable.count == 0 && !sum.unseen {
        Exit::Ok
    } else {
        Exit::Differences
    })
}
