//! Ctrl-C, and the signal to terminate. I/O: waits for signals.

use tokio::signal::unix::{SignalKind, signal};

use crate::error::Error;

/// Waits for Ctrl-C, for the signal to terminate, or for the terminal to be closed.
pub async fn interrupted() -> Error {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let waits = kinds.map(|kind| Box::pin(received(kind)));
    let (signal, ..) = futures::future::select_all(waits).await;
    Error::Interrupted { signal }
}

async fn received(kind: SignalKind) -> i32 {
    match signal(kind) {
        Ok(mut listening) => {
            listening.recv().await;
            kind.as_raw_value()
        }
        // If the signal cannot be caught, it ends the program.
        Err(_) => std::future::pending().await,
    }
}
