//! The per-key protocol: how one key's replica is made to agree with its source. All I/O goes through
//! the [`BucketPair`] it is given.
//!
//! Nothing fences the destination, so the protocol repairs instead of locking: whoever lands something
//! looks at the source again, and whoever finds it changed reconciles. The rules, in short:
//!
//! 1. A notification is a hint; the source's present state decides.
//! 2. A put is first tried as one copy pinned to the notification's `ETag`.
//! 3. After anything landed, the source is read again; only what is still there is done.
//! 4. A pinned copy that finds another object, or none, is not success: reconcile.
//! 5. Only the source's own 404 is a reason to delete. An attempt of a job deletes only what it wrote itself, or
//!    what an earlier attempt of its job announced ([`Replicator::in_job`]).
//! 6. Tags and ACLs change without a trace in a HEAD. Their notifications are looked at only when no quick
//!    copy can land any more that read them before ([`ATTRIBUTES_SETTLE`]); a copy that took longer reads them
//!    again. Whoever follows an attempt that may have died, or does not know which change a key stands for,
//!    compares the attributes too ([`Depth::Attributes`]).
//! 7. A mode that protects the destination's objects protects them in every round: only the replica that the
//!    attempt wrote is replaced, by a copy conditional on its `ETag`.
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

/// How often one attempt reconciles a key before it goes back to the queue: each round beyond the first
/// means that the source changed while it was being copied.
pub const ROUNDS_MAX: u32 = 4;

/// A copy that was under way for no longer than this is quick: it read tags and ACL so lately that a
/// change of them since is still to be looked at.
pub const QUICK_COPY: TimeDelta = TimeDelta::seconds(5);

/// How long after a change of tags or ACL its notification is looked at: every quick copy that read them
/// before has landed by then, with seconds to spare for clocks that differ.
pub const ATTRIBUTES_SETTLE: TimeDelta = TimeDelta::seconds(15);

/// What became of a key. Each of these is a reason to acknowledge its messages.
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
    /// The replica agreed with the source already.
    InSync,
    /// Neither side has an object.
    BothAbsent,
    /// The replica does not agree, and the rule wants it so.
    Kept(KeepReason),
    /// The object is too large for this function, which did nothing: it has to be handed to one with more
    /// time before its messages are acknowledged.
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
    /// The attributes (tags and grants) as well: they are what changed, or another attempt may have copied them before
    /// they changed and died before it read them again.
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
    /// Of an attempt of a job: what earlier attempts of the job may have written. `None` for a live attempt.
    own: Option<OwnWrites>,
}

/// How the copy of a listed object began.
#[derive(Debug)]
pub enum Begun {
    /// It landed; [`Replicator::settle`] has to find out whether the source still holds it.
    Landed(Landing),
    /// Nothing is left to be done.
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
    /// A replicator between the two buckets of `pair`, under a rule of this policy and these options.
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

    /// The same, leaving what this mode keeps.
    #[must_use]
    pub fn overwriting(self, overwrite: Overwrite) -> Self {
        Self { overwrite, ..self }
    }

    /// The same, ordering puts as is expected of the rule, and learning from them.
    #[must_use]
    pub fn with_hint(self, hint: &'a PutHint) -> Self {
        Self {
            hint: Some(hint),
            ..self
        }
    }

    /// The same, comparing this much of a replica that looks equal.
    #[must_use]
    pub fn comparing(self, depth: Depth) -> Self {
        let depth = depth.within(self.options);
        Self { depth, ..self }
    }

    /// Makes this an attempt of a job. If the source is gone, policy `full` then deletes only a replica that the
    /// attempt wrote itself, or that is among its job's `own` writes. Any other replica stays:
    /// [`KeepReason::OtherWriter`]. Without this, an attempt deletes any replica of a key whose source is gone.
    ///
    /// `own` holds what [`BucketPair::announce`] noted for this key in every earlier attempt of the same job: those
    /// of a worker that died, and those of this worker that ended with a fault.
    #[must_use]
    pub fn in_job(self, own: OwnWrites) -> Self {
        Self {
            own: Some(own),
            ..self
        }
    }

    /// Carries a put over: the source is said to hold an object of this `ETag` and size.
    ///
    /// Costs one COPY and one HEAD where nothing else happens to the key meanwhile.
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

    /// Begins to carry over what listings of both sides have shown, with one COPY where that is enough to
    /// know. What landed is settled by a later listing of the source, for many objects at once.
    ///
    /// A listing shows neither a website redirect nor grants: where there may be any, use [`Self::put`].
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

    /// Ends what [`Self::copy_listed`] began. `again` is the source object as a listing shows it that was
    /// asked for after the copy landed; none where the listing has no such key. Where that is not certainly
    /// what was copied, the key is reconciled.
    pub async fn settle(
        &self,
        key: &ObjectKey,
        landing: &Landing,
        again: Option<&Listed>,
    ) -> Result<Outcome, Fault> {
        let Landing { landed, source } = landing;
        // Without versions, an object of the same ETag was written later. With versions, an earlier one may have
        // become current again, which the copy did not read: it was written at another time.
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

    /// Makes the key's replica agree with the source's present state, whatever was said about it.
    pub async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome, Fault> {
        self.rounds(key, self.attempt()).await
    }

    /// As [`Self::reconcile`], from what a HEAD of the source has just shown.
    pub async fn reconcile_seen(
        &self,
        key: &ObjectKey,
        source: ObjectState,
    ) -> Result<Outcome, Fault> {
        self.rounds_from(key, Some(source), self.attempt()).await
    }

    /// As [`Self::reconcile`], after tags or ACL were said to have changed, which a HEAD may not show.
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

    /// Returns what the copy of a listed object may land on, or why the replica is kept.
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

    /// Whether a copy may be ordered without having looked at the source. Not where the replica's `ETag` is
    /// known to differ, or where it has to be locked from the beginning. An object uploaded in parts is planned
    /// from a HEAD, so that the replica keeps its `ETag`.
    fn may_copy_unseen(&self, etag: &Etag, bytes: u64, hint: &Hint) -> bool {
        etag.parts().is_none()
            && bytes <= SINGLE_COPY_BYTES_MAX
            && hint.keeps_etag
            && !self.options.hide_digests()
            && self.options.object_lock == LockChoice::Bucket
    }
}
