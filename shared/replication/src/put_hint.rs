//! What the next put of a rule will probably need, learned from the last one. A put is copied before any request has
//! read its source. A wrong hint costs requests and never makes a wrong replica. No I/O.

use std::sync::{Mutex, PoisonError};

use crate::names::StorageClass;
use crate::options::EncryptionChoice;
use crate::rule::{BucketEncryption, Rule};

/// The hint for a rule's next put. All attempts of a process share it.
#[derive(Debug, Default)]
pub struct PutHint(Mutex<Hint>);

/// What a put will probably need: a guess.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The source's storage class.
    pub storage_class: StorageClass,
    /// Whether the replica's `ETag` will be the source's.
    pub keeps_etag: bool,
}

impl Default for Hint {
    fn default() -> Self {
        Self {
            storage_class: StorageClass::standard(),
            keeps_etag: true,
        }
    }
}

impl PutHint {
    /// Returns the hint for a rule's first put, from the default encryption of its destination. That was stored when
    /// the rule was created, and by every check since. If it is unknown, the first put shows it.
    pub fn of_rule(rule: &Rule) -> Self {
        let hides_digest = match rule.options.asked_encryption() {
            EncryptionChoice::Kms => true,
            EncryptionChoice::Aes256 => false,
            EncryptionChoice::Bucket => rule
                .destination_encryption
                .is_some_and(BucketEncryption::hides_digest),
        };
        Self(Mutex::new(Hint {
            keeps_etag: !hides_digest,
            ..Hint::default()
        }))
    }

    /// Returns the present hint.
    pub fn now(&self) -> Hint {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Learns the source's class. Only classes for which a wrong guess costs nothing become a hint. All classes but
    /// these two are billed for a month or longer, however soon the replica is overwritten.
    ///
    /// Source: S3 user guide, "Understanding and managing Amazon S3 storage classes".
    pub fn saw_class(&self, class: &StorageClass) {
        let cheap = class.as_str() == "INTELLIGENT_TIERING";
        let class = if cheap {
            class.clone()
        } else {
            StorageClass::standard()
        };
        let mut hint = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hint.storage_class = class;
    }

    /// Learns whether a replica's `ETag` was its source's.
    pub fn saw_etag(&self, kept: bool) {
        let mut hint = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hint.keeps_etag = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_is_billed_by_the_month_is_never_a_hint() {
        let hint = PutHint::default();
        for (seen, wanted) in [
            ("INTELLIGENT_TIERING", "INTELLIGENT_TIERING"),
            ("STANDARD_IA", "STANDARD"),
            ("DEEP_ARCHIVE", "STANDARD"),
        ] {
            hint.saw_class(&StorageClass::new(seen));
            assert_eq!(hint.now().storage_class.as_str(), wanted);
        }
    }
}
