//! Whether an object may be half done, and what a worker leaves in the table so that others can tell. A worker may
//! die between two writes to one object, or before it looked at the source again after a copy landed: what looks
//! the same in a listing is then looked at closely. How others go after it is in [`crate::follow`].

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::TimeDelta;
use tandem_aws::AwsError;
use tandem_aws::jobs::Job;
use tandem_aws::shard::Shard;
use tandem_aws::table::Table;
use tandem_aws::visitors::Visitor;
use tandem_lambda::runtime::now;
use tandem_replication::names::JobId;

use crate::worker::ShardWork;

/// How long a request of a worker that was ended may be at work, with seconds to spare for clocks that differ.
const AFTERMATH: TimeDelta = TimeDelta::minutes(15);

/// What a worker leaves in the table for whoever has to follow it.
#[derive(Debug)]
pub(crate) struct Trace {
    visitor: Visitor,
    /// Whether it is in the table.
    noted: AtomicBool,
    /// Whether a page is begun that is not accounted for yet.
    half_done: AtomicBool,
}

/// Up to which key objects may be half done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// None is.
    #[default]
    Nothing,
    /// Up to this key.
    UpTo(String),
    /// Any key.
    Everything,
}

impl Trace {
    /// The trace of a worker that has not begun.
    pub(crate) fn of(it: &ShardWork<'_>) -> Self {
        let left = TimeDelta::from_std(it.deadline.left()).unwrap_or_default();
        Self {
            visitor: Visitor {
                id: it.visitor.to_owned(),
                message: it.message.map(ToOwned::to_owned),
                shard: it.index,
                place: None,
                reach: None,
                until: now() + left + AFTERMATH,
                expires_at: None,
            },
            noted: AtomicBool::new(false),
            half_done: AtomicBool::new(false),
        }
    }

    /// Notes that the page of `shard` up to `reach` is begun.
    pub(crate) async fn begin(
        &self,
        table: &Table,
        job: &Job,
        shard: &Shard,
        reach: Option<String>,
    ) -> Result<(), AwsError> {
        let visitor = Visitor {
            place: shard.checkpoint.clone(),
            reach,
            expires_at: job.expires_at,
            ..self.visitor.clone()
        };
        self.noted.store(true, Ordering::Relaxed);
        self.half_done.store(true, Ordering::Relaxed);
        table.note_visitor(&job.id, &visitor).await
    }

    /// All that was begun is looked after.
    pub(crate) fn settle(&self) {
        self.half_done.store(false, Ordering::Relaxed);
    }

    /// Takes the trace away, unless somebody has to follow.
    pub(crate) async fn end(&self, table: &Table, job: &JobId) -> Result<(), AwsError> {
        if self.half_done.load(Ordering::Relaxed) || !self.noted.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        table.forget_visitor(job, &self.visitor).await
    }
}

impl Doubt {
    pub(crate) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, doubt) | (doubt, Self::Nothing) => doubt,
            (Self::UpTo(one), Self::UpTo(two)) => Self::UpTo(one.max(two)),
            _ => Self::Everything,
        }
    }

    /// Whether the object of this key may be half done.
    pub(crate) fn is_about(&self, key: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::UpTo(last) => key <= last.as_str(),
            Self::Everything => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubt_goes_as_far_as_the_farthest_of_those_who_died() {
        let up_to = |key: &str| Doubt::UpTo(key.to_owned());
        let doubt = up_to("k/3").or(Doubt::Nothing).or(up_to("k/5"));
        assert_eq!(doubt, up_to("k/5"));
        assert_eq!(
            ["k/5", "k/50"].map(|key| doubt.is_about(key)),
            [true, false]
        );
        assert!(doubt.or(Doubt::Everything).is_about("z"));
        assert!(!Doubt::Nothing.is_about(""));
    }
}
