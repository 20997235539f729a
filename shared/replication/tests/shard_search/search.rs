//! The depth-first search through every schedule. It plays every schedule from the beginning, and never continues from
//! a state that it has seen.

use std::collections::HashSet;

use super::run::{Event, Run, Scenario};

/// A schedule that ended in a violation.
#[derive(Debug)]
pub struct Violation {
    pub schedule: Vec<Event>,
    pub wrong: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\nafter", self.wrong)?;
        self.schedule
            .iter()
            .try_for_each(|event| write!(f, " {event:?},"))
    }
}

/// Plays every schedule of a scenario. Returns the number of states.
pub fn exhaust(scenario: &Scenario) -> Result<usize, Box<Violation>> {
    let mut visited = HashSet::new();
    // The choices of the current schedule, each with the number of events to choose from.
    let mut path: Vec<(usize, usize)> = Vec::new();
    loop {
        play(scenario, &mut path, &mut visited)?;
        while path.last().is_some_and(|&(chosen, of)| chosen + 1 == of) {
            path.pop();
        }
        match path.last_mut() {
            // The frontier is empty.
            None => return Ok(visited.len()),
            Some(last) => last.0 += 1,
        }
    }
}

fn play(
    scenario: &Scenario,
    path: &mut Vec<(usize, usize)>,
    visited: &mut HashSet<u64>,
) -> Result<(), Box<Violation>> {
    let mut run = Run::new(scenario);
    let mut schedule = Vec::new();
    let mut at = 0;
    loop {
        if at >= path.len() && !visited.insert(run.digest()) {
            return Ok(());
        }
        let events = run.events();
        let wrong = if events.is_empty() {
            run.wrong()
        } else {
            run.violated()
        };
        if let Some(wrong) = wrong {
            return Err(Box::new(Violation { schedule, wrong }));
        }
        if events.is_empty() {
            return Ok(());
        }
        if at == path.len() {
            path.push((0, events.len()));
        }
        let event = events[path[at].0];
        at += 1;
        schedule.push(event);
        run.happen(event);
    }
}
