//! The ports of one attempt of one worker to the simulated world. Every request is a step of the schedule.

use std::future::poll_fn;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use chrono::TimeDelta;
use tandem_replication::Timestamp;
use tandem_replication::bucket_pair::{
    AdjustOutcome, Adjustment, BucketPair, CopyOrder, CopyOutcome, DeleteOutcome, Landed, Onto,
    Side,
};
use tandem_replication::fault::{Fault, Reason};
use tandem_replication::names::{Etag, ObjectKey, TransferId, UploadId};
use tandem_replication::object::{Attributes, ObjectState, Tags};
use tandem_replication::overwrite::Overwrite;
use tandem_replication::part_layout::{Part, PartLayout};
use tandem_replication::transfer::ports::{
    Answer, Completed, CompletionOrder, CreatedUpload, Filled, Invocation, OpenUpload,
    TransferPorts, TransferQueue, Transfers, UploadedPart, Uploads,
};
use tandem_replication::transfer::{Invalidated, LoggedUpload, Transfer};

use super::world::{
    Answered, Body, Completion, Condition, Etags, Kind, PART_BYTES, Removed, World, Writer, at,
    upload_number,
};
use super::world::{Object, OpenUpload as Simulated};

/// The world as one attempt of one worker sees it.
#[derive(Debug)]
pub struct Ports {
    pub world: Arc<Mutex<World>>,
    pub worker: usize,
}

/// A part that has been uploaded.
#[derive(Debug, Hash)]
pub struct SimulatedPart(u32);

impl UploadedPart for SimulatedPart {
    fn number(&self) -> u32 {
        self.0
    }
}

/// Lets the scheduler choose what happens next.
pub async fn step() {
    let mut stepped = false;
    poll_fn(|_| {
        if stepped {
            return Poll::Ready(());
        }
        stepped = true;
        Poll::Pending
    })
    .await;
}

impl Ports {
    /// One request: it takes effect at one instant, and the worker remembers its answer.
    pub async fn request<T>(
        &self,
        carry_out: impl FnOnce(&mut World) -> T,
        seen: impl FnOnce(&T) -> u64,
    ) -> T {
        step().await;
        let mut world = self.world.lock().unwrap();
        let answer = carry_out(&mut world);
        let digest = seen(&answer);
        world.observe(self.worker, &digest);
        answer
    }

    async fn answered<T: Hash>(&self, carry_out: impl FnOnce(&mut World) -> T) -> T {
        self.request(carry_out, digest).await
    }

    /// Sends one request that does not interact with other actors: none can observe it, and it observes none of them.
    /// It takes effect at once, unless its worker dies first.
    pub async fn alone<T>(
        &self,
        is_alone: bool,
        carry_out: impl FnOnce(&mut World) -> T,
        seen: impl FnOnce(&T) -> u64,
    ) -> T {
        if is_alone {
            self.world.lock().unwrap().alone = Some(self.worker);
        }
        let answer = self.request(carry_out, seen).await;
        let mut world = self.world.lock().unwrap();
        world.alone = world.alone.filter(|worker| *worker != self.worker);
        answer
    }

    /// Whether an upload no longer exists. It never exists again.
    fn is_gone(&self, upload: u32) -> bool {
        !self.world.lock().unwrap().uploads.contains_key(&upload)
    }

    /// Changes the transfer if the table still has it with this id. A removed transfer stays removed.
    async fn change(&self, transfer: &Transfer, change: impl FnOnce(&mut Transfer)) -> bool {
        let is_current = {
            let world = self.world.lock().unwrap();
            let found = world.transfer.as_ref();
            found.is_some_and(|found| found.id == transfer.id)
        };
        let update = |world: &mut World| world.update(transfer, change);
        self.alone(!is_current, update, digest).await
    }

    /// Whether a request about the log affects only this worker.
    fn is_log_unread(&self) -> bool {
        self.world.lock().unwrap().is_log_unread()
    }

    fn removed(&self) -> Removed {
        self.world.lock().unwrap().removed
    }

    fn object(&self, world: &World, side: Side) -> Option<Object> {
        match side {
            Side::Source => {
                let believed = world.believed.get(&self.worker);
                believed.or(world.source.as_ref()).cloned()
            }
            Side::Replica => world.replica.clone(),
        }
    }
}

pub fn digest(value: &impl Hash) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl BucketPair for Ports {
    async fn head(&self, side: Side, _key: &ObjectKey) -> Answer<Option<ObjectState>> {
        // Once the source has had its last write, a HEAD shows the same at any time.
        let is_final = side == Side::Source && self.world.lock().unwrap().is_source_final;
        let look = |world: &mut World| self.object(world, side);
        let object = self.alone(is_final, look, digest).await;
        Ok(object.as_ref().map(World::shown))
    }

    async fn attributes(&self, _side: Side, _key: &ObjectKey) -> Answer<Attributes> {
        Ok(Attributes::default())
    }

    async fn part_layout(
        &self,
        key: &ObjectKey,
        source: &ObjectState,
    ) -> Answer<Option<PartLayout>> {
        self.exact_layout(key, source).await
    }

    async fn copy(
        &self,
        _key: &ObjectKey,
        order: CopyOrder<'_>,
        onto: Onto<'_>,
    ) -> Answer<CopyOutcome> {
        let (pinned, marks) = match order {
            CopyOrder::Pinned { etag, .. } => (etag.clone(), false),
            CopyOrder::Known {
                source,
                record_etag,
                ..
            } => (source.etag.clone(), record_etag),
        };
        let landed = self
            .answered(|world| {
                let Some(source) = world.source.clone() else {
                    return Err(true);
                };
                let holds = match (onto, &world.replica) {
                    (Onto::Anything, _) | (Onto::Nothing, None) => true,
                    (Onto::Nothing, Some(_)) | (Onto::Seen(_), None) => false,
                    (Onto::Seen(etag), Some(replica)) => etag.as_str() == replica.etag,
                };
                if source.etag != pinned.as_str() || !holds {
                    return Err(false);
                }
                let etag = match world.etags {
                    Etags::Digests => source.etag.clone(),
                    Etags::Hidden | Etags::HiddenUnannounced => format!("hidden {}", source.etag),
                };
                let mark = marks.then(|| source.etag.clone());
                world.land(source.content, etag.clone(), mark);
                Ok(etag)
            })
            .await;
        Ok(match landed {
            Ok(etag) => CopyOutcome::Landed(Landed {
                etag: Etag::new(&etag),
                version: None,
                source_version: None,
                began_after: None,
                took: TimeDelta::zero(),
            }),
            Err(true) => CopyOutcome::SourceGone,
            Err(false) => CopyOutcome::Overtaken,
        })
    }

    async fn adjust(
        &self,
        _key: &ObjectKey,
        _seen: &ObjectState,
        _wanted: Adjustment<'_>,
    ) -> Answer<AdjustOutcome> {
        Ok(AdjustOutcome::Adjusted)
    }

    async fn delete_replica(&self, _key: &ObjectKey, seen: &Etag) -> Answer<DeleteOutcome> {
        let deleted = self
            .answered(|world| {
                let is_seen = |replica: &Object| replica.etag == seen.as_str();
                if world
                    .replica
                    .as_ref()
                    .is_some_and(|replica| !is_seen(replica))
                {
                    return false;
                }
                if world.holds_protected() {
                    world.wrong = Some("another writer's object was deleted".to_owned());
                }
                world.replica = None;
                true
            })
            .await;
        Ok(if deleted {
            DeleteOutcome::Deleted
        } else {
            DeleteOutcome::ReplicaChanged
        })
    }

    async fn announce(&self, _key: &ObjectKey, _etag: &Etag) -> Answer<()> {
        Ok(())
    }
}

impl Uploads for Ports {
    type Part = SimulatedPart;

    async fn source_tags(&self, _key: &ObjectKey) -> Answer<Tags> {
        Ok(Tags::new())
    }

    async fn exact_layout(
        &self,
        _key: &ObjectKey,
        source: &ObjectState,
    ) -> Answer<Option<PartLayout>> {
        let in_parts = source.etag.parts().is_some();
        Ok(in_parts.then(|| PartLayout::even(source.bytes, PART_BYTES)))
    }

    async fn log(&self, key: &ObjectKey) -> Answer<LoggedUpload> {
        self.alone(
            self.is_log_unread(),
            |world| {
                let entry = LoggedUpload {
                    id: format!("entry {}", world.new_id(Kind::Entry)),
                    key: key.clone(),
                    upload_id: None,
                    began_at: at(world.now_secs),
                };
                if world.removed != Removed::LogBeforeCreation {
                    world.log.insert(entry.id.clone(), entry.clone());
                }
                Ok(entry)
            },
            |entry: &Answer<LoggedUpload>| digest(&entry.as_ref().ok()),
        )
        .await
    }

    async fn note_id(&self, entry: &LoggedUpload) -> Answer<()> {
        let note = |world: &mut World| {
            world.log.insert(entry.id.clone(), entry.clone());
        };
        self.alone(self.is_log_unread(), note, digest).await;
        Ok(())
    }

    async fn forget(&self, entry: &LoggedUpload) -> Answer<()> {
        let forget = |world: &mut World| {
            world.log.remove(&entry.id);
        };
        self.alone(self.is_log_unread(), forget, digest).await;
        Ok(())
    }

    async fn logged(&self) -> Answer<Vec<LoggedUpload>> {
        let entries = self
            .answered(|world| {
                let mut entries: Vec<LoggedUpload> = world.log.values().cloned().collect();
                if world.removed == Removed::OnlyLoggedUploads {
                    entries.extend(world.uploads.iter().map(|(id, upload)| LoggedUpload {
                        id: format!("unlogged {id}"),
                        key: super::world::key(),
                        upload_id: Some(UploadId::new(id.to_string())),
                        began_at: at(upload.created_secs),
                    }));
                }
                entries
            })
            .await;
        Ok(entries)
    }

    async fn create(
        &self,
        _key: &ObjectKey,
        source: &ObjectState,
        _tags: &Tags,
        record_etag: bool,
    ) -> Answer<CreatedUpload> {
        let create = |world: &mut World| {
            let upload = Simulated {
                is_ours: true,
                created_secs: world.now_secs,
                mark: record_etag.then(|| source.etag.as_str().to_owned()),
                parts: std::collections::BTreeMap::new(),
            };
            let id = world.new_id(Kind::Upload);
            world.uploads.insert(id, upload);
            (id, world.etags == Etags::Hidden)
        };
        let may_be_aborted = self.world.lock().unwrap().may_be_aborted;
        let is_alone = self.is_log_unread() && !may_be_aborted;
        let (id, hides_digest) = self.alone(is_alone, create, digest).await;
        Ok(CreatedUpload {
            id: UploadId::new(id.to_string()),
            makes_digest: !hides_digest,
        })
    }

    async fn copy_parts(
        &self,
        _key: &ObjectKey,
        etag: &Etag,
        upload: &UploadId,
        parts: Vec<Part>,
    ) -> Answer<Filled<SimulatedPart>> {
        let upload = upload_number(upload);
        let copied = self
            .answered(|world| {
                let Some(source) = world.source.clone() else {
                    return Err(Some(true));
                };
                if source.etag != etag.as_str() {
                    return Err(Some(false));
                }
                let removed = world.removed;
                let Some(open) = world.uploads.get_mut(&upload) else {
                    return Err(None);
                };
                // Here a range is one part.
                assert_eq!(parts.len(), 1);
                let number = parts[0].number;
                if removed == Removed::PartsBeforeNote {
                    let unsent = (upload, number, source.content);
                    world.unsent_parts.insert(self.worker, unsent);
                } else {
                    open.parts.insert(number, source.content);
                }
                Ok(())
            })
            .await;
        Ok(match copied {
            Ok(()) => Filled::Whole(
                parts
                    .iter()
                    .map(|part| SimulatedPart(part.number))
                    .collect(),
            ),
            Err(Some(true)) => Filled::SourceChanged(CopyOutcome::SourceGone),
            Err(Some(false)) => Filled::SourceChanged(CopyOutcome::Overtaken),
            Err(None) => Filled::NoUpload,
        })
    }

    async fn uploaded_parts(
        &self,
        _key: &ObjectKey,
        upload: &UploadId,
        first: u32,
        last: u32,
    ) -> Answer<Option<Vec<SimulatedPart>>> {
        let upload = upload_number(upload);
        let listed = |world: &mut World| {
            let open = world.uploads.get(&upload)?;
            let within = open.parts.range(first..=last);
            Some(within.map(|(number, _)| SimulatedPart(*number)).collect())
        };
        Ok(self.alone(self.is_gone(upload), listed, digest).await)
    }

    async fn complete(
        &self,
        _key: &ObjectKey,
        upload: &UploadId,
        order: CompletionOrder<'_, SimulatedPart>,
    ) -> Answer<Completed> {
        let upload = upload_number(upload);
        let makes_other = self.world.lock().unwrap().etags == Etags::Hidden;
        if order.wanted.is_some() && makes_other {
            return Ok(Completed::OtherEtag);
        }
        let condition = match order.onto {
            Onto::Anything => Condition::Anything,
            Onto::Nothing => Condition::Nothing,
            Onto::Seen(etag) => Condition::Seen(etag.as_str().to_owned()),
        };
        let completion = Completion {
            upload,
            parts: order.parts.iter().map(UploadedPart::number).collect(),
            condition,
        };
        self.answered(|world| {
            world.completions.insert(self.worker, completion);
        })
        .await;
        // The schedule decides when the answer arrives.
        let answer = poll_fn(|_| {
            let mut world = self.world.lock().unwrap();
            match world.answers.remove(&self.worker) {
                Some(answer) => Poll::Ready(answer),
                None => Poll::Pending,
            }
        })
        .await;
        let mut world = self.world.lock().unwrap();
        world.observe(self.worker, &answer);
        if let (Answered::Landed(_), Removed::ReadAfterCompletion) = (&answer, world.removed) {
            let content = world.replica.as_ref().map(|replica| replica.content);
            let believed = content.map(|content| world.written(content, Writer::User));
            world
                .believed
                .extend(believed.map(|object| (self.worker, object)));
        }
        match answer {
            Answered::Landed(etag) => Ok(Completed::Landed(Etag::new(&etag))),
            Answered::NoUpload => Ok(Completed::NoUpload),
            Answered::Overtaken => Ok(Completed::Overtaken),
            Answered::NotAnswered => Err(Fault::because(Reason::NotAnswered, "no answer")),
        }
    }

    async fn abort(&self, _key: &ObjectKey, upload: &UploadId) -> Answer<bool> {
        let upload = upload_number(upload);
        let is_left = self.removed() == Removed::AbortBeforeDecision;
        let abort = |world: &mut World| {
            let found = world.uploads.get(&upload).map(|upload| upload.is_ours);
            if found == Some(false) {
                world.wrong = Some("another writer's upload was aborted".to_owned());
            }
            if !is_left || world.is_sweeping(self.worker) {
                world.uploads.remove(&upload);
            }
            found.is_some()
        };
        Ok(self.alone(self.is_gone(upload), abort, digest).await)
    }

    async fn open_uploads(&self, _key: &ObjectKey) -> Answer<Vec<OpenUpload>> {
        let open = self
            .answered(|world| {
                let uploads = world.uploads.iter();
                uploads
                    .map(|(id, upload)| OpenUpload {
                        id: UploadId::new(id.to_string()),
                        created_at: at(upload.created_secs),
                    })
                    .collect()
            })
            .await;
        Ok(open)
    }

    fn left_to_sweep(&self, _entry: &LoggedUpload, _fault: &Fault) {}
}

impl Transfers for Ports {
    async fn transfer(&self, _key: &ObjectKey) -> Answer<Option<Transfer>> {
        let transfer = self.answered(|world| world.transfer.clone()).await;
        Ok(transfer)
    }

    async fn transfers(&self) -> Answer<Vec<Transfer>> {
        let transfer = self.transfer(&super::world::key()).await?;
        Ok(transfer.into_iter().collect())
    }

    async fn store(&self, transfer: &Transfer) -> Answer<bool> {
        let stored = self
            .answered(|world| {
                let is_free = world.transfer.is_none();
                if is_free {
                    world.transfer = Some(transfer.clone());
                }
                is_free
            })
            .await;
        Ok(stored)
    }

    async fn mark_sent(&self, transfer: &Transfer, sent: bool, at: Timestamp) -> Answer<bool> {
        let mark = |found: &mut Transfer| {
            found.sent = sent;
            found.progressed_at = at;
        };
        Ok(self.change(transfer, mark).await)
    }

    async fn invalidate(&self, transfer: &Transfer, why: Invalidated) -> Answer<bool> {
        let is_removed = self.removed() == Removed::InvalidateBeforeSending;
        let mark = |found: &mut Transfer| {
            if !is_removed {
                found.invalidated = found.invalidated.or(Some(why));
            }
        };
        Ok(self.change(transfer, mark).await)
    }

    async fn range_done(
        &self,
        transfer: &Transfer,
        range: u32,
        at: Timestamp,
    ) -> Answer<Option<Transfer>> {
        let noted = self
            .answered(|world| {
                let is_current = world.update(transfer, |found| {
                    found.done.insert(range);
                    found.progressed_at = at;
                });
                world.transfer.clone().filter(|_| is_current)
            })
            .await;
        Ok(noted)
    }

    async fn remove(&self, transfer: &Transfer) -> Answer<bool> {
        let removed = self
            .answered(|world| {
                let is_current = world.update(transfer, |_| {});
                if is_current {
                    world.transfer = None;
                }
                is_current
            })
            .await;
        Ok(removed)
    }
}

impl World {
    fn update(&mut self, transfer: &Transfer, change: impl FnOnce(&mut Transfer)) -> bool {
        let found = self.transfer.as_mut();
        let found = found.filter(|found| found.id == transfer.id);
        found.map(change).is_some()
    }

    fn is_sweeping(&self, worker: usize) -> bool {
        let mut held = self.queue.iter();
        held.any(|message| message.body == Body::Sweep && message.holders.contains(&worker))
    }
}

impl TransferQueue for Ports {
    async fn send_ranges(&self, transfer: &Transfer, ranges: Vec<u32>) -> Answer<()> {
        // A worker may die between two messages.
        for index in ranges {
            let send = |world: &mut World| {
                world.send(Body::Range {
                    transfer: transfer.id.as_str().to_owned(),
                    index,
                    overwrite: transfer.overwrite,
                });
            };
            self.alone(true, send, digest).await;
        }
        Ok(())
    }

    async fn send_object(
        &self,
        _key: &ObjectKey,
        changed_at: Timestamp,
        overwrite: Overwrite,
        // Ignored: it would make every restart a new state.
        _hops: u32,
    ) -> Answer<()> {
        let send = |world: &mut World| {
            world.send(Body::Object {
                changed_at: Some(changed_at),
                overwrite,
            });
        };
        self.alone(true, send, digest).await;
        Ok(())
    }
}

impl Invocation for Ports {
    fn now(&self) -> Timestamp {
        at(self.world.lock().unwrap().now_secs)
    }

    fn new_transfer_id(&self) -> TransferId {
        let id = self.world.lock().unwrap().new_id(Kind::Transfer);
        TransferId::new(format!("transfer {id}"))
    }

    fn has_time_for_parts(&self) -> bool {
        true
    }

    fn has_time_to_sweep(&self) -> bool {
        true
    }
}

impl TransferPorts for Ports {
    type Pair = Self;

    fn pair(&self) -> &Self {
        self
    }
}
