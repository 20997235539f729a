//! Limits how many objects a process works on at the same time, and lowers the limit when S3 asks to slow down. Every
//! throttled answer narrows the window, also if the SDK's retry succeeds. There is one window for each process.

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

/// The permit to work on one object. Dropping it ends the permit.
#[derive(Debug)]
pub struct Permit<'a> {
    permits: &'a Permits,
    /// Whether the caller had to wait for it. If so, it may be too late to begin.
    pub waited: bool,
}

impl Permits {
    /// Returns permits for at most `at_once_max` objects at a time.
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
        // All waiting tasks check the window again, because it may also have become wider.
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
        // S3 throttles with `503 SlowDown`. The other 503, `ServiceUnavailable`, asks to slow down too.
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
    async fn without_a_free_permit_a_task_waits_until_one_ends() {
        let permits = Permits::new(2);
        let first = permits.take().await;
        let _second = permits.take().await;
        let mut third = Box::pin(permits.take());
        assert!(futures::poll!(&mut third).is_pending());
        drop(first);
        assert!(futures::poll!(&mut third).is_ready());
    }

    #[tokio::test]
    async fn a_narrowed_window_gives_no_permit_until_enough_have_ended() {
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
