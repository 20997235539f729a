//! Counts Ctrl-C and the signals to terminate: the first one ends the steps, the third one ends the removal. I/O: waits
//! for signals.

use tandem_demo::error::Error;
use tandem_demo::interrupt::interrupted;
use tokio::sync::watch;

/// How often the user has asked the run to end.
#[derive(Debug, Clone)]
pub struct Interrupts {
    seen: watch::Receiver<(u32, i32)>,
}

impl Interrupts {
    /// Starts to listen for signals.
    pub fn listen() -> Self {
        let (send, seen) = watch::channel((0, 0));
        tokio::spawn(async move {
            while let Error::Interrupted { signal } = interrupted().await {
                send.send_modify(|(count, last)| (*count, *last) = (*count + 1, signal));
            }
        });
        Self { seen }
    }

    /// Waits until `count` signals have arrived in total. Returns the last signal's number.
    pub async fn reach(&self, count: u32) -> i32 {
        let mut seen = self.seen.clone();
        let reached = seen.wait_for(|(so_far, _)| *so_far >= count).await;
        let signal = reached.map(|seen| seen.1);
        match signal {
            Ok(signal) => signal,
            // The listener has ended, so no signal will arrive.
            Err(_) => std::future::pending().await,
        }
    }

    /// Returns how many signals have arrived.
    pub fn count(&self) -> u32 {
        self.seen.borrow().0
    }
}
