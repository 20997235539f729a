//! Stores what this process has learned about the replicas of each rule, so that the next put needs one request fewer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tandem_replication::names::RuleId;
use tandem_replication::put_hint::PutHint;
use tandem_replication::rule::Rule;

/// The hints of all rules for which the process has replicated puts.
#[derive(Debug, Default)]
pub struct PutHints(Mutex<HashMap<RuleId, Arc<PutHint>>>);

impl PutHints {
    /// Returns the hint of one rule: what the process has learned, or otherwise what the stored rule says.
    pub fn of(&self, rule: &Rule) -> Arc<PutHint> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(rule.id.clone())
            .or_insert_with(|| Arc::new(PutHint::of_rule(rule)))
            .clone()
    }
}
