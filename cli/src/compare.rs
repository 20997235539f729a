//! Compares two buckets by two listings in key order. Keeps in memory one object of each listing, and
//! at most as many differences as the caller asks for. No I/O of its own.

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
    /// Whole seconds, as S3 reports it.
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

/// The outcome of comparing one key.
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
    /// One of the two could not be read, and the listings do not show whether they are equal.
    NotCompared {
        source: Listed,
        destination: Listed,
        problem: String,
    },
    /// The same size, another `ETag`. Only the replica's metadata show whether it is a copy that
    /// could not keep its source's `ETag`.
    AskReplica {
        source: Listed,
        destination: Listed,
    },
}

/// A property in which two objects of one key differ.
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
            // An error counts as the smallest key, so that it is returned before anything else.
            let left = source.as_mut().peek().await;
            let right = destination.as_mut().peek().await;
            let order = match (left, right) {
                (None, None) => return None,
                (Some(_), None) | (Some(Err(_)), _) => Next::Source,
                (None, Some(_)) | (_, Some(Err(_))) => Next::Destination,
                (Some(Ok(left)), Some(Ok(right))) => Next::of(left, right),
            };
            match order {
                Next::Source => next(&mut source).await?.map(Pair::SourceOnly),
                Next::Destination => next(&mut destination).await?.map(Pair::DestinationOnly),
                Next::Both => {
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

/// The listing to advance next.
enum Next {
    Source,
    Destination,
    Both,
}

impl Next {
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
pub struct Summary {
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
    /// Differences that were counted but not kept.
    pub differences_left_out: u64,
    #[serde(skip)]
    extras_count: bool,
    #[serde(skip)]
    differences_max: usize,
}

impl Summary {
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

    /// Counts one key. `AskReplica` counts as different, because no HEAD has settled it.
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

    /// Returns whether every key was compared and none differs.
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
mod tests;
