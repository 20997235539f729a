//! What workers that died may have left half done. A worker may die between two writes to one object, or before
//! it looked at the source again after a copy landed: what looks the same in a listing is then looked at closely.
//! Keys that are still to come are doubted as they come; those that others have accounted for meanwhile are
//! looked at once more, and not counted again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use tandem_aws::AwsError;
use tandem_aws::jobs::Job;
use tandem_aws::s3_pair::S3Pair;
use tandem_aws::shard::Shard;
use tandem_aws::table::Table;
use tandem_aws::visitors::Visitor;
use tandem_lambda::runtime::now;
use tandem_replication::names::JobId;
use tandem_replication::progress::{JobKind, JobSpec, JobState};
use tandem_replication::rule::{Rule, RuleState};

use crate::errand::Errand;
use crate::shard::ShardWork;
use crate::visit::{Paged, Visit};
use crate::worker::{Unfinished, Worker};

/// What has to be left of an invocation to look at another page once more.
const PAGE_TIME: Duration = Duration::from_mins(2);
/// How long a request of a worker that was ended may be at work, with seconds to spare for clocks that differ.
const AFTERMATH: TimeDelta = TimeDelta::minutes(15);
/// When to see again whether a rule is still paused: the longest that SQS delays a message.
const PAUSED_SECS: i32 = 900;

/// What a worker leaves in the table for whoever has to follow it.
#[derive(Debug)]
pub(crate) struct Trace {
    visitor: Visitor,
    /// Whether it is in the table.
    noted: AtomicBool,
    /// Whether a page is begun that is not accounted for yet.
    half_done: AtomicBool,
}

/// What workers that died have left to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Those who are over.
    by: Vec<Visitor>,
    /// Those who may be at work yet, or have died lately.
    others: Vec<Visitor>,
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

impl Left {
    /// What is to be doubted of what is left of a shard.
    pub(crate) fn doubt(&self, shard: &Shard) -> Doubt {
        let visitors = self.by.iter().chain(&self.others);
        visitors
            .filter(|visitor| !visitor.is_done_with(shard))
            .map(|visitor| match &visitor.reach {
                // A place of a manifest says nothing of keys.
                Some(key) if shard.manifest.is_none() => Doubt::UpTo(key.clone()),
                _ => Doubt::Everything,
            })
            .fold(Doubt::Nothing, Doubt::or)
    }
}

impl Doubt {
    fn or(self, other: Self) -> Self {
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

impl Worker {
    /// Looks at what workers that died have left half done and nobody will come to again. Answers what they have
    /// left of what is still to come; nothing if the rule has to be resumed first, when the work comes again.
    pub(crate) async fn follow(
        &self,
        it: &ShardWork<'_>,
        rule: &Rule,
        job: &Job,
        shard: &Shard,
    ) -> Result<Option<Left>, Unfinished> {
        let mut visitors = self.table.visitors(it.job_id, it.index).await?;
        visitors.retain(|visitor| visitor.id != it.visitor);
        let (over, others): (Vec<_>, Vec<_>) = visitors
            .into_iter()
            .partition(|visitor| visitor.is_over(it.message, now()));
        // Nobody goes on with a job that was cancelled.
        let cancelled = (job.state == JobState::Cancelled).then(|| Shard {
            ended_at: Some(now()),
            error: None,
            ..shard.clone()
        });
        let shard = cancelled.as_ref().unwrap_or(shard);
        let (behind, mut by): (Vec<_>, Vec<_>) = over
            .into_iter()
            .partition(|visitor| visitor.is_behind(shard));
        if !behind.is_empty() && rule.state != RuleState::Enabled {
            for visitor in behind {
                // The work comes again as another message, which has to know that this one is over.
                let over = Visitor {
                    until: now(),
                    ..visitor
                };
                self.table.note_visitor(it.job_id, &over).await?;
            }
            let queue_url = &self.config.work_queue_url;
            self.queues
                .send_later(queue_url, it.work, PAUSED_SECS)
                .await?;
            return Ok(None);
        }
        for visitor in behind {
            self.look_once_more(it, rule, job, &visitor.page_of(shard))
                .await?;
            if visitor.is_done_with(shard) {
                self.table.forget_visitor(it.job_id, &visitor).await?;
            } else {
                let rest = Visitor {
                    place: shard.checkpoint.clone(),
                    ..visitor
                };
                self.table.note_visitor(it.job_id, &rest).await?;
                by.push(rest);
            }
        }
        Ok(Some(Left { by, others }))
    }

    /// Forgets those of whose pages nothing is left.
    pub(crate) async fn forget_followed(
        &self,
        job: &JobId,
        left: &mut Left,
        shard: &Shard,
    ) -> Result<(), AwsError> {
        for visitor in left.by.extract_if(.., |by| by.is_done_with(shard)) {
            self.table.forget_visitor(job, &visitor).await?;
        }
        Ok(())
    }

    /// Looks at a page of a worker that died, as fast as it goes. Nothing of it is counted again.
    async fn look_once_more(
        &self,
        it: &ShardWork<'_>,
        rule: &Rule,
        job: &Job,
        page: &Shard,
    ) -> Result<(), Unfinished> {
        let pair = S3Pair::of_rule(&self.aws, &self.table, rule);
        let expectation = self.expectations.of(it.rule_id);
        let job = Job {
            spec: JobSpec {
                kind: JobKind::Backfill,
                report: None,
                objects_per_sec: None,
                ..job.spec.clone()
            },
            ..job.clone()
        };
        let errand = Errand {
            worker: self,
            rule,
            job: &job,
            pair: &pair,
            expectation: &expectation,
            deadline: it.deadline,
            doubt: Doubt::Everything,
            trace: None,
            receives: it.look.receives,
        };
        let mut page = page.clone();
        let mut visit = Visit::default();
        while page.ended_at.is_none() {
            if it.deadline.left() < PAGE_TIME {
                return Err(Unfinished::NoTurn);
            }
            let paged = if page.manifest.is_some() {
                errand.page_of_manifest(&page, &mut visit).await?
            } else {
                let listings = errand.list(&page).await?;
                errand.page(&page, &listings, &visit).await?
            };
            let Paged::Done(step) = paged else {
                return Err(Unfinished::NoTurn);
            };
            page = page.after(&step, now());
        }
        Ok(())
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
