//! Which fault a request meets. That follows from the seed, the operation, bucket and key, and from how many such
//! requests came before; so the same seed plans the same faults. No I/O.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fastrand::Rng;

use crate::proxy::Seen;
use crate::slow_copy::SlowCopy;

/// Requests of one kind in a row that a burst of errors meets: more than an SDK tries.
const BURST: u64 = 6;
/// How many of ten thousand such rows are bursts, in which the service fails every time.
const BURSTS: u32 = 150;

/// One way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A 500; nothing was done.
    InternalError,
    /// A 500, but the request was carried out.
    InternalErrorDone,
    /// A 500, and the request is carried out later.
    InternalErrorLate,
    /// A 503 `SlowDown`, or what the other services call it; nothing was done.
    SlowDown,
    /// A copy whose answer begins with 200 and turns out to be an error; nothing was done.
    ErrorInside200,
    /// The same, but the copy was carried out.
    ErrorInside200Done,
    /// The same, and the copy is carried out later.
    ErrorInside200Late,
    /// The connection breaks; nothing was done.
    LostRequest,
    /// It is done, and the connection breaks before the answer.
    LostAnswer,
    /// It is done, and the answer breaks off in its middle.
    CutOffAnswer,
    /// No answer comes; nothing was done.
    SilenceBefore,
    /// No answer comes, but it is done.
    SilenceAfter,
    /// It reaches the cloud late.
    LateRequest,
    /// It is done at once, and its answer comes late.
    LateAnswer,
    /// A copy that reads the source at once and lands late.
    SlowCopy,
    /// Its sender is killed, and nothing was done.
    KilledBefore,
    /// It is done, and its sender is killed before the answer.
    KilledAfter,
    /// Its sender is killed, and the request reaches the cloud later.
    KilledLate,
    /// It is done at once. Its sender is frozen for a while, and loses its idle connections meanwhile.
    Frozen,
}

/// To how many of ten thousand requests a fault happens.
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
/// The requests that change objects of a bucket.
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
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        RATES.into_iter().map(|(fault, _)| fault)
    }

    /// As the ledger and the journal call it.
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

    /// Whether it happens to the sender's process, which has to be found first.
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
    /// What is meant by buckets whose names differ from run to run.
    buckets: BTreeMap<String, String>,
    before: Mutex<HashMap<String, u64>>,
}

impl FaultPlan {
    /// The plan of this seed. `buckets` gives each bucket the name that it has in every run.
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

    /// Returns dice for one kind of request and one question.
    pub fn dice(&self, seen: &Seen, question: &str) -> Rng {
        self.dice_for(&format!("{} {question}", self.kind(seen)))
    }

    /// How many seconds the clock of the S3 that keeps this bucket is ahead of ours, or behind it.
    pub fn clock_offset_secs(&self, bucket: &str) -> i64 {
        let known = self.buckets.get(bucket);
        known.map_or(0, |name| {
            self.dice_for(&format!("clock of {name}")).i64(-2..=2)
        })
    }

    /// The request's operation, bucket and key, as they are called in every run.
    pub fn kind(&self, seen: &Seen) -> String {
        let bucket = self.buckets.get(&seen.bucket);
        let bucket = bucket.unwrap_or(&seen.bucket);
        format!("{} {bucket} {}", seen.operation, seen.key)
    }

    fn dice_for(&self, question: &str) -> Rng {
        let text = format!("{} {question}", self.seed);
        // FNV-1a, so that every version of Rust agrees.
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
    fn the_same_seed_plans_the_same_faults_for_buckets_of_other_names() {
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
