//! Describes this machine, as far as Linux and the compiler report it.

use std::process::Command;

use serde::Serialize;

/// The machine.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_bytes: u64,
    pub kernel: String,
    pub rustc: String,
}

/// Describes this machine; what cannot be read is "unknown".
pub fn describe() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    Machine {
        cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
        cores: std::thread::available_parallelism().map_or(0, Into::into),
        memory_bytes: field(&read("/proc/meminfo"), "MemTotal")
            .and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok())
            .unwrap_or_default()
            * 1_024,
        kernel: said_by("uname", &["-sr"]),
        rustc: said_by("rustc", &["--version"]),
    }
}

/// Returns the value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs
        .find(|(given, _)| given.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok();
    let text = output.and_then(|output| String::from_utf8(output.stdout).ok());
    text.map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(unknown)
}

fn unknown() -> String {
    "unknown".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_the_first_one_of_that_name() {
        let text = "processor\t: 0\nmodel name\t: Fast (R) CPU: 9000\nmodel name\t: other\n";
        let found = field(text, "model name");
        assert_eq!(found.as_deref(), Some("Fast (R) CPU: 9000"));
        assert_eq!(field(text, "model"), None);
    }
}
