//! How only one worker at a time processes a shard: epoch, lease and in-flight pages. All I/O goes through
//! [`ShardPorts`] and [`PageWork`].
//!
//! - **Epoch.** Before a sender sends a shard's message, it raises the epoch of the shard's item. A message of an older
//!   epoch is acknowledged at once, so that only one of two messages of a shard counts. If the sender dies between the
//!   two steps, its own message is redelivered. Its successor finds the message's id in `sent_by` and sends.
//! - **Lease.** A worker takes the shard's lease before it processes the shard. Every write of the shard depends on the
//!   lease. It lasts until nothing of its holder can be in flight, and is never renewed.
//! - **In-flight pages.** Before the first write of a page, the worker stores what the page may write. Its successor
//!   verifies these keys in full, and deletes a leftover only if Tandem wrote it.
//! - **Follow-up.** [`wake`] sends a message for every shard that needs one. The hourly maintenance calls it for shards
//!   whose worker died or whose message is lost, a resume for all that wait.

mod ports;
mod sending;

use futures::lock::Mutex;

pub use ports::{Ended, Gate, PageWork, Paged, Recovered, SessionError, ShardDelivery, ShardPorts};
pub use sending::{STALLED_AFTER, Wake, release_waiting, wake};

use crate::in_flight::InFlight;
use crate::names::{Etag, ObjectKey};
use crate::shard::Hint;
use crate::shard_state::{Guard, Lease, Shard};
use crate::work::HOPS_MAX;
use sending::send_what_a_predecessor_did_not;

/// How many messages a recovery may use up before the shard is marked as failed.
pub const RECOVERIES_MAX: u32 = 3;

/// How often a worker reads the shard's item again if another writer has changed it.
const ATTEMPTS: usize = 10;

/// One worker's work on one shard, under its lease.
#[derive(Debug)]
pub struct Session<'a, P> {
    ports: &'a P,
    delivery: &'a ShardDelivery,
    /// The shard as it was last read or written.
    current: Mutex<Shard>,
}

/// What a shard needs from the worker that has its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Pages,
    Recovery,
    Nothing,
}

fn need(gate: Gate, shard: &Shard) -> Need {
    match gate {
        Gate::Open if !shard.has_ended() => Need::Pages,
        Gate::Open | Gate::Recoveries if shard.in_flight.is_some() => Need::Recovery,
        Gate::Open | Gate::Recoveries | Gate::Shut | Gate::Gone => Need::Nothing,
    }
}

/// What the next message of a shard has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    None,
    /// The rate limit: nothing may begin until this many seconds have passed.
    RateLimit(i32),
}

/// The result of an attempt to give the lease back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Release {
    Done,
    /// A sender has raised the epoch in the meantime. Its message may have been acknowledged because of this lease, so
    /// the holder continues.
    Raised,
}

/// Processes the shard of `delivery` until it is done, or the rest is handed on.
pub async fn work<P: ShardPorts, W: PageWork<P>>(
    ports: &P,
    pages: &W,
    delivery: &ShardDelivery,
) -> Result<Ended, SessionError<P::Error>> {
    if delivery.is_redelivery {
        send_what_a_predecessor_did_not(ports, delivery).await?;
    }
    match Session::open(ports, delivery).await? {
        Ok(session) => session.run(pages).await,
        Err(ended) => Ok(ended),
    }
}

impl<'a, P: ShardPorts> Session<'a, P> {
    /// Takes the lease of a shard that needs work. Otherwise returns what to do with the message.
    async fn open(
        ports: &'a P,
        delivery: &'a ShardDelivery,
    ) -> Result<Result<Self, Ended>, SessionError<P::Error>> {
        for _ in 0..ATTEMPTS {
            let Some(shard) = ports.shard(delivery.index).await? else {
                return Ok(Err(Ended::Acknowledge));
            };
            if delivery.epoch.is_some_and(|epoch| epoch < shard.epoch) {
                return Ok(Err(Ended::Acknowledge));
            }
            // The gate is read after the shard: a resume in between raises the epoch, so that the lease is not taken.
            let gate = ports.gate().await?;
            if need(gate, &shard) == Need::Nothing {
                // The worker that ended the shard may have died before it released the next one.
                if shard.has_ended() && gate == Gate::Open {
                    release_waiting(ports, delivery.sender()).await?;
                }
                return Ok(Err(Ended::Acknowledge));
            }
            let now = ports.now();
            if let Some(lease) = shard.lease.as_ref().filter(|_| shard.is_leased(now))
                && lease.holder != delivery.invocation
            {
                // The worker of an earlier delivery of this message may have died.
                let is_ours = delivery.message.is_some() && lease.message == delivery.message;
                // At the last delivery the maintenance follows up instead, so that the message is not a dead letter.
                return Ok(Err(if is_ours && !delivery.is_last {
                    Ended::RedeliverAt(lease.until)
                } else {
                    Ended::Acknowledge
                }));
            }
            let guard = Guard::Free {
                holder: &delivery.invocation,
                epoch: shard.epoch,
                at: now,
            };
            let leased = shard.leased(Lease {
                holder: delivery.invocation.clone(),
                message: delivery.message.clone(),
                until: delivery.lease_until,
            });
            if ports.update(guard, &shard, &leased).await? {
                // Another worker may have had the lease since the shard was read.
                let Some(shard) = ports.shard(delivery.index).await? else {
                    return Ok(Err(Ended::Acknowledge));
                };
                return Ok(Ok(Self {
                    ports,
                    delivery,
                    current: Mutex::new(shard),
                }));
            }
        }
        Err(SessionError::Lost(delivery.index))
    }

    async fn run<W: PageWork<P>>(&self, pages: &W) -> Result<Ended, SessionError<P::Error>> {
        let mut is_first = true;
        loop {
            let shard = self.shard().await;
            let gate = self.ports.gate().await?;
            let need = need(gate, &shard);
            if need == Need::Nothing {
                if self.release().await? == Release::Raised {
                    continue;
                }
                if shard.has_ended() && gate == Gate::Open {
                    release_waiting(self.ports, self.delivery.sender()).await?;
                }
                return Ok(Ended::Acknowledge);
            }
            if shard.hops > HOPS_MAX {
                let error = format!(
                    "stopped: workers handed it on {HOPS_MAX} times and its checkpoint did not move"
                );
                self.give_up(pages, need, RECOVERIES_MAX, error.clone())
                    .await?;
                return Ok(Ended::Stopped(error));
            }
            if !is_first && !pages.has_time() {
                if self.hand_on(Wait::None).await? {
                    return Ok(Ended::Acknowledge);
                }
                continue;
            }
            is_first = false;
            let done = match need {
                Need::Pages => self.page(pages).await,
                Need::Recovery | Need::Nothing => self.recover(pages).await,
            };
            match done {
                Ok(true) => return Ok(Ended::Acknowledge),
                Ok(false) => {}
                Err(SessionError::Final(error)) => {
                    self.give_up(pages, need, RECOVERIES_MAX, error.to_string())
                        .await?;
                    return Ok(Ended::Acknowledge);
                }
                Err(SessionError::Failed(error)) if self.delivery.is_last => {
                    self.give_up(pages, need, 1, error.to_string()).await?;
                    return Ok(Ended::Acknowledge);
                }
                Err(error) => {
                    if pages.all_answered() {
                        self.write(Guard::HeldBy(&self.delivery.invocation), Shard::released)
                            .await?;
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Processes a page. Returns whether the session is over.
    async fn page<W: PageWork<P>>(&self, pages: &W) -> Result<bool, SessionError<P::Error>> {
        let inherited = self.shard().await.in_flight;
        match pages.page(self).await? {
            Paged::Limited(secs) => self.hand_on(Wait::RateLimit(secs)).await,
            Paged::Done(step) => {
                let at = self.ports.now();
                self.must_write(|shard| shard.after(&step, inherited.clone(), at))
                    .await?;
                Ok(false)
            }
        }
    }

    /// Recovers what is in flight. Returns whether the session is over.
    async fn recover<W: PageWork<P>>(&self, pages: &W) -> Result<bool, SessionError<P::Error>> {
        match pages.recover(self).await? {
            Recovered::Part => self.hand_on(Wait::None).await,
            Recovered::All => {
                self.must_write(|shard| Shard {
                    in_flight: None,
                    ..shard.clone()
                })
                .await?;
                Ok(false)
            }
        }
    }

    /// Marks a shard as failed, after its message's last delivery or a permanent error, so that the job can still end.
    /// What is in flight stays, so that the maintenance sends another message for its recovery. The number of
    /// recoveries is limited: a failed recovery counts as `recoveries`.
    async fn give_up<W: PageWork<P>>(
        &self,
        pages: &W,
        need: Need,
        recoveries: u32,
        error: String,
    ) -> Result<(), SessionError<P::Error>> {
        let at = self.ports.now();
        let answered = pages.all_answered();
        self.must_write(|shard| {
            let mut next = shard.clone();
            if need == Need::Pages {
                next = next.given_up(error.clone(), at);
            } else {
                next.recoveries_failed += recoveries;
                if next.recoveries_failed >= RECOVERIES_MAX {
                    let problem = format!(
                        "cannot verify objects that a worker may have left half-written: {error}; remove the cause, \
                         then run `tandem verify --repair`"
                    );
                    next = next.given_up(problem, at);
                    next.in_flight = None;
                }
            }
            if answered { next.released() } else { next }
        })
        .await?;
        if self.ports.gate().await? == Gate::Open {
            release_waiting(self.ports, self.delivery.sender()).await?;
        }
        Ok(())
    }

    /// Returns the shard as it was last read or written.
    pub async fn shard(&self) -> Shard {
        self.current.lock().await.clone()
    }

    /// Stores what a page may write, before its first write.
    pub async fn record(&self, page: InFlight) -> Result<(), SessionError<P::Error>> {
        self.must_write(|shard| shard.with_in_flight(page.clone()))
            .await
    }

    /// Stores that the page may write this object as well, unless that is stored already.
    pub async fn announce(
        &self,
        key: &ObjectKey,
        etag: &Etag,
    ) -> Result<(), SessionError<P::Error>> {
        let mut current = self.current.lock().await;
        let in_flight = current.in_flight.clone();
        let mut in_flight = in_flight.unwrap_or_else(|| InFlight::new(key.as_str(), []));
        if !in_flight.add(key.as_str(), etag) {
            return Ok(());
        }
        let next = Shard {
            in_flight: Some(in_flight),
            ..current.clone()
        };
        let guard = Guard::HeldBy(&self.delivery.invocation);
        if !self.ports.update(guard, &current, &next).await? {
            return Err(SessionError::Lost(self.delivery.index));
        }
        *current = next;
        Ok(())
    }

    /// Stores what a search for a place to cut has cost and found.
    pub async fn note_search(&self, probes: u64, hint: Hint) -> Result<(), SessionError<P::Error>> {
        self.must_write(|shard| Shard {
            probes: shard.probes + probes,
            known: hint.known.clone(),
            empty_above: hint.empty_above.clone(),
            ..shard.clone()
        })
        .await
    }

    /// Splits off the keys after `cut` as a child shard, and sends its message.
    pub async fn split(
        &self,
        cut: &str,
        hint: Hint,
        probes: u64,
    ) -> Result<(), SessionError<P::Error>> {
        let Some(index) = self.ports.new_index().await? else {
            return Ok(());
        };
        let mut current = self.current.lock().await;
        let at = self.ports.now();
        let (kept, child) = current.cut(cut, hint, index, self.delivery.sender(), at);
        let kept = Shard {
            // Both sides list some keys at the cut that are not theirs.
            probes: kept.probes + probes + 2,
            ..kept
        };
        let guard = Guard::HeldBy(&self.delivery.invocation);
        if !self.ports.split(guard, &current, &kept, &child).await? {
            return Err(SessionError::Lost(self.delivery.index));
        }
        *current = kept;
        Ok(self.ports.send(index, child.epoch, 0).await?)
    }

    /// Sends the shard's next message and gives the lease back. Returns `false` if a sender raised the epoch in the
    /// meantime. Then the session continues.
    async fn hand_on(&self, wait: Wait) -> Result<bool, SessionError<P::Error>> {
        let epoch = self.shard().await.epoch;
        let (delay_secs, counted) = match wait {
            Wait::None => (0, 1),
            Wait::RateLimit(secs) => (secs, 0),
        };
        let at = self.ports.now();
        let sender = self.delivery.sender();
        let guard = Guard::HeldAt(&self.delivery.invocation, epoch);
        let handed_on = |shard: &Shard| Shard {
            hops: shard.hops + counted,
            ..shard.raised(sender, at).released()
        };
        if self.write(guard, handed_on).await? {
            let index = self.delivery.index;
            self.ports.send(index, epoch + 1, delay_secs).await?;
            return Ok(true);
        }
        self.read_again().await?;
        Ok(false)
    }

    async fn release(&self) -> Result<Release, SessionError<P::Error>> {
        let epoch = self.shard().await.epoch;
        let guard = Guard::HeldAt(&self.delivery.invocation, epoch);
        if self.write(guard, Shard::released).await? {
            return Ok(Release::Done);
        }
        self.read_again().await?;
        Ok(Release::Raised)
    }

    async fn read_again(&self) -> Result<(), SessionError<P::Error>> {
        let lost = || SessionError::Lost(self.delivery.index);
        let shard = self.ports.shard(self.delivery.index).await?;
        let shard = shard.ok_or_else(lost)?;
        if !Guard::HeldBy(&self.delivery.invocation).allows(&shard) {
            return Err(lost());
        }
        *self.current.lock().await = shard;
        Ok(())
    }

    /// Writes the changed shard if `guard` allows it. Returns whether it was written.
    async fn write(
        &self,
        guard: Guard<'_>,
        change: impl Fn(&Shard) -> Shard,
    ) -> Result<bool, SessionError<P::Error>> {
        let mut current = self.current.lock().await;
        let next = change(&current);
        let written = self.ports.update(guard, &current, &next).await?;
        if written {
            *current = next;
        }
        Ok(written)
    }

    /// Writes the changed shard. Fails if the lease is lost.
    async fn must_write(
        &self,
        change: impl Fn(&Shard) -> Shard,
    ) -> Result<(), SessionError<P::Error>> {
        let guard = Guard::HeldBy(&self.delivery.invocation);
        if self.write(guard, change).await? {
            Ok(())
        } else {
            Err(SessionError::Lost(self.delivery.index))
        }
    }
}
