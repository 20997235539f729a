//! A HEAD whose answer's headers are read as bytes: the SDK refuses an answer if a header that it knows is not UTF-8, or
//! is a date in another form, and HTTP allows both. I/O: S3.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeDeserializationInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::{BoxError, SdkError};
use tandem_replication::head::Head;

use crate::error::Error;
use crate::human;

/// What a HEAD shows of an object; `None` if there is no such object.
pub async fn head(client: &Client, bucket: &str, key: &str) -> Result<Option<Head>, Error> {
    let raw = RawHead::default();
    let request = client.head_object().bucket(bucket).key(key).customize();
    match request.interceptor(raw.clone()).send().await {
        Ok(_) => {
            let mut head = raw.0.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(Some(std::mem::take(&mut *head)))
        }
        Err(SdkError::ServiceError(answer)) if answer.err().is_not_found() => Ok(None),
        Err(error) => {
            let doing = format!("reading the metadata of {bucket}/{}", human::key(key));
            Err(Error::aws(doing, &error))
        }
    }
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
}

/// The headers that this command, or the SDK for itself, reads off a good answer.
const READ: [&str; 5] = [
    "date",
    "etag",
    "x-amz-bucket-region",
    "x-amz-id-2",
    "x-amz-request-id",
];

/// Takes the headers that are not read from every good answer, and from all answers those that are no text. It has to
/// belong to the client: the SDK's own interceptor for `Expires` comes right after those of the client, and panics if
/// that header is no text.
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
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let is_good = response.status().is_success();
        let headers = response.headers_mut();
        let unread: Vec<String> = headers
            .iter_bytes()
            .filter(|(name, value)| {
                std::str::from_utf8(value).is_err() || (is_good && !READ.contains(name))
            })
            .map(|(name, _)| name.to_owned())
            .collect();
        for name in unread {
            headers.remove(name);
        }
        Ok(())
    }
}
