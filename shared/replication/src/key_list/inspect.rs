//! Finds out what a list is from its first bytes.

use super::gunzip::{Decompressed, Gunzip, MAGIC};
use super::reader::{ListReader, Read, Start};
use super::records::Record;
use super::refused::{Problem, Refused};
use super::{Columns, KeyEncoding, Layout, report};
use crate::names::BucketName;

/// How many bytes of a list are enough to inspect it.
pub const HEAD_BYTES: u64 = 64 << 10;

/// How many decompressed bytes an inspection reads.
const TEXT_BYTES_MAX: usize = 256 << 10;

/// How many records are read to find a list's separator.
const RECORDS: usize = 100;

/// The beginning of a list.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Its first bytes.
    pub bytes: &'a [u8],
    /// Whether these are all bytes of the list.
    pub is_whole: bool,
    /// Whether the list's name says that it is gzip.
    pub is_named_gzip: bool,
}

/// The first bytes of files that are not lists. Sources: RFC 8878 (zstd), the formats' own specifications.
const FORMATS: [(&[u8], &str); 16] = [
    (b"\xFF\xFE", "UTF-16 or UTF-32 text"),
    (b"\xFE\xFF", "UTF-16 text"),
    (b"\x00\x00\xFE\xFF", "UTF-32 text"),
    (&MAGIC, "gzip within gzip"),
    (b"\x28\xB5\x2F\xFD", "a zstd file"),
    (b"BZh", "a bzip2 file"),
    (b"\xFD7zXZ\x00", "an xz file"),
    (b"\x04\x22\x4D\x18", "an lz4 file"),
    (b"\xFF\x06\x00\x00sNaPpY", "a snappy file"),
    (b"7z\xBC\xAF\x27\x1C", "a 7z file"),
    (b"PK\x03\x04", "a zip file or a spreadsheet"),
    (b"\xD0\xCF\x11\xE0", "a spreadsheet"),
    (b"PAR1", "a Parquet file"),
    (b"ORC", "an ORC file"),
    (b"Obj\x01", "an Avro file"),
    (b"<?xml", "XML"),
];

/// Finds out how a list is compressed and laid out. Refuses a file that is not a list of keys, and a list whose
/// beginning cannot be read. `columns` are those that an inventory's manifest names. Returns whether the list is
/// compressed by gzip, whatever its name says, and its layout.
pub fn inspect(
    head: Head<'_>,
    source: &BucketName,
    keys: KeyEncoding,
    columns: Option<Columns>,
) -> Result<(bool, Layout), Refused> {
    let gzip = head.bytes.starts_with(&MAGIC);
    if head.is_named_gzip && !gzip {
        return Err(Refused::whole(Problem::NotGzip));
    }
    let text = if gzip {
        decompressed(head)?
    } else {
        refuse_other_formats(head.bytes)?;
        head.bytes.to_vec()
    };
    refuse_other_formats(&text)?;
    let layout = match columns {
        Some(columns) => layout_of_inventory(&text, source, keys, columns),
        None => layout_of(&text, source, keys),
    };
    check(&text, gzip, head, &layout, source)?;
    Ok((gzip, layout))
}

fn decompressed(head: Head<'_>) -> Result<Vec<u8>, Refused> {
    let mut gunzip = Gunzip::new();
    gunzip.input().feed(head.bytes);
    if head.is_whole {
        gunzip.input().end();
    }
    let mut text = vec![0; TEXT_BYTES_MAX];
    let mut filled = 0;
    while let Some(free) = text.get_mut(filled..).filter(|free| !free.is_empty()) {
        match gunzip.read(free)? {
            Decompressed::Bytes(bytes) => filled += bytes,
            Decompressed::NeedsMore | Decompressed::End => break,
        }
    }
    text.truncate(filled);
    Ok(text)
}

fn refuse_other_formats(text: &[u8]) -> Result<(), Refused> {
    let known = FORMATS.iter().find(|(magic, _)| text.starts_with(magic));
    if let Some((_, name)) = known
        && !may_begin_a_key(text)
    {
        return Err(Refused::whole(Problem::Foreign(name)));
    }
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let mut first = text.iter().filter(|byte| !byte.is_ascii_whitespace());
    match (first.next(), first.next()) {
        (Some(b'{'), Some(b'"')) | (Some(b'['), Some(b'"' | b'{')) => {
            Err(Refused::whole(Problem::Json))
        }
        _ => Ok(()),
    }
}

/// Returns whether a text that begins with the letters of another format may be a key: what follows the letters may
/// occur in a key.
fn may_begin_a_key(text: &[u8]) -> bool {
    let after = |letters: &str| {
        let rest = text.strip_prefix(letters.as_bytes())?;
        rest.first().copied()
    };
    if let Some(level) = after("BZh") {
        // A block of a bzip2 file begins with the digits of pi.
        return !(level.is_ascii_digit()
            && text
                .get(4..)
                .is_some_and(|rest| rest.starts_with(b"1AY&SY")));
    }
    let next = after("ORC").or_else(|| after("PAR1"));
    next.is_some_and(|byte| byte.is_ascii_graphic())
}

/// Returns the layout of an inventory's list. Its columns are known, but a program may still have written their names
/// as a header.
fn layout_of_inventory(
    text: &[u8],
    source: &BucketName,
    keys: KeyEncoding,
    columns: Columns,
) -> Layout {
    let layout = Layout {
        keys,
        columns: Some(columns),
        ..Layout::default()
    };
    let first = first_records(text, &layout).into_iter().next();
    let named = first.and_then(|first| with_header(&layout, &first, source));
    Layout {
        header: named.is_some_and(|named| named.columns == layout.columns),
        ..layout
    }
}

/// Returns the layout of a list. Finds the separator by the rows that begin with the source's name, or by a header.
fn layout_of(text: &[u8], source: &BucketName, keys: KeyEncoding) -> Layout {
    for separator in [',', ';', '\t'] {
        let layout = Layout {
            separator,
            keys,
            ..Layout::default()
        };
        let records = first_records(text, &layout);
        if let Some(found) = records
            .first()
            .and_then(|first| with_header(&layout, first, source))
        {
            return found;
        }
        if records.iter().any(|record| is_row_of(record, source)) {
            return layout;
        }
    }
    Layout {
        keys,
        ..Layout::default()
    }
}

/// Returns some records at the beginning, up to the first that cannot be read with this layout.
fn first_records(text: &[u8], layout: &Layout) -> Vec<Record> {
    let mut reader = ListReader::new(layout, false, Start::LineAt(0));
    reader.feed(text);
    reader.end();
    let mut records = Vec::new();
    while records.len() < RECORDS
        && let Ok(Read::Record(record)) = reader.read()
    {
        records.push(record);
    }
    records
}

fn is_row_of(record: &Record, source: &BucketName) -> bool {
    match record.fields.as_slice() {
        [bucket, _, ..] => bucket.says(source.as_str()),
        _ => false,
    }
}

/// Returns the layout that a header names. A single column is not taken for a header, because it may be a key.
fn with_header(layout: &Layout, first: &Record, source: &BucketName) -> Option<Layout> {
    if first.fields.len() < 2 || is_row_of(first, source) {
        return None;
    }
    let names: Vec<&str> = first
        .fields
        .iter()
        .map(|field| std::str::from_utf8(&field.text).unwrap_or_default())
        .collect();
    let begins = names.first().map(|name| name.trim().to_ascii_lowercase());
    let is_header = matches!(begins.as_deref(), Some("bucket" | "key"));
    let columns = Columns::named(names.iter().copied()).filter(|_| is_header)?;
    let is_report = names == report::COLUMNS;
    Some(Layout {
        header: true,
        keys: if is_report {
            KeyEncoding::Report
        } else {
            layout.keys
        },
        columns: Some(Columns {
            kind: is_report.then_some(1),
            ..columns
        }),
        ..layout.clone()
    })
}

/// Refuses a list whose beginning cannot be read with its layout.
fn check(
    text: &[u8],
    gzip: bool,
    head: Head<'_>,
    layout: &Layout,
    source: &BucketName,
) -> Result<(), Refused> {
    let mut reader = ListReader::new(layout, false, Start::LineAt(0));
    reader.feed(text);
    let is_whole = head.is_whole && (!gzip || text.len() < TEXT_BYTES_MAX);
    if is_whole {
        reader.end();
    }
    while let Read::Record(record) = reader.read()? {
        layout.entry(&record, source)?;
    }
    Ok(())
}
