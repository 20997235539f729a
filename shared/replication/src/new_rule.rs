//! A rule that is to be created, and the checks of its names and regions. The caller passes in what has to be read from
//! AWS. No I/O.

use crate::claims::Role;
use crate::names::{BUCKET_NAME_RULE, BucketName, Region};
use crate::options::Options;
use crate::refusal::{Refusal, RefusalCode};
use crate::region::RegionGroups;
use crate::rule::{Bucket, Policy, Scope};

/// What a request to create a rule asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRule {
    /// The bucket to replicate from.
    pub source: BucketName,
    /// The bucket to replicate to.
    pub destination: BucketName,
    /// Where the destination is expected to be, if the request says.
    pub destination_region: Option<Region>,
    /// Which keys to replicate.
    pub scope: Scope,
    /// Whether to replicate deletes.
    pub policy: Policy,
    /// Further options of the replicas.
    pub options: Options,
    /// Whether to backfill the objects that exist already.
    pub historical: bool,
}

/// The only region whose buckets may have names of before March 2018 (S3 user guide, "General purpose bucket naming
/// rules").
const REGION_OF_OLD_NAMES: &str = "us-east-1";

impl NewRule {
    /// Checks what can be checked without reading from AWS. `stack` is the stack's region: the source is in that
    /// region, and its destination in another.
    pub fn check_names(&self, stack: &Region) -> Result<(), Refusal> {
        let is_there = stack.as_str() == REGION_OF_OLD_NAMES;
        for (role, bucket, may_be_old) in [
            (Role::Source, &self.source, is_there),
            (Role::Destination, &self.destination, !is_there),
        ] {
            if bucket.is_old() && !may_be_old {
                return Err(Refusal::new(
                    RefusalCode::InvalidBucketName,
                    role.as_str(),
                    bucket.as_str(),
                    format!(
                        "is a name that only buckets in {REGION_OF_OLD_NAMES} can have, and this rule's {} is in another \
                         region; {BUCKET_NAME_RULE}",
                        role.as_str()
                    ),
                ));
            }
        }
        if self.source == self.destination {
            return Err(Refusal::new(
                RefusalCode::SameBucket,
                "destination",
                self.destination.as_str(),
                "is the source itself; name another bucket, in another region",
            ));
        }
        Ok(())
    }

    /// Checks the two regions. The stack's region groups have to allow the pair, and the source has to be in the
    /// stack's region, because a bucket can notify only queues of its own region.
    pub fn check_regions(
        &self,
        source: &Region,
        destination: &Region,
        stack: &Region,
        groups: &RegionGroups,
    ) -> Result<(Bucket, Bucket), Refusal> {
        if source != stack {
            return Err(Refusal::new(
                RefusalCode::SourceOutsideRegion,
                "source",
                self.source.as_str(),
                format!(
                    "is in {source}, but this stack is in {stack} and a bucket can notify only queues of its own \
                     region; deploy the stack in {source} and create the rule there"
                ),
            ));
        }
        let refused = |code, problem| {
            Err(Refusal::new(
                code,
                "destination",
                self.destination.as_str(),
                problem,
            ))
        };
        if let Some(expected) = self
            .destination_region
            .as_ref()
            .filter(|&expected| expected != destination)
        {
            return refused(
                RefusalCode::DestinationRegionMismatch,
                format!(
                    "is in {destination}, not in {expected}; correct destination_region or leave it out"
                ),
            );
        }
        if source == destination {
            return refused(
                RefusalCode::SameRegion,
                format!(
                    "is in {destination}, as the source is; choose a bucket in {}",
                    elsewhere(source, groups)
                ),
            );
        }
        if !groups.allow(source, destination) {
            return refused(
                RefusalCode::RegionsNotAllowed,
                format!(
                    "is in {destination}, which is not in one region group with {source}; choose a bucket in {}, \
                     or change the stack's parameter RegionGroups",
                    elsewhere(source, groups)
                ),
            );
        }
        let bucket = |name: &BucketName, region: &Region| Bucket {
            name: name.clone(),
            region: region.clone(),
        };
        Ok((
            bucket(&self.source, source),
            bucket(&self.destination, destination),
        ))
    }
}

fn elsewhere(source: &Region, groups: &RegionGroups) -> String {
    match groups.destinations_from(source) {
        None => "any other region".to_owned(),
        Some(regions) if regions.is_empty() => {
            format!("an allowed region (none: {source} is in no region group of this stack)")
        }
        Some(regions) => regions
            .iter()
            .map(Region::as_str)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Claim;
    use crate::names::RuleId;
    use crate::region::DEFAULT_GROUPS;

    fn draft() -> NewRule {
        NewRule {
            source: BucketName::parse("photos").unwrap(),
            destination: BucketName::parse("photos-replica").unwrap(),
            destination_region: None,
            scope: Scope::All,
            policy: Policy::Full,
            options: Options::default(),
            historical: false,
        }
    }

    fn regions(
        draft: &NewRule,
        source: &str,
        destination: &str,
    ) -> Result<(Bucket, Bucket), RefusalCode> {
        let groups = RegionGroups::parse(DEFAULT_GROUPS).unwrap();
        draft
            .check_regions(
                &Region::new(source),
                &Region::new(destination),
                &Region::new("us-east-1"),
                &groups,
            )
            .map_err(|refusal| refusal.code)
    }

    // Promise: A source in us-east-1, or a destination there, may have a name from before March 2018.
    #[test]
    fn old_names_are_accepted_for_buckets_that_can_have_them() {
        let old = BucketName::parse("ABCD_Central_1").unwrap();
        let from = NewRule {
            source: old.clone(),
            ..draft()
        };
        let to = NewRule {
            destination: old,
            ..draft()
        };
        let checked = |draft: &NewRule, stack: &str| draft.check_names(&Region::new(stack));
        assert_eq!(checked(&from, "us-east-1"), Ok(()));
        assert_eq!(checked(&to, "us-west-2"), Ok(()));
        for (draft, stack, field) in [
            (&from, "us-west-2", "source"),
            (&to, "us-east-1", "destination"),
        ] {
            let refusal = checked(draft, stack).unwrap_err();
            assert_eq!(
                (refusal.code, refusal.field),
                (RefusalCode::InvalidBucketName, field)
            );
            let said = refusal.to_string();
            assert!(
                said.contains("ABCD_Central_1") && said.contains("3 to 63 lowercase letters"),
                "{said}"
            );
        }
    }

    #[test]
    fn a_bucket_is_not_replicated_to_itself() {
        let same = NewRule {
            destination: draft().source,
            ..draft()
        };
        let stack = Region::new("us-east-1");
        assert_eq!(
            same.check_names(&stack).unwrap_err().code,
            RefusalCode::SameBucket
        );
        assert!(draft().check_names(&stack).is_ok());
    }

    #[test]
    fn pairs_of_regions_that_are_not_allowed_are_refused() {
        assert!(regions(&draft(), "us-east-1", "us-west-2").is_ok());
        assert_eq!(
            regions(&draft(), "us-east-1", "us-east-1").unwrap_err(),
            RefusalCode::SameRegion
        );
        assert_eq!(
            regions(&draft(), "us-east-1", "cn-north-1").unwrap_err(),
            RefusalCode::RegionsNotAllowed
        );
        assert_eq!(
            regions(&draft(), "us-west-2", "us-east-1").unwrap_err(),
            RefusalCode::SourceOutsideRegion
        );
        let expecting = NewRule {
            destination_region: Some(Region::new("us-east-2")),
            ..draft()
        };
        assert_eq!(
            regions(&expecting, "us-east-1", "us-west-2").unwrap_err(),
            RefusalCode::DestinationRegionMismatch
        );
    }

    #[test]
    fn a_refusal_names_the_field_the_value_and_what_to_do() {
        let groups = RegionGroups::parse(DEFAULT_GROUPS).unwrap();
        let here = Region::new("us-east-1");
        let refusal = draft()
            .check_regions(&here, &here, &here, &groups)
            .unwrap_err()
            .to_string();
        assert_eq!(
            refusal,
            "destination = \"photos-replica\": is in us-east-1, as the source is; choose a bucket in us-east-2, \
             us-west-1, us-west-2"
        );
    }

    #[test]
    fn a_claimed_bucket_and_two_way_replication_are_refused() {
        let claim = |rule: &str, role| Claim {
            rule_id: RuleId::new(rule),
            role,
        };
        let code = |source: Option<Claim>, destination: Option<Claim>| {
            draft()
                .check_claims(source.as_ref(), destination.as_ref())
                .map(|refusal| refusal.code)
        };
        assert_eq!(code(None, None), None);
        assert_eq!(
            code(Some(claim("r", Role::Source)), None),
            Some(RefusalCode::BucketInUse)
        );
        assert_eq!(
            code(None, Some(claim("r", Role::Source))),
            Some(RefusalCode::BucketInUse)
        );
        let back = (
            Some(claim("r", Role::Destination)),
            Some(claim("r", Role::Source)),
        );
        assert_eq!(code(back.0, back.1), Some(RefusalCode::TwoWay));
        // Both buckets are claimed, but by two different rules.
        let apart = (
            Some(claim("r", Role::Destination)),
            Some(claim("q", Role::Source)),
        );
        assert_eq!(code(apart.0, apart.1), Some(RefusalCode::BucketInUse));
    }
}
