//! A shard of a backfill: page by page, both sides are listed, what differs is carried over through the
//! protocol, and the page is accounted for in one conditional write.

use std::time::Duration;

use futures::{StreamExt, stream};
use tandem_aws::AwsError;
use tandem_aws::clients::OBJECTS_AT_ONCE_MAX;
use tandem_aws::jobs::{Job, Shard, Step};
use tandem_aws::listing::Page;
use tandem_aws::s3_pair::S3Pair;
use tandem_lambda::record::{Attempt, Unsuccessful};
use tandem_lambda::runtime::{Deadline, now};
use tandem_replication::bucket_pair::Side;
use tandem_replication::diff::{Listed, Verdict, diff};
use tandem_replication::fault::{FailedObject, Fault, Reason};
use tandem_replication::names::{JobId, ObjectKey, RuleId};
use tandem_replication::progress::{Counts, JobState};
use tandem_replication::replicator::{Outcome, Replicator};
use tandem_replication::rule::{Rule, RuleState};
use tandem_replication::shard::ShardRange;
use tandem_replication::work::Work;

use crate::worker::{Look, Unfinished, Worker};

/// What has to be left of an invocation to begin another page.
const PAGE_TIME: Duration = Duration::from_mins(2);
/// What has to be left of an invocation to begin another small object.
const OBJECT_TIME: Duration = Duration::from_mins(1);
/// How fast a large object is copied, at the least to be expected: bytes a second.
const COPY_BYTES_PER_SEC: u64 = 50 << 20;
/// An object whose copy failed, though another attempt may succeed, is tried again after this time: when
/// nothing of the failed attempt can be at work any more. The longest that SQS delays a message.
const SECOND_ATTEMPT_SECS: i32 = 900;

/// What is needed for every object of a shard.
struct Errand<'a> {
    worker: &'a Worker,
    rule: &'a Rule,
    pair: &'a S3Pair,
    replicator: Replicator<'a, S3Pair>,
    deadline: Deadline,
}

impl Worker {
    /// Carries a shard on from its checkpoint: to its end, or until the invocation's time is nearly up and
    /// the rest is handed on. The message is acknowledged only then.
    pub(crate) async fn carry_shard_on(
        &self,
        work: &Work,
        rule_id: &RuleId,
        job_id: &JobId,
        index: u32,
        look: Look,
        deadline: Deadline,
    ) -> Result<(), Unfinished> {
        let mut first_page = true;
        loop {
            let Some((rule, job, shard)) = self.still_wanted(rule_id, job_id, index).await? else {
                return Ok(());
            };
            if !first_page && deadline.left() < PAGE_TIME {
                self.queues.send(&self.config.work_queue_url, work).await?;
                return Ok(());
            }
            // A worker may have died at this very page, between two writes to one object: what looks the same
            // in a listing may be half done.
            let doubtful = first_page && look.is_another;
            first_page = false;
            let pair = S3Pair::of_rule(&self.aws, &self.table, &rule);
            let expectation = self.expectations.of(rule_id);
            let errand = Errand {
                worker: self,
                rule: &rule,
                pair: &pair,
                replicator: self.replicator(&pair, &rule).expecting(&expectation),
                deadline,
            };
            let step = errand.page(&pair, &shard, doubtful).await?;
            if !self.table.step_shard(&job, &shard, &step).await? {
                // Whoever was faster goes on; this message stays, in case they die.
                return Err(Unfinished::Overtaken {
                    job: job_id.to_string(),
                    shard: index,
                });
            }
            if step.ended_at.is_some() {
                return Ok(());
            }
        }
    }

    /// The shard, if there is anything to do about it now. What is not wanted while the rule is paused is
    /// sent again when it is resumed: the rule is written before unfinished shards are looked for.
    async fn still_wanted(
        &self,
        rule_id: &RuleId,
        job_id: &JobId,
        index: u32,
    ) -> Result<Option<(Rule, Job, Shard)>, Unfinished> {
        let Some(rule) = self.table.rule(rule_id).await? else {
            return Ok(None);
        };
        if rule.state != RuleState::Enabled {
            return Ok(None);
        }
        let Some(job) = self.table.job(rule_id, job_id).await? else {
            return Ok(None);
        };
        if job.state != JobState::Running {
            return Ok(None);
        }
        let shard = self.table.shard(&job, index).await?;
        Ok(shard
            .filter(|shard| shard.ended_at.is_none())
            .map(|shard| (rule, job, shard)))
    }
}

impl Errand<'_> {
    /// Does one page of the shard, or as much of it as time allows.
    async fn page(&self, pair: &S3Pair, shard: &Shard, doubtful: bool) -> Result<Step, Unfinished> {
        let rest = shard.rest();
        let Page { objects, last } = pair.list(Side::Source, &rest).await?;
        let Some(last_object) = objects.last() else {
            return Ok(Step {
                checkpoint: None,
                counts: Counts::default(),
                ended_at: Some(now()),
            });
        };
        let span = ShardRange {
            until: Some(last_object.key.clone()),
            ..rest
        };
        let replicas = pair.list_all(Side::Replica, &span).await?;
        let mut judged = diff(&objects, &replicas);
        for (_, verdict) in &mut judged {
            if doubtful && *verdict == Verdict::Same {
                *verdict = Verdict::NeedsLook;
            }
        }
        let total = judged.len();
        // Objects are begun and accounted for in the order of their keys. What has begun is waited for: a
        // copy that nobody reads back could land on top of a newer one.
        let done: Vec<(&Listed, Counts)> = stream::iter(judged.into_iter().enumerate())
            .take_while(|(at, (object, _))| {
                let goes_on = *at == 0 || self.deadline.left() > self.time_for(object);
                async move { goes_on }
            })
            .map(|(at, (object, verdict))| async move {
                let counts = self.object(object, verdict, at == 0).await?;
                Ok::<_, Unfinished>(counts.map(|counts| (object, counts)))
            })
            .buffered(OBJECTS_AT_ONCE_MAX)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            // What comes after the first that had no turn is looked at again, and found equal.
            .map_while(Result::transpose)
            .collect::<Result<_, _>>()?;
        let mut counts = Counts::default();
        for (_, object) in &done {
            counts.add(object);
        }
        let whole = done.len() == total;
        Ok(Step {
            checkpoint: done.last().map(|(object, _)| object.key.clone()),
            counts,
            ended_at: (whole && last).then(now),
        })
    }

    /// Does one object, and says how it counts; not at all if its turn came too late.
    async fn object(
        &self,
        object: &Listed,
        verdict: Verdict,
        must_begin: bool,
    ) -> Result<Option<Counts>, Unfinished> {
        let listed = Counts {
            listed: 1,
            ..Counts::default()
        };
        let failed = Counts {
            failed: 1,
            ..listed
        };
        // A listing never shows a key that is none; if it does, nobody can record it either.
        let Ok(key) = ObjectKey::parse(object.key.as_str()) else {
            return Ok(Some(failed));
        };
        let ended = if verdict == Verdict::Same {
            Ok(Outcome::InSync)
        } else {
            let turn = self.worker.aws.turns().take().await;
            if turn.waited && !must_begin && self.deadline.left() < self.time_for(object) {
                return Ok(None);
            }
            match self.attempt(&key, object, verdict).await {
                Err(fault) if again_at_once(&fault) => {
                    self.worker.carry(self.pair, self.rule, &key, None).await
                }
                ended => ended,
            }
        };
        if matches!(ended, Ok(Outcome::TooLargeHere { .. })) {
            // Its transfer will say what becomes of it.
            return Ok(Some(Counts {
                transfers: 1,
                ..listed
            }));
        }
        let attempt = Attempt {
            ended: ended.map_err(|fault| {
                fault.of(FailedObject {
                    version_id: None,
                    etag: object.etag.clone(),
                    bytes: object.bytes,
                })
            }),
            may_have_failed: self.may_have_failed().await,
            last_chance: true,
        };
        let counts = match self.worker.recorder.keep(self.rule, &key, attempt).await {
            Ok(Outcome::Replicated { bytes }) => Counts {
                copied: 1,
                bytes_copied: bytes,
                ..listed
            },
            Ok(Outcome::InSync) => Counts { equal: 1, ..listed },
            Ok(Outcome::Adjusted) => Counts {
                copied: 1,
                ..listed
            },
            Ok(_) => Counts { gone: 1, ..listed },
            Err(unsuccessful) => {
                self.failed(&key, &unsuccessful).await?;
                failed
            }
        };
        Ok(Some(counts))
    }

    /// What has to be left to begin with an object. The largest only have to be begun here.
    fn time_for(&self, object: &Listed) -> Duration {
        let bytes = object.bytes.min(self.worker.config.transfer_bytes_min);
        OBJECT_TIME + Duration::from_secs(bytes / COPY_BYTES_PER_SEC)
    }

    /// Whether there may be a failure to clear, as was known a few seconds ago at most.
    async fn may_have_failed(&self) -> bool {
        let known = self.worker.rules.recent(&self.rule.source.name).await;
        known.map_or(true, |known| known.has_failures)
    }

    async fn attempt(
        &self,
        key: &ObjectKey,
        object: &Listed,
        verdict: Verdict,
    ) -> Result<Outcome, Fault> {
        let ended = match verdict {
            Verdict::Same => Ok(Outcome::InSync),
            Verdict::NeedsCopy => self.replicator.put(key, &object.etag, object.bytes).await,
            Verdict::NeedsLook => self.replicator.reconcile(key).await,
        };
        match ended {
            Ok(Outcome::TooLargeHere { .. }) => {
                self.worker
                    .begin_transfer(self.pair, self.rule, key, None)
                    .await
            }
            ended => ended,
        }
    }

    /// The failure is recorded. One that may go away by itself is also tried again later, which clears the
    /// record if it succeeds; the page is not accounted for before that is certain.
    async fn failed(&self, key: &ObjectKey, unsuccessful: &Unsuccessful) -> Result<(), AwsError> {
        let rule_id = self.rule.id.as_str();
        match unsuccessful {
            Unsuccessful::Parked { fault, .. } => {
                tracing::error!(rule.id = rule_id, object.key = key.as_str(), %fault, "parked");
                Ok(())
            }
            Unsuccessful::TryAgain(fault) => {
                tracing::warn!(rule.id = rule_id, object.key = key.as_str(), %fault, "failed; tried again later");
                let work = Work::Object {
                    rule_id: self.rule.id.clone(),
                    key: key.clone(),
                    event_time: now(),
                };
                let queue_url = &self.worker.config.work_queue_url;
                self.worker
                    .queues
                    .send_later(queue_url, &work, SECOND_ATTEMPT_SECS)
                    .await
            }
        }
    }
}

/// Whether a failed attempt left nothing behind that another one could meet.
fn again_at_once(fault: &Fault) -> bool {
    matches!(
        fault.reason,
        Reason::ServiceFailed | Reason::Throttled | Reason::KeptChanging
    )
}
