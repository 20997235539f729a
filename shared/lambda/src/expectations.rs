//! What is expected of each rule's next put, for as long as the process lives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tandem_replication::expectation::Expectation;
use tandem_replication::names::RuleId;
use tandem_replication::rule::Rule;

/// The expectations of all rules that the process has worked for.
#[derive(Debug, Default)]
pub struct Expectations(Mutex<HashMap<RuleId, Arc<Expectation>>>);

impl Expectations {
    /// Returns the expectation of one rule: what the process has learned, or else what the rule says.
    pub fn of(&self, rule: &Rule) -> Arc<Expectation> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(rule.id.clone())
            .or_insert_with(|| Arc::new(Expectation::of_rule(rule)))
            .clone()
    }
}
