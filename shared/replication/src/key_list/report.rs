//! Writes keys and other text into the cells of a CSV report, so that no spreadsheet takes them for formulas, and so
//! that a report can be read back as a list of keys.
//!
//! A text that begins like a formula or with an apostrophe gets an apostrophe in front. Reading removes one apostrophe.
//! No two texts have the same cell. Source of what begins a formula: OWASP, "CSV Injection".

use std::borrow::Cow;

/// The columns of a report. A list whose first record is exactly these is read as a report.
pub const COLUMNS: [&str; 9] = [
    "key",
    "kind",
    "differs_in",
    "source_bytes",
    "source_etag",
    "source_modified_at",
    "destination_bytes",
    "destination_etag",
    "destination_modified_at",
];

/// The kind of a row about an object that only the destination has.
pub const EXTRA: &str = "extra";

/// The mark in front of a text that must not be taken for a formula.
const MARK: char = '\'';

/// Returns the cell for a text.
pub fn cell(text: &str) -> Cow<'_, str> {
    if text.starts_with(begins_a_formula) || text.starts_with(MARK) {
        Cow::Owned(format!("{MARK}{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Returns the text of a cell.
pub fn text(cell: &str) -> &str {
    cell.strip_prefix(MARK).unwrap_or(cell)
}

/// Returns whether a spreadsheet may take a cell that begins with this character for a formula. Excel skips white
/// space, and East Asian versions read full-width signs like ASCII ones.
fn begins_a_formula(first: char) -> bool {
    matches!(
        first,
        '=' | '+' | '-' | '@' | '|' | '＝' | '＋' | '－' | '＠'
    ) || first.is_whitespace()
        || first.is_control()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cell_never_begins_like_a_formula() {
        for (key, written) in [
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            (" =1", "' =1"),
            ("＝1", "'＝1"),
            ("'=1", "''=1"),
            ("a=1", "a=1"),
            ("2026/01/cat.jpg", "2026/01/cat.jpg"),
            ("", ""),
        ] {
            assert_eq!(cell(key), written);
            assert_eq!(text(written), key);
        }
    }

    proptest! {
        #[test]
        fn every_text_can_be_read_back_from_its_cell(key in "[-=+@'|\\t a]{0,3}\\PC{0,4}") {
            let written = cell(&key);
            prop_assert_eq!(text(&written), key.as_str());
            prop_assert!(!written.starts_with(begins_a_formula), "{:?}", written);
        }
    }
}
