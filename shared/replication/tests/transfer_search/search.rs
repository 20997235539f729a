//! Plays every schedule of a scenario. A state that was visited before is not played again, because everything that
//! follows it has been played.

use std::collections::HashSet;

use super::run::{Event, Scenario, play};

/// A schedule that ended in a violation.
#[derive(Debug)]
pub struct Violation {
    pub schedule: Vec<Event>,
    pub wrong: String,
}

/// What a search has covered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Covered {
    /// The number of different states in which there was a choice.
    pub states: usize,
    /// The number of schedules that were played, completely or up to a state that was visited before.
    pub runs: usize,
    /// The number of states whose events were not all played.
    pub frontier: usize,
}

/// Plays every schedule, up to `states_max` states. If there are more, the frontier is not empty.
pub fn exhaust(scenario: &Scenario, states_max: usize) -> Result<Covered, Box<Violation>> {
    let mut visited: HashSet<u64> = HashSet::new();
    // The choices of the last run, each with the number of events to choose from.
    let mut path: Vec<(usize, usize)> = Vec::new();
    let mut runs = 0;
    loop {
        let mut at = 0;
        let (schedule, wrong) = play(scenario, |events, digest| {
            if events == 1 {
                return Some(0);
            }
            if at == path.len() {
                if !visited.insert(digest()) {
                    return None;
                }
                path.push((0, events));
            }
            at += 1;
            Some(path[at - 1].0)
        });
        runs += 1;
        if let Some(wrong) = wrong {
            return Err(Box::new(Violation { schedule, wrong }));
        }
        while path
            .last()
            .is_some_and(|&(chosen, events)| chosen + 1 == events)
        {
            path.pop();
        }
        let covered = Covered {
            states: visited.len(),
            runs,
            frontier: path.len(),
        };
        match path.last_mut() {
            Some(last) if visited.len() < states_max => last.0 += 1,
            _ => return Ok(covered),
        }
    }
}
