//! A header's value, byte for byte as it was received. No I/O.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A header's value, byte for byte. HTTP allows bytes that are not UTF-8 in it ("obs-text": RFC 9110, section 5.5),
/// and S3 keeps what a client sent.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderValue(Vec<u8>);

/// The stored form of a value that is not UTF-8. Every other value is stored as text.
#[derive(Serialize, Deserialize)]
struct Encoded {
    base64: String,
}

impl HeaderValue {
    /// Creates a value from its bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the value as text, if it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Returns its length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for HeaderValue {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for HeaderValue {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl PartialEq<str> for HeaderValue {
    fn eq(&self, text: &str) -> bool {
        self.0 == text.as_bytes()
    }
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl Serialize for HeaderValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_str() {
            Some(text) => serializer.serialize_str(text),
            None => Encoded {
                base64: BASE64_STANDARD.encode(&self.0),
            }
            .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for HeaderValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Stored {
            Text(String),
            Encoded(Encoded),
        }
        match Stored::deserialize(deserializer)? {
            Stored::Text(text) => Ok(Self::from(text)),
            Stored::Encoded(Encoded { base64 }) => BASE64_STANDARD
                .decode(base64)
                .map(Self)
                .map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_stored_as_text() {
        let value = HeaderValue::from("é");
        assert_eq!(serde_json::to_string(&value).unwrap(), "\"é\"");
        assert_eq!(format!("{:?}", HeaderValue::new(*b"1 \xa9")), r#""1 \xa9""#);
    }

    proptest! {
        #[test]
        fn a_value_of_any_bytes_is_read_as_it_was_stored(bytes: Vec<u8>) {
            let value = HeaderValue::new(bytes);
            let stored = serde_json::to_string(&value).unwrap();
            prop_assert_eq!(serde_json::from_str::<HeaderValue>(&stored).unwrap(), value);
        }
    }
}
