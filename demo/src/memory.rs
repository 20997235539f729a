//! The memory that is available on this machine, because the emulator keeps every object in it. I/O: reads `/proc`.

/// Returns the bytes available to programs; `None` if the system does not report them.
pub fn available_bytes() -> Option<u64> {
    available_in(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn available_in(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_and_not_free_memory() {
        let meminfo = "MemTotal:  9 kB\nMemFree:  1 kB\nMemAvailable:    3 kB\n";
        assert_eq!(available_in(meminfo), Some(3072));
        assert_eq!(available_in("MemTotal: 9 kB\n"), None);
    }
}
