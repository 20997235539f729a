//! Lists of keys as people and programs write them: parses a job's manifest, byte for byte. No I/O.
//!
//! [`inspect`] reads the first bytes of a list and finds its [`Layout`]. A [`ListReader`] is fed the list's bytes in
//! pieces and returns its [`Record`]s. [`Layout::entry`] returns the key that a record names. A list that cannot be
//! read is [`Refused`] with the line and column: nothing is skipped, and nothing is guessed.

mod entry;
mod gunzip;
mod inspect;
mod reader;
mod records;
mod refused;
pub mod report;

pub use entry::{Entry, LineProblem, NamedKey};
pub use inspect::{HEAD_BYTES, Head, inspect};
pub use reader::{ListReader, Read, Start};
pub use records::{Field, RECORD_BYTES_MAX, Record};
pub use refused::{Place, Problem, Refused};

use serde::{Deserialize, Serialize};

use crate::by_name;

/// How the keys of a list are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyEncoding {
    /// Encoded as in a URL, as S3 Inventory and S3 Batch Operations write them: `a%2Bb` is `a+b`, and `a+b` is `a b`.
    /// Source: S3 user guide, "Amazon S3 Inventory list": object key names in CSV files are URL-encoded.
    #[default]
    Encoded,
    /// Not encoded: `a+b` is `a+b`.
    Plain,
    /// As [`report`] writes them: not encoded, with an apostrophe in front of a text that a spreadsheet would take for
    /// a formula.
    Report,
}

impl KeyEncoding {
    /// Returns the contract's word for the encoding.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Encoded => "encoded",
            Self::Plain => "plain",
            Self::Report => "report",
        }
    }

    /// Parses the word of a request. A request cannot ask for `report`: a report is recognised by its header.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Encoded, Self::Plain]
            .into_iter()
            .find(|encoding| encoding.as_str() == word)
    }
}

/// How a list is laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The character between two columns: `,`, `;` or a tab.
    pub separator: char,
    /// How the keys are written.
    pub keys: KeyEncoding,
    /// Whether the first record names the columns.
    #[serde(default)]
    pub header: bool,
    /// The columns. Without them a record is a key, or a bucket, a key and any other columns.
    #[serde(default, deserialize_with = "by_name::optional")]
    pub columns: Option<Columns>,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            separator: ',',
            keys: KeyEncoding::Encoded,
            header: false,
            columns: None,
        }
    }
}

/// The columns that matter, by their numbers from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    /// The bucket's name.
    #[serde(default)]
    pub bucket: Option<usize>,
    /// The key.
    pub key: usize,
    /// The column that says whether a row is about the current version.
    #[serde(default)]
    pub is_latest: Option<usize>,
    /// The column that says whether a row is about a delete marker.
    #[serde(default)]
    pub is_delete_marker: Option<usize>,
    /// The column that says what a report's row is about: `missing`, `different` or `extra`.
    #[serde(default)]
    pub kind: Option<usize>,
}

impl Columns {
    /// Finds the columns by their names, in upper or lower case. Returns `None` if there is no column for the key.
    ///
    /// Sources: S3 user guide, "Amazon S3 Inventory list", and OSS user guide, "Bucket inventory": both name their
    /// columns `Bucket`, `Key`, `VersionId`, `IsLatest`, `IsDeleteMarker`, and more.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let names: Vec<String> = names
            .into_iter()
            .map(|name| name.trim().to_ascii_lowercase())
            .collect();
        let place = |wanted: &str| names.iter().position(|name| name == wanted);
        Some(Self {
            bucket: place("bucket"),
            key: place("key")?,
            is_latest: place("islatest"),
            is_delete_marker: place("isdeletemarker"),
            kind: None,
        })
    }
}
