//! The command's standard streams: answers go to stdout, everything else to stderr, and a reader that
//! closes the pipe is no failure. Also the clock and Ctrl-C. I/O.

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

/// Writes an indented JSON document.
pub fn print_json(document: &impl Serialize) -> Result<(), Error> {
    print(serde_json::to_string_pretty(document).map_err(|error| Error::Output(error.into()))?)
}

/// Writes a JSON document on one line, for a stream of documents.
pub fn print_json_line(document: &impl Serialize) -> Result<(), Error> {
    print(serde_json::to_string(document).map_err(|error| Error::Output(error.into()))?)
}

/// Prints a message that is not part of the answer.
pub fn note(text: impl AsRef<str>) {
    // The command does not fail if stderr is closed.
    let _ = writeln!(io::stderr(), "{}", text.as_ref());
}

/// Prints why the command ends, unless the user knows it already.
pub fn report(error: &Error) {
    match error {
        Error::Interrupted => {}
        Error::Output(cause) if cause.kind() == io::ErrorKind::BrokenPipe => {}
        _ => note(format!("error: {error}")),
    }
}

/// Returns whether colours are wanted on stdout (<https://no-color.org>).
pub fn has_colours() -> bool {
    io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Returns whether stderr is a terminal that can show a bar.
pub fn shows_bars() -> bool {
    io::stderr().is_terminal()
}

/// Returns whether a terminal is there to ask a question on.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a question whose default answer is no.
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

/// Returns the time of this machine's clock. It is only shown, or compared with itself.
pub fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// Runs `work`, and stops it if the user presses Ctrl-C.
pub async fn until_interrupted<T>(
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        // The handler for Ctrl-C is set before the work begins, so that the command always ends in order.
        biased;
        Ok(()) = tokio::signal::ctrl_c() => Err(Error::Interrupted),
        result = work => result,
    }
}
