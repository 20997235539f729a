//! Decompresses a gzip file that arrives in pieces, with all its members. After a member only another member may
//! follow, or zeros, with which tapes and tar pad files. Anything else is refused, not skipped.
//! Source: RFC 1952, section 2.2: a gzip file is a series of members.

use std::io::{BufRead, ErrorKind, Read};

use flate2::bufread::GzDecoder;

use super::refused::{Problem, Refused};

/// The first bytes of a gzip member. Source: RFC 1952, section 2.3.1.
pub(super) const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Bytes that have arrived and are not used up, and whether more will arrive.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    used: usize,
    ended: bool,
}

impl Input {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.used);
        self.used = 0;
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }

    fn skip_zeros(&mut self) {
        let zeros = self.rest().iter().take_while(|byte| **byte == 0).count();
        self.consume(zeros);
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.rest().is_empty() && !self.ended {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(self.rest())
    }

    fn consume(&mut self, bytes: usize) {
        self.used = self.bytes.len().min(self.used + bytes);
    }
}

/// The result of reading decompressed bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decompressed {
    Bytes(usize),
    NeedsMore,
    End,
}

/// A gzip file in pieces.
#[derive(Debug)]
pub(super) struct Gunzip {
    state: State,
    /// Whether at least one member has ended.
    any: bool,
}

#[derive(Debug)]
enum State {
    /// Before a member, or after the last one.
    Between(Input),
    Member(Box<GzDecoder<Input>>),
}

impl Gunzip {
    pub(super) fn new() -> Self {
        Self {
            state: State::Between(Input::default()),
            any: false,
        }
    }

    pub(super) fn input(&mut self) -> &mut Input {
        match &mut self.state {
            State::Between(input) => input,
            State::Member(decoder) => decoder.get_mut(),
        }
    }

    /// Decompresses some bytes.
    pub(super) fn read(&mut self, into: &mut [u8]) -> Result<Decompressed, Refused> {
        loop {
            match &mut self.state {
                State::Between(input) => {
                    if let Some(stopped) = before_member(input, self.any)? {
                        return Ok(stopped);
                    }
                    let input = std::mem::take(input);
                    self.state = State::Member(Box::new(GzDecoder::new(input)));
                }
                State::Member(decoder) => match decoder.read(into) {
                    Ok(0) => {
                        self.any = true;
                        let input = std::mem::take(decoder.get_mut());
                        self.state = State::Between(input);
                    }
                    Ok(bytes) => return Ok(Decompressed::Bytes(bytes)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        return Ok(Decompressed::NeedsMore);
                    }
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                        return Err(Refused::whole(Problem::Truncated));
                    }
                    Err(error) => return Err(Refused::whole(Problem::Damaged(error.to_string()))),
                },
            }
        }
    }
}

/// Checks what follows. Returns `None` if it is a member. Zeros after a member are padding.
fn before_member(input: &mut Input, any: bool) -> Result<Option<Decompressed>, Refused> {
    if any {
        input.skip_zeros();
    }
    let (rest, ended) = (input.rest(), input.has_ended());
    if rest.starts_with(&MAGIC) {
        return Ok(None);
    }
    match (MAGIC.starts_with(rest), ended) {
        (true, false) => Ok(Some(Decompressed::NeedsMore)),
        (true, true) if any && rest.is_empty() => Ok(Some(Decompressed::End)),
        (true, true) => Err(Refused::whole(Problem::Truncated)),
        (false, _) if any => Err(Refused::whole(Problem::AfterGzip)),
        (false, _) => Err(Refused::whole(Problem::NotGzip)),
    }
}
