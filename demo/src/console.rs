//! The demo's output: the steps go to stdout. Bars go to stderr, or, if it is no terminal, a line
//! from time to time. I/O: both streams. The demo does not fail if a stream is closed.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, HumanCount, ProgressBar, ProgressFinish, ProgressStyle};

/// The time between two progress lines if there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

static STEPS: AtomicU32 = AtomicU32::new(0);

/// Announces the next step.
pub fn step(text: impl AsRef<str>) {
    let number = STEPS.fetch_add(1, Ordering::Relaxed) + 1;
    print(&format!("\n{number}. {}", text.as_ref()));
}

/// Prints text about the step.
pub fn say(text: impl AsRef<str>) {
    let mut indented = String::new();
    for line in text.as_ref().lines() {
        // Writing to a string cannot fail.
        let _ = writeln!(indented, "   {line}");
    }
    print(indented.trim_end_matches('\n'));
}

/// Prints the result of a successful check.
pub fn check(text: impl AsRef<str>) {
    say(format!("✓ {}", text.as_ref()));
}

/// Writes a line unchanged.
pub fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// Prints a message to stderr.
pub fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr(), "{}", text.as_ref());
}

/// Ends a line that a bar, or the terminal's `^C`, may have left half-written.
pub fn end_line() {
    if io::stderr().is_terminal() {
        let _ = writeln!(io::stderr());
    }
}

/// `1,234`.
pub fn count(number: impl TryInto<u64>) -> String {
    HumanCount(number.try_into().unwrap_or(u64::MAX)).to_string()
}

/// `1,234 objects`, `1 object`.
pub fn counted(number: impl TryInto<u64>, noun: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// `7.75 MiB`.
pub fn bytes(number: u64) -> String {
    BinaryBytes(number).to_string()
}

/// `410 ms`, `1.9 s`, `2 min 5 s`.
pub fn duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        ..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", duration.as_secs_f64()),
        _ => format!(
            "{} min {} s",
            duration.as_secs() / 60,
            duration.as_secs() % 60
        ),
    }
}

/// Returns text that is safe on one line: characters that could move the cursor are escaped.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Like [`shown`], without the middle if it is too long for a line.
pub fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 90;
    let text = shown(text);
    let chars = text.chars().count();
    if chars <= CHARS_MAX {
        return text;
    }
    let start: String = text.chars().take(CHARS_MAX / 2).collect();
    let end: String = text.chars().skip(chars - CHARS_MAX / 2).collect();
    format!("{start}…{end}")
}

/// A bar, or lines if there is no terminal.
pub struct Meter {
    bar: ProgressBar,
    what: &'static str,
    last_line: Instant,
}

impl Meter {
    /// A meter for work that is done `total` times.
    pub fn start(what: &'static str, total: usize) -> Self {
        let bar = ProgressBar::new(total as u64);
        let template = "   {prefix} {bar:24} {human_pos}/{human_len} {msg} [{elapsed}]";
        Self::show_bar(bar, template, what)
    }

    /// A meter for work whose end is not known beforehand.
    pub fn waiting(what: &'static str) -> Self {
        let template = "   {spinner} {prefix} {msg} [{elapsed}]";
        Self::show_bar(ProgressBar::new(0), template, what)
    }

    fn show_bar(bar: ProgressBar, template: &str, what: &'static str) -> Self {
        let bar = bar.with_finish(ProgressFinish::AndClear).with_prefix(what);
        bar.set_style(
            ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("█▓░"),
        );
        bar.enable_steady_tick(Duration::from_millis(200));
        Self {
            bar,
            what,
            last_line: Instant::now(),
        }
    }

    /// Counts one more as done.
    pub fn advance(&mut self, beside: impl FnOnce() -> String) {
        self.bar.inc(1);
        self.show(beside);
    }

    /// Shows the progress.
    pub fn show(&mut self, beside: impl FnOnce() -> String) {
        if !self.bar.is_hidden() {
            self.bar.set_message(beside());
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let counts = match self.bar.length() {
                Some(0) | None => String::new(),
                Some(total) => format!("{}/{} ", count(self.bar.position()), count(total)),
            };
            note(format!("   {} {counts}{}", self.what, beside()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_move_the_cursor() {
        assert_eq!(
            shown("a b+é😀\u{1b}[2J\n\u{7}"),
            "a b+é😀\\u{1b}[2J\\n\\u{7}"
        );
    }

    #[test]
    fn a_text_that_is_too_long_loses_its_middle() {
        assert_eq!(shortened("short"), "short");
        let long = shortened(&format!("a{}z", "é".repeat(1000)));
        assert!(long.starts_with("aé") && long.ends_with("éz") && long.chars().count() == 91);
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(counted(1_u64, "object"), "1 object");
        assert_eq!(counted(1_234_usize, "object"), "1,234 objects");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let shown = [999, 1_940, 125_000].map(|ms| duration(Duration::from_millis(ms)));
        assert_eq!(shown, ["999 ms", "1.9 s", "2 min 5 s"]);
    }
}
