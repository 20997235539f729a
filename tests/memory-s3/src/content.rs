//! An object's bytes, in pieces that are shared and not copied. No I/O.

use hyper::body::Bytes;
use md5::{Digest, Md5};

/// An MD5 digest.
pub(crate) type Md5Digest = [u8; 16];

/// Bytes in pieces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pieces: Vec<Bytes>,
    bytes: u64,
}

impl Content {
    pub(crate) fn of(bytes: Bytes) -> Self {
        Self::join([Self {
            bytes: bytes.len() as u64,
            pieces: vec![bytes],
        }])
    }

    /// Joins contents in this order.
    pub(crate) fn join(contents: impl IntoIterator<Item = Self>) -> Self {
        let mut whole = Self::default();
        for content in contents {
            whole.bytes += content.bytes;
            let filled = content.pieces.into_iter().filter(|piece| !piece.is_empty());
            whole.pieces.extend(filled);
        }
        whole
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bytes from `first` up to, not including, `end`. The range has to be within the content.
    pub(crate) fn slice(&self, first: u64, end: u64) -> Self {
        let mut begins = 0;
        let mut slice = Self::default();
        for piece in &self.pieces {
            let length = piece.len() as u64;
            let (from, to) = (first.max(begins), end.min(begins + length));
            if from < to {
                let within = |place: u64| usize::try_from(place - begins).unwrap_or(piece.len());
                slice.pieces.push(piece.slice(within(from)..within(to)));
                slice.bytes += to - from;
            }
            begins += length;
        }
        slice
    }

    /// All bytes in one piece; copied only if there are several pieces.
    pub(crate) fn whole(&self) -> Bytes {
        match self.pieces.as_slice() {
            [only] => only.clone(),
            many => many.concat().into(),
        }
    }

    pub(crate) fn md5(&self) -> Md5Digest {
        let mut digest = Md5::new();
        for piece in &self.pieces {
            digest.update(piece);
        }
        digest.finalize().into()
    }
}

/// The digest in the form of an `ETag`.
pub(crate) fn hex(digest: &Md5Digest) -> String {
    use std::fmt::Write;
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The `ETag` of an object that was uploaded in parts with these digests.
pub(crate) fn multipart_etag(parts: &[Md5Digest]) -> String {
    let digest: Md5Digest = Md5::digest(parts.concat()).into();
    format!("{}-{}", hex(&digest), parts.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_of_joined_pieces_is_the_slice_of_the_whole() {
        let pieces = ["abc", "", "defg", "h"].map(|text| Content::of(Bytes::from(text)));
        let joined = Content::join(pieces);
        let whole = joined.whole();
        assert_eq!(whole, "abcdefgh");
        for first in 0..=whole.len() {
            for end in first..=whole.len() {
                let slice = joined.slice(first as u64, end as u64);
                assert_eq!(slice.whole(), whole[first..end], "{first}..{end}");
                assert_eq!(slice.bytes(), (end - first) as u64);
            }
        }
        assert_eq!(joined.md5(), Content::of(whole).md5());
    }
}
