//! A file that records line by line what happened and when, for the search for the cause of a failure.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The file.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    began: Instant,
    file: Mutex<BufWriter<File>>,
}

impl Journal {
    /// Starts a new file, which replaces an older one.
    pub fn begin(path: PathBuf) -> Self {
        let file =
            File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self {
            path,
            began: Instant::now(),
            file: Mutex::new(BufWriter::new(file)),
        }
    }

    /// Records a line, with the milliseconds since the start.
    pub fn note(&self, line: &str) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let at_ms = self.began.elapsed().as_millis();
        // A journal that cannot be written is not a reason to fail.
        let _ = writeln!(file, "{at_ms:>8} {line}");
    }

    /// Writes all recorded lines to the file. Returns its path.
    pub fn close(&self) -> &Path {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.flush();
        &self.path
    }

    /// Returns the last lines, at most `count`, that contain a string which `reason` quotes.
    pub fn about(&self, reason: &str, count: usize) -> Vec<String> {
        let text = std::fs::read_to_string(self.close()).unwrap_or_default();
        let quoted: Vec<&str> = reason.split('"').skip(1).step_by(2).collect();
        let is_about = |line: &&str| {
            let mut quoted = quoted.iter().filter(|name| !name.is_empty());
            quoted.any(|name| line.contains(name))
        };
        let mut lines: Vec<String> = text
            .lines()
            .rev()
            .filter(is_about)
            .take(count)
            .map(str::to_owned)
            .collect();
        lines.reverse();
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_returns_the_lines_that_a_reason_quotes() {
        let directory = std::env::temp_dir();
        let journal = Journal::begin(directory.join(format!("journal-{}", std::process::id())));
        for line in ["put a/1", "put b", "copied a/1", "deleted a/1"] {
            journal.note(line);
        }
        let lines = journal.about(r#"1 differences: "a/1" is not "of these""#, 2);
        let found: Vec<&str> = lines.iter().map(|line| line[9..].trim()).collect();
        assert_eq!(found, ["copied a/1", "deleted a/1"]);
        std::fs::remove_file(journal.close()).expect("it is removed");
    }
}
