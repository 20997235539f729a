//! Users of the source buckets, who write and delete without a pause, preferably what others are just writing.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tandem_tests::bucket::{Bucket, Object};
use tandem_tests::journal::Journal;
use tandem_tests::notification;

use crate::deployment::{LIVE_BYTES_MAX, TRANSFER_BYTES_MIN};
use crate::ledger::Ledger;
use crate::stage::{Home, Pair, Stage};

/// The ledger's heading for the writers' operations.
pub const OPERATIONS: &str = "operations";

/// The number of keys of a bucket.
const KEYS: usize = 200;
/// The number of keys that get half of all operations.
const HOT_KEYS: usize = 12;
/// The objects of one in this many keys never have tags. Large objects are put only at these keys: on the local
/// cloud an object that is completed from parts keeps the tags of the one that it replaces.
const UNTAGGED_EVERY: usize = 4;
/// The longest pause of a writer between two operations.
const REST_MAX: Duration = Duration::from_millis(160);
/// The size of a part of an object that is uploaded in parts. S3 requires 5 MiB; the local cloud does not.
const PART_BYTES: usize = 600;

/// S3's minimum size of a part but the last. An object with smaller parts cannot be copied in the same parts.
const S3_PART_BYTES_MIN: usize = 5 << 20;
/// Repeats an object of about 1,000 bytes until it has two parts.
const HUGE_REPEATS: usize = 6_000;

/// The writers' operations, and how many of a hundred each one gets.
const DEEDS: [(Deed, u32); 11] = [
    (Deed::Put, 22),
    (Deed::PutEmpty, 5),
    (Deed::PutDressed, 14),
    (Deed::Redress, 14),
    (Deed::PutInParts, 5),
    (Deed::PutLarge, 5),
    (Deed::PutHuge, 1),
    (Deed::Retag, 5),
    (Deed::Copy, 4),
    (Deed::DeleteAndPut, 5),
    (Deed::Delete, 20),
];

#[derive(Debug, Clone, Copy)]
enum Deed {
    Put,
    PutEmpty,
    PutDressed,
    Redress,
    PutInParts,
    PutLarge,
    PutHuge,
    Retag,
    Copy,
    DeleteAndPut,
    Delete,
}

/// One writer.
pub struct Writer<'a> {
    number: u64,
    dice: Rng,
    stage: &'a Stage,
    ledger: &'a Ledger,
    journal: &'a Journal,
    written: u64,
}

impl<'a> Writer<'a> {
    /// The writer of this number. The number and the seed determine all its operations.
    pub fn new(
        number: u64,
        seed: u64,
        stage: &'a Stage,
        ledger: &'a Ledger,
        journal: &'a Journal,
    ) -> Self {
        Self {
            number,
            dice: Rng::with_seed(seed.wrapping_mul(1_000).wrapping_add(number)),
            stage,
            ledger,
            journal,
            written: 0,
        }
    }

    /// Writes until it is `over`.
    pub async fn write(mut self, over: impl Fn() -> bool) {
        let pairs = self.stage.pairs.iter();
        let pairs: Vec<&Pair> = pairs.filter(|pair| pair.promise.is_live()).collect();
        while !over() {
            let pair = pairs[self.dice.usize(0..pairs.len())];
            let number = self.number_of_key();
            let deed = self.deed();
            let number = match deed {
                Deed::PutLarge | Deed::PutHuge => untagged(number),
                Deed::Retag => number | 1,
                _ => number,
            };
            self.ledger.count(OPERATIONS, deed.name());
            self.act(deed, pair, number).await;
            let key = key(number);
            let done = format!(
                "{} source {key}: {}, mark {}-{}",
                pair.name,
                deed.name(),
                self.number,
                self.written
            );
            self.journal.note(&done);
            tokio::time::sleep(REST_MAX.mul_f64(self.dice.f64())).await;
        }
    }

    async fn act(&mut self, deed: Deed, pair: &Pair, number: usize) {
        let bucket = &pair.buckets.source;
        let key = &key(number);
        self.written += 1;
        // Every metadata contains this mark: on a server whose HEAD does not count tags, nothing else distinguishes
        // objects with the same bytes and different tags.
        let mark = format!("{}-{}", self.number, self.written);
        match deed {
            Deed::Put => {
                bucket.put(key, self.bytes(1, 2_000)).await;
            }
            Deed::PutEmpty => {
                bucket.put(key, "").await;
            }
            Deed::PutDressed => {
                let object = dressed(self.bytes(1, 2_000), &mark, number);
                bucket.put_object(key, &object).await;
            }
            Deed::Redress => {
                let bytes = format!("always the same bytes of {key}").into_bytes();
                let object = dressed(bytes, &mark, number);
                bucket.put_object(key, &object).await;
            }
            Deed::PutInParts => {
                let object = without_tags(self.bytes(1, 3 * PART_BYTES), &mark);
                bucket.put_in_parts(key, &object, PART_BYTES).await;
            }
            Deed::PutLarge => {
                let object =
                    without_tags(self.bytes(LIVE_BYTES_MAX, 2 * TRANSFER_BYTES_MIN), &mark);
                if self.dice.u8(0..4) == 0 {
                    bucket.put_object(key, &object).await;
                } else {
                    // In one part, which may have any size.
                    bucket.put_in_parts(key, &object, usize::MAX).await;
                }
            }
            Deed::PutHuge => {
                let bytes = self.bytes(1, 2_000).repeat(HUGE_REPEATS);
                let object = without_tags(bytes, &mark);
                let least = object.body.len().min(S3_PART_BYTES_MIN);
                bucket.put_in_parts(key, &object, least).await;
            }
            Deed::Retag => self.retag(pair, key, &mark).await,
            Deed::Copy => {
                let from = self.number_of_key();
                // A copy also takes over tags and size.
                let from = if is_untagged(number) {
                    untagged(from)
                } else {
                    from | 1
                };
                copy(bucket, &self::key(from), key).await;
            }
            Deed::DeleteAndPut => {
                bucket.delete(key).await;
                bucket.put(key, mark).await;
            }
            Deed::Delete => bucket.delete(key).await,
        }
    }

    /// Changes the tags of an object, and sends the notification that the local cloud does not send.
    async fn retag(&mut self, pair: &Pair, key: &str, mark: &str) {
        let bucket = &pair.buckets.source;
        let times = self.dice.usize(1..=2);
        if !bucket.retag(key, mark).await || pair.home == Home::Memory {
            return;
        }
        let event = notification::retagged(bucket, key).to_string();
        let queue = self.stage.cloud.queue_url("put").await;
        // S3 may send it twice.
        for _ in 0..times {
            self.stage.cloud.send(&queue, &event).await;
        }
    }

    fn number_of_key(&mut self) -> usize {
        if self.dice.bool() {
            self.dice.usize(0..HOT_KEYS)
        } else {
            self.dice.usize(HOT_KEYS..KEYS)
        }
    }

    fn deed(&mut self) -> Deed {
        let mut roll = self.dice.u32(0..DEEDS.iter().map(|(_, rate)| rate).sum());
        for (deed, rate) in DEEDS {
            if roll < rate {
                return deed;
            }
            roll -= rate;
        }
        Deed::Put
    }

    /// Returns bytes that were never written before.
    fn bytes(&mut self, least: usize, most: usize) -> Vec<u8> {
        let count = self.dice.usize(least..=most);
        std::iter::repeat_with(|| self.dice.u8(..))
            .take(count)
            .collect()
    }
}

impl Deed {
    fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::PutEmpty => "put nothing",
            Self::PutDressed => "put with headers, metadata, tags",
            Self::Redress => "the same bytes, other metadata",
            Self::PutInParts => "put in parts",
            Self::PutLarge => "put a large object",
            Self::PutHuge => "put an object of two parts, many times as large",
            Self::Retag => "change tags alone",
            Self::Copy => "copy from another key",
            Self::DeleteAndPut => "delete, and put at once",
            Self::Delete => "delete",
        }
    }
}

fn is_untagged(number: usize) -> bool {
    number.is_multiple_of(UNTAGGED_EVERY)
}

/// The greatest number up to this one whose key has no tags.
fn untagged(number: usize) -> usize {
    number - number % UNTAGGED_EVERY
}

/// An object with headers and metadata, and with tags unless its key has none.
fn dressed(bytes: Vec<u8>, mark: &str, number: usize) -> Object {
    if is_untagged(number) {
        without_tags(bytes, mark)
    } else {
        Object::of(bytes).dressed(mark)
    }
}

fn without_tags(bytes: Vec<u8>, mark: &str) -> Object {
    Object {
        tags: BTreeMap::new(),
        ..Object::of(bytes).dressed(mark)
    }
}

/// The key of this number. Some of the frequently used keys are awkward.
fn key(number: usize) -> String {
    const AWKWARD: [&str; 8] = [
        "two words.txt",
        "a+b %2B.txt",
        "caf\u{e9} cafe\u{301} 日本語/😀.txt",
        "what?versionId=null&acl#anchor",
        "double//slash",
        "a folder/",
        "quotes \"'`<Key>&amp;.txt",
        " at both ends ",
    ];
    match AWKWARD.get(number) {
        Some(awkward) => (*awkward).to_owned(),
        None => format!("folder {}/{number:03}", number % 7),
    }
}

/// Copies an object within its bucket, if the object exists.
async fn copy(bucket: &Bucket, from: &str, to: &str) {
    let from = utf8_percent_encode(from, NON_ALPHANUMERIC);
    let copied = bucket
        .client
        .copy_object()
        .bucket(&bucket.name)
        .key(to)
        .copy_source(format!("{}/{from}", bucket.name))
        .send()
        .await;
    // The object may be gone, or S3 may refuse to copy an object onto itself; neither changes anything.
    drop(copied);
}
