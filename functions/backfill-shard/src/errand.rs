//! One object of a shard: carried over through the protocol, recorded if it failed, and counted.

use std::time::Duration;

use tandem_aws::AwsError;
use tandem_aws::jobs::Job;
use tandem_aws::s3_pair::S3Pair;
use tandem_aws::shard::Shard;
use tandem_lambda::record::{Attempt, Unsuccessful};
use tandem_lambda::runtime::{Deadline, now};
use tandem_replication::decide::KeepReason;
use tandem_replication::diff::{Listed, Verdict};
use tandem_replication::expectation::Expectation;
use tandem_replication::fault::{FailedObject, Fault, Reason};
use tandem_replication::names::ObjectKey;
use tandem_replication::options::AclChoice;
use tandem_replication::progress::Counts;
use tandem_replication::replicator::{Begun, Landing, Outcome, Replicator};
use tandem_replication::rule::Rule;
use tandem_replication::work::Work;

use crate::doubt::{Doubt, Trace};
use crate::worker::{Unfinished, Worker};

/// What has to be left of an invocation to begin another small object.
const OBJECT_TIME: Duration = Duration::from_mins(1);
/// How fast a large object is copied, at the least to be expected: bytes a second.
const COPY_BYTES_PER_SEC: u64 = 50 << 20;
/// An object whose copy failed, though another attempt may succeed, is tried again after this time: when
/// nothing of the failed attempt can be at work any more. The longest that SQS delays a message.
const SECOND_ATTEMPT_SECS: i32 = 900;

/// One object listed.
pub(crate) const LISTED: Counts = Counts {
    listed: 1,
    copied: 0,
    equal: 0,
    gone: 0,
    failed: 0,
    transfers: 0,
    kept: 0,
    missing: 0,
    different: 0,
    extra: 0,
    deleted: 0,
    bytes_copied: 0,
};

/// What is needed for every object of a page.
pub(crate) struct Errand<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) rule: &'a Rule,
    pub(crate) job: &'a Job,
    pub(crate) pair: &'a S3Pair,
    pub(crate) expectation: &'a Expectation,
    pub(crate) deadline: Deadline,
    /// What somebody may have left half done.
    pub(crate) doubt: Doubt,
    /// What is left for whoever has to follow; none where nobody has to.
    pub(crate) trace: Option<&'a Trace>,
    /// How often the message was received.
    pub(crate) receives: u32,
}

/// Where an object is after its first request.
pub(crate) enum Course {
    /// Its copy landed, and a later listing has to settle it.
    Landed(Landing),
    /// It came to an end.
    Ended(Result<Outcome, Fault>),
}

impl<'a> Errand<'a> {
    pub(crate) fn replicator(&self, key: &ObjectKey) -> Replicator<'a, S3Pair> {
        self.worker
            .replicator(self.pair, self.rule)
            .expecting(self.expectation)
            .overwriting(self.job.spec.overwrite)
            .looking_closely(self.doubt.is_about(key.as_str()))
    }

    /// Notes that the page of `shard` up to `reach` is begun, for whoever has to follow if it is not ended.
    pub(crate) async fn begins(
        &self,
        shard: &Shard,
        reach: Option<String>,
    ) -> Result<(), AwsError> {
        match self.trace {
            Some(trace) => {
                trace
                    .begin(&self.worker.table, self.job, shard, reach)
                    .await
            }
            None => Ok(()),
        }
    }

    /// What has to be left to begin with an object of this size. The largest only have to be begun here.
    pub(crate) fn time_for(&self, bytes: u64) -> Duration {
        let bytes = bytes.min(self.worker.config.transfer_bytes_min);
        OBJECT_TIME + Duration::from_secs(bytes / COPY_BYTES_PER_SEC)
    }

    /// Whether a listing shows all that a copy has to know. It shows neither redirects, which count in
    /// websites, nor grants.
    pub(crate) fn listing_is_enough(&self, is_website: bool) -> bool {
        !is_website && self.rule.options.acl == AclChoice::Reset
    }

    /// Begins with an object that both listings have shown.
    pub(crate) async fn begin_listed(
        &self,
        key: &ObjectKey,
        source: &Listed,
        replica: Option<&Listed>,
        verdict: Verdict,
        listing_is_enough: bool,
    ) -> Course {
        let replicator = self.replicator(key);
        let begun = match verdict {
            Verdict::Same => Ok(Begun::Ended(Outcome::InSync)),
            Verdict::NeedsLook => replicator.reconcile(key).await.map(Begun::Ended),
            Verdict::NeedsCopy if listing_is_enough => {
                replicator.copy_listed(key, source, replica).await
            }
            Verdict::NeedsCopy => {
                let put = replicator.put(key, &source.etag, source.bytes);
                put.await.map(Begun::Ended)
            }
        };
        match begun {
            Ok(Begun::Landed(landing)) => Course::Landed(landing),
            Ok(Begun::Ended(outcome)) => Course::Ended(self.beyond(key, Ok(outcome)).await),
            Err(fault) => Course::Ended(self.beyond(key, Err(fault)).await),
        }
    }

    /// Settles what landed, by the source's object as a listing shows it that was asked for afterwards.
    pub(crate) async fn settle(
        &self,
        key: &ObjectKey,
        landing: &Landing,
        again: Option<&Listed>,
    ) -> Result<Outcome, Fault> {
        let settled = self.replicator(key).settle(key, landing, again).await;
        self.beyond(key, settled).await
    }

    /// What is left to others, or worth another attempt at once.
    pub(crate) async fn beyond(
        &self,
        key: &ObjectKey,
        ended: Result<Outcome, Fault>,
    ) -> Result<Outcome, Fault> {
        let overwrite = self.job.spec.overwrite;
        let (worker, pair, rule) = (self.worker, self.pair, self.rule);
        let ended = match ended {
            Ok(Outcome::TooLargeHere { .. }) => {
                worker
                    .begin_transfer(pair, rule, key, None, overwrite)
                    .await
            }
            ended => ended,
        };
        match ended {
            Err(fault) if again_at_once(&fault) => {
                let closely = self.doubt.is_about(key.as_str());
                worker
                    .carry(pair, rule, key, None, overwrite, closely)
                    .await
            }
            ended => ended,
        }
    }

    /// Reconciles a key of which nothing is known but its name. What another writer put at the destination stays.
    pub(crate) async fn carry_named(&self, key: &ObjectKey) -> Result<Outcome, Fault> {
        let overwrite = self.job.spec.overwrite;
        let carry = async || {
            let replicator = self.replicator(key).in_job(Vec::new());
            self.worker
                .carry_with(&replicator, self.pair, self.rule, key, None, overwrite)
                .await
        };
        match carry().await {
            Err(fault) if again_at_once(&fault) => carry().await,
            ended => ended,
        }
    }

    /// Brings the object's failure record up to date, and says how it counts.
    pub(crate) async fn conclude(
        &self,
        key: &ObjectKey,
        listed: Option<&Listed>,
        ended: Result<Outcome, Fault>,
    ) -> Result<Counts, Unfinished> {
        if matches!(ended, Ok(Outcome::TooLargeHere { .. })) {
            // Its transfer will say what becomes of it.
            return Ok(Counts {
                transfers: 1,
                ..LISTED
            });
        }
        let named = |fault: Fault| match listed {
            Some(listed) => fault.of(FailedObject {
                version_id: None,
                etag: listed.etag.clone(),
                bytes: listed.bytes,
            }),
            None => fault,
        };
        let attempt = Attempt {
            ended: ended.map_err(named),
            may_have_failed: self.may_have_failed().await,
            last_chance: true,
            overwrite: self.job.spec.overwrite,
        };
        match self.worker.recorder.keep(self.rule, key, attempt).await {
            Ok(outcome) => Ok(counted(outcome)),
            Err(unsuccessful) => {
                self.failed(key, &unsuccessful).await?;
                Ok(Counts {
                    failed: 1,
                    ..LISTED
                })
            }
        }
    }

    /// Whether there may be a failure to clear, as was known a few seconds ago at most.
    pub(crate) async fn may_have_failed(&self) -> bool {
        let known = self.worker.rules.recent(&self.rule.source.name).await;
        known.map_or(true, |known| known.has_failures)
    }

    /// The failure is recorded. One that may go away by itself is also tried again later, which clears the
    /// record if it succeeds; the page is not accounted for before that is certain.
    async fn failed(&self, key: &ObjectKey, unsuccessful: &Unsuccessful) -> Result<(), AwsError> {
        let rule_id = self.rule.id.as_str();
        match unsuccessful {
            Unsuccessful::Parked { fault, .. } => {
                tracing::error!(rule.id = rule_id, object.key = key.as_str(), %fault, "parked");
                Ok(())
            }
            Unsuccessful::TryAgain(fault) => {
                tracing::warn!(rule.id = rule_id, object.key = key.as_str(), %fault, "failed; tried again later");
                let work = Work::Object {
                    rule_id: self.rule.id.clone(),
                    key: key.clone(),
                    event_time: now(),
                    overwrite: self.job.spec.overwrite,
                };
                let queue_url = &self.worker.config.work_queue_url;
                self.worker
                    .queues
                    .send_later(queue_url, &work, SECOND_ATTEMPT_SECS)
                    .await
            }
        }
    }
}

/// How an object counts that did not fail.
fn counted(outcome: Outcome) -> Counts {
    match outcome {
        Outcome::Replicated { bytes } => Counts {
            copied: 1,
            bytes_copied: bytes,
            ..LISTED
        },
        Outcome::Adjusted => Counts {
            copied: 1,
            ..LISTED
        },
        Outcome::InSync => Counts { equal: 1, ..LISTED },
        Outcome::Kept(KeepReason::DestinationExists | KeepReason::DestinationIsNewer) => {
            Counts { kept: 1, ..LISTED }
        }
        Outcome::TooLargeHere { .. } => Counts {
            transfers: 1,
            ..LISTED
        },
        Outcome::Deleted
        | Outcome::BothAbsent
        | Outcome::Kept(KeepReason::PolicyKeepsDeletes | KeepReason::OtherWriter) => {
            Counts { gone: 1, ..LISTED }
        }
    }
}

/// Whether a failed attempt left nothing behind that another one could meet.
fn again_at_once(fault: &Fault) -> bool {
    matches!(
        fault.reason,
        Reason::ServiceFailed | Reason::Throttled | Reason::KeptChanging
    )
}
