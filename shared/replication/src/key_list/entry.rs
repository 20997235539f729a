//! Finds the key that a record names.

use std::str::Utf8Error;

use percent_encoding::percent_decode_str;

use super::records::{Field, Record};
use super::refused::{Problem, Refused};
use super::{KeyEncoding, Layout, report};
use crate::names::{BucketName, ObjectKey};

/// What a record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The record names a key.
    Key(NamedKey),
    /// The record names the columns.
    Header,
    /// The record is a blank line.
    Blank,
    /// The record names no key of the rule's source. Only this record fails.
    Wrong(LineProblem),
}

/// A key that a record names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedKey {
    /// The key.
    pub key: ObjectKey,
    /// Whether the record itself says that the source may have no such object: it is about a delete marker, about an
    /// older version, or about an object that only the destination has.
    pub may_be_absent: bool,
}

/// Why a record names no key of the rule's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineProblem {
    /// It names another bucket.
    #[error("the bucket is not the rule's source")]
    OtherBucket,
    /// It has too few columns.
    #[error("the line has no column for the key")]
    NoKey,
    /// The key is empty, or too long.
    #[error("a key has 1 to 1,024 bytes")]
    KeyLength,
    /// The decoded key is not text.
    #[error("the decoded key is not UTF-8, which every key in S3 is")]
    NotUtf8,
}

impl Layout {
    /// Returns which key of the bucket `source` a record names. If a record contradicts the layout, the list is
    /// refused.
    pub fn entry(&self, record: &Record, source: &BucketName) -> Result<Entry, Refused> {
        if self.header && record.at == 0 {
            return Ok(Entry::Header);
        }
        if let [only] = record.fields.as_slice()
            && only.text.is_empty()
            && !only.is_quoted
        {
            return Ok(Entry::Blank);
        }
        let (bucket, key) = match (&self.columns, record.fields.as_slice()) {
            (Some(columns), fields) => {
                let bucket = columns.bucket.and_then(|column| fields.get(column));
                let Some(key) = fields.get(columns.key) else {
                    return Ok(Entry::Wrong(LineProblem::NoKey));
                };
                (bucket, key)
            }
            (None, [key]) => (None, key),
            (None, [bucket, key, ..]) => {
                check_bucket(bucket, source)?;
                (Some(bucket), key)
            }
            (None, []) => return Ok(Entry::Blank),
        };
        if bucket.is_some_and(|bucket| !bucket.says(source.as_str())) {
            return Ok(Entry::Wrong(LineProblem::OtherBucket));
        }
        let text = utf8(key)?;
        if bucket.is_none() && self.columns.is_none() && text.starts_with("s3://") {
            return Err(Refused::at(key.place, Problem::Uri));
        }
        let key = match self.keys {
            KeyEncoding::Plain => text.to_owned(),
            KeyEncoding::Report => report::text(text).to_owned(),
            KeyEncoding::Encoded => match decoded(key, text)? {
                Ok(decoded) => decoded,
                Err(_) => return Ok(Entry::Wrong(LineProblem::NotUtf8)),
            },
        };
        Ok(match ObjectKey::parse(key) {
            Ok(key) => Entry::Key(NamedKey {
                key,
                may_be_absent: self.may_be_absent(record),
            }),
            Err(_) => Entry::Wrong(LineProblem::KeyLength),
        })
    }

    fn may_be_absent(&self, record: &Record) -> bool {
        let Some(columns) = &self.columns else {
            return false;
        };
        let says = |column: Option<usize>, word: &str| {
            let field = column.and_then(|column| record.fields.get(column));
            field.is_some_and(|field| field.without_spaces().eq_ignore_ascii_case(word.as_bytes()))
        };
        says(columns.is_latest, "false")
            || says(columns.is_delete_marker, "true")
            || says(columns.kind, report::EXTRA)
    }
}

/// Refuses a text that is not a bucket's name, because then the separator is part of a key. Also refuses a name that
/// only buckets from before 2018 have, unless it is the source's: a text such as `Red` is more likely part of a key.
fn check_bucket(field: &Field, source: &BucketName) -> Result<(), Refused> {
    if field.says(source.as_str()) {
        return Ok(());
    }
    let name = std::str::from_utf8(field.without_spaces()).unwrap_or_default();
    match BucketName::parse(name) {
        Ok(bucket) if !bucket.is_old() => Ok(()),
        _ => Err(Refused::at(field.place, Problem::NotABucket)),
    }
}

fn utf8(field: &Field) -> Result<&str, Refused> {
    std::str::from_utf8(&field.text).map_err(|error| {
        let at = error.valid_up_to();
        let byte = field.text.get(at).copied().unwrap_or_default();
        Refused::at(field.place_of(at), Problem::NotUtf8(byte))
    })
}

/// Decodes a key that is encoded as in a URL. The inner error means that the decoded key is not UTF-8.
///
/// A text without `%` and `+` is the same key with or without encoding. Any other text has to be what an encoder
/// writes. Otherwise the list is not encoded, and decoding would yield other keys.
fn decoded(field: &Field, text: &str) -> Result<Result<String, Utf8Error>, Refused> {
    if !field.is_quoted && (text.starts_with(' ') || text.ends_with(' ')) {
        return Err(Refused::at(field.place, Problem::OuterSpace));
    }
    if !text.contains(['%', '+']) {
        return Ok(Ok(text.to_owned()));
    }
    for (at, character) in text.char_indices() {
        let refused = |problem| Err(Refused::at(field.place_of(at), problem));
        if is_always_encoded(character) {
            return refused(Problem::NotEncoded(character));
        }
        let digits = text.as_bytes().get(at + 1..at + 3);
        if character == '%'
            && !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        {
            return refused(Problem::BadEscape);
        }
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    Ok(decoded.map(std::borrow::Cow::into_owned))
}

/// Returns whether every encoder of URLs encodes this character, because RFC 3986 allows it nowhere in a URL.
fn is_always_encoded(character: char) -> bool {
    !character.is_ascii_graphic()
        || matches!(
            character,
            '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}'
        )
}
