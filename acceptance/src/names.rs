//! The names of everything that a run makes, and how to recognise them. No I/O, except the clock.

use std::time::{Duration, SystemTime};

/// The beginning of every name.
pub const PREFIX: &str = "tandem-acceptance-";
/// The tag of every stack and bucket; its value is the run's id.
pub const TAG: &str = "tandem-acceptance";
/// The number of digits of an id.
const ID_DIGITS: usize = 11;

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The time of its start, in milliseconds since 1970, in hexadecimal.
    pub id: String,
}

impl Names {
    /// The names of a run that starts now.
    pub fn new() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self::at(since.unwrap_or_default())
    }

    fn at(since_1970: Duration) -> Self {
        let millis = since_1970.as_millis();
        Self {
            id: format!("{millis:0ID_DIGITS$x}"),
        }
    }

    /// Returns the stack of Tandem in the sources' region.
    pub fn stack(&self) -> String {
        format!("{PREFIX}{}", self.id)
    }

    /// Returns the stack of Tandem in the destinations' region, which only the circle needs.
    pub fn second_stack(&self) -> String {
        format!("{PREFIX}{}-back", self.id)
    }

    /// Returns the stack that declares a rule.
    pub fn code_stack(&self) -> String {
        format!("{PREFIX}{}-rule", self.id)
    }

    /// Returns a bucket's name.
    pub fn bucket(&self, what: &str) -> String {
        format!("{PREFIX}{}-{what}", self.id)
    }

    /// Returns the pattern of all the run's buckets, for the template's parameters.
    pub fn bucket_pattern(&self) -> String {
        format!("{PREFIX}{}-*", self.id)
    }
}

/// Returns the id of the run to which something of this name belongs; `None` if it belongs to no run.
pub fn run_of(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(PREFIX)?;
    let id = rest.get(..ID_DIGITS)?;
    let is_id = id
        .bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let ends = matches!(rest.as_bytes().get(ID_DIGITS), None | Some(b'-'));
    (is_id && ends).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::at(Duration::from_millis(1_795_848_000_123))
    }

    #[test]
    fn every_name_gives_its_run() {
        let names = names();
        let id = names.id.clone();
        for name in [
            names.stack(),
            names.second_stack(),
            names.code_stack(),
            names.bucket("plain-source"),
        ] {
            assert_eq!(run_of(&name), Some(id.as_str()), "{name}");
        }
    }

    #[test]
    fn other_names_belong_to_no_run() {
        for name in [
            "tandem",
            "tandem-acceptance-",
            "tandem-acceptance-photos",
            "tandem-acceptance-photos-2026-all",
            "tandem-acceptance-1a2b3c4d5e6f",
            "tandem-acceptance-1A2B3C4D5E6",
            "my-tandem-acceptance-1a2b3c4d5e6",
            "tandem-acceptance-ééééééééééé",
        ] {
            assert_eq!(run_of(name), None, "{name}");
        }
    }

    #[test]
    fn names_keep_to_the_limits_of_aws() {
        let names = names();
        // The limits of a bucket (63), and of a function (64): the stack's name and "-replicate-delete".
        assert!(names.bucket("versioned-replica").len() <= 63);
        assert!(names.second_stack().len() + "-replicate-delete".len() <= 64);
    }
}
