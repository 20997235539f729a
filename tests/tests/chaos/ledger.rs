//! Counts of what happened in a run, by kind, and the table that shows them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counts by heading and kind, ordered by name.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Counts>);

type Counts = BTreeMap<&'static str, BTreeMap<String, u64>>;

impl Ledger {
    /// Adds one.
    pub fn count(&self, heading: &'static str, kind: &str) {
        self.add(heading, kind, 1);
    }

    /// Adds `count`.
    pub fn add(&self, heading: &'static str, kind: &str, count: u64) {
        let mut counts = self.counts();
        let kinds = counts.entry(heading).or_default();
        *kinds.entry(kind.to_owned()).or_default() += count;
    }

    /// The sum of a heading.
    pub fn total(&self, heading: &str) -> u64 {
        let counts = self.counts();
        counts.get(heading).map_or(0, |kinds| kinds.values().sum())
    }

    /// The count of one kind of a heading.
    pub fn number(&self, heading: &str, kind: &str) -> u64 {
        let counts = self.counts();
        let kinds = counts.get(heading);
        kinds
            .and_then(|kinds| kinds.get(kind))
            .copied()
            .unwrap_or_default()
    }

    /// Renders all counts.
    pub fn table(&self) -> String {
        let mut table = String::new();
        for (heading, kinds) in self.counts().iter() {
            let _ = writeln!(table, "  {heading} ({})", kinds.values().sum::<u64>());
            for (kind, count) in kinds {
                let _ = writeln!(table, "    {kind:<44} {count:>8}");
            }
        }
        table
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
