//! Going after workers that died. Keys of their pages that are still to come are doubted as they come; those that
//! others have accounted for meanwhile are looked at once more, and not counted again.

use tandem_aws::AwsError;
use tandem_aws::jobs::Job;
use tandem_aws::s3_pair::S3Pair;
use tandem_aws::shard::Shard;
use tandem_aws::visitors::Visitor;
use tandem_lambda::runtime::now;
use tandem_replication::names::JobId;
use tandem_replication::progress::{JobKind, JobSpec, JobState};
use tandem_replication::rule::{Rule, RuleState};

use crate::doubt::Doubt;
use crate::errand::Errand;
use crate::visit::{Paged, Visit};
use crate::worker::{PAGE_TIME, ShardWork, Unfinished, Worker};

/// When to see again whether a rule is still paused: the longest that SQS delays a message.
const PAUSED_SECS: i32 = 900;

/// What workers that died have left to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Those who are over.
    by: Vec<Visitor>,
    /// Those who may be at work yet, or have died lately.
    others: Vec<Visitor>,
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
