//! What the pages of a shard have in common: what each comes to, and what is kept from one to the next.

use tandem_aws::shard::Step;
use tokio::sync::OnceCell;

use crate::lines::Lines;

/// Where a page leaves its shard.
pub(crate) enum Paged {
    /// This much is done.
    Done(Step),
    /// Nothing may begin before so many seconds are over.
    TooEarly(i32),
}

/// What an invocation keeps from one page of a shard to the next.
#[derive(Debug, Default)]
pub(crate) struct Visit {
    /// Whether the source is a website, once that was asked.
    pub(crate) is_website: OnceCell<bool>,
    /// The list that names the shard's keys, open where the last page ended.
    pub(crate) lines: Option<Lines>,
}
