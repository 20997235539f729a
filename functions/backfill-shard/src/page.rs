//! One page of a shard: both sides are listed, what differs is carried over through the protocol or told, and
//! what was copied is settled by one more listing of the source instead of a HEAD an object.

use futures::{StreamExt, stream};
use tandem_aws::bucket_lookup::is_website;
use tandem_aws::clients::OBJECTS_AT_ONCE_MAX;
use tandem_aws::failures::SeenFailures;
use tandem_aws::listing::Page;
use tandem_aws::shard::{Shard, Step};
use tandem_lambda::runtime::now;
use tandem_replication::bucket_pair::{BucketPair, Side};
use tandem_replication::diff::{Finding, Listed, Verdict, diff};
use tandem_replication::names::ObjectKey;
use tandem_replication::progress::{Counts, JobKind};
use tandem_replication::replicator::Outcome;
use tandem_replication::rule::Policy;
use tandem_replication::shard::ShardRange;

use crate::errand::{Course, Errand, LISTED};
use crate::pace::{Pace, Room};
use crate::report::Told;
use crate::visit::{Paged, Visit};
use crate::worker::Unfinished;

/// The first page of what is left of a shard, on both sides.
pub(crate) struct Listings {
    pub(crate) source: Page,
    replica: Page,
    /// Both sides are known up to and including this key; to the end of the range if nobody says.
    until: Option<String>,
    /// Whether nothing is left behind it.
    complete: bool,
    /// The failure records that there were before the source was listed.
    seen: SeenFailures,
}

/// What became of one finding.
struct Done<'a> {
    finding: Finding<'a>,
    course: Doing,
}

/// Where a finding is after its first request.
enum Doing {
    /// An object of the source.
    Object(ObjectKey, Course),
    /// All there is to say.
    Counted(Counts),
}

impl Listings {
    fn new(source: Page, replica: Page, wants_extras: bool) -> Self {
        let last = |page: &Page| page.objects.last().map(|object| object.key.clone());
        let (source_last, replica_last) = (last(&source), last(&replica));
        // What the destination has behind the last object of the source is nobody's business but a comparison's.
        let replica_ends =
            replica.last || (source.last && !wants_extras && source_last <= replica_last);
        let until = match (source.last, replica_ends) {
            (true, true) => None,
            (true, false) => replica_last,
            (false, true) => source_last,
            (false, false) => source_last.min(replica_last),
        };
        Self {
            complete: source.last && replica_ends,
            seen: SeenFailures::default(),
            until,
            source,
            replica,
        }
    }

    /// What both sides say of every key that both are known for.
    fn findings(&self, wants_extras: bool) -> Vec<Finding<'_>> {
        let known = |objects: &[Listed]| {
            let until = self.until.as_ref();
            objects.partition_point(|object| until.is_none_or(|until| object.key <= *until))
        };
        let source = &self.source.objects[..known(&self.source.objects)];
        let replica = &self.replica.objects[..known(&self.replica.objects)];
        let mut findings = diff(source, replica);
        findings.retain(|finding| wants_extras || !matches!(finding, Finding::Extra(_)));
        findings
    }
}

impl Errand<'_> {
    fn wants_extras(&self) -> bool {
        self.job.spec.kind != JobKind::Backfill
    }

    /// Lists both sides of what is left of a shard.
    pub(crate) async fn list(&self, shard: &Shard) -> Result<Listings, Unfinished> {
        let rest = shard.rest();
        let seen = self.seen_failures(&rest).await?;
        let (source, replica) = futures::try_join!(
            self.pair.list(Side::Source, &rest),
            self.pair.list(Side::Replica, &rest),
        )?;
        let listings = Listings::new(source, replica, self.wants_extras());
        Ok(Listings { seen, ..listings })
    }

    /// How many objects of a page will be copied, about.
    pub(crate) fn copies_in(&self, listings: &Listings) -> u64 {
        if self.job.spec.kind == JobKind::Verify {
            return 0;
        }
        let findings = listings.findings(false);
        findings
            .iter()
            .filter(|finding| needs_work(finding))
            .count() as u64
    }

    /// Does what the listings show, or as much of it as time allows.
    pub(crate) async fn page(
        &self,
        shard: &Shard,
        listings: &Listings,
        visit: &Visit,
    ) -> Result<Paged, Unfinished> {
        let mut findings = listings.findings(self.wants_extras());
        if self.job.spec.kind != JobKind::Verify {
            findings
                .iter_mut()
                .filter(|finding| self.doubt.is_about(finding.key()))
                .for_each(doubt);
        }
        let total = findings.len();
        let pace = match self.room().await? {
            Room::Unlimited => None,
            Room::For(room) => self.paced(&mut findings, room).await?,
            Room::Later(secs) => return Ok(Paged::TooEarly(secs)),
        };
        let writes = self.job.spec.kind != JobKind::Verify && findings.iter().any(needs_work);
        let enough = !writes || self.listing_is_enough(self.is_website(visit).await);
        if writes {
            let reach = match findings.last() {
                Some(last) if findings.len() < total => Some(last.key().to_owned()),
                _ => listings.until.clone(),
            };
            self.begins(shard, reach).await?;
        }
        let begun = self.begin_all(findings, pace.as_ref(), enough).await?;
        let whole = begun.len() == total;
        let reached = begun.last().map(|done| done.finding.key().to_owned());
        let again = self.list_again(shard, &begun).await?;
        let concluded: Vec<(Finding<'_>, Counts)> = stream::iter(begun)
            .map(|done| self.conclude_one(done, &again, &listings.seen))
            .buffered(OBJECTS_AT_ONCE_MAX)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            .collect::<Result<_, _>>()?;
        self.report(shard, &concluded).await?;
        let mut counts = Counts::default();
        for (_, counted) in &concluded {
            counts.add(counted);
        }
        Ok(Paged::Done(Step {
            // A page of which nothing was wanted is done with as well.
            checkpoint: if whole {
                listings.until.clone().or(reached)
            } else {
                reached
            },
            counts,
            ended_at: (whole && listings.complete).then(now),
            ..Step::default()
        }))
    }

    /// Begins with the findings in the order of their keys, as many as time allows. What has begun is waited
    /// for: a copy that nobody looks after could land on top of a newer one.
    async fn begin_all<'f>(
        &self,
        findings: Vec<Finding<'f>>,
        pace: Option<&Pace>,
        listing_is_enough: bool,
    ) -> Result<Vec<Done<'f>>, Unfinished> {
        let mut worked_on = 0;
        let numbered: Vec<(usize, Option<u64>, Finding<'f>)> = findings
            .into_iter()
            .enumerate()
            .map(|(at, finding)| {
                let turn = needs_work(&finding).then(|| {
                    worked_on += 1;
                    worked_on - 1
                });
                (at, turn, finding)
            })
            .collect();
        stream::iter(numbered)
            .take_while(|(at, _, finding)| {
                let goes_on = *at == 0 || self.deadline.left() > self.time_for(bytes_of(finding));
                async move { goes_on }
            })
            .map(|(at, turn, finding)| async move {
                if let (Some(pace), Some(turn)) = (pace, turn) {
                    pace.wait_for(turn).await;
                }
                let course = self.begin(&finding, at == 0, listing_is_enough).await?;
                Ok::<_, Unfinished>(course.map(|course| Done { finding, course }))
            })
            .buffered(OBJECTS_AT_ONCE_MAX)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            // What comes after the first that had no turn is looked at again, and found equal.
            .map_while(Result::transpose)
            .collect()
    }

    /// Begins with one finding; not at all if its turn came too late.
    async fn begin(
        &self,
        finding: &Finding<'_>,
        must_begin: bool,
        listing_is_enough: bool,
    ) -> Result<Option<Doing>, Unfinished> {
        // A listing never shows a key that is none; if it does, nobody can record it either.
        let Ok(key) = ObjectKey::parse(finding.key()) else {
            return Ok(Some(Doing::Counted(Counts {
                failed: 1,
                ..LISTED
            })));
        };
        if let Finding::Source {
            verdict: Verdict::Same,
            ..
        } = finding
        {
            return Ok(Some(Doing::Object(key, Course::Ended(Ok(Outcome::InSync)))));
        }
        let turn = self.worker.aws.turns().take().await;
        if turn.waited && !must_begin && self.deadline.left() < self.time_for(bytes_of(finding)) {
            return Ok(None);
        }
        Ok(Some(match (self.job.spec.kind, *finding) {
            (JobKind::Verify, finding) => Doing::Counted(self.compare(&key, finding).await?),
            (_, Finding::Extra(_)) => Doing::Counted(self.delete_extra(&key).await?),
            (
                _,
                Finding::Source {
                    source,
                    replica,
                    verdict,
                },
            ) => {
                let begun = self.begin_listed(&key, source, replica, verdict, listing_is_enough);
                Doing::Object(key.clone(), begun.await)
            }
        }))
    }

    /// Says how two sides compare, where listings alone do not.
    async fn compare(&self, key: &ObjectKey, finding: Finding<'_>) -> Result<Counts, Unfinished> {
        let missing = Counts {
            missing: 1,
            ..LISTED
        };
        let different = Counts {
            different: 1,
            ..LISTED
        };
        Ok(match finding {
            Finding::Extra(_) => Counts {
                extra: 1,
                ..Counts::default()
            },
            Finding::Source { replica: None, .. } => missing,
            Finding::Source {
                source,
                verdict: Verdict::NeedsLook,
                ..
            } => match self.pair.head(Side::Replica, key).await? {
                Some(replica) if replica.stands_for(&source.etag) => Counts { equal: 1, ..LISTED },
                Some(_) => different,
                None => missing,
            },
            Finding::Source { .. } => different,
        })
    }

    /// Deletes an object of the destination if the source itself says that it has none, the rule wants it
    /// so, and the job may still delete.
    async fn delete_extra(&self, key: &ObjectKey) -> Result<Counts, Unfinished> {
        let extra = Counts {
            extra: 1,
            ..Counts::default()
        };
        let seen = self.seen_failure(key).await?;
        let deletes_max = self.job.spec.deletes_max.unwrap_or_default();
        if self.rule.policy != Policy::Full
            // A listing is no evidence, and what was put since is no extra.
            || self.pair.head(Side::Source, key).await?.is_some()
            || !self.worker.table.take_delete(&self.job.id, deletes_max).await?
        {
            return Ok(extra);
        }
        let ended = self.replicator(key).reconcile(key).await;
        let deleted = matches!(ended, Ok(Outcome::Deleted));
        // A failure is recorded like every other; the object stays, and is counted as what it is.
        self.conclude(key, None, seen, ended).await?;
        Ok(Counts {
            deleted: u64::from(deleted),
            ..extra
        })
    }

    /// The source's objects again, if anything landed that has to be settled by them.
    async fn list_again(
        &self,
        shard: &Shard,
        begun: &[Done<'_>],
    ) -> Result<Vec<Listed>, Unfinished> {
        let landed = |done: &&Done<'_>| matches!(done.course, Doing::Object(_, Course::Landed(_)));
        let (Some(first), Some(last)) =
            (begun.iter().find(landed), begun.iter().rev().find(landed))
        else {
            return Ok(Vec::new());
        };
        let before_first = begun
            .iter()
            .take_while(|done| done.finding.key() < first.finding.key())
            .last()
            .map(|done| done.finding.key().to_owned());
        let span = ShardRange {
            prefix: shard.prefix.clone(),
            after: before_first.or_else(|| shard.rest().after),
            until: Some(last.finding.key().to_owned()),
        };
        Ok(self.pair.list_all(Side::Source, &span).await?)
    }

    async fn conclude_one<'f>(
        &self,
        done: Done<'f>,
        again: &[Listed],
        seen: &SeenFailures,
    ) -> Result<(Finding<'f>, Counts), Unfinished> {
        let Done { finding, course } = done;
        let (key, course) = match course {
            Doing::Counted(counts) => return Ok((finding, counts)),
            Doing::Object(key, course) => (key, course),
        };
        let ended = match course {
            Course::Ended(ended) => ended,
            Course::Landed(landing) => {
                let place = again.binary_search_by(|object| object.key.as_str().cmp(key.as_str()));
                let found = place.ok().map(|at| &again[at]);
                self.settle(&key, &landing, found).await
            }
        };
        let listed = match finding {
            Finding::Source { source, .. } => Some(source),
            Finding::Extra(_) => None,
        };
        let counts = self.conclude(&key, listed, seen.of(&key), ended).await?;
        Ok((finding, counts))
    }

    async fn is_website(&self, visit: &Visit) -> bool {
        let asked = || is_website(&self.worker.aws, &self.rule.source);
        *visit.is_website.get_or_init(asked).await
    }

    /// Takes room in the job's pace for as many findings as there is room for; the others are left for the
    /// next page.
    async fn paced(
        &self,
        findings: &mut Vec<Finding<'_>>,
        room: usize,
    ) -> Result<Option<Pace>, Unfinished> {
        let wanted = findings.iter().enumerate();
        let mut wanted = wanted.filter(|(_, finding)| needs_work(finding));
        if let Some((beyond, _)) = wanted.nth(room) {
            findings.truncate(beyond);
        }
        let count = findings
            .iter()
            .filter(|finding| needs_work(finding))
            .count();
        self.take_pace(count as u64).await
    }

    /// Writes what was found at the job's report.
    async fn report(
        &self,
        shard: &Shard,
        concluded: &[(Finding<'_>, Counts)],
    ) -> Result<(), Unfinished> {
        if self.job.spec.report.is_none() {
            return Ok(());
        }
        let told = concluded
            .iter()
            .filter_map(|(finding, counts)| Told::of(finding, counts))
            .collect();
        Ok(self.write_report(shard, told).await?)
    }
}

/// Whether there is anything to be done about a finding.
fn needs_work(finding: &Finding<'_>) -> bool {
    !matches!(
        finding,
        Finding::Source {
            verdict: Verdict::Same,
            ..
        }
    )
}

/// Has an object looked at that seems to be the same.
fn doubt(finding: &mut Finding<'_>) {
    if let Finding::Source { verdict, .. } = finding
        && *verdict == Verdict::Same
    {
        *verdict = Verdict::NeedsLook;
    }
}

fn bytes_of(finding: &Finding<'_>) -> u64 {
    match finding {
        Finding::Source { source, .. } => source.bytes,
        Finding::Extra(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use tandem_replication::Timestamp;
    use tandem_replication::names::{Etag, StorageClass};

    use super::*;

    fn page(keys: &[&str], last: bool) -> Page {
        let listed = |key: &&str| Listed {
            key: (*key).to_owned(),
            etag: Etag::new("e"),
            bytes: 1,
            last_modified: Timestamp::UNIX_EPOCH,
            storage_class: StorageClass::standard(),
        };
        Page {
            objects: keys.iter().map(listed).collect(),
            last,
        }
    }

    /// Keys, whether nothing is left behind them, and up to where.
    fn seen(
        source: Page,
        replica: Page,
        wants_extras: bool,
    ) -> (Vec<String>, bool, Option<String>) {
        let listings = Listings::new(source, replica, wants_extras);
        let keys = listings.findings(wants_extras);
        let keys = keys
            .iter()
            .map(|finding| finding.key().to_owned())
            .collect();
        (keys, listings.complete, listings.until)
    }

    fn texts(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn a_page_goes_as_far_as_both_sides_are_known() {
        let (all, until) = (true, |key: &str| Some(key.to_owned()));
        for (source, replica, wanted) in [
            // Both end.
            (
                page(&["a", "c"], true),
                page(&["b"], true),
                (texts(&["a", "b", "c"]), true, None),
            ),
            // The source goes on.
            (
                page(&["a", "c"], false),
                page(&["b", "d"], true),
                (texts(&["a", "b", "c"]), false, until("c")),
            ),
            // The destination goes on.
            (
                page(&["a", "c"], true),
                page(&["b"], false),
                (texts(&["a", "b"]), false, until("b")),
            ),
            // Both go on.
            (
                page(&["a", "c"], false),
                page(&["a", "b"], false),
                (texts(&["a", "b"]), false, until("b")),
            ),
            // There is nothing at the source.
            (
                page(&[], true),
                page(&["a", "b"], false),
                (texts(&["a", "b"]), false, until("b")),
            ),
        ] {
            assert_eq!(seen(source, replica, all), wanted);
        }
    }

    #[test]
    fn a_backfill_does_not_list_what_is_only_at_the_destination() {
        let (source, replica) = (page(&["a"], true), page(&["a", "b", "c"], false));
        assert_eq!(seen(source, replica, false), (texts(&["a"]), true, None));
        let (source, replica) = (page(&[], true), page(&["b"], false));
        assert_eq!(seen(source, replica, false), (texts(&[]), true, None));
    }
}
