//! The arguments for the options of a rule. No I/O.

use std::ops::RangeInclusive;

use clap::Args;
use clap::builder::PossibleValuesParser;
use tandem_replication::options::{KEEP, RPO_SECS_RANGE, STORAGE_CLASSES};

use crate::contract::{
    AclChoice, EncryptionChoice, KeyChoice, LockChoice, NotificationChoice, OptionChanges,
    Reconcile,
};

/// The word that removes the rule's own KMS key.
const NO_KEY: &str = "none";

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options of the rule")]
pub struct OptionArgs {
    /// Storage class of replicas; "keep", the default of a new rule, is the source's
    #[arg(long, value_name = "CLASS",
          value_parser = PossibleValuesParser::new([KEEP].into_iter().chain(STORAGE_CLASSES)))]
    pub storage_class: Option<String>,

    /// Encryption that copies request; "bucket", the default of a new rule, leaves it to the destination bucket
    #[arg(long, value_enum)]
    pub encryption: Option<EncryptionChoice>,

    /// KMS key of the destination's region that encrypts replicas; "none", the default of a new rule,
    /// leaves the choice to the destination bucket
    #[arg(long, value_name = "ARN|none")]
    pub kms_key: Option<String>,

    /// Whether replicas have their source's tags; true in a new rule
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    pub tags: Option<bool>,

    /// What a replica's ACL grants; "reset" in a new rule
    #[arg(long, value_enum)]
    pub acl: Option<AclChoice>,

    /// Object Lock of replicas; "bucket" in a new rule
    #[arg(long, value_enum)]
    pub object_lock: Option<LockChoice>,

    /// Whether to delete the replica when a lifecycle rule expires its source; false in a new rule
    #[arg(long, value_name = "true|false", hide_possible_values = true,
          num_args = 0..=1, default_missing_value = "true")]
    pub lifecycle_deletes: Option<bool>,

    /// How often Tandem compares both buckets and repairs differences; "never" in a new rule
    #[arg(long, value_enum, value_name = "HOW OFTEN")]
    pub reconcile: Option<Reconcile>,

    /// Recovery point objective in seconds: an alarm goes off if more than one change in a hundred takes longer; 900 in
    /// a new rule
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(RPO_SECS))]
    pub rpo_secs: Option<u32>,

    /// How the source bucket reports its changes; "auto" in a new rule
    #[arg(long, value_enum, value_name = "HOW")]
    pub notifications: Option<NotificationChoice>,

    /// Let Tandem turn on the source bucket's notifications to EventBridge if the rule needs them; it leaves the
    /// bucket's other notifications as they are, and never turns EventBridge off
    #[arg(long, value_name = "true|false", hide_possible_values = true,
          num_args = 0..=1, default_missing_value = "true")]
    pub enable_eventbridge: Option<bool>,
}

/// The range that the functions accept.
const RPO_SECS: RangeInclusive<i64> = *RPO_SECS_RANGE.start() as i64..=*RPO_SECS_RANGE.end() as i64;

impl OptionArgs {
    /// Returns only the options that are given.
    pub fn changes(&self) -> OptionChanges {
        OptionChanges {
            storage_class: self.storage_class.clone(),
            encryption: self.encryption,
            kms_key: self.kms_key.as_deref().map(|key| match key {
                NO_KEY => KeyChoice::OfTheBucket,
                arn => KeyChoice::Arn(arn.to_owned()),
            }),
            tags: self.tags,
            acl: self.acl,
            object_lock: self.object_lock,
            lifecycle_deletes: self.lifecycle_deletes,
            destination_account: None,
            reconcile: self.reconcile,
            rpo_secs: self.rpo_secs,
            notifications: self.notifications,
            enable_eventbridge: self.enable_eventbridge,
        }
    }
}
