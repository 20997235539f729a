//! Ages that stay correct if the process is frozen or a clock is set. No I/O.
//!
//! Lambda freezes a process between invocations. The monotonic clock may stop during that time. The wall clock
//! continues, but it may be set. Neither clock alone is reliable, so an age is the larger of both clocks' ages.

use std::time::Duration;

use crate::Timestamp;

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Moment {
    /// The wall clock.
    pub wall: Timestamp,
    /// The monotonic clock: the time since any fixed start.
    pub monotonic: Duration,
}

impl Moment {
    /// Returns how long before `now` this moment was, by the clock that shows more. Returns `None` if a clock was
    /// set back in between: the age is unknown, and may be long.
    pub fn age_at(self, now: Self) -> Option<Duration> {
        let wall = (now.wall - self.wall).to_std().ok()?;
        let monotonic = now.monotonic.checked_sub(self.monotonic)?;
        Some(wall.max(monotonic))
    }

    /// Returns whether this moment was at most `limit` before `now`. If the age is unknown, returns `false`.
    pub fn is_within(self, limit: Duration, now: Self) -> bool {
        self.age_at(now).is_some_and(|age| age <= limit)
    }
}

/// Returns how much time is left at `now` until the deadline `until`, which was set at `started`. It is the smaller of
/// the two clocks' results.
pub fn time_left(started: Moment, until: Timestamp, now: Moment) -> Duration {
    let by_wall = (until - now.wall).to_std().unwrap_or_default();
    let given = (until - started.wall).to_std().unwrap_or_default();
    let elapsed = now.monotonic.saturating_sub(started.monotonic);
    by_wall.min(given.saturating_sub(elapsed))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn moment(wall_secs: i64, monotonic_secs: u64) -> Moment {
        Moment {
            wall: Timestamp::UNIX_EPOCH + TimeDelta::seconds(wall_secs),
            monotonic: Duration::from_secs(monotonic_secs),
        }
    }

    // Promise: A change of a rule takes effect within seconds: a remembered rule expires by the larger of the
    // wall clock and the monotonic clock, and by a clock that was set back.
    #[test]
    fn an_age_is_the_larger_of_both_clocks() {
        let then = moment(100, 100);
        for (now, age) in [
            (moment(103, 103), Some(3)),
            // The process was frozen for an hour.
            (moment(3_703, 103), Some(3_603)),
            // The wall clock stood still.
            (moment(100, 110), Some(10)),
            // The wall clock was set back.
            (moment(99, 110), None),
            (moment(103, 99), None),
        ] {
            assert_eq!(then.age_at(now), age.map(Duration::from_secs), "{now:?}");
        }
        let limit = Duration::from_secs(5);
        assert!(then.is_within(limit, moment(105, 105)));
        assert!(!then.is_within(limit, moment(106, 105)));
        assert!(!then.is_within(limit, moment(105, 106)));
        assert!(!then.is_within(limit, moment(90, 101)));
    }

    #[test]
    fn the_time_left_is_the_smaller_of_both_clocks() {
        let started = moment(100, 50);
        let until = moment(130, 0).wall;
        for (now, left) in [
            (moment(100, 50), 30),
            (moment(110, 60), 20),
            (moment(120, 60), 10),
            (moment(110, 75), 5),
            // A clock that was set back or forward never gives more time than there was.
            (moment(40, 60), 20),
            (moment(500, 60), 0),
        ] {
            assert_eq!(
                time_left(started, until, now),
                Duration::from_secs(left),
                "{now:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn an_age_is_at_least_what_each_clock_says(
            wall in 0..10_000_i64, later in 0..10_000_i64, since in 0..10_000_u64, then in 0..10_000_u64,
        ) {
            let (earlier, now) = (moment(wall, since), moment(wall + later, since + then));
            let age = earlier.age_at(now).unwrap();
            prop_assert!(age >= Duration::from_secs(later.unsigned_abs()));
            prop_assert!(age >= Duration::from_secs(then));
        }
    }
}
