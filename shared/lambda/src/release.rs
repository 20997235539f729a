//! The messages of a job's shards: as many are under way as may be worked on at once, and whoever ends one
//! lets the next go.

use std::collections::VecDeque;

use futures::{StreamExt, TryStreamExt, stream};
use tandem_aws::AwsError;
use tandem_aws::jobs::Job;
use tandem_aws::queues::Queues;
use tandem_aws::shard::Shard;
use tandem_aws::table::Table;
use tandem_replication::work::Work;

use crate::config::Config;

/// How many messages are sent at once.
const SENT_AT_ONCE: usize = 16;

/// Which shards get a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Those that have none, while there is room.
    Waiting,
    /// Those that this shard gave away and nobody has begun as well: whoever gave them may have died before they
    /// got one.
    Given(u32),
    /// Those that should have one as well: it may be gone. A shard that has two is worked on once.
    Again,
}

/// How many shards of a job are worked on at once.
pub fn lanes(job: &Job, config: &Config) -> usize {
    let lanes = job.spec.concurrency.unwrap_or(config.backfill_concurrency);
    usize::try_from(lanes).unwrap_or(usize::MAX).max(1)
}

/// Sends messages to the shards of a running job. The message goes before its note: a shard may be sent
/// twice, and is never forgotten.
pub async fn release(
    table: &Table,
    queues: &Queues,
    config: &Config,
    job: &Job,
    which: Release,
) -> Result<(), AwsError> {
    let shards = table.shards(job).await?;
    stream::iter(chosen(&shards, lanes(job, config), which))
        .map(|index| async move {
            let work = Work::Shard {
                rule_id: job.rule_id.clone(),
                job_id: job.id.clone(),
                shard: index,
            };
            queues.send(&config.work_queue_url, &work).await?;
            table.mark_shard_sent(job, index).await
        })
        .buffer_unordered(SENT_AT_ONCE)
        .try_collect()
        .await
}

fn chosen(shards: &[Shard], lanes: usize, which: Release) -> Vec<u32> {
    let open = || shards.iter().filter(|shard| shard.ended_at.is_none());
    let under_way: Vec<u32> = open()
        .filter(|shard| shard.is_under_way())
        .map(|shard| shard.index)
        .collect();
    let mut waiting: VecDeque<u32> = open()
        .filter(|shard| !shard.is_under_way())
        .map(|shard| shard.index)
        .collect();
    let room = lanes.saturating_sub(under_way.len());
    waiting.truncate(room);
    let unbegun_gifts = |by: u32| {
        let gifts = shards
            .iter()
            .filter(move |shard| shard.is_unbegun_gift_of(by));
        gifts.map(|shard| shard.index)
    };
    match which {
        Release::Waiting => waiting.into(),
        Release::Given(by) => unbegun_gifts(by).chain(waiting).collect(),
        Release::Again => under_way.into_iter().chain(waiting).collect(),
    }
}

#[cfg(test)]
mod tests {
    use tandem_replication::Timestamp;
    use tandem_replication::shard::{Hint, ShardRange};

    use super::*;

    #[test]
    fn what_is_just_given_away_is_sent_by_whoever_gave_it_or_follows_them() {
        let shard = |index| {
            let range = ShardRange::of_prefix("k/");
            Shard::new(index, range, 1.0, Timestamp::UNIX_EPOCH, None)
        };
        let (kept, given) = shard(0).cut("k/5", Hint::default(), 2, Timestamp::UNIX_EPOCH);
        let begun = Shard {
            pages: 1,
            ..given.clone()
        };
        let before = [kept.clone(), shard(1), given];
        assert_eq!(chosen(&before, 9, Release::Waiting), [1]);
        assert_eq!(chosen(&before, 2, Release::Waiting), [0; 0]);
        assert_eq!(chosen(&before, 9, Release::Given(0)), [2, 1]);
        assert_eq!(chosen(&before, 9, Release::Given(1)), [1]);
        assert_eq!(chosen(&before, 9, Release::Again), [0, 2, 1]);
        assert_eq!(chosen(&[kept, shard(1), begun], 9, Release::Given(0)), [1]);
    }
}
