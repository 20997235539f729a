//! Plays every schedule of a case. A state that was reached before is not explored again.

use std::collections::HashSet;
use std::fmt;

use super::run::{Case, Event, play};

/// A schedule that ended in a violation.
#[derive(Debug)]
pub struct Violation {
    pub schedule: Vec<Event>,
    pub wrong: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, by {:?}", self.wrong, self.schedule)
    }
}

/// What a search has explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explored {
    pub states: usize,
    pub runs: u64,
    /// States that were reached without exploring all their successors.
    pub frontier: usize,
}

/// Plays every schedule of a case, but at most `runs_max`.
pub fn exhaust(case: &Case, runs_max: u64) -> Result<Explored, Box<Violation>> {
    // The choices of the last schedule, each with the number of events to choose from.
    let mut path: Vec<(usize, usize)> = Vec::new();
    let mut visited = HashSet::new();
    let mut runs = 0;
    loop {
        let mut at = 0;
        let (schedule, wrong) = play(case, |options, digest| {
            if at == path.len() {
                if !visited.insert(digest()) {
                    return None;
                }
                path.push((0, options));
            }
            let chosen = path[at].0;
            at += 1;
            Some(chosen)
        });
        runs += 1;
        if let Some(wrong) = wrong {
            return Err(Box::new(Violation { schedule, wrong }));
        }
        while path
            .last()
            .is_some_and(|&(chosen, options)| chosen + 1 == options)
        {
            path.pop();
        }
        let frontier = path.len();
        if frontier == 0 || runs == runs_max {
            return Ok(Explored {
                states: visited.len(),
                runs,
                frontier,
            });
        }
        if let Some(last) = path.last_mut() {
            last.0 += 1;
        }
    }
}
