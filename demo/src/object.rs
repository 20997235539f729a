//! An object as the demo writes it, and what the destination has to hold in the end. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use crate::source_tree::SourceFile;

/// Everything about an object that has to arrive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object {
    /// Its bytes.
    pub body: Vec<u8>,
    /// What it is served with.
    pub headers: Headers,
    /// User metadata.
    pub metadata: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

/// The headers that are kept with an object.
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
    /// Text, with a type and nothing else.
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

    /// The same, with everything that an object can carry beside its bytes.
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

/// What the source holds, and therefore what the destination has to hold.
#[derive(Debug, Default)]
pub struct Expected {
    /// Objects as they were uploaded from the folder, by key.
    pub historical: BTreeMap<String, SourceFile>,
    /// Objects that were written live.
    pub live: BTreeMap<String, Object>,
    /// Keys that were deleted.
    pub gone: BTreeSet<String>,
}

impl Expected {
    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.historical.len() + self.live.len()
    }

    /// An object was written.
    pub fn put(&mut self, key: String, object: Object) {
        self.historical.remove(&key);
        self.gone.remove(&key);
        self.live.insert(key, object);
    }

    /// An object was deleted.
    pub fn delete(&mut self, key: String) {
        self.historical.remove(&key);
        self.live.remove(&key);
        self.gone.insert(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_one_place_only() {
        let file = SourceFile {
            path: "a".into(),
            key: "a".into(),
            bytes: 1,
            modified_secs: None,
        };
        let mut expected = Expected::default();
        expected.historical.insert("a".into(), file);
        expected.put("a".into(), Object::text("new"));
        assert_eq!((expected.historical.len(), expected.live.len()), (0, 1));
        expected.delete("a".into());
        assert_eq!((expected.len(), expected.gone.len()), (0, 1));
        expected.put("a".into(), Object::default());
        assert_eq!((expected.len(), expected.gone.len()), (1, 0));
    }
}
