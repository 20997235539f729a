//! Lists of keys as people and programs write them: what a job's manifest says, byte for byte. No I/O.
//!
//! [`inspect`] looks at the first bytes of a list and finds its [`Layout`]. A [`ListReader`] is fed the list's bytes as
//! they come and returns its [`Record`]s, and [`Layout::entry`] says which key a record names. What cannot be read is
//! [`Refused`] with its line and column: nothing is skipped, and nothing is guessed.

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
    /// As they are: `a+b` is `a+b`.
    Plain,
    /// As [`report`] writes them: as they are, with an apostrophe in front of what a spreadsheet would take for a
    /// formula.
    Report,
}

impl KeyEncoding {
    /// The word of the contract for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Encoded => "encoded",
            Self::Plain => "plain",
            Self::Report => "report",
        }
    }

    /// By the word of a request. A report is recognised by its header, and never asked for.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Encoded, Self::Plain]
            .into_iter()
            .find(|encoding| encoding.as_str() == word)
    }
}

/// How a list is laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// What stands between two columns: `,`, `;` or a tab.
    pub separator: char,
    /// How the keys are written.
    pub keys: KeyEncoding,
    /// Whether the first record names the columns.
    #[serde(default)]
    pub header: bool,
    /// Which columns there are; without them a record is a key, or a bucket, a key and any other columns.
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
    /// Whether a row is about the current version.
    #[serde(default)]
    pub is_latest: Option<usize>,
    /// Whether a row is about a delete marker.
    #[serde(default)]
    pub is_delete_marker: Option<usize>,
    /// What a report's row is about: `missing`, `different` or `extra`.
    #[serde(default)]
    pub kind: Option<usize>,
}

impl Columns {
    /// Finds the columns by their names, whatever their case. Returns `None` if no column is the key's.
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
