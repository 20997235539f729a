//! What the work on a transfer is about, and what an attempt at it may come to.

use tandem_aws::s3_pair::S3Pair;
use tandem_aws::transfers::{Transfer, Void};
use tandem_replication::replicator::Outcome;
use tandem_replication::rule::Rule;

/// One transfer, and where it goes.
pub(crate) struct Errand<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) pair: &'a S3Pair,
    pub(crate) transfer: Transfer,
}

/// Where an attempt at a range leaves its transfer.
pub(crate) enum Attempted {
    /// There are parts still to be copied by others.
    Open,
    /// It came to its end; so became of the object.
    Ended(Outcome),
    /// It has to begin anew.
    Void(Void),
    /// There is no transfer any more.
    Over,
}
