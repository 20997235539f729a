//! The files of a folder that become objects, their keys, and the entries that are left out, with
//! the reasons. I/O: reads the folder.
//!
//! Symbolic links are followed, as most tools that copy to S3 do: a link to a file counts as that
//! file, a link to a folder as that folder. A link that leads back into itself is left out.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use walkdir::{DirEntry, WalkDir};

use crate::console;

/// S3's limit on a key, in bytes.
const KEY_BYTES_MAX: usize = 1024;
/// The number of left-out entries that are named for each reason.
const NAMED_MAX: usize = 3;

/// How much of a folder is uploaded. `None` means all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// The most files.
    pub files: Option<usize>,
    /// The most bytes.
    pub bytes: Option<u64>,
}

/// A folder to upload.
#[derive(Debug)]
pub struct SourceTree {
    /// The folder.
    pub root: PathBuf,
    /// Its files, in the order of their paths.
    pub files: Vec<SourceFile>,
    /// The sum of their sizes.
    pub bytes: u64,
    /// The entries that were left out.
    pub skipped: Vec<Skipped>,
    /// The limits, if the folder has more than they allow.
    pub cut_short_by: Option<Limits>,
}

/// A file that becomes an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path on this machine.
    pub path: PathBuf,
    /// Its path in the folder, with `/` between the names.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// The time when it was last written, in seconds since 1970.
    pub modified_secs: Option<u64>,
}

/// An entry that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The entry.
    pub path: PathBuf,
    /// The reason.
    pub reason: SkipReason,
}

/// Why an entry does not become an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SkipReason {
    /// It cannot be opened or listed.
    Unreadable(String),
    /// It was changed or removed while it was uploaded.
    Changed,
    /// A symbolic link to a folder that contains it.
    LinkLoop,
    /// A symbolic link whose target does not exist.
    BrokenLink,
    /// A device, pipe or socket.
    NotAFile,
    /// Its name, or that of a folder around it, is not UTF-8, as keys must be.
    NameNotUtf8,
    /// Its key would be longer than S3 allows.
    KeyTooLong,
    /// A line feed in its name. S3 accepts it, but in the emulator's access control `*` does not match
    /// it, so that no function may use the object.
    LineFeed,
    /// A folder without anything in it; S3 has no folders.
    EmptyFolder,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(cause) => write!(f, "cannot be read: {cause}"),
            Self::Changed => f.write_str("changed while it was uploaded"),
            Self::LinkLoop => f.write_str("a symbolic link that leads back into itself"),
            Self::BrokenLink => f.write_str("a symbolic link whose target does not exist"),
            Self::NotAFile => f.write_str("not a regular file"),
            Self::NameNotUtf8 => f.write_str("a name that is not UTF-8, as keys must be"),
            Self::KeyTooLong => {
                write!(
                    f,
                    "a path of more than {KEY_BYTES_MAX} bytes, S3's limit on keys"
                )
            }
            Self::LineFeed => f.write_str(
                "a line feed in the name, which the emulator's access control does not match",
            ),
            Self::EmptyFolder => f.write_str("an empty folder, which S3 does not have"),
        }
    }
}

/// Why a folder cannot be uploaded at all.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// There is nothing at that path, or its metadata cannot be read.
    #[error("cannot read the folder {}: {cause}", path.display())]
    NotThere {
        /// The requested path.
        path: PathBuf,
        /// The error of the system.
        cause: io::Error,
    },
    /// The path is not a folder.
    #[error("{} is not a folder", _0.display())]
    NotAFolder(PathBuf),
    /// Nothing in it can become an object.
    #[error("{} has no files to upload{}{}", path.display(), if *cut_short { " within the limits" } else { "" }, lines(skipped))]
    NoFiles {
        /// The folder.
        path: PathBuf,
        /// The entries that were left out.
        skipped: Vec<Skipped>,
        /// Whether the folder has files beyond the limits.
        cut_short: bool,
    },
}

/// Reads a folder.
pub fn read(root: &Path, limits: Limits) -> Result<SourceTree, TreeError> {
    let not_there = |cause| TreeError::NotThere {
        path: root.to_owned(),
        cause,
    };
    if !fs::metadata(root).map_err(not_there)?.is_dir() {
        return Err(TreeError::NotAFolder(root.to_owned()));
    }
    fs::read_dir(root).map_err(not_there)?;
    let mut tree = SourceTree {
        root: root.to_owned(),
        files: Vec::new(),
        bytes: 0,
        skipped: Vec::new(),
        cut_short_by: None,
    };
    let walk = WalkDir::new(root).follow_links(true).sort_by_file_name();
    for found in walk.min_depth(1) {
        match found
            .map_err(|error| left_out(&error))
            .and_then(|entry| look(root, &entry))
        {
            Ok(Some(file)) if tree.has_room(&file, limits) => {
                tree.bytes += file.bytes;
                tree.files.push(file);
            }
            Ok(Some(_)) => {
                tree.cut_short_by = Some(limits);
                break;
            }
            Ok(None) => {}
            Err(skipped) => tree.skipped.push(skipped),
        }
    }
    if tree.files.is_empty() {
        return Err(TreeError::NoFiles {
            path: root.to_owned(),
            skipped: tree.skipped,
            cut_short: tree.cut_short_by.is_some(),
        });
    }
    Ok(tree)
}

impl SourceTree {
    fn has_room(&self, file: &SourceFile, limits: Limits) -> bool {
        limits.files.is_none_or(|files| self.files.len() < files)
            && limits
                .bytes
                .is_none_or(|bytes| self.bytes + file.bytes <= bytes)
    }
}

/// Returns one line for each reason, with the number of entries and the first of them.
pub fn summary(skipped: &[Skipped]) -> Vec<String> {
    let mut by_reason: BTreeMap<&SkipReason, Vec<&Path>> = BTreeMap::new();
    for skipped in skipped {
        by_reason
            .entry(&skipped.reason)
            .or_default()
            .push(&skipped.path);
    }
    let line = |(reason, paths): (&SkipReason, Vec<&Path>)| {
        let mut named: Vec<String> = paths
            .iter()
            .take(NAMED_MAX)
            .map(|path| console::shortened(&path.display().to_string()))
            .collect();
        if paths.len() > NAMED_MAX {
            named.push("...".to_owned());
        }
        format!(
            "left out {}: {reason} ({})",
            console::count(paths.len()),
            named.join(", ")
        )
    };
    by_reason.into_iter().map(line).collect()
}

fn lines(skipped: &[Skipped]) -> String {
    let indented = |line| ["\n   ".to_owned(), line];
    summary(skipped).into_iter().flat_map(indented).collect()
}

/// Returns the entry that the walk could not read.
fn left_out(error: &walkdir::Error) -> Skipped {
    let path = error.path().map(Path::to_owned).unwrap_or_default();
    let is_link = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink());
    let reason = if error.loop_ancestor().is_some() {
        SkipReason::LinkLoop
    } else {
        match error.io_error() {
            // The system itself reports links that only lead to each other.
            Some(cause) if is_link && cause.raw_os_error() == Some(ELOOP) => SkipReason::LinkLoop,
            Some(cause) if is_link && cause.kind() == io::ErrorKind::NotFound => {
                SkipReason::BrokenLink
            }
            Some(cause) => SkipReason::Unreadable(cause.kind().to_string()),
            None => SkipReason::Unreadable(error.to_string()),
        }
    };
    Skipped { path, reason }
}

#[cfg(target_os = "macos")]
const ELOOP: i32 = 62;
#[cfg(not(target_os = "macos"))]
const ELOOP: i32 = 40;

/// Returns the object that an entry becomes; `None` for a folder that is not empty.
fn look(root: &Path, entry: &DirEntry) -> Result<Option<SourceFile>, Skipped> {
    let path = entry.path();
    let skip = |reason| Skipped {
        path: path.to_owned(),
        reason,
    };
    if entry.file_type().is_dir() {
        // A folder that cannot be listed is reported when the walk reaches its entries.
        let is_empty = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
        return if is_empty {
            Err(skip(SkipReason::EmptyFolder))
        } else {
            Ok(None)
        };
    }
    if !entry.file_type().is_file() {
        return Err(skip(SkipReason::NotAFile));
    }
    let key = key(path.strip_prefix(root).unwrap_or(path)).map_err(skip)?;
    let unreadable = |error: io::Error| skip(SkipReason::Unreadable(error.kind().to_string()));
    let metadata = File::open(path)
        .and_then(|file| file.metadata())
        .map_err(unreadable)?;
    let modified = metadata.modified().ok();
    Ok(Some(SourceFile {
        path: path.to_owned(),
        key,
        bytes: metadata.len(),
        modified_secs: modified
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .map(|since| since.as_secs()),
    }))
}

/// Returns the key of a path within the folder.
fn key(path: &Path) -> Result<String, SkipReason> {
    let names: Option<Vec<&str>> = path.iter().map(|name| name.to_str()).collect();
    let key = names.ok_or(SkipReason::NameNotUtf8)?.join("/");
    if key.len() > KEY_BYTES_MAX {
        return Err(SkipReason::KeyTooLong);
    }
    if key.contains('\n') {
        return Err(SkipReason::LineFeed);
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn folder(files: &[(&str, usize)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![b'x'; *bytes]).unwrap();
        }
        root
    }

    fn keys(tree: &SourceTree) -> Vec<&str> {
        tree.files.iter().map(|file| file.key.as_str()).collect()
    }

    fn reasons(tree: &SourceTree) -> Vec<SkipReason> {
        tree.skipped
            .iter()
            .map(|skipped| skipped.reason.clone())
            .collect()
    }

    #[test]
    fn keys_are_paths_within_the_folder_in_order() {
        let root = folder(&[("b/c d+é.txt", 3), ("a", 2), ("b/.hidden", 0)]);
        let tree = read(root.path(), Limits::default()).unwrap();
        assert_eq!(keys(&tree), ["a", "b/.hidden", "b/c d+é.txt"]);
        assert_eq!((tree.bytes, tree.skipped.len()), (5, 0));
        assert!(tree.files[0].modified_secs.is_some());
    }

    #[test]
    fn links_are_followed_and_loops_left_out() {
        let root = folder(&[("real/file", 1)]);
        symlink("real/file", root.path().join("to-file")).unwrap();
        symlink("real", root.path().join("to-folder")).unwrap();
        symlink("..", root.path().join("real/up")).unwrap();
        symlink("itself", root.path().join("itself")).unwrap();
        symlink("nowhere", root.path().join("broken")).unwrap();
        let tree = read(root.path(), Limits::default()).unwrap();
        assert_eq!(keys(&tree), ["real/file", "to-file", "to-folder/file"]);
        let mut reasons = reasons(&tree);
        reasons.sort();
        reasons.dedup();
        assert_eq!(reasons, [SkipReason::LinkLoop, SkipReason::BrokenLink]);
    }

    #[test]
    fn entries_that_cannot_become_objects_are_left_out_with_their_reasons() {
        let root = folder(&[("a", 1)]);
        fs::create_dir(root.path().join("empty")).unwrap();
        let _socket = UnixListener::bind(root.path().join("socket")).unwrap();
        fs::write(root.path().join(OsStr::from_bytes(b"z\xff")), "x").unwrap();
        fs::write(root.path().join("line\nfeed"), "x").unwrap();
        let deep = (0..6).fold(root.path().to_owned(), |at, _| at.join("ü".repeat(100)));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("x"), "x").unwrap();
        let tree = read(root.path(), Limits::default()).unwrap();
        assert_eq!(keys(&tree), ["a"]);
        assert_eq!(
            reasons(&tree),
            [
                SkipReason::EmptyFolder,
                SkipReason::LineFeed,
                SkipReason::NotAFile,
                SkipReason::NameNotUtf8,
                SkipReason::KeyTooLong
            ]
        );
        assert!(summary(&tree.skipped)[0].starts_with("left out 1: not a regular file ("));
    }

    #[test]
    fn a_folder_is_cut_short_at_the_limits_and_the_result_says_so() {
        let root = folder(&[("a", 4), ("b", 4), ("c", 4)]);
        let limits = |files, bytes| Limits { files, bytes };
        for (limits, taken) in [
            (limits(Some(2), None), 2),
            (limits(None, Some(11)), 2),
            (limits(Some(3), Some(12)), 3),
        ] {
            let tree = read(root.path(), limits).unwrap();
            assert_eq!(tree.files.len(), taken);
            assert_eq!(tree.cut_short_by.is_some(), taken < 3);
        }
    }

    #[test]
    fn a_folder_with_nothing_to_upload_is_refused_with_a_reason() {
        let refusal = |path: &Path| read(path, Limits::default()).unwrap_err().to_string();
        let root = folder(&[("a", 1)]);
        assert!(refusal(&root.path().join("a")).ends_with("is not a folder"));
        assert!(refusal(&root.path().join("b")).contains("No such file"));
        let empty = tempfile::tempdir().unwrap();
        assert!(refusal(empty.path()).ends_with("has no files to upload"));
        let too_large = Limits {
            bytes: Some(0),
            ..Limits::default()
        };
        let refusal_of_limits = read(root.path(), too_large).unwrap_err().to_string();
        assert!(refusal_of_limits.ends_with("no files to upload within the limits"));
        fs::create_dir(empty.path().join("sub")).unwrap();
        assert!(refusal(empty.path()).contains("an empty folder"));
    }

    #[test]
    fn entries_left_out_for_one_reason_are_counted_on_one_line() {
        let skipped: Vec<Skipped> = (0..9)
            .map(|n| Skipped {
                path: format!("p{n}").into(),
                reason: SkipReason::NotAFile,
            })
            .collect();
        assert_eq!(
            summary(&skipped),
            ["left out 9: not a regular file (p0, p1, p2, ...)"]
        );
    }
}
