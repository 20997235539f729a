//! The command line. No I/O.

use std::path::PathBuf;

use clap::Parser;

use crate::source_tree::Limits;

/// Files that are taken of the default folder.
const DEFAULT_FILES_MAX: usize = 5_000;
/// Bytes that are taken of the default folder.
const DEFAULT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Replicates a folder between two buckets of a local cloud, changes objects live, and verifies.
///
/// Runs where `AWS_ENDPOINT_URL` is an address of this machine with Tandem deployed behind it, and
/// nowhere else; `make demo` starts such a local cloud, runs this in it, and ends it.
#[derive(Debug, Parser)]
#[command(
    name = "tandem-demo",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  make demo                       a folder that every Rust machine has
  make demo DIR=~/Pictures        a folder of yours, all of it
  make local                      a local cloud that stays up, and then:
  python3 local/cloud.py run -- target/local/tandem-demo --dir ~/Pictures --keep

Symbolic links are followed. What cannot become an object (what is no file, cannot be read, or has a
name that is no key) is left out, counted and named.

Exit codes:
  0    the two buckets agree in every object, and every count adds up
  1    they do not, or something failed
  2    wrong usage; nothing was done
  130  ended by Ctrl-C"
)]
pub struct Args {
    /// Folder whose files are the historical objects [default: sources that cargo downloaded]
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,

    /// Upload so many files at most [default: no limit for --dir; else 5000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_files: Option<u64>,

    /// Upload so many bytes at most [default: no limit for --dir; else 256 MiB]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_bytes: Option<u64>,

    /// Put so many plain objects live, besides those with awkward keys
    #[arg(long, value_name = "N", default_value = "200", value_parser = clap::value_parser!(u16).range(10..=10_000))]
    pub live_objects: u16,

    /// Seconds to wait for the two buckets to agree after each kind of change
    #[arg(long, value_name = "SECS", default_value = "120", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,

    /// Keep the rule at the end
    #[arg(long)]
    pub keep: bool,

    /// The deployed stack, which is what the functions' names begin with
    #[arg(
        long,
        env = "TANDEM_STACK_NAME",
        value_name = "NAME",
        default_value = "tandem"
    )]
    pub stack_name: String,
}

impl Args {
    /// How much of the folder is uploaded: all of one that was asked for.
    pub fn limits(&self) -> Limits {
        let asked = Limits {
            files: self
                .max_files
                .map(|files| usize::try_from(files).unwrap_or(usize::MAX)),
            bytes: self.max_bytes,
        };
        if self.dir.is_some() {
            return asked;
        }
        Limits {
            files: asked.files.or(Some(DEFAULT_FILES_MAX)),
            bytes: asked.bytes.or(Some(DEFAULT_BYTES_MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_folder_that_was_asked_for_is_not_cut_short() {
        let limits = |line: &str| Args::parse_from(line.split(' ')).limits();
        assert_eq!(limits("tandem-demo --dir x"), Limits::default());
        assert_eq!(limits("tandem-demo --dir x --max-files 7").files, Some(7));
        assert_eq!(limits("tandem-demo").files, Some(DEFAULT_FILES_MAX));
        let fewer = limits("tandem-demo --max-files 7");
        assert_eq!(
            (fewer.files, fewer.bytes),
            (Some(7), Some(DEFAULT_BYTES_MAX))
        );
    }
}
