//! How long a request to S3 may take.
//!
//! S3 answers `CopyObject`, `UploadPartCopy` and `CompleteMultipartUpload` with headers at once, and sends the body
//! when the work is done, which may take minutes (S3 API reference, "`CompleteMultipartUpload`": "Amazon S3
//! periodically sends white space characters to keep the connection from timing out"; public reports: smithy-rs #4439).
//! If no byte of a body arrives for 5 seconds, the SDK aborts the request and repeats it ("stalled stream protection",
//! `defaults.rs` of `aws-smithy-runtime`; of these three only `CopyObject` is exempt, see `upload_part_copy.rs` of
//! `aws-sdk-s3`). So this module disables the protection for these requests, and the functions wait for them as long as
//! the invocation allows.
//!
//! S3 answers any other request within seconds, so a function treats its connection as dead after [`ANSWERED_WITHIN`].
//! Every request ends before its invocation, so that the function can still report the outcome. Then a slow request
//! delays one message of a batch, not all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::timeout::{TimeoutConfig, TimeoutConfigBuilder};

use crate::clock::Deadline;

/// How long any service may take to answer a request, except for copies. The limit allows for listings of buckets with
/// very many delete markers, which take long.
pub(crate) const ANSWERED_WITHIN: Duration = Duration::from_mins(1);

/// The requests that S3 answers only when the work is done.
const COPIES: [&str; 3] = ["CopyObject", "UploadPartCopy", "CompleteMultipartUpload"];

/// Ends requests before the deadline of the current invocation.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestTimeouts(Arc<Mutex<Option<Deadline>>>);

impl RequestTimeouts {
    /// Begins an invocation: from now on, requests end before this deadline.
    pub(crate) fn begin(&self, deadline: Deadline) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(deadline);
    }

    fn left(&self) -> Option<Duration> {
        let deadline = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        deadline.map(Deadline::left_for_requests)
    }
}

impl Intercept for RequestTimeouts {
    fn name(&self) -> &'static str {
        "RequestTimeouts"
    }

    /// Sets the limit for all attempts together, which the SDK reads before it knows the operation.
    fn read_before_execution(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(left) = self.left() {
            let timeouts = timeouts(config).operation_timeout(left).build();
            config.interceptor_state().store_put(timeouts);
        }
        Ok(())
    }

    fn modify_before_retry_loop(
        &self,
        _context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = config.load::<Metadata>().map_or("", Metadata::name);
        let mut timeouts = timeouts(config);
        if COPIES.contains(&operation) {
            timeouts.set_operation_attempt_timeout(None);
            let protection = StalledStreamProtectionConfig::disabled();
            config.interceptor_state().store_put(protection);
        } else {
            timeouts.set_operation_attempt_timeout(Some(ANSWERED_WITHIN));
        }
        config.interceptor_state().store_put(timeouts.build());
        Ok(())
    }
}

/// Returns the limits that are configured so far.
fn timeouts(config: &ConfigBag) -> TimeoutConfigBuilder {
    let timeouts = config.load::<TimeoutConfig>();
    timeouts.map_or_else(TimeoutConfig::builder, TimeoutConfig::to_builder)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::SystemTime;

    use aws_config::{BehaviorVersion, SdkConfig};
    use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
    use aws_sdk_s3::error::SdkError;
    use aws_sdk_s3::types::CompletedMultipartUpload;
    use aws_types::region::Region as SdkRegion;
    use tandem_replication::names::Region;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::Aws;

    /// Starts a server that answers every request with headers at once and with this body later. Without a body, it
    /// never answers.
    async fn server(body: Option<(&'static str, Duration)>) -> (SocketAddr, Arc<AtomicU32>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, body, Arc::clone(&counted)));
            }
        });
        (address, requests)
    }

    async fn answer(
        mut stream: TcpStream,
        body: Option<(&'static str, Duration)>,
        requests: Arc<AtomicU32>,
    ) {
        let mut buffer = vec![0; 64 * 1024];
        while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
            requests.fetch_add(1, Ordering::Relaxed);
            let Some((body, after)) = body else { continue };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            tokio::time::sleep(after).await;
            // The client may have disconnected.
            let _ = stream.write_all(body.as_bytes()).await;
            return;
        }
    }

    fn client(address: SocketAddr, time: Option<Duration>) -> aws_sdk_s3::Client {
        let credentials = SharedCredentialsProvider::new(Credentials::for_tests());
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(SdkRegion::new("us-east-1"))
            .endpoint_url(format!("http://{address}"))
            .credentials_provider(credentials)
            .build();
        let aws = Aws::new(config, "111122223333".to_owned()).unwrap();
        if let Some(time) = time {
            aws.begin(Deadline::of(SystemTime::now() + time));
        }
        aws.s3(&Region::new("us-east-1"))
    }

    /// Longer than the SDK waits for the next byte of a body.
    const LONG: Duration = Duration::from_secs(8);

    // Promise: A copy whose answer comes late is waited for, and its request is sent once.
    #[tokio::test]
    async fn a_function_waits_for_a_slow_copy_of_a_part() {
        let body = "<CopyPartResult><ETag>&quot;e&quot;</ETag></CopyPartResult>";
        let (address, requests) = server(Some((body, LONG))).await;
        let answer = client(address, Some(Duration::from_mins(15)))
            .upload_part_copy()
            .bucket("b")
            .key("k")
            .copy_source("a/k")
            .upload_id("u")
            .part_number(1)
            .send()
            .await
            .unwrap();
        assert!(answer.copy_part_result().is_some());
        assert_eq!(requests.load(Ordering::Relaxed), 1, "sent once");
    }

    #[tokio::test]
    async fn a_function_waits_for_a_slow_completion() {
        let body = "<CompleteMultipartUploadResult><ETag>&quot;e-1&quot;</ETag></CompleteMultipartUploadResult>";
        let (address, requests) = server(Some((body, LONG))).await;
        let answer = client(address, Some(Duration::from_mins(15)))
            .complete_multipart_upload()
            .bucket("b")
            .key("k")
            .upload_id("u")
            .multipart_upload(CompletedMultipartUpload::builder().build())
            .send()
            .await
            .unwrap();
        assert!(answer.e_tag().is_some());
        assert_eq!(requests.load(Ordering::Relaxed), 1, "sent once");
    }

    // Promise: A dead connection does not outlive its invocation: the function still says how its requests ended.
    #[tokio::test]
    async fn a_dead_connection_does_not_outlive_its_invocation() {
        let (address, _) = server(None).await;
        let time = Duration::from_secs(2);
        let deadline = Deadline::of(SystemTime::now() + time);
        let client = client(address, Some(time));
        let copied = client
            .copy_object()
            .bucket("b")
            .key("k")
            .copy_source("a/k")
            .send()
            .await;
        let is_timeout = matches!(copied, Err(SdkError::TimeoutError(_)));
        assert!(is_timeout, "{copied:?}");
        assert!(!deadline.left().is_zero(), "no time is left to report");
    }
}
