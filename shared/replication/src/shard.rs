//! How a job's key space is divided into shards. A shard begins as the whole range. While it is processed, part of its
//! rest is split off as a child shard whenever it turns out to be large. No I/O: the search for a place to cut says
//! which key it needs next, and the caller passes in what it found.

use crate::keyspace::midpoint;

/// A contiguous range of keys: those that begin with `prefix`, come after `after` and not after `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardRange {
    /// The prefix of every key; empty for any key.
    pub prefix: String,
    /// Exclusive lower bound; `None` means from the first key on.
    pub after: Option<String>,
    /// Inclusive upper bound; `None` means to the last key.
    pub until: Option<String>,
}

impl ShardRange {
    /// Creates the range of all keys that begin with `prefix`.
    pub fn of_prefix(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            after: None,
            until: None,
        }
    }

    /// Returns whether `key` lies in the range.
    pub fn contains(&self, key: &str) -> bool {
        key.starts_with(&self.prefix)
            && self.after.as_deref().is_none_or(|after| key > after)
            && self.until.as_deref().is_none_or(|until| key <= until)
    }

    /// Returns the range up to and including `cut`, and the range after it.
    pub fn cut_at(self, cut: String) -> (Self, Self) {
        let upper = Self {
            after: Some(cut.clone()),
            ..self.clone()
        };
        let lower = Self {
            until: Some(cut),
            ..self
        };
        (lower, upper)
    }
}

/// Returns the prefixes to list, in key order, to see every key of the scope's `prefixes` that begins with `within`.
pub fn listing_prefixes(prefixes: &[String], within: &str) -> Vec<String> {
    let mut listed: Vec<String> = prefixes
        .iter()
        .filter_map(|prefix| {
            if prefix.starts_with(within) {
                Some(prefix.clone())
            } else if within.starts_with(prefix.as_str()) {
                Some(within.to_owned())
            } else {
                None
            }
        })
        .collect();
    listed.sort();
    listed.dedup();
    listed
}

/// What is known about the keys at the upper end of a range, so that a search does not have to begin from nothing.
/// Keys may have been deleted or added since. A wrong hint makes shards uneven, never incorrect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hint {
    /// The greatest key that was seen in the range.
    pub known: Option<String>,
    /// No key was seen above this.
    pub empty_above: Option<String>,
}

/// Returns how many keys a shard may ask for to find a place to cut, so that splitting stays a small part of all
/// requests. It depends on the shard's own copies and listings so far, and on the requests `spent` on earlier cuts.
/// Returns `None` if it is too early.
pub fn probes_allowed(copies: u64, listings: u64, spent: u64) -> Option<u32> {
    /// One request is allowed for this many copies, and for this many listings.
    const COPIES_FOR_ONE: u64 = 70;
    const LISTINGS_FOR_ONE: u64 = 25;
    /// At a cut both sides list some keys that are not theirs.
    const PAGES_CUT: u64 = 2;
    const PROBES_MAX: u64 = 10;
    let allowed = copies / COPIES_FOR_ONE + listings / LISTINGS_FOR_ONE;
    let left = allowed.saturating_sub(spent + PAGES_CUT).min(PROBES_MAX);
    (left >= PROBES_MAX / 2).then(|| u32::try_from(left).unwrap_or_default())
}

/// The search for a key at which to cut the rest of a range, about in its middle, and with keys on both sides.
#[derive(Debug)]
pub struct CutSearch {
    rest: ShardRange,
    /// Everything up to here stays with the shard.
    low: String,
    hint: Hint,
    /// The common prefix of all keys seen so far, while the search looks for the end of these keys.
    block: Option<String>,
    tries_middle: bool,
    asked: Option<Asked>,
    probes_left: u32,
    /// Whether the greatest known key was found by halving: then it is far enough.
    far: bool,
}

#[derive(Debug)]
enum Asked {
    /// What comes after the block of keys with a common prefix.
    AfterBlock(String),
    /// What comes after the middle.
    AfterMiddle(String),
}

impl CutSearch {
    /// Creates a search in `rest`, of which a page from `first` to `last` was just listed. It asks for at most
    /// `probes_max` keys.
    pub fn new(rest: ShardRange, first: &str, last: &str, hint: Hint, probes_max: u32) -> Self {
        let known = hint.known.filter(|known| known.as_str() > last);
        let is_bounded = hint.empty_above.is_some() || rest.until.is_some();
        Self {
            far: known.is_some(),
            hint: Hint {
                known,
                empty_above: hint.empty_above,
            },
            low: last.to_owned(),
            block: Some(common_beginning(first, last).to_owned()),
            // Keys are mostly spread over the rest, so that its middle is worth a try.
            tries_middle: is_bounded,
            rest,
            asked: None,
            probes_left: probes_max,
        }
    }

    /// Returns the range whose first key the caller has to read next; `None` when the search is over.
    pub fn next_probe(&mut self) -> Option<ShardRange> {
        if self.far || self.probes_left == 0 {
            return None;
        }
        self.probes_left -= 1;
        let after = if std::mem::take(&mut self.tries_middle) {
            self.ask_middle()?
        } else {
            match self.after_block() {
                Some(after) => after,
                None => self.ask_middle()?,
            }
        };
        Some(ShardRange {
            after: Some(after),
            ..self.rest.clone()
        })
    }

    /// Takes the first key of the range that [`Self::next_probe`] asked for.
    pub fn saw(&mut self, first: Option<String>) {
        match (self.asked.take(), first) {
            (Some(Asked::AfterBlock(block)), Some(key)) => {
                self.block = Some(common_beginning(&block, &key).to_owned());
                self.hint.known = Some(key);
            }
            (Some(Asked::AfterBlock(block)), None) => self.hint.empty_above = after_all(&block),
            (Some(Asked::AfterMiddle(_)), Some(key)) => {
                self.hint.known = Some(key);
                self.far = true;
            }
            (Some(Asked::AfterMiddle(middle)), None) => self.hint.empty_above = Some(middle),
            (None, _) => {}
        }
    }

    /// Returns where to cut, if a key is known above the listed page, and what is known about the upper side.
    pub fn end(self) -> (Option<String>, Hint) {
        let known = self.hint.known.as_deref();
        let cut = known.and_then(|known| midpoint(&self.low, Some(known)));
        (cut, self.hint)
    }

    /// Returns the end of the block of keys, if it lies within the rest of the range.
    fn after_block(&mut self) -> Option<String> {
        let block = self.block.take()?;
        let after = after_all(&block)?;
        let is_within =
            block.len() >= self.rest.prefix.len() && self.high().is_none_or(|high| after < high);
        is_within.then(|| {
            self.asked = Some(Asked::AfterBlock(block));
            after
        })
    }

    /// Returns a key about half-way from the greatest known key to the end.
    fn ask_middle(&mut self) -> Option<String> {
        let low = self.hint.known.as_deref().unwrap_or(&self.low);
        let middle = midpoint(low, self.high().as_deref())?;
        self.asked = Some(Asked::AfterMiddle(middle.clone()));
        Some(middle)
    }

    /// Returns the least known bound above which the range has no keys.
    fn high(&self) -> Option<String> {
        let beyond_prefix = after_all(&self.rest.prefix);
        let ends = [&self.hint.empty_above, &self.rest.until, &beyond_prefix];
        ends.into_iter().flatten().min().cloned()
    }
}

/// Returns the common prefix of two keys.
fn common_beginning<'a>(one: &'a str, other: &str) -> &'a str {
    let mut end = 0;
    for (mine, theirs) in one.chars().zip(other.chars()) {
        if mine != theirs {
            break;
        }
        end += mine.len_utf8();
    }
    &one[..end]
}

/// Returns the least text above every key that begins with `block`; `None` if there is none, or if `block` is empty.
fn after_all(block: &str) -> Option<String> {
    let mut rest = block.to_owned();
    while let Some(last) = rest.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            rest.push(next);
            return Some(rest);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ops::Bound;

    use proptest::prelude::*;

    use super::*;

    const PROBES: u32 = 10;
    /// S3's own page size.
    const PAGE: usize = 1_000;

    /// Returns the keys of a range, as a listing shows them.
    fn listed<'a>(
        keys: &'a BTreeSet<String>,
        range: &'a ShardRange,
    ) -> impl Iterator<Item = &'a String> {
        let after = range
            .after
            .as_deref()
            .map_or(Bound::Unbounded, Bound::Excluded);
        keys.range::<str, _>((after, Bound::Unbounded))
            .filter(|key| range.contains(key))
    }

    /// Searches as a shard does whose page has the first `page` keys of its rest. Returns the cut, what was found out,
    /// and the number of probes.
    fn search(
        keys: &BTreeSet<String>,
        rest: &ShardRange,
        hint: Hint,
        page: usize,
        probes_max: u32,
    ) -> (Option<String>, Hint, u32) {
        let inside: Vec<&String> = listed(keys, rest).take(page).collect();
        let (Some(first), Some(last)) = (inside.first(), inside.get(page - 1)) else {
            return (None, hint, 0);
        };
        let mut search = CutSearch::new(rest.clone(), first, last, hint, probes_max);
        let mut probes = 0;
        while let Some(range) = search.next_probe() {
            probes += 1;
            search.saw(listed(keys, &range).next().cloned());
        }
        let (cut, hint) = search.end();
        (cut, hint, probes)
    }

    /// A shard that has not ended.
    struct Open {
        range: ShardRange,
        hint: Hint,
        copies: u64,
        pages: u64,
        spent: u64,
    }

    impl Open {
        fn new(range: ShardRange, hint: Hint) -> Self {
            Self {
                range,
                hint,
                copies: 0,
                pages: 0,
                spent: 0,
            }
        }
    }

    /// The result of a job.
    #[derive(Debug, Default)]
    struct Course {
        rounds: usize,
        probes: usize,
        pages: usize,
        seen: Vec<String>,
    }

    /// Runs a job with this many workers. In each round every open shard lists a page. It splits off part of its rest,
    /// if a worker is free for that and it is `allowed` to ask for keys. Then it continues after its page.
    fn work_off(
        keys: &BTreeSet<String>,
        workers: usize,
        page: usize,
        allowed: impl Fn(&Open) -> Option<u32>,
    ) -> Course {
        let mut open = vec![Open::new(ShardRange::of_prefix(""), Hint::default())];
        let mut course = Course::default();
        while !open.is_empty() {
            course.rounds += 1;
            let mut children = Vec::new();
            let begun = open.len();
            for shard in &mut open {
                let of_page: Vec<String> = listed(keys, &shard.range).take(page).cloned().collect();
                course.pages += 1;
                shard.pages += 1;
                shard.copies += of_page.len() as u64;
                let is_full = of_page.len() == page && begun + children.len() < workers;
                if let (true, Some(probes_max)) = (is_full, allowed(shard)) {
                    let hint = std::mem::take(&mut shard.hint);
                    let (cut, hint, probes) = search(keys, &shard.range, hint, page, probes_max);
                    course.probes += probes as usize;
                    shard.spent += u64::from(probes);
                    if let Some(cut) = cut {
                        // As `backfill-shard` counts it: both sides list keys at the cut that are not theirs.
                        shard.spent += 2;
                        let (lower, upper) = shard.range.clone().cut_at(cut);
                        shard.range = lower;
                        children.push(Open::new(upper, hint));
                    } else {
                        shard.hint = hint;
                    }
                }
                shard.range.after = of_page.last().cloned().or(shard.range.after.take());
                course.seen.extend(of_page);
            }
            open.retain(|shard| listed(keys, &shard.range).next().is_some());
            open.append(&mut children);
        }
        course.seen.sort();
        course
    }

    #[test]
    fn a_range_that_fits_one_page_is_not_cut() {
        let keys: BTreeSet<String> = (0..5).map(|n| format!("k{n}")).collect();
        let whole = ShardRange::of_prefix("");
        let (cut, ..) = search(&keys, &whole, Hint::default(), 5, PROBES);
        assert_eq!(cut, None);
    }

    // Promise: Keys under one prefix are spread over all shards.
    #[test]
    fn keys_under_one_prefix_of_any_kind_are_spread_over_all_shards() {
        let counted = |n: u32| format!("backup/2026/img-{n:07}.jpg");
        let dated = |n: u32| {
            let (month, day) = (n / 2_500 % 12 + 1, n / 100 % 28 + 1);
            format!("logs/2026-{month:02}-{day:02}/{n:06}")
        };
        let hashed = |n: u32| format!("{:08x}", n.wrapping_mul(2_654_435_761));
        let unicode = |n: u32| format!("写真/{}{n}", char::from_u32(0x4e00 + n % 5_000).unwrap());
        let kinds: [&dyn Fn(u32) -> String; 4] = [&counted, &dated, &hashed, &unicode];
        for kind in kinds {
            let keys: BTreeSet<String> = (0..60_000).map(kind).collect();
            let as_a_job =
                |shard: &Open| probes_allowed(shard.copies, 2 * shard.pages, shard.spent);
            let course = work_off(&keys, 16, PAGE, as_a_job);
            let about = format!(
                "{}: {} rounds, {} pages, {} probes",
                kind(0),
                course.rounds,
                course.pages,
                course.probes
            );
            // One worker would need 60 rounds. Sixteen would need 4 if they knew beforehand where to begin.
            assert!(course.rounds <= 20, "{about}");
            // Both sides are listed, and the source once more. With the copies, that is at most 1.02 requests a key.
            let beside_copies = 3 * course.pages + course.probes;
            assert!(beside_copies * 50 <= keys.len(), "{about}");
        }
    }

    #[test]
    fn splitting_waits_until_it_is_a_small_part_of_all_requests() {
        assert_eq!(probes_allowed(0, 2, 0), None);
        assert_eq!(probes_allowed(1_000, 2, 0), Some(10));
        assert_eq!(probes_allowed(1_000, 2, 12), None);
        assert_eq!(probes_allowed(0, 150, 0), None);
        assert_eq!(probes_allowed(0, 250, 0), Some(8));
    }

    #[test]
    fn a_scope_is_narrowed_to_the_keys_that_both_cover() {
        let prefixes = ["b/".to_owned(), "a/1/".to_owned()];
        assert_eq!(listing_prefixes(&prefixes, ""), ["a/1/", "b/"]);
        assert_eq!(listing_prefixes(&prefixes, "a/"), ["a/1/"]);
        assert_eq!(listing_prefixes(&prefixes, "b/x"), ["b/x"]);
        assert!(listing_prefixes(&prefixes, "c").is_empty());
        assert_eq!(listing_prefixes(&[String::new()], "c/"), ["c/"]);
    }

    proptest! {
        // Promise: Every key belongs to one shard, however often shards are split, handed on and released.
        #[test]
        fn a_cut_leaves_every_key_in_one_half_and_what_was_listed_in_the_lower(
            keys in proptest::collection::btree_set("(a|b|dir/|ü|\\PC){1,6}", 1..200),
            later in proptest::collection::vec("(a|b|dir/|ü|\\PC){1,6}", 50),
            prefix in "(a|dir/)?",
            page in 1_usize..20,
        ) {
            let whole = ShardRange::of_prefix(prefix);
            let (cut, _, probes) = search(&keys, &whole, Hint::default(), page, PROBES);
            prop_assert!(probes <= PROBES);
            if let Some(cut) = cut {
                let (lower, upper) = whole.clone().cut_at(cut);
                // Keys that existed before, and keys that are added later.
                for key in keys.iter().chain(&later) {
                    let halves = [&lower, &upper].into_iter().filter(|half| half.contains(key)).count();
                    prop_assert_eq!(halves, usize::from(whole.contains(key)), "{:?}", key);
                }
                let inside: Vec<_> = keys.iter().filter(|key| whole.contains(key)).collect();
                prop_assert!(inside[..page].iter().all(|key| lower.contains(key)));
                prop_assert!(keys.iter().any(|key| upper.contains(key)));
            }
        }

        // Promise: Every key belongs to one shard, however often shards are split, handed on and released.
        #[test]
        fn every_key_is_seen_exactly_once_however_often_shards_are_cut(
            keys in proptest::collection::btree_set("(a|b|dir/|ü|\\PC){1,6}", 0..200),
        ) {
            let course = work_off(&keys, 12, 3, |_| Some(PROBES));
            let all: Vec<String> = keys.into_iter().collect();
            prop_assert_eq!(course.seen, all);
        }
    }
}
