//! The command line. No I/O.

use std::path::PathBuf;

use clap::Parser;

use crate::source_tree::Limits;

/// The most files that are uploaded from the default folder.
const DEFAULT_FILES_MAX: usize = 5_000;
/// The most bytes that are uploaded from the default folder.
const DEFAULT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Replicates a folder between two buckets of a local cloud, changes objects live, and verifies.
///
/// Runs only if `AWS_ENDPOINT_URL` is an address of this machine with Tandem deployed behind it.
/// `make demo` starts such a local cloud, runs the demo in it, and stops it.
#[derive(Debug, Parser)]
#[command(
    name = "tandem-demo",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  make demo                       a folder that every Rust machine has
  make demo DIR=~/Pictures        your own folder, all of it
  make local                      a local cloud that stays up, and then:
  python3 local/cloud.py run -- target/local/tandem-demo --dir ~/Pictures --keep

The demo follows symbolic links. It leaves out, counts and names entries that cannot become objects:
those that are no files, that cannot be read, or whose names cannot be keys.

Exit codes:
  0    the two buckets agree in every object, and every count adds up
  1    the buckets do not agree, or something failed
  2    wrong usage; nothing was done
  130  ended by Ctrl-C"
)]
pub struct Args {
    /// Folder whose files are the historical objects [default: sources that cargo downloaded]
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,

    /// Upload at most N files [default: no limit for --dir; else 5000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_files: Option<u64>,

    /// Upload at most this many bytes [default: no limit for --dir; else 256 MiB]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_bytes: Option<u64>,

    /// Put N plain objects live, besides those with awkward keys
    #[arg(long, value_name = "N", default_value = "200", value_parser = clap::value_parser!(u16).range(10..=10_000))]
    pub live_objects: u16,

    /// Seconds to wait for the two buckets to agree after each kind of change
    #[arg(long, value_name = "SECS", default_value = "120", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,

    /// Keep the rule at the end
    #[arg(long)]
    pub keep: bool,

    /// Name of the deployed stack; the functions' names begin with it
    #[arg(
        long,
        env = "TANDEM_STACK_NAME",
        value_name = "NAME",
        default_value = "tandem"
    )]
    pub stack_name: String,
}

impl Args {
    /// Returns how much of the folder to upload: all of it if the user named it.
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
    fn clap_accepts_the_definition() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_folder_that_the_user_names_is_uploaded_without_limits() {
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
