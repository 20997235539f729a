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
//! 5. Only the source's own 404 is a reason to delete.
//! 6. Tags and ACLs change without a trace in a HEAD. Their notifications are looked at only when no quick
//!    copy can land any more that read them before ([`LABELS_SETTLE`]); a copy that took longer reads them
//!    again. Whoever follows an attempt that may have died, or does not know which change a key stands for,
//!    looks as closely ([`Replicator::looking_closely`]).

use chrono::TimeDelta;

use crate::bucket_pair::{
    AdjustOutcome, Adjustment, BucketPair, CopyOrder, CopyOutcome, DeleteOutcome, Landed, Onto,
    Side,
};
use crate::decide::{Decision, KeepReason, decide};
use crate::diff::Listed;
use crate::expectation::Expectation;
use crate::fault::{Fault, Reason};
use crate::names::{Etag, ObjectKey, StorageClass};
use crate::object::{Labels, Lock, ObjectState};
use crate::options::{AclChoice, LockChoice, Options};
use crate::overwrite::Overwrite;
use crate::part_plan::{CopyLimits, CopyPlan, SINGLE_COPY_BYTES_MAX, is_too_large, plan};
use crate::rule::Policy;

/// How often one attempt reconciles a key before it goes back to the queue: each round beyond the first
/// means that the source changed while it was being copied.
pub const ROUNDS_MAX: u32 = 4;

/// `Last-Modified` is given in whole seconds.
const LAST_MODIFIED_RESOLUTION: TimeDelta = TimeDelta::seconds(1);

/// A copy that was under way for no longer than this is quick: it read tags and ACL so lately that a
/// change of them since is still to be looked at.
pub const QUICK_COPY: TimeDelta = TimeDelta::seconds(5);

/// How long after a change of tags or ACL its notification is looked at: every quick copy that read them
/// before has landed by then, with seconds to spare for clocks that differ.
pub const LABELS_SETTLE: TimeDelta = TimeDelta::seconds(15);

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

/// Carries one rule's changes over, key by key.
#[derive(Debug)]
pub struct Replicator<'a, P> {
    pair: &'a P,
    policy: Policy,
    options: &'a Options,
    limits: CopyLimits,
    expectation: Option<&'a Expectation>,
    overwrite: Overwrite,
    closely: bool,
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
    etag: Etag,
    bytes: u64,
    class: StorageClass,
}

/// Whether what landed is what the source holds now.
enum Standing {
    /// It is; the size is the source's.
    Settled { bytes: u64 },
    /// It is not, or not for certain.
    Unsettled,
}

/// What the rounds of one attempt have found out.
#[derive(Debug, Clone, Copy, Default)]
struct Course {
    /// The replica's `ETag` differs from the source's, so it has to name the source's.
    record_etag: bool,
    /// The number of tags is not enough: tags and ACL have to be read.
    closely: bool,
    /// What was done to the replica.
    done: Done,
}

/// What an attempt did to the replica, the more important last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Done {
    #[default]
    Nothing,
    /// Something was set without a copy.
    Adjusted,
    /// Something was copied.
    Copied,
}

/// How the copy was ordered that landed.
#[derive(Debug, Clone, Copy)]
enum Ordered<'a> {
    /// For a source of this class, without having looked at it.
    Unseen(&'a StorageClass),
    /// For a source that looked like this.
    Seen(&'a ObjectState),
}

impl<'a, P: BucketPair> Replicator<'a, P> {
    /// A replicator between the two buckets of `pair`, under a rule of this policy and these options.
    pub fn new(pair: &'a P, policy: Policy, options: &'a Options, limits: CopyLimits) -> Self {
        Self {
            pair,
            policy,
            options,
            limits,
            expectation: None,
            overwrite: Overwrite::Always,
            closely: false,
        }
    }

    /// The same, leaving what this mode keeps.
    #[must_use]
    pub fn overwriting(self, overwrite: Overwrite) -> Self {
        Self { overwrite, ..self }
    }

    /// The same, ordering puts as is expected of the rule, and learning from them.
    #[must_use]
    pub fn expecting(self, expectation: &'a Expectation) -> Self {
        Self {
            expectation: Some(expectation),
            ..self
        }
    }

    /// The same; where `closely`, a replica is found in sync only if its tags and grants are, too. A HEAD may
    /// not show that they differ, for which there are two reasons: they are what changed, or somebody copied
    /// them before they changed and died before looking again.
    #[must_use]
    pub fn looking_closely(self, closely: bool) -> Self {
        let closely = closely && self.options.carries_labels();
        Self { closely, ..self }
    }

    /// Carries a put over: the source is said to hold an object of this `ETag` and size.
    ///
    /// Costs one COPY and one HEAD where nothing else happens to the key meanwhile.
    pub async fn put(&self, key: &ObjectKey, etag: &Etag, bytes: u64) -> Result<Outcome, Fault> {
        let in_parts = etag.parts().is_some();
        if is_too_large(in_parts, bytes, self.limits) {
            return Ok(Outcome::TooLargeHere { bytes });
        }
        let mut course = self.course();
        let expected = self.expectation.map(Expectation::now).unwrap_or_default();
        let class = &expected.storage_class;
        // An object uploaded in parts is planned from a HEAD, so that the replica keeps its ETag.
        if !in_parts
            && bytes <= SINGLE_COPY_BYTES_MAX
            && expected.keeps_etag
            && self.may_copy_unseen()
            && self.overwrite == Overwrite::Always
            && let order = (CopyOrder::Pinned { etag, class })
            && let CopyOutcome::Landed(landed) = self.pair.copy(key, order, Onto::Anything).await?
        {
            course.closely = landed.took > QUICK_COPY;
            let ordered = Ordered::Unseen(class);
            let standing = self.standing(key, &landed, ordered, course.closely);
            if let Standing::Settled { bytes } = standing.await? {
                return Ok(Outcome::Replicated { bytes });
            }
            course.record_etag = landed.etag != *etag;
            course.done = Done::Copied;
        }
        course.record_etag |= !expected.keeps_etag;
        self.rounds(key, course).await
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
        let in_parts = etag.parts().is_some();
        if is_too_large(in_parts, bytes, self.limits) {
            return Ok(Begun::Ended(Outcome::TooLargeHere { bytes }));
        }
        let seen = replica.map(|replica| (&replica.etag, replica.last_modified));
        let onto = match self.overwrite.onto(source.last_modified, seen) {
            Ok(onto) => onto,
            Err(reason) => return Ok(Begun::Ended(Outcome::Kept(reason))),
        };
        let expected = self.expectation.map(Expectation::now).unwrap_or_default();
        let mut course = self.course();
        if !in_parts
            && bytes <= SINGLE_COPY_BYTES_MAX
            && expected.keeps_etag
            && self.may_copy_unseen()
            && self.options.acl == AclChoice::Reset
            && let order = (CopyOrder::Pinned { etag, class })
            && let CopyOutcome::Landed(landed) = self.pair.copy(key, order, onto).await?
        {
            if landed.etag == *etag {
                return Ok(Begun::Landed(Landing {
                    landed,
                    etag: etag.clone(),
                    bytes,
                    class: class.clone(),
                }));
            }
            course.closely = landed.took > QUICK_COPY;
            course.record_etag = true;
            course.done = Done::Copied;
        }
        course.record_etag |= !expected.keeps_etag;
        self.rounds(key, course).await.map(Begun::Ended)
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
        let Landing { landed, class, .. } = landing;
        let is_certain = again.is_some_and(|again| {
            again.etag == landing.etag
                && again.bytes == landing.bytes
                && self.options.class_for(&again.storage_class) == self.options.class_for(class)
                && was_written_before(again.last_modified, landed)
        });
        if is_certain && landed.took <= QUICK_COPY {
            return Ok(Outcome::Replicated {
                bytes: landing.bytes,
            });
        }
        let course = Course {
            record_etag: false,
            closely: landed.took > QUICK_COPY,
            done: Done::Copied,
        };
        self.rounds(key, course).await
    }

    /// Makes the key's replica agree with the source's present state, whatever was said about it.
    pub async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome, Fault> {
        self.rounds(key, self.course()).await
    }

    /// As [`Self::reconcile`], after tags or ACL were said to have changed, which a HEAD may not show.
    pub async fn reconcile_labels(&self, key: &ObjectKey) -> Result<Outcome, Fault> {
        let course = Course {
            closely: self.options.carries_labels(),
            ..Course::default()
        };
        self.rounds(key, course).await
    }

    fn course(&self) -> Course {
        Course {
            closely: self.closely,
            ..Course::default()
        }
    }

    async fn rounds(&self, key: &ObjectKey, mut course: Course) -> Result<Outcome, Fault> {
        for _ in 0..ROUNDS_MAX {
            let source = self.pair.head(Side::Source, key).await?;
            let ended = match &source {
                Some(object) => self
                    .round(key, source.as_ref(), &mut course)
                    .await
                    .map_err(|fault| fault.of(object))?,
                None => self.round(key, None, &mut course).await?,
            };
            if let Some(outcome) = ended {
                return Ok(outcome);
            }
        }
        Err(Fault::because(
            Reason::KeptChanging,
            format!(
                "{key:?} kept changing through {ROUNDS_MAX} rounds; it is tried again later",
                key = key.as_str()
            ),
        ))
    }

    /// One round of reconciling, from what a HEAD of the source has shown; `None` if another one is needed.
    async fn round(
        &self,
        key: &ObjectKey,
        source: Option<&ObjectState>,
        course: &mut Course,
    ) -> Result<Option<Outcome>, Fault> {
        let replica = self.pair.head(Side::Replica, key).await?;
        let decision = decide(self.policy, self.options, source, replica.as_ref());
        match (decision, source, replica) {
            (Decision::InSync | Decision::Adjust, Some(source), Some(replica)) => {
                if decision == Decision::Adjust
                    && let Err(reason) = self.onto(source, Some(&replica), *course)
                {
                    return Ok(Some(Outcome::Kept(reason)));
                }
                let closely = course.closely || decision == Decision::Adjust;
                let labels = self.wanted_labels(key, source, closely).await?;
                if decision == Decision::InSync {
                    if labels.is_none() {
                        return Ok(Some(course.outcome(source.bytes)));
                    }
                    if let Err(reason) = self.onto(source, Some(&replica), *course) {
                        return Ok(Some(Outcome::Kept(reason)));
                    }
                }
                self.adjust(key, source, &replica, labels, course).await?;
                Ok(None)
            }
            (Decision::Copy, Some(source), replica) => {
                let onto = match self.onto(source, replica.as_ref(), *course) {
                    Ok(onto) => onto,
                    Err(reason) => return Ok(Some(Outcome::Kept(reason))),
                };
                let in_parts = source.etag.parts().is_some();
                if is_too_large(in_parts, source.bytes, self.limits) {
                    return Ok(Some(Outcome::TooLargeHere {
                        bytes: source.bytes,
                    }));
                }
                let copied = self.copy_known(key, source, onto, course).await?;
                Ok(copied.map(|bytes| Outcome::Replicated { bytes }))
            }
            (Decision::Delete, _, Some(replica)) => {
                let deleted = self.pair.delete_replica(key, &replica.etag).await?;
                let still_gone = self.pair.head(Side::Source, key).await?.is_none();
                let done = deleted == DeleteOutcome::Deleted && still_gone;
                Ok(done.then_some(Outcome::Deleted))
            }
            (Decision::Keep(reason), ..) => Ok(Some(Outcome::Kept(reason))),
            // In sync because there is nothing on either side; the other pairs cannot be.
            (_, _, _) => Ok(Some(Outcome::BothAbsent)),
        }
    }

    /// What a copy may land on; or why the replica is kept. What this attempt itself has written is not
    /// somebody else's.
    fn onto<'r>(
        &self,
        source: &ObjectState,
        replica: Option<&'r ObjectState>,
        course: Course,
    ) -> Result<Onto<'r>, KeepReason> {
        if course.done == Done::Copied {
            return Ok(Onto::Anything);
        }
        let seen = replica.map(|replica| (&replica.etag, replica.last_modified));
        self.overwrite.onto(source.last_modified, seen)
    }

    /// Sets what differs on the replica without copying bytes. Whoever calls looks at both sides again.
    async fn adjust(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        replica: &ObjectState,
        labels: Option<Labels>,
        course: &mut Course,
    ) -> Result<(), Fault> {
        let lock = (self.options.object_lock == LockChoice::Keep
            && !source.lock.is_within(&replica.lock))
        .then_some(&source.lock);
        course.closely = self.options.carries_labels();
        if labels.is_some() || lock.is_some() {
            let wanted = Adjustment { labels, lock };
            let adjusted = self.pair.adjust(key, replica, wanted).await?;
            if adjusted == AdjustOutcome::Adjusted {
                course.done = course.done.max(Done::Adjusted);
            }
        }
        Ok(())
    }

    /// Copies what a HEAD has shown; answers the size if the source still holds it afterwards.
    async fn copy_known(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        onto: Onto<'_>,
        course: &mut Course,
    ) -> Result<Option<u64>, Fault> {
        let layout = match source.etag.parts() {
            Some(_) => self.pair.part_layout(key, source).await?,
            None => None,
        };
        let CopyPlan { parts, keeps_etag } =
            plan(source, layout, self.limits).map_err(|error| {
                Fault::new(
                    Reason::TooLarge,
                    format!("cannot copy {:?}", key.as_str()),
                    error,
                )
            })?;
        course.record_etag |= !keeps_etag || self.options.kms_key.is_some();
        let order = CopyOrder::Known {
            source,
            parts: parts.as_ref(),
            record_etag: course.record_etag,
        };
        let CopyOutcome::Landed(landed) = self.pair.copy(key, order, onto).await? else {
            return Ok(None);
        };
        course.done = Done::Copied;
        // Only what could have been kept says something of the destination.
        if source.etag_is_digest
            && source.etag.parts().is_none()
            && let Some(expectation) = self.expectation
        {
            expectation.saw_etag(landed.etag == source.etag);
        }
        // The tags of an upload are those that its beginning was told, not those that it copied. Should more
        // rounds be needed, they have to look as closely. A quick copy brought those of just now, whatever was
        // there before.
        course.closely = parts.is_some() || landed.took > QUICK_COPY;
        let standing = self.standing(key, &landed, Ordered::Seen(source), course.closely);
        match standing.await? {
            Standing::Settled { bytes } => Ok(Some(bytes)),
            Standing::Unsettled => {
                course.record_etag |= landed.etag != source.etag;
                Ok(None)
            }
        }
    }

    /// Reads the source again after something landed.
    ///
    /// The same `ETag` does not rule out that the same bytes were written with other metadata since. A
    /// version tells for certain, and so does a `Last-Modified` before the copy began; where neither
    /// does, the replica is looked at too.
    async fn standing(
        &self,
        key: &ObjectKey,
        landed: &Landed,
        ordered: Ordered<'_>,
        closely: bool,
    ) -> Result<Standing, Fault> {
        let Some(source) = self.pair.head(Side::Source, key).await? else {
            return Ok(Standing::Unsettled);
        };
        if let Some(expectation) = self.expectation {
            expectation.saw_class(&source.storage_class);
        }
        let ordered_as_it_is = match ordered {
            Ordered::Seen(known) => self.would_copy_alike(known, &source),
            Ordered::Unseen(class) => self.would_copy_alike_unseen(class, &source),
        };
        if !ordered_as_it_is {
            return Ok(Standing::Unsettled);
        }
        let certain = source.etag == landed.etag && read_for_certain(&source, landed);
        if !certain {
            let replica = self.pair.head(Side::Replica, key).await?;
            let decision = decide(self.policy, self.options, Some(&source), replica.as_ref());
            if decision != Decision::InSync {
                return Ok(Standing::Unsettled);
            }
        }
        let settled = if certain && !closely && self.options.acl == AclChoice::Reset {
            true
        } else {
            self.wanted_labels(key, &source, closely).await?.is_none()
        };
        Ok(if settled {
            Standing::Settled {
                bytes: source.bytes,
            }
        } else {
            Standing::Unsettled
        })
    }

    /// The source's tags and grants, if the replica has others. Where neither has tags as far as a HEAD
    /// shows, tags are read only if that is to be looked at `closely`.
    async fn wanted_labels(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
        closely: bool,
    ) -> Result<Option<Labels>, Fault> {
        let any_tags = self.options.tags && (source.tag_count > 0 || closely);
        if !any_tags && self.options.acl == AclChoice::Reset {
            return Ok(None);
        }
        let wanted = self.pair.labels(Side::Source, key).await?;
        let found = self.pair.labels(Side::Replica, key).await?;
        Ok((wanted != found).then_some(wanted))
    }

    /// Whether a copy may be ordered without having looked at the source. Not where the replica's `ETag` is
    /// known to differ, or where it has to be locked from the beginning.
    fn may_copy_unseen(&self) -> bool {
        self.options.kms_key.is_none() && self.options.object_lock == LockChoice::Bucket
    }

    /// Whether [`CopyOrder::Pinned`] for this class orders what the source needs.
    fn would_copy_alike_unseen(&self, class: &StorageClass, source: &ObjectState) -> bool {
        source.metadata.website_redirect.is_none()
            && self.options.class_for(&source.storage_class) == self.options.class_for(class)
            && (self.options.object_lock == LockChoice::Bucket || source.lock == Lock::default())
    }

    /// Whether the copy ordered for `known` is the one that `source` needs.
    fn would_copy_alike(&self, known: &ObjectState, source: &ObjectState) -> bool {
        source.etag == known.etag
            && source.metadata == known.metadata
            && self.options.class_for(&source.storage_class)
                == self.options.class_for(&known.storage_class)
            && (self.options.object_lock == LockChoice::Bucket || source.lock == known.lock)
    }
}

impl Course {
    /// What to call the end of an attempt that found both sides in agreement.
    fn outcome(self, bytes: u64) -> Outcome {
        match self.done {
            Done::Copied => Outcome::Replicated { bytes },
            Done::Adjusted => Outcome::Adjusted,
            Done::Nothing => Outcome::InSync,
        }
    }
}

/// Whether the source as it is now must be what the copy read.
fn read_for_certain(source: &ObjectState, landed: &Landed) -> bool {
    if landed.source_version.is_some() && source.version_id.is_some() {
        return landed.source_version == source.version_id;
    }
    // An object in parts bears the time at which its upload was begun, which tells nothing.
    source.etag.parts().is_none() && was_written_before(source.last_modified, landed)
}

/// Whether what was last modified then had been written before the copy that landed began.
fn was_written_before(last_modified: crate::Timestamp, landed: &Landed) -> bool {
    let began_after = landed.began_after;
    began_after.is_some_and(|began_after| last_modified + LAST_MODIFIED_RESOLUTION <= began_after)
}
