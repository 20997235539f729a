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
    match which {
        Release::Waiting => waiting.into(),
        Release::Again => under_way.into_iter().chain(waiting).collect(),
    }
}
