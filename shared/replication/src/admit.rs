//! Decides whether a change is replicated, deferred or skipped, and names each reason to skip it. No I/O.

use crate::event::{Change, ObjectEvent};
use crate::names::ObjectKey;
use crate::rule::{Policy, Rule, RuleState};

/// What happens to a change under a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The change is replicated now.
    Replicate,
    /// The rule is paused: the key is stored until the rule is resumed.
    Defer,
    /// Nothing is done about the change.
    Skip(SkipReason),
}

/// Why a change is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// No rule replicates from this bucket, or none does any more.
    NoRule,
    /// The rule is being deleted.
    RuleDeleting,
    /// The rule does not cover the key.
    OutOfScope,
    /// The rule's policy is `write`, and a lifecycle rule of the source expired the object.
    PolicyKeepsDeletes,
    /// A lifecycle rule of the source expired the object, and the rule does not replicate such deletes.
    LifecycleExpiration,
}

impl SkipReason {
    /// Returns the name that is logged and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoRule => "NoRule",
            Self::RuleDeleting => "RuleDeleting",
            Self::OutOfScope => "OutOfScope",
            Self::PolicyKeepsDeletes => "PolicyKeepsDeletes",
            Self::LifecycleExpiration => "LifecycleExpiration",
        }
    }
}

/// Decides what happens to a change. A rule that is `enabling` counts as enabled: its notifications may already flow.
///
/// A delete is admitted under policy `write` too: it may have made an older version the current one, which then has
/// to be replicated. [`crate::decide`] keeps the replica of a source that has no object. A lifecycle rule only expires
/// versions that are not current, or hides the current one by a delete marker. It never makes an older version current.
pub fn admit(rule: Option<&Rule>, event: &ObjectEvent) -> Admission {
    let by_key = admit_key(rule, &event.key);
    let (Some(rule), Admission::Replicate | Admission::Defer) = (rule, by_key) else {
        return by_key;
    };
    match (&event.change, rule.policy) {
        (Change::Expired, _) if !rule.options.lifecycle_deletes => {
            Admission::Skip(SkipReason::LifecycleExpiration)
        }
        (Change::Expired, Policy::Write) => Admission::Skip(SkipReason::PolicyKeepsDeletes),
        _ => by_key,
    }
}

/// Decides what happens to a key that has changed in an unknown way.
pub fn admit_key(rule: Option<&Rule>, key: &ObjectKey) -> Admission {
    let Some(rule) = rule else {
        return Admission::Skip(SkipReason::NoRule);
    };
    match rule.state {
        RuleState::Deleting => Admission::Skip(SkipReason::RuleDeleting),
        _ if !rule.scope.covers(key) => Admission::Skip(SkipReason::OutOfScope),
        RuleState::Paused => Admission::Defer,
        RuleState::Enabled | RuleState::Enabling => Admission::Replicate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::names::{BucketName, ObjectKey, Region, RuleId};

    use crate::rule::{Bucket, Policy, Scope};

    fn rule(state: RuleState, policy: Policy) -> Rule {
        let bucket = |name: &str| Bucket {
            name: BucketName::parse(name).unwrap(),
            region: Region::new("us-east-1"),
        };
        Rule {
            scope: Scope::prefixes_of(vec!["in/".into()]).unwrap(),
            policy,
            state,
            ..Rule::new(
                RuleId::new("rule-1"),
                bucket("source"),
                bucket("replica"),
                Timestamp::UNIX_EPOCH,
            )
        }
    }

    fn event(key: &str, change: Change) -> ObjectEvent {
        ObjectEvent {
            bucket: BucketName::parse("source").unwrap(),
            key: ObjectKey::parse(key).unwrap(),
            change,
            event_time: Timestamp::UNIX_EPOCH,
            sequencer: None,
            sent_for: None,
        }
    }

    #[test]
    fn every_skip_reason_is_shown_under_its_own_name() {
        for reason in [
            SkipReason::NoRule,
            SkipReason::RuleDeleting,
            SkipReason::OutOfScope,
            SkipReason::PolicyKeepsDeletes,
            SkipReason::LifecycleExpiration,
        ] {
            assert_eq!(reason.as_str(), format!("{reason:?}"));
        }
    }

    // Promise: Deletes by the source's lifecycle rules are carried over only if the rule says so
    // (`lifecycle_deletes`).
    #[test]
    fn expirations_count_as_deletes_if_the_rule_says_so() {
        let expired = event("in/a", Change::Expired);
        for (policy, wanted) in [
            (Policy::Full, Admission::Replicate),
            (
                Policy::Write,
                Admission::Skip(SkipReason::PolicyKeepsDeletes),
            ),
        ] {
            let mut rule = rule(RuleState::Enabled, policy);
            rule.options.lifecycle_deletes = true;
            assert_eq!(admit(Some(&rule), &expired), wanted);
        }
    }

    // Promise: A rule that is being deleted replicates nothing, deferred keys included, and its replicas
    // outlive it.
    #[test]
    fn state_policy_scope_and_change_decide_the_admission() {
        use Admission::{Defer, Replicate, Skip};
        let removed = || event("in/a", Change::Removed);
        for (state, policy, event, wanted) in [
            (RuleState::Enabled, Policy::Full, removed(), Replicate),
            (RuleState::Enabling, Policy::Full, removed(), Replicate),
            (RuleState::Paused, Policy::Full, removed(), Defer),
            (
                RuleState::Deleting,
                Policy::Full,
                removed(),
                Skip(SkipReason::RuleDeleting),
            ),
            (RuleState::Enabled, Policy::Write, removed(), Replicate),
            (RuleState::Paused, Policy::Write, removed(), Defer),
            (
                RuleState::Enabled,
                Policy::Full,
                event("out", Change::Removed),
                Skip(SkipReason::OutOfScope),
            ),
            (
                RuleState::Enabled,
                Policy::Full,
                event("in/a", Change::Expired),
                Skip(SkipReason::LifecycleExpiration),
            ),
        ] {
            assert_eq!(
                admit(Some(&rule(state, policy)), &event),
                wanted,
                "{state:?} {policy:?} {event:?}"
            );
        }
        assert_eq!(admit(None, &removed()), Skip(SkipReason::NoRule));
    }
}
