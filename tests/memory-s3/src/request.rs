//! A request: its path, parameters, headers, and its body without the chunks of the transmission.

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, Request};
use percent_encoding::percent_decode_str;

use crate::chunked;
use crate::operation::{self, Operation, Target};
use crate::refusal::{Code, Refusal};

/// S3's limit for a key.
const KEY_BYTES_MAX: usize = 1_024;

#[derive(Debug)]
pub(crate) struct S3Request {
    pub(crate) operation: Operation,
    /// Empty if the request is for the service itself.
    pub(crate) bucket: String,
    /// Empty if the request is for a bucket.
    pub(crate) key: String,
    /// The part of the request that this server does not implement.
    pub(crate) unknown: Option<String>,
    parameters: Vec<(String, String)>,
    headers: HeaderMap,
    /// The body as received.
    raw_body: Bytes,
}

impl S3Request {
    pub(crate) async fn read(request: Request<Incoming>) -> Result<Self, hyper::Error> {
        let (head, body) = request.into_parts();
        let raw_body = body.collect().await?.to_bytes();
        Ok(Self::of(
            &head.method,
            head.uri.path(),
            head.uri.query().unwrap_or_default(),
            head.headers,
            raw_body,
        ))
    }

    fn of(method: &Method, path: &str, query: &str, headers: HeaderMap, raw_body: Bytes) -> Self {
        let path = path.strip_prefix('/').unwrap_or(path);
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let target = match (bucket, key) {
            ("", _) => Target::Service,
            (_, "") => Target::Bucket,
            _ => Target::Object,
        };
        let decoded_key = percent_decode_str(key).decode_utf8();
        let parameters = parameters(query);
        let (operation, mut unknown) = operation::recognized(method, target, &parameters, &headers);
        if decoded_key.is_err() {
            unknown = Some("a key that is not UTF-8".to_owned());
        }
        Self {
            operation,
            bucket: bucket.to_owned(),
            key: decoded_key.unwrap_or_default().into_owned(),
            unknown,
            parameters,
            headers,
            raw_body,
        }
    }

    /// Checks what is required of every request.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        if let Some(unknown) = &self.unknown {
            return Err(Refusal::not_implemented(unknown));
        }
        if self.key.len() > KEY_BYTES_MAX {
            return Err(Refusal::new(Code::KeyTooLongError, "the key is too long"));
        }
        match self.parameter("versionId") {
            None | Some("null") => Ok(()),
            Some(other) => Err(Refusal::new(
                Code::NoSuchVersion,
                format!("there is no version {other:?}: this server has no versions"),
            )),
        }
    }

    /// A parameter's value, decoded.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let mut all = self.parameters.iter();
        all.find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    /// A numeric parameter, or its default.
    pub(crate) fn number(&self, name: &str, default: usize) -> Result<usize, Refusal> {
        match self.parameter(name) {
            None | Some("") => Ok(default),
            Some(text) => text.parse().map_err(|_| Refusal::invalid(name, text)),
        }
    }

    /// A required parameter.
    pub(crate) fn needed(&self, name: &str) -> Result<&str, Refusal> {
        self.parameter(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Refusal::invalid(name, ""))
    }

    pub(crate) fn header(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let Some(value) = self.headers.get(name) else {
            return Ok(None);
        };
        let readable = value.to_str().map(Some);
        readable.map_err(|_| Refusal::not_implemented(format!("{name} that is not ASCII")))
    }

    /// A header's value, byte for byte.
    pub(crate) fn raw_header(&self, name: &str) -> Option<&HeaderValue> {
        self.headers.get(name)
    }

    /// The headers whose names begin so, without that prefix, and their values. The values have to be ASCII, because S3
    /// decodes others.
    pub(crate) fn headers_beginning(
        &self,
        beginning: &str,
    ) -> Result<Vec<(String, &HeaderValue)>, Refusal> {
        let names = self.headers.keys().map(hyper::header::HeaderName::as_str);
        names
            .filter_map(|name| Some((name, name.strip_prefix(beginning)?)))
            .map(|(name, rest)| {
                self.header(name)?;
                Ok((rest.to_owned(), &self.headers[name]))
            })
            .collect()
    }

    /// The body's bytes, without the chunks of the transmission.
    pub(crate) fn body(&self) -> Result<Bytes, Refusal> {
        let sent_as = self.header("x-amz-content-sha256")?.unwrap_or_default();
        let body = if sent_as.starts_with("STREAMING-") {
            let expected = self.header("x-amz-decoded-content-length")?;
            chunked::decoded(&self.raw_body, expected.and_then(|text| text.parse().ok()))?
        } else {
            self.raw_body.clone()
        };
        Ok(body)
    }

    /// The region for which the request is signed, if it is signed.
    pub(crate) fn signed_region(&self) -> Option<&str> {
        let authorization = self.headers.get("authorization")?.to_str().ok()?;
        let scope = authorization.split("Credential=").nth(1)?;
        // <access key>/<day>/<region>/s3/aws4_request
        scope.split('/').nth(2)
    }
}

fn parameters(query: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect()
}
