//! Decides which fault a request meets, by the seed, the request's operation, bucket and key, and the number of such
//! requests before it. So the same seed plans the same faults. No I/O.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fastrand::Rng;

use crate::proxy::Seen;
use crate::slow_copy::SlowCopy;

/// The number of consecutive requests of one kind that a burst of errors meets: more than an SDK tries.
const BURST: u64 = 6;
/// How many of ten thousand sequences of this length are bursts, in which the service fails every time.
const BURSTS: u32 = 150;

/// One way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A 500 for a request that was not carried out.
    InternalError,
    /// A 500 for a request that was carried out.
    InternalErrorDone,
    /// A 500 for a request that is carried out later.
    InternalErrorLate,
    /// A 503 `SlowDown`, or the other services' name for it, for a request that was not carried out.
    SlowDown,
    /// A copy whose answer begins with 200 and then contains an error. The copy was not carried out.
    ErrorInside200,
    /// The same for a copy that was carried out.
    ErrorInside200Done,
    /// The same for a copy that is carried out later.
    ErrorInside200Late,
    /// The connection breaks before the request is carried out.
    LostRequest,
    /// The request is carried out, and the connection breaks before the answer.
    LostAnswer,
    /// The request is carried out, and the answer breaks off in the middle.
    CutOffAnswer,
    /// The request is not carried out, and no answer arrives.
    SilenceBefore,
    /// The request is carried out, but no answer arrives.
    SilenceAfter,
    /// The request reaches the cloud late.
    LateRequest,
    /// The request is carried out at once, and its answer arrives late.
    LateAnswer,
    /// A copy that reads the source at once and lands late.
    SlowCopy,
    /// The sender is killed before the request is carried out.
    KilledBefore,
    /// The request is carried out, and the sender is killed before the answer.
    KilledAfter,
    /// The sender is killed, and its request reaches the cloud later.
    KilledLate,
    /// The request is carried out at once. Its sender is frozen for a while, and loses its idle connections meanwhile.
    Frozen,
}

/// How many of ten thousand requests each fault affects.
const RATES: [(Fault, u32); 19] = [
    (Fault::InternalError, 100),
    (Fault::InternalErrorDone, 60),
    (Fault::InternalErrorLate, 60),
    (Fault::SlowDown, 150),
    (Fault::ErrorInside200, 100),
    (Fault::ErrorInside200Done, 100),
    (Fault::ErrorInside200Late, 100),
    (Fault::LostRequest, 60),
    (Fault::LostAnswer, 60),
    (Fault::CutOffAnswer, 60),
    (Fault::SilenceBefore, 4),
    (Fault::SilenceAfter, 4),
    (Fault::LateRequest, 150),
    (Fault::LateAnswer, 150),
    (Fault::SlowCopy, 500),
    (Fault::KilledBefore, 15),
    (Fault::KilledAfter, 15),
    (Fault::KilledLate, 15),
    (Fault::Frozen, 15),
];

const COPIES: [&str; 3] = ["CopyObject", "UploadPartCopy", "CompleteMultipartUpload"];
/// The requests that change objects or uploads of a bucket.
const WRITES: [&str; 9] = [
    "CopyObject",
    "UploadPartCopy",
    "CompleteMultipartUpload",
    "DeleteObject",
    "PutObject",
    "PutObjectTagging",
    "PutObjectAcl",
    "DeleteObjectTagging",
    "AbortMultipartUpload",
];

impl Fault {
    /// All faults.
    pub fn all() -> impl Iterator<Item = Self> {
        RATES.into_iter().map(|(fault, _)| fault)
    }

    /// The fault's name in the ledger and the journal.
    pub fn name(self) -> &'static str {
        match self {
            Self::InternalError => "500 InternalError, nothing done",
            Self::InternalErrorDone => "500 InternalError, done",
            Self::InternalErrorLate => "500 InternalError, done later",
            Self::SlowDown => "503 SlowDown",
            Self::ErrorInside200 => "error inside a 200, nothing done",
            Self::ErrorInside200Done => "error inside a 200, done",
            Self::ErrorInside200Late => "error inside a 200, done later",
            Self::LostRequest => "lost request",
            Self::LostAnswer => "lost answer",
            Self::CutOffAnswer => "cut-off answer",
            Self::SilenceBefore => "silence, nothing done",
            Self::SilenceAfter => "silence, done",
            Self::LateRequest => "late request",
            Self::LateAnswer => "late answer",
            Self::SlowCopy => "slow copy",
            Self::KilledBefore => "kill before a request",
            Self::KilledAfter => "kill after a request",
            Self::KilledLate => "kill, request arrives later",
            Self::Frozen => "frozen sender",
        }
    }

    /// Whether the fault affects the sender's process, which has to be found first.
    pub fn is_of_process(self) -> bool {
        let kills = [Self::KilledBefore, Self::KilledAfter, Self::KilledLate];
        kills.contains(&self) || self == Self::Frozen
    }

    fn can_happen_to(self, seen: &Seen) -> bool {
        let is_any_of = |operations: &[&str]| operations.iter().any(|name| seen.is(name));
        match self {
            Self::ErrorInside200 | Self::ErrorInside200Done | Self::ErrorInside200Late => {
                is_any_of(&COPIES)
            }
            Self::InternalErrorLate => is_any_of(&WRITES),
            Self::SlowCopy => SlowCopy::can_make(seen),
            _ => true,
        }
    }
}

/// Plans the faults of one run.
#[derive(Debug)]
pub struct FaultPlan {
    seed: u64,
    /// The name that each bucket has in every run, by its name in this run.
    buckets: BTreeMap<String, String>,
    before: Mutex<HashMap<String, u64>>,
}

impl FaultPlan {
    /// Plans by this seed. `buckets` gives each bucket the name that it has in every run.
    pub fn new(seed: u64, buckets: BTreeMap<String, String>) -> Self {
        Self {
            seed,
            buckets,
            before: Mutex::default(),
        }
    }

    /// Returns the fault that the next request of this kind meets.
    pub fn next(&self, seen: &Seen) -> Option<Fault> {
        let nth = {
            let mut before = lock(&self.before);
            let nth = before.entry(self.kind(seen)).or_default();
            *nth += 1;
            *nth
        };
        let mut burst = self.dice(seen, &format!("burst {}", nth / BURST));
        if burst.u32(0..10_000) < BURSTS {
            return Some(if burst.bool() {
                Fault::InternalError
            } else {
                Fault::SlowDown
            });
        }
        let mut roll = self.dice(seen, &format!("request {nth}")).u32(0..10_000);
        for (fault, rate) in RATES {
            if roll < rate {
                return fault.can_happen_to(seen).then_some(fault);
            }
            roll -= rate;
        }
        None
    }

    /// Returns a random generator for one kind of request and one question.
    pub fn dice(&self, seen: &Seen, question: &str) -> Rng {
        self.dice_for(&format!("{} {question}", self.kind(seen)))
    }

    /// How many seconds the clock of the bucket's S3 is ahead of ours; negative if it is behind.
    pub fn clock_offset_secs(&self, bucket: &str) -> i64 {
        let known = self.buckets.get(bucket);
        known.map_or(0, |name| {
            self.dice_for(&format!("clock of {name}")).i64(-2..=2)
        })
    }

    /// The request's operation, bucket and key, by the names that they have in every run.
    pub fn kind(&self, seen: &Seen) -> String {
        let bucket = self.buckets.get(&seen.bucket);
        let bucket = bucket.unwrap_or(&seen.bucket);
        format!("{} {bucket} {}", seen.operation, seen.key)
    }

    fn dice_for(&self, question: &str) -> Rng {
        let text = format!("{} {question}", self.seed);
        // FNV-1a, so that the result is the same in every version of Rust.
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Rng::with_seed(hash)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::*;

    fn copy_of(key: &str) -> Seen {
        Seen {
            operation: "CopyObject".to_owned(),
            bucket: "replica-1".to_owned(),
            key: key.to_owned(),
            headers: HeaderMap::new(),
        }
    }

    fn plan(seed: u64, bucket: &str) -> FaultPlan {
        let name = (bucket.to_owned(), "replica".to_owned());
        FaultPlan::new(seed, [name].into())
    }

    #[test]
    fn the_same_seed_plans_the_same_faults_whatever_the_buckets_names() {
        let faults = |bucket: &str, seed| -> Vec<Option<Fault>> {
            let plan = plan(seed, bucket);
            let keys = (0..2_000).map(|n| (n % 50).to_string());
            let requests = keys.map(|key| Seen {
                bucket: bucket.to_owned(),
                ..copy_of(&key)
            });
            requests.map(|seen| plan.next(&seen)).collect()
        };
        assert_eq!(faults("replica-1", 7), faults("replica-2", 7));
        assert_ne!(faults("replica-1", 7), faults("replica-1", 8));
    }

    #[test]
    fn every_fault_is_planned_for_copies() {
        let plan = plan(1, "replica-1");
        let mut planned: Vec<Fault> = (0..20_000)
            .filter_map(|n| plan.next(&copy_of(&n.to_string())))
            .collect();
        planned.sort_unstable();
        planned.dedup();
        let mut all: Vec<Fault> = Fault::all().collect();
        all.sort_unstable();
        assert_eq!(planned, all);
    }

    #[test]
    fn only_writes_land_after_a_500() {
        let plan = plan(1, "replica-1");
        for n in 0..20_000 {
            let head = Seen {
                operation: "HeadObject".to_owned(),
                ..copy_of(&n.to_string())
            };
            assert_ne!(plan.next(&head), Some(Fault::InternalErrorLate));
        }
    }
}
