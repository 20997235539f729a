//! What the next put of a rule will probably need, from what the last one did: it is ordered before anybody
//! has looked at its source. A wrong guess costs requests, never a wrong replica. No I/O.

use std::sync::{Mutex, PoisonError};

use crate::names::StorageClass;
use crate::options::EncryptionChoice;
use crate::rule::{BucketEncryption, Rule};

/// What is expected of a rule's next put; shared by all who carry its puts over.
#[derive(Debug, Default)]
pub struct Expectation(Mutex<Expected>);

/// What is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The source's storage class.
    pub storage_class: StorageClass,
    /// That the replica's `ETag` will be the source's.
    pub keeps_etag: bool,
}

impl Default for Expected {
    fn default() -> Self {
        Self {
            storage_class: StorageClass::standard(),
            keeps_etag: true,
        }
    }
}

impl Expectation {
    /// What is expected of a rule before its first put, from its destination's default encryption, which was stored
    /// when the rule was made and by every check since. If it is unknown, the first put shows it.
    pub fn of_rule(rule: &Rule) -> Self {
        let hides_digest = match rule.options.asked_encryption() {
            EncryptionChoice::Kms => true,
            EncryptionChoice::Aes256 => false,
            EncryptionChoice::Bucket => rule
                .destination_encryption
                .is_some_and(BucketEncryption::hides_digest),
        };
        Self(Mutex::new(Expected {
            keeps_etag: !hides_digest,
            ..Expected::default()
        }))
    }

    /// What is expected now.
    pub fn now(&self) -> Expected {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A source was of this class. Only one is expected again for which a wrong guess costs nothing: all but
    /// these two are paid for by the month or longer, however soon the replica is overwritten.
    ///
    /// Source: S3 user guide, "Understanding and managing Amazon S3 storage classes".
    pub fn saw_class(&self, class: &StorageClass) {
        let cheap = class.as_str() == "INTELLIGENT_TIERING";
        let class = if cheap {
            class.clone()
        } else {
            StorageClass::standard()
        };
        let mut expected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        expected.storage_class = class;
    }

    /// A replica's `ETag` was its source's, or not.
    pub fn saw_etag(&self, kept: bool) {
        let mut expected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        expected.keeps_etag = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_is_paid_for_by_the_month_is_never_a_guess() {
        let expectation = Expectation::default();
        for (seen, expected) in [
            ("INTELLIGENT_TIERING", "INTELLIGENT_TIERING"),
            ("STANDARD_IA", "STANDARD"),
            ("DEEP_ARCHIVE", "STANDARD"),
        ] {
            expectation.saw_class(&StorageClass::new(seen));
            assert_eq!(expectation.now().storage_class.as_str(), expected);
        }
    }
}
