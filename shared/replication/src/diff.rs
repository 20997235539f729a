//! Compares two listings: which objects of the source still need a replica, and which replicas have no source. No I/O.

use crate::Timestamp;
use crate::names::{Etag, StorageClass};

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Its `ETag`; empty if the listing shows none.
    pub etag: Etag,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was written, in whole seconds of the server's clock.
    pub last_modified: Timestamp,
    /// Its storage class.
    pub storage_class: StorageClass,
}

/// What two listings say about one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding<'a> {
    /// The source has an object.
    Source {
        /// The object in the source's listing.
        source: &'a Listed,
        /// The object with the same key in the destination's listing.
        replica: Option<&'a Listed>,
        /// How the two compare.
        verdict: Verdict,
    },
    /// Only the destination has an object.
    Extra(&'a Listed),
}

impl<'a> Finding<'a> {
    /// Returns the key.
    pub fn key(&self) -> &'a str {
        match self {
            Self::Source { source, .. } => &source.key,
            Self::Extra(replica) => &replica.key,
        }
    }
}

/// What two listings say about one object of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Size and `ETag` are the same.
    Same,
    /// The destination has no object, or one of another size: the object needs a copy.
    NeedsCopy,
    /// The sizes are equal, but the `ETag`s differ or are missing: the bytes differ, or the replica could not keep the
    /// `ETag`.
    NeedsLook,
}

/// Compares two listings that are sorted by key. Returns a finding for every key, in the same order.
pub fn diff<'a>(source: &'a [Listed], replica: &'a [Listed]) -> Vec<Finding<'a>> {
    let mut findings = Vec::with_capacity(source.len());
    let mut replicas = replica.iter().peekable();
    for object in source {
        while let Some(extra) = replicas.next_if(|replica| replica.key < object.key) {
            findings.push(Finding::Extra(extra));
        }
        let replica = replicas.next_if(|replica| replica.key == object.key);
        let verdict = match replica {
            Some(replica) if replica.bytes != object.bytes => Verdict::NeedsCopy,
            Some(replica) if replica.etag == object.etag && object.etag.is_known() => Verdict::Same,
            Some(_) => Verdict::NeedsLook,
            None => Verdict::NeedsCopy,
        };
        findings.push(Finding::Source {
            source: object,
            replica,
            verdict,
        });
    }
    findings.extend(replicas.map(Finding::Extra));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(key: &str, etag: &str, bytes: u64) -> Listed {
        Listed {
            key: key.into(),
            etag: Etag::new(etag),
            bytes,
            last_modified: Timestamp::UNIX_EPOCH,
            storage_class: StorageClass::standard(),
        }
    }

    fn verdicts(findings: &[Finding<'_>]) -> Vec<(String, Option<Verdict>)> {
        findings
            .iter()
            .map(|finding| {
                let verdict = match finding {
                    Finding::Source { verdict, .. } => Some(*verdict),
                    Finding::Extra(_) => None,
                };
                (finding.key().to_owned(), verdict)
            })
            .collect()
    }

    #[test]
    fn every_key_has_one_finding_in_the_order_of_keys() {
        let source = [
            listed("a", "1", 1),
            listed("b", "1", 1),
            listed("c", "1", 1),
            listed("d", "1", 1),
        ];
        let replica = [
            listed("0", "1", 1),
            listed("a", "1", 1),
            listed("b", "2", 1),
            listed("d", "1", 2),
            listed("e", "1", 1),
        ];
        let wanted = [
            ("0", None),
            ("a", Some(Verdict::Same)),
            ("b", Some(Verdict::NeedsLook)),
            ("c", Some(Verdict::NeedsCopy)),
            ("d", Some(Verdict::NeedsCopy)),
            ("e", None),
        ];
        let wanted: Vec<_> = wanted
            .map(|(key, verdict)| (key.to_owned(), verdict))
            .into();
        assert_eq!(verdicts(&diff(&source, &replica)), wanted);
    }

    #[test]
    fn objects_without_etags_in_a_listing_never_count_as_equal() {
        let objects = [listed("a", "", 1)];
        let findings = diff(&objects, &objects);
        assert_eq!(
            verdicts(&findings),
            [("a".to_owned(), Some(Verdict::NeedsLook))]
        );
    }

    #[test]
    fn keys_are_compared_by_their_bytes_as_s3_sorts_them() {
        let source = [
            listed("Z", "1", 1),
            listed("a", "1", 1),
            listed("ü", "1", 1),
            listed("\u{10000}", "1", 1),
        ];
        let same = verdicts(&diff(&source, &source));
        assert!(
            same.iter()
                .all(|(_, verdict)| *verdict == Some(Verdict::Same))
        );
    }
}
