//! The arguments of `tandem rule import`. No I/O.

use clap::Args;

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// File with the configuration; - reads standard input
    pub file: String,

    /// The bucket that the configuration belongs to
    #[arg(long, value_name = "BUCKET")]
    pub source: String,

    /// Replicate to this bucket instead of the one that the file names
    #[arg(long, value_name = "BUCKET")]
    pub destination: Option<String>,

    /// Only show the rule to create, and what cannot be carried over; needs no region and no credentials
    #[arg(long)]
    pub dry_run: bool,

    /// Do not ask for confirmation
    #[arg(long, short = 'y')]
    pub yes: bool,
}
