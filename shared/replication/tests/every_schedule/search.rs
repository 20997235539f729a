//! A breadth-first search of every state that a scenario can reach.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::model::Scenario;
use super::program::{Next, Program};
use super::world::{Event, State};

/// The number of states at which a search stops.
const STATES_MAX: usize = 6_000_000;

/// What a search covered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Searched {
    pub states: usize,
    /// How many of the states are ends, where nothing more can happen.
    pub ends: usize,
    /// How many histories of attempts the search ran through the real code.
    pub histories: usize,
    /// How many states were met and not expanded. If this is not 0, the search is not exhausted.
    pub frontier: usize,
}

/// The shortest schedule that ends in a violation.
#[derive(Debug)]
pub struct Violation {
    pub wrong: String,
    pub schedule: String,
    pub end: State,
}

/// Searches every state that the scenario can reach.
pub fn search(scenario: &Scenario) -> Result<Searched, Box<Violation>> {
    let mut program = Program::new(scenario);
    let first = State::first(scenario);
    // How each state was first reached, by the states' 128-bit digests.
    let mut reached: Digests<Option<(u128, Event)>> = Digests::default();
    reached.insert(digest(&first), None);
    let mut frontier = VecDeque::from([first]);
    let mut searched = Searched::default();
    while let Some(state) = frontier.pop_front() {
        let events = state.events(scenario);
        let here = digest(&state);
        if events.is_empty() {
            searched.ends += 1;
            if let Some(wrong) = state.verdict(scenario) {
                return Err(violation(
                    scenario,
                    &mut program,
                    &reached,
                    here,
                    None,
                    wrong,
                ));
            }
        }
        for event in events {
            match state.after(event, &mut program, scenario) {
                Ok(next) => {
                    if let std::collections::hash_map::Entry::Vacant(new) =
                        reached.entry(digest(&next))
                    {
                        new.insert(Some((here, event)));
                        frontier.push_back(next);
                    }
                }
                Err(wrong) => {
                    let last = Some(event);
                    return Err(violation(
                        scenario,
                        &mut program,
                        &reached,
                        here,
                        last,
                        wrong,
                    ));
                }
            }
        }
        if reached.len() > STATES_MAX {
            break;
        }
    }
    Ok(Searched {
        states: reached.len(),
        histories: program.len(),
        frontier: frontier.len(),
        ..searched
    })
}

/// Follows one path through a scenario to its end, chosen by `seed`.
pub fn walk(scenario: &Scenario, program: &mut Program<'_>, seed: u64) -> Result<(), String> {
    let (mut state, mut random) = (State::first(scenario), seed);
    let mut events = state.events(scenario);
    let mut schedule = Vec::new();
    while !events.is_empty() {
        // `SplitMix64`: small, and the same on every machine.
        random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let chosen = usize::try_from((z ^ (z >> 31)) % events.len() as u64).unwrap();
        schedule.push(events[chosen]);
        state = state
            .after(events[chosen], program, scenario)
            .map_err(|wrong| format!("{wrong}\n{scenario:#?}\n{schedule:#?}"))?;
        events = state.events(scenario);
    }
    match state.verdict(scenario) {
        Some(wrong) => Err(format!("{wrong}\n{scenario:#?}\n{schedule:#?}\n{state:#?}")),
        None => Ok(()),
    }
}

fn digest(state: &State) -> u128 {
    let mut digest = Digest {
        low: 0x9e37_79b9_7f4a_7c15,
        high: 0xc2b2_ae3d_27d4_eb4f,
    };
    state.hash(&mut digest);
    u128::from(digest.high) << 64 | u128::from(digest.low)
}

/// 128 bits in one pass: two halves, each mixed as `SplitMix64` does.
#[derive(Default)]
struct Digest {
    low: u64,
    high: u64,
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        let mix = |lane: u64, first: u64, second: u64| {
            let lane = (lane ^ word).wrapping_mul(first);
            let lane = (lane ^ (lane >> 29)).wrapping_mul(second);
            lane ^ (lane >> 32)
        };
        self.low = mix(self.low, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb);
        self.high = mix(
            self.high.rotate_left(23),
            0xff51_afd7_ed55_8ccd,
            0xc4ce_b9fe_1a85_ec53,
        );
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_i64(word as i64);
    }

    fn write_i64(&mut self, word: i64) {
        self.write_u64(word.cast_unsigned());
    }

    fn finish(&self) -> u64 {
        self.low
    }
}

/// A map whose keys are digests already, so that they are not hashed again.
type Digests<V> = HashMap<u128, V, BuildHasherDefault<Digest>>;

/// Follows the path to a state again, and records its events.
fn violation(
    scenario: &Scenario,
    program: &mut Program<'_>,
    reached: &Digests<Option<(u128, Event)>>,
    end: u128,
    last: Option<Event>,
    wrong: String,
) -> Box<Violation> {
    let mut events: Vec<Event> = last.into_iter().collect();
    let mut at = end;
    while let Some((before, event)) = reached[&at] {
        events.push(event);
        at = before;
    }
    events.reverse();
    let mut schedule = format!("{scenario:#?}\n");
    let mut state = State::first(scenario);
    for event in events {
        let what = match event {
            Event::Step { running } | Event::Refuse { running } => {
                let running = &state.running[running];
                match program.next(running.history) {
                    Next::Sends(request) => format!("{:?} {request:?}", running.messages),
                    Next::Ends(ended) => format!("{ended:?}"),
                }
            }
            Event::Land { running } | Event::Crash { running } | Event::NoAnswer { running } => {
                format!("{:?}", state.running[running])
            }
            Event::LandOrphan { orphan } | Event::LoseOrphan { orphan } => {
                format!("{:?}", state.orphans[orphan])
            }
            Event::Write { .. } => format!("{:?}", scenario.writes[state.written]),
            Event::Deliver { first, .. } => format!("{:?}", state.queue[first]),
            _ => String::new(),
        };
        let _ = writeln!(schedule, "{event:?} {what}");
        match state.after(event, program, scenario) {
            Ok(next) => state = next,
            Err(_) => break,
        }
    }
    let _ = writeln!(schedule, "{state:#?}");
    Box::new(Violation {
        wrong,
        schedule,
        end: state,
    })
}
