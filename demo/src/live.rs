//! The live changes, phase by phase: their operations, and what the source contains afterwards. The
//! plans do no I/O; carrying them out, and the probes, write to S3.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};

use crate::awkward;
use crate::cloud::Bucket;
use crate::console::Meter;
use crate::error::Error;
use crate::expected::Expected;
use crate::lag::Times;
use crate::object::Object;

/// Keys that are written at once.
const KEYS_AT_ONCE: usize = 16;
/// The number of files of the folder that are overwritten, and of those that are deleted.
const HISTORICAL_MAX: usize = 25;
/// S3's least size of a part that is not the last.
const PART_BYTES: usize = 5 * 1024 * 1024;
/// Keys that are rewritten over and over, and how often.
const HOT_KEYS: usize = 10;
const HOT_WRITES: usize = 20;
/// The number of probes: puts whose arrival is watched one by one.
const PROBES: usize = 25;
/// The time between two requests for a probe's replica.
const PROBE_PAUSE: Duration = Duration::from_millis(5);

/// One request, or upload, at the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Put an object, new or over another.
    Put(String, Object),
    /// Put an object in parts.
    PutInParts(String, Object),
    /// Give the object other headers and metadata, but the same bytes and tags.
    ReplaceMetadata(String, Object),
    /// Delete the object.
    Delete(String),
}

/// Operations of one kind. Those on one key are sent one after another, those on different keys at once.
#[derive(Debug)]
pub struct Phase {
    /// A short description.
    pub name: &'static str,
    /// The operations, key by key.
    pub keys: Vec<Vec<Operation>>,
}

impl Phase {
    fn of(name: &'static str, operations: impl IntoIterator<Item = Operation>) -> Self {
        let keys = operations.into_iter().map(|operation| vec![operation]);
        Self {
            name,
            keys: keys.collect(),
        }
    }

    /// Returns the number of operations.
    pub fn operations(&self) -> usize {
        self.keys.iter().map(Vec::len).sum()
    }

    /// Returns how many replicas are written or deleted; `None` if changes of one key may be merged.
    pub fn writes(&self) -> Option<usize> {
        let one_each = self.keys.iter().all(|key| key.len() == 1);
        one_each.then(|| self.operations())
    }

    /// Sends the phase's operations to the source, and records what it contains then.
    pub async fn carry_out(self, source: &Bucket, expected: &mut Expected) -> Result<(), Error> {
        let mut meter = Meter::start(self.name, self.keys.len());
        let mut keys = stream::iter(&self.keys)
            .map(|operations| async move {
                for operation in operations {
                    operation.send(source).await?;
                }
                Ok::<_, Error>(())
            })
            .buffer_unordered(KEYS_AT_ONCE);
        while let Some(()) = keys.try_next().await? {
            meter.advance(|| "keys".to_owned());
        }
        drop(keys);
        for operation in self.keys.into_iter().flatten() {
            operation.note(expected);
        }
        Ok(())
    }
}

impl Operation {
    async fn send(&self, source: &Bucket) -> Result<(), Error> {
        match self {
            Self::Put(key, object) => source.put(key, object).await.map(drop),
            Self::PutInParts(key, object) => source.put_in_parts(key, object, PART_BYTES).await,
            Self::ReplaceMetadata(key, object) => source.replace_metadata(key, object).await,
            Self::Delete(key) => source.delete(key).await,
        }
    }

    fn note(self, expected: &mut Expected) {
        match self {
            Self::Put(key, object)
            | Self::PutInParts(key, object)
            | Self::ReplaceMetadata(key, object) => expected.put(key, object),
            Self::Delete(key) => expected.delete(key),
        }
    }
}

/// Puts new objects: one for each awkward key of both families, and `plain` with ordinary keys.
pub fn puts(plain: usize) -> Phase {
    let awkward = [awkward::keys("kept"), awkward::keys("deleted")].concat();
    let awkward = awkward.into_iter().enumerate().map(|(n, key)| {
        let object = Object::text(format!("the object named {key:?}"));
        let object = if n % 3 == 0 {
            object.dressed("demo")
        } else {
            object
        };
        Operation::Put(key, object)
    });
    let empty = Operation::Put("live/empty".to_owned(), Object::text("").dressed("demo"));
    let plain = (0..plain).map(|n| {
        let object = Object::text(format!("object {n}\n").repeat(n + 1));
        Operation::Put(plain_key(n), object)
    });
    Phase::of("put", awkward.chain([empty]).chain(plain))
}

/// Puts objects in parts: of several parts, and of only one.
pub fn puts_in_parts() -> Phase {
    let sizes = [2 * PART_BYTES + 1, PART_BYTES + 4096, PART_BYTES];
    let operations = (1..).zip(sizes).map(|(n, size)| {
        let body: Vec<u8> = (0..=250_u8).cycle().skip(n).take(size).collect();
        Operation::PutInParts(format!("live/in parts {n}.bin"), Object::text(body))
    });
    Phase::of("put in parts", operations)
}

/// Changes existing objects, live and historical: their bytes, or only their metadata.
pub fn rewrites(expected: &Expected, plain: usize) -> Phase {
    let live = |key: &str| expected.live.get(key).cloned().unwrap_or_default();
    let plain = (0..plain / 2).map(|n| {
        let key = plain_key(n);
        let before = live(&key);
        match n % 4 {
            0 => Operation::Put(key, Object::text(format!("another object {n}"))),
            // The length stays the same: only the bytes differ.
            1 => Operation::Put(key, Object::text(before.body.to_ascii_uppercase())),
            // The bytes stay the same: only the metadata differ.
            2 => Operation::Put(key, before.dressed("rewrite")),
            _ => replace_metadata(key, before),
        }
    });
    let awkward = awkward::keys("kept").into_iter().map(|key| {
        let before = live(&key);
        replace_metadata(key, before)
    });
    let historical = few(expected).into_iter().map(|key| {
        let object = Object::text(format!("live, in the place of {key:?}"));
        Operation::Put(key, object)
    });
    Phase::of("rewrite", plain.chain(awkward).chain(historical))
}

/// Writes, deletes and writes again a few keys, as fast as the source accepts it.
pub fn hot_keys() -> Phase {
    let key = |hot: usize| {
        let key = format!("live/hot {hot}");
        let mut writes: Vec<Operation> = (0..HOT_WRITES)
            .map(|n| {
                if n % 5 == 4 {
                    Operation::Delete(key.clone())
                } else {
                    let object = Object::text(format!("write {n} of key {hot}"));
                    Operation::Put(key.clone(), object)
                }
            })
            .collect();
        // Half of the keys end with a delete, half with an object.
        if hot % 2 == 1 {
            writes.pop();
        }
        writes
    };
    Phase {
        name: "hot keys",
        keys: (0..HOT_KEYS).map(key).collect(),
    }
}

/// Deletes objects of every kind.
pub fn deletes(expected: &Expected, plain: usize) -> Phase {
    let plain = (0..plain).filter(|n| n % 4 == 0).map(plain_key);
    let keys = awkward::keys("deleted")
        .into_iter()
        .chain(plain)
        .chain(["live/in parts 1.bin".to_owned()])
        .chain(few(expected));
    Phase::of("delete", keys.map(Operation::Delete))
}

fn replace_metadata(key: String, before: Object) -> Operation {
    let tags = before.tags.clone();
    let object = Object {
        tags,
        ..before.dressed("metadata change")
    };
    Operation::ReplaceMetadata(key, object)
}

fn plain_key(n: usize) -> String {
    format!("live/plain {n:04}.txt")
}

/// Returns a few files of the folder, never more than a quarter.
fn few(expected: &Expected) -> Vec<String> {
    let number = HISTORICAL_MAX.min(expected.historical.len() / 4);
    let every = expected.historical.len() / number.max(1);
    let keys = expected.historical.keys().step_by(every.max(1));
    keys.take(number).cloned().collect()
}

/// Puts objects one by one, and measures the time from the answer to the put until the replica is at
/// the destination.
pub async fn probe(
    source: &Bucket,
    destination: &Bucket,
    expected: &mut Expected,
    timeout: Duration,
) -> Result<Times, Error> {
    let mut meter = Meter::start("probing", PROBES);
    let mut times = Vec::new();
    for n in 0..PROBES {
        let key = format!("live/probe {n:02}");
        let object = Object::text(format!("probe {n}"));
        let etag = source.put(&key, &object).await?;
        let answered = Instant::now();
        while !has_arrived(destination, &key, &etag).await? {
            if answered.elapsed() > timeout {
                return Err(Error::Unexpected(format!(
                    "{key:?} was put, but is not at the destination after {} s",
                    timeout.as_secs()
                )));
            }
            tokio::time::sleep(PROBE_PAUSE).await;
        }
        times.push(answered.elapsed());
        meter.advance(|| "objects".to_owned());
        expected.put(key, object);
    }
    Ok(times.into_iter().collect())
}

async fn has_arrived(destination: &Bucket, key: &str, etag: &str) -> Result<bool, Error> {
    let head = destination.head(key).await?;
    Ok(head.is_some_and(|head| head.e_tag.as_deref() == Some(etag)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::source_tree::SourceFile;

    fn file(key: &str) -> SourceFile {
        SourceFile {
            path: key.into(),
            key: key.into(),
            bytes: 1,
            modified_secs: None,
        }
    }

    fn expected(historical: usize) -> Expected {
        let mut expected = Expected::default();
        for n in 0..historical {
            let key = format!("file {n:03}");
            expected.historical.insert(key.clone(), file(&key));
        }
        expected
    }

    fn note(phase: Phase, expected: &mut Expected) {
        for operation in phase.keys.into_iter().flatten() {
            operation.note(expected);
        }
    }

    #[test]
    fn new_objects_have_different_keys() {
        let phase = puts(100);
        let keys: BTreeSet<_> = phase.keys.iter().flatten().map(key).collect();
        assert_eq!(keys.len(), phase.operations());
    }

    fn key(operation: &Operation) -> String {
        match operation {
            Operation::Put(key, _)
            | Operation::PutInParts(key, _)
            | Operation::ReplaceMetadata(key, _)
            | Operation::Delete(key) => key.clone(),
        }
    }

    #[test]
    fn every_rewrite_changes_an_existing_object() {
        let mut expected = expected(100);
        note(puts(40), &mut expected);
        let before = expected.live.clone();
        let phase = rewrites(&expected, 40);
        let historical = phase
            .keys
            .iter()
            .flatten()
            .filter(|operation| !before.contains_key(&key(operation)));
        assert_eq!(historical.count(), HISTORICAL_MAX);
        note(rewrites(&expected, 40), &mut expected);
        for key in phase.keys.iter().flatten().map(key) {
            assert_ne!(
                before.get(&key),
                Some(&expected.live[&key]),
                "{key:?} did not change"
            );
        }
    }

    #[test]
    fn half_of_the_hot_keys_end_deleted() {
        let mut expected = Expected::default();
        note(hot_keys(), &mut expected);
        assert_eq!((expected.live.len(), expected.gone.len()), (5, 5));
        assert_eq!(hot_keys().writes(), None);
        assert_eq!(puts_in_parts().writes(), Some(3));
    }

    #[test]
    fn only_existing_objects_are_deleted() {
        let mut expected = expected(100);
        note(puts(40), &mut expected);
        note(puts_in_parts(), &mut expected);
        let (before, phase) = (expected.len(), deletes(&expected, 40));
        let deleted = phase.operations();
        note(phase, &mut expected);
        assert_eq!(expected.len(), before - deleted);
    }

    #[test]
    fn the_only_file_of_a_folder_is_not_deleted() {
        assert!(few(&expected(3)).is_empty());
        assert_eq!(few(&expected(4)).len(), 1);
    }
}
