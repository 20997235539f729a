//! A service whose clock differs from ours. Every time in its answers is off by the same whole number of seconds,
//! which keeps times that are given in whole seconds consistent. No I/O.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use hyper::Response;
use hyper::body::Bytes;
use hyper::header::{CONTENT_LENGTH, DATE, HeaderName, HeaderValue, LAST_MODIFIED};

use crate::proxy::Seen;

/// The operations whose answers have times in their bodies.
const WITH_TIMES: [&str; 5] = [
    "ListObjectsV2",
    "ListMultipartUploads",
    "ListParts",
    "CopyObject",
    "UploadPartCopy",
];
/// The elements that contain the times.
const ELEMENTS: [&str; 2] = ["LastModified", "Initiated"];

/// Returns the answer of a service whose clock is ahead by `secs`. `now` is the time of the answer.
pub fn skewed(
    mut answer: Response<Bytes>,
    seen: &Seen,
    secs: i64,
    now: DateTime<Utc>,
) -> Response<Bytes> {
    let by = TimeDelta::seconds(secs);
    if !answer.headers().contains_key(DATE) {
        set_time(&mut answer, DATE, now);
    }
    for name in [DATE, LAST_MODIFIED] {
        if let Some(time) = http_time(&answer, &name) {
            set_time(&mut answer, name, time + by);
        }
    }
    if !WITH_TIMES.iter().any(|operation| seen.is(operation)) {
        return answer;
    }
    let Ok(text) = std::str::from_utf8(answer.body()) else {
        return answer;
    };
    let body = Bytes::from(shifted(text, by));
    if answer.headers().contains_key(CONTENT_LENGTH) {
        answer
            .headers_mut()
            .insert(CONTENT_LENGTH, body.len().into());
    }
    answer.map(|_| body)
}

fn http_time<T>(answer: &Response<T>, name: &HeaderName) -> Option<DateTime<Utc>> {
    let text = answer.headers().get(name)?.to_str().ok()?;
    let time = DateTime::parse_from_rfc2822(text).ok()?;
    Some(time.to_utc())
}

fn set_time<T>(answer: &mut Response<T>, name: HeaderName, time: DateTime<Utc>) {
    let text = time.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let value = HeaderValue::from_str(&text).expect("a date");
    answer.headers_mut().insert(name, value);
}

/// The document with each of its times moved.
fn shifted(document: &str, by: TimeDelta) -> String {
    ELEMENTS
        .iter()
        .fold(document.to_owned(), |document, element| {
            let (begin, end) = (format!("<{element}>"), format!("</{element}>"));
            let mut pieces = document.split(&begin);
            let mut out = pieces.next().unwrap_or_default().to_owned();
            for piece in pieces {
                out.push_str(&begin);
                match piece.split_once(&end) {
                    Some((time, rest)) => {
                        out.push_str(&moved(time, by));
                        out.push_str(&end);
                        out.push_str(rest);
                    }
                    None => out.push_str(piece),
                }
            }
            out
        })
}

fn moved(time: &str, by: TimeDelta) -> String {
    match DateTime::parse_from_rfc3339(time) {
        Ok(known) => (known.to_utc() + by).to_rfc3339_opts(SecondsFormat::Millis, true),
        Err(_) => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;

    fn seen(operation: &str) -> Seen {
        Seen {
            operation: operation.to_owned(),
            bucket: String::new(),
            key: String::new(),
            headers: HeaderMap::new(),
        }
    }

    #[test]
    fn all_times_of_a_listing_are_moved_by_the_same_amount() {
        let listing = "<A><LastModified>2026-01-01T00:00:00.000Z</LastModified><Key>&lt;LastModified&gt;</Key></A>\
                       <LastModified>2026-01-01T00:00:01.250Z</LastModified><Initiated>?</Initiated>";
        let answer = Response::builder()
            .header("date", "Thu, 01 Jan 2026 00:00:59 GMT")
            .header("content-length", listing.len())
            .body(Bytes::from(listing))
            .expect("an answer");
        let moved = skewed(answer, &seen("ListObjectsV2"), 2, DateTime::UNIX_EPOCH);
        assert_eq!(moved.headers()["date"], "Thu, 01 Jan 2026 00:01:01 GMT");
        let expected = "<A><LastModified>2026-01-01T00:00:02.000Z</LastModified><Key>&lt;LastModified&gt;</Key></A>\
                        <LastModified>2026-01-01T00:00:03.250Z</LastModified><Initiated>?</Initiated>";
        assert_eq!(moved.body(), expected);
        assert_eq!(
            moved.headers()["content-length"],
            expected.len().to_string()
        );
    }

    #[test]
    fn the_bytes_of_an_object_are_not_changed() {
        let body = "<LastModified>2026-01-01T00:00:00.000Z</LastModified>";
        let answer = Response::builder()
            .header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            .body(Bytes::from(body))
            .expect("an answer");
        let at = DateTime::UNIX_EPOCH;
        let moved = skewed(answer, &seen("GetObject"), -1, at);
        assert_eq!(moved.body(), body);
        let headers = moved.headers();
        assert_eq!(headers["last-modified"], "Wed, 31 Dec 2025 23:59:59 GMT");
        // An answer without a date gets one.
        assert_eq!(headers["date"], "Wed, 31 Dec 1969 23:59:59 GMT");
    }
}
