//! Two listings side by side: which objects of the source still need a replica, and which replicas have no
//! source. No I/O.

use crate::Timestamp;
use crate::names::{Etag, StorageClass};

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Its `ETag`; an empty one where the listing shows none.
    pub etag: Etag,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was written, to the second: the server's clock.
    pub last_modified: Timestamp,
    /// Its storage class.
    pub storage_class: StorageClass,
}

/// What two listings say about one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding<'a> {
    /// The source has an object.
    Source {
        /// As its listing shows it.
        source: &'a Listed,
        /// What the destination's listing shows of the same name.
        replica: Option<&'a Listed>,
        /// How the two compare.
        verdict: Verdict,
    },
    /// Only the destination has one.
    Extra(&'a Listed),
}

impl<'a> Finding<'a> {
    /// The key.
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
    /// Nothing at the destination, or something of another size: it needs a copy.
    NeedsCopy,
    /// The same size but another `ETag`, or none: different bytes, or a replica that could not keep the `ETag`.
    NeedsLook,
}

/// Goes through both listings, sorted by key, and tells what they say of every key, in the same order.
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
    fn every_key_is_judged_once_and_in_order() {
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
    fn two_objects_whose_etags_a_listing_does_not_show_are_not_known_to_be_equal() {
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
