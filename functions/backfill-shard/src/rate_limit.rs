//! The rate limit of a job, which all its shards share. A page reserves capacity for some objects at a time, and each
//! of them waits for its own instant.

use std::time::Duration;

use tandem_aws::AwsError;
use tandem_lambda::runtime::now;
use tandem_replication::Timestamp;

use crate::page_context::PageContext;

/// For how many seconds' worth of objects a page reserves capacity at a time.
const RESERVED_SECS: f64 = 20.0;
/// A shard that would wait for longer is handed on, because Lambda charges for waiting.
const WAIT_SECS_MAX: i64 = 30;
/// The longest that SQS delays a message ("Amazon SQS delay queues").
const DELAY_SECS_MAX: i64 = 900;

/// How much a shard may begin with.
pub(crate) enum Room {
    /// As much as it can.
    Unlimited,
    /// So many objects.
    For(usize),
    /// Nothing, before so many seconds are over.
    Later(i32),
}

/// When some objects may begin.
pub(crate) struct Rate {
    begins: Timestamp,
    per_sec: f64,
}

impl PageContext<'_> {
    /// Returns how much the rate limit has room for.
    pub(crate) async fn room(&self) -> Result<Room, AwsError> {
        let Some(per_sec) = self.job.spec.objects_per_sec else {
            return Ok(Room::Unlimited);
        };
        let taken_until = self.worker.table.pace_taken_until(&self.job.id).await?;
        let wait_secs = taken_until.map_or(0, |until| (until - now()).num_seconds());
        if wait_secs > WAIT_SECS_MAX {
            let secs = i32::try_from(wait_secs.min(DELAY_SECS_MAX));
            return Ok(Room::Later(secs.unwrap_or_default()));
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "twenty million at most"
        )]
        let objects = (per_sec * RESERVED_SECS) as usize;
        Ok(Room::For(objects.max(1)))
    }

    /// Reserves capacity for so many objects; none if there is nothing to be done, or no limit.
    pub(crate) async fn reserve(&self, objects: u64) -> Result<Option<Rate>, AwsError> {
        let per_sec = self.job.spec.objects_per_sec;
        let (Some(per_sec), 1..) = (per_sec, objects) else {
            return Ok(None);
        };
        let table = &self.worker.table;
        let begins = table
            .take_pace(&self.job.id, objects, per_sec, now())
            .await?;
        Ok(Some(Rate { begins, per_sec }))
    }
}

impl Rate {
    /// Waits until the object of this number may begin.
    pub(crate) async fn wait_for(&self, number: u64) {
        let after_ms = number as f64 * 1_000.0 / self.per_sec;
        let left_ms = (self.begins - now()).num_milliseconds() as f64 + after_ms;
        if left_ms > 0.0 {
            tokio::time::sleep(Duration::from_secs_f64(left_ms / 1_000.0)).await;
        }
    }
}
