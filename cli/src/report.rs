//! A report of every difference: its place and its format. No I/O of its own; `store` writes to the
//! file or the bucket.

pub mod store;

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;

use csv::WriterBuilder;
use serde::Serialize;
use tandem_replication::key_list::report::{COLUMNS, cell};

use crate::compare::{Field, Kind, Listed, Verdict};
use crate::contract::Policy;

/// The format of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Jsonl,
}

/// The place of a report, as given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    File {
        path: PathBuf,
        format: Format,
    },
    Object {
        bucket: String,
        key: String,
        format: Format,
    },
    /// `s3://bucket/prefix/`, under which the functions write.
    Prefix(String),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix("s3://") else {
            return Ok(Self::File {
                path: text.into(),
                format: format(text)?,
            });
        };
        match rest.split_once('/') {
            Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
                if key.ends_with('/') {
                    return Ok(Self::Prefix(text.to_owned()));
                }
                Ok(Self::Object {
                    bucket: bucket.to_owned(),
                    key: key.to_owned(),
                    format: format(key)?,
                })
            }
            _ => Err(
                "give an object as s3://BUCKET/KEY, or a prefix as s3://BUCKET/PREFIX/".to_owned(),
            ),
        }
    }
}

fn format(name: &str) -> Result<Format, String> {
    match name.rsplit_once('.') {
        Some((_, "csv")) => Ok(Format::Csv),
        Some((_, "jsonl")) => Ok(Format::Jsonl),
        _ => Err("a report's name must end in .csv or .jsonl".to_owned()),
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::Object { bucket, key, .. } => write!(f, "s3://{bucket}/{key}"),
            Self::Prefix(prefix) => f.write_str(prefix),
        }
    }
}

/// One difference; in a CSV file one row, whose columns are these fields.
#[derive(Debug, Serialize)]
struct Row<'a> {
    key: Cow<'a, str>,
    kind: Kind,
    differs_in: &'static str,
    source_bytes: Option<u64>,
    source_etag: Option<Cow<'a, str>>,
    source_modified_at: Option<String>,
    destination_bytes: Option<u64>,
    destination_etag: Option<Cow<'a, str>>,
    destination_modified_at: Option<String>,
}

impl<'a> Row<'a> {
    /// Escapes the texts of a row, so that no spreadsheet takes them for formulas.
    fn for_spreadsheets(self) -> Self {
        Self {
            key: escaped(self.key),
            source_etag: self.source_etag.map(escaped),
            destination_etag: self.destination_etag.map(escaped),
            ..self
        }
    }

    /// Returns `None` if the objects do not differ.
    fn of(verdict: &'a Verdict) -> Option<Self> {
        let row =
            |kind, by: &[Field], source: Option<&'a Listed>, destination: Option<&'a Listed>| {
                let key = source.or(destination).map_or("", |listed| &listed.key);
                let modified = |listed: &Listed| listed.modified_at.map(|at| at.to_rfc3339());
                let etag = |listed: &'a Listed| Cow::Borrowed(listed.etag.as_str());
                Row {
                    key: Cow::Borrowed(key),
                    kind,
                    differs_in: Field::words(by),
                    source_bytes: source.map(|listed| listed.size),
                    source_etag: source.map(etag),
                    source_modified_at: source.and_then(modified),
                    destination_bytes: destination.map(|listed| listed.size),
                    destination_etag: destination.map(etag),
                    destination_modified_at: destination.and_then(modified),
                }
            };
        match verdict {
            Verdict::Same { .. } => None,
            Verdict::Missing(source) => Some(row(Kind::Missing, &[], Some(source), None)),
            Verdict::Extra(replica) => Some(row(Kind::Extra, &[], None, Some(replica))),
            Verdict::Different {
                source,
                destination,
                by,
            } => Some(row(Kind::Different, by, Some(source), Some(destination))),
            Verdict::NotCompared {
                source,
                destination,
                ..
            } => Some(row(Kind::NotCompared, &[], Some(source), Some(destination))),
            Verdict::AskReplica {
                source,
                destination,
            } => {
                let by = [Field::Etag];
                Some(row(Kind::Different, &by, Some(source), Some(destination)))
            }
        }
    }
}

fn escaped(text: Cow<'_, str>) -> Cow<'_, str> {
    match cell(&text) {
        Cow::Owned(cell) => Cow::Owned(cell),
        Cow::Borrowed(_) => text,
    }
}

/// Writes differences as they are found.
pub struct Report<W: Write> {
    sink: Sink<W>,
    extras_count: bool,
}

enum Sink<W: Write> {
    Csv(Box<csv::Writer<W>>),
    Jsonl(W),
}

impl<W: Write> Report<W> {
    /// Makes an empty report. Under policy `write`, extra objects are no difference.
    pub fn new(writer: W, format: Format, policy: Policy) -> io::Result<Self> {
        let sink = match format {
            Format::Jsonl => Sink::Jsonl(writer),
            Format::Csv => {
                let mut csv = WriterBuilder::new().has_headers(false).from_writer(writer);
                // Write the columns first, so that an empty report has them too.
                csv.write_record(COLUMNS)?;
                Sink::Csv(Box::new(csv))
            }
        };
        Ok(Self {
            sink,
            extras_count: policy == Policy::Full,
        })
    }

    pub fn add(&mut self, verdict: &Verdict) -> io::Result<()> {
        let Some(row) = Row::of(verdict) else {
            return Ok(());
        };
        if row.kind == Kind::Extra && !self.extras_count {
            return Ok(());
        }
        match &mut self.sink {
            Sink::Csv(csv) => csv
                .serialize(row.for_spreadsheets())
                .map_err(io::Error::other),
            Sink::Jsonl(writer) => {
                serde_json::to_writer(&mut *writer, &row)?;
                writer.write_all(b"\n")
            }
        }
    }

    /// Returns the writer, with everything written to it.
    pub fn finish(self) -> io::Result<W> {
        match self.sink {
            Sink::Csv(csv) => csv.into_inner().map_err(csv::IntoInnerError::into_error),
            Sink::Jsonl(mut writer) => {
                writer.flush()?;
                Ok(writer)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tandem_replication::key_list::{
        Entry, Head, KeyEncoding, ListReader, Read, Start, inspect, report,
    };
    use tandem_replication::names::BucketName;

    use super::*;
    use crate::survey::tests::{different, object};

    const ODD_KEYS: [&str; 9] = [
        "a,b",
        "say \"x\"",
        "line\nbreak\r",
        "é😀",
        " lead",
        "=cmd|' /C calc'!A0",
        "'quoted'",
        "-1+2",
        "a%20b+c",
    ];

    fn written(format: Format, policy: Policy, verdicts: &[Verdict]) -> String {
        let mut report = Report::new(Vec::new(), format, policy).unwrap();
        for verdict in verdicts {
            report.add(verdict).unwrap();
        }
        String::from_utf8(report.finish().unwrap()).unwrap()
    }

    fn odd() -> Vec<Verdict> {
        let missing = |key| Verdict::Missing(object(key, 1, "e", "STANDARD", 0));
        ODD_KEYS.into_iter().map(missing).collect()
    }

    // Promise: A CSV report can be given back as a list of keys, and no cell of it begins like a spreadsheet's
    // formula.
    #[test]
    fn odd_keys_can_be_read_back_from_a_csv_report_and_none_is_a_formula() {
        let text = written(Format::Csv, Policy::Full, &odd());
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        assert_eq!(reader.headers().unwrap(), &COLUMNS[..]);
        for (record, key) in reader.records().zip(ODD_KEYS) {
            let record = record.unwrap();
            let is_formula =
                |cell: &str| cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', ' ']);
            assert!(!record.iter().any(is_formula), "{record:?}");
            assert_eq!(report::text(&record[0]), key);
        }
        assert_eq!(keys_of_the_list(text.as_bytes()), ODD_KEYS);
    }

    /// Returns the keys that a job reads from a list.
    fn keys_of_the_list(bytes: &[u8]) -> Vec<String> {
        let source = BucketName::parse("photos").unwrap();
        let head = Head {
            bytes,
            is_whole: true,
            is_named_gzip: false,
        };
        let (gzip, layout) = inspect(head, &source, KeyEncoding::Encoded, None).unwrap();
        let mut reader = ListReader::new(&layout, gzip, Start::LineAt(0));
        reader.feed(bytes);
        reader.end();
        let mut keys = Vec::new();
        while let Read::Record(record) = reader.read().unwrap() {
            match layout.entry(&record, &source).unwrap() {
                Entry::Key(named) => keys.push(named.key.as_str().to_owned()),
                Entry::Header => {}
                other => panic!("{other:?}"),
            }
        }
        keys
    }

    #[test]
    fn odd_keys_can_be_read_back_from_a_jsonl_report_one_per_line() {
        let text = written(Format::Jsonl, Policy::Full, &odd());
        let keys: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|row| row["key"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(keys, ODD_KEYS);
    }

    #[test]
    fn a_row_names_the_difference_and_both_sides() {
        let both = [Verdict::Different {
            source: object("k", 3, "s", "STANDARD", 0),
            destination: object("k", 4, "d", "STANDARD", 5),
            by: vec![Field::Size, Field::Etag],
        }];
        let text = written(Format::Csv, Policy::Full, &both);
        let expected =
            "k,different,size etag,3,s,2027-01-15T08:00:00+00:00,4,d,2027-01-15T08:00:05+00:00";
        assert_eq!(text.lines().nth(1), Some(expected));
        let text = written(Format::Jsonl, Policy::Full, &odd()[..1]);
        let row: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(row["destination_bytes"], Value::Null);
        let columns: Vec<&String> = row.as_object().unwrap().keys().collect();
        assert_eq!(columns.len(), COLUMNS.len());
        assert!(
            columns
                .iter()
                .all(|column| COLUMNS.contains(&column.as_str()))
        );
    }

    #[test]
    fn equal_and_kept_objects_are_not_reported() {
        let extra = || object("k", 3, "s", "STANDARD", 0);
        let same = Verdict::Same {
            source: extra(),
            destination: extra(),
        };
        let verdicts = [Verdict::Extra(extra()), same];
        assert_eq!(written(Format::Jsonl, Policy::Write, &verdicts), "");
        let full = written(Format::Jsonl, Policy::Full, &verdicts);
        assert_eq!(full.lines().count(), 1);
        let differ = different(extra(), extra());
        assert_eq!(
            written(Format::Csv, Policy::Write, &[differ])
                .lines()
                .count(),
            2
        );
    }

    #[test]
    fn the_ending_of_a_place_decides_its_format() {
        let object = |key: &str, format| Place::Object {
            bucket: "b".into(),
            key: key.into(),
            format,
        };
        assert_eq!("s3://b/x/y.csv".parse(), Ok(object("x/y.csv", Format::Csv)));
        assert_eq!(
            "s3://b/y.jsonl".parse(),
            Ok(object("y.jsonl", Format::Jsonl))
        );
        assert_eq!("s3://b/x/".parse(), Ok(Place::Prefix("s3://b/x/".into())));
        for wrong in ["x.json", "csv", "s3://b", "s3:///x.csv", "s3://b/", ""] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
