//! Bodies in signed chunks (`Content-Encoding: aws-chunked`), with or without trailers, as the SDKs send them
//! over plain HTTP. The signatures are not checked. No I/O.

use hyper::body::Bytes;

use crate::refusal::{Code, Refusal};

/// Returns the bytes inside the chunks. If `expected` is given, their total has to be equal to it. Copies no bytes if
/// they arrived in one chunk.
pub(crate) fn decoded(body: &Bytes, expected: Option<usize>) -> Result<Bytes, Refusal> {
    let mut chunks: Vec<Bytes> = Vec::new();
    let mut at = 0;
    loop {
        let line = line_end(body, at).ok_or_else(|| incomplete("a chunk has no size"))?;
        let bytes = chunk_bytes(&body[at..line])?;
        let start = line + 2;
        if bytes == 0 {
            break;
        }
        let end = start
            .checked_add(bytes)
            .filter(|&end| {
                body.get(end..)
                    .is_some_and(|rest| rest.starts_with(b"\r\n"))
            })
            .ok_or_else(|| incomplete("a chunk is shorter than its size"))?;
        chunks.push(body.slice(start..end));
        at = end + 2;
    }
    let total: usize = chunks.iter().map(Bytes::len).sum();
    if expected.is_some_and(|expected| expected != total) {
        return Err(incomplete(
            "x-amz-decoded-content-length differs from the chunks",
        ));
    }
    Ok(match chunks.as_slice() {
        [only] => only.clone(),
        many => many.concat().into(),
    })
}

fn line_end(body: &[u8], from: usize) -> Option<usize> {
    let rest = body.get(from..)?;
    rest.windows(2)
        .position(|pair| pair == b"\r\n")
        .map(|place| from + place)
}

/// Reads a chunk's size: `400;chunk-signature=...` has 1,024 bytes.
fn chunk_bytes(line: &[u8]) -> Result<usize, Refusal> {
    let size = line.split(|&byte| byte == b';').next().unwrap_or_default();
    std::str::from_utf8(size)
        .ok()
        .and_then(|size| usize::from_str_radix(size, 16).ok())
        .ok_or_else(|| incomplete("a chunk's size is not a hexadecimal number"))
}

fn incomplete(message: &str) -> Refusal {
    Refusal::new(Code::IncompleteBody, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_and_trailers_are_dropped() {
        let body = Bytes::from_static(
            b"5;chunk-signature=ab\r\nhello\r\n1\r\n!\r\n0;chunk-signature=cd\r\nx-amz-checksum-crc32:AAAA\r\n\r\n",
        );
        assert_eq!(decoded(&body, Some(6)).unwrap(), "hello!");
        let empty = Bytes::from_static(b"0\r\n\r\n");
        assert_eq!(decoded(&empty, Some(0)).unwrap(), "");
    }

    #[test]
    fn a_truncated_body_or_one_of_another_length_is_refused() {
        for (body, expected) in [
            ("5\r\nhel", None),
            ("5\r\nhello", None),
            ("ffffffffffffffff\r\nx\r\n", None),
            ("x\r\nhello\r\n0\r\n\r\n", None),
            ("5\r\nhello\r\n0\r\n\r\n", Some(6)),
            ("", None),
        ] {
            let refused = decoded(&Bytes::from_static(body.as_bytes()), expected).unwrap_err();
            assert_eq!(refused.code(), "IncompleteBody", "{body:?}");
        }
    }
}
