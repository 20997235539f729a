//! Reads both clocks of the machine together, so that ages stay correct when the process is frozen.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use chrono::TimeDelta;
use tandem_replication::Timestamp;
use tandem_replication::age::{Moment, time_left};

/// The zero of the monotonic clock.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Returns the current time of both clocks.
pub fn moment() -> Moment {
    Moment {
        wall: Timestamp::from(SystemTime::now()),
        monotonic: STARTED.elapsed(),
    }
}

/// Returns how long ago a moment was, or the maximum if a clock has been set back since.
pub fn took(since: Moment) -> TimeDelta {
    let age = since.age_at(moment());
    age.and_then(|age| TimeDelta::from_std(age).ok())
        .unwrap_or(TimeDelta::MAX)
}

/// How much time an invocation has left.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    started: Moment,
    until: Timestamp,
}

impl Deadline {
    /// Returns the deadline of an invocation that starts now.
    pub fn of(deadline: SystemTime) -> Self {
        Self {
            started: moment(),
            until: Timestamp::from(deadline),
        }
    }

    /// Returns the time that is left, by the clock that leaves less.
    pub fn left(self) -> Duration {
        time_left(self.started, self.until, moment())
    }

    /// Returns the time that is left for requests. An eighth of the invocation's time, at most 10 seconds, is reserved
    /// for recording their outcome.
    pub(crate) fn left_for_requests(self) -> Duration {
        let given = time_left(self.started, self.until, self.started);
        self.left().saturating_sub((given / 8).min(ANSWER_TIME_MAX))
    }
}

/// How long an invocation takes at most to record the outcome of its requests and set the visibility of its messages.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// A source of moments. Tests use one that freezes and jumps.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Moment + Send + Sync>);

impl Clock {
    /// A clock that reads moments through `read`.
    pub fn of(read: impl Fn() -> Moment + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Returns the current moment.
    pub fn now(&self) -> Moment {
        (self.0)()
    }
}

impl Default for Clock {
    /// The machine's clocks.
    fn default() -> Self {
        Self::of(moment)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Clock")
    }
}
