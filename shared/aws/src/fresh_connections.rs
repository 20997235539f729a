//! An HTTP client that drops its idle connections after a freeze.
//!
//! The connection pool measures the age of its connections by the monotonic clock, which may stop while Lambda freezes
//! the process. AWS closes the connections meanwhile. A copy that is sent on a closed connection counts as not
//! answered, and its message is redelivered only after the queue's visibility timeout. So the client and its pool are
//! replaced if no request was sent for longer than the pool keeps a connection, by the clock that shows more.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::runtime_components::{
    RuntimeComponents, RuntimeComponentsBuilder,
};
use aws_smithy_types::config_bag::ConfigBag;
use tandem_replication::age::Moment;

use crate::clock::Clock;

/// Builds HTTP clients, and provides connections of the newest one.
pub(crate) struct FreshConnections {
    build: Arc<dyn Fn() -> SharedHttpClient + Send + Sync>,
    kept: Duration,
    clock: Clock,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    client: SharedHttpClient,
    used_at: Moment,
}

impl FreshConnections {
    /// Returns clients that `build` creates. A client is replaced if it was not used for longer than `kept`.
    pub(crate) fn new(
        build: impl Fn() -> SharedHttpClient + Send + Sync + 'static,
        kept: Duration,
        clock: Clock,
    ) -> Self {
        let current = Current {
            client: build(),
            used_at: clock.now(),
        };
        Self {
            build: Arc::new(build),
            kept,
            clock,
            current: Mutex::new(current),
        }
    }

    fn current(&self) -> SharedHttpClient {
        let now = self.clock.now();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if !current.used_at.is_within(self.kept, now) {
            // Requests in flight keep their own connections.
            current.client = (self.build)();
        }
        current.used_at = now;
        current.client.clone()
    }
}

impl HttpClient for FreshConnections {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        self.current().http_connector(settings, components)
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.current()
            .validate_base_client_config(components, config)
    }

    fn validate_final_config(
        &self,
        components: &RuntimeComponents,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.current().validate_final_config(components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.current().connector_metadata()
    }
}

impl fmt::Debug for FreshConnections {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FreshConnections")
            .field("kept", &self.kept)
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture};
    use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
    use aws_smithy_types::body::SdkBody;
    use chrono::TimeDelta;

    use super::*;
    use crate::clock::moment;

    /// A client and connector that answers every request with an empty 200.
    #[derive(Debug, Clone)]
    struct Empty;

    impl HttpConnector for Empty {
        fn call(&self, _request: HttpRequest) -> HttpConnectorFuture {
            HttpConnectorFuture::ready(Ok(HttpResponse::new(
                200.try_into().unwrap(),
                SdkBody::empty(),
            )))
        }
    }

    impl HttpClient for Empty {
        fn http_connector(
            &self,
            _settings: &HttpConnectorSettings,
            _components: &RuntimeComponents,
        ) -> SharedHttpConnector {
            SharedHttpConnector::new(self.clone())
        }
    }

    // Promise: A process that was frozen, or whose clock was set back, sends no request on a connection from
    // before.
    #[tokio::test]
    async fn a_process_that_was_frozen_uses_new_connections() {
        let built = Arc::new(AtomicU32::new(0));
        let start = moment();
        let now = Arc::new(Mutex::new(start));
        let client = FreshConnections::new(
            {
                let built = Arc::clone(&built);
                move || {
                    built.fetch_add(1, Ordering::Relaxed);
                    SharedHttpClient::new(Empty)
                }
            },
            Duration::from_secs(4),
            Clock::of({
                let now = Arc::clone(&now);
                move || *now.lock().unwrap()
            }),
        );
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
            .region(aws_sdk_s3::config::Region::new("us-east-1"))
            .credentials_provider(aws_sdk_s3::config::Credentials::for_tests())
            .http_client(SharedHttpClient::new(client))
            .build();
        let s3 = aws_sdk_s3::Client::from_conf(config);
        let send = async || {
            s3.delete_object()
                .bucket("b")
                .key("k")
                .send()
                .await
                .unwrap()
        };
        send().await;
        let in_use = built.load(Ordering::Relaxed);
        now.lock().unwrap().monotonic += Duration::from_secs(3);
        send().await;
        assert_eq!(built.load(Ordering::Relaxed), in_use, "used 3 s ago");
        // The process is frozen for an hour: its monotonic clock stands still.
        now.lock().unwrap().wall += TimeDelta::hours(1);
        send().await;
        assert_eq!(built.load(Ordering::Relaxed), in_use + 1, "frozen");
        now.lock().unwrap().wall -= TimeDelta::minutes(1);
        send().await;
        assert_eq!(built.load(Ordering::Relaxed), in_use + 2, "set back");
    }
}
