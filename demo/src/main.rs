//! `tandem-demo`: Tandem's main work on a local cloud, as a user would do it. Parses the arguments,
//! runs the steps, and turns their outcome into an exit code.

mod args;
mod default_tree;
mod expected;
mod live;
mod memory;
mod read_back;
mod report;
mod requests;
mod settle;
mod source_tree;
mod story;
mod upload;

use clap::Parser;
use tandem_demo::{
    awkward, cloud, console, endpoint, error, interrupt, lag, object, tandem_command,
};

use crate::args::Args;
use crate::error::Error;
use crate::story::Names;

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let names = Names::new();
    let end = tokio::select! {
        end = story::tell(&args, &names) => end,
        error = interrupt::interrupted() => Err(error),
    };
    let code = end.map_or_else(|error| report(&error, &names), |()| 0);
    // Exits instead of returning, because a background task may still be reading the folder.
    std::process::exit(code);
}

/// Prints why the demo ended early, and returns the exit code.
fn report(error: &Error, names: &Names) -> i32 {
    console::end_line();
    console::note(match error {
        Error::Interrupted { .. } => "interrupted".to_owned(),
        _ => format!("error: {error}"),
    });
    if names.are_used() {
        console::note(format!(
            "these stay in the local cloud until it stops: the buckets {} and {}, and their rule",
            names.source, names.destination
        ));
    }
    error.exit_code()
}
