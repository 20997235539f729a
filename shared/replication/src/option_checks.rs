//! The checks of a rule's options, which have to fit each other, the policy, and the destination bucket.
//! No I/O: the caller passes in what has to be read from AWS.

use crate::names::{BucketName, Region};
use crate::options::{AclChoice, EncryptionChoice, LockChoice, Options};
use crate::refusal::{Refusal, RefusalCode};
use crate::rule::Policy;

/// What the destination bucket is set up for; `None` if S3 did not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BucketSetup {
    /// Whether its objects can be locked.
    pub has_object_lock: Option<bool>,
    /// Whether its objects can have ACLs.
    pub has_acls: Option<bool>,
}

impl Options {
    /// Returns the options without the stack's own account: naming it means the same as naming none.
    #[must_use]
    pub fn seen_from(mut self, own_account: &str) -> Self {
        self.destination_account
            .take_if(|account| account.as_str() == own_account);
        self
    }

    /// Checks what can be checked without reading from AWS.
    pub fn check(&self, policy: Policy) -> Result<(), Refusal> {
        if self.lifecycle_deletes && policy == Policy::Write {
            return Err(refused(
                "options.lifecycle_deletes",
                "true",
                "asks for deletes, but the policy \"write\" replicates none; set it to false, or the policy to \"full\"",
            ));
        }
        if self.acl == AclChoice::Keep && self.destination_account.is_some() {
            return Err(refused(
                "options.acl",
                "keep",
                "cannot be used for a destination of another account, which owns the replicas; use \"reset\"",
            ));
        }
        self.check_encryption()
    }

    fn check_encryption(&self) -> Result<(), Refusal> {
        match (self.encryption, &self.kms_key) {
            (EncryptionChoice::Aes256, Some(_)) => Err(refused(
                "options.encryption",
                "AES256",
                "encrypts with S3's own keys, but options.kms_key names a KMS key; set options.kms_key to null, or the \
                 encryption to \"aws:kms\"",
            )),
            // KMS uses the key of the account that sends the request, and no other account may use that key (S3 user
            // guide, "Using server-side encryption with AWS KMS keys", "AWS managed keys" and "Using encryption for
            // cross-account operations").
            (EncryptionChoice::Kms, None) if self.destination_account.is_some() => Err(refused(
                "options.encryption",
                "aws:kms",
                "without options.kms_key uses the key that AWS manages for the stack's account, and the account of the \
                 destination cannot read objects encrypted with it; name a key in options.kms_key, or use \"bucket\"",
            )),
            _ => Ok(()),
        }
    }

    /// Checks whether a rule's options may change to these.
    pub fn check_change_of(&self, before: &Self) -> Result<(), Refusal> {
        if self.destination_account == before.destination_account {
            return Ok(());
        }
        let named = self.destination_account.as_ref();
        Err(refused(
            "options.destination_account",
            named.map_or("null", |account| account.as_str()),
            "cannot be changed, because it names the owner of the destination bucket; delete the rule and make a new one",
        ))
    }

    /// Refuses a KMS key outside the destination's region: S3 encrypts only with keys of the bucket's own region.
    pub fn check_key(&self, destination: &Region) -> Result<(), Refusal> {
        match &self.kms_key {
            Some(key) if key.region() != *destination => Err(refused(
                "options.kms_key",
                key.as_str(),
                format!(
                    "is a key of {}, but the destination is in {destination}; name a key of {destination}",
                    key.region()
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Returns whether the options depend on the destination bucket's setup, so that it has to be read.
    pub fn depend_on_setup(&self) -> bool {
        self.object_lock == LockChoice::Keep || self.acl == AclChoice::Keep
    }

    /// Checks whether the destination bucket is set up for these options. An unknown setup is not refused: the role
    /// that creates a rule may not be allowed to read it.
    pub fn check_setup(&self, destination: &BucketName, setup: BucketSetup) -> Result<(), Refusal> {
        if self.object_lock == LockChoice::Keep && setup.has_object_lock == Some(false) {
            return Err(refused(
                "options.object_lock",
                "keep",
                format!(
                    "needs Object Lock, which {destination} does not have; enable it there, or use \"bucket\""
                ),
            ));
        }
        if self.acl == AclChoice::Keep && setup.has_acls == Some(false) {
            return Err(refused(
                "options.acl",
                "keep",
                format!(
                    "needs ACLs, which {destination} has disabled; set its Object Ownership to \
                     BucketOwnerPreferred or ObjectWriter, or use \"reset\""
                ),
            ));
        }
        Ok(())
    }
}

fn refused(field: &'static str, value: &str, problem: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::InvalidOptions, field, value, problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{AccountId, KmsKeyArn};

    const OWN: &str = "111122223333";
    const OTHER: &str = "444455556666";

    fn account(id: &str) -> Options {
        Options {
            destination_account: Some(AccountId::parse(id).unwrap()),
            ..Options::default()
        }
    }

    fn field(checked: Result<(), Refusal>) -> &'static str {
        let refusal = checked.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::InvalidOptions);
        refusal.field
    }

    #[test]
    fn the_own_account_is_left_out_and_another_stays() {
        assert_eq!(account(OWN).seen_from(OWN), Options::default());
        assert_eq!(account(OTHER).seen_from(OWN), account(OTHER));
    }

    #[test]
    fn lifecycle_deletes_are_refused_under_policy_write() {
        let options = Options {
            lifecycle_deletes: true,
            ..Options::default()
        };
        assert!(options.check(Policy::Full).is_ok());
        assert_eq!(
            field(options.check(Policy::Write)),
            "options.lifecycle_deletes"
        );
        assert!(Options::default().check(Policy::Write).is_ok());
    }

    #[test]
    fn keeping_acls_is_refused_for_another_accounts_bucket() {
        let options = Options {
            acl: AclChoice::Keep,
            ..account(OTHER)
        };
        assert_eq!(field(options.check(Policy::Full)), "options.acl");
        assert!(options.seen_from(OTHER).check(Policy::Full).is_ok());
    }

    #[test]
    fn every_option_but_the_account_may_change() {
        let none = Options::default();
        for (before, after) in [(none.clone(), account(OTHER)), (account(OTHER), none)] {
            let changed = after.check_change_of(&before);
            assert_eq!(field(changed), "options.destination_account");
        }
        let untagged = Options {
            tags: false,
            ..account(OTHER)
        };
        assert!(untagged.check_change_of(&account(OTHER)).is_ok());
    }

    #[test]
    fn an_encryption_has_to_fit_the_key_and_the_account() {
        let key = KmsKeyArn::parse(format!("arn:aws:kms:us-west-2:{OWN}:key/1-2")).unwrap();
        let options = |encryption, kms_key| Options {
            encryption,
            kms_key,
            ..Options::default()
        };
        let by_s3 = options(EncryptionChoice::Aes256, Some(key.clone()));
        let refusal = by_s3.check(Policy::Full).unwrap_err();
        assert!(
            refusal.problem.contains("set options.kms_key to null"),
            "{refusal}"
        );
        for (encryption, kms_key, asked) in [
            (EncryptionChoice::Bucket, None, EncryptionChoice::Bucket),
            (EncryptionChoice::Aes256, None, EncryptionChoice::Aes256),
            (EncryptionChoice::Kms, None, EncryptionChoice::Kms),
            (
                EncryptionChoice::Kms,
                Some(key.clone()),
                EncryptionChoice::Kms,
            ),
            // As before the option `encryption` existed.
            (
                EncryptionChoice::Bucket,
                Some(key.clone()),
                EncryptionChoice::Kms,
            ),
        ] {
            let options = options(encryption, kms_key.clone());
            assert!(options.check(Policy::Full).is_ok(), "{options:?}");
            assert_eq!(options.asked_encryption(), asked);
            assert_eq!(options.hide_digests(), asked == EncryptionChoice::Kms);
            let elsewhere = Options {
                destination_account: account(OTHER).destination_account,
                ..options
            };
            let is_refused = encryption == EncryptionChoice::Kms && kms_key.is_none();
            assert_eq!(elsewhere.check(Policy::Full).is_err(), is_refused);
        }
    }

    #[test]
    fn a_kms_key_outside_the_destinations_region_is_refused() {
        let key = format!("arn:aws:kms:us-west-2:{OWN}:key/1-2");
        let options = Options {
            kms_key: Some(KmsKeyArn::parse(key).unwrap()),
            ..Options::default()
        };
        assert!(options.check_key(&Region::new("us-west-2")).is_ok());
        let refused = options.check_key(&Region::new("us-east-2")).unwrap_err();
        assert!(
            refused.problem.contains("name a key of us-east-2"),
            "{refused}"
        );
    }

    #[test]
    fn an_unknown_setup_of_the_bucket_is_not_refused() {
        let replica = BucketName::parse("photos-replica").unwrap();
        let keep = Options {
            acl: AclChoice::Keep,
            object_lock: LockChoice::Keep,
            ..Options::default()
        };
        assert!(keep.depend_on_setup() && !Options::default().depend_on_setup());
        let unknown = BucketSetup::default();
        let nothing = BucketSetup {
            has_object_lock: Some(false),
            has_acls: Some(false),
        };
        let lockable = BucketSetup {
            has_object_lock: Some(true),
            ..nothing
        };
        assert!(keep.check_setup(&replica, unknown).is_ok());
        assert_eq!(
            field(keep.check_setup(&replica, nothing)),
            "options.object_lock"
        );
        assert_eq!(field(keep.check_setup(&replica, lockable)), "options.acl");
        assert!(Options::default().check_setup(&replica, nothing).is_ok());
    }
}
