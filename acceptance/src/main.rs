//! `tandem-acceptance`: runs the whole product on the user's AWS account, or in smaller sizes on a local cloud. It
//! prints what it will do and what that costs, asks, deploys, runs the steps, and removes everything.

mod account;
mod announcement;
mod args;
mod cost;
mod deploy;
mod ending;
mod interrupts;
mod leftovers;
mod names;
mod removal;
mod report;
mod run;
mod scale;
mod stage;
mod steps;

use clap::Parser;

use crate::args::Args;

#[tokio::main]
async fn main() {
    let code = run::run(&Args::parse()).await;
    // Exits instead of returning, because a background thread may still be waiting for input from the terminal.
    std::process::exit(code);
}
