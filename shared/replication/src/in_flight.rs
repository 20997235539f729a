//! What a worker of a shard may have written when it died. Before the first write of a page, the worker stores
//! which objects the page may write. Its successor finds the entries in the shard's item and knows which keys are
//! suspect, and which replicas Tandem itself wrote. No I/O.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::names::{Etag, ObjectKey};
use crate::object::ObjectState;

/// The size of an entry in bytes: two hashes.
const ENTRY_BYTES: usize = 16;

/// The pages that workers have begun and not accounted for, merged into one: all of them begin at the shard's
/// checkpoint, because a step is conditional on the lease.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InFlight {
    /// The last key that the pages may write. In a manifest it is the place after the last line that they may write.
    pub last: String,
    /// What they may write.
    #[serde(serialize_with = "pack", deserialize_with = "unpack")]
    writes: BTreeSet<Write>,
}

/// One object that a page may write, as two hashes of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Write {
    /// The hash of the key.
    key: u64,
    /// The hash of the key and the source's `ETag`.
    object: u64,
}

/// What Tandem itself may have written under one key, apart from what the present attempt writes: hashes of key and
/// source `ETag`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OwnWrites(Vec<u64>);

impl InFlight {
    /// Creates the entries of a page that may write these objects. The last of them is at `last`.
    pub fn new<'a>(
        last: impl Into<String>,
        writes: impl IntoIterator<Item = (&'a str, &'a Etag)>,
    ) -> Self {
        let writes = writes.into_iter();
        Self {
            last: last.into(),
            writes: writes.map(|(key, etag)| Write::of(key, etag)).collect(),
        }
    }

    /// Returns these entries together with others of the same shard. They end at `last`, the later of the two ends.
    #[must_use]
    pub fn merged(mut self, other: &Self, last: String) -> Self {
        self.writes.extend(&other.writes);
        Self { last, ..self }
    }

    /// Adds one object. Returns whether it was missing.
    pub fn add(&mut self, key: &str, etag: &Etag) -> bool {
        self.writes.insert(Write::of(key, etag))
    }

    /// Returns whether an object with this key, or its tags, may have been written.
    pub fn suspects(&self, key: &str) -> bool {
        self.of_key(hash(&[key])).next().is_some()
    }

    /// Returns what may have been written under this key.
    pub fn own_writes(&self, key: &str) -> OwnWrites {
        OwnWrites(self.of_key(hash(&[key])).collect())
    }

    /// Returns whether these entries contain this object.
    pub fn includes(&self, key: &str, etag: &Etag) -> bool {
        self.writes.contains(&Write::of(key, etag))
    }

    fn of_key(&self, key: u64) -> impl Iterator<Item = u64> {
        let from = Write { key, object: 0 };
        let until = Write {
            key,
            object: u64::MAX,
        };
        self.writes.range(from..=until).map(|write| write.object)
    }
}

impl OwnWrites {
    /// Returns whether Tandem wrote this replica: its `ETag`, or the source's `ETag` that it names, is among the
    /// writes.
    pub fn include(&self, key: &ObjectKey, replica: &ObjectState) -> bool {
        let mark = replica.metadata.mark().and_then(|mark| mark.as_str());
        self.include_etag(key, &replica.etag)
            || mark.is_some_and(|etag| self.include_etag(key, &Etag::new(etag)))
    }

    /// Returns whether Tandem wrote a replica with this `ETag`, judging by the `ETag` alone.
    pub fn include_etag(&self, key: &ObjectKey, etag: &Etag) -> bool {
        self.0.contains(&hash(&[key.as_str(), etag.as_str()]))
    }

    /// Returns whether no write is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns these writes with one more object.
    #[must_use]
    pub fn with(mut self, key: &ObjectKey, etag: &Etag) -> Self {
        self.0.push(hash(&[key.as_str(), etag.as_str()]));
        self
    }
}

impl Write {
    fn of(key: &str, etag: &Etag) -> Self {
        Self {
            key: hash(&[key]),
            object: hash(&[key, etag.as_str()]),
        }
    }
}

/// Returns the FNV-1a hash of the texts, each ended by a byte that no text contains. It is mixed so that every bit
/// counts. Every version of Tandem has to compute the same hash.
fn hash(texts: &[&str]) -> u64 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0xff]));
    let fnv = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Writes the entries as one text, because an item has no binary values.
fn pack<S: Serializer>(writes: &BTreeSet<Write>, serializer: S) -> Result<S::Ok, S::Error> {
    let bytes: Vec<u8> = writes
        .iter()
        .flat_map(|write| [write.key.to_be_bytes(), write.object.to_be_bytes()])
        .flatten()
        .collect();
    serializer.serialize_str(&STANDARD_NO_PAD.encode(bytes))
}

fn unpack<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Write>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = STANDARD_NO_PAD.decode(text).map_err(D::Error::custom)?;
    if !bytes.len().is_multiple_of(ENTRY_BYTES) {
        return Err(D::Error::custom(format!(
            "{} bytes are not a whole number of entries of {ENTRY_BYTES} bytes",
            bytes.len()
        )));
    }
    let number = |half: &[u8]| {
        half.iter()
            .fold(0, |number: u64, &byte| (number << 8) | u64::from(byte))
    };
    let entries = bytes.chunks_exact(ENTRY_BYTES);
    Ok(entries
        .map(|entry| Write {
            key: number(&entry[..8]),
            object: number(&entry[8..]),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::tests::object;

    fn etag(text: &str) -> Etag {
        Etag::new(text)
    }

    #[test]
    fn entries_contain_their_keys_and_objects_and_no_others() {
        let (x, y) = (etag("x"), etag("y"));
        let mut page = InFlight::new("b", [("a", &x), ("b", &y)]);
        assert!(page.suspects("a") && page.suspects("b") && !page.suspects("c"));
        assert!(page.includes("a", &x) && !page.includes("a", &y));
        assert!(page.add("a", &y) && !page.add("a", &y));
        assert!(page.includes("a", &y));
    }

    #[test]
    fn a_replica_is_ours_by_its_etag_or_by_the_source_that_it_names() {
        let key = ObjectKey::parse("a").unwrap();
        let own = InFlight::new("a", [("a", &etag("x"))]).own_writes("a");
        assert!(own.include(&key, &object("x")));
        assert!(!own.include(&key, &object("y")));
        assert!(!own.include(&ObjectKey::parse("b").unwrap(), &object("x")));
        let mut marked = object("encrypted");
        marked.metadata = marked.metadata.marked(&etag("x"));
        assert!(own.include(&key, &marked));
        assert!(!OwnWrites::default().include(&key, &object("x")));
    }

    #[test]
    fn merged_entries_have_all_of_both() {
        let (x, y) = (etag("x"), etag("y"));
        let dead = InFlight::new("b", [("a", &x)]);
        let page = InFlight::new("c", [("c", &y)]).merged(&dead, "c".to_owned());
        assert!(page.includes("a", &x) && page.includes("c", &y));
        assert_eq!(page.last, "c");
    }

    /// A function of another version reads the entries that this one writes.
    #[test]
    fn the_hashes_of_entries_are_the_same_in_every_version() {
        let (x, y) = (etag("x"), etag("y"));
        let page = InFlight::new("b", [("a", &x), ("b", &y)]);
        let json = serde_json::to_value(&page).unwrap();
        assert_eq!(
            json["writes"],
            "GT8QIK8HbbVQ1vQa6Z2bdlMmUM9uPxw4omgvohdXa7U"
        );
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        let x = etag("x");
        let keys: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
        let page = InFlight::new("k99", keys.iter().map(|key| (key.as_str(), &x)));
        let json = serde_json::to_value(&page).unwrap();
        assert_eq!(json["writes"].as_str().map(str::len), Some(2_134));
        assert_eq!(serde_json::from_value::<InFlight>(json).unwrap(), page);
        for odd in ["AAAA", "no base64!", "="] {
            let odd = serde_json::json!({"last": "a", "writes": odd});
            assert!(serde_json::from_value::<InFlight>(odd).is_err());
        }
    }
}
