//! Turns another service's replication configuration into a rule of Tandem, and notes what cannot be carried over.
//! Reads S3's (JSON as `aws s3api get-bucket-replication` prints it, or its XML) and OSS's (XML). No I/O.
//!
//! Modules in reading order: [`tree`] (the file), [`s3`] and [`oss`] (what it says), [`merge`] (one rule of it).

mod merge;
mod oss;
mod s3;
#[cfg(test)]
mod tests;
mod tree;

use serde::Serialize;

use crate::contract::{OptionChanges, Policy, Scope};

use self::tree::Element;

/// A file that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{element} {problem}")]
pub struct ImportError {
    element: String,
    problem: String,
}

impl ImportError {
    fn new(element: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            element: element.into(),
            problem: problem.into(),
        }
    }
}

/// The result of reading a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The rule to create; `None` if nothing can be carried over.
    pub rule: Option<Planned>,
    /// What will be different, or is not carried over.
    pub notes: Vec<Note>,
}

/// A rule to create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    pub source: String,
    pub destination: String,
    pub scope: Scope,
    pub policy: Policy,
    pub options: OptionChanges,
    pub historical: bool,
}

/// Something that is not carried over as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The path of the element in the file.
    pub element: String,
    /// What Tandem does with it.
    pub note: String,
}

/// One rule of the file, as far as it can be carried over.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    /// Its path in the file.
    path: String,
    /// If two rules disagree, the one with the greater priority counts.
    priority: i64,
    destination: String,
    /// Empty for every key.
    prefixes: Vec<String>,
    policy: Policy,
    options: OptionChanges,
    historical: bool,
}

/// The notes made while a file is read.
#[derive(Debug, Default)]
struct Notes(Vec<Note>);

impl Notes {
    fn add(&mut self, element: &Element, note: impl Into<String>) {
        self.at(&element.path, note);
    }

    fn at(&mut self, path: &str, note: impl Into<String>) {
        self.0.push(Note {
            element: path.to_owned(),
            note: note.into(),
        });
    }
}

/// Notes white space around a prefix, because it is taken literally and easily overlooked.
fn note_white_space(rule: &Element, prefixes: &[String], notes: &mut Notes) {
    for prefix in prefixes
        .iter()
        .filter(|prefix| prefix.trim() != prefix.as_str())
    {
        notes.add(
            rule,
            format!("covers keys that begin with {prefix:?}, white space included"),
        );
    }
}

/// Reads the replication configuration of the bucket `source`. `destination` replaces the destination in the file.
pub fn plan(bytes: &[u8], source: &str, destination: Option<&str>) -> Result<Plan, ImportError> {
    let root = Element::read(bytes)?;
    if root.name() != "ReplicationConfiguration" {
        let problem = "is not a ReplicationConfiguration";
        return Err(ImportError::new(&root.path, problem));
    }
    if root.all("Rule").next().is_none() {
        return Err(ImportError::new(
            format!("{}.Rule", root.path),
            "is missing",
        ));
    }
    let mut notes = Notes::default();
    let found = if root.all("Rule").any(oss::is_rule) {
        oss::rules(&root, &mut notes)?
    } else {
        s3::rules(&root, &mut notes)?
    };
    let rule = merge::one(found, source, destination, &mut notes);
    Ok(Plan {
        rule,
        notes: notes.0,
    })
}
