//! Rules of several stacks that form a circle, which no stack can see as a whole. An object that a user puts goes round
//! once: Tandem recognises the copy that arrives at its origin, and writes nothing more.

#![allow(clippy::unwrap_used, reason = "a test")]

mod ring;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use ring::Encryption::{self, Kms, S3};
use ring::{Event, Ring};
use tandem_replication::event::CreatedBy;
use tandem_replication::fault::Fault;
use tandem_replication::names::{Etag, ObjectKey};
use tandem_replication::options::Options;
use tandem_replication::part_plan::CopyLimits;
use tandem_replication::put_hint::PutHint;
use tandem_replication::replicator::{Outcome, Replicator};
use tandem_replication::rule::Policy;

const RINGS: [&[Encryption]; 7] = [
    &[S3, S3],
    &[S3, Kms],
    &[Kms, Kms],
    &[S3, S3, S3],
    &[S3, Kms, S3],
    &[Kms, S3, Kms],
    &[Kms, Kms, Kms],
];

/// The upper bound for writes per bucket if two writers write at once: ten rounds of both contents, and half of that
/// again, because a function writes its first copy into a bucket with encryption twice.
const WRITES_MAX: usize = 30;

type Running = Pin<Box<dyn Future<Output = Option<(usize, Event)>>>>;

/// Processes one event as a function does. Returns the event if it failed, to be delivered again.
async fn received(
    ring: Ring,
    hint: std::rc::Rc<PutHint>,
    (source, event): (usize, Event),
) -> Option<(usize, Event)> {
    let pair = ring.pair(source);
    let options = Options::default();
    let key = ObjectKey::parse("key").unwrap();
    let replicator =
        Replicator::new(&pair, Policy::Full, &options, CopyLimits::default()).with_hint(&hint);
    let done: Result<Outcome, Fault> = match &event {
        Event::Created {
            etag,
            by: CreatedBy::Put,
        } => replicator.put(&key, etag, 3).await,
        _ => replicator.reconcile(&key).await,
    };
    done.err().map(|_| (source, event))
}

/// Runs the functions until no event is left. `choices`, repeated as often as needed, decide which function continues
/// next.
fn run_dry(ring: &Ring, choices: &[u8]) {
    let rules = ring.contents().len();
    let put_hints: Vec<_> = (0..rules)
        .map(|_| std::rc::Rc::new(PutHint::default()))
        .collect();
    let mut running: Vec<Running> = Vec::new();
    let mut choices = choices.iter().cycle();
    let mut steps = 0;
    loop {
        let event = ring.state().events.pop_front();
        if let Some(event) = event {
            let hint = std::rc::Rc::clone(&put_hints[event.0]);
            running.push(Box::pin(received(ring.clone(), hint, event)));
        }
        if running.is_empty() {
            return;
        }
        let at = usize::from(*choices.next().unwrap()) % running.len();
        let polled = running[at]
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(failed) = polled {
            drop(running.swap_remove(at));
            if let Some(event) = failed {
                ring.state().events.push_back(event);
            }
        }
        steps += 1;
        assert!(steps < 100_000, "the events never end: {:?}", ring.state());
    }
}

fn writes(ring: &Ring) -> usize {
    ring.state().writes as usize
}

// Promise: Where rules form a circle, an object of one writer goes round once: its source is known to be a copy of
// its replica, also where encryption gives every copy another `ETag`.
#[test]
fn a_put_goes_round_once() {
    for buckets in RINGS {
        let ring = Ring::new(buckets);
        ring.put(0, 1, None);
        run_dry(&ring, &[0]);
        assert!(
            ring.contents().iter().all(|content| *content == Some(1)),
            "{buckets:?}"
        );
        // Each bucket is written twice where the first copy shows that encryption changes the ETag; a ring with both
        // kinds of encryption takes one round more.
        assert!(
            writes(&ring) <= 4 * buckets.len(),
            "{buckets:?}: {}",
            writes(&ring)
        );
        if buckets.iter().all(|encryption| *encryption == S3) {
            assert_eq!(writes(&ring), buckets.len() - 1, "{buckets:?}");
        }
        let before = writes(&ring);
        ring.delete(0);
        run_dry(&ring, &[0]);
        assert!(ring.contents().iter().all(Option::is_none), "{buckets:?}");
        assert_eq!(writes(&ring), before + buckets.len() - 1, "{buckets:?}");
    }
}

#[test]
fn a_change_at_any_place_of_a_settled_ring_reaches_every_bucket() {
    for buckets in RINGS {
        for place in 0..buckets.len() {
            let ring = Ring::new(buckets);
            ring.put(0, 1, None);
            run_dry(&ring, &[0]);
            // With the mark of the object that it replaces, as a tool that keeps metadata writes it.
            let mark: Etag = ring.etag(0);
            ring.put(place, 2, Some(&mark));
            run_dry(&ring, &[0]);
            let arrived = ring.contents().iter().all(|content| *content == Some(2));
            assert!(arrived, "{buckets:?} at {place}: {:?}", ring.contents());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    /// Two writers at once: every bucket ends with the content of one of them, and the ring comes to rest.
    #[test]
    fn two_writers_of_one_key_settle(
        ring in prop::sample::select(RINGS.to_vec()),
        place in 0_usize..3,
        choices in prop::collection::vec(any::<u8>(), 64..256),
    ) {
        let buckets = ring;
        let ring = Ring::new(buckets);
        ring.put(0, 1, None);
        ring.put(1 + place % (buckets.len() - 1), 2, None);
        run_dry(&ring, &choices);
        let contents = ring.contents();
        prop_assert!(contents[0].is_some());
        prop_assert!(contents.iter().all(|content| *content == contents[0]), "{contents:?}");
        prop_assert!(writes(&ring) <= WRITES_MAX * buckets.len(), "{} writes", writes(&ring));
    }
}
