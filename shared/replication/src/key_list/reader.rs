//! Reads a list that arrives in pieces of any size.

use super::Layout;
use super::gunzip::{Decompressed, Gunzip, Input};
use super::records::{Record, Splitter};
use super::refused::Refused;

/// How many bytes are decompressed at once.
const BUFFER_BYTES: usize = 32 << 10;

/// Where in the list the bytes begin that a reader is fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At this byte of the list, which begins a line; 0 is the list's beginning.
    LineAt(u64),
    /// At the byte before this one. The first record is the first one that begins at this byte or later.
    AfterByte(u64),
}

/// The result of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The next record.
    Record(Record),
    /// No record until the reader is fed more bytes, or [`ListReader::end`] is called.
    NeedsMore,
    /// No more records: every byte has been read.
    End,
}

/// A reader of a list.
#[derive(Debug)]
pub struct ListReader {
    source: Source,
    splitter: Splitter,
    /// Bytes that are decompressed and not yet split into records.
    buffer: Vec<u8>,
    used: usize,
    /// Whether the reader still has to skip the rest of a line that begins before its part of the list.
    is_in_line_before: bool,
    /// The byte at which the line begins that the reader counts as line 1.
    first_line_at: u64,
    has_ended: bool,
}

#[derive(Debug)]
enum Source {
    Plain(Input),
    Gzip(Gunzip),
}

impl ListReader {
    /// Creates a reader of a list, compressed by gzip or not. A compressed list is read from its beginning.
    pub fn new(layout: &Layout, gzip: bool, start: Start) -> Self {
        let (at, is_in_line_before) = match start {
            Start::LineAt(at) => (at, false),
            Start::AfterByte(at) => (at.saturating_sub(1), true),
        };
        Self {
            source: if gzip {
                Source::Gzip(Gunzip::new())
            } else {
                Source::Plain(Input::default())
            },
            splitter: Splitter::new(layout, at),
            buffer: Vec::new(),
            used: 0,
            is_in_line_before,
            first_line_at: at,
            has_ended: false,
        }
    }

    /// Takes the next bytes of the list.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input().feed(bytes);
    }

    /// Marks the end of the list: no bytes follow.
    pub fn end(&mut self) {
        self.input().end();
    }

    fn input(&mut self) -> &mut Input {
        match &mut self.source {
            Source::Plain(input) => input,
            Source::Gzip(gunzip) => gunzip.input(),
        }
    }

    /// Returns the byte of the decompressed list at which the next record begins.
    pub fn at(&self) -> u64 {
        self.splitter.at()
    }

    /// Returns the byte of the decompressed list at which the line begins that refusals call line 1.
    pub fn first_line_at(&self) -> u64 {
        self.first_line_at
    }

    /// Returns the next record. After a refusal the reader reads nothing more.
    pub fn read(&mut self) -> Result<Read, Refused> {
        loop {
            while let Some(byte) = self.buffer.get(self.used).copied() {
                self.used += 1;
                if self.is_in_line_before {
                    self.is_in_line_before = byte != b'\n';
                    self.splitter.pass_over();
                    self.first_line_at = self.splitter.at();
                } else if let Some(record) = self.splitter.push(byte)? {
                    return Ok(Read::Record(record));
                }
            }
            if self.has_ended {
                return Ok(Read::End);
            }
            match self.refill()? {
                Decompressed::Bytes(_) => {}
                Decompressed::NeedsMore => return Ok(Read::NeedsMore),
                Decompressed::End => {
                    self.has_ended = true;
                    if let Some(record) = self.splitter.finish()? {
                        return Ok(Read::Record(record));
                    }
                }
            }
        }
    }

    fn refill(&mut self) -> Result<Decompressed, Refused> {
        self.buffer.resize(BUFFER_BYTES, 0);
        self.used = 0;
        let read = match &mut self.source {
            Source::Plain(input) => Ok(plain(input, &mut self.buffer)),
            Source::Gzip(gunzip) => gunzip.read(&mut self.buffer),
        };
        let filled = match read {
            Ok(Decompressed::Bytes(bytes)) => bytes,
            _ => 0,
        };
        self.buffer.truncate(filled);
        read
    }
}

/// Takes bytes that need no decompression.
fn plain(input: &mut Input, into: &mut [u8]) -> Decompressed {
    match std::io::Read::read(input, into) {
        Ok(0) => Decompressed::End,
        Ok(bytes) => Decompressed::Bytes(bytes),
        // The only error of `Input`.
        Err(_) => Decompressed::NeedsMore,
    }
}
