//! Waits for something that is bound to happen, with a limit, and reports why it has not happened yet.

use std::time::{Duration, Instant};

/// Long enough for any single change on a busy machine with two cores.
pub const SOON: Duration = Duration::from_mins(2);

/// The longest wait. It ends waits whose state contains the time or a watermark and so never stops changing.
const LONGEST: Duration = Duration::from_mins(10);

const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// Calls `look` again and again until it returns a value. A slow machine causes no failure: as long as the observed
/// state keeps changing, this waits, for up to ten minutes.
///
/// # Panics
/// If the observed state has not changed for `limit`, or the wait has lasted too long. The message names what
/// the test waits for, and the last state.
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
                panic!(
                    "{what}: still not after {:?}; last seen: {seen}",
                    began.elapsed()
                )
            }
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}
