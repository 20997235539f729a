//! Whether two buckets agree, from two listings in key order. Holds one object of each at a time,
//! and the differences it was asked to keep. No I/O of its own.

use chrono::{DateTime, Utc};
use futures::stream::{self, Peekable, Stream, StreamExt};
use serde::Serialize;

use crate::contract::Policy;

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    pub size: u64,
    /// Without its quotes; empty where the listing shows none.
    pub etag: String,
    /// Whole seconds, as S3 tells it.
    pub modified_at: Option<DateTime<Utc>>,
    pub storage_class: String,
}

/// One key, and what the two listings have under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pair {
    SourceOnly(Listed),
    DestinationOnly(Listed),
    Both { source: Listed, destination: Listed },
}

/// What is to be said about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Same {
        source: Listed,
        destination: Listed,
    },
    Missing(Listed),
    Different {
        source: Listed,
        destination: Listed,
        by: Vec<Field>,
    },
    Extra(Listed),
    /// One of the two could not be read, and the listings leave open whether they are equal.
    NotCompared {
        source: Listed,
        destination: Listed,
        problem: String,
    },
    /// The same size, another `ETag`. Only the replica itself knows whether it is a copy that
    /// could not keep its source's.
    AskReplica {
        source: Listed,
        destination: Listed,
    },
}

/// What two objects of one key differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    Size,
    Etag,
}

impl Field {
    pub fn words(fields: &[Self]) -> &'static str {
        match fields {
            [] => "",
            [Self::Size] => "size",
            [Self::Etag] => "etag",
            _ => "size etag",
        }
    }
}

/// Pairs two listings, both in the order of their keys' UTF-8 bytes, which is S3's.
pub fn merge<E>(
    source: impl Stream<Item = Result<Listed, E>>,
    destination: impl Stream<Item = Result<Listed, E>>,
) -> impl Stream<Item = Result<Pair, E>> {
    let heads = (
        Box::pin(source.peekable()),
        Box::pin(destination.peekable()),
    );
    stream::unfold(heads, |(mut source, mut destination)| async move {
        let pair = {
            // An error counts as the smallest key: it is handed on before anything else.
            let left = source.as_mut().peek().await;
            let right = destination.as_mut().peek().await;
            let order = match (left, right) {
                (None, None) => return None,
                (Some(_), None) | (Some(Err(_)), _) => Turn::Source,
                (None, Some(_)) | (_, Some(Err(_))) => Turn::Destination,
                (Some(Ok(left)), Some(Ok(right))) => Turn::of(left, right),
            };
            match order {
                Turn::Source => next(&mut source).await?.map(Pair::SourceOnly),
                Turn::Destination => next(&mut destination).await?.map(Pair::DestinationOnly),
                Turn::Both => {
                    let left = next(&mut source).await?;
                    let right = next(&mut destination).await?;
                    left.and_then(|source| {
                        right.map(|destination| Pair::Both {
                            source,
                            destination,
                        })
                    })
                }
            }
        };
        Some((pair, (source, destination)))
    })
}

/// Which listing goes on.
enum Turn {
    Source,
    Destination,
    Both,
}

impl Turn {
    fn of(source: &Listed, destination: &Listed) -> Self {
        match source.key.cmp(&destination.key) {
            std::cmp::Ordering::Less => Self::Source,
            std::cmp::Ordering::Greater => Self::Destination,
            std::cmp::Ordering::Equal => Self::Both,
        }
    }
}

async fn next<S: Stream>(stream: &mut std::pin::Pin<Box<Peekable<S>>>) -> Option<S::Item> {
    stream.next().await
}

impl Pair {
    /// | source | destination | size | ETag | verdict |
    /// |---|---|---|---|---|
    /// | yes | no | | | `Missing` |
    /// | no | yes | | | `Extra` |
    /// | yes | yes | same | same | `Same` |
    /// | yes | yes | same | other | `AskReplica` |
    /// | yes | yes | any | not shown | `AskReplica` |
    /// | yes | yes | other | any | `Different` |
    pub fn judge(self) -> Verdict {
        match self {
            Self::SourceOnly(source) => Verdict::Missing(source),
            Self::DestinationOnly(destination) => Verdict::Extra(destination),
            Self::Both {
                source,
                destination,
            } if source.etag.is_empty() || destination.etag.is_empty() => Verdict::AskReplica {
                source,
                destination,
            },
            Self::Both {
                source,
                destination,
            } => match (
                source.size == destination.size,
                source.etag == destination.etag,
            ) {
                (true, true) => Verdict::Same {
                    source,
                    destination,
                },
                (true, false) => Verdict::AskReplica {
                    source,
                    destination,
                },
                (false, same_etag) => Verdict::Different {
                    source,
                    destination,
                    by: if same_etag {
                        vec![Field::Size]
                    } else {
                        vec![Field::Size, Field::Etag]
                    },
                },
            },
        }
    }
}

/// A difference as it is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub key: String,
    pub kind: Kind,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<Field>,
    /// Why they could not be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    pub source: Option<Side>,
    pub destination: Option<Side>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Missing,
    Different,
    Extra,
    NotCompared,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    pub size: u64,
    pub etag: String,
}

/// The counts, and the first differences.
#[derive(Debug, Clone, Serialize)]
pub struct Tally {
    pub same: u64,
    pub missing: u64,
    pub different: u64,
    /// At the destination only. A difference under policy `full`; under `write` only counted.
    pub extra: u64,
    /// Keys of which one side could not be read.
    pub not_compared: u64,
    pub source_bytes: u64,
    pub destination_bytes: u64,
    pub differences: Vec<Difference>,
    /// Differences that were found and not kept.
    pub differences_left_out: u64,
    #[serde(skip)]
    extras_count: bool,
    #[serde(skip)]
    differences_max: usize,
}

impl Tally {
    pub fn new(policy: Policy, differences_max: usize) -> Self {
        Self {
            same: 0,
            missing: 0,
            different: 0,
            extra: 0,
            not_compared: 0,
            source_bytes: 0,
            destination_bytes: 0,
            differences: Vec::new(),
            differences_left_out: 0,
            extras_count: policy == Policy::Full,
            differences_max,
        }
    }

    /// Counts one key. `AskReplica` counts as different: nobody asked.
    pub fn add(&mut self, verdict: Verdict) {
        let mut problem = None;
        let (kind, by, source, destination) = match verdict {
            Verdict::Same {
                source,
                destination,
            } => {
                self.same += 1;
                self.source_bytes += source.size;
                self.destination_bytes += destination.size;
                return;
            }
            Verdict::Missing(source) => (Kind::Missing, Vec::new(), Some(source), None),
            Verdict::Extra(destination) => (Kind::Extra, Vec::new(), None, Some(destination)),
            Verdict::Different {
                source,
                destination,
                by,
            } => (Kind::Different, by, Some(source), Some(destination)),
            Verdict::NotCompared {
                source,
                destination,
                problem: said,
            } => {
                problem = Some(said);
                let (source, destination) = (Some(source), Some(destination));
                (Kind::NotCompared, Vec::new(), source, destination)
            }
            Verdict::AskReplica {
                source,
                destination,
            } => (
                Kind::Different,
                vec![Field::Etag],
                Some(source),
                Some(destination),
            ),
        };
        *match kind {
            Kind::Missing => &mut self.missing,
            Kind::Different => &mut self.different,
            Kind::Extra => &mut self.extra,
            Kind::NotCompared => &mut self.not_compared,
        } += 1;
        self.source_bytes += source.as_ref().map_or(0, |listed| listed.size);
        self.destination_bytes += destination.as_ref().map_or(0, |listed| listed.size);
        if kind != Kind::Extra || self.extras_count {
            let key = source.as_ref().or(destination.as_ref());
            self.keep(Difference {
                key: key.map(|listed| listed.key.clone()).unwrap_or_default(),
                kind,
                by,
                problem,
                source: source.map(Side::from),
                destination: destination.map(Side::from),
            });
        }
    }

    fn keep(&mut self, difference: Difference) {
        if self.differences.len() >= self.differences_max {
            self.differences_left_out += 1;
            return;
        }
        self.differences.push(difference);
    }

    pub fn differences_count(&self) -> u64 {
        self.missing + self.different + if self.extras_count { self.extra } else { 0 }
    }

    /// Whether every key was compared, and none differs.
    pub fn is_equal(&self) -> bool {
        self.differences_count() == 0 && self.not_compared == 0
    }

    pub fn source_objects(&self) -> u64 {
        self.same + self.missing + self.different + self.not_compared
    }

    pub fn destination_objects(&self) -> u64 {
        self.same + self.different + self.extra + self.not_compared
    }
}

impl From<Listed> for Side {
    fn from(listed: Listed) -> Self {
        Self {
            size: listed.size,
            etag: listed.etag,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn object(key: &str, size: u64, etag: &str) -> Listed {
        Listed {
            key: key.to_owned(),
            size,
            etag: etag.to_owned(),
            modified_at: None,
            storage_class: "STANDARD".to_owned(),
        }
    }

    type Results = Vec<Result<Listed, &'static str>>;

    fn pairs(source: Results, destination: Results) -> Vec<Result<Pair, &'static str>> {
        merge(stream::iter(source), stream::iter(destination))
            .collect()
            .now_or_never()
            .unwrap()
    }

    fn tally(policy: Policy, max: usize, source: &[Listed], destination: &[Listed]) -> Tally {
        let ok = |listed: &[Listed]| listed.iter().cloned().map(Ok).collect();
        let mut tally = Tally::new(policy, max);
        for pair in pairs(ok(source), ok(destination)) {
            tally.add(pair.unwrap().judge());
        }
        tally
    }

    #[test]
    fn each_kind_of_difference_is_named() {
        let source = [
            object("a", 1, "1"),
            object("b", 2, "2"),
            object("c", 3, "3"),
            object("d", 4, "4"),
        ];
        let destination = [
            object("a", 1, "1"),
            object("b", 9, "2"),
            object("c", 3, "x"),
            object("e", 5, "5"),
        ];
        let tally = tally(Policy::Full, 10, &source, &destination);
        let kinds: Vec<_> = tally
            .differences
            .iter()
            .map(|difference| (difference.key.as_str(), difference.kind, &difference.by[..]))
            .collect();
        assert_eq!(
            kinds,
            [
                ("b", Kind::Different, &[Field::Size][..]),
                ("c", Kind::Different, &[Field::Etag][..]),
                ("d", Kind::Missing, &[][..]),
                ("e", Kind::Extra, &[][..]),
            ]
        );
        assert_eq!((tally.source_bytes, tally.destination_bytes), (10, 18));
        assert_eq!(
            (tally.source_objects(), tally.destination_objects()),
            (4, 4)
        );
    }

    #[test]
    fn the_same_size_with_another_etag_is_for_the_replica_to_say() {
        let both = Pair::Both {
            source: object("a", 1, "1"),
            destination: object("a", 1, "2"),
        };
        assert!(matches!(both.judge(), Verdict::AskReplica { .. }));
    }

    #[test]
    fn objects_whose_etag_no_listing_shows_are_for_the_replica_to_say() {
        for (source, destination) in [("", ""), ("1", ""), ("", "1")] {
            let both = Pair::Both {
                source: object("a", 0, source),
                destination: object("a", 1, destination),
            };
            assert!(matches!(both.judge(), Verdict::AskReplica { .. }));
        }
    }

    #[test]
    fn a_key_that_was_not_compared_is_no_equal_one() {
        let mut tally = Tally::new(Policy::Full, 10);
        tally.add(Verdict::NotCompared {
            source: object("a", 1, "1"),
            destination: object("a", 1, "2"),
            problem: "denied".to_owned(),
        });
        assert!(!tally.is_equal());
        assert_eq!((tally.differences_count(), tally.not_compared), (0, 1));
        assert_eq!(tally.differences[0].problem.as_deref(), Some("denied"));
    }

    #[test]
    fn extras_are_a_difference_under_full_and_only_counted_under_write() {
        let extra = [object("a", 1, "1")];
        let full = tally(Policy::Full, 10, &[], &extra);
        assert!(!full.is_equal() && full.differences.len() == 1);
        let write = tally(Policy::Write, 10, &[], &extra);
        assert!(write.is_equal() && write.differences.is_empty());
        assert_eq!((full.extra, write.extra), (1, 1));
    }

    #[test]
    fn differences_beyond_the_limit_are_counted_and_not_kept() {
        let source: Vec<_> = (0..9).map(|n| object(&n.to_string(), 1, "1")).collect();
        for max in [0, 3, 9] {
            let tally = tally(Policy::Full, max, &source, &[]);
            assert_eq!(tally.differences.len(), max);
            assert_eq!(tally.differences_left_out, 9 - max as u64);
            assert!(!tally.is_equal());
        }
    }

    #[test]
    fn a_failed_listing_is_never_the_end_of_the_bucket() {
        let failed = || vec![Ok(object("a", 1, "1")), Err("access denied")];
        let whole = || vec![Ok(object("a", 1, "1")), Ok(object("b", 1, "1"))];
        for (source, destination) in [(failed(), whole()), (whole(), failed())] {
            let pairs = pairs(source, destination);
            assert!(matches!(pairs[0], Ok(Pair::Both { .. })));
            assert_eq!(pairs[1], Err("access denied"));
        }
    }

    fn bucket() -> impl Strategy<Value = BTreeMap<String, (u64, String)>> {
        // A small alphabet, of one to four bytes a character, so that keys meet.
        proptest::collection::btree_map("[a/é\u{ffff}😀]{1,3}", (0_u64..3, "[xy]"), 0..20)
    }

    fn listing(bucket: &BTreeMap<String, (u64, String)>) -> Vec<Listed> {
        bucket
            .iter()
            .map(|(key, (size, etag))| object(key, *size, etag))
            .collect()
    }

    proptest! {
        #[test]
        fn merging_says_what_comparing_two_maps_says(source in bucket(), destination in bucket()) {
            let tally = tally(Policy::Full, usize::MAX, &listing(&source), &listing(&destination));
            let same = source.iter().filter(|(key, object)| destination.get(*key) == Some(object));
            let missing = source.keys().filter(|key| !destination.contains_key(*key)).count();
            let extra = destination.keys().filter(|key| !source.contains_key(*key)).count();
            let same = same.count();
            prop_assert_eq!(tally.same, same as u64);
            prop_assert_eq!(tally.missing, missing as u64);
            prop_assert_eq!(tally.extra, extra as u64);
            prop_assert_eq!(tally.different, (source.len() - same - missing) as u64);
            prop_assert_eq!(tally.is_equal(), source == destination);
            prop_assert!(tally.differences.is_sorted_by_key(|difference| difference.key.clone()));
        }
    }
}
