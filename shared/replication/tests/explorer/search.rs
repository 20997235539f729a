//! Which schedules are played: all of them, or a random choice that a seed repeats.

use super::run::{Event, Scenario, play};

/// A schedule that ended wrong.
#[derive(Debug)]
pub struct Violation {
    pub scenario: Scenario,
    pub schedule: Vec<Event>,
    pub wrong: String,
}

/// Plays every schedule of a scenario, but no more than `limit`. Answers how many were played, and whether
/// these were all.
pub fn exhaust(scenario: &Scenario, limit: u64) -> Result<(u64, bool), Box<Violation>> {
    // The choices of the last schedule, each with the number of events there were to choose from.
    let mut path: Vec<(usize, usize)> = Vec::new();
    let mut played = 0;
    loop {
        let mut at = 0;
        let (schedule, wrong) = play(scenario, |options| {
            if at == path.len() {
                path.push((0, options));
            }
            let chosen = path[at].0;
            at += 1;
            chosen
        });
        played += 1;
        if let Some(wrong) = wrong {
            return Err(Box::new(Violation {
                scenario: scenario.clone(),
                schedule,
                wrong,
            }));
        }
        while path
            .last()
            .is_some_and(|&(chosen, options)| chosen + 1 == options)
        {
            path.pop();
        }
        match path.last_mut() {
            None => return Ok((played, true)),
            Some(_) if played == limit => return Ok((played, false)),
            Some(last) => last.0 += 1,
        }
    }
}

/// Plays one schedule of a scenario, chosen by `seed`.
pub fn sample(scenario: &Scenario, seed: u64) -> Result<(), Box<Violation>> {
    let mut state = seed;
    let (schedule, wrong) = play(scenario, |options| {
        // SplitMix64: small, and the same on every machine.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % options as u64).unwrap_or_default()
    });
    match wrong {
        None => Ok(()),
        Some(wrong) => Err(Box::new(Violation {
            scenario: scenario.clone(),
            schedule,
            wrong,
        })),
    }
}
