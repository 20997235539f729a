//! Ctrl-C, and the signal to end. I/O: waits for signals.

use tokio::signal::unix::{SignalKind, signal};

use crate::error::Error;

/// Waits for Ctrl-C, to be told to end, or for the terminal to be closed.
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
        // A signal that cannot be caught ends the program by itself.
        Err(_) => std::future::pending().await,
    }
}
