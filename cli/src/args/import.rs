//! The arguments of `tandem rule import`. No I/O.

use clap::Args;

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The configuration; - reads standard input
    pub file: String,

    /// The bucket that it is the configuration of
    #[arg(long, value_name = "BUCKET")]
    pub source: String,

    /// Replicate to this bucket instead of the one that the file names
    #[arg(long, value_name = "BUCKET")]
    pub destination: Option<String>,

    /// Only show what would be made, and what would not be carried over; needs no region and no credentials
    #[arg(long)]
    pub dry_run: bool,

    /// Don't ask
    #[arg(long, short = 'y')]
    pub yes: bool,
}
