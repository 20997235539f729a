//! Waiting for what is bound to happen, with a limit and the reason why it has not happened yet.

use std::time::{Duration, Instant};

/// Long enough for any single change on a busy machine with two cores.
pub const SOON: Duration = Duration::from_mins(2);

/// What shows the time, or a watermark, goes on changing for ever.
const LONGEST: Duration = Duration::from_mins(10);

const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// Looks again and again until `look` answers. A slow machine is no failure: as long as what is seen goes on
/// changing, it is waited for, up to ten minutes.
///
/// # Panics
/// If nothing that is seen has changed for `limit`, or all this has lasted too long; the message says what
/// was waited for, and what was seen last.
pub async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let began = Instant::now();
    let mut changed = began;
    let mut before = String::new();
    let mut pause = FIRST_PAUSE;
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(seen) if seen != before && began.elapsed() < LONGEST => {
                changed = Instant::now();
                before = seen;
            }
            Err(seen) if changed.elapsed() > limit => {
                panic!("{what}: not after {:?}; last seen: {seen}", began.elapsed())
            }
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}
