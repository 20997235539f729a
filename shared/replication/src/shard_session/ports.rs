//! The ports of a shard's session, and its input and results.

use std::future::Future;

use super::Session;
use crate::Timestamp;
use crate::shard_state::{Guard, Shard, Step};

/// Whether the rule and the job let a shard continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gate {
    /// The rule is enabled, and the job is running.
    Open,
    /// The rule is enabled, but the job is paused, cancelled or not planned: only recoveries continue.
    Recoveries,
    /// The rule is not enabled: nothing continues. A resume wakes the shard.
    Shut,
    /// There is no such rule or job.
    Gone,
}

/// The items of a job's shards, and the queue of their messages.
pub trait ShardPorts: Sync {
    /// Why a request failed.
    type Error: std::fmt::Display + Send;

    /// Returns whether the shards of the job may continue. Strongly consistent.
    fn gate(&self) -> impl Future<Output = Result<Gate, Self::Error>> + Send;

    /// Returns a shard. Strongly consistent.
    fn shard(&self, index: u32) -> impl Future<Output = Result<Option<Shard>, Self::Error>> + Send;

    /// Returns all shards of the job; each before those that were split off from it. Strongly consistent.
    fn shards(&self) -> impl Future<Output = Result<Vec<Shard>, Self::Error>> + Send;

    /// Writes what differs between `seen` and `next` into the shard's item, if `guard` allows it. Returns whether it
    /// did. Other attributes stay as they are. A repetition of a write that was carried out may return `false`.
    fn update(
        &self,
        guard: Guard<'_>,
        seen: &Shard,
        next: &Shard,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Returns an index that no shard of the job has; `None` if the job is gone.
    fn new_index(&self) -> impl Future<Output = Result<Option<u32>, Self::Error>> + Send;

    /// Updates a shard as [`Self::update`] does and stores its child: both or neither.
    fn split(
        &self,
        guard: Guard<'_>,
        seen: &Shard,
        kept: &Shard,
        child: &Shard,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Sends a shard's message of this epoch, which is received no sooner than after `delay_secs`.
    fn send(
        &self,
        index: u32,
        epoch: u64,
        delay_secs: i32,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Returns how many shards of the job are processed at once.
    fn concurrency(&self) -> usize;

    /// Returns the present time.
    fn now(&self) -> Timestamp;
}

/// The work on the pages of a shard.
pub trait PageWork<P: ShardPorts>: Sync {
    /// Processes one page of the session's shard, or as much of it as time allows.
    fn page(
        &self,
        session: &Session<'_, P>,
    ) -> impl Future<Output = Result<Paged, SessionError<P::Error>>>;

    /// Verifies what is in flight of the session's shard, and nothing else.
    fn recover(
        &self,
        session: &Session<'_, P>,
    ) -> impl Future<Output = Result<Recovered, SessionError<P::Error>>>;

    /// Returns whether there is time for another page.
    fn has_time(&self) -> bool;

    /// Returns whether every write that was sent has been answered, so that nothing of this session can be in flight.
    fn all_answered(&self) -> bool;
}

/// The result of a page.
#[derive(Debug, Clone, PartialEq)]
pub enum Paged {
    /// This step is done.
    Done(Step),
    /// The rate limit lets nothing begin before this many seconds have passed.
    Limited(i32),
}

/// The result of a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// Everything that was in flight is verified.
    All,
    /// Time ran out.
    Part,
}

/// A message of a shard, as one worker received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardDelivery {
    /// The shard's index.
    pub index: u32,
    /// The message's epoch; `None` if the worker was invoked by hand, or by an older version.
    pub epoch: Option<u64>,
    /// The message's id; `None` if the worker was invoked by hand.
    pub message: Option<String>,
    /// The invocation.
    pub invocation: String,
    /// Whether the message was received before.
    pub is_redelivery: bool,
    /// Whether this is the message's last delivery.
    pub is_last: bool,
    /// When nothing of this invocation can be in flight any more, even for a reader whose clock is ahead.
    pub lease_until: Timestamp,
}

impl ShardDelivery {
    /// Returns the id by which a successor recognises what this worker was about to send.
    pub(super) fn sender(&self) -> &str {
        self.message.as_deref().unwrap_or(&self.invocation)
    }
}

/// What to do with the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Delete it.
    Acknowledge,
    /// Delete it, and raise the alarm: messages followed one another without progress, and the shard was marked as
    /// failed.
    Stopped(String),
    /// Let it be redelivered when the lease of an earlier delivery has expired.
    RedeliverAt(Timestamp),
}

/// Why a session stopped.
#[derive(Debug, thiserror::Error)]
pub enum SessionError<E> {
    /// The lease is gone: it expired, or the item was replaced.
    #[error("lost the lease of shard {0}: another worker has taken the shard over")]
    Lost(u32),
    /// A request failed. A redelivery may succeed.
    #[error(transparent)]
    Failed(#[from] E),
    /// A permanent error, which no redelivery can fix, such as a list of keys that cannot be read.
    #[error("{0}")]
    Final(E),
}
