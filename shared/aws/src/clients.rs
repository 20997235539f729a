//! One client for each service and region, built once. Counts every S3 request.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, InterceptorContext,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::retries::classifiers::{
    ClassifyRetry, RetryAction, RetryClassifierPriority,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::region::Region as SdkRegion;
use tandem_replication::names::Region;

use crate::classify::Answer;
use crate::clock::{Clock, Deadline};
use crate::fresh_connections::FreshConnections;
use crate::permits::Permits;
use crate::request_timeouts::{ANSWERED_WITHIN, RequestTimeouts};
use tandem_raw_head::OnlyReadHeaders;

/// Everything that requests to AWS as one account need.
#[derive(Debug)]
pub struct Aws {
    config: SdkConfig,
    account_id: String,
    region: Region,
    s3: Mutex<HashMap<Region, aws_sdk_s3::Client>>,
    requests: RequestCounter,
    timeouts: RequestTimeouts,
    permits: Permits,
}

impl Aws {
    /// Reads the SDK's default configuration chain. Buckets have to belong to `account_id`.
    pub async fn from_environment(account_id: String) -> Result<Self, crate::AwsError> {
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client())
            .timeout_config(timeouts())
            .load()
            .await;
        Self::new(config, account_id)
    }

    /// Uses an existing configuration. It has to name a region.
    pub fn new(config: SdkConfig, account_id: String) -> Result<Self, crate::AwsError> {
        let region = config
            .region()
            .map(|region| Region::new(region.as_ref()))
            .ok_or_else(|| {
                crate::AwsError::unexpected(
                    "reading the AWS configuration",
                    "no region; set AWS_REGION",
                )
            })?;
        Ok(Self {
            config,
            account_id,
            region,
            s3: Mutex::default(),
            requests: RequestCounter::default(),
            timeouts: RequestTimeouts::default(),
            permits: Permits::new(OBJECTS_AT_ONCE_MAX),
        })
    }

    /// The account that owns the buckets.
    pub fn account_id(&self) -> &str {
        &self.account_id
    }

    /// The stack's own region.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The configuration for clients of other services.
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// Begins an invocation. Requests to S3 time out early enough before its deadline that it can report their outcome.
    pub fn begin(&self, deadline: Deadline) {
        self.timeouts.begin(deadline);
    }

    /// Returns how many S3 requests were sent since the last call, by operation.
    pub fn take_request_counts(&self) -> BTreeMap<&'static str, u64> {
        self.requests.take()
    }

    /// How many S3 requests this function has sent since it started.
    pub fn s3_requests(&self) -> u64 {
        self.requests.total.load(Ordering::Relaxed)
    }

    /// Limits the work on objects while S3 asks to slow down.
    pub fn permits(&self) -> &Permits {
        &self.permits
    }

    /// Returns the S3 client of a region. Requests to a bucket use the client of the bucket's region.
    pub fn s3(&self, region: &Region) -> aws_sdk_s3::Client {
        let mut clients = self.s3.lock().unwrap_or_else(PoisonError::into_inner);
        clients
            .entry(region.clone())
            .or_insert_with(|| self.new_s3(region))
            .clone()
    }

    fn new_s3(&self, region: &Region) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::from(&self.config)
            .region(SdkRegion::new(region.as_str().to_owned()))
            // Local servers have one host name for all buckets.
            .force_path_style(self.config.endpoint_url().is_some())
            .interceptor(self.requests.clone())
            .interceptor(self.timeouts.clone())
            .interceptor(self.permits.clone())
            .interceptor(OnlyReadHeaders)
            .build();
        aws_sdk_s3::Client::from_conf(config)
    }
}

/// How long an idle connection is kept. While a function is frozen, AWS closes its connections. A copy sent on a
/// closed connection would count as not answered, and its message would be redelivered only after the queue's
/// visibility timeout. A new connection costs some milliseconds.
const IDLE_CONNECTION_KEPT: Duration = Duration::from_secs(4);

fn http_client() -> SharedHttpClient {
    let build = || {
        aws_smithy_http_client::Builder::new()
            .pool_idle_timeout(IDLE_CONNECTION_KEPT)
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .build_https()
    };
    SharedHttpClient::new(FreshConnections::new(
        build,
        IDLE_CONNECTION_KEPT,
        Clock::default(),
    ))
}

/// Returns the timeouts for all services, so that a dead connection is detected.
fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECTED_WITHIN)
        .operation_attempt_timeout(ANSWERED_WITHIN)
        .build()
}

/// How long it may take to open a connection. This is the SDK's default; it is repeated here because setting any
/// other timeout removes the default.
const CONNECTED_WITHIN: Duration = Duration::from_millis(3_100);

/// How many objects a function works on at the same time, unless S3 asks to slow down.
pub const OBJECTS_AT_ONCE_MAX: usize = 32;

/// Counts requests as they are sent. Retries are included, because AWS charges for them.
#[derive(Debug, Clone, Default)]
struct RequestCounter {
    by_operation: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    total: Arc<AtomicU64>,
}

/// The operations that are counted under their own name.
const COUNTED: [&str; 25] = [
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateMultipartUpload",
    "DeleteObject",
    "DeleteObjectTagging",
    "GetBucketNotificationConfiguration",
    "GetBucketWebsite",
    "GetObject",
    "GetObjectAcl",
    "GetObjectAttributes",
    "GetObjectTagging",
    "HeadBucket",
    "HeadObject",
    "ListBuckets",
    "ListMultipartUploads",
    "ListObjectsV2",
    "ListParts",
    "PutBucketNotificationConfiguration",
    "PutObject",
    "PutObjectAcl",
    "PutObjectLegalHold",
    "PutObjectRetention",
    "PutObjectTagging",
    "UploadPartCopy",
];

impl RequestCounter {
    fn take(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.by_operation.lock();
        std::mem::take(&mut *counts.unwrap_or_else(PoisonError::into_inner))
    }
}

impl Intercept for RequestCounter {
    fn name(&self) -> &'static str {
        "RequestCounter"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = config.load::<Metadata>().map_or("", Metadata::name);
        let counted = COUNTED
            .iter()
            .find(|&&name| name == operation)
            .copied()
            .unwrap_or("Other");
        self.total.fetch_add(1, Ordering::Relaxed);
        let mut counts = self
            .by_operation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *counts.entry(counted).or_default() += 1;
        Ok(())
    }
}

/// Returns the configuration of a request that changes a replica. The SDK does not repeat the request if the service
/// may have carried it out, or may still do so: without an answer, after a 5xx, and after an error inside a 200.
///
/// Such a request may still be in flight inside the service. If the SDK repeated it at once, the repetition could land
/// and be verified, and then the first request could overwrite it with stale content. Instead, SQS redelivers the
/// message after the visibility timeout. By then no request of this attempt is in flight.
pub(crate) fn never_blindly_again() -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::config::Builder::new().retry_classifier(NotIfMaybeDone)
}

/// Forbids the SDK to repeat a request that the service may have carried out.
///
/// It cannot distinguish operations, because the request no longer exists when its failure is classified. So each
/// operation that needs this classifier sets it in its own configuration.
#[derive(Debug)]
struct NotIfMaybeDone;

impl ClassifyRetry for NotIfMaybeDone {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let Some(Err(error)) = context.output_or_error() else {
            return RetryAction::NoActionIndicated;
        };
        let unanswered =
            error.is_connector_error() || error.is_timeout_error() || error.is_response_error();
        if unanswered || context.response().is_some_and(may_be_done) {
            RetryAction::RetryForbidden
        } else {
            RetryAction::NoActionIndicated
        }
    }

    fn name(&self) -> &'static str {
        "NotIfMaybeDone"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

/// Whether S3 may have carried the request out, or may still do so, given this answer.
fn may_be_done(response: &Response) -> bool {
    let body = response.body().bytes().unwrap_or_default();
    let code = std::str::from_utf8(body).ok().and_then(error_code);
    Answer::of(code, Some(response.status().as_u16())).leaves_open_whether_done()
}

/// Returns the error code in an answer of S3. It reads the body, because only the request's own error type parses the
/// code, and a classifier does not know that type.
fn error_code(body: &str) -> Option<&str> {
    let (_, rest) = body.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    Some(code.trim())
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::body::SdkBody;

    use super::*;

    fn may_be_done_after(status: u16, body: &str) -> bool {
        may_be_done(&Response::new(
            status.try_into().unwrap(),
            SdkBody::from(body),
        ))
    }

    // Promise: A write that is not answered, or answered with a 5xx other than `SlowDown` or with an error
    // inside a 200, may have been carried out: its attempt does not repeat it, and its message is redelivered
    // after the visibility timeout.
    #[test]
    fn after_a_5xx_other_than_slow_down_the_request_may_have_been_carried_out() {
        let error =
            |code: &str| format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code></Error>");
        for (status, body, maybe) in [
            (500, error("InternalError"), true),
            (503, error("ServiceUnavailable"), true),
            (503, String::new(), true),
            (200, error("InternalError"), true),
            (503, error("SlowDown"), false),
            (200, error("SlowDown"), false),
            (409, error("OperationAborted"), false),
            (412, error("PreconditionFailed"), false),
        ] {
            assert_eq!(may_be_done_after(status, &body), maybe, "{status} {body}");
        }
    }
}
