//! The command line. No I/O.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

/// Measures Tandem's functions, and other tools, against an S3 in memory.
#[derive(Debug, Parser)]
#[command(name = "tandem-bench")]
pub struct Args {
    /// What to measure.
    #[command(subcommand)]
    pub command: Command,
    /// How much to measure.
    #[command(flatten)]
    pub sizes: Sizes,
    /// How to print the results.
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure the functions; needs a local cloud: `make bench`.
    Functions(Which),
    /// Measure rclone, s5cmd and s3sync, if they are installed.
    Peers,
    /// Only start the S3 in memory, with the same objects in it, for use with any other tool.
    Serve {
        /// The port on which it listens, on this machine only.
        #[arg(long, default_value_t = 9900)]
        port: u16,
    },
}

/// Which binaries to measure.
#[derive(Debug, Default, clap::Args)]
pub struct Which {
    /// The folder of the functions' binaries, each in a folder of its name as `bootstrap`. The default is what
    /// `make build` has built for this processor, or else what the local AWS runs.
    #[arg(long)]
    pub binaries: Option<PathBuf>,
}

/// How much to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Sizes {
    /// Measure a tenth of everything, to see that it works.
    #[arg(long, global = true)]
    quick: bool,
    /// Objects to copy.
    #[arg(long, global = true, default_value_t = 10_000)]
    objects: usize,
    /// Bytes of each object.
    #[arg(long, global = true, default_value_t = 4_096)]
    pub object_bytes: usize,
    /// Keys of two equal buckets.
    #[arg(long, global = true, default_value_t = 100_000)]
    equal_keys: usize,
    /// Live puts.
    #[arg(long, global = true, default_value_t = 10_000)]
    puts: usize,
    /// Cold starts of each function.
    #[arg(long, global = true, default_value_t = 11)]
    starts: usize,
    /// Processes of a function at once.
    #[arg(long, global = true, default_value_t = 4)]
    pub workers: usize,
    /// The latency that the S3 adds to each request.
    #[arg(long, global = true, default_value_t = 0)]
    pub latency_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

impl Sizes {
    pub fn objects(&self) -> usize {
        self.scaled(self.objects)
    }

    pub fn equal_keys(&self) -> usize {
        self.scaled(self.equal_keys)
    }

    pub fn puts(&self) -> usize {
        self.scaled(self.puts)
    }

    pub fn starts(&self) -> usize {
        if self.quick { 3 } else { self.starts.max(1) }
    }

    pub fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms)
    }

    fn scaled(&self, count: usize) -> usize {
        if self.quick {
            count.div_ceil(10)
        } else {
            count
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_is_a_tenth_but_at_least_one() {
        let parse = |line: &str| Args::parse_from(line.split(' ')).sizes;
        let sizes = parse("tandem-bench peers --quick --objects 15");
        assert_eq!((sizes.objects(), sizes.equal_keys()), (2, 10_000));
        let sizes = parse("tandem-bench peers --objects 15");
        assert_eq!((sizes.objects(), sizes.equal_keys()), (15, 100_000));
    }
}
