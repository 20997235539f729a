//! A file that says what happened when, line by line, for whoever has to find out why.

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
    /// Begins a new one, in the place of an older one.
    pub fn begin(path: PathBuf) -> Self {
        let file =
            File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self {
            path,
            began: Instant::now(),
            file: Mutex::new(BufWriter::new(file)),
        }
    }

    /// Notes a line, with the milliseconds since the beginning.
    pub fn note(&self, line: &str) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let at_ms = self.began.elapsed().as_millis();
        // A journal that cannot be written is no reason to fail.
        let _ = writeln!(file, "{at_ms:>8} {line}");
    }

    /// Writes out what was noted; says where.
    pub fn close(&self) -> &Path {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.flush();
        &self.path
    }
}
