//! What every watch shares: it repeats a request at an interval, and survives temporary failures.
//! I/O: sleeps.

use std::time::Duration;

use crate::error::Error;

/// This many failures in a row end a watch.
const FAILURES_MAX: u32 = 5;

/// Counts failures in a row.
#[derive(Debug, Default)]
pub struct Patience {
    failures: u32,
}

impl Patience {
    /// Reports a failure that may be temporary through `say`, and returns `None`, so that the watch goes on.
    pub fn outlive<T>(
        &mut self,
        result: Result<T, Error>,
        say: impl Fn(String),
    ) -> Result<Option<T>, Error> {
        match result {
            Ok(value) => {
                self.failures = 0;
                Ok(Some(value))
            }
            Err(error) if error.is_passing() && self.failures + 1 < FAILURES_MAX => {
                self.failures += 1;
                say(format!("{error}\nstill watching; Ctrl-C to end"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Waits until the next request.
pub async fn pause(interval: Duration) {
    tokio::time::sleep(interval).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_end_a_watch_and_others_do_not() {
        let lost = || -> Result<(), Error> { Err(Error::function("f", "Internal", "m")) };
        let mut patience = Patience::default();
        for _ in 0..3 {
            for _ in 1..FAILURES_MAX {
                assert!(patience.outlive(lost(), |_| {}).unwrap().is_none());
            }
            assert!(patience.outlive(Ok(()), |_| {}).unwrap().is_some());
        }
        for _ in 1..FAILURES_MAX {
            assert!(patience.outlive(lost(), |_| {}).unwrap().is_none());
        }
        assert!(patience.outlive(lost(), |_| {}).is_err());
    }

    #[test]
    fn a_refusal_ends_a_watch_at_once() {
        let gone: Result<(), Error> = Err(Error::function("f", "RuleNotFound", "m"));
        assert!(Patience::default().outlive(gone, |_| {}).is_err());
    }
}
