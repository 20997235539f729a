//! XML as S3 writes and reads it. No I/O.

use std::fmt::Write;

use quick_xml::escape::escape;
use serde::Deserialize;

use crate::refusal::{Code, Refusal};

const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// A document that is being written.
#[derive(Debug)]
pub(crate) struct Xml {
    text: String,
    root: &'static str,
}

impl Xml {
    pub(crate) fn of_root(root: &'static str) -> Self {
        let namespace = if root == "Error" {
            String::new()
        } else {
            format!(" xmlns=\"{NAMESPACE}\"")
        };
        Self {
            text: format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root}{namespace}>"),
            root,
        }
    }

    /// Text in the document itself.
    pub(crate) fn push_text(&mut self, value: &str) {
        self.push_escaped(value);
    }

    /// An element with text in it.
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.within(name, |xml| xml.push_escaped(value));
    }

    pub(crate) fn number(&mut self, name: &str, value: u64) {
        self.within(name, |xml| {
            // Writing to a string does not fail.
            let _ = write!(xml.text, "{value}");
        });
    }

    pub(crate) fn flag(&mut self, name: &str, value: bool) {
        self.text(name, if value { "true" } else { "false" });
    }

    /// An `ETag`, with its quotes.
    pub(crate) fn etag(&mut self, etag: &str) {
        self.text("ETag", &format!("\"{etag}\""));
    }

    /// An element that contains others.
    pub(crate) fn within(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push('>');
        inside(self);
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push('>');
    }

    pub(crate) fn ended(mut self) -> String {
        // Writing to a string does not fail.
        let _ = write!(self.text, "</{}>", self.root);
        self.text
    }

    /// Writes text. Characters that XML cannot contain are written as references, as S3 does. Not every parser accepts
    /// these; hence `encoding-type=url`.
    fn push_escaped(&mut self, value: &str) {
        for character in escape(value).chars() {
            if character < ' ' {
                // Writing to a string does not fail.
                let _ = write!(self.text, "&#x{:X};", u32::from(character));
            } else {
                self.text.push(character);
            }
        }
    }
}

/// Reads a document.
pub(crate) fn read<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Refusal> {
    let malformed =
        |error: &dyn std::fmt::Display| Refusal::new(Code::MalformedXML, error.to_string());
    let text = std::str::from_utf8(body).map_err(|error| malformed(&error))?;
    quick_xml::de::from_str(text).map_err(|error| malformed(&error))
}
