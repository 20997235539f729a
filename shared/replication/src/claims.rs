//! The one relationship that a bucket can have. No I/O.

use serde::{Deserialize, Serialize};

use crate::names::RuleId;
use crate::new_rule::NewRule;
use crate::refusal::{Refusal, RefusalCode};

/// Which part a bucket plays in a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Changes come from it.
    Source,
    /// Replicas go to it.
    Destination,
}

impl Role {
    /// As it is stored and shown; also the request's field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

/// A bucket's one relationship.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The rule that holds the bucket.
    pub rule_id: RuleId,
    /// The bucket's part in that rule.
    pub role: Role,
}

impl NewRule {
    /// Why the claims found on the two buckets stand in the way; `None` where neither has one.
    pub fn check_claims(
        &self,
        on_source: Option<&Claim>,
        on_destination: Option<&Claim>,
    ) -> Option<Refusal> {
        if let (Some(theirs), Some(ours)) = (on_source, on_destination)
            && theirs.rule_id == ours.rule_id
            && theirs.role == Role::Destination
        {
            return Some(Refusal::new(
                RefusalCode::TwoWay,
                "destination",
                self.destination.as_str(),
                format!(
                    "is already replicated to {} by {}; two-way replication between the same buckets would \
                     send every change back again: delete that rule first, or choose another pair",
                    self.source, theirs.rule_id
                ),
            ));
        }
        let (field, bucket, claim) = match (on_source, on_destination) {
            (Some(claim), _) => ("source", &self.source, claim),
            (None, Some(claim)) => ("destination", &self.destination, claim),
            (None, None) => return None,
        };
        Some(Refusal::new(
            RefusalCode::BucketInUse,
            field,
            bucket.as_str(),
            format!(
                "is the {} of {} already, and a bucket can have one relationship only; delete that rule first, \
                 or choose another bucket",
                claim.role.as_str(),
                claim.rule_id
            ),
        ))
    }
}
