//! Splits a list into records and columns, byte by byte. The format is the CSV of RFC 4180, with the list's own
//! separator. A general CSV reader would skip malformed text. This one refuses it and reports the place.

use super::refused::{Place, Problem, Refused};
use super::{KeyEncoding, Layout};

/// The maximum length of a line. A key of 1,024 bytes takes 3 KiB encoded, an inventory's column of grants some 20 KiB.
pub const RECORD_BYTES_MAX: usize = 64 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One record: a line, or several lines if line breaks are quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its columns; a blank line has one empty column.
    pub fields: Vec<Field>,
    /// The byte at which it begins.
    pub at: u64,
}

/// One column of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its text, without the quotes.
    pub text: Vec<u8>,
    /// Whether it was quoted.
    pub is_quoted: bool,
    /// Where its text begins.
    pub place: Place,
}

impl Field {
    /// Returns the place in the list of the byte with this index in the text.
    pub fn place_of(&self, index: usize) -> Place {
        let mut place = self.place;
        for byte in self.text.iter().take(index) {
            match byte {
                b'\n' => {
                    place.line += 1;
                    place.column = 1;
                }
                // The list has two quotes for this one.
                b'"' if self.is_quoted => place.column += 2,
                byte if is_first_of_character(*byte) => place.column += 1,
                _ => {}
            }
        }
        place
    }

    /// Returns whether the column is this word, apart from spaces around it.
    pub fn says(&self, word: &str) -> bool {
        self.without_spaces() == word.as_bytes()
    }

    /// Returns the text without spaces around it. A tab may be a separator, so it is kept.
    pub(super) fn without_spaces(&self) -> &[u8] {
        let is_text = |byte: &u8| *byte != b' ';
        let first = self.text.iter().position(is_text);
        let last = self.text.iter().rposition(is_text);
        match (first, last) {
            (Some(first), Some(last)) => self.text.get(first..=last).unwrap_or_default(),
            _ => &[],
        }
    }

    fn at(place: Place) -> Self {
        Self {
            text: Vec::new(),
            is_quoted: false,
            place,
        }
    }
}

/// Returns whether the byte is the first of a UTF-8 character. All other bytes of a character are 10xxxxxx.
fn is_first_of_character(byte: u8) -> bool {
    byte & 0b1100_0000 != 0b1000_0000
}

/// The position of the next byte in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the column's beginning, or in a column that is not quoted.
    Unquoted,
    /// Within quotes, which were opened here.
    Quoted(Place),
    /// After a quote within quotes: it closes them, or is the first of two.
    QuoteInQuotes(Place),
    /// After the closing quote.
    Closed,
}

/// Splits bytes into records.
#[derive(Debug)]
pub(super) struct Splitter {
    separator: u8,
    /// Whether line breaks may be quoted, and columns that are not quoted may contain quotes.
    allows_breaks: bool,
    state: State,
    fields: Vec<Field>,
    field: Field,
    /// A carriage return that a line feed has to follow.
    pending_return: Option<Place>,
    /// The place of the next byte.
    place: Place,
    /// The number of the next byte.
    at: u64,
    /// Where the record began.
    began_at: u64,
}

impl Splitter {
    /// Creates a splitter for bytes that begin at byte `at` of the list.
    pub(super) fn new(layout: &Layout, at: u64) -> Self {
        let place = Place { line: 1, column: 1 };
        Self {
            separator: u8::try_from(layout.separator).unwrap_or(b','),
            // A list of encoded keys can be cut at every line break, because none is quoted.
            allows_breaks: layout.keys != KeyEncoding::Encoded,
            state: State::Unquoted,
            fields: Vec::new(),
            field: Field::at(place),
            pending_return: None,
            place,
            at,
            began_at: at,
        }
    }

    /// Returns the byte at which the next record begins. Call it only between two records.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Skips a byte before the first record.
    pub(super) fn pass_over(&mut self) {
        self.at += 1;
        self.began_at = self.at;
    }

    /// Takes one byte. Returns a record if the byte ends it.
    pub(super) fn push(&mut self, byte: u8) -> Result<Option<Record>, Refused> {
        let place = self.place;
        self.at += 1;
        if byte == b'\n' {
            self.place = Place {
                line: place.line + 1,
                column: 1,
            };
        } else if is_first_of_character(byte) {
            self.place.column += 1;
        }
        if byte == 0 {
            return Err(Refused::at(place, Problem::Nul));
        }
        if self.at - self.began_at > RECORD_BYTES_MAX as u64 {
            return Err(self.too_long());
        }
        let is_quoted = matches!(self.state, State::Quoted(_));
        if let Some(at) = self.pending_return.take()
            && byte != b'\n'
        {
            return Err(Refused::at(at, Problem::LoneReturn));
        }
        if byte == b'\r' && !is_quoted {
            self.pending_return = Some(place);
            return Ok(None);
        }
        if byte == b'\n' && !is_quoted {
            return Ok(Some(self.end_record()));
        }
        if byte == self.separator && !is_quoted {
            self.end_field();
            return Ok(None);
        }
        self.push_text(byte, place)?;
        Ok(None)
    }

    /// Takes a byte of a column.
    fn push_text(&mut self, byte: u8, place: Place) -> Result<(), Refused> {
        match (self.state, byte) {
            (State::Unquoted, b'"') if self.field.text.iter().all(|byte| *byte == b' ') => {
                self.field = Field {
                    is_quoted: true,
                    ..Field::at(self.place)
                };
                self.state = State::Quoted(place);
            }
            (State::Unquoted, b'"') if !self.allows_breaks => {
                return Err(Refused::at(place, Problem::StrayQuote));
            }
            (State::Unquoted, _) => {
                self.field.text.push(byte);
                self.strip_byte_order_mark()?;
            }
            (State::Quoted(opened), b'"') => self.state = State::QuoteInQuotes(opened),
            (State::Quoted(_), b'\n') if !self.allows_breaks => {
                return Err(Refused::at(place, Problem::QuotedLineBreak));
            }
            (State::Quoted(_), _) => self.field.text.push(byte),
            (State::QuoteInQuotes(opened), b'"') => {
                self.field.text.push(byte);
                self.state = State::Quoted(opened);
            }
            (State::QuoteInQuotes(_) | State::Closed, b' ') => self.state = State::Closed,
            (State::QuoteInQuotes(_) | State::Closed, _) => {
                return Err(Refused::at(place, Problem::AfterQuote));
            }
        }
        Ok(())
    }

    /// Removes a byte order mark from the list's beginning.
    fn strip_byte_order_mark(&mut self) -> Result<(), Refused> {
        if !self.fields.is_empty() || self.field.text != BYTE_ORDER_MARK {
            return Ok(());
        }
        if self.began_at > 0 {
            return Err(Refused::at(self.field.place, Problem::ByteOrderMark));
        }
        self.field.text.clear();
        self.place = self.field.place;
        Ok(())
    }

    /// Ends the list. Returns the last record if no line break ended it.
    pub(super) fn finish(&mut self) -> Result<Option<Record>, Refused> {
        if let Some(at) = self.pending_return {
            return Err(Refused::at(at, Problem::LoneReturn));
        }
        if let State::Quoted(opened) = self.state {
            return Err(Refused::at(opened, Problem::OpenQuote));
        }
        Ok((self.at > self.began_at).then(|| self.end_record()))
    }

    fn too_long(&self) -> Refused {
        if let State::Quoted(opened) = self.state {
            return Refused::at(opened, Problem::OpenQuote);
        }
        let first = self.fields.first().unwrap_or(&self.field);
        Refused::at(first.place, Problem::LongLine)
    }

    fn end_field(&mut self) {
        self.state = State::Unquoted;
        let next = Field::at(self.place);
        self.fields.push(std::mem::replace(&mut self.field, next));
    }

    fn end_record(&mut self) -> Record {
        self.end_field();
        let at = std::mem::replace(&mut self.began_at, self.at);
        Record {
            fields: std::mem::take(&mut self.fields),
            at,
        }
    }
}
