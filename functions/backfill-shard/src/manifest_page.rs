//! One page of a shard whose keys a list in S3 names: some lines are read, and each key is reconciled. The
//! checkpoint is the number of bytes that are done with, or of lines of a compressed list.

use std::borrow::Cow;

use futures::{StreamExt, stream};
use percent_encoding::percent_decode_str;
use tandem_aws::AwsError;
use tandem_aws::clients::OBJECTS_AT_ONCE_MAX;
use tandem_aws::shard::{Shard, Step};
use tandem_lambda::runtime::now;
use tandem_replication::names::{BucketName, ObjectKey};
use tandem_replication::progress::Counts;

use crate::errand::{Errand, LISTED};
use crate::lines::Lines;
use crate::pace::Room;
use crate::visit::{Paged, Visit};
use crate::worker::Unfinished;

/// How many lines a page has.
const LINES: usize = 500;
impl Errand<'_> {
    /// Does some lines of the shard's list.
    pub(crate) async fn page_of_manifest(
        &self,
        shard: &Shard,
        visit: &mut Visit,
    ) -> Result<Paged, Unfinished> {
        let Some(part) = &shard.manifest else {
            return Ok(Paged::Done(Step::default()));
        };
        let at = match &shard.checkpoint {
            None => part.from,
            Some(place) => place.parse().map_err(|_| {
                let doing = format!("reading the checkpoint of shard {}", shard.index);
                AwsError::unexpected(doing, format!("{place:?} is no place in a list"))
            })?,
        };
        let mut lines = match visit.lines.take() {
            Some(lines) if lines.at() == at => lines,
            _ => Lines::open(&self.worker.aws, part, at).await?,
        };
        let lines_max = match self.room().await? {
            Room::Unlimited => LINES,
            Room::For(room) => room.min(LINES),
            Room::Later(secs) => return Ok(Paged::TooEarly(secs)),
        };
        let mut read = Vec::with_capacity(lines_max);
        let mut ended = false;
        while read.len() < lines_max {
            let line = lines.read().await.map_err(|error| {
                let doing = format!("reading s3://{}/{}", part.bucket, part.key);
                AwsError::unexpected(doing, error)
            })?;
            let Some(line) = line else {
                ended = true;
                break;
            };
            read.push(line);
        }
        if !read.is_empty() {
            self.begins(shard, Some(lines.at().to_string())).await?;
        }
        let pace = self.take_pace(read.len() as u64).await?;
        let pace = pace.as_ref();
        let counted: Vec<Counts> = stream::iter((0..).zip(read))
            .map(|(number, line)| async move {
                if let Some(pace) = pace {
                    pace.wait_for(number).await;
                }
                self.line(line).await
            })
            .buffer_unordered(OBJECTS_AT_ONCE_MAX)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            .collect::<Result<_, _>>()?;
        let mut counts = Counts::default();
        for count in &counted {
            counts.add(count);
        }
        let checkpoint = Some(lines.at().to_string());
        visit.lines = (!ended).then_some(lines);
        Ok(Paged::Done(Step {
            checkpoint,
            counts,
            ended_at: ended.then(now),
            ..Step::default()
        }))
    }

    /// Reconciles the key that a line names. A line that names none fails alone.
    async fn line(&self, line: Vec<u8>) -> Result<Counts, Unfinished> {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Ok(Counts::default());
        }
        let key = match named_key(text, &self.rule.source.name) {
            Ok(key) => key,
            Err(problem) => {
                tracing::error!(
                    rule.id = self.rule.id.as_str(),
                    job.id = self.job.id.as_str(),
                    line = text,
                    problem,
                    "a line of the manifest names no object"
                );
                return Ok(Counts {
                    failed: 1,
                    ..LISTED
                });
            }
        };
        if !self.rule.scope.covers(&key) {
            return Ok(Counts { kept: 1, ..LISTED });
        }
        let turn = self.worker.aws.turns().take().await;
        let seen = self.seen_failure(&key).await?;
        let ended = self.carry_named(&key).await;
        drop(turn);
        self.conclude(&key, None, seen, ended).await
    }
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
