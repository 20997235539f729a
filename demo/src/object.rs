//! Objects as the demo and the acceptance run write them. No I/O.

use std::collections::BTreeMap;

/// An object, with everything that must arrive at the destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object {
    /// Its bytes.
    pub body: Vec<u8>,
    /// Its headers.
    pub headers: Headers,
    /// Its user metadata.
    pub metadata: BTreeMap<String, String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// The headers that S3 stores with an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// `Content-Type`; S3 has one for every object.
    pub content_type: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
}

impl Object {
    /// An object with a text and a content type, and nothing else.
    pub fn text(body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            headers: Headers {
                content_type: Some("text/plain; charset=utf-8".to_owned()),
                ..Headers::default()
            },
            ..Self::default()
        }
    }

    /// Adds all headers, metadata and tags to the object.
    #[must_use]
    pub fn dressed(self, by: &str) -> Self {
        let text = |value: &str| Some(value.to_owned());
        Self {
            body: self.body,
            headers: Headers {
                content_type: text("application/vnd.tandem+json"),
                cache_control: text("public, max-age=3600"),
                content_disposition: text("attachment; filename=\"a b.txt\""),
                content_encoding: text("identity"),
                content_language: text("de-CH"),
            },
            metadata: pairs(&[("written-by", by), ("colour", "red + 100% blue")]),
            tags: pairs(&[("written by", by), ("a+b", "c=d:e/f@g")]),
        }
    }
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
