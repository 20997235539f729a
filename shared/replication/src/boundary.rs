//! The accounts and buckets that a stack may use, according to its parameters. The functions' roles enforce the same
//! limits. These checks refuse a rule that the roles would not allow, and name the parameter. No I/O.

use crate::names::{AccountId, BucketName};
use crate::options::Options;
use crate::refusal::{Refusal, RefusalCode};

/// The limits of one stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boundary {
    /// The stack's own account.
    pub own_account: String,
    /// Other accounts that may own destinations and keys: the parameter `DestinationAccounts`.
    pub other_accounts: Vec<AccountId>,
    /// The buckets whose objects the functions may not write.
    pub read_only: Option<BucketPrefix>,
}

/// A bucket name or a prefix of bucket names: the two forms of `SourceBucketPattern` for which the template denies
/// writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketPrefix(String);

impl BucketPrefix {
    /// Creates it from the template's pattern: a name, or a prefix followed by `*`.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// Returns whether the bucket's name matches.
    pub fn covers(&self, bucket: &BucketName) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => bucket.as_str().starts_with(beginning),
            None => bucket.as_str() == self.0,
        }
    }
}

impl Boundary {
    /// Refuses a destination or a key of another account, unless the stack's parameter lists that account.
    pub fn check_accounts(&self, options: &Options) -> Result<(), Refusal> {
        let account = options.destination_account.as_ref();
        if let Some(other) = account.filter(|account| !self.may_use(account.as_str())) {
            return Err(Refusal::new(
                RefusalCode::InvalidOptions,
                "options.destination_account",
                other.as_str(),
                format!(
                    "is an account that the stack's parameter DestinationAccounts does not name; {}, or use a bucket \
                     of this account",
                    self.remedy(other.as_str())
                ),
            ));
        }
        let key = options.kms_key.as_ref();
        if let Some(key) = key.filter(|key| !self.may_use(key.account())) {
            return Err(Refusal::new(
                RefusalCode::InvalidOptions,
                "options.kms_key",
                key.as_str(),
                format!(
                    "is a key of an account that the stack's parameter DestinationAccounts does not name; {}, or use \
                     a key of this account",
                    self.remedy(key.account())
                ),
            ));
        }
        Ok(())
    }

    /// Refuses a destination whose objects the functions may not write.
    pub fn check_destination(&self, destination: &BucketName) -> Result<(), Refusal> {
        self.check_written("destination", destination)
    }

    /// Refuses a bucket that a field of a request names and whose objects the functions may not write.
    pub fn check_written(&self, field: &'static str, bucket: &BucketName) -> Result<(), Refusal> {
        match &self.read_only {
            Some(pattern) if pattern.covers(bucket) => Err(Refusal::new(
                RefusalCode::BucketNotAccessible,
                field,
                bucket.as_str(),
                format!(
                    "matches the stack's parameter SourceBucketPattern={}, and the functions may not write objects of \
                     sources; name another bucket, or deploy the stack with a narrower SourceBucketPattern, or with \
                     the same pattern for sources and destinations",
                    pattern.0
                ),
            )),
            _ => Ok(()),
        }
    }

    fn may_use(&self, account: &str) -> bool {
        let mut others = self.other_accounts.iter().map(AccountId::as_str);
        account == self.own_account || others.any(|other| other == account)
    }

    /// Returns how to make the stack allow one more account.
    fn remedy(&self, account: &str) -> String {
        let others = self.other_accounts.iter().map(AccountId::as_str);
        let all: Vec<&str> = others.chain([account]).collect();
        format!(
            "deploy the stack with DestinationAccounts={}",
            all.join(",")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::KmsKeyArn;

    const OWN: &str = "111122223333";
    const LISTED: &str = "222233334444";
    const OTHER: &str = "444455556666";

    fn boundary(read_only: Option<&str>) -> Boundary {
        Boundary {
            own_account: OWN.to_owned(),
            other_accounts: vec![AccountId::parse(LISTED).unwrap()],
            read_only: read_only.map(BucketPrefix::new),
        }
    }

    fn destination_of(account: Option<&str>) -> Options {
        Options {
            destination_account: account.map(|id| AccountId::parse(id).unwrap()),
            ..Options::default()
        }
    }

    fn key_of(account: &str) -> Options {
        let arn = format!("arn:aws-eusc:kms:eusc-de-east-1:{account}:key/1-2");
        Options {
            kms_key: Some(KmsKeyArn::parse(arn).unwrap()),
            ..Options::default()
        }
    }

    #[test]
    fn the_own_account_and_the_listed_ones_may_own_destinations_and_keys() {
        for options in [
            destination_of(None),
            destination_of(Some(LISTED)),
            key_of(OWN),
            key_of(LISTED),
        ] {
            assert_eq!(boundary(None).check_accounts(&options), Ok(()));
        }
    }

    // Promise: The functions use buckets and keys of the stack's own account only, and destinations and keys of objects of the
    // accounts that the parameter `DestinationAccounts` lists.
    #[test]
    fn the_refusal_of_another_account_names_the_parameter_that_allows_it() {
        for (options, field) in [
            (destination_of(Some(OTHER)), "options.destination_account"),
            (key_of(OTHER), "options.kms_key"),
        ] {
            let refusal = boundary(None).check_accounts(&options).unwrap_err();
            assert_eq!(refusal.code, RefusalCode::InvalidOptions);
            assert_eq!(refusal.field, field);
            assert!(refusal.value.contains(OTHER), "{refusal}");
            let remedy = format!("with DestinationAccounts={LISTED},{OTHER}");
            assert!(refusal.problem.contains(&remedy), "{refusal}");
        }
    }

    // Promise: Where `SourceBucketPattern` is a name or `name*`, and not the same as `DestinationBucketPattern`, no function may
    // write or delete an object of a bucket that it matches.
    #[test]
    fn a_read_only_source_cannot_be_a_destination() {
        let check = |pattern, bucket| {
            let bucket = BucketName::parse(bucket).unwrap();
            boundary(pattern).check_destination(&bucket)
        };
        for (pattern, bucket) in [
            (None, "prod-photos"),
            (Some("prod-*"), "photos"),
            (Some("prod-*"), "my-prod-photos"),
            (Some("prod"), "prod-photos"),
        ] {
            assert_eq!(check(pattern, bucket), Ok(()), "{pattern:?} {bucket}");
        }
        for pattern in ["prod-*", "prod-photos"] {
            let refusal = check(Some(pattern), "prod-photos").unwrap_err();
            assert_eq!(refusal.field, "destination");
            let named = format!("SourceBucketPattern={pattern}");
            assert!(refusal.problem.contains(&named), "{refusal}");
        }
    }
}
