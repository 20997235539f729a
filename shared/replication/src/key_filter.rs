//! The prefix or suffix by which S3 selects the keys of a notification: its written form in a configuration, and the
//! keys that it matches. No I/O.
//!
//! S3 requires a space in it to be written as `+`, and every other special character to be percent-encoded:
//! `schemaVersion=1/` has to be written `schemaVersion%3D1/`. If it is not encoded, it matches no key. Sources: S3 user
//! guide, "Configuring event notifications using object key name filtering"; AWS re:Post knowledge center, "Why doesn't
//! my Amazon S3 event notification trigger my Lambda function?" (its example is `test%3Dabc/`); github.com/aws/aws-cdk,
//! pull request 28012 (a user's filter with a plain `=` sent nothing).

use std::borrow::Cow;
use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// S3's limit on the length of a prefix or suffix, in characters as they are written (S3 API reference,
/// `FilterRule`).
const WRITTEN_CHARS_MAX: usize = 1_024;

/// The characters to percent-encode: all but letters, digits and these. A space becomes `+`.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.');

/// Characters whose required form is not known. The user guide calls them safe, so they should need no encoding. But S3
/// encodes some of them in the keys of notifications, and the user guide does not allow `*` in filters.
const UNDECIDED: &str = "!*'()";

/// A prefix or a suffix of keys, in the form that S3 uses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyFilter(String);

impl KeyFilter {
    /// Takes a filter from a notification configuration. The empty filter matches every key.
    pub fn read(written: impl Into<String>) -> Self {
        Self(written.into())
    }

    /// Returns the filter for the keys that begin with `prefix`. If it is not known how to write a character, or if the
    /// filter would become too long, the filter ends before that character. A shorter filter only matches more keys.
    pub fn of_prefix(prefix: &str) -> Self {
        let mut written = String::new();
        for c in prefix.chars() {
            let next = match c {
                ' ' => "+".to_owned(),
                _ => utf8_percent_encode(c.encode_utf8(&mut [0; 4]), PLAIN).to_string(),
            };
            if UNDECIDED.contains(c) || written.len() + next.len() > WRITTEN_CHARS_MAX {
                break;
            }
            written.push_str(&next);
        }
        Self(written)
    }

    /// Returns the filter as it is written in a notification configuration.
    pub fn as_written(&self) -> &str {
        &self.0
    }

    /// Returns whether the filter matches every key.
    pub fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the bytes that a key has to begin or end with. They need not be UTF-8.
    pub fn bytes(&self) -> Vec<u8> {
        percent_decode_str(&self.0.replace('+', " ")).collect()
    }

    /// Returns whether a special character in the filter is not encoded, so that S3 sends nothing for the filter.
    pub fn matches_nothing(&self) -> bool {
        let is_written = |b: u8| b.is_ascii_alphanumeric() || b"/-_.+%".contains(&b);
        let escapes = self.0.split('%').skip(1);
        let mut escapes = escapes.map(|rest| rest.as_bytes().get(..2));
        let is_escape = |digits: Option<&[u8]>| {
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        };
        let is_undecided = |b: u8| UNDECIDED.as_bytes().contains(&b);
        !self.0.bytes().all(|b| is_written(b) || is_undecided(b)) || !escapes.all(is_escape)
    }

    /// Returns whether every key that begins with `narrower` begins with this filter.
    pub fn is_prefix_of(&self, narrower: &Self) -> bool {
        narrower.bytes().starts_with(&self.bytes())
    }

    /// Returns whether a key can begin with both.
    pub fn shares_prefix_with(&self, other: &Self) -> bool {
        self.is_prefix_of(other) || other.is_prefix_of(self)
    }

    /// Returns whether a key can end with both.
    pub fn shares_suffix_with(&self, other: &Self) -> bool {
        let (a, b) = (self.bytes(), other.bytes());
        a.ends_with(&b) || b.ends_with(&a)
    }
}

/// Shows the filter without its encoding, as keys have it.
impl fmt::Display for KeyFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes();
        let text: Cow<'_, str> = String::from_utf8_lossy(&bytes);
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn special_characters_are_encoded_as_s3_reads_them() {
        for (prefix, written) in [
            ("", ""),
            ("logs/2026-11/a_b.c", "logs/2026-11/a_b.c"),
            ("test=abc/", "test%3Dabc/"),
            ("red flower/", "red+flower/"),
            ("a+b/100%/", "a%2Bb/100%25/"),
            ("ü/\n", "%C3%BC/%0A"),
            ("a&b$c,d:e;f?g@h", "a%26b%24c%2Cd%3Ae%3Bf%3Fg%40h"),
            ("~[]{}^`|\\\"<>#", "%7E%5B%5D%7B%7D%5E%60%7C%5C%22%3C%3E%23"),
        ] {
            let filter = KeyFilter::of_prefix(prefix);
            assert_eq!(filter.as_written(), written, "{prefix:?}");
            assert_eq!(filter.bytes(), prefix.as_bytes(), "{prefix:?}");
        }
    }

    #[test]
    fn a_filter_ends_before_a_character_whose_form_is_not_known() {
        for (prefix, written) in [
            ("a b(1)/", "a+b"),
            ("it's", "it"),
            ("*", ""),
            ("x=!y", "x%3D"),
        ] {
            assert_eq!(KeyFilter::of_prefix(prefix).as_written(), written);
        }
    }

    #[test]
    fn a_filter_is_at_most_1024_characters_long_and_ends_with_a_whole_character() {
        let filter = KeyFilter::of_prefix(&"ü".repeat(512));
        assert_eq!(filter.as_written().len(), 1_020);
        assert_eq!(filter.to_string(), "ü".repeat(170));
        let plain = "a".repeat(1_024);
        assert_eq!(KeyFilter::of_prefix(&plain).as_written(), plain);
    }

    #[test]
    fn either_case_of_a_digit_and_bytes_that_are_not_text_are_read() {
        assert_eq!(KeyFilter::read("a%3d").bytes(), b"a=");
        assert_eq!(KeyFilter::read("%ff%").bytes(), b"\xff%");
        assert_eq!(KeyFilter::read("%ff").to_string(), "\u{fffd}");
    }

    #[test]
    fn a_special_character_that_is_not_encoded_matches_nothing() {
        for written in ["a=1/", "red flower", "ü", "100%", "%3", "%zz", "a:b"] {
            assert!(KeyFilter::read(written).matches_nothing(), "{written}");
        }
        for written in [
            "",
            "a%3D1/",
            "red+flower",
            "%c3%BC",
            "a(1)",
            "it's!",
            "100%25",
        ] {
            assert!(!KeyFilter::read(written).matches_nothing(), "{written}");
        }
    }

    proptest! {
        #[test]
        fn every_key_with_the_prefix_matches_its_filter(prefix in any::<String>(), rest in any::<String>()) {
            let filter = KeyFilter::of_prefix(&prefix);
            let key = prefix + &rest;
            prop_assert!(key.as_bytes().starts_with(&filter.bytes()));
            prop_assert!(!filter.matches_nothing());
            prop_assert!(filter.as_written().len() <= WRITTEN_CHARS_MAX);
        }

        #[test]
        fn a_filter_is_shortened_only_before_characters_whose_form_is_not_known(prefix in any::<String>()) {
            let known = prefix.find(|c| UNDECIDED.contains(c)).map_or(prefix.as_str(), |at| &prefix[..at]);
            if known.len() * 3 <= WRITTEN_CHARS_MAX {
                prop_assert_eq!(KeyFilter::of_prefix(&prefix).bytes(), known.as_bytes());
            }
        }

        #[test]
        fn filters_of_any_bytes_share_keys_as_their_bytes_do(
            a in prop::collection::vec(any::<u8>(), 0..6), b in prop::collection::vec(any::<u8>(), 0..6),
        ) {
            let written = |bytes: &[u8]| {
                let each = bytes.iter().map(|b| format!("%{b:02x}"));
                KeyFilter::read(each.collect::<String>())
            };
            let (left, right) = (written(&a), written(&b));
            prop_assert_eq!(left.shares_prefix_with(&right), a.starts_with(&b) || b.starts_with(&a));
            prop_assert_eq!(left.shares_suffix_with(&right), a.ends_with(&b) || b.ends_with(&a));
        }

        #[test]
        fn any_text_can_be_read_as_a_filter(written in any::<String>()) {
            let filter = KeyFilter::read(written);
            let _ = (filter.bytes(), filter.to_string(), filter.matches_nothing());
        }
    }
}
