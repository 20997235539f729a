//! A rule's options in requests and answers. No I/O.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tandem_replication::options::RPO_SECS;

/// The options that a request sets; the others stay as they are.
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
    /// Returns `None` if no option is set.
    pub fn if_any(self) -> Option<Self> {
        (self != Self::default()).then_some(self)
    }
}

/// The encryption that copies request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
pub enum EncryptionChoice {
    /// None: the destination bucket decides
    #[serde(rename = "bucket")]
    Bucket,
    /// With keys that S3 manages
    #[serde(rename = "AES256")]
    #[value(name = "AES256")]
    Aes256,
    /// With the KMS key of --kms-key, or else the one that AWS manages for S3
    #[serde(rename = "aws:kms")]
    #[value(name = "aws:kms")]
    Kms,
}

/// The KMS key that replicas are encrypted with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum KeyChoice {
    /// The destination bucket decides. On the wire `null`.
    OfTheBucket,
    /// The key of this ARN.
    Arn(String),
}

/// What replicas take over of their source's ACL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum AclChoice {
    /// Grant access to the owner only
    Reset,
    /// Grant others the same access as the source's ACL
    Keep,
}

/// What replicas take over of their source's retention and legal hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LockChoice {
    /// The default retention of the destination bucket applies
    Bucket,
    /// Lock replicas at least as strictly as their source, legal hold included
    Keep,
}

/// How often Tandem compares a rule's buckets and repairs differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Reconcile {
    /// Only on request
    Never,
    /// Every day
    Daily,
    /// Every week
    Weekly,
}

/// How the source bucket reports its changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum NotificationChoice {
    /// Through the source bucket's own notifications if they have room for the rule, else through EventBridge
    Auto,
    /// Through the source bucket's own notifications
    Bucket,
    /// Through rules of EventBridge, which several consumers can share
    #[value(name = "eventbridge")]
    EventBridge,
}

/// A rule's options. A field that an answer leaves out has its default. Words are shown as they come.
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
