//! `tandem-acceptance`: the whole product on an AWS account of the user's, or smaller on a local cloud. Says what it
//! will do and costs, asks, deploys, does the steps, and removes everything.

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
    // Not by returning: the terminal may still be read in the background, and nobody waits for that.
    std::process::exit(code);
}
