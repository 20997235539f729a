//! Finds a folder of thousands of real files that every machine with Rust has. I/O: reads folders.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use walkdir::WalkDir;

/// The least number of files in a suitable folder.
const ENOUGH_FILES: usize = 2_000;

/// Returns the folder of the sources that cargo downloaded to build this program, or, if it is
/// elsewhere, a folder that came with the compiler. Returns `None` if neither exists.
pub fn find() -> Option<PathBuf> {
    let mut best = None;
    for folder in cargo_sources().into_iter().chain(compiler_folders()) {
        let files = count_files(&folder);
        if files >= ENOUGH_FILES {
            return Some(folder);
        }
        if files > 0 && best.as_ref().is_none_or(|(most, _)| files > *most) {
            best = Some((files, folder));
        }
    }
    best.map(|(_, folder)| folder)
}

/// Returns one folder for each registry from which cargo downloaded packages.
fn cargo_sources() -> Vec<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let registries = home.and_then(|home| home.join("registry/src").read_dir().ok());
    let mut folders: Vec<PathBuf> = registries
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

fn compiler_folders() -> Vec<PathBuf> {
    let Ok(answer) = Command::new("rustc").args(["--print", "sysroot"]).output() else {
        return Vec::new();
    };
    let sysroot = String::from_utf8_lossy(&answer.stdout);
    let sysroot = Path::new(sysroot.trim());
    if !sysroot.is_absolute() {
        return Vec::new();
    }
    ["share/doc", "lib/rustlib", ""]
        .map(|folder| sysroot.join(folder))
        .into_iter()
        .filter(|folder| folder.is_dir())
        .collect()
}

/// Counts files, but stops at the number that is needed.
fn count_files(folder: &Path) -> usize {
    WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .take(ENOUGH_FILES)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_default_folder() {
        let folder = find().unwrap();
        assert!(count_files(&folder) > 0, "{}", folder.display());
    }
}
