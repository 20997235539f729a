//! The command's standard streams: answers to stdout, everything else to stderr, and a reader
//! that goes away is an ordinary end. Its clock, and Ctrl-C, too. I/O.

use std::env;
use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::error::Error;

/// Writes an answer to stdout.
pub fn print(text: impl AsRef<str>) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", text.as_ref())
        .and_then(|()| stdout.flush())
        .map_err(Error::Output)
}

/// Writes a JSON document over as many lines as it is readable on.
pub fn print_json(document: &impl Serialize) -> Result<(), Error> {
    print(serde_json::to_string_pretty(document).map_err(|error| Error::Output(error.into()))?)
}

/// Writes a JSON document on one line, for a stream of them.
pub fn print_json_line(document: &impl Serialize) -> Result<(), Error> {
    print(serde_json::to_string(document).map_err(|error| Error::Output(error.into()))?)
}

/// Tells the user something that is not the answer.
pub fn note(text: impl AsRef<str>) {
    // Nobody there to read it is no reason to fail.
    let _ = writeln!(io::stderr(), "{}", text.as_ref());
}

/// Says why the command ends, unless whoever is there knows already.
pub fn report(error: &Error) {
    match error {
        Error::Interrupted => {}
        Error::Output(cause) if cause.kind() == io::ErrorKind::BrokenPipe => {}
        _ => note(format!("error: {error}")),
    }
}

/// Whether colours are wanted on stdout (<https://no-color.org>).
pub fn has_colours() -> bool {
    io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether somebody is there to see a bar move.
pub fn shows_bars() -> bool {
    io::stderr().is_terminal()
}

/// Whether somebody is there to be asked.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a question whose ordinary answer is no.
pub fn confirm(question: &str) -> Result<bool, Error> {
    let mut stderr = io::stderr();
    write!(stderr, "{question} [y/N] ")
        .and_then(|()| stderr.flush())
        .map_err(Error::Output)?;
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Error::Usage(format!("cannot read the answer: {error}")))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// This machine's clock; only ever shown, or measured against itself.
pub fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// Runs `work`, and ends it where the user presses Ctrl-C.
pub async fn until_interrupted<T>(
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        // Ctrl-C is listened for before the work begins, so that it always ends in order.
        biased;
        Ok(()) = tokio::signal::ctrl_c() => Err(Error::Interrupted),
        result = work => result,
    }
}
