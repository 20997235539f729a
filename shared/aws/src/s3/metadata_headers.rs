//! Writes metadata into requests as bytes. The SDK's request types accept only text, but HTTP allows other bytes, and
//! S3 keeps the bytes that a client sent.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::Headers;
use aws_smithy_types::config_bag::ConfigBag;
use http::{HeaderMap, HeaderName};
use tandem_replication::object::Metadata;

/// Writes an object's metadata into a request, each header byte for byte. Headers that are not text are not part of the
/// signature, which S3 allows for all headers except `x-amz-` headers ([`Metadata::unsendable`]).
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

/// Returns these headers with those of the metadata, which replace headers of the same name.
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
    use tandem_replication::head::Head;
    use tandem_replication::header_value::HeaderValue;

    use super::*;

    /// The bytes that HTTP allows in a header's value: a tab, and every byte from a space on except DEL (RFC 9110,
    /// section 5.5).
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
