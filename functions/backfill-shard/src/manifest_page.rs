//! Processes one page of a shard whose keys come from a list in S3: reads some records, sends a HEAD for each source,
//! and reconciles each key. The checkpoint is the number of bytes that are done, or of records in a compressed list.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use tandem_aws::AwsError;
use tandem_aws::clients::OBJECTS_AT_ONCE_MAX;
use tandem_lambda::runtime::now;
use tandem_replication::bucket_pair::{BucketPair, Side};
use tandem_replication::failure_record::FailureRevision;
use tandem_replication::fault::Fault;
use tandem_replication::in_flight::InFlight;
use tandem_replication::key_list::{Entry, NamedKey, Record};
use tandem_replication::names::ObjectKey;
use tandem_replication::object::ObjectState;
use tandem_replication::progress::Counts;
use tandem_replication::shard_session::{Paged, SessionError};
use tandem_replication::shard_state::{ManifestPart, Shard, Step};
use tokio::sync::Mutex;

use crate::manifest_lines::Lines;
use crate::page_object::{LISTED, PageContext};
use crate::rate_limit::Allowance;

/// How many records a page has at most.
pub(crate) const RECORDS: usize = 500;

/// A key, and how many records of the page name it. An inventory may have one record for each version.
struct Rows {
    key: ObjectKey,
    /// Records that only name the key.
    plain: u64,
    /// Records that also say that the source may not have the object.
    may_be_absent: u64,
}

/// A key that records name, and the state of its source.
pub(crate) struct Found {
    rows: Rows,
    /// The failure record that existed before the source was read.
    seen: Option<FailureRevision>,
    /// The result of a HEAD of the source.
    source: Result<Option<ObjectState>, Fault>,
}

/// What to do about a record.
pub(crate) enum Todo {
    /// Reconcile the key, which the rule covers.
    Key(NamedKey),
    /// Only count the record.
    Counted(Counts),
}

impl PageContext<'_> {
    /// Processes a page of the shard's list.
    pub(crate) async fn page_of_manifest(
        &self,
        kept: &Mutex<Option<Lines>>,
    ) -> Result<Paged, SessionError<AwsError>> {
        let shard = self.pair.session.shard().await;
        let Some(part) = &shard.manifest else {
            return Ok(Paged::Done(Step::default()));
        };
        let mut lines = self.lines_at_checkpoint(&shard, part, kept).await?;
        let records_max = match self.allowance().await? {
            Allowance::Unlimited => RECORDS,
            Allowance::For(objects) => objects.min(RECORDS),
            Allowance::Later(secs) => return Ok(Paged::Limited(secs)),
        };
        let (records, ended) = read(&mut lines, records_max, None).await?;
        let checkpoint = lines.at().to_string();
        let mut counts = Counts::default();
        let mut keys = Vec::with_capacity(records.len());
        for record in &records {
            match self.todo(record, &lines).await? {
                Todo::Key(key) => keys.push(key),
                Todo::Counted(counted) => counts.add(&counted),
            }
        }
        let found = self.looked_up(keys).await?;
        self.record_page(&checkpoint, &found).await?;
        for counted in self.reconcile_all(found).await? {
            counts.add(&counted);
        }
        *kept.lock().await = (!ended).then_some(lines);
        Ok(Paged::Done(Step {
            checkpoint: Some(checkpoint),
            counts,
            ended_at: ended.then(now),
            ..Step::default()
        }))
    }

    /// Returns the list at the shard's checkpoint. Reuses the open list of the last page, if it is there.
    pub(crate) async fn lines_at_checkpoint(
        &self,
        shard: &Shard,
        part: &ManifestPart,
        kept: &Mutex<Option<Lines>>,
    ) -> Result<Lines, SessionError<AwsError>> {
        let at = match &shard.checkpoint {
            None => part.from,
            Some(place) => place.parse().map_err(|_| {
                let doing = format!("reading the checkpoint of shard {}", shard.index);
                AwsError::unexpected(doing, format!("{place:?} is not a position in a list"))
            })?,
        };
        match kept.lock().await.take() {
            Some(lines) if lines.at() == at => Ok(lines),
            _ => Lines::open(&self.worker.aws, part, at).await,
        }
    }

    /// Returns what to do about a record. If a record does not name a key of the source, only this record fails.
    pub(crate) async fn todo(
        &self,
        record: &Record,
        lines: &Lines,
    ) -> Result<Todo, SessionError<AwsError>> {
        let entry = lines.part().layout.entry(record, &self.rule.source.name);
        let entry = match entry {
            Ok(entry) => entry,
            Err(refused) => return Err(lines.refusal(refused).await?),
        };
        Ok(match entry {
            Entry::Key(named) if self.rule.scope.covers(&named.key) => Todo::Key(named),
            Entry::Key(_) => Todo::Counted(Counts { kept: 1, ..LISTED }),
            Entry::Blank | Entry::Header => Todo::Counted(Counts::default()),
            Entry::Wrong(problem) => {
                let line = record.fields.first().map(|field| field.place.line);
                tracing::error!(
                    rule.id = self.rule.id.as_str(),
                    job.id = self.job.id.as_str(),
                    line,
                    byte = record.at,
                    %problem,
                    "a line of the manifest does not name an object of the source"
                );
                Todo::Counted(Counts {
                    failed: 1,
                    ..LISTED
                })
            }
        })
    }

    /// Sends a HEAD for the source of each key, under the job's rate limit.
    pub(crate) async fn looked_up(&self, keys: Vec<NamedKey>) -> Result<Vec<Found>, AwsError> {
        let keys = by_key(keys);
        let rate = self.reserve(keys.len() as u64).await?;
        let rate = rate.as_ref();
        let heads = stream::iter((0..).zip(keys)).map(|(number, rows)| async move {
            if let Some(rate) = rate {
                rate.wait_for(number).await;
            }
            let _permit = self.worker.aws.permits().take().await;
            let seen = self.seen_failure(&rows.key).await?;
            let source = self.pair.head(Side::Source, &rows.key).await;
            Ok(Found { rows, seen, source })
        });
        let heads = heads.buffered(OBJECTS_AT_ONCE_MAX);
        heads.collect::<Vec<_>>().await.into_iter().collect()
    }

    /// Stores which objects the page may write: those whose source exists.
    async fn record_page(&self, last: &str, found: &[Found]) -> Result<(), SessionError<AwsError>> {
        let sources = || {
            found.iter().filter_map(|found| match &found.source {
                Ok(Some(source)) => Some((found.rows.key.as_str(), &source.etag)),
                _ => None,
            })
        };
        if sources().next().is_none() {
            return Ok(());
        }
        let page = InFlight::new(last, sources());
        self.pair.session.record(page).await
    }

    pub(crate) async fn reconcile_all(&self, found: Vec<Found>) -> Result<Vec<Counts>, AwsError> {
        stream::iter(found)
            .map(|Found { rows, seen, source }| async move {
                let key = &rows.key;
                let permit = self.worker.aws.permits().take().await;
                let ended = match source {
                    Ok(source) => self.reconcile(key, source).await,
                    Err(fault) => self.beyond(key, Err(fault)).await,
                };
                drop(permit);
                let counts = self.conclude(key, None, seen, ended).await?;
                Ok(rows.counts(counts))
            })
            .buffer_unordered(OBJECTS_AT_ONCE_MAX)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            .collect()
    }
}

/// Groups the records by key, so that a page does not copy one object twice at the same time.
fn by_key(keys: Vec<NamedKey>) -> Vec<Rows> {
    let mut rows: BTreeMap<ObjectKey, Rows> = BTreeMap::new();
    for NamedKey { key, may_be_absent } in keys {
        let rows = rows.entry(key.clone()).or_insert(Rows {
            key,
            plain: 0,
            may_be_absent: 0,
        });
        rows.plain += u64::from(!may_be_absent);
        rows.may_be_absent += u64::from(may_be_absent);
    }
    rows.into_values().collect()
}

impl Rows {
    /// Returns the counts of all records of a key, given the counts of the object. If the object was copied, one record
    /// counts as copied and the others as equal. If the object is gone, records that said so count as kept.
    fn counts(&self, object: Counts) -> Counts {
        let all = self.plain + self.may_be_absent;
        let others = all.saturating_sub(1);
        Counts {
            listed: object.listed * all,
            equal: object.equal * all + object.copied * others,
            gone: object.gone * self.plain,
            kept: object.kept * all + object.gone * self.may_be_absent,
            failed: object.failed * all,
            transfers: object.transfers * all,
            ..object
        }
    }
}

/// Reads at most `records_max` records before `until`. Returns them, and whether they are the last.
pub(crate) async fn read(
    lines: &mut Lines,
    records_max: usize,
    until: Option<u64>,
) -> Result<(Vec<Record>, bool), SessionError<AwsError>> {
    let mut records = Vec::with_capacity(records_max);
    while records.len() < records_max {
        if until.is_some_and(|until| lines.at() >= until) {
            return Ok((records, true));
        }
        match lines.read().await? {
            Some(record) => records.push(record),
            None => return Ok((records, true)),
        }
    }
    Ok((records, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_one_key_are_processed_once_and_all_count() {
        let named = |key: &str, may_be_absent| NamedKey {
            key: ObjectKey::parse(key).unwrap(),
            may_be_absent,
        };
        let rows = by_key(vec![
            named("a", false),
            named("b", true),
            named("a", true),
            named("a", true),
        ]);
        assert_eq!(rows.len(), 2);
        let one = |counts| Counts {
            listed: 1,
            ..counts
        };
        let copied = one(Counts {
            copied: 1,
            bytes_copied: 7,
            ..Counts::default()
        });
        let counts = rows[0].counts(copied);
        assert_eq!(
            (counts.copied, counts.equal, counts.bytes_copied),
            (1, 2, 7)
        );
        let gone = one(Counts {
            gone: 1,
            ..Counts::default()
        });
        let counts_gone = rows[0].counts(gone);
        assert_eq!((counts_gone.gone, counts_gone.kept), (1, 2));
        for counts in [counts, counts_gone, rows[1].counts(gone)] {
            assert!(counts.add_up(), "{counts:?}");
        }
    }
}
