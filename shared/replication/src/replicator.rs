//! The per-key protocol: how one key's replica is made to agree with its source. All I/O goes through
//! the [`BucketPair`] it is given.
//!
//! The destination has no fence, so the protocol repairs instead of locking: a worker that has written something reads
//! the source again, and reconciles if the source has changed. The rules, in short:
//!
//! 1. A notification is a hint; the source's present state decides.
//! 2. A put is first tried as one copy pinned to the notification's `ETag`.
//! 3. After every write, the source is read again. The key is settled only if the source still has what was written.
//! 4. A pinned copy that finds another object, or none, is not a success: the worker reconciles.
//! 5. Only the source's own 404 is a reason to delete. An attempt of a job deletes only what it wrote itself, or
//!    what an earlier attempt of its job announced ([`Replicator::in_job`]).
//! 6. A HEAD does not show that tags or ACLs changed. Their notifications are processed only when no quick copy that
//!    read them before can still land ([`ATTRIBUTES_SETTLE`]). A copy that took longer reads them again. A worker
//!    compares the attributes too ([`Depth::Attributes`]) if an earlier attempt may have died, or if it does not know
//!    which change a key stands for.
//! 7. A mode that protects the destination's objects protects them in every round: only the replica that the attempt
//!    wrote is replaced, by a copy that is conditional on its `ETag`.
//!
//! `attempt` holds what one attempt remembers, `rounds` reconciles, and `verify` reads the source again after a
//! write.

mod attempt;
mod rounds;
mod verify;

use attempt::Attempt;
use chrono::TimeDelta;
use verify::{Ordered, Verified, was_written_before};

use crate::bucket_pair::{BucketPair, CopyOrder, Landed, Onto};
use crate::decide::KeepReason;
use crate::diff::Listed;
use crate::fault::Fault;
use crate::in_flight::OwnWrites;
use crate::names::{Etag, ObjectKey};
use crate::object::ObjectState;
use crate::options::{AclChoice, LockChoice, Options};
use crate::overwrite::Overwrite;
use crate::part_plan::{CopyLimits, SINGLE_COPY_BYTES_MAX, is_too_large};
use crate::put_hint::{Hint, PutHint};
use crate::rule::Policy;

/// How often one attempt reconciles a key before the key goes back to the queue. Each round beyond the first means that
/// the source changed while it was being copied.
pub const ROUNDS_MAX: u32 = 4;

/// A copy that took no longer than this is quick: it read tags and ACL so recently that the notification of any later
/// change of them is still to be processed.
pub const QUICK_COPY: TimeDelta = TimeDelta::seconds(5);

/// How long after a change of tags or ACL its notification is processed. By then every quick copy that read them before
/// has landed, with seconds to spare for clocks that differ.
pub const ATTRIBUTES_SETTLE: TimeDelta = TimeDelta::seconds(15);

/// The outcome of a key. After each of these outcomes its messages may be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The replica was written and agrees with the source.
    Replicated {
        /// The object's size.
        bytes: u64,
    },
    /// Only tags, ACL or lock of the replica had to be set; no bytes were copied.
    Adjusted,
    /// The replica was deleted, and the source still has no object.
    Deleted,
    /// The replica already agreed with the source.
    InSync,
    /// Neither side has an object.
    BothAbsent,
    /// The replica does not agree with the source, and is kept on purpose.
    Kept(KeepReason),
    /// The object is too large for this function, which did nothing. The object has to be handed to a function with a
    /// longer timeout before its messages are acknowledged.
    TooLargeHere {
        /// The object's size.
        bytes: u64,
    },
}

/// How much of a replica is compared before it counts as equal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Depth {
    /// What a HEAD shows. It does not show whether tags or grants differ.
    #[default]
    Head,
    /// The attributes (tags and grants) as well: either they are what changed, or another attempt may have copied them
    /// before they changed, and died before it read them again.
    Attributes,
}

impl Depth {
    /// Returns this depth, or [`Depth::Head`] under a rule that replicates no attributes.
    pub(crate) fn within(self, options: &Options) -> Self {
        if options.carries_attributes() {
            self
        } else {
            Self::Head
        }
    }
}

/// Replicates one rule's changes, key by key.
#[derive(Debug)]
pub struct Replicator<'a, P> {
    pair: &'a P,
    policy: Policy,
    options: &'a Options,
    limits: CopyLimits,
    hint: Option<&'a PutHint>,
    overwrite: Overwrite,
    depth: Depth,
    /// For an attempt of a job: what earlier attempts of the job may have written. `None` for a live attempt.
    own: Option<OwnWrites>,
}

/// How far the copy of a listed object has come.
#[derive(Debug)]
pub enum Begun {
    /// It landed. [`Replicator::settle`] has to find out whether the source still has the object.
    Landed(Landing),
    /// Nothing is left to do.
    Ended(Outcome),
}

/// A copy that landed, ordered by what a listing showed.
#[derive(Debug, Clone)]
pub struct Landing {
    landed: Landed,
    /// The source, as the listing before the copy showed it.
    source: Listed,
}

impl<'a, P: BucketPair> Replicator<'a, P> {
    /// Creates a replicator between the two buckets of `pair`, under a rule with this policy and these options.
    pub fn new(pair: &'a P, policy: Policy, options: &'a Options, limits: CopyLimits) -> Self {
        Self {
            pair,
            policy,
            options,
            limits,
            hint: None,
            overwrite: Overwrite::Always,
            depth: Depth::Head,
            own: None,
        }
    }

    /// Returns the replicator with this overwrite mode: it keeps the objects that the mode keeps.
    #[must_use]
    pub fn overwriting(self, overwrite: Overwrite) -> Self {
        Self { overwrite, ..self }
    }

    /// Returns the replicator with the rule's put hint: it orders puts by the hint and updates the hint after them.
    #[must_use]
    pub fn with_hint(self, hint: &'a PutHint) -> Self {
        Self {
            hint: Some(hint),
            ..self
        }
    }

    /// Returns the replicator with this depth, to which it compares a replica that looks equal.
    #[must_use]
    pub fn comparing(self, depth: Depth) -> Self {
        let depth = depth.within(self.options);
        Self { depth, ..self }
    }

    /// Makes this an attempt of a job. If the source is gone, policy `full` then deletes only a replica that the
    /// attempt wrote itself, or that is among its job's `own` writes. Any other replica stays:
    /// [`KeepReason::OtherWriter`]. Without this, an attempt deletes any replica of a key whose source is gone.
    ///
    /// `own` holds what [`BucketPair::announce`] stored for this key in every earlier attempt of the same job: attempts
    /// of a worker that died, and attempts of this worker that ended with a fault.
    #[must_use]
    pub fn in_job(self, own: OwnWrites) -> Self {
        Self {
            own: Some(own),
            ..self
        }
    }

    /// Replicates a put. `etag` and `bytes` describe the source's object as a notification or a listing reported it.
    ///
    /// Costs one COPY and one HEAD if nothing else happens to the key in the meantime.
    pub async fn put(&self, key: &ObjectKey, etag: &Etag, bytes: u64) -> Result<Outcome, Fault> {
        if is_too_large(etag.parts().is_some(), bytes, self.limits) {
            return Ok(Outcome::TooLargeHere { bytes });
        }
        let mut attempt = self.attempt().of_put(etag);
        let hint = self.present_hint();
        let class = &hint.storage_class;
        if self.overwrite == Overwrite::Always && self.may_copy_unseen(etag, bytes, &hint) {
            let order = CopyOrder::Pinned { etag, class };
            let copied = self.copy(key, etag, order, Onto::Anything, &mut attempt);
            if let Some(landed) = copied.await? {
                let ordered = Ordered::Unseen(etag, class);
                let verified = self.verify_after_write(key, &landed, ordered, &attempt);
                if let Verified::Settled { bytes } = verified.await? {
                    return Ok(Outcome::Replicated { bytes });
                }
                attempt.record_etag = landed.etag != *etag;
            }
        }
        self.rounds(key, attempt).await
    }

    /// Begins to replicate an object that listings of both sides have shown, with one COPY if the listings show enough.
    /// A later listing of the source settles the copy, for many objects at once.
    ///
    /// A listing shows neither a website redirect nor grants. If there may be any, use [`Self::put`].
    pub async fn copy_listed(
        &self,
        key: &ObjectKey,
        source: &Listed,
        replica: Option<&Listed>,
    ) -> Result<Begun, Fault> {
        let (etag, bytes, class) = (&source.etag, source.bytes, &source.storage_class);
        if is_too_large(etag.parts().is_some(), bytes, self.limits) {
            return Ok(Begun::Ended(Outcome::TooLargeHere { bytes }));
        }
        let onto = match self.onto_listed(key, source, replica) {
            Ok(onto) => onto,
            Err(reason) => return Ok(Begun::Ended(Outcome::Kept(reason))),
        };
        let hint = self.present_hint();
        let mut attempt = self.attempt();
        if self.options.acl == AclChoice::Reset && self.may_copy_unseen(etag, bytes, &hint) {
            let order = CopyOrder::Pinned { etag, class };
            let copied = self.copy(key, etag, order, onto, &mut attempt);
            if let Some(landed) = copied.await? {
                if landed.etag == *etag {
                    return Ok(Begun::Landed(Landing {
                        landed,
                        source: source.clone(),
                    }));
                }
                attempt.record_etag = true;
            }
        }
        self.rounds(key, attempt).await.map(Begun::Ended)
    }

    /// Completes what [`Self::copy_listed`] began. `again` is the source's object in a listing that was requested after
    /// the copy landed; `None` if the listing does not have the key. If that is not certainly what was copied, the key
    /// is reconciled.
    pub async fn settle(
        &self,
        key: &ObjectKey,
        landing: &Landing,
        again: Option<&Listed>,
    ) -> Result<Outcome, Fault> {
        let Landing { landed, source } = landing;
        // Another object with the same ETag has another time. Without versions, it was written later. With versions, it
        // may be an earlier one that has become current again and that the copy did not read.
        let is_certain = again.is_some_and(|again| {
            again.etag == source.etag
                && again.bytes == source.bytes
                && again.last_modified == source.last_modified
                && self.options.class_for(&again.storage_class)
                    == self.options.class_for(&source.storage_class)
                && was_written_before(again.last_modified, landed)
        });
        if is_certain && landed.took <= QUICK_COPY {
            return Ok(Outcome::Replicated {
                bytes: source.bytes,
            });
        }
        let mut attempt = Attempt::default();
        attempt.landed(landed, &source.etag);
        self.rounds(key, attempt).await
    }

    /// Makes the key's replica agree with the source's present state, whatever was reported about the key.
    pub async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome, Fault> {
        self.rounds(key, self.attempt()).await
    }

    /// Does the same as [`Self::reconcile`], from what a HEAD of the source has just shown.
    pub async fn reconcile_seen(
        &self,
        key: &ObjectKey,
        source: ObjectState,
    ) -> Result<Outcome, Fault> {
        self.rounds_from(key, Some(source), self.attempt()).await
    }

    /// Does the same as [`Self::reconcile`] after a reported change of tags or ACL, which a HEAD may not show.
    pub async fn reconcile_attributes(&self, key: &ObjectKey) -> Result<Outcome, Fault> {
        let depth = Depth::Attributes.within(self.options);
        self.rounds(key, Attempt::comparing(depth)).await
    }

    fn attempt(&self) -> Attempt {
        Attempt::comparing(self.depth)
    }

    fn present_hint(&self) -> Hint {
        self.hint.map(PutHint::now).unwrap_or_default()
    }

    /// Returns what the copy of a listed object may replace, or why the replica is kept.
    fn onto_listed<'r>(
        &self,
        key: &ObjectKey,
        source: &Listed,
        replica: Option<&'r Listed>,
    ) -> Result<Onto<'r>, KeepReason> {
        if self.overwrite != Overwrite::Always
            && let (Some(replica), Some(own)) = (replica, &self.own)
            && own.include_etag(key, &replica.etag)
        {
            return Ok(Onto::Seen(&replica.etag));
        }
        let seen = replica.map(|replica| (&replica.etag, replica.last_modified));
        self.overwrite.onto(source.last_modified, seen)
    }

    /// Returns whether a copy may be sent without a HEAD of the source. It may not if the replica's `ETag` will differ,
    /// or if the replica has to be locked from the beginning. The copy of an object in parts is planned from a HEAD, so
    /// that the replica keeps its `ETag`.
    fn may_copy_unseen(&self, etag: &Etag, bytes: u64, hint: &Hint) -> bool {
        etag.parts().is_none()
            && bytes <= SINGLE_COPY_BYTES_MAX
            && hint.keeps_etag
            && !self.options.hide_digests()
            && self.options.object_lock == LockChoice::Bucket
    }
}
