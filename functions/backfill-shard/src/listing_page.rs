//! Processes one page of a listed shard. It lists both sides, and copies what differs through the protocol or reports
//! it. It settles the copies by one more listing of the source instead of a HEAD for each object.
//! [`tandem_replication::page_plan`] decides what a page has to do.

use futures::{StreamExt, stream};
use tandem_aws::AwsError;
use tandem_aws::clients::OBJECTS_AT_ONCE_MAX;
use tandem_aws::dynamodb::failures::SeenFailures;
use tandem_aws::s3::bucket_lookup::is_website;
use tandem_lambda::runtime::now;
use tandem_replication::bucket_pair::Side;
use tandem_replication::diff::{Finding, Listed};
use tandem_replication::names::ObjectKey;
use tandem_replication::page_plan::{PagePlan, Task, in_flight};
use tandem_replication::progress::{Counts, JobKind};
use tandem_replication::replicator::Outcome;
use tandem_replication::shard::ShardRange;
use tandem_replication::shard_session::{Paged, SessionError};
use tandem_replication::shard_state::Step;
use tokio::sync::OnceCell;

use crate::page_object::{LISTED, PageContext, Progress};
use crate::rate_limit::{Allowance, Rate};
use crate::report::Line;

/// What the listings of both sides show.
pub(crate) struct Listings {
    pub(crate) plan: PagePlan,
    /// The failure records that existed before the source was listed.
    pub(crate) seen: SeenFailures,
}

/// A task after its first request.
pub(crate) struct Done<'a> {
    task: Task<'a>,
    doing: Doing,
}

/// The state of a task after its first request.
enum Doing {
    /// An object that is being replicated.
    Object(ObjectKey, Progress),
    /// Nothing is left to do.
    Counted(Counts),
}

impl PageContext<'_> {
    /// Lists both sides of a range, and plans the page.
    pub(crate) async fn list(
        &self,
        range: &ShardRange,
    ) -> Result<Listings, SessionError<AwsError>> {
        let seen = self.seen_failures(range).await?;
        let (source, replica) = futures::try_join!(
            self.pair.s3.list(Side::Source, range),
            self.pair.s3.list(Side::Replica, range),
        )
        .map_err(unless_the_bucket_is_gone)?;
        let (kind, suspects) = (self.job.spec.kind, self.suspects.clone());
        let plan = PagePlan::new(source, replica, kind, suspects);
        Ok(Listings { plan, seen })
    }

    /// Returns about how many objects of a page will be copied.
    pub(crate) fn copies_in(&self, plan: &PagePlan) -> u64 {
        match self.job.spec.kind {
            JobKind::Verify => 0,
            JobKind::Backfill | JobKind::Repair => plan.copies(),
        }
    }

    /// Carries out the tasks of the page, or as many of them as time and the rate limit allow.
    pub(crate) async fn page(
        &self,
        Listings { plan, seen }: &Listings,
        is_website: &OnceCell<bool>,
    ) -> Result<Paged, SessionError<AwsError>> {
        let mut tasks = plan.tasks();
        let total = tasks.len();
        let rate = match self.allowance().await? {
            Allowance::Unlimited => None,
            Allowance::For(objects) => self.limited(&mut tasks, objects).await?,
            Allowance::Later(secs) => return Ok(Paged::Limited(secs)),
        };
        let begun = self.begin_all(tasks, rate.as_ref(), is_website).await?;
        let whole = begun.len() == total;
        let reached = begun.last().map(|done| done.task.key().to_owned());
        let concluded = self.conclude_all(begun, seen).await?;
        self.report(&concluded).await?;
        let mut counts = Counts::default();
        for (_, counted) in &concluded {
            counts.add(counted);
        }
        Ok(Paged::Done(Step {
            // A page without tasks moves the checkpoint too.
            checkpoint: if whole {
                plan.until.clone().or(reached)
            } else {
                reached
            },
            counts,
            ended_at: (whole && plan.complete).then(now),
            ..Step::default()
        }))
    }

    /// Begins the tasks in the order of their keys, as many as time allows. Stores the page first. Waits for all tasks
    /// that it began, because a copy that no worker checks afterwards could overwrite a newer one.
    pub(crate) async fn begin_all<'t>(
        &self,
        tasks: Vec<Task<'t>>,
        rate: Option<&Rate>,
        website: &OnceCell<bool>,
    ) -> Result<Vec<Done<'t>>, SessionError<AwsError>> {
        let carries = tasks.iter().any(|task| matches!(task, Task::Carry(_)));
        let is_enough = !carries || self.listing_is_enough(self.is_website(website).await);
        if let Some(page) = in_flight(&tasks) {
            self.pair.session.record(page).await?;
        }
        let mut worked_on = 0;
        let numbered: Vec<(usize, Option<u64>, Task<'t>)> = tasks
            .into_iter()
            .enumerate()
            .map(|(at, task)| {
                let number = task.needs_work().then(|| {
                    worked_on += 1;
                    worked_on - 1
                });
                (at, number, task)
            })
            .collect();
        let begun = stream::iter(numbered)
            .take_while(|(at, _, task)| {
                let goes_on = *at == 0 || self.deadline.left() > self.time_for(task.bytes());
                async move { goes_on }
            })
            .map(|(at, number, task)| async move {
                if let (Some(rate), Some(number)) = (rate, number) {
                    rate.wait_for(number).await;
                }
                let doing = self.begin(&task, at == 0, is_enough).await?;
                Ok::<_, AwsError>(doing.map(|doing| Done { task, doing }))
            })
            .buffered(OBJECTS_AT_ONCE_MAX)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            // The next page lists the keys again from the first task without a permit on.
            .map_while(Result::transpose)
            .collect::<Result<_, _>>()?;
        Ok(begun)
    }

    /// Begins one task. Returns `None` if its permit came too late.
    async fn begin(
        &self,
        task: &Task<'_>,
        must_begin: bool,
        listing_is_enough: bool,
    ) -> Result<Option<Doing>, AwsError> {
        // S3 never lists an invalid key. A failure record could not name it either.
        let Ok(key) = ObjectKey::parse(task.key()) else {
            return Ok(Some(Doing::Counted(Counts {
                failed: 1,
                ..LISTED
            })));
        };
        if matches!(task, Task::Equal(_)) {
            let equal = Progress::Ended(Ok(Outcome::InSync));
            return Ok(Some(Doing::Object(key, equal)));
        }
        let permit = self.worker.aws.permits().take().await;
        if permit.waited && !must_begin && self.deadline.left() < self.time_for(task.bytes()) {
            return Ok(None);
        }
        Ok(Some(match task {
            Task::Equal(finding) | Task::Compare(finding) => {
                Doing::Counted(self.compare(&key, *finding).await?)
            }
            Task::Extra(_) => Doing::Counted(self.delete_extra(&key).await?),
            Task::Leftover(_) => Doing::Counted(self.recover_leftover(&key).await?),
            Task::Carry(carry) => {
                let progress = self.begin_carry(&key, carry, listing_is_enough).await;
                Doing::Object(key, progress)
            }
        }))
    }

    /// Settles the copies that landed by one more listing of the source, and updates the failure records.
    pub(crate) async fn conclude_all<'t>(
        &self,
        begun: Vec<Done<'t>>,
        seen: &SeenFailures,
    ) -> Result<Vec<(Task<'t>, Counts)>, AwsError> {
        let again = self.list_again(&begun).await?;
        stream::iter(begun)
            .map(|done| self.conclude_one(done, &again, seen))
            .buffered(OBJECTS_AT_ONCE_MAX)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            .collect()
    }

    /// Lists the source's objects again, if a copy landed that the listing has to settle.
    async fn list_again(&self, begun: &[Done<'_>]) -> Result<Vec<Listed>, AwsError> {
        let landed = |done: &&Done<'_>| matches!(done.doing, Doing::Object(_, Progress::Landed(_)));
        let (Some(first), Some(last)) =
            (begun.iter().find(landed), begun.iter().rev().find(landed))
        else {
            return Ok(Vec::new());
        };
        let before_first = begun
            .iter()
            .take_while(|done| done.task.key() < first.task.key())
            .last()
            .map(|done| done.task.key().to_owned());
        let shard = self.pair.session.shard().await;
        let span = ShardRange {
            after: before_first.or_else(|| shard.rest().after),
            until: Some(last.task.key().to_owned()),
            prefix: shard.prefix,
        };
        self.pair.s3.list_all(Side::Source, &span).await
    }

    async fn conclude_one<'t>(
        &self,
        done: Done<'t>,
        again: &[Listed],
        seen: &SeenFailures,
    ) -> Result<(Task<'t>, Counts), AwsError> {
        let Done { task, doing } = done;
        let (key, progress) = match doing {
            Doing::Counted(counts) => return Ok((task, counts)),
            Doing::Object(key, progress) => (key, progress),
        };
        let ended = match progress {
            Progress::Ended(ended) => ended,
            Progress::Landed(landing) => {
                let place = again.binary_search_by(|object| object.key.as_str().cmp(key.as_str()));
                let found = place.ok().map(|at| &again[at]);
                self.settle(&key, &landing, found).await
            }
        };
        let listed = match task.finding() {
            Finding::Source { source, .. } => Some(source),
            Finding::Extra(_) => None,
        };
        let counts = self.conclude(&key, listed, seen.of(&key), ended).await?;
        Ok((task, counts))
    }

    async fn is_website(&self, known: &OnceCell<bool>) -> bool {
        let asked = || is_website(&self.worker.aws, &self.rule.source);
        *known.get_or_init(asked).await
    }

    /// Reserves capacity under the job's rate limit for at most `objects_max` tasks. Leaves the other tasks to the next
    /// page.
    async fn limited(
        &self,
        tasks: &mut Vec<Task<'_>>,
        objects_max: usize,
    ) -> Result<Option<Rate>, AwsError> {
        let mut wanted = tasks
            .iter()
            .enumerate()
            .filter(|(_, task)| task.needs_work());
        if let Some((beyond, _)) = wanted.nth(objects_max) {
            tasks.truncate(beyond);
        }
        let count = tasks.iter().filter(|task| task.needs_work()).count();
        self.reserve(count as u64).await
    }

    /// Writes the findings of a page to the job's report.
    async fn report(&self, concluded: &[(Task<'_>, Counts)]) -> Result<(), SessionError<AwsError>> {
        if self.job.spec.report.is_none() {
            return Ok(());
        }
        let lines = concluded
            .iter()
            .filter_map(|(task, counts)| Line::of(&task.finding(), counts))
            .collect();
        let shard = self.pair.session.shard().await;
        self.write_report(&shard, lines).await
    }
}

/// Converts an error of a listing. A bucket that does not exist ends the shard. Other errors are retried, because for
/// example a denied listing may be allowed a minute later.
fn unless_the_bucket_is_gone(error: AwsError) -> SessionError<AwsError> {
    if error.is("NoSuchBucket") {
        SessionError::Final(error)
    } else {
        SessionError::Failed(error)
    }
}
