//! Answers to whoever gave an address to answer to: CloudFormation waits for a PUT to a presigned URL of S3.

use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;

use crate::{Aws, AwsError};

/// How long one try may take.
const TRY_TIMEOUT: Duration = Duration::from_secs(8);
/// Whoever waits does so for an hour, so a try is worth repeating; but Lambda waits too.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Puts `document` to `url`, which must be `https`; `http` only where AWS itself is a local endpoint. Repeat-safe,
/// and repeated, unless the server answers that the request is wrong.
pub async fn put(aws: &Aws, url: &str, document: &str) -> Result<(), AwsError> {
    let doing = || format!("answering to {}", without_signature(url));
    let is_local = aws.config().endpoint_url().is_some();
    if !(url.starts_with("https://") || is_local && url.starts_with("http://")) {
        return Err(AwsError::unexpected(doing(), "the address is not https"));
    }
    let connector = Connector::builder()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .build();
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        let request = request(url, document).map_err(|said| AwsError::unexpected(doing(), said))?;
        let answered = tokio::time::timeout(TRY_TIMEOUT, connector.call(request)).await;
        let (said, is_final) = match answered {
            Ok(Ok(answer)) if answer.status().is_success() => return Ok(()),
            Ok(Ok(answer)) => {
                let status = answer.status().as_u16();
                let is_final = (400..500).contains(&status) && !matches!(status, 408 | 429);
                (format!("HTTP status {status}"), is_final)
            }
            Ok(Err(error)) => (format!("{error:?}"), false),
            Err(elapsed) => (elapsed.to_string(), false),
        };
        if is_final || attempt == TRIES {
            return Err(AwsError::unexpected(doing(), said));
        }
        tokio::time::sleep(pause).await;
        pause *= 3;
    }
    Ok(())
}

/// Presigned for no content type, so an empty one is sent.
fn request(url: &str, document: &str) -> Result<HttpRequest, String> {
    let mut request = HttpRequest::new(SdkBody::from(document));
    request
        .set_method("PUT")
        .map_err(|error| error.to_string())?;
    request.set_uri(url).map_err(|error| error.to_string())?;
    request.headers_mut().insert("content-type", "");
    request
        .headers_mut()
        .insert("content-length", document.len().to_string());
    Ok(request)
}

/// The address, as far as it may be logged: what is signed in it allows to write there.
fn without_signature(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_an_empty_content_type_and_the_whole_address() {
        let url = "https://bucket.s3.amazonaws.com/a%7Cb?X-Amz-Signature=1%2F2";
        let request = request(url, "{}").unwrap();
        assert_eq!((request.method(), request.uri()), ("PUT", url));
        assert_eq!(request.headers().get("content-type"), Some(""));
        assert_eq!(
            without_signature(url),
            "https://bucket.s3.amazonaws.com/a%7Cb"
        );
    }
}
