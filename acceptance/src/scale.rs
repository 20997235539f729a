//! The sizes of a run: on AWS as the product is meant to be used, on a local cloud small enough for a few minutes.
//! No I/O.

use std::time::Duration;

const MIB: u64 = 1 << 20;

/// Sizes, counts and limits of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// Plain objects that are put into a bucket.
    pub objects: u16,
    /// The bytes that are uploaded for the large object (the seed).
    pub seed_bytes: u64,
    /// How often copies double the seed. The large object has two parts of the resulting size.
    pub doublings: u32,
    /// The least number of hand-ons of the job.
    pub hand_ons_min: u64,
    /// The job's rate limit.
    pub objects_per_sec: f64,
    /// Overrides the functions' default of `rate_page` in `shared/lambda/src/config.rs`.
    pub rate_page_secs: Option<u64>,
    /// The size of the object of the throttled PUT.
    pub throttled_bytes: u64,
    /// How long sending that object takes.
    pub throttled: Duration,
    /// How long a paused rule is watched.
    pub paused: Duration,
    /// The longest wait for anything else.
    pub patience: Duration,
    /// How long CloudWatch may take to show a metric or a log line.
    pub metrics_patience: Duration,
    /// How long a circle must write nothing before it counts as ended.
    pub quiet: Duration,
    /// The stack's thresholds: the largest live copy, the smallest transfer, a transfer's range.
    pub thresholds: Thresholds,
    /// The approximate duration of the run.
    pub about: Duration,
}

/// Parameters of the template that decide how an object is copied, by its size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// `LiveBytesMax`.
    pub live_max: u64,
    /// `TransferBytesMin`.
    pub transfer_min: u64,
    /// `RangeBytes`.
    pub range: u64,
    /// `PartBytes`.
    pub part: u64,
}

impl Scale {
    /// The scale for an account on AWS.
    pub fn of_aws() -> Self {
        Self {
            objects: 200,
            seed_bytes: 48 * MIB,
            doublings: 6,
            hand_ons_min: 40,
            // One object in 36 s: longer than a shard waits within an invocation, so that it is handed on each time.
            objects_per_sec: 1.0 / 36.0,
            rate_page_secs: None,
            throttled_bytes: 256 * MIB,
            throttled: Duration::from_mins(2),
            paused: Duration::from_secs(30),
            patience: Duration::from_mins(15),
            metrics_patience: Duration::from_mins(5),
            quiet: Duration::from_mins(1),
            thresholds: Thresholds {
                live_max: 512 * MIB,
                // Below the large object, so that it becomes a transfer; the template's default is 8 GiB.
                transfer_min: 1024 * MIB,
                range: 1024 * MIB,
                part: 64 * MIB,
            },
            about: Duration::from_mins(45),
        }
    }

    /// The scale for a local cloud.
    pub fn of_local() -> Self {
        Self {
            objects: 30,
            seed_bytes: 8 * MIB,
            doublings: 2,
            hand_ons_min: 40,
            objects_per_sec: 0.31,
            rate_page_secs: Some(1),
            throttled_bytes: 2 * MIB,
            throttled: Duration::from_secs(4),
            paused: Duration::from_secs(3),
            patience: Duration::from_mins(2),
            metrics_patience: Duration::from_secs(20),
            quiet: Duration::from_secs(10),
            thresholds: Thresholds {
                live_max: 8 * MIB,
                transfer_min: 16 * MIB,
                range: 16 * MIB,
                part: 8 * MIB,
            },
            about: Duration::from_mins(4),
        }
    }

    /// Returns the sizes of the objects that copies double, the seed first.
    pub fn ladder(&self) -> Vec<u64> {
        (0..=self.doublings)
            .map(|step| self.seed_bytes << step)
            .collect()
    }

    /// Returns the size of one of the large object's two parts.
    pub fn part_bytes(&self) -> u64 {
        self.seed_bytes << self.doublings
    }

    /// Returns the size of the large object.
    pub fn large_bytes(&self) -> u64 {
        2 * self.part_bytes()
    }

    /// Returns the size of the object that one COPY copies: one and a half parts, which is less than S3's 5 GiB.
    pub fn copied_bytes(&self) -> u64 {
        self.part_bytes() + self.part_bytes() / 2
    }

    /// Returns the objects of the job that is handed on: one for each hand-on, and some more.
    pub fn hand_on_objects(&self) -> u64 {
        self.hand_ons_min + 10
    }

    /// Returns how long that job takes at its rate limit.
    pub fn hand_ons_take(&self) -> Duration {
        Duration::from_secs_f64(self.hand_on_objects() as f64 / self.objects_per_sec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S3's limit on a COPY, and on a part.
    const COPY_MAX: u64 = 5 << 30;
    /// S3's least size of a part that is not the last.
    const PART_MIN: u64 = 5 << 20;

    #[test]
    fn sizes_have_the_intended_values() {
        assert_eq!(Scale::of_aws().large_bytes(), 6 << 30);
        assert_eq!(Scale::of_local().large_bytes(), 64 << 20);
    }

    #[test]
    fn sizes_are_within_the_limits_of_s3() {
        for scale in [Scale::of_aws(), Scale::of_local()] {
            assert!(scale.seed_bytes >= PART_MIN);
            assert!(scale.part_bytes() <= COPY_MAX && scale.copied_bytes() <= COPY_MAX);
            let ladder = scale.ladder();
            assert_eq!(ladder.last(), Some(&scale.part_bytes()));
            assert!(ladder.windows(2).all(|two| two[1] == 2 * two[0]));
        }
    }

    #[test]
    fn the_large_object_becomes_a_transfer_of_several_ranges() {
        for scale in [Scale::of_aws(), Scale::of_local()] {
            assert!(scale.large_bytes() > scale.thresholds.transfer_min);
            assert!(scale.part_bytes() >= scale.thresholds.range);
        }
    }

    #[test]
    fn hand_ons_fit_into_the_run() {
        for scale in [Scale::of_aws(), Scale::of_local()] {
            assert!(scale.hand_ons_min >= 40 && scale.hand_ons_take() < scale.about);
            // A shard waits within its invocation for one and a half times a page.
            let waits = scale.rate_page_secs.unwrap_or(20) * 3 / 2;
            // Only whole seconds count, and a page takes some of them.
            assert!(1.0 / scale.objects_per_sec >= waits as f64 + 1.7);
        }
    }
}
