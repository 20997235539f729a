//! The steps of a run: what each expects, and how it runs.

mod facts;
mod jobs;
mod large;
mod measures;
mod rules;
mod writes;

use tandem_demo::error::Error;

use crate::stage::Stage;

pub use jobs::{HandOns, begin_hand_ons};

/// A step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Unversioned,
    Versioned,
    Tags,
    Metadata,
    AwkwardKeys,
    Kms,
    LargeObject,
    Pause,
    Failures,
    Verify,
    EventBridge,
    RuleAsCode,
    Circle,
    ThrottledPut,
    LargeCopy,
    Conditions,
    Recursion,
    HandOns,
    Lag,
    ColdStarts,
}

/// A step, its name and its expectation.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// The step.
    pub step: Step,
    /// Its name, in the report and for `--only`.
    pub name: &'static str,
    /// What it expects.
    pub expects: &'static str,
}

/// The outcome of a step that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was as expected; the observations.
    Passed(Vec<String>),
    /// The step cannot run here, or has no meaning here; the reason.
    Skipped(String),
}

/// All steps, in their order. The job of `hand-ons` starts before the first step, and a late step checks it.
pub const ALL: [About; 20] = [
    about(
        Step::Unversioned,
        "unversioned",
        "puts, overwrites and deletes arrive in a bucket without versions, and verify finds both sides equal",
    ),
    about(
        Step::Versioned,
        "versioned",
        "puts, overwrites and deletes arrive in a bucket with versions, and a delete leaves a delete marker",
    ),
    about(
        Step::Tags,
        "tags",
        "a change of tags arrives without a copy: the replica's ETag and Last-Modified stay",
    ),
    about(
        Step::Metadata,
        "metadata",
        "headers, user metadata and tags arrive, and so does a change of them",
    ),
    about(
        Step::AwkwardKeys,
        "awkward-keys",
        "keys with spaces, +, =, %, Unicode and 1,024 bytes arrive, and their deletes too",
    ),
    about(
        Step::Kms,
        "kms",
        "objects arrive in a bucket whose default encryption is the AWS-managed KMS key",
    ),
    about(
        Step::LargeObject,
        "large-object",
        "an object of two large parts, built by copies, arrives with its size, part layout and bytes",
    ),
    about(
        Step::Pause,
        "pause",
        "a paused rule writes nothing; after it is resumed both sides are equal",
    ),
    about(
        Step::Failures,
        "failures",
        "a denied copy is listed with its reason, and arrives by a retry when the cause is gone",
    ),
    about(
        Step::Verify,
        "verify",
        "verify finds a missing, a different and an extra object, and a repair makes both sides equal",
    ),
    about(
        Step::EventBridge,
        "eventbridge",
        "a rule whose changes arrive through EventBridge replicates puts and deletes",
    ),
    about(
        Step::RuleAsCode,
        "rule-as-code",
        "a CloudFormation stack creates a working rule, and deletes it when the stack is deleted",
    ),
    about(
        Step::Circle,
        "circle",
        "a second stack refuses a rule that leads back, with the reason; or the writes in the circle end",
    ),
    about(
        Step::ThrottledPut,
        "throttled-put",
        "measured: the Last-Modified of a slow PUT, compared with its start and the time when it is visible",
    ),
    about(
        Step::LargeCopy,
        "large-copy",
        "measured: the Last-Modified of a COPY of gigabytes, compared with its start and the time when it is visible",
    ),
    about(
        Step::Conditions,
        "conditions",
        "a COPY is refused with 412 if its condition on the destination does not hold, and succeeds if it holds",
    ),
    about(
        Step::Recursion,
        "recursion",
        "recursive loops are allowed for backfill-shard and copy-parts, and for no other function",
    ),
    about(
        Step::HandOns,
        "hand-ons",
        "a backfill that is handed on at least 40 times in one shard completes and loses nothing",
    ),
    about(
        Step::Lag,
        "lag",
        "CloudWatch has the stack's replication latency, and its p99 is within the RPO of 900 s",
    ),
    about(
        Step::ColdStarts,
        "cold-starts",
        "measured: how long the functions' environments took to start, by their REPORT lines",
    ),
];

const fn about(step: Step, name: &'static str, expects: &'static str) -> About {
    About {
        step,
        name,
        expects,
    }
}

/// Runs a step. Returns an error if something is not as expected.
pub async fn run(step: Step, stage: &Stage, hand_ons: Option<&HandOns>) -> Result<Outcome, Error> {
    match step {
        Step::Unversioned => writes::unversioned(stage).await,
        Step::Versioned => writes::versioned(stage).await,
        Step::Tags => writes::tags(stage).await,
        Step::Metadata => writes::metadata(stage).await,
        Step::AwkwardKeys => writes::awkward_keys(stage).await,
        Step::Kms => writes::kms(stage).await,
        Step::LargeObject => large::large_object(stage).await,
        Step::Pause => jobs::pause(stage).await,
        Step::Failures => jobs::failures(stage).await,
        Step::Verify => jobs::verify(stage).await,
        Step::EventBridge => rules::eventbridge(stage).await,
        Step::RuleAsCode => rules::rule_as_code(stage).await,
        Step::Circle => rules::circle(stage).await,
        Step::ThrottledPut => facts::throttled_put(stage).await,
        Step::LargeCopy => large::large_copy(stage).await,
        Step::Conditions => facts::conditions(stage).await,
        Step::Recursion => facts::recursion(stage).await,
        Step::HandOns => jobs::hand_ons(stage, hand_ons).await,
        Step::Lag => measures::lag(stage).await,
        Step::ColdStarts => measures::cold_starts(stage).await,
    }
}

/// Fails a step unless `is_so`.
fn expect(is_so: bool, otherwise: impl FnOnce() -> String) -> Result<(), Error> {
    if is_so {
        Ok(())
    } else {
        Err(Error::Unexpected(otherwise()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_step_has_a_unique_name_and_an_expectation() {
        let names: BTreeSet<&str> = ALL.iter().map(|about| about.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(ALL.iter().all(|about| !about.expects.is_empty()));
        assert!(names.iter().all(|name| !name.contains([',', ' ', '|'])));
    }

    #[test]
    fn steps_that_read_metrics_come_last() {
        let at = |step| ALL.iter().position(|about| about.step == step);
        assert!(at(Step::HandOns) > at(Step::Circle));
        assert!(at(Step::Lag) > at(Step::HandOns) && at(Step::ColdStarts) > at(Step::HandOns));
    }
}
