//! One page of a shard: what has to be done according to listings of both sides, and how far both sides are known. All
//! I/O goes through the [`Replicator`].

use crate::bucket_pair::BucketPair;
use crate::diff::{Finding, Listed, Verdict, diff};
use crate::fault::Fault;
use crate::in_flight::InFlight;
use crate::names::ObjectKey;
use crate::progress::JobKind;
use crate::replicator::{Begun, Outcome, Replicator};

/// Some objects of a range as one listing shows them, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListingPage {
    /// The objects.
    pub objects: Vec<Listed>,
    /// Whether these are the last ones of the range.
    pub last: bool,
}

/// What a page does with one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task<'a> {
    /// Both sides are equal.
    Equal(Finding<'a>),
    /// A verification compares the replica with its source.
    Compare(Finding<'a>),
    /// The object is replicated.
    Carry(Carry<'a>),
    /// Only the destination has an object, which a repair may delete.
    Extra(&'a Listed),
    /// Only the destination has an object of a key that was in flight when a worker died.
    Leftover(&'a Listed),
}

/// An object of the source that differs from its replica, or may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carry<'a> {
    /// The object in the source's listing.
    pub source: &'a Listed,
    /// The object with the same key in the destination's listing.
    pub replica: Option<&'a Listed>,
    /// How the two compare.
    pub verdict: Verdict,
    /// Whether a worker that died may have written the replica or its tags.
    pub suspect: bool,
}

/// The next page of a shard, on both sides.
#[derive(Debug, Clone)]
pub struct PagePlan {
    /// The source.
    pub source: ListingPage,
    replica: ListingPage,
    kind: JobKind,
    suspects: Option<InFlight>,
    /// Both sides are known up to and including this key; `None` means to the end of the range.
    pub until: Option<String>,
    /// Whether this is the last page of the shard.
    pub complete: bool,
}

impl PagePlan {
    /// Plans a page of a job of this kind. `suspects` is what workers that died had in flight.
    pub fn new(
        source: ListingPage,
        replica: ListingPage,
        kind: JobKind,
        suspects: Option<InFlight>,
    ) -> Self {
        let last = |page: &ListingPage| page.objects.last().map(|object| object.key.clone());
        let (source_last, replica_last) = (last(&source), last(&replica));
        // A backfill reads the destination no further than the source, unless a leftover may follow later.
        let needed = suspects
            .as_ref()
            .map(|page| &page.last)
            .max(source_last.as_ref());
        let is_enough = kind == JobKind::Backfill && needed <= replica_last.as_ref();
        let replica_ends = replica.last || (source.last && is_enough);
        let until = match (source.last, replica_ends) {
            (true, true) => None,
            (true, false) => replica_last,
            (false, true) => source_last,
            (false, false) => source_last.min(replica_last),
        };
        Self {
            complete: source.last && replica_ends,
            until,
            source,
            replica,
            kind,
            suspects,
        }
    }

    /// Returns what has to be done with every key for which both sides are known, in the order of the keys.
    pub fn tasks(&self) -> Vec<Task<'_>> {
        let findings = self.findings();
        findings.filter_map(|finding| self.task(finding)).collect()
    }

    /// Returns what a recovery has to do: only the keys that were in flight when a worker died.
    pub fn recovery_tasks(&self) -> Vec<Task<'_>> {
        let mut tasks = self.tasks();
        tasks.retain(|task| match task {
            Task::Carry(carry) => carry.suspect,
            Task::Leftover(_) => true,
            Task::Equal(_) | Task::Compare(_) | Task::Extra(_) => false,
        });
        tasks
    }

    /// Returns about how many objects will be copied.
    pub fn copies(&self) -> u64 {
        let is_copy = |task: &Task<'_>| matches!(task, Task::Carry(_));
        self.tasks().iter().filter(|task| is_copy(task)).count() as u64
    }

    fn findings(&self) -> impl Iterator<Item = Finding<'_>> {
        let known = |objects: &[Listed]| {
            let until = self.until.as_ref();
            objects.partition_point(|object| until.is_none_or(|until| object.key <= *until))
        };
        let source = &self.source.objects[..known(&self.source.objects)];
        let replica = &self.replica.objects[..known(&self.replica.objects)];
        diff(source, replica).into_iter()
    }

    fn task<'a>(&'a self, finding: Finding<'a>) -> Option<Task<'a>> {
        let suspects = self.suspects.as_ref();
        let suspect = suspects.is_some_and(|page| page.suspects(finding.key()));
        match (finding, self.kind) {
            (Finding::Extra(replica), _) if suspect => Some(Task::Leftover(replica)),
            (Finding::Extra(_), JobKind::Backfill) => None,
            (Finding::Extra(replica), JobKind::Repair) => Some(Task::Extra(replica)),
            (
                Finding::Source {
                    verdict: Verdict::Same,
                    ..
                },
                _,
            ) if !suspect => Some(Task::Equal(finding)),
            (_, JobKind::Verify) => Some(Task::Compare(finding)),
            (
                Finding::Source {
                    source,
                    replica,
                    verdict,
                },
                _,
            ) => Some(Task::Carry(Carry {
                source,
                replica,
                verdict: if suspect && verdict == Verdict::Same {
                    Verdict::NeedsLook
                } else {
                    verdict
                },
                suspect,
            })),
        }
    }
}

impl<'a> Task<'a> {
    /// Returns the key.
    pub fn key(&self) -> &'a str {
        match self {
            Self::Equal(finding) | Self::Compare(finding) => finding.key(),
            Self::Carry(carry) => &carry.source.key,
            Self::Extra(replica) | Self::Leftover(replica) => &replica.key,
        }
    }

    /// Returns what the listings said.
    pub fn finding(&self) -> Finding<'a> {
        match *self {
            Self::Equal(finding) | Self::Compare(finding) => finding,
            Self::Carry(Carry {
                source,
                replica,
                verdict,
                ..
            }) => Finding::Source {
                source,
                replica,
                verdict,
            },
            Self::Extra(replica) | Self::Leftover(replica) => Finding::Extra(replica),
        }
    }

    /// Returns whether the task takes a request.
    pub fn needs_work(&self) -> bool {
        !matches!(self, Self::Equal(_))
    }

    /// Returns the size of the object that the task may copy.
    pub fn bytes(&self) -> u64 {
        match self.finding() {
            Finding::Source { source, .. } => source.bytes,
            Finding::Extra(_) => 0,
        }
    }
}

/// Returns what these tasks may write at the destination; `None` if they write nothing.
pub fn in_flight(tasks: &[Task<'_>]) -> Option<InFlight> {
    let carried = || {
        tasks.iter().filter_map(|task| match task {
            Task::Carry(carry) => Some(carry.source),
            _ => None,
        })
    };
    let last = carried().next_back()?.key.clone();
    let writes = carried().map(|source| (source.key.as_str(), &source.etag));
    Some(InFlight::new(last, writes))
}

impl Carry<'_> {
    /// Begins to replicate the object. `listing_is_enough` says whether a listing shows everything that a copy needs. A
    /// listing shows neither website redirects nor grants.
    pub async fn begin<P: BucketPair>(
        &self,
        replicator: &Replicator<'_, P>,
        key: &ObjectKey,
        listing_is_enough: bool,
    ) -> Result<Begun, Fault> {
        match self.verdict {
            Verdict::Same => Ok(Begun::Ended(Outcome::InSync)),
            Verdict::NeedsLook => replicator.reconcile(key).await.map(Begun::Ended),
            Verdict::NeedsCopy if listing_is_enough => {
                replicator.copy_listed(key, self.source, self.replica).await
            }
            Verdict::NeedsCopy => {
                let put = replicator.put(key, &self.source.etag, self.source.bytes);
                put.await.map(Begun::Ended)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;
    use crate::names::{Etag, StorageClass};

    fn page(keys: &[&str], last: bool) -> ListingPage {
        let listed = |key: &&str| Listed {
            key: (*key).to_owned(),
            etag: Etag::new("e"),
            bytes: 1,
            last_modified: Timestamp::UNIX_EPOCH,
            storage_class: StorageClass::standard(),
        };
        ListingPage {
            objects: keys.iter().map(listed).collect(),
            last,
        }
    }

    fn keys(plan: &PagePlan) -> Vec<&str> {
        plan.tasks().iter().map(Task::key).collect()
    }

    fn suspects(keys: &[&str]) -> InFlight {
        let etag = Etag::new("e");
        let last = keys.last().copied().unwrap_or_default();
        InFlight::new(last, keys.iter().map(|&key| (key, &etag)))
    }

    #[test]
    fn a_page_goes_as_far_as_both_sides_are_known() {
        for (source, replica, wanted, complete, until) in [
            // Both end.
            (
                page(&["a", "c"], true),
                page(&["b"], true),
                vec!["a", "b", "c"],
                true,
                None,
            ),
            // The source continues.
            (
                page(&["a", "c"], false),
                page(&["b", "d"], true),
                vec!["a", "b", "c"],
                false,
                Some("c"),
            ),
            // The destination continues.
            (
                page(&["a", "c"], true),
                page(&["b"], false),
                vec!["a", "b"],
                false,
                Some("b"),
            ),
            // Both continue.
            (
                page(&["a", "c"], false),
                page(&["a", "b"], false),
                vec!["a", "b"],
                false,
                Some("b"),
            ),
            // The source is empty.
            (
                page(&[], true),
                page(&["a", "b"], false),
                vec!["a", "b"],
                false,
                Some("b"),
            ),
        ] {
            let plan = PagePlan::new(source, replica, JobKind::Repair, None);
            assert_eq!(keys(&plan), wanted);
            assert_eq!((plan.complete, plan.until.as_deref()), (complete, until));
        }
    }

    #[test]
    fn a_backfill_ignores_objects_that_only_the_destination_has() {
        let (source, replica) = (page(&["a"], true), page(&["a", "b", "c"], false));
        let plan = PagePlan::new(source, replica, JobKind::Backfill, None);
        assert_eq!((keys(&plan), plan.complete), (vec!["a"], true));
        let (source, replica) = (page(&[], true), page(&["b"], false));
        let plan = PagePlan::new(source, replica, JobKind::Backfill, None);
        assert_eq!((keys(&plan), plan.complete), (vec![], true));
    }

    // Promise: A successor verifies every key that the dead worker may have written, although both sides look
    // equal in the listings.
    #[test]
    fn a_backfill_lists_the_destination_up_to_the_last_key_that_a_dead_worker_may_have_written() {
        let source = || page(&["a"], true);
        let dead = || Some(suspects(&["a", "b", "d"]));
        let plan = PagePlan::new(
            source(),
            page(&["a", "b", "c"], false),
            JobKind::Backfill,
            dead(),
        );
        assert_eq!(keys(&plan), ["a", "b"], "c is another writer's");
        assert_eq!((plan.complete, plan.until.as_deref()), (false, Some("c")));
        let plan = PagePlan::new(
            source(),
            page(&["a", "d", "e"], false),
            JobKind::Backfill,
            dead(),
        );
        assert_eq!((keys(&plan), plan.complete), (vec!["a", "d"], true));
        let leftovers: Vec<Task<'_>> = plan.recovery_tasks();
        assert!(matches!(leftovers[1], Task::Leftover(_)), "{leftovers:?}");
    }

    // Promise: A successor verifies every key that the dead worker may have written, although both sides look
    // equal in the listings.
    #[test]
    fn a_suspect_key_is_replicated_although_it_looks_equal() {
        let plan = PagePlan::new(
            page(&["a", "b"], true),
            page(&["a", "b"], true),
            JobKind::Backfill,
            Some(suspects(&["b"])),
        );
        let tasks = plan.tasks();
        assert!(matches!(tasks[0], Task::Equal(_)));
        assert!(matches!(
            tasks[1],
            Task::Carry(Carry {
                verdict: Verdict::NeedsLook,
                suspect: true,
                ..
            })
        ));
        assert_eq!(plan.recovery_tasks().len(), 1);
        let written = in_flight(&tasks).unwrap();
        assert!(written.suspects("b") && !written.suspects("a"));
        assert_eq!(written.last, "b");
    }

    /// The rate limit counts the tasks that need work. The split of a shard counts the copies.
    #[test]
    fn an_equal_key_needs_no_work_and_only_what_differs_is_copied() {
        let mut source = page(&["a", "b", "c"], true);
        source.objects[1].etag = Etag::new("other");
        let replica = page(&["a", "b", "d"], true);
        let plan = PagePlan::new(source, replica, JobKind::Repair, None);
        let tasks = plan.tasks();
        let work: Vec<&str> = tasks
            .iter()
            .filter(|task| task.needs_work())
            .map(Task::key)
            .collect();
        assert_eq!(work, ["b", "c", "d"], "{tasks:?}");
        assert_eq!(plan.copies(), 2, "b and c");
        let equal = PagePlan::new(
            page(&["a"], true),
            page(&["a"], true),
            JobKind::Repair,
            None,
        );
        assert_eq!(equal.copies(), 0);
    }
}
