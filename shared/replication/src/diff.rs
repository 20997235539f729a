//! Two listings side by side: which objects of the source still need a replica. No I/O.

use crate::names::Etag;

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Its `ETag`.
    pub etag: Etag,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What two listings say about one object of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Size and `ETag` are the same.
    Same,
    /// Nothing at the destination, or something of another size: it needs a copy.
    NeedsCopy,
    /// The same size but another `ETag`: different bytes, or a replica that could not keep the `ETag`.
    NeedsLook,
}

/// Goes through both listings, sorted by key, and judges every object of the source.
pub fn diff<'a>(source: &'a [Listed], replica: &[Listed]) -> Vec<(&'a Listed, Verdict)> {
    let mut replicas = replica.iter().peekable();
    source
        .iter()
        .map(|object| {
            while replicas
                .next_if(|replica| replica.key < object.key)
                .is_some()
            {}
            let verdict = match replicas.next_if(|replica| replica.key == object.key) {
                Some(replica) if replica.bytes != object.bytes => Verdict::NeedsCopy,
                Some(replica) if replica.etag == object.etag => Verdict::Same,
                Some(_) => Verdict::NeedsLook,
                None => Verdict::NeedsCopy,
            };
            (object, verdict)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(key: &str, etag: &str, bytes: u64) -> Listed {
        Listed {
            key: key.into(),
            etag: Etag::new(etag),
            bytes,
        }
    }

    #[test]
    fn every_object_of_the_source_is_judged_once() {
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
        let verdicts: Vec<_> = diff(&source, &replica)
            .into_iter()
            .map(|(_, verdict)| verdict)
            .collect();
        assert_eq!(
            verdicts,
            [
                Verdict::Same,
                Verdict::NeedsLook,
                Verdict::NeedsCopy,
                Verdict::NeedsCopy
            ]
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
        assert!(
            diff(&source, &source)
                .iter()
                .all(|(_, verdict)| *verdict == Verdict::Same)
        );
    }
}
