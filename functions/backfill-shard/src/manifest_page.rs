//! One page of a shard whose keys a list in S3 names: some lines are read, each source is looked up, and each key is
//! reconciled. The checkpoint is the number of bytes that are done with, or of lines of a compressed list.

use std::borrow::Cow;

use futures::{StreamExt, stream};
use percent_encoding::percent_decode_str;
use tandem_aws::AwsError;
use tandem_aws::clients::OBJECTS_AT_ONCE_MAX;
use tandem_lambda::runtime::now;
use tandem_replication::bucket_pair::{BucketPair, Side};
use tandem_replication::failure_record::FailureRevision;
use tandem_replication::fault::Fault;
use tandem_replication::in_flight::InFlight;
use tandem_replication::names::{BucketName, ObjectKey};
use tandem_replication::object::ObjectState;
use tandem_replication::progress::Counts;
use tandem_replication::shard_session::{Paged, Recovered, SessionError};
use tandem_replication::shard_state::{ManifestPart, Shard, Step};
use tokio::sync::Mutex;

use crate::lines::Lines;
use crate::page_context::{LISTED, PageContext};
use crate::rate_limit::Room;
use crate::worker::PAGE_TIME;

/// How many lines a page has.
const LINES: usize = 500;

/// A key that a line names.
struct Named {
    key: ObjectKey,
    /// The failure record that there was before the source was read.
    seen: Option<FailureRevision>,
    /// What a HEAD of the source has shown.
    source: Result<Option<ObjectState>, Fault>,
}

/// What a line is about.
enum Entry {
    /// It names a key that the rule covers.
    Key(ObjectKey),
    /// Nothing is to be done.
    Counted(Counts),
}

impl PageContext<'_> {
    /// Does some lines of the shard's list.
    pub(crate) async fn page_of_manifest(
        &self,
        kept: &Mutex<Option<Lines>>,
    ) -> Result<Paged, SessionError<AwsError>> {
        let shard = self.pair.session.shard().await;
        let Some(part) = &shard.manifest else {
            return Ok(Paged::Done(Step::default()));
        };
        let mut lines = self.lines_at_checkpoint(&shard, part, kept).await?;
        let lines_max = match self.room().await? {
            Room::Unlimited => LINES,
            Room::For(room) => room.min(LINES),
            Room::Later(secs) => return Ok(Paged::Limited(secs)),
        };
        let (read, ended) = read(&mut lines, part, lines_max, None).await?;
        let checkpoint = lines.at().to_string();
        let mut counts = Counts::default();
        let mut keys = Vec::with_capacity(read.len());
        for line in &read {
            match self.entry(line) {
                Entry::Key(key) => keys.push(key),
                Entry::Counted(counted) => counts.add(&counted),
            }
        }
        let named = self.looked_up(keys).await?;
        self.record_page(&checkpoint, &named).await?;
        for counted in self.reconcile_all(named).await? {
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

    /// Verifies the keys of the shard that were in flight when a worker died. Nothing is counted.
    pub(crate) async fn recover_manifest(
        &self,
        kept: &Mutex<Option<Lines>>,
    ) -> Result<Recovered, SessionError<AwsError>> {
        let shard = self.pair.session.shard().await;
        let (Some(part), Some(suspects)) = (&shard.manifest, &self.suspects) else {
            return Ok(Recovered::All);
        };
        let until = suspects.last.parse().ok();
        let mut lines = self.lines_at_checkpoint(&shard, part, kept).await?;
        loop {
            let (read, ended) = read(&mut lines, part, LINES, until).await?;
            let keys = read.iter().filter_map(|line| match self.entry(line) {
                Entry::Key(key) if self.is_suspect(&key) => Some(key),
                Entry::Key(_) | Entry::Counted(_) => None,
            });
            let named = self.looked_up(keys.collect()).await?;
            self.reconcile_all(named).await?;
            if ended {
                return Ok(Recovered::All);
            }
            if self.deadline.left() < PAGE_TIME {
                return Ok(Recovered::Part);
            }
        }
    }

    /// Opens the list where the shard is, or goes on where the last page ended.
    async fn lines_at_checkpoint(
        &self,
        shard: &Shard,
        part: &ManifestPart,
        kept: &Mutex<Option<Lines>>,
    ) -> Result<Lines, AwsError> {
        let at = match &shard.checkpoint {
            None => part.from,
            Some(place) => place.parse().map_err(|_| {
                let doing = format!("reading the checkpoint of shard {}", shard.index);
                AwsError::unexpected(doing, format!("{place:?} is no place in a list"))
            })?,
        };
        match kept.lock().await.take() {
            Some(lines) if lines.at() == at => Ok(lines),
            _ => Lines::open(&self.worker.aws, part, at).await,
        }
    }

    /// Says what a line is about. A line that names no key fails alone.
    fn entry(&self, line: &[u8]) -> Entry {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Entry::Counted(Counts::default());
        }
        match named_key(text, &self.rule.source.name) {
            Ok(key) if self.rule.scope.covers(&key) => Entry::Key(key),
            Ok(_) => Entry::Counted(Counts { kept: 1, ..LISTED }),
            Err(problem) => {
                tracing::error!(
                    rule.id = self.rule.id.as_str(),
                    job.id = self.job.id.as_str(),
                    line = text,
                    problem,
                    "a line of the manifest names no object"
                );
                Entry::Counted(Counts {
                    failed: 1,
                    ..LISTED
                })
            }
        }
    }

    /// Looks up the sources of the keys, under the job's rate limit.
    async fn looked_up(&self, keys: Vec<ObjectKey>) -> Result<Vec<Named>, AwsError> {
        let rate = self.reserve(keys.len() as u64).await?;
        let rate = rate.as_ref();
        let heads = stream::iter((0..).zip(keys)).map(|(number, key)| async move {
            if let Some(rate) = rate {
                rate.wait_for(number).await;
            }
            let _permit = self.worker.aws.turns().take().await;
            let seen = self.seen_failure(&key).await?;
            let source = self.pair.head(Side::Source, &key).await;
            Ok(Named { key, seen, source })
        });
        let heads = heads.buffered(OBJECTS_AT_ONCE_MAX);
        heads.collect::<Vec<_>>().await.into_iter().collect()
    }

    /// Stores which objects the page may write: those whose source exists.
    async fn record_page(&self, last: &str, named: &[Named]) -> Result<(), SessionError<AwsError>> {
        let sources = || {
            named.iter().filter_map(|named| match &named.source {
                Ok(Some(source)) => Some((named.key.as_str(), &source.etag)),
                _ => None,
            })
        };
        if sources().next().is_none() {
            return Ok(());
        }
        let page = InFlight::new(last, sources());
        self.pair.session.record(page).await
    }

    async fn reconcile_all(&self, named: Vec<Named>) -> Result<Vec<Counts>, AwsError> {
        stream::iter(named)
            .map(|Named { key, seen, source }| async move {
                let permit = self.worker.aws.turns().take().await;
                let ended = match source {
                    Ok(source) => self.reconcile(&key, source).await,
                    Err(fault) => self.beyond(&key, Err(fault)).await,
                };
                drop(permit);
                self.conclude(&key, None, seen, ended).await
            })
            .buffer_unordered(OBJECTS_AT_ONCE_MAX)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            .collect()
    }
}

/// Reads some lines, those before `until`. Returns them, and whether there are no more.
async fn read(
    lines: &mut Lines,
    part: &ManifestPart,
    lines_max: usize,
    until: Option<u64>,
) -> Result<(Vec<Vec<u8>>, bool), AwsError> {
    let mut read = Vec::with_capacity(lines_max);
    while read.len() < lines_max {
        if until.is_some_and(|until| lines.at() >= until) {
            return Ok((read, true));
        }
        let line = lines.read().await.map_err(|error| {
            let doing = format!("reading s3://{}/{}", part.bucket, part.key);
            AwsError::unexpected(doing, error)
        })?;
        match line {
            Some(line) => read.push(line),
            None => return Ok((read, true)),
        }
    }
    Ok((read, false))
}

/// The key that a line names: `key`, or `bucket,key` and perhaps more columns, each quoted or not, the key
/// encoded as in a URL, as S3 Inventory and S3 Batch Operations write it.
fn named_key(line: &str, source: &BucketName) -> Result<ObjectKey, &'static str> {
    let mut columns = columns(line);
    let first = columns.next().unwrap_or_default();
    let encoded = match columns.next() {
        None => first,
        Some(key) if first == source.as_str() => key,
        Some(_) => return Err("the bucket is not the rule's source"),
    };
    let spaced = encoded.replace('+', " ");
    let key = percent_decode_str(&spaced)
        .decode_utf8()
        .map_err(|_| "the key is not UTF-8")?;
    ObjectKey::parse(key.into_owned()).map_err(|_| "the key has to have 1 to 1,024 bytes")
}

/// The columns of a line. A key that is encoded holds neither commas nor quotes of its own.
fn columns(line: &str) -> impl Iterator<Item = Cow<'_, str>> {
    line.split(',').map(|column| {
        let column = column.trim();
        let quoted = column
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        match quoted {
            Some(inner) => Cow::Owned(inner.replace("\"\"", "\"")),
            None => Cow::Borrowed(column),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_key_however_it_is_written() {
        let photos = BucketName::parse("photos").unwrap();
        for (line, key) in [
            ("a/b.jpg", "a/b.jpg"),
            ("photos,a/b.jpg", "a/b.jpg"),
            (
                "\"photos\",\"a/red+flower%2B1%2C2.jpg\",\"v1\",\"17\"",
                "a/red flower+1,2.jpg",
            ),
            ("photos,%C3%BC%0A", "ü\n"),
        ] {
            assert_eq!(named_key(line, &photos).unwrap().as_str(), key, "{line}");
        }
        for line in ["films,a", "photos,", "photos,%FF", &"k".repeat(1_025)] {
            assert!(named_key(line, &photos).is_err(), "{line}");
        }
    }
}
