//! `tandem-demo`: Tandem's whole main job on a local cloud, as a user would do it. Parses the
//! arguments, tells the story, turns its end into an exit code.

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
    // Not by returning: a folder may still be walked in the background, and nobody waits for it.
    std::process::exit(code);
}

/// Says why the story ended early, and answers the exit code for it.
fn report(error: &Error, names: &Names) -> i32 {
    console::end_line();
    console::note(match error {
        Error::Interrupted { .. } => "interrupted".to_owned(),
        _ => format!("error: {error}"),
    });
    if names.are_used() {
        console::note(format!(
            "left in the local cloud, for as long as that is up: the buckets {} and {}, and their rule",
            names.source, names.destination
        ));
    }
    error.exit_code()
}
