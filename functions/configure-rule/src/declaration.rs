//! Declarations of rules by infrastructure as code, without I/O. A rule's id is computed from the names of its
//! declarer, so that the same declaration, sent twice, is the same rule.

use md5::{Digest, Md5};
use tandem_replication::Timestamp;
use tandem_replication::names::{JobId, RuleId};
use tandem_replication::new_rule::NewRule;

/// A rule that has to exist, with its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// Its id.
    pub id: RuleId,
    /// Its settings. Those that are not declared have their defaults.
    pub draft: NewRule,
    /// Whether an existing rule is backfilled, if historical objects are declared. A new rule is then always
    /// backfilled.
    pub backfills: Backfills,
    /// Identifies this request. Every repetition has the same value.
    pub request: String,
}

/// Whether an existing rule is backfilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backfills {
    /// Yes: the request asks for it.
    Now,
    /// Yes, unless it has had a backfill. The rule may be from before a replacement that is rolled back.
    Once,
    /// No: an earlier request asked for it.
    No,
}

/// How many digits an id has, like ids that are made of a time and random bits.
const DIGITS: usize = 20;
/// How many of them are milliseconds, in ids that sort by time.
const TIME_DIGITS: usize = 12;

/// Returns the id of the rule that a declarer with these names declares.
pub fn rule_id(declarer: &[&str]) -> RuleId {
    RuleId::new(format!("rule-{}", &digest(declarer)[..DIGITS]))
}

/// Whether a text has the form of a rule's id.
pub fn is_rule_id(text: &str) -> bool {
    text.strip_prefix("rule-").is_some_and(|digits| {
        digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

/// Returns the id of the job that `request` starts, for a rule that was written at `at`. Ids of jobs sort by time.
pub fn job_id(at: Timestamp, request: &str) -> JobId {
    let digest = &digest(&[request])[..DIGITS - TIME_DIGITS];
    JobId::new(format!("job-{:012x}{digest}", at.timestamp_millis()))
}

/// Returns a digest of texts. It includes the length of each, so that different lists of texts have different digests.
fn digest(texts: &[&str]) -> String {
    let mut digest = Md5::new();
    for text in texts {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
    }
    let bytes: [u8; 16] = digest.finalize().into();
    format!("{:032x}", u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_names_give_the_same_rule_id() {
        let id = rule_id(&["stack", "Rule", "photos", "photos-replica"]);
        assert_eq!(id, rule_id(&["stack", "Rule", "photos", "photos-replica"]));
        assert!(is_rule_id(id.as_str()), "{id}");
        for other in [
            &["stack", "Rule", "photos", "photos-replica2"][..],
            &["stackR", "ule", "photos", "photos-replica"],
            &["stack", "Rule", "photos"],
        ] {
            assert_ne!(id, rule_id(other));
        }
        for text in [
            "",
            "rule-",
            "photos",
            "rule-0197f3c2a1b47c3e9d5",
            "rule-zzz7f3c2a1b47c3e9d52",
        ] {
            assert!(!is_rule_id(text), "{text}");
        }
    }

    #[test]
    fn ids_of_jobs_sort_by_time_for_any_request() {
        let at = |millis| Timestamp::from_timestamp_millis(millis).unwrap();
        let earlier = job_id(at(1_700_000_000_000), "z");
        assert_eq!(earlier.as_str().len(), "job-".len() + DIGITS);
        for request in ["a", "b", "c"] {
            assert!(job_id(at(1_700_000_000_001), request) > earlier);
        }
        assert_ne!(job_id(at(1), "a"), job_id(at(1), "b"));
    }
}
