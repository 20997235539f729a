//! Waiting for what is bound to happen, with a limit and the reason why it has not happened yet.

use std::time::{Duration, Instant};

/// Long enough for any single change on a busy machine with two cores.
pub const SOON: Duration = Duration::from_mins(1);

const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// Looks again and again until `look` answers.
///
/// # Panics
/// If it has not within `limit`; the message says what was waited for, and what was seen last.
pub async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(seen) if started.elapsed() > limit => {
                panic!("{what}: not within {limit:?}; last seen: {seen}")
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}
