//! What infrastructure as code declares: that a rule be there, under an id that follows from who declares it.
//! The same declaration, sent twice, is the same rule. No I/O.

use md5::{Digest, Md5};
use tandem_replication::Timestamp;
use tandem_replication::names::{JobId, RuleId};
use tandem_replication::new_rule::NewRule;

/// A rule that has to be there, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// Its id.
    pub id: RuleId,
    /// All that is declared of it; what is not has its default.
    pub draft: NewRule,
    /// When historical objects, if they are declared, are asked for. A rule that has to be made is backfilled in any
    /// case.
    pub backfills: Backfills,
    /// What tells this request from others; the same in every repetition.
    pub request: String,
}

/// When a rule that is there is backfilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backfills {
    /// Now: that is what is asked for.
    Now,
    /// Unless it ever was: this may be the rule before a replacement that is rolled back.
    Once,
    /// It was asked for before already.
    No,
}

/// Digits of an id, as in those that are made from time and chance.
const DIGITS: usize = 20;
/// Those of them that are milliseconds, in ids that sort by time.
const TIME_DIGITS: usize = 12;

/// The id of the rule that is declared by whoever has these names.
pub fn rule_id(declarer: &[&str]) -> RuleId {
    RuleId::new(format!("rule-{}", &digest(declarer)[..DIGITS]))
}

/// Whether a text has the form of a rule's id.
pub fn is_rule_id(text: &str) -> bool {
    text.strip_prefix("rule-").is_some_and(|digits| {
        digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

/// The id of the job that `request` asks for, of a rule that was written at `at`. Ids of jobs sort by time.
pub fn job_id(at: Timestamp, request: &str) -> JobId {
    let digest = &digest(&[request])[..DIGITS - TIME_DIGITS];
    JobId::new(format!("job-{:012x}{digest}", at.timestamp_millis()))
}

/// A digest of texts, each with its length, so that no two lists of texts read the same.
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
    fn the_same_names_are_the_same_rule_and_no_others() {
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
    fn ids_of_jobs_sort_by_time_whatever_asks_for_them() {
        let at = |millis| Timestamp::from_timestamp_millis(millis).unwrap();
        let earlier = job_id(at(1_700_000_000_000), "z");
        assert_eq!(earlier.as_str().len(), "job-".len() + DIGITS);
        for request in ["a", "b", "c"] {
            assert!(job_id(at(1_700_000_000_001), request) > earlier);
        }
        assert_ne!(job_id(at(1), "a"), job_id(at(1), "b"));
    }
}
