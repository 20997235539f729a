//! `tandem-demo`: Tandem's whole main job on a local cloud, as a user would do it. Parses the
//! arguments, tells the story, turns its end into an exit code.

mod args;
mod awkward;
mod cloud;
mod console;
mod default_tree;
mod endpoint;
mod error;
mod lag;
mod live;
mod memory;
mod object;
mod read_back;
mod report;
mod requests;
mod settle;
mod source_tree;
mod story;
mod tandem_command;
mod upload;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Args;
use crate::error::Error;
use crate::story::Names;

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let names = Names::new();
    let end = tokio::select! {
        end = story::tell(&args, &names) => end,
        error = interrupted() => Err(error),
    };
    let code = end.map_or_else(|error| report(&error, &names), |()| 0);
    // Not by returning: a folder may still be walked in the background, and nobody waits for it.
    std::process::exit(code);
}

/// Waits for Ctrl-C, or to be told to end.
async fn interrupted() -> Error {
    let number = match (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) {
        (Ok(mut interrupt), Ok(mut terminate)) => tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
        },
        // Signals that cannot be caught end the program by themselves.
        _ => std::future::pending().await,
    };
    Error::Interrupted {
        signal: number.as_raw_value(),
    }
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
