//! The pages of a shard over the simulated buckets.

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::TimeDelta;
use futures::future::poll_fn;
use std::task::Poll;
use tandem_replication::Timestamp;
use tandem_replication::bucket_pair::{
    AdjustOutcome, Adjustment, BucketPair, CopyOrder, CopyOutcome, DeleteOutcome, Landed, Onto,
    Side,
};
use tandem_replication::decide::KeepReason;
use tandem_replication::diff::Listed;
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::in_flight::OwnWrites;
use tandem_replication::names::{Etag, ObjectKey, StorageClass};
use tandem_replication::object::{Attributes, Lock, Metadata, ObjectState};
use tandem_replication::options::Options;
use tandem_replication::page_plan::{ListingPage, PagePlan, Task, in_flight};
use tandem_replication::part_layout::PartLayout;
use tandem_replication::part_plan::CopyLimits;
use tandem_replication::progress::{Counts, JobKind};
use tandem_replication::replicator::{Begun, Depth, Outcome, Replicator};
use tandem_replication::rule::Policy;
use tandem_replication::shard::{Hint, ShardRange};
use tandem_replication::shard_session::{PageWork, Paged, Recovered, Session, SessionError};
use tandem_replication::shard_state::Step;

use super::world::{Copying, Failed, Key, Object, Ports, Weakness, World, step};

/// All keys that may exist.
pub const KEYS: [Key; 3] = ["a", "b", "c"];

/// The pages of one worker.
#[derive(Debug)]
pub struct Pages {
    pub ports: Ports,
    /// How many pages the worker has time for.
    pub count_max: u32,
    /// How many keys a listing shows.
    pub page_keys: usize,
    /// How many tasks of a page the worker has time for.
    pub tasks_max: usize,
    pub begun: std::sync::atomic::AtomicU32,
    pub unanswered: AtomicBool,
    /// Whether a failing request would fail again at every redelivery.
    pub fails_for_good: bool,
}

struct Pair<'a> {
    ports: &'a Ports,
    session: &'a Session<'a, Ports>,
}

fn key_of(key: &ObjectKey) -> Key {
    KEYS.into_iter()
        .find(|known| *known == key.as_str())
        .unwrap()
}

fn at(secs: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + TimeDelta::seconds(secs)
}

fn shown(object: &Object) -> ObjectState {
    let metadata = ("m".to_owned(), object.metadata.into());
    ObjectState {
        etag: Etag::new(object.etag),
        bytes: 1,
        last_modified: at(object.written_secs),
        etag_is_digest: true,
        version_id: None,
        metadata: Metadata {
            user: [metadata].into(),
            ..Metadata::default()
        },
        storage_class: StorageClass::standard(),
        checksum: None,
        lock: Lock::default(),
        tag_count: 0,
    }
}

fn listed(key: Key, object: &Object) -> Listed {
    Listed {
        key: key.to_owned(),
        etag: Etag::new(object.etag),
        bytes: 1,
        last_modified: at(object.written_secs),
        storage_class: StorageClass::standard(),
    }
}

impl Pages {
    /// The first objects of one side in the range.
    async fn list(&self, side: Side, range: &ShardRange) -> Result<ListingPage, Failed> {
        step().await;
        let mut world = self.ports.world.lock().unwrap();
        if world.failures > 0 {
            world.failures -= 1;
            world.observe(self.ports.worker, "failed");
            return Err(Failed);
        }
        let objects = world.side(side).iter();
        let inside: Vec<Listed> = objects
            .filter(|(key, _)| range.contains(key))
            .map(|(key, object)| listed(key, object))
            .collect();
        let digest: Vec<(String, String)> = inside
            .iter()
            .map(|object| (object.key.clone(), object.etag.as_str().to_owned()))
            .collect();
        world.observe(self.ports.worker, digest);
        Ok(ListingPage {
            last: inside.len() <= self.page_keys,
            objects: inside.into_iter().take(self.page_keys).collect(),
        })
    }

    /// Carries out the tasks one after the other, and settles what landed by one more listing.
    async fn work_off(
        &self,
        session: &Session<'_, Ports>,
        tasks: Vec<Task<'_>>,
    ) -> Result<Counts, SessionError<Failed>> {
        let suspects = session.shard().await.in_flight;
        let weakness = self.ports.world.lock().unwrap().weakness;
        if let Some(page) = in_flight(&tasks)
            && weakness != Weakness::PageNotRecorded
        {
            session.record(page).await?;
        }
        let options = Options::default();
        let pair = Pair {
            ports: &self.ports,
            session,
        };
        let mut counts = Counts::default();
        for task in tasks {
            let key = ObjectKey::parse(task.key()).unwrap();
            let own = suspects.as_ref().map(|page| page.own_writes(key.as_str()));
            let suspect = own.as_ref().is_some_and(|own| !own.is_empty());
            let replicator = |own: Option<OwnWrites>| {
                let limits = CopyLimits::default();
                let replicator =
                    Replicator::new(&pair, Policy::Full, &options, limits).comparing(if suspect {
                        Depth::Attributes
                    } else {
                        Depth::Head
                    });
                match weakness {
                    Weakness::EveryLeftoverIsOwn => replicator,
                    _ => replicator.in_job(own.unwrap_or_default()),
                }
            };
            let ended = match task {
                Task::Equal(_) | Task::Compare(_) => Ok(Outcome::InSync),
                Task::Extra(_) => continue,
                Task::Leftover(_) => {
                    let ended = replicator(own).reconcile(&key).await;
                    Self::conclude(&ended)?;
                    continue;
                }
                Task::Carry(carry) => match carry.begin(&replicator(own.clone()), &key, true).await
                {
                    Ok(Begun::Ended(outcome)) => Ok(outcome),
                    Err(fault) => Err(fault),
                    Ok(Begun::Landed(landing)) => {
                        let range = ShardRange {
                            prefix: String::new(),
                            after: None,
                            until: Some(key.as_str().to_owned()),
                        };
                        let again = self.list_one(&range, &key).await?;
                        replicator(own).settle(&key, &landing, again.as_ref()).await
                    }
                },
            };
            counts.add(&Self::conclude(&ended)?);
        }
        Ok(counts)
    }

    async fn list_one(
        &self,
        range: &ShardRange,
        key: &ObjectKey,
    ) -> Result<Option<Listed>, Failed> {
        let range = ShardRange {
            after: KEYS
                .into_iter()
                .rev()
                .find(|before| *before < key.as_str())
                .map(str::to_owned),
            ..range.clone()
        };
        let page = self.list(Side::Source, &range).await?;
        Ok(page.objects.into_iter().next())
    }

    fn conclude(ended: &Result<Outcome, Fault>) -> Result<Counts, Failed> {
        let listed = Counts {
            listed: 1,
            ..Counts::default()
        };
        Ok(match ended {
            Ok(Outcome::InSync) => Counts { equal: 1, ..listed },
            Ok(Outcome::Replicated { .. } | Outcome::Adjusted) => Counts {
                copied: 1,
                ..listed
            },
            Ok(Outcome::Kept(KeepReason::OtherWriter) | Outcome::Deleted | Outcome::BothAbsent) => {
                Counts { gone: 1, ..listed }
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => return Err(Failed),
        })
    }
}

impl Pages {
    fn failure(&self, error: SessionError<Failed>) -> SessionError<Failed> {
        match error {
            SessionError::Failed(failed) if self.fails_for_good => SessionError::Final(failed),
            error => error,
        }
    }

    async fn one_page(&self, session: &Session<'_, Ports>) -> Result<Paged, SessionError<Failed>> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let shard = session.shard().await;
        let rest = shard.rest();
        let source = self.list(Side::Source, &rest).await?;
        let replica = self.list(Side::Replica, &rest).await?;
        let forgets = {
            let world = self.ports.world.lock().unwrap();
            world.weakness == Weakness::StepForgetsSuspects
                && self.begun.load(Ordering::Relaxed) > 1
        };
        let suspects = shard.in_flight.clone().filter(|_| !forgets);
        let plan = PagePlan::new(source, replica, JobKind::Backfill, suspects);
        let splits = {
            let mut world = self.ports.world.lock().unwrap();
            let splits = world.splits > 0 && !plan.source.last;
            world.splits -= u32::from(splits);
            splits
        };
        if splits {
            session.split("b", Hint::default(), 0).await?;
        }
        let mut tasks = plan.tasks();
        let whole = tasks.len() <= self.tasks_max;
        tasks.truncate(self.tasks_max);
        let reached = tasks.last().map(|task| task.key().to_owned());
        let counts = self.work_off(session, tasks).await?;
        Ok(Paged::Done(Step {
            checkpoint: if whole { plan.until.clone() } else { reached },
            counts,
            ended_at: (whole && plan.complete).then(|| at(1)),
            ..Step::default()
        }))
    }

    async fn recovery(
        &self,
        session: &Session<'_, Ports>,
    ) -> Result<Recovered, SessionError<Failed>> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let shard = session.shard().await;
        let mut range = shard.rest();
        let last = shard.in_flight.as_ref().map(|page| page.last.clone());
        range.until = match (range.until, last) {
            (Some(until), Some(last)) => Some(until.min(last)),
            (until, last) => until.or(last),
        };
        loop {
            let source = self.list(Side::Source, &range).await?;
            let replica = self.list(Side::Replica, &range).await?;
            let plan = PagePlan::new(source, replica, JobKind::Backfill, shard.in_flight.clone());
            self.work_off(session, plan.recovery_tasks()).await?;
            if plan.complete {
                return Ok(Recovered::All);
            }
            range.after.clone_from(&plan.until);
        }
    }
}

impl PageWork<Ports> for Pages {
    async fn page(&self, session: &Session<'_, Ports>) -> Result<Paged, SessionError<Failed>> {
        let page = self.one_page(session).await;
        page.map_err(|error| self.failure(error))
    }

    async fn recover(
        &self,
        session: &Session<'_, Ports>,
    ) -> Result<Recovered, SessionError<Failed>> {
        let recovered = self.recovery(session).await;
        recovered.map_err(|error| self.failure(error))
    }

    fn has_time(&self) -> bool {
        self.begun.load(Ordering::Relaxed) < self.count_max
    }

    fn all_answered(&self) -> bool {
        !self.unanswered.load(Ordering::Relaxed)
    }
}

impl Pair<'_> {
    async fn request<T>(&self, answer: impl FnOnce(&mut World) -> T) -> T {
        step().await;
        answer(&mut self.ports.world.lock().unwrap())
    }
}

impl BucketPair for Pair<'_> {
    async fn head(&self, side: Side, key: &ObjectKey) -> Result<Option<ObjectState>, Fault> {
        let worker = self.ports.worker;
        self.request(|world| {
            let object = world.side(side).get(key_of(key)).copied();
            world.observe(worker, object);
            Ok(object.as_ref().map(shown))
        })
        .await
    }

    async fn attributes(&self, _side: Side, _key: &ObjectKey) -> Result<Attributes, Fault> {
        Ok(Attributes::default())
    }

    async fn part_layout(
        &self,
        _key: &ObjectKey,
        _source: &ObjectState,
    ) -> Result<Option<PartLayout>, Fault> {
        Ok(None)
    }

    async fn announce(&self, key: &ObjectKey, etag: &Etag) -> Result<(), Fault> {
        if self.ports.world.lock().unwrap().weakness == Weakness::PageNotRecorded {
            return Ok(());
        }
        let announced = self.session.announce(key, etag).await;
        announced.map_err(|error| Fault::because(Reason::ServiceFailed, error.to_string()))
    }

    async fn copy(
        &self,
        key: &ObjectKey,
        order: CopyOrder<'_>,
        _onto: Onto<'_>,
    ) -> Result<CopyOutcome, Fault> {
        let pinned = match order {
            CopyOrder::Pinned { etag, .. } => etag.clone(),
            CopyOrder::Known { source, .. } => source.etag.clone(),
        };
        let (worker, key) = (self.ports.worker, key_of(key));
        let begun = self
            .request(|world| {
                let object = world.source.get(key).copied();
                world.observe(worker, ("copy", object));
                match object {
                    None => Err(CopyOutcome::SourceGone),
                    Some(object) if object.etag != pinned.as_str() => Err(CopyOutcome::Overtaken),
                    Some(object) => {
                        let id = world.next_copy;
                        world.next_copy += 1;
                        let copying = Copying {
                            worker,
                            key,
                            object,
                        };
                        world.copying.insert(id, copying);
                        Ok((id, object, world.now()))
                    }
                }
            })
            .await;
        let (id, object, began_at) = match begun {
            Ok(begun) => begun,
            Err(refused) => return Ok(refused),
        };
        poll_fn(|_| {
            if self.ports.world.lock().unwrap().copying.contains_key(&id) {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
        Ok(CopyOutcome::Landed(Landed {
            etag: Etag::new(object.etag),
            version: None,
            source_version: None,
            began_after: Some(began_at),
            took: TimeDelta::zero(),
        }))
    }

    async fn adjust(
        &self,
        _key: &ObjectKey,
        _seen: &ObjectState,
        _wanted: Adjustment<'_>,
    ) -> Result<AdjustOutcome, Fault> {
        Ok(AdjustOutcome::Adjusted)
    }

    async fn delete_replica(&self, key: &ObjectKey, seen: &Etag) -> Result<DeleteOutcome, Fault> {
        let (worker, key) = (self.ports.worker, key_of(key));
        self.request(|world| {
            let found = world.replica.get(key).map(|replica| replica.etag);
            world.observe(worker, ("delete", found));
            if found.is_some_and(|etag| etag != seen.as_str()) {
                return Ok(DeleteOutcome::ReplicaChanged);
            }
            world.replica.remove(key);
            Ok(DeleteOutcome::Deleted)
        })
        .await
    }
}
