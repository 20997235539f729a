//! Reads the answer to a HEAD from its raw bytes, for the functions and for the command. I/O: S3.
//!
//! The SDK refuses an answer if one header that it knows is not UTF-8, is a date in another form, or occurs twice. HTTP
//! allows all of that, and S3 keeps what a client sent.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::operation::head_object::builders::HeadObjectFluentBuilder;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextMut, BeforeDeserializationInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata as Operation;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::config_bag::ConfigBag;
use tandem_replication::head::Head;

/// The headers of a successful answer that Tandem or the SDK itself reads. The SDK also reads headers that begin with
/// `x-amz-checksum-`, by which it checks a body.
const READ: [&str; 11] = [
    "content-length",
    "content-range",
    "date",
    "etag",
    "x-amz-bucket-region",
    "x-amz-copy-source-version-id",
    "x-amz-id-2",
    "x-amz-request-id",
    "x-amz-server-side-encryption",
    "x-amz-version-id",
    "x-amzn-requestid",
];
const CHECKSUMS: &str = "x-amz-checksum-";

/// The headers that the SDK itself reads from the answer to a HEAD.
const READ_OF_HEAD: [&str; 3] = ["date", "x-amz-id-2", "x-amz-request-id"];

/// Sends a HEAD, and returns the headers of its answer.
pub async fn head(
    request: HeadObjectFluentBuilder,
) -> Result<Head, SdkError<HeadObjectError, Response>> {
    let raw = RawHead::default();
    request.customize().interceptor(raw.clone()).send().await?;
    let mut head = raw.0.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *head))
}

/// Keeps the headers of the last answer.
#[derive(Debug, Clone, Default)]
struct RawHead(Arc<Mutex<Head>>);

impl Intercept for RawHead {
    fn name(&self) -> &'static str {
        "RawHead"
    }

    /// Stores the headers before [`OnlyReadHeaders`] removes any of them.
    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let head = Head::new(context.response().headers().iter_bytes());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = head;
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        keep(context.response_mut(), |name| READ_OF_HEAD.contains(&name));
        Ok(())
    }
}

/// Removes from answers the headers that the SDK's parser would refuse: from all answers those that are not text, and
/// from successful ones those that Tandem does not read. For a HEAD, [`head`] itself selects the headers.
///
/// It has to belong to the client: the SDK's own interceptor for `Expires` runs right after those of the client, and
/// panics if that header is not text (aws-sdk-s3 1.157, `s3_expires_interceptor.rs`).
#[derive(Debug, Clone, Copy)]
pub struct OnlyReadHeaders;

impl Intercept for OnlyReadHeaders {
    fn name(&self) -> &'static str {
        "OnlyReadHeaders"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = config.load::<Operation>().map_or("", Operation::name);
        let is_head = operation == "HeadObject";
        keep(context.response_mut(), |name| {
            is_head || READ.contains(&name) || name.starts_with(CHECKSUMS)
        });
        Ok(())
    }
}

/// Removes from an answer the headers that are not text and, if it is not an error, those that are not read.
fn keep(response: &mut Response, is_read: impl Fn(&str) -> bool) {
    let is_good = response.status().is_success();
    let is_text = |value: &[u8]| std::str::from_utf8(value).is_ok();
    let headers = response.headers_mut();
    let unread: Vec<String> = headers
        .iter_bytes()
        .filter(|(name, value)| !is_text(value) || (is_good && !is_read(name)))
        .map(|(name, _)| name.to_owned())
        .collect();
    for name in unread {
        headers.remove(name);
    }
}
