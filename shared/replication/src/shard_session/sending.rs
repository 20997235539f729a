//! Sends messages to the shards that need one. The epoch is raised first.

use super::ports::{Gate, SessionError, ShardDelivery, ShardPorts};
use super::{Need, need};
use crate::Timestamp;
use crate::shard_state::{Guard, Shard};

/// A shard under way that has made no progress for longer than this has lost its message.
pub const STALLED_AFTER: chrono::TimeDelta = chrono::TimeDelta::hours(1);

/// Sends the messages of shards whose epoch was raised at an earlier delivery of the same message: the worker of that
/// delivery may have died before it sent them.
pub(super) async fn send_what_a_predecessor_did_not<P: ShardPorts>(
    ports: &P,
    delivery: &ShardDelivery,
) -> Result<(), SessionError<P::Error>> {
    for shard in ports.shards().await? {
        let is_ours = shard.sent_by.as_deref() == Some(delivery.sender());
        let is_over = shard.has_ended() && shard.in_flight.is_none();
        // The shard's own message is this one, unless its epoch was raised since.
        let is_this = shard.index == delivery.index && Some(shard.epoch) == delivery.epoch;
        if is_ours && !is_over && !is_this {
            ports.send(shard.index, shard.epoch, 0).await?;
        }
    }
    Ok(())
}

/// Sends messages to shards that have had none, up to the job's concurrency.
pub async fn release_waiting<P: ShardPorts>(
    ports: &P,
    sender: &str,
) -> Result<(), SessionError<P::Error>> {
    let shards = ports.shards().await?;
    let under_way = shards.iter().filter(|shard| shard.is_under_way()).count();
    let capacity = ports.concurrency().saturating_sub(under_way);
    let waiting = shards
        .iter()
        .filter(|shard| !shard.sent && !shard.has_ended());
    for shard in waiting.take(capacity) {
        raise(ports, shard, Guard::Unsent(shard.epoch), sender).await?;
    }
    Ok(())
}

/// Which shards [`wake`] sends a message for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Those whose worker died or whose message is lost: for the hourly maintenance.
    Stalled,
    /// All that have had a message and have not ended, and those with pages in flight: for a resume, because messages
    /// were acknowledged during the pause.
    All,
}

/// Sends messages for shards that need one. Returns how many. A sender that repeats the call raises no epoch twice.
pub async fn wake<P: ShardPorts>(
    ports: &P,
    sender: &str,
    which: Wake,
) -> Result<usize, SessionError<P::Error>> {
    let gate = ports.gate().await?;
    if matches!(gate, Gate::Gone | Gate::Shut) {
        return Ok(0);
    }
    let now = ports.now();
    let mut woken = 0;
    for shard in ports.shards().await? {
        if !needs_message(&shard, gate, which, now) {
            continue;
        }
        if shard.sent_by.as_deref() == Some(sender) {
            // An earlier attempt may have ended before it sent the message.
            ports.send(shard.index, shard.epoch, 0).await?;
        } else {
            raise(ports, &shard, Guard::Epoch(shard.epoch), sender).await?;
        }
        woken += 1;
    }
    if gate == Gate::Open {
        release_waiting(ports, sender).await?;
    }
    Ok(woken)
}

fn needs_message(shard: &Shard, gate: Gate, which: Wake, now: Timestamp) -> bool {
    let is_work =
        need(gate, shard) == Need::Recovery || (need(gate, shard) == Need::Pages && shard.sent);
    let has_stalled = shard
        .progressed_at
        .is_none_or(|moved_at| now - moved_at > STALLED_AFTER);
    match which {
        Wake::All => is_work,
        Wake::Stalled => match &shard.lease {
            Some(_) if shard.is_leased(now) => false,
            // The lease of a worker that died.
            Some(_) => is_work,
            None => is_work && (shard.has_ended() || gate != Gate::Open || has_stalled),
        },
    }
}

/// Raises the epoch of a shard and sends its message, unless another sender does.
async fn raise<P: ShardPorts>(
    ports: &P,
    shard: &Shard,
    guard: Guard<'_>,
    sender: &str,
) -> Result<(), SessionError<P::Error>> {
    let next = shard.raised(sender, ports.now());
    if !ports.update(guard, shard, &next).await? {
        // The write may have been carried out and repeated.
        let found = ports.shard(shard.index).await?;
        let is_ours = found.is_some_and(|found| {
            found.epoch == next.epoch && found.sent_by.as_deref() == Some(sender)
        });
        if !is_ours {
            return Ok(());
        }
    }
    Ok(ports.send(shard.index, next.epoch, 0).await?)
}
