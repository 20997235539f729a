//! Headers as bytes: a HEAD's answer is read here and not by the SDK, and metadata are written as they came.
//!
//! The SDK refuses an answer if one header that it knows is not UTF-8, is a date in another form, or comes twice, and
//! its request types take text only. HTTP allows all of that, and S3 keeps what a client sent.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::operation::head_object::builders::HeadObjectFluentBuilder;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextMut, BeforeDeserializationInterceptorContextRef,
    BeforeTransmitInterceptorContextMut,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata as Operation;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::{Headers, Response};
use aws_smithy_types::config_bag::ConfigBag;
use http::{HeaderMap, HeaderName};
use tandem_replication::head::Head;
use tandem_replication::object::Metadata;

/// The headers of a good answer that this crate, or the SDK for itself, reads. By those that begin with
/// `x-amz-checksum-` the SDK checks a body.
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

/// Those of them that the SDK reads off the answer to a HEAD.
const READ_OF_HEAD: [&str; 3] = ["date", "x-amz-id-2", "x-amz-request-id"];

/// Sends a HEAD, and returns the headers of its answer.
pub(crate) async fn head(
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

    /// Before [`OnlyReadHeaders`] takes any of them away.
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

/// Takes from answers what the SDK's parser would stumble over: from all of them the headers that are no text, from
/// good ones those that nothing here reads. Which of a HEAD's are read, [`head`] says.
///
/// It has to belong to the client: the SDK's own interceptor for `Expires` comes right after those of the client, and
/// panics if that header is no text (aws-sdk-s3 1.157, `s3_expires_interceptor.rs`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnlyReadHeaders;

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

/// Takes from an answer the headers that are no text and, if it is no error, those that are not read.
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

/// Writes an object's metadata into a request, each header byte for byte. Headers that are no text are sent without
/// being part of the signature, which S3 allows for all but `x-amz-` headers ([`Metadata::unsendable`]).
#[derive(Debug)]
pub(crate) struct WithMetadata(pub(crate) Metadata);

impl Intercept for WithMetadata {
    fn name(&self) -> &'static str {
        "WithMetadata"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.request_mut().headers_mut();
        *headers = with_metadata(headers, &self.0)?;
        Ok(())
    }
}

/// These headers and those of the metadata, which take the place of others of the same name.
fn with_metadata(headers: &Headers, metadata: &Metadata) -> Result<Headers, BoxError> {
    let mut all = HeaderMap::new();
    for (name, value) in headers.iter_bytes() {
        all.append(HeaderName::from_bytes(name.as_bytes())?, value.try_into()?);
    }
    let content = [
        ("content-type", &metadata.content_type),
        ("content-encoding", &metadata.content_encoding),
        ("content-language", &metadata.content_language),
        ("content-disposition", &metadata.content_disposition),
        ("cache-control", &metadata.cache_control),
        ("expires", &metadata.expires),
        (
            "x-amz-website-redirect-location",
            &metadata.website_redirect,
        ),
    ];
    for (name, value) in content {
        if let Some(value) = value {
            all.insert(name, value.as_bytes().try_into()?);
        }
    }
    for (name, value) in &metadata.user {
        let name = HeaderName::try_from(format!("x-amz-meta-{name}"))?;
        all.insert(name, value.as_bytes().try_into()?);
    }
    Ok(Headers::try_from(all)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tandem_replication::Timestamp;
    use tandem_replication::header_value::HeaderValue;

    use super::*;

    /// What HTTP allows in a header's value: a tab, and every byte from a space on but DEL (RFC 9110, section 5.5).
    fn values() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8];
        proptest::collection::vec(byte, 0..40)
    }

    proptest! {
        // Promise: A key is replicated and compared whatever bytes HTTP allows in its source's headers: a header that
        // cannot be read counts as absent, and a key whose header cannot be sent fails alone, with a reason that names
        // the header.
        #[test]
        fn metadata_are_written_byte_for_byte(
            content_type in values(),
            content_disposition in values(),
            expires in values(),
            user in proptest::collection::btree_map("[a-z0-9-]{1,8}", values(), 0..4),
        ) {
            let user = user.into_iter().map(|(name, value)| (name, HeaderValue::new(value)));
            let metadata = Metadata {
                content_type: Some(HeaderValue::new(content_type)),
                content_disposition: Some(HeaderValue::new(content_disposition)),
                expires: Some(HeaderValue::new(expires)),
                user: user.collect(),
                ..Metadata::default()
            };
            let mut headers = Headers::new();
            for (name, value) in [("etag", "e"), ("content-length", "1"), ("content-type", "old")] {
                headers.insert(name, value);
            }
            let written = with_metadata(&headers, &metadata).unwrap();
            let read = Head::new(written.iter_bytes()).state(Timestamp::UNIX_EPOCH).unwrap();
            prop_assert_eq!(read.metadata, metadata);
        }
    }
}
