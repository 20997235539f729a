//! What workers that died may have left half done. A worker may die between two writes to one object, or before
//! it looked at the source again after a copy landed: what looks the same in a listing is then looked at closely.
//! Keys that are still to come are doubted as they come; those that others have accounted for meanwhile are
//! looked at once more, and not counted again.

use std::time::Duration;

use tandem_aws::jobs::Job;
use tandem_aws::s3_pair::S3Pair;
use tandem_aws::shard::Shard;
use tandem_aws::visitors::Visitor;
use tandem_lambda::runtime::now;
use tandem_replication::names::JobId;
use tandem_replication::progress::{JobKind, JobSpec};
use tandem_replication::rule::{Rule, RuleState};

use crate::errand::Errand;
use crate::shard::ShardWork;
use crate::visit::{Paged, Visit};
use crate::worker::{Unfinished, Worker};

/// What has to be left of an invocation to look at another page once more.
const PAGE_TIME: Duration = Duration::from_mins(2);

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

/// What workers that died have left to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// How far.
    pub(crate) doubt: Doubt,
    /// Who they are.
    by: Vec<Visitor>,
}

impl Doubt {
    /// What these workers leave of a shard.
    fn of(visitors: &[Visitor], shard: &Shard) -> Self {
        // A place of a manifest says nothing of keys.
        if shard.manifest.is_some() && !visitors.is_empty() {
            return Self::Everything;
        }
        let reaches = visitors.iter().map(|visitor| match &visitor.reach {
            Some(key) => Self::UpTo(key.clone()),
            None => Self::Everything,
        });
        reaches.fold(Self::Nothing, Self::or)
    }

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
    /// Looks at what workers that died have left half done. Answers what they have left of what is still to come.
    pub(crate) async fn follow(
        &self,
        it: &ShardWork<'_>,
        rule: &Rule,
        job: &Job,
        shard: &Shard,
    ) -> Result<Left, Unfinished> {
        let mut visitors = self.table.visitors(it.job_id, it.index).await?;
        visitors.retain(|visitor| visitor.id != it.visitor);
        let doubt = Doubt::of(&visitors, shard);
        let (behind, mut still): (Vec<_>, Vec<_>) = visitors
            .into_iter()
            .filter(|visitor| visitor.is_over(it.message, now()))
            .partition(|visitor| visitor.is_behind(shard));
        if !behind.is_empty() && rule.state != RuleState::Enabled {
            return Err(Unfinished::Paused);
        }
        for visitor in behind {
            self.look_once_more(it, rule, job, shard, &visitor).await?;
            // Part of its page may be still to come.
            if visitor.is_done_with(shard) {
                self.table.forget_visitor(it.job_id, &visitor).await?;
            } else {
                still.push(visitor);
            }
        }
        Ok(Left { doubt, by: still })
    }

    /// Forgets those of whose pages nothing is left.
    pub(crate) async fn forget_followed(
        &self,
        job: &JobId,
        left: &mut Left,
        shard: &Shard,
    ) -> Result<(), Unfinished> {
        for visitor in left.by.extract_if(.., |by| by.is_done_with(shard)) {
            self.table.forget_visitor(job, &visitor).await?;
        }
        Ok(())
    }

    /// Looks at the page of a worker that died, as far as the shard was moved on.
    async fn look_once_more(
        &self,
        it: &ShardWork<'_>,
        rule: &Rule,
        job: &Job,
        shard: &Shard,
        visitor: &Visitor,
    ) -> Result<(), Unfinished> {
        let pair = S3Pair::of_rule(&self.aws, &self.table, rule);
        let expectation = self.expectations.of(it.rule_id);
        let job = Job {
            spec: JobSpec {
                kind: JobKind::Backfill,
                report: None,
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
            visitor: None,
            receives: it.look.receives,
        };
        let mut page = visitor.page_of(shard);
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
