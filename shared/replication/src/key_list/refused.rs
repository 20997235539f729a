//! Why a list cannot be read, and where.

use std::fmt;

use super::RECORD_BYTES_MAX;

/// A list that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// Where the problem is; `None` if it concerns the whole list.
    pub place: Option<Place>,
    /// What the problem is.
    pub problem: Problem,
}

/// A place in a list, as it is shown to users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The number of the line, from 1.
    pub line: u64,
    /// The number of the character in the line, from 1.
    pub column: u64,
}

impl Refused {
    /// Creates a refusal of the whole list.
    pub fn whole(problem: Problem) -> Self {
        Self {
            place: None,
            problem,
        }
    }

    /// Creates a refusal of the text at `place`.
    pub fn at(place: Place, problem: Problem) -> Self {
        Self {
            place: Some(place),
            problem,
        }
    }

    /// Returns the refusal with its place moved down, for a reader that began after this many lines of the list.
    #[must_use]
    pub fn after_lines(mut self, lines: u64) -> Self {
        if let Some(place) = &mut self.place {
            place.line += lines;
        }
        self
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { line, column }) = self.place {
            write!(f, "line {line}, column {column}: ")?;
        }
        self.problem.fmt(f)
    }
}

/// Why a list cannot be read, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The name says gzip, but the bytes do not.
    #[error(
        "its name ends in .gz, but it is not gzip; compress it, or store it under another name"
    )]
    NotGzip,
    /// The gzip data ends too early.
    #[error("its gzip data is truncated; upload the whole file again")]
    Truncated,
    /// The gzip data is damaged.
    #[error("its gzip data is damaged ({0}); upload the file again")]
    Damaged(String),
    /// Something else follows the last gzip member.
    #[error("bytes that are not gzip follow its gzip data; remove them")]
    AfterGzip,
    /// The file has another format.
    #[error("it is {0}; give a CSV in UTF-8, plain or compressed by gzip")]
    Foreign(&'static str),
    /// The file is JSON, but not an inventory's manifest.
    #[error("it is JSON; give a CSV, or the manifest.json of an inventory")]
    Json,
    /// A NUL byte, which text does not have.
    #[error(
        "there is a NUL byte; save the list as UTF-8 text, and write this character of a key as %00"
    )]
    Nul,
    /// A byte order mark that is not at the beginning.
    #[error("there is a byte order mark inside the list; remove it")]
    ByteOrderMark,
    /// A byte that is not UTF-8.
    #[error("the byte {0:02X} is not UTF-8; save the list as UTF-8")]
    NotUtf8(u8),
    /// A carriage return without a line feed.
    #[error(
        "a carriage return stands alone; end lines with a line feed, and write this character of a key as %0D"
    )]
    LoneReturn,
    /// A quote within a column that does not begin with one.
    #[error(
        "a quote stands in a column that does not begin with one; write it as %22, or give `keys` as \"plain\""
    )]
    StrayQuote,
    /// A text between a closing quote and the next separator.
    #[error("text follows a closing quote; double the quotes within a quoted column")]
    AfterQuote,
    /// A quote that is never closed.
    #[error(
        "the quote that opens here is never closed; close it, or quote the column whole and double its quotes"
    )]
    OpenQuote,
    /// A line break within quotes.
    #[error("a line break stands within quotes; write it as %0A, or give `keys` as \"plain\"")]
    QuotedLineBreak,
    /// A line that is too long.
    #[error("the line has more than {RECORD_BYTES_MAX} bytes; give a list of one key a line")]
    LongLine,
    /// A character that every encoder encodes, in a key with `%` or `+`.
    #[error(
        "{0:?} is not encoded, though the key has a % or +; encode the key as in a URL, or give `keys` as \"plain\""
    )]
    NotEncoded(char),
    /// A `%` that two hexadecimal digits do not follow.
    #[error(
        "two hexadecimal digits have to follow the %; write % as %25, or give `keys` as \"plain\""
    )]
    BadEscape,
    /// A space at either end of a key.
    #[error("the key begins or ends with a space; remove it, or write it as %20, or quote the key")]
    OuterSpace,
    /// A URI in place of a key.
    #[error("this is a URI; give the key alone, or the bucket and the key as two columns")]
    Uri,
    /// A first column that is not a bucket's name.
    #[error(
        "the first of several columns is not a bucket's name; quote a key that contains the separator"
    )]
    NotABucket,
}
