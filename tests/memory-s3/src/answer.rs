//! The answer to the client. No I/O.

use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};

use crate::refusal::Refusal;

/// The result of a request.
pub(crate) type Handled = Result<Answer, Refusal>;

/// An answer before it is sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn of_status(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) fn empty() -> Self {
        Self::of_status(StatusCode::OK)
    }

    pub(crate) fn no_content() -> Self {
        Self::of_status(StatusCode::NO_CONTENT)
    }

    pub(crate) fn of_xml(document: String) -> Self {
        let mut answer = Self::empty();
        answer.xml(document);
        answer
    }

    pub(crate) fn xml(&mut self, document: String) {
        self.header("content-type", "application/xml");
        self.body = Bytes::from(document);
    }

    /// Sets a header byte for byte.
    pub(crate) fn raw_header(&mut self, name: &str, value: &HeaderValue) {
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            self.headers.insert(name, value.clone());
        } else {
            debug_assert!(false, "the header name is invalid");
        }
    }

    /// Sets a header. The values come from headers and from this crate, so each is a valid header value.
    pub(crate) fn header(&mut self, name: &str, value: &str) {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            self.headers.insert(name, value);
        } else {
            debug_assert!(false, "the header is invalid");
        }
    }
}
