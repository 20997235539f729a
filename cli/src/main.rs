//! The `tandem` command. Parses the arguments, runs one command, and turns its outcome into an exit code.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod args;
mod backfill;
mod client;
mod compare;
mod comparison;
mod contract;
mod error;
mod estimate;
mod exit;
mod failures;
mod human;
mod import;
mod job;
mod listing;
mod plan;
mod rate;
mod render;
mod repair;
mod report;
mod rule;
mod status;
mod survey;
mod terminal;
mod token;
mod verify;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use tandem_prices as prices;

use crate::args::backfill::BackfillCommand;
use crate::args::{Cli, Command};
use crate::client::Client;
use crate::error::Error;
use crate::exit::Exit;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version arrive here too. A reader that has closed the pipe is no failure.
            let _ = answer.print();
            return if answer.use_stderr() {
                Exit::Refused
            } else {
                Exit::Ok
            }
            .into();
        }
    };
    run(cli)
        .await
        .unwrap_or_else(|error| {
            terminal::report(&error);
            error.exit()
        })
        .into()
}

async fn run(cli: Cli) -> Result<Exit, Error> {
    cli.command.check(terminal::can_ask())?;
    if let Command::Backfill {
        command: BackfillCommand::Prices,
    } = cli.command
    {
        // Showing prices needs no AWS account.
        return plan::print_prices();
    }
    let output = cli.global.output;
    let connect = || Client::connect(&cli.global);
    match cli.command {
        Command::Rule { command } => rule::run(&cli.global, command).await,
        Command::Backfill { command } => backfill::run(&connect().await?, output, command).await,
        Command::Status(args) => status::run(&connect().await?, output, args).await,
        Command::Failures { command } => failures::run(&connect().await?, output, command).await,
        Command::Verify(args) if args.repair => repair::run(&connect().await?, output, args).await,
        Command::Verify(args) => verify::run(&connect().await?, output, args).await,
    }
}
