//! The rate limit of a job, which all its shards share. A page reserves capacity for some objects at a time. Each of
//! these objects begins at its own instant.

use std::time::Duration;

use tandem_aws::AwsError;
use tandem_lambda::runtime::now;
use tandem_replication::Timestamp;

use crate::page_object::PageContext;

/// The longest that SQS delays a message ("Amazon SQS delay queues").
const DELAY_SECS_MAX: i64 = 900;

/// How many objects a shard may begin now.
pub(crate) enum Allowance {
    /// Any number.
    Unlimited,
    /// At most this many.
    For(usize),
    /// None before this many seconds have passed.
    Later(i32),
}

/// A reservation: when its objects may begin.
pub(crate) struct Rate {
    begins: Timestamp,
    per_sec: f64,
}

impl PageContext<'_> {
    /// Returns how many objects the rate limit allows now.
    pub(crate) async fn allowance(&self) -> Result<Allowance, AwsError> {
        let Some(per_sec) = self.job.spec.objects_per_sec else {
            return Ok(Allowance::Unlimited);
        };
        let taken_until = self.worker.table.rate_reserved_until(&self.job.id).await?;
        let wait_secs = taken_until.map_or(0, |until| (until - now()).num_seconds());
        let page = self.worker.config.rate_page;
        if wait_secs > wait_secs_max(page) {
            let secs = i32::try_from(wait_secs.min(DELAY_SECS_MAX));
            return Ok(Allowance::Later(secs.unwrap_or_default()));
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "twenty million at most"
        )]
        let objects = (per_sec * page.as_secs_f64()) as usize;
        Ok(Allowance::For(objects.max(1)))
    }

    /// Reserves capacity for this many objects. Returns `None` if there are none, or if the job has no limit.
    pub(crate) async fn reserve(&self, objects: u64) -> Result<Option<Rate>, AwsError> {
        let per_sec = self.job.spec.objects_per_sec;
        let (Some(per_sec), 1..) = (per_sec, objects) else {
            return Ok(None);
        };
        let table = &self.worker.table;
        let begins = table
            .reserve_rate(&self.job.id, objects, per_sec, now())
            .await?;
        Ok(Some(Rate { begins, per_sec }))
    }
}

/// Returns how many seconds a shard waits at most. A shard that would wait longer is handed on, because Lambda charges
/// for waiting.
fn wait_secs_max(page: Duration) -> i64 {
    i64::try_from((page * 3 / 2).as_secs()).unwrap_or(i64::MAX)
}

impl Rate {
    /// Waits until the object with this number may begin.
    pub(crate) async fn wait_for(&self, number: u64) {
        let after_ms = number as f64 * 1_000.0 / self.per_sec;
        let left_ms = (self.begins - now()).num_milliseconds() as f64 + after_ms;
        if left_ms > 0.0 {
            tokio::time::sleep(Duration::from_secs_f64(left_ms / 1_000.0)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_waits_for_at_most_one_and_a_half_pages() {
        let waits = [20, 1].map(|secs| wait_secs_max(Duration::from_secs(secs)));
        assert_eq!(waits, [30, 1]);
    }
}
