//! Chooses the files to measure: those built for AWS if they exist, else those of the local cloud.

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
    /// Finds the binaries in `folder`, or where the Makefile puts them.
    ///
    /// # Panics
    /// If they do not exist; the message says what to do.
    pub fn find(folder: Option<&Path>) -> Self {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"),
            PathBuf::from,
        );
        let local = target.join("lambda");
        let released = target.join("aws").join(processor());
        let names = staged(&local);
        let (folder, kind) = if let Some(folder) = folder {
            (folder.to_owned(), format!("in {}", folder.display()))
        } else if names.iter().all(|name| binary(&released, name).is_file()) {
            let kind = release_kind(&released, &target.join("local"), &names);
            (released, kind)
        } else {
            (local, "of the local profile, hardly optimized".to_owned())
        };
        assert!(
            !names.is_empty() && names.iter().all(|name| binary(&folder, name).is_file()),
            "{} lacks some of {names:?}: run `make bench`",
            folder.display()
        );
        Self {
            folder,
            kind,
            names,
        }
    }

    /// Returns the binary of a function.
    pub fn path(&self, name: &str) -> PathBuf {
        binary(&self.folder, name)
    }

    /// Returns its size on disk, and its size as uploaded to Lambda.
    pub fn bytes(&self, name: &str) -> (u64, u64) {
        let binary = std::fs::read(self.path(name)).expect("a binary");
        let mut zipped = DeflateEncoder::new(Vec::new(), Compression::default());
        zipped.write_all(&binary).expect("memory takes everything");
        let zipped = zipped.finish().expect("memory takes everything");
        (binary.len() as u64, zipped.len() as u64)
    }
}

/// Returns Lambda's name for this machine's processor.
fn processor() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        other => other,
    }
}

fn binary(folder: &Path, name: &str) -> PathBuf {
    folder.join(name).join("bootstrap")
}

/// Describes the release binaries, and warns the user if the code may have changed since they were built.
fn release_kind(released: &Path, local: &Path, names: &[String]) -> String {
    let written = |file: PathBuf| file.metadata().ok()?.modified().ok();
    let is_older = |name: &String| {
        let times = written(binary(released, name)).zip(written(local.join(name)));
        times.is_some_and(|(released, local)| released < local)
    };
    if names.iter().any(is_older) {
        "of the release profile, but older than the local binaries; run `make build` to update them"
            .to_owned()
    } else {
        "of the release profile".to_owned()
    }
}

/// Returns the functions that are deployed: each has a folder.
fn staged(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| binary(folder, name).is_file())
        .collect();
    names.sort();
    names
}
