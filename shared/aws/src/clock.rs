//! Both clocks of the machine, read together, so that an age survives a frozen process.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime};

use chrono::TimeDelta;
use tandem_replication::Timestamp;
use tandem_replication::age::Moment;

/// From when on the monotonic clock counts.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Returns the present, by both clocks.
pub fn moment() -> Moment {
    Moment {
        wall: Timestamp::from(SystemTime::now()),
        monotonic: STARTED.elapsed(),
    }
}

/// Returns how long ago a moment was; very long if a clock was set back since.
pub fn took(since: Moment) -> TimeDelta {
    let age = since.age_at(moment());
    age.and_then(|age| TimeDelta::from_std(age).ok())
        .unwrap_or(TimeDelta::MAX)
}

/// A source of moments. Tests give one that freezes and jumps.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Moment + Send + Sync>);

impl Clock {
    /// A clock that reads moments through `read`.
    pub fn of(read: impl Fn() -> Moment + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Returns the present.
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
