//! How long a backfill takes, and how long its functions run for it. No I/O.

use super::Work;

/// Objects that one invocation copies at once.
const OBJECTS_AT_ONCE: f64 = 32.0;

/// The time to copy a small object from region to region.
const COPY_SECS: f64 = 0.2;

/// The throughput of one copy from region to region.
const COPY_BYTES_PER_SEC: f64 = 50.0 * 1024.0 * 1024.0;

/// The time to list one page.
const LIST_SECS: f64 = 0.2;

/// The time to divide the key space and to start the first invocations.
pub const PLAN_SECS: f64 = 5.0;

/// Writes per second that S3 accepts under one prefix.
const WRITES_PER_SEC_MAX: f64 = 3500.0;

/// Parts that one invocation copies at once, and `TransferConcurrency` of the stack by default.
const PARTS_AT_ONCE: f64 = 16.0;
const RANGES_AT_ONCE: f64 = 16.0;

/// The duration of the job, and of its invocations.
#[derive(Debug, Clone, Copy)]
pub struct Seconds {
    pub whole: f64,
    /// The sum over all invocations: for shards, and for ranges of transfers.
    pub shards: f64,
    pub ranges: f64,
}

impl Seconds {
    pub fn of(work: &Work) -> Self {
        let total = work.load.total();
        let small = (total.objects - total.transfers) as f64;
        let bytes = (total.bytes - total.transfer_bytes) as f64;
        let shards_at_once = work.concurrency.max(1) as f64;
        let listing = (work.source_pages() * 2 + work.pages_with_copies) as f64 * LIST_SECS;
        let looking = work.different as f64 * COPY_SECS;
        let copying = small * COPY_SECS + bytes / COPY_BYTES_PER_SEC + looking;
        let busy = listing + copying / OBJECTS_AT_ONCE;
        let rate = work
            .objects_per_sec
            .map_or(WRITES_PER_SEC_MAX, |limit| limit.min(WRITES_PER_SEC_MAX));
        let shards_whole = (busy / shards_at_once).max(small / rate);
        let ranges = total.transfer_bytes as f64 / (COPY_BYTES_PER_SEC * PARTS_AT_ONCE);
        let ranges_at_once = RANGES_AT_ONCE.min(work.ranges().max(1) as f64);
        Self {
            whole: PLAN_SECS + shards_whole.max(ranges / ranges_at_once),
            // A shard that waits because of the rate limit is billed meanwhile.
            shards: busy.max(shards_whole.min(small / rate) * shards_at_once),
            ranges,
        }
    }
}

/// Returns the assumptions behind an estimate, to show them with it.
pub fn assumptions(work: &Work) -> String {
    let limit = work
        .objects_per_sec
        .map(|limit| format!(", at most {limit} objects per second"))
        .unwrap_or_default();
    format!(
        "{} shards at once, {OBJECTS_AT_ONCE} copies at once in each, {COPY_SECS} s per copy and \
         {} MiB/s within it, at most {WRITES_PER_SEC_MAX} writes per second{limit}",
        work.concurrency,
        COPY_BYTES_PER_SEC / (1024.0 * 1024.0),
    )
}
