//! A rule's options, beyond its keys and its policy: its replicas' storage class, encryption, tags, ACL, Object Lock,
//! the owner of their bucket, and others. No I/O.

use std::ops::RangeInclusive;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::names::{AccountId, KmsKeyArn, StorageClass};

/// A rule's options. Each has a default. A rule without options replicates an object as it is, with the default
/// encryption of the destination bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The replicas' storage class.
    pub storage_class: ClassChoice,
    /// The encryption that every copy asks for.
    pub encryption: EncryptionChoice,
    /// The KMS key that replicas are encrypted with. It asks for encryption by KMS even if `encryption` does not.
    pub kms_key: Option<KmsKeyArn>,
    /// Whether replicas have their source's tags.
    pub tags: bool,
    /// Whether replicas have their source's grants.
    pub acl: AclChoice,
    /// Whether replicas have their source's retention and legal hold.
    pub object_lock: LockChoice,
    /// Whether Tandem deletes the replica of an object that the source's own lifecycle rules expire, as after other
    /// deletes.
    pub lifecycle_deletes: bool,
    /// The account that owns the destination bucket, if it is another one. That account then owns the replicas.
    pub destination_account: Option<AccountId>,
    /// How often both sides are compared and differences repaired.
    pub reconcile: Reconcile,
    /// The recovery point objective, in seconds: within it, all but one in a hundred changes have to be replicated.
    pub rpo_secs: u32,
    /// How the source's changes reach Tandem.
    pub notifications: NotificationChoice,
    /// Whether Tandem may turn on the source's notifications to EventBridge. It never turns them off.
    pub enable_eventbridge: bool,
}

/// How a rule asks for the source's changes to reach Tandem.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotificationChoice {
    /// By the bucket's own notification configuration if it takes the rule's entries, and by EventBridge if not.
    #[default]
    Auto,
    /// By the bucket's own notification configuration.
    Bucket,
    /// By EventBridge rules.
    EventBridge,
}

/// The recovery point objective of a rule that names none, in seconds. It is that of S3 Replication Time Control.
pub const RPO_SECS: u32 = 900;
/// The recovery point objectives that a rule may have, in seconds: a minute to a week.
pub const RPO_SECS_RANGE: RangeInclusive<u32> = 60..=604_800;

/// How often a rule's two sides are compared and repaired automatically.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reconcile {
    /// Only on request.
    #[default]
    Never,
    /// Every day.
    Daily,
    /// Every week.
    Weekly,
}

impl Reconcile {
    /// Returns the time from one reconciliation to the next; `None` if there is no next one.
    pub fn period(self) -> Option<TimeDelta> {
        match self {
            Self::Never => None,
            Self::Daily => Some(TimeDelta::days(1)),
            Self::Weekly => Some(TimeDelta::weeks(1)),
        }
    }
}

/// Which storage class replicas get.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum ClassChoice {
    /// The class that the source has when it is copied.
    #[default]
    Keep,
    /// Always this one.
    Always(StorageClass),
}

/// Which encryption a copy asks for. Some bucket policies deny requests that do not name one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EncryptionChoice {
    /// None: the destination bucket's default is used.
    #[default]
    #[serde(rename = "bucket")]
    Bucket,
    /// Encryption with S3's own keys.
    #[serde(rename = "AES256")]
    Aes256,
    /// Encryption with a KMS key: the rule's, or else the one that AWS manages for S3.
    #[serde(rename = "aws:kms")]
    Kms,
}

/// What happens to a source's ACL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AclChoice {
    /// A replica belongs to the destination bucket's owner and grants nothing to others.
    #[default]
    Reset,
    /// A replica grants what its source grants.
    Keep,
}

/// What happens to a source's Object Lock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockChoice {
    /// Replicas are locked as the destination bucket says.
    #[default]
    Bucket,
    /// Replicas are locked at least as their source is.
    Keep,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            storage_class: ClassChoice::default(),
            encryption: EncryptionChoice::default(),
            kms_key: None,
            tags: true,
            acl: AclChoice::default(),
            object_lock: LockChoice::default(),
            lifecycle_deletes: false,
            destination_account: None,
            reconcile: Reconcile::Never,
            rpo_secs: RPO_SECS,
            notifications: NotificationChoice::Auto,
            enable_eventbridge: false,
        }
    }
}

impl Options {
    /// Returns the class that a copy asks for, for a source of the class `source`.
    pub fn class_for<'a>(&'a self, source: &'a StorageClass) -> &'a StorageClass {
        match &self.storage_class {
            ClassChoice::Keep => source,
            ClassChoice::Always(class) => class,
        }
    }

    /// Returns the encryption that a copy asks for.
    pub fn asked_encryption(&self) -> EncryptionChoice {
        match self.kms_key {
            Some(_) => EncryptionChoice::Kms,
            None => self.encryption,
        }
    }

    /// Returns whether the rule itself asks for encryption by KMS, so that replicas do not have their sources' `ETag`s.
    pub fn hide_digests(&self) -> bool {
        self.asked_encryption() == EncryptionChoice::Kms
    }

    /// Returns whether the rule replicates anything that no HEAD shows.
    pub fn carries_attributes(&self) -> bool {
        self.tags || self.acl == AclChoice::Keep
    }
}

/// The storage classes that a replica can be written in, under S3's own names.
///
/// Source: S3 API reference, `CopyObject`, `x-amz-storage-class`: those of general purpose buckets.
pub const STORAGE_CLASSES: [&str; 8] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER_IR",
    "GLACIER",
    "DEEP_ARCHIVE",
];

/// The word for [`ClassChoice::Keep`].
pub const KEEP: &str = "keep";

impl From<String> for ClassChoice {
    fn from(text: String) -> Self {
        if text == KEEP {
            Self::Keep
        } else {
            Self::Always(StorageClass::new(text))
        }
    }
}

impl From<ClassChoice> for String {
    fn from(choice: ClassChoice) -> Self {
        match choice {
            ClassChoice::Keep => KEEP.to_owned(),
            ClassChoice::Always(class) => class.as_str().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_written_as_the_contract_says_and_each_may_be_left_out() {
        let json = serde_json::to_value(Options::default()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "storage_class": "keep", "encryption": "bucket", "kms_key": null, "tags": true, "acl": "reset",
                "object_lock": "bucket", "lifecycle_deletes": false, "destination_account": null,
                "reconcile": "never",
                "rpo_secs": 900, "notifications": "auto", "enable_eventbridge": false,
            })
        );
        let some = r#"{"storage_class": "GLACIER_IR", "tags": false}"#;
        let read: Options = serde_json::from_str(some).unwrap();
        assert_eq!(
            read,
            Options {
                storage_class: ClassChoice::Always(StorageClass::new("GLACIER_IR")),
                tags: false,
                ..Options::default()
            }
        );
    }
}
