//! Processes one object of a shard: replicates it through the protocol, records a failure, and counts it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tandem_aws::AwsError;
use tandem_aws::dynamodb::failures::SeenFailures;
use tandem_aws::dynamodb::jobs::Job;
use tandem_lambda::runtime::{Deadline, now};
use tandem_replication::decide::KeepReason;
use tandem_replication::diff::Listed;
use tandem_replication::failure_record::{
    Attempt, FailureRecords, FailureRevision, Redelivery, Unsuccessful, keep,
};
use tandem_replication::fault::{FailedObject, Fault, Reason};
use tandem_replication::in_flight::{InFlight, OwnWrites};
use tandem_replication::names::ObjectKey;
use tandem_replication::object::ObjectState;
use tandem_replication::options::AclChoice;
use tandem_replication::overwrite::Overwrite;
use tandem_replication::page_plan::Carry;
use tandem_replication::progress::{Counts, JobKind};
use tandem_replication::put_hint::PutHint;
use tandem_replication::replicator::{Begun, Depth, Landing, Outcome, ROUNDS_MAX, Replicator};
use tandem_replication::rule::Rule;
use tandem_replication::shard::ShardRange;
use tandem_replication::transfer::begin::{KeyChange, Origin, Seen};
use tandem_replication::work::Work;

use crate::dispatch::Worker;
use crate::job_pair::JobPair;

/// How much time an invocation must have left to begin another small object.
const OBJECT_TIME: Duration = Duration::from_mins(1);
/// The lowest expected speed of copying a large object, in bytes a second.
const COPY_BYTES_PER_SEC: u64 = 50 << 20;
/// After this time an object is retried whose copy failed, if another attempt may succeed. By then no request of the
/// failed attempt is in flight. It is also the longest time for which SQS delays a message.
const SECOND_ATTEMPT_AFTER: Duration = Duration::from_mins(15);

/// The counts of one listed object.
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
    extra_failed: 0,
    bytes_copied: 0,
};

/// The context that every object of a page needs.
pub(crate) struct PageContext<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) rule: &'a Rule,
    pub(crate) job: &'a Job,
    pub(crate) pair: &'a JobPair<'a>,
    pub(crate) hint: &'a PutHint,
    pub(crate) deadline: Deadline,
    /// The pages that dead workers had in flight.
    pub(crate) suspects: Option<InFlight>,
    /// How often the message was received.
    pub(crate) receives: u32,
    /// Whether a write of this invocation was not answered.
    pub(crate) unanswered: &'a AtomicBool,
}

/// The state of an object after its first request.
pub(crate) enum Progress {
    /// Its copy landed. A later listing has to settle it.
    Landed(Landing),
    /// Its outcome is known.
    Ended(Result<Outcome, Fault>),
}

impl<'a> PageContext<'a> {
    /// Returns a replicator for an object of the job.
    pub(crate) fn replicator(&self, key: &ObjectKey) -> Replicator<'a, JobPair<'a>> {
        let suspects = self.suspects.as_ref();
        let own = suspects.map(|page| page.own_writes(key.as_str()));
        self.live_replicator()
            .with_hint(self.hint)
            .overwriting(self.job.spec.overwrite)
            .comparing(self.depth_for(key))
            .in_job(own.unwrap_or_default())
    }

    /// Returns a replicator that deletes any replica whose source answers 404, as a repair may.
    pub(crate) fn live_replicator(&self) -> Replicator<'a, JobPair<'a>> {
        let limits = self.worker.config.work_limits();
        Replicator::new(self.pair, self.rule.policy, &self.rule.options, limits)
    }

    /// Returns whether tags and ACLs of the key are compared too.
    fn depth_for(&self, key: &ObjectKey) -> Depth {
        if self.is_suspect(key) {
            Depth::Attributes
        } else {
            Depth::Head
        }
    }

    /// Whether a dead worker may have written the replica or its tags.
    pub(crate) fn is_suspect(&self, key: &ObjectKey) -> bool {
        let suspects = self.suspects.as_ref();
        suspects.is_some_and(|page| page.suspects(key.as_str()))
    }

    /// Returns how much time must be left to begin an object of this size. For the largest objects it is the time of a
    /// smaller one, because a transfer copies them.
    pub(crate) fn time_for(&self, bytes: u64) -> Duration {
        let bytes = bytes.min(self.worker.config.transfer_bytes_min);
        OBJECT_TIME + Duration::from_secs(bytes / COPY_BYTES_PER_SEC)
    }

    /// Whether a listing shows everything that a copy needs. It shows neither redirects, which matter in websites, nor
    /// grants.
    pub(crate) fn listing_is_enough(&self, is_website: bool) -> bool {
        !is_website && self.rule.options.acl == AclChoice::Reset
    }

    /// Begins to replicate an object that the listings have shown.
    pub(crate) async fn begin_carry(
        &self,
        key: &ObjectKey,
        carry: &Carry<'_>,
        listing_is_enough: bool,
    ) -> Progress {
        let replicator = self.replicator(key);
        match carry.begin(&replicator, key, listing_is_enough).await {
            Ok(Begun::Landed(landing)) => Progress::Landed(landing),
            Ok(Begun::Ended(outcome)) => Progress::Ended(self.beyond(key, Ok(outcome)).await),
            Err(fault) => Progress::Ended(self.beyond(key, Err(fault)).await),
        }
    }

    /// Settles a copy that landed, by the source's object in a listing that was requested after the copy.
    pub(crate) async fn settle(
        &self,
        key: &ObjectKey,
        landing: &Landing,
        again: Option<&Listed>,
    ) -> Result<Outcome, Fault> {
        let settled = self.replicator(key).settle(key, landing, again).await;
        self.beyond(key, settled).await
    }

    /// Reconciles a key. `source` is what a HEAD of the source has just shown.
    pub(crate) async fn reconcile(
        &self,
        key: &ObjectKey,
        source: Option<ObjectState>,
    ) -> Result<Outcome, Fault> {
        let replicator = self.replicator(key);
        let mut ended = match source {
            Some(source) => replicator.reconcile_seen(key, source).await,
            None => replicator.reconcile(key).await,
        };
        let (worker, s3) = (self.worker, self.pair.s3);
        for _ in 0..ROUNDS_MAX {
            let outcome = self.beyond(key, ended).await?;
            let is_handed_over = matches!(outcome, Outcome::TooLargeHere { .. });
            if is_handed_over {
                return Ok(outcome);
            }
            let ports = worker.transfer_ports(s3, self.rule, None);
            if ports.transferrer().end_if_unneeded(key).await? == Seen::Still {
                return Ok(outcome);
            }
            ended = replicator.reconcile(key).await;
        }
        ended
    }

    /// Hands a large object over to a transfer. Immediately retries a failed attempt once, if no request of it is in
    /// flight.
    pub(crate) async fn beyond(
        &self,
        key: &ObjectKey,
        ended: Result<Outcome, Fault>,
    ) -> Result<Outcome, Fault> {
        let ended = match self.handed_over(key, ended).await {
            Err(fault) if again_at_once(&fault) => {
                // The failed attempt may have written a replica. It counts as the job's own write.
                let own = self.own_writes(key).await;
                let again = self.replicator(key).in_job(own).reconcile(key).await;
                self.handed_over(key, again).await
            }
            ended => ended,
        };
        self.note_answer(&ended);
        ended
    }

    /// Deletes an extra object, whose source has just answered 404. Immediately retries a failed attempt once, if no
    /// request of it is in flight.
    pub(crate) async fn reconcile_extra(&self, key: &ObjectKey) -> Result<Outcome, Fault> {
        let replicator = self.live_replicator();
        let mut ended = self.handed_over(key, replicator.reconcile(key).await).await;
        if ended.as_ref().is_err_and(again_at_once) {
            ended = self.handed_over(key, replicator.reconcile(key).await).await;
        }
        self.note_answer(&ended);
        ended
    }

    fn note_answer(&self, ended: &Result<Outcome, Fault>) {
        if let Err(fault) = ended
            && fault.reason == Reason::NotAnswered
        {
            self.unanswered.store(true, Ordering::Relaxed);
        }
    }

    async fn handed_over(
        &self,
        key: &ObjectKey,
        ended: Result<Outcome, Fault>,
    ) -> Result<Outcome, Fault> {
        let overwrite = self.job.spec.overwrite;
        let (worker, s3, rule) = (self.worker, self.pair.s3, self.rule);
        match ended? {
            Outcome::TooLargeHere { .. } => {
                let change = KeyChange {
                    key,
                    event_time: None,
                    overwrite,
                    depth: Depth::Head,
                    hops: 0,
                    origin: Origin::Job {
                        own: OwnWrites::default(),
                    },
                };
                let ports = worker.transfer_ports(s3, rule, None);
                ports.transferrer().begin(&change).await
            }
            outcome => Ok(outcome),
        }
    }

    /// Returns the failure record that a success may clear. It has to be read before the source is read.
    pub(crate) async fn seen_failure(
        &self,
        key: &ObjectKey,
    ) -> Result<Option<FailureRevision>, AwsError> {
        if !self.may_have_failed().await {
            return Ok(None);
        }
        let seen = self.worker.failure_revision(&self.rule.id, key).await;
        seen.map_err(|fault| AwsError::unexpected("reading a failure record", fault))
    }

    /// Returns the failure records that the successes of a page may clear. They have to be read before the source is
    /// listed.
    pub(crate) async fn seen_failures(&self, rest: &ShardRange) -> Result<SeenFailures, AwsError> {
        if !self.may_have_failed().await {
            return Ok(SeenFailures::default());
        }
        let after = rest.after.as_deref().unwrap_or(&rest.prefix);
        self.worker
            .table
            .failure_revisions(&self.rule.id, after)
            .await
    }

    /// Updates the object's failure record, and returns how the object counts. `seen` is the record that existed before
    /// the source was read.
    pub(crate) async fn conclude(
        &self,
        key: &ObjectKey,
        listed: Option<&Listed>,
        seen: Option<FailureRevision>,
        ended: Result<Outcome, Fault>,
    ) -> Result<Counts, AwsError> {
        if matches!(ended, Ok(Outcome::TooLargeHere { .. })) {
            // The transfer will record the outcome.
            return Ok(Counts {
                transfers: 1,
                ..LISTED
            });
        }
        let named = |fault: Fault| match listed {
            Some(listed) => fault.of(failed_object(listed)),
            None => fault,
        };
        let attempt = Attempt {
            ended: ended.map_err(named),
            seen,
            redelivery: Redelivery::WasTheLast,
            overwrite: self.job.spec.overwrite,
        };
        match keep(&**self.worker, self.rule, key, attempt).await {
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

    /// Records a failure that no other attempt of the job follows. `overwrite` is the mode of a retry by hand.
    pub(crate) async fn record(
        &self,
        key: &ObjectKey,
        fault: Fault,
        overwrite: Overwrite,
    ) -> Result<(), AwsError> {
        let fault = self.worker.explain(self.rule, key, fault).await;
        tracing::error!(rule.id = self.rule.id.as_str(), object.key = key.as_str(), %fault, "failed and recorded");
        let recorded = self
            .worker
            .record_failure(self.rule, key, &fault, overwrite)
            .await;
        recorded
            .map(|_| ())
            .map_err(|fault| AwsError::unexpected("recording a failure", fault))
    }

    /// Returns what the job may have written under a key, including this page.
    async fn own_writes(&self, key: &ObjectKey) -> OwnWrites {
        let shard = self.pair.session.shard().await;
        let in_flight = shard.in_flight.map(|page| page.own_writes(key.as_str()));
        in_flight.unwrap_or_default()
    }

    /// Whether there may be a failure to clear, according to a cache that is at most a few seconds old.
    pub(crate) async fn may_have_failed(&self) -> bool {
        let known = self.worker.rules.recent(&self.rule.source.name).await;
        known.map_or(true, |known| known.has_failures)
    }

    /// Logs a recorded failure. If another attempt may succeed, it also sends a message for a later attempt, which
    /// clears the record if it succeeds. The page is counted only after the message was sent. The message names what
    /// the job may have written, so that the later attempt does not delete what another writer wrote. A verification
    /// sends no message, because it changes nothing.
    async fn failed(&self, key: &ObjectKey, unsuccessful: &Unsuccessful) -> Result<(), AwsError> {
        let rule_id = self.rule.id.as_str();
        match unsuccessful {
            Unsuccessful::Parked { fault, .. } => {
                tracing::error!(rule.id = rule_id, object.key = key.as_str(), %fault, "failed and recorded");
                Ok(())
            }
            // The table failed, not the object.
            Unsuccessful::TryAgain(fault) if self.job.spec.kind == JobKind::Verify => {
                Err(AwsError::unexpected("updating a failure record", fault))
            }
            Unsuccessful::TryAgain(fault) => {
                tracing::warn!(rule.id = rule_id, object.key = key.as_str(), %fault, "failed; retried later");
                let work = Work::Object {
                    rule_id: self.rule.id.clone(),
                    key: key.clone(),
                    event_time: now(),
                    overwrite: self.job.spec.overwrite,
                    own: Some(self.own_writes(key).await),
                    hops: 0,
                };
                let queue_url = &self.worker.config.work_queue_url;
                self.worker
                    .queues
                    .send_later(queue_url, &work, SECOND_ATTEMPT_AFTER)
                    .await
            }
        }
    }
}

/// Returns the object that failed, as a listing shows it.
pub(crate) fn failed_object(listed: &Listed) -> FailedObject {
    FailedObject {
        version_id: None,
        etag: listed.etag.clone(),
        bytes: listed.bytes,
    }
}

/// Returns how an object counts that did not fail.
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

/// Whether an attempt that failed with this fault has no request in flight, so that another one may begin at once.
pub(crate) fn again_at_once(fault: &Fault) -> bool {
    matches!(
        fault.reason,
        Reason::ServiceFailed | Reason::Throttled | Reason::KeptChanging
    )
}
