//! Numbers, times and keys as people read them. No I/O.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use indicatif::{BinaryBytes, HumanCount};

/// The text for a number that is not known.
pub const UNKNOWN: &str = "unknown";

/// `1,234`.
pub fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// `1,234`, or that it is not known.
pub fn maybe_count(number: Option<u64>) -> String {
    number.map_or_else(|| UNKNOWN.to_owned(), count)
}

/// `1,234 objects`, `1 object`.
pub fn objects(number: u64) -> String {
    let noun = if number == 1 { "object" } else { "objects" };
    format!("{} {noun}", count(number))
}

/// `7.75 MiB`.
pub fn bytes(number: u64) -> String {
    BinaryBytes(number).to_string()
}

/// `410 ms`, `1.9 s`, `2 min 5 s`, `3 h 4 min`, `2 d 3 h`: two units at most.
pub fn millis(ms: f64) -> String {
    if ms < 999.5 {
        return format!("{ms:.0} ms");
    }
    if ms < 59_950.0 {
        return format!("{:.1} s", ms / 1000.0);
    }
    // The cast truncates on purpose; a negative or too large time saturates.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let secs = (ms / 1000.0).round() as u64;
    match secs {
        ..3600 => format!("{} min {} s", secs / 60, secs % 60),
        3600..86_400 => format!("{} h {} min", secs / 3600, secs % 3600 / 60),
        _ => format!("{} d {} h", secs / 86_400, secs % 86_400 / 3600),
    }
}

/// As [`millis`], or that it is not known.
pub fn maybe_millis(ms: Option<f64>) -> String {
    ms.map_or_else(|| UNKNOWN.to_owned(), millis)
}

/// `2026-11-22 21:04:58 UTC`.
pub fn instant(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `2026-11-22 21:04:58 UTC (4.0 s ago)`.
pub fn instant_and_age(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!("{} ({})", instant(at), age(at, now))
}

/// `4.0 s ago`. The two clocks may disagree; a time in the future counts as now.
pub fn age(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let age_ms = (now - at).num_milliseconds().max(0);
    format!("{} ago", millis(age_ms as f64))
}

/// `42.0 %`. Only a complete fraction is shown as 100 %.
pub fn percent(fraction: f64) -> String {
    let percent = fraction.clamp(0.0, 1.0) * 100.0;
    let shown = if percent < 100.0 {
        percent.min(99.9)
    } else {
        percent
    };
    format!("{shown:.1} %")
}

/// Returns a key in a form that is safe on one line of a terminal: characters that would move the
/// cursor, hide or reorder text are escaped, and quotes make spaces at the ends visible.
pub fn key(key: &str) -> String {
    let mut shown = String::with_capacity(key.len());
    for character in key.chars() {
        if character.is_control() || is_invisible(character) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "{}", character.escape_default());
        } else {
            shown.push(character);
        }
    }
    if shown.is_empty() || shown.starts_with(' ') || shown.ends_with(' ') {
        shown = format!("\"{shown}\"");
    }
    shown
}

/// Zero-width and bidirectional formatting characters, and Unicode's own line ends.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        let shown = [
            (0.0, "0 ms"),
            (410.4, "410 ms"),
            (999.6, "1.0 s"),
            (1900.0, "1.9 s"),
            (59_960.0, "1 min 0 s"),
            (125_000.0, "2 min 5 s"),
            (11_040_000.0, "3 h 4 min"),
            (183_600_000.0, "2 d 3 h"),
        ];
        for (ms, expected) in shown {
            assert_eq!(millis(ms), expected);
        }
    }

    #[test]
    fn only_a_complete_fraction_is_a_hundred_percent() {
        assert_eq!(percent(0.0), "0.0 %");
        assert_eq!(percent(0.42), "42.0 %");
        assert_eq!(percent(0.999_99), "99.9 %");
        assert_eq!(percent(1.0), "100.0 %");
        assert_eq!(percent(7.0), "100.0 %");
    }

    #[test]
    fn keys_cannot_move_the_cursor_or_hide() {
        assert_eq!(key("a b+c%20é.jpg"), "a b+c%20é.jpg");
        assert_eq!(key("a\nb\u{1b}[2J\t"), "a\\nb\\u{1b}[2J\\t");
        assert_eq!(key("gpj\u{202e}.exe"), "gpj\\u{202e}.exe");
        assert_eq!(key(" a "), "\" a \"");
        assert_eq!(key("\u{85}\u{2028}"), "\\u{85}\\u{2028}");
    }

    #[test]
    fn a_watermark_ahead_of_the_local_clock_counts_as_now() {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let now = DateTime::from_timestamp(1_799_999_990, 0).unwrap();
        assert!(instant_and_age(at, now).ends_with("(0 ms ago)"));
    }

    #[test]
    fn one_object_is_singular() {
        assert_eq!(objects(1), "1 object");
        assert_eq!(objects(1234), "1,234 objects");
    }
}
