//! A rule's options, as requests ask for them and answers tell them. No I/O.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tandem_replication::options::RPO_SECS;

/// What a request says of a rule's options; those that it does not name stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OptionChanges {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<EncryptionChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<KeyChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acl: Option<AclChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_lock: Option<LockChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle_deletes: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconcile: Option<Reconcile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpo_secs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notifications: Option<NotificationChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_eventbridge: Option<bool>,
}

impl OptionChanges {
    /// Nothing, where nothing is asked for.
    pub fn if_any(self) -> Option<Self> {
        (self != Self::default()).then_some(self)
    }
}

/// Which encryption copies ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
pub enum EncryptionChoice {
    /// None: as the destination bucket says
    #[serde(rename = "bucket")]
    Bucket,
    /// By keys of S3's own
    #[serde(rename = "AES256")]
    #[value(name = "AES256")]
    Aes256,
    /// By the KMS key of --kms-key, or else the one that AWS manages for S3
    #[serde(rename = "aws:kms")]
    #[value(name = "aws:kms")]
    Kms,
}

/// The KMS key that replicas are encrypted with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum KeyChoice {
    /// As the destination bucket says. On the wire `null`.
    OfTheBucket,
    /// The key of this ARN.
    Arn(String),
}

/// What becomes of a source's ACL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AclChoice {
    /// Nobody but the owner is granted anything
    Reset,
    /// Whoever may use the source may use the replica
    Keep,
}

/// What becomes of a source's retention and legal hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LockChoice {
    /// As the destination bucket says
    Bucket,
    /// At least as the source
    Keep,
}

/// How often a rule's buckets are compared and made to agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Reconcile {
    /// Only when somebody asks
    Never,
    /// Every day
    Daily,
    /// Every week
    Weekly,
}

/// How the source's changes are notified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum NotificationChoice {
    /// By the source bucket's own notifications if they have room for the rule, else by EventBridge
    Auto,
    /// By the source bucket's own notifications
    Bucket,
    /// By rules of EventBridge, which several consumers can share
    #[value(name = "eventbridge")]
    EventBridge,
}

/// A rule's options. What an answer leaves out has its default; words are shown, never decided on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Options {
    pub storage_class: String,
    pub encryption: String,
    pub kms_key: Option<String>,
    pub tags: bool,
    pub acl: String,
    pub object_lock: String,
    pub lifecycle_deletes: bool,
    pub destination_account: Option<String>,
    pub reconcile: String,
    pub rpo_secs: u32,
    pub notifications: String,
    pub enable_eventbridge: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            storage_class: "keep".to_owned(),
            encryption: "bucket".to_owned(),
            kms_key: None,
            tags: true,
            acl: "reset".to_owned(),
            object_lock: "bucket".to_owned(),
            lifecycle_deletes: false,
            destination_account: None,
            reconcile: "never".to_owned(),
            rpo_secs: RPO_SECS,
            notifications: "auto".to_owned(),
            enable_eventbridge: false,
        }
    }
}
