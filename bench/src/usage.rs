//! CPU time and peak memory of a process, as Linux reports them in `/proc`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// Linux counts a process's CPU time in hundredths of a second, on every processor (`USER_HZ`, proc(5)).
const TICKS_PER_SEC: u64 = 100;

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// CPU time of all its threads, in user and kernel mode, and of those of its children that it has waited for.
    pub cpu: Duration,
    /// The peak of its resident memory, or of one of its children.
    pub peak_bytes: u64,
}

impl Usage {
    /// Reads what a process has used that runs, or that has ended and was not waited for.
    ///
    /// # Panics
    /// If there is no such process, or no `/proc`.
    pub fn of(process: u32) -> Self {
        Self {
            cpu: parse_stat(&read(process, "stat")).expect("proc(5)").cpu,
            peak_bytes: peak_bytes(process),
        }
    }

    /// Returns the CPU time of both, and the larger peak.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            cpu: self.cpu + other.cpu,
            peak_bytes: self.peak_bytes.max(other.peak_bytes),
        }
    }

    /// Returns what was used since `before`; the peak is that of the process's whole life.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            ..self
        }
    }
}

/// Returns whether a process has ended, even if its parent has not waited for it yet.
pub fn has_ended(process: u32) -> bool {
    parse_stat(&read(process, "stat")).is_none_or(|stat| stat.ended)
}

/// Returns the peak of a process and its children. A script often starts a tool that another language's packager has
/// installed.
fn peak_bytes(process: u32) -> u64 {
    let own = parse_peak(&read(process, "status")).unwrap_or_default();
    let children = path(process, &format!("task/{process}/children"));
    let children = std::fs::read_to_string(children).unwrap_or_default();
    let theirs = children.split_whitespace().filter_map(|child| {
        // A child may end before its status is read.
        let status = std::fs::read_to_string(path(child.parse().ok()?, "status"));
        parse_peak(&status.ok()?)
    });
    theirs.fold(own, u64::max)
}

fn path(process: u32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/{file}"))
}

fn read(process: u32, file: &str) -> String {
    let path = path(process, file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    ended: bool,
    cpu: Duration,
}

/// `<pid> (<name>) <state> ...`; the name may contain anything, and the fields after it are numbers.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    // The 14th to 17th fields; the state is the third.
    let ticks = fields.get(11..15)?.iter().map(|text| text.parse::<u64>());
    let ticks: u64 = ticks.sum::<Result<u64, _>>().ok()?;
    let cpu = Duration::from_millis(ticks * 1_000 / TICKS_PER_SEC);
    Some(Stat {
        ended: matches!(*fields.first()?, "Z" | "X"),
        cpu,
    })
}

/// `VmHWM:      9876 kB`; a process that has ended has no such line.
fn parse_peak(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_whatever_the_name_contains() {
        let text = "42 (a) b (c) S 1 42 42 0 -1 4194560 90 0 0 0 123 45 6 7 20 0 3 0 7 8 9";
        let stat = Stat {
            ended: false,
            cpu: Duration::from_millis(1_810),
        };
        assert_eq!(parse_stat(text), Some(stat));
        assert!(parse_stat(&text.replace(" S ", " Z ")).unwrap().ended);
        assert_eq!(parse_stat("42 (a) S 1"), None);
    }

    #[test]
    fn the_peak_is_read_in_bytes() {
        let status = "Name:\tx\nVmPeak:\t    9 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(parse_peak(status), Some(2 << 20));
        assert_eq!(parse_peak("Name:\tx\n"), None);
    }

    #[test]
    fn this_very_process_uses_memory_and_runs() {
        let me = std::process::id();
        assert!(Usage::of(me).peak_bytes > 0);
        assert!(!has_ended(me));
    }
}
