//! Which files are measured: those built for AWS if they are there, else those of the local cloud.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::DeflateEncoder;

/// The functions' binaries.
#[derive(Debug)]
pub struct Binaries {
    folder: PathBuf,
    /// How they were built, in words.
    pub kind: String,
    /// The functions, by name.
    pub names: Vec<String>,
}

impl Binaries {
    /// Finds them in `folder`, or where the Makefile puts them.
    ///
    /// # Panics
    /// If they are not there; the message says what to do.
    pub fn find(folder: Option<&Path>) -> Self {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"),
            PathBuf::from,
        );
        let names = staged(&target.join("lambda"));
        let has_all = |folder: &Path| names.iter().all(|name| folder.join(name).is_file());
        let (folder, kind) = match folder {
            Some(folder) => (folder.to_owned(), format!("those in {}", folder.display())),
            None if has_all(&target.join("release")) => (
                target.join("release"),
                "built for AWS (release profile)".to_owned(),
            ),
            None => (
                target.join("local"),
                "built for the local cloud (local profile, hardly optimized)".to_owned(),
            ),
        };
        assert!(
            !names.is_empty() && has_all(&folder),
            "{} lacks some of {names:?}: run `make bench`",
            folder.display()
        );
        Self {
            folder,
            kind,
            names,
        }
    }

    /// The binary of a function.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Its size as it is, and as Lambda is given it.
    pub fn bytes(&self, name: &str) -> (u64, u64) {
        let binary = std::fs::read(self.path(name)).expect("a binary");
        let mut zipped = DeflateEncoder::new(Vec::new(), Compression::default());
        zipped.write_all(&binary).expect("memory takes everything");
        let zipped = zipped.finish().expect("memory takes everything");
        (binary.len() as u64, zipped.len() as u64)
    }
}

/// The functions that are deployed: each has a folder.
fn staged(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().join("bootstrap").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
