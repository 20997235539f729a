//! Claims of rules on buckets: a bucket can belong to only one rule. No I/O.

use serde::{Deserialize, Serialize};

use crate::names::RuleId;
use crate::new_rule::NewRule;
use crate::refusal::{Refusal, RefusalCode};

/// The part that a bucket plays in a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Changes come from the bucket.
    Source,
    /// Replicas go to the bucket.
    Destination,
}

impl Role {
    /// Returns the name that is stored and shown. It is also the name of the request's field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

/// A rule's claim on a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The rule that has claimed the bucket.
    pub rule_id: RuleId,
    /// The bucket's part in that rule.
    pub role: Role,
}

impl NewRule {
    /// Returns why the claims on the two buckets prevent the new rule; `None` if neither bucket is claimed.
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
                    "is already replicated to {} by {}, and two-way replication between the same buckets would \
                     send every change back; delete that rule first, or choose another pair",
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
                "is already the {} of {}, and a bucket can belong to only one rule; delete that rule first, \
                 or choose another bucket",
                claim.role.as_str(),
                claim.rule_id
            ),
        ))
    }
}
