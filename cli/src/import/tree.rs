//! A configuration file as a tree of named elements, whether it was JSON or XML. Every element knows its path, so
//! that notes and errors can name it. No I/O.

use roxmltree::{Document, Node};
use serde_json::Value;

use super::ImportError;

/// An element: a text, or child elements in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Where it is: `ReplicationConfiguration.Rule[2].Status`.
    pub path: String,
    /// Its name, without its position among elements of the same name.
    name: String,
    text: String,
    children: Vec<Element>,
}

/// Lists: JSON names them in the plural; XML repeats an element in the singular.
const LISTS: [(&str, &str); 2] = [("Rules", "Rule"), ("Tags", "Tag")];

/// The root element.
const ROOT: &str = "ReplicationConfiguration";

impl Element {
    /// Reads a file: XML if it begins with `<`, otherwise JSON.
    pub fn read(bytes: &[u8]) -> Result<Self, ImportError> {
        let text = str::from_utf8(bytes).map_err(|error| {
            let at = error.valid_up_to();
            ImportError::new(
                "the file",
                format!("is not UTF-8 from byte {at} on; convert it, then import it again"),
            )
        })?;
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.starts_with('<') {
            let document = Document::parse(text).map_err(|error| {
                ImportError::new("the file", format!("is not valid XML: {error}"))
            })?;
            let root = document.root_element();
            return Ok(Self::of_xml(root, root.tag_name().name().to_owned()));
        }
        let value: Value = serde_json::from_str(text).map_err(|error| {
            ImportError::new("the file", format!("is neither XML nor JSON: {error}"))
        })?;
        // As `get-bucket-replication` prints it, or as `put-bucket-replication` takes it.
        let inner = value.get(ROOT).unwrap_or(&value);
        if !inner.is_object() {
            return Err(ImportError::new(ROOT, "is not an object with rules"));
        }
        Ok(Self::of_json(inner, ROOT, ROOT.to_owned()))
    }

    fn of_xml(node: Node<'_, '_>, path: String) -> Self {
        let elements = || node.children().filter(Node::is_element);
        let name_of = |node: &Node<'_, '_>| node.tag_name().name().to_owned();
        let children = elements().enumerate().map(|(at, child)| {
            let name = name_of(&child);
            let same = || elements().filter(|other| other.tag_name().name() == name);
            let place = elements()
                .take(at)
                .filter(|other| other.tag_name().name() == name)
                .count();
            let path = path_of(&path, &name, place, same().count());
            Self::of_xml(child, path)
        });
        let texts = node
            .children()
            .filter(Node::is_text)
            .filter_map(|child| child.text());
        Self {
            name: name_of(&node),
            text: texts.collect(),
            children: children.collect(),
            path,
        }
    }

    fn of_json(value: &Value, name: &str, path: String) -> Self {
        let mut children = Vec::new();
        if let Value::Array(values) = value {
            // A list where text belongs becomes an element with children, so that reading it as text fails.
            for (at, value) in values.iter().enumerate() {
                let path = format!("{path}[{}]", at + 1);
                children.push(Self::of_json(value, "", path));
            }
        }
        if let Value::Object(fields) = value {
            for (field, value) in fields {
                let list = LISTS.iter().find(|(plural, _)| plural == field);
                match (list, value) {
                    (Some((_, singular)), Value::Array(values)) => {
                        for (at, value) in values.iter().enumerate() {
                            let path = path_of(&path, singular, at, values.len());
                            children.push(Self::of_json(value, singular, path));
                        }
                    }
                    _ => children.push(Self::of_json(value, field, path_of(&path, field, 0, 1))),
                }
            }
        }
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
        };
        Self {
            path,
            name: name.to_owned(),
            text,
            children,
        }
    }

    /// The element's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the elements of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// Returns the one element of this name, if it is there.
    pub fn get(&self, name: &str) -> Result<Option<&Self>, ImportError> {
        let mut found = self.children.iter().filter(|child| child.name == name);
        match (found.next(), found.next()) {
            (_, Some(second)) => Err(ImportError::new(&second.path, "is there twice")),
            (first, None) => Ok(first),
        }
    }

    /// Returns the one element at the end of this path, if it is there.
    pub fn at(&self, way: &[&str]) -> Result<Option<&Self>, ImportError> {
        let mut element = self;
        for name in way {
            match element.get(name)? {
                Some(child) => element = child,
                None => return Ok(None),
            }
        }
        Ok(Some(element))
    }

    /// Returns the literal text at the end of this path, if it is there.
    pub fn literal_at(&self, way: &[&str]) -> Result<Option<&str>, ImportError> {
        self.at(way)?.map(Self::literal).transpose()
    }

    /// Returns the word at the end of this path, if it is there.
    pub fn word_at(&self, way: &[&str]) -> Result<Option<&str>, ImportError> {
        self.at(way)?.map(Self::word).transpose()
    }

    /// Returns the word at the end of this path, which has to be there.
    pub fn required(&self, way: &[&str]) -> Result<&str, ImportError> {
        let missing = || ImportError::new(format!("{}.{}", self.path, way.join(".")), "is missing");
        self.word_at(way)?
            .filter(|text| !text.is_empty())
            .ok_or_else(missing)
    }

    /// Returns whether the status at the end of this path is `Enabled`; `None` if it is not there.
    pub fn enabled_at(&self, way: &[&str]) -> Result<Option<bool>, ImportError> {
        let Some(element) = self.at(way)? else {
            return Ok(None);
        };
        match element.word()?.to_ascii_lowercase().as_str() {
            "enabled" => Ok(Some(true)),
            "disabled" => Ok(Some(false)),
            other => {
                let problem = format!("is {other:?}; it must be Enabled or Disabled");
                Err(ImportError::new(&element.path, problem))
            }
        }
    }

    /// Returns the text without the white space around it, which has no meaning in a name, a number or a status.
    pub fn word(&self) -> Result<&str, ImportError> {
        self.literal().map(str::trim)
    }

    /// Returns the text with all its white space, which is part of a prefix.
    pub fn literal(&self) -> Result<&str, ImportError> {
        if self.children.is_empty() {
            Ok(&self.text)
        } else {
            Err(ImportError::new(
                &self.path,
                "contains elements instead of text",
            ))
        }
    }

    /// Returns the elements with names other than these.
    pub fn others<'a>(&'a self, known: &'a [&'a str]) -> impl Iterator<Item = &'a Self> {
        let known = |child: &&Self| !known.contains(&child.name.as_str());
        self.children.iter().filter(known)
    }
}

fn path_of(parent: &str, name: &str, place: usize, of: usize) -> String {
    if of == 1 {
        format!("{parent}.{name}")
    } else {
        format!("{parent}.{name}[{}]", place + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_and_json_give_the_same_tree() {
        let read = |text: &str| Element::read(text.as_bytes());
        let xml = read(
            "<?xml version=\"1.0\"?><ReplicationConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Role>r</Role>\
             <Rule><ID>1</ID></Rule><Rule><ID>2</ID></Rule></ReplicationConfiguration>",
        );
        let json = read(
            r#"{"ReplicationConfiguration": {"Role": "r", "Rules": [{"ID": "1"}, {"ID": "2"}]}}"#,
        );
        assert_eq!(xml, json);
        let rules: Vec<Element> = xml.unwrap().all("Rule").cloned().collect();
        assert_eq!(rules[1].path, "ReplicationConfiguration.Rule[2]");
        assert_eq!(rules[1].required(&["ID"]).unwrap(), "2");
    }

    #[test]
    fn white_space_is_part_of_a_literal_and_not_of_a_word() {
        let xml = b"<Rule>\n <ID> a b\r\n</ID>\n <Role><![CDATA[ x ]]> <!-- y -->z</Role>\n</Rule>";
        let rule = Element::read(xml).unwrap();
        // An XML parser reads a line break of two characters as one.
        assert_eq!(rule.literal_at(&["ID"]).unwrap(), Some(" a b\n"));
        assert_eq!(rule.word_at(&["ID"]).unwrap(), Some("a b"));
        assert_eq!(rule.literal_at(&["Role"]).unwrap(), Some(" x  z"));
        assert_eq!(rule.literal_at(&["Status"]).unwrap(), None);
    }

    #[test]
    fn the_error_for_a_file_that_is_not_utf_8_names_the_byte() {
        let error = Element::read(b"<Rule>\xe9</Rule>").unwrap_err().to_string();
        assert_eq!(
            error,
            "the file is not UTF-8 from byte 6 on; convert it, then import it again"
        );
        assert!(Element::read(b"\xef\xbb\xbf<Rule/>").is_ok());
    }

    #[test]
    fn errors_name_the_element_and_the_problem() {
        for (text, said) in [
            ("", "the file is neither XML nor JSON"),
            ("<a>", "the file is not valid XML"),
            ("[1]", "ReplicationConfiguration is not an object"),
        ] {
            let error = Element::read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
        let rule =
            Element::read(b"<Rule><Status>On</Status><ID/><ID/><Filter><Prefix/></Filter></Rule>")
                .unwrap();
        for (error, said) in [
            (
                rule.enabled_at(&["Status"]).unwrap_err(),
                "Rule.Status is \"on\"; it must be Enabled or Disabled",
            ),
            (
                rule.required(&["ID"]).unwrap_err(),
                "Rule.ID[2] is there twice",
            ),
            (
                rule.required(&["Filter"]).unwrap_err(),
                "Rule.Filter contains elements",
            ),
            (
                rule.required(&["Destination", "Bucket"]).unwrap_err(),
                "Rule.Destination.Bucket is missing",
            ),
        ] {
            assert!(error.to_string().contains(said), "{said}: {error}");
        }
    }
}
