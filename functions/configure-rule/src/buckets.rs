//! Examines a rule's two buckets before the rule is created or its options are changed.

use tandem_aws::s3::bucket_lookup::{Found, look_at_setup, look_up};
use tandem_aws::s3::rules_elsewhere::shown_as_source;
use tandem_lambda::request::RequestError;
use tandem_replication::claims::Role;
use tandem_replication::names::{AccountId, BucketName, Region};
use tandem_replication::new_rule::NewRule;
use tandem_replication::options::Options;
use tandem_replication::refusal::{Refusal, RefusalCode};
use tandem_replication::rule::Bucket;

use crate::stack::Stack;

impl Stack {
    /// Refuses buckets that do not exist, that another account owns, or that are in regions that may not be combined.
    pub(crate) async fn check_buckets(
        &self,
        draft: &NewRule,
    ) -> Result<(Bucket, Bucket), RequestError> {
        let other = draft.options.destination_account.as_ref();
        let (source, destination) = futures::try_join!(
            look_up(&self.aws, &draft.source, self.aws.account_id()),
            look_up(
                &self.aws,
                &draft.destination,
                self.destination_owner(&draft.options)
            )
        )?;
        let source = readable(Role::Source, &draft.source, None, source)?;
        let destination = readable(Role::Destination, &draft.destination, other, destination)?;
        let groups = &self.config.region_groups;
        Ok(draft.check_regions(&source, &destination, self.aws.region(), groups)?)
    }

    /// Refuses options that the destination bucket does not support.
    pub(crate) async fn check_destination(
        &self,
        options: &Options,
        destination: &Bucket,
    ) -> Result<(), RequestError> {
        options.check_key(&destination.region)?;
        if options.depend_on_setup() {
            let owner = self.destination_owner(options);
            let setup = look_at_setup(&self.aws, destination, owner, options).await;
            options.check_setup(&destination.name, setup)?;
        }
        Ok(())
    }

    /// Returns a problem if AWS shows that another stack replicates from a destination.
    pub(crate) async fn replicated_elsewhere(
        &self,
        destination: &Bucket,
        owner: &str,
    ) -> Option<String> {
        let queues = &self.config.lane_queues;
        let shown = shown_as_source(&self.aws, queues, destination, owner).await;
        shown.map(|shown| {
            format!(
                "is the source of a rule of another stack ({shown}), so that objects could be copied in a circle; \
                 delete that rule, or remove what is left of it, or choose another destination"
            )
        })
    }

    /// Returns the account that has to own the destination bucket.
    pub(crate) fn destination_owner<'a>(&'a self, options: &'a Options) -> &'a str {
        let other = options.destination_account.as_ref();
        other.map_or(self.aws.account_id(), AccountId::as_str)
    }
}

/// Returns the region of a bucket, or a refusal if the bucket is not usable. `other` is the account that has to own it,
/// if that is not the stack's own.
pub(crate) fn readable(
    role: Role,
    bucket: &BucketName,
    other: Option<&AccountId>,
    found: Found,
) -> Result<Region, Refusal> {
    let refused =
        |code, problem: String| Err(Refusal::new(code, role.as_str(), bucket.as_str(), problem));
    let not_accessible = |problem| refused(RefusalCode::BucketNotAccessible, problem);
    match (found, other) {
        (Found::Readable(region), _) => Ok(region),
        (Found::Missing, _) => refused(
            RefusalCode::BucketNotFound,
            "does not exist; make the bucket first, or correct the name".to_owned(),
        ),
        (Found::OtherOwner, Some(other)) => Err(Refusal::new(
            RefusalCode::BucketNotAccessible,
            "options.destination_account",
            other.as_str(),
            format!(
                "does not own {bucket}; name the account that does, or leave this out if that is the stack's own"
            ),
        )),
        (Found::OtherOwner, None) => not_accessible(format!(
            "belongs to another account; {}",
            instead_of_anothers(role)
        )),
        (Found::NotAccessible(said), Some(other)) => not_accessible(format!(
            "does not belong to the account {other}, or access is denied ({said}); check that its policy allows \
             this stack to list and write it, that the stack's bucket patterns and DestinationAccounts cover it, \
             and that Requester Pays is off{}",
            denied_by_policy(&said)
        )),
        (Found::NotAccessible(said), None) => not_accessible(format!(
            "belongs to another account, or access is denied ({said}); {}, and check that its policy and the \
             stack's bucket patterns allow access{}",
            instead_of_anothers(role),
            denied_by_policy(&said)
        )),
    }
}

/// Returns what to add to a refusal if S3 says which policy (the bucket's or an endpoint's) denies the request. S3 says
/// so only within an account or an organization.
///
/// Source: IAM user guide, "Troubleshoot access denied error messages".
fn denied_by_policy(said: &str) -> &'static str {
    let by_policy = [
        "explicit deny in a resource-based policy",
        "explicit deny in a VPC endpoint policy",
    ];
    if by_policy.iter().any(|words| said.contains(words)) {
        ". The policy has a statement that denies this. A statement that admits only requests from a VPC \
         (aws:SourceVpc, aws:SourceVpce) denies Tandem's, because its functions are not in a VPC; except the stack's \
         roles from it"
    } else {
        ""
    }
}

fn instead_of_anothers(role: Role) -> &'static str {
    match role {
        Role::Source => "use a bucket of this account",
        Role::Destination => {
            "use a bucket of this account, or name the other one in options.destination_account"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(said: &str, other: Option<&AccountId>) -> String {
        let bucket = BucketName::parse("photos").unwrap();
        let found = Found::NotAccessible(said.to_owned());
        let refused = readable(Role::Destination, &bucket, other, found);
        refused.unwrap_err().to_string()
    }

    #[test]
    fn a_refusal_names_the_vpc_condition_that_denies_access() {
        let denied = "AccessDenied: User: arn:aws:sts::111122223333:assumed-role/a/b is not authorized to perform: \
                      s3:ListBucket on resource: \"arn:aws:s3:::photos\" with an explicit deny in a resource-based policy";
        let account = AccountId::parse("444455556666").unwrap();
        for other in [None, Some(&account)] {
            let message = refusal(denied, other);
            assert!(message.contains("aws:SourceVpce"), "{message}");
            let message = refusal("AccessDenied: Access Denied", other);
            assert!(!message.contains("aws:SourceVpce"), "{message}");
            assert_eq!(
                message.contains("Requester Pays"),
                other.is_some(),
                "{message}"
            );
        }
    }
}
