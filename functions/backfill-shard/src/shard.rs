//! A shard of a job, page by page, each accounted for in one conditional write. What a page is made of is in
//! [`crate::page`] and [`crate::manifest_page`]; a shard that turns out large gives part of itself away.

use tandem_aws::AwsError;
use tandem_aws::jobs::Job;
use tandem_aws::s3_pair::S3Pair;
use tandem_aws::shard::{Shard, Step};
use tandem_lambda::release::{Release, lanes, release};
use tandem_lambda::runtime::now;
use tandem_replication::names::{JobId, RuleId};
use tandem_replication::progress::{Counts, JobKind, JobState};
use tandem_replication::rule::{Rule, RuleState};
use tandem_replication::shard::{CutSearch, probes_allowed};
use tandem_replication::work::Work;

use crate::doubt::Trace;
use crate::errand::Errand;
use crate::follow::Left;
use crate::page::Listings;
use crate::visit::{Paged, Visit};
use crate::worker::{PAGE_TIME, ShardWork, Unfinished, Worker};

impl Worker {
    /// Carries a shard on from its checkpoint: to its end, or until the invocation's time is nearly up and
    /// the rest is handed on. The message is acknowledged only then.
    pub(crate) async fn carry_shard_on(&self, it: &ShardWork<'_>) -> Result<(), Unfinished> {
        let trace = Trace::of(it);
        let ended = self.carry_pages_on(it, &trace).await;
        let forgotten = trace.end(&self.table, it.job_id).await;
        ended?;
        Ok(forgotten?)
    }

    async fn carry_pages_on(&self, it: &ShardWork<'_>, trace: &Trace) -> Result<(), Unfinished> {
        let &ShardWork {
            work,
            rule_id,
            job_id,
            index,
            look,
            deadline,
            ..
        } = it;
        let mut visit = Visit::default();
        let mut left = Left::default();
        let mut first_page = true;
        loop {
            let Some((rule, job, shard)) = self.known(rule_id, job_id, index).await? else {
                return Ok(());
            };
            let at_work = rule.state == RuleState::Enabled && job.state == JobState::Running;
            if first_page {
                left = match self.follow(it, &rule, &job, &shard).await {
                    Ok(Some(left)) => left,
                    Ok(None) => return Ok(()),
                    Err(Unfinished::Aws(error))
                        if look.last_chance && at_work && shard.ended_at.is_none() =>
                    {
                        return self.end_early(&job, &shard, &error).await;
                    }
                    Err(unfinished) => return Err(unfinished),
                };
            }
            if !at_work {
                // It is sent again when rule or job are resumed: either is written before unfinished shards are
                // looked for.
                return Ok(());
            }
            if first_page && look.is_another {
                // Whoever had it may have died before what it gave away had a message.
                self.let_others_go(&job, Release::Given(index)).await?;
            }
            if shard.ended_at.is_some() {
                // Whoever ended it may have died before the next could go.
                return self.let_others_go(&job, Release::Waiting).await;
            }
            if !first_page && deadline.left() < PAGE_TIME {
                // Before whoever gets it could see the trace.
                trace.end(&self.table, job_id).await?;
                self.queues.send(&self.config.work_queue_url, work).await?;
                return Ok(());
            }
            let pair = S3Pair::of_rule(&self.aws, &self.table, &rule);
            let expectation = self.expectations.of(rule_id);
            let errand = Errand {
                worker: self,
                rule: &rule,
                job: &job,
                pair: &pair,
                expectation: &expectation,
                deadline,
                doubt: left.doubt(&shard),
                trace: (job.spec.kind != JobKind::Verify).then_some(trace),
                receives: look.receives,
            };
            first_page = false;
            let (shard, step) = match self.paged(&errand, shard.clone(), &mut visit).await {
                Ok((_, Paged::TooEarly(secs))) => {
                    let queue_url = &self.config.work_queue_url;
                    self.queues.send_later(queue_url, work, secs).await?;
                    return Ok(());
                }
                Ok((shard, Paged::Done(step))) => (shard, step),
                Err(Unfinished::Aws(error)) if look.last_chance => {
                    return self.end_early(&job, &shard, &error).await;
                }
                Err(unfinished) => return Err(unfinished),
            };
            let moved = self.table.step_shard(&job, &shard, &step, now()).await?;
            trace.settle();
            let Some(shard) = moved else {
                // Whoever was faster goes on; this message stays, in case they die.
                return Err(overtaken(&job, &shard));
            };
            self.forget_followed(job_id, &mut left, &shard).await?;
            if step.ended_at.is_some() {
                return self.let_others_go(&job, Release::Waiting).await;
            }
        }
    }

    /// Ends a shard before its end: nobody tries it again by itself, and the job has to come to an end all the same.
    async fn end_early(
        &self,
        job: &Job,
        shard: &Shard,
        error: &AwsError,
    ) -> Result<(), Unfinished> {
        let (rule_id, job_id) = (job.rule_id.as_str(), job.id.as_str());
        tracing::error!(rule.id = rule_id, job.id = job_id, %error, "a shard ends before its end");
        let step = Step {
            ended_at: Some(now()),
            error: Some(error.to_string()),
            ..Step::default()
        };
        let moved = self.table.step_shard(job, shard, &step, now()).await?;
        if moved.is_none() {
            return Err(overtaken(job, shard));
        }
        self.let_others_go(job, Release::Waiting).await
    }

    /// The shard, if it is still known.
    async fn known(
        &self,
        rule_id: &RuleId,
        job_id: &JobId,
        index: u32,
    ) -> Result<Option<(Rule, Job, Shard)>, Unfinished> {
        let Some(rule) = self.table.rule(rule_id).await? else {
            return Ok(None);
        };
        let Some(job) = self.table.job(rule_id, job_id).await? else {
            return Ok(None);
        };
        let shard = self.table.shard(&job, index).await?;
        Ok(shard.map(|shard| (rule, job, shard)))
    }

    async fn let_others_go(&self, job: &Job, which: Release) -> Result<(), Unfinished> {
        let (table, queues) = (&self.table, &self.queues);
        Ok(release(table, queues, &self.config, job, which).await?)
    }

    /// Does one page of the shard, or as much of it as time allows. The shard may have become smaller by
    /// then.
    async fn paged(
        &self,
        errand: &Errand<'_>,
        shard: Shard,
        visit: &mut Visit,
    ) -> Result<(Shard, Paged), Unfinished> {
        let requests_before = self.aws.s3_requests();
        let (shard, mut paged) = if shard.manifest.is_some() {
            let paged = errand.page_of_manifest(&shard, visit).await?;
            (shard, paged)
        } else {
            let listings = errand.list(&shard).await?;
            let shard = self.give_away(errand, shard, &listings).await?;
            let paged = errand.page(&shard, &listings, visit).await?;
            (shard, paged)
        };
        if let Paged::Done(step) = &mut paged {
            step.s3_requests = self.aws.s3_requests() - requests_before;
        }
        Ok((shard, paged))
    }

    /// Gives part of what is left away, if there is much of it, and somebody could take it. Answers what the
    /// shard is then.
    async fn give_away(
        &self,
        errand: &Errand<'_>,
        shard: Shard,
        listings: &Listings,
    ) -> Result<Shard, Unfinished> {
        let Errand { job, pair, .. } = errand;
        let keys = &listings.source.objects;
        let (Some(first), Some(last), false) = (keys.first(), keys.last(), listings.source.last)
        else {
            return Ok(shard);
        };
        let Counts { copied, .. } = shard.counts;
        let copies = copied + errand.copies_in(listings);
        let Some(probes_max) = probes_allowed(copies, 2 * (shard.pages + 1), shard.probes) else {
            return Ok(shard);
        };
        let shards = self.table.shards(job).await?;
        let open = shards.iter().filter(|shard| shard.ended_at.is_none());
        if open.count() >= lanes(job, &self.config) {
            return Ok(shard);
        }
        let (first, last) = (&first.key, &last.key);
        let mut search = CutSearch::new(shard.rest(), first, last, shard.hint(), probes_max);
        let mut probes = 0;
        while let Some(range) = search.next_probe() {
            probes += 1;
            search.saw(pair.first_key(&range).await?);
        }
        let (cut, hint) = search.end();
        let Some(cut) = cut else {
            let noted = self.table.note_search(job, &shard, probes, hint).await?;
            return noted.ok_or_else(|| overtaken(job, &shard));
        };
        let Some(index) = self.table.next_shard_index(job).await? else {
            return Ok(shard);
        };
        let (kept, given) = shard.cut(&cut, hint, index, now());
        let kept = Shard {
            // Both sides list some keys at the cut that are not theirs.
            probes: shard.probes + probes + 2,
            ..kept
        };
        if !self.table.split_shard(job, &shard, &kept, &given).await? {
            return Err(overtaken(job, &shard));
        }
        let work = Work::Shard {
            rule_id: job.rule_id.clone(),
            job_id: job.id.clone(),
            shard: index,
        };
        self.queues.send(&self.config.work_queue_url, &work).await?;
        Ok(kept)
    }
}

fn overtaken(job: &Job, shard: &Shard) -> Unfinished {
    Unfinished::Overtaken {
        job: job.id.to_string(),
        shard: shard.index,
    }
}
