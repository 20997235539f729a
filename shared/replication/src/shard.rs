//! How a rule's key space is cut into shards before anybody knows what is in it. No I/O: the planner says
//! which listing it wants to see next and is told what was found.

use crate::keyspace::midpoint;

/// A contiguous range of keys: those that begin with `prefix`, come after `after` and not after `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardRange {
    /// Every key begins so; empty for any key.
    pub prefix: String,
    /// Exclusive lower bound; `None` from the first key on.
    pub after: Option<String>,
    /// Inclusive upper bound; `None` to the last key.
    pub until: Option<String>,
}

impl ShardRange {
    /// All keys that begin with `prefix`.
    pub fn of_prefix(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            after: None,
            until: None,
        }
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &str) -> bool {
        key.starts_with(&self.prefix)
            && self.after.as_deref().is_none_or(|after| key > after)
            && self.until.as_deref().is_none_or(|until| key <= until)
    }
}

/// What the first page of a range's listing showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glimpse {
    /// The first key in the range; `None` if there is none.
    pub first: Option<String>,
    /// Whether that page held all keys of the range.
    pub complete: bool,
}

/// Cuts key ranges in halves until there are enough shards, or nothing worth cutting.
#[derive(Debug)]
pub struct ShardPlanner {
    ranges: Vec<Candidate>,
    shards_max: usize,
    glimpses_left: usize,
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Candidate {
    range: ShardRange,
    /// A key that exists in the range, below which nothing does.
    first: Option<String>,
    /// Nothing was seen above this key, so cuts are looked for below it.
    seen_until: Option<String>,
    /// How many cuts made this range: those with the fewest are cut next.
    cuts: u32,
    /// Not worth cutting further.
    settled: bool,
}

#[derive(Debug)]
struct Asked {
    candidate: usize,
    cut: Option<String>,
}

impl ShardPlanner {
    /// Plans at most about `shards_max` shards over the keys that begin with one of `prefixes`, after
    /// looking at no more than `glimpses_max` pages.
    pub fn new(prefixes: Vec<String>, shards_max: usize, glimpses_max: usize) -> Self {
        let candidate = |prefix| Candidate {
            range: ShardRange::of_prefix(prefix),
            first: None,
            seen_until: None,
            cuts: 0,
            settled: false,
        };
        Self {
            ranges: prefixes.into_iter().map(candidate).collect(),
            shards_max,
            glimpses_left: glimpses_max,
            asked: None,
        }
    }

    /// The range whose first page should be looked at next; `None` when the plan is finished.
    pub fn next_glimpse(&mut self) -> Option<ShardRange> {
        loop {
            if self.glimpses_left == 0 {
                return None;
            }
            let enough = self.ranges.len() >= self.shards_max;
            let (at, candidate) = self
                .ranges
                .iter_mut()
                .enumerate()
                .filter(|(_, candidate)| {
                    !candidate.settled && (candidate.first.is_none() || !enough)
                })
                .min_by_key(|(_, candidate)| candidate.cuts)?;
            let Some(first) = &candidate.first else {
                self.asked = Some(Asked {
                    candidate: at,
                    cut: None,
                });
                self.glimpses_left -= 1;
                return Some(candidate.range.clone());
            };
            let Some(cut) = candidate.cut_above(first) else {
                candidate.settled = true;
                continue;
            };
            let upper = ShardRange {
                after: Some(cut.clone()),
                ..candidate.range.clone()
            };
            self.asked = Some(Asked {
                candidate: at,
                cut: Some(cut),
            });
            self.glimpses_left -= 1;
            return Some(upper);
        }
    }

    /// Tells what the page asked for by [`Self::next_glimpse`] showed.
    pub fn saw(&mut self, glimpse: Glimpse) {
        let Some(asked) = self.asked.take() else {
            return;
        };
        let candidate = &mut self.ranges[asked.candidate];
        match (asked.cut, glimpse.first) {
            (None, first) => {
                candidate.settled = glimpse.complete || first.is_none();
                candidate.first = first;
            }
            // Every key lies below the cut. The shard still covers what may yet come above it.
            (Some(cut), None) => candidate.seen_until = Some(cut),
            (Some(cut), Some(first)) => {
                candidate.cuts += 1;
                let upper = Candidate {
                    range: ShardRange {
                        after: Some(cut.clone()),
                        ..candidate.range.clone()
                    },
                    first: Some(first),
                    seen_until: candidate.seen_until.take(),
                    cuts: candidate.cuts,
                    settled: glimpse.complete,
                };
                candidate.range.until = Some(cut);
                self.ranges.push(upper);
            }
        }
    }

    /// The shards, in the order of their keys; together they cover every key of the prefixes exactly once.
    pub fn into_shards(self) -> Vec<ShardRange> {
        let mut shards: Vec<ShardRange> = self
            .ranges
            .into_iter()
            .map(|candidate| candidate.range)
            .collect();
        shards.sort_by(|a, b| (&a.prefix, &a.after).cmp(&(&b.prefix, &b.after)));
        shards
    }
}

impl Candidate {
    /// Where to cut: within the prefix, at or above `first`, below everything that was seen to be empty.
    fn cut_above(&self, first: &str) -> Option<String> {
        let prefix = &self.range.prefix;
        let within = |key: &str| key.strip_prefix(prefix.as_str()).map(str::to_owned);
        let high = self
            .seen_until
            .as_ref()
            .or(self.range.until.as_ref())
            .and_then(|key| within(key));
        let cut = midpoint(&within(first)?, high.as_deref())?;
        Some(format!("{prefix}{cut}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const PAGE: usize = 10;

    fn plan(keys: &BTreeSet<String>, prefixes: Vec<String>, shards_max: usize) -> Vec<ShardRange> {
        let mut planner = ShardPlanner::new(prefixes, shards_max, 500);
        while let Some(range) = planner.next_glimpse() {
            let mut inside = keys.iter().filter(|key| range.contains(key));
            let first = inside.next().cloned();
            planner.saw(Glimpse {
                first,
                complete: inside.count() < PAGE,
            });
        }
        planner.into_shards()
    }

    #[test]
    fn a_few_keys_are_one_shard() {
        let keys: BTreeSet<String> = (0..5).map(|n| format!("k{n}")).collect();
        assert_eq!(
            plan(&keys, vec![String::new()], 16),
            [ShardRange::of_prefix("")]
        );
    }

    #[test]
    fn many_keys_under_one_long_prefix_are_spread_over_all_shards() {
        let keys: BTreeSet<String> = (0..5_000)
            .map(|n| format!("backup/2026/img-{n:06}.jpg"))
            .collect();
        let shards = plan(&keys, vec![String::new()], 16);
        assert_eq!(shards.len(), 16);
        let largest = shards
            .iter()
            .map(|s| keys.iter().filter(|key| s.contains(key)).count())
            .max();
        assert!(largest < Some(1_500), "{largest:?} of 5,000 in one shard");
    }

    #[test]
    fn every_prefix_has_a_shard_though_nothing_is_there() {
        let shards = plan(&BTreeSet::new(), vec!["a/".into(), "b/".into()], 16);
        assert_eq!(
            shards,
            [ShardRange::of_prefix("a/"), ShardRange::of_prefix("b/")]
        );
    }

    proptest! {
        #[test]
        fn shards_cover_every_key_exactly_once(
            keys in proptest::collection::btree_set("(a|b|dir/|ü|\\PC){1,6}", 0..200),
            later in proptest::collection::vec("(a|b|dir/|ü|\\PC){1,6}", 50),
            all in any::<bool>(),
        ) {
            let prefixes = if all { vec![String::new()] } else { vec!["a".into(), "dir/".into()] };
            let covered = |key: &str| prefixes.iter().any(|prefix: &String| key.starts_with(prefix.as_str()));
            let shards = plan(&keys, prefixes.clone(), 8);
            // Keys that were there, and keys that come later.
            for key in keys.iter().chain(&later) {
                let times = shards.iter().filter(|shard| shard.contains(key)).count();
                prop_assert_eq!(times, usize::from(covered(key)), "{:?}", key);
            }
        }
    }
}
