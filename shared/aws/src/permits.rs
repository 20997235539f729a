//! Slowing down when S3 asks for it: every throttled answer, those that a retry makes good included, narrows
//! the window through which objects are worked on. One window a process, as long as the process lives.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use tandem_replication::window::Window;
use tokio::sync::Notify;

/// The window, shared by all clients of a process.
#[derive(Debug, Clone)]
pub struct Permits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    window: Mutex<Window>,
    room: Notify,
}

/// The permit of one object; it ends when this is dropped.
#[derive(Debug)]
pub struct Permit<'a> {
    permits: &'a Permits,
    /// Whether it had to be waited for, so that it may have come too late.
    pub waited: bool,
}

impl Permits {
    /// Permits for at most `at_once_max` objects at a time.
    pub fn new(at_once_max: usize) -> Self {
        Self(Arc::new(Shared {
            window: Mutex::new(Window::new(at_once_max)),
            room: Notify::new(),
        }))
    }

    /// Waits until another object may be worked on.
    pub async fn take(&self) -> Permit<'_> {
        let mut waited = false;
        loop {
            let room = self.0.room.notified();
            if self.window().begin() {
                let permits = self;
                return Permit { permits, waited };
            }
            room.await;
            waited = true;
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.0.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.permits.window().end();
        // The window may have become wider too: whoever waits looks for himself.
        self.permits.0.room.notify_waiters();
    }
}

impl Intercept for Permits {
    fn name(&self) -> &'static str {
        "Permits"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // S3 answers `503 SlowDown`; the other 503, `ServiceUnavailable`, asks for the same.
        if matches!(context.response().status().as_u16(), 429 | 503) {
            self.window().throttled();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_finds_no_room_waits_for_the_next_turn_to_end() {
        let permits = Permits::new(2);
        let first = permits.take().await;
        let _second = permits.take().await;
        let mut third = Box::pin(permits.take());
        assert!(futures::poll!(&mut third).is_pending());
        drop(first);
        assert!(futures::poll!(&mut third).is_ready());
    }

    #[tokio::test]
    async fn a_narrowed_window_lets_nobody_in_until_enough_have_ended() {
        let permits = Permits::new(4);
        let mut taken = Vec::new();
        for _ in 0..4 {
            taken.push(permits.take().await);
        }
        permits.window().throttled();
        let mut next = Box::pin(permits.take());
        for _ in 0..2 {
            assert!(futures::poll!(&mut next).is_pending());
            taken.pop();
        }
        assert!(futures::poll!(&mut next).is_pending());
        taken.pop();
        assert!(futures::poll!(&mut next).is_ready());
    }
}
