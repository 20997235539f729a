//! Sends the response for a custom resource. CloudFormation waits for a PUT to a presigned S3 URL.

use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;

use crate::{Aws, AwsError};

/// How long one attempt may take.
const TRY_TIMEOUT: Duration = Duration::from_secs(8);
/// How many attempts are made. CloudFormation waits for an hour, but the Lambda invocation has to end in time.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Refuses an address that is not CloudFormation's in this region. Otherwise a caller of the function could have it
/// send requests to any host. If AWS is a local endpoint, CloudFormation is local too, and any address is accepted.
/// `url_suffix` is what AWS's host names end with in this partition.
pub fn check_address(aws: &Aws, url: &str, url_suffix: &str) -> Result<(), AwsError> {
    let is_local = aws.config().endpoint_url().is_some();
    if is_local || is_cloudformations(url, aws.region().as_str(), url_suffix) {
        return Ok(());
    }
    Err(AwsError::unexpected(
        doing(url),
        format!(
            "the address is not https, or not of CloudFormation's bucket {}; only CloudFormation sends such requests",
            bucket(aws.region().as_str())
        ),
    ))
}

/// Puts `document` to `url`, which [`check_address`] must have accepted. Idempotent. Repeats a failed request, unless
/// the server answers that the request is invalid.
pub async fn put(url: &str, document: &str) -> Result<(), AwsError> {
    let connector = Connector::builder()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .build();
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        let request =
            request(url, document).map_err(|said| AwsError::unexpected(doing(url), said))?;
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
            return Err(AwsError::unexpected(doing(url), said));
        }
        tokio::time::sleep(pause).await;
        pause *= 3;
    }
    Ok(())
}

/// Whether `url` is in the bucket for the responses of a region's custom resources, under one of S3's host names.
///
/// Sources: CloudFormation user guide, "Access CloudFormation using an interface endpoint" (the bucket's name has the
/// region without its hyphens); Lambda developer guide, "Using AWS Lambda with CloudFormation" (`s3-us-east-1` in a
/// request); S3 user guide, "Virtual hosting of general purpose buckets" and "Dual-stack endpoints" (the other forms).
fn is_cloudformations(url: &str, region: &str, url_suffix: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://") else {
        return false;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let bucket = bucket(region);
    [
        format!("{bucket}.s3.{region}.{url_suffix}"),
        format!("{bucket}.s3-{region}.{url_suffix}"),
        format!("{bucket}.s3.dualstack.{region}.{url_suffix}"),
        format!("{bucket}.s3.{url_suffix}"),
    ]
    .iter()
    .any(|expected| host.eq_ignore_ascii_case(expected))
}

/// Returns CloudFormation's bucket for the responses of custom resources.
fn bucket(region: &str) -> String {
    let region = region.replace('-', "");
    format!("cloudformation-custom-resource-response-{region}")
}

fn doing(url: &str) -> String {
    format!("sending the response to {}", without_signature(url))
}

/// Builds the PUT. The URL is presigned without a content type, so the request sends an empty one.
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

/// Returns the address without its query, which must not be logged: its signature permits writing to the address.
fn without_signature(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_name_of_cloudformations_bucket_is_accepted() {
        let own = "cloudformation-custom-resource-response";
        for (host, region, suffix) in [
            (
                format!("{own}-useast1.s3.us-east-1.amazonaws.com"),
                "us-east-1",
                "amazonaws.com",
            ),
            (
                format!("{own}-useast1.s3-us-east-1.amazonaws.com"),
                "us-east-1",
                "amazonaws.com",
            ),
            (
                format!("{own}-useast1.s3.amazonaws.com"),
                "us-east-1",
                "amazonaws.com",
            ),
            (
                format!("{own}-cnnorth1.s3.cn-north-1.amazonaws.com.cn"),
                "cn-north-1",
                "amazonaws.com.cn",
            ),
            (
                format!("{own}-euscdeeast1.s3.eusc-de-east-1.amazonaws.eu"),
                "eusc-de-east-1",
                "amazonaws.eu",
            ),
        ] {
            let url = format!("https://{host}/arn%3Aaws%3A?X-Amz-Signature=1");
            assert!(is_cloudformations(&url, region, suffix), "{url}");
        }
    }

    // Promise: CloudFormation's requests are answered in CloudFormation's own bucket of the stack's region, and nowhere else.
    #[test]
    fn every_other_address_is_refused() {
        let bucket = "cloudformation-custom-resource-response-useast1";
        for url in [
            format!("http://{bucket}.s3.amazonaws.com/"),
            format!("https://{bucket}.s3.amazonaws.com.example.com/"),
            format!("https://{bucket}.s3.amazonaws.com@example.com/"),
            format!("https://{bucket}.s3.amazonaws.com:443@example.com/"),
            format!("https://{bucket}.s3.amazonaws.com\\@example.com/"),
            format!("https://example.com/{bucket}.s3.amazonaws.com/"),
            format!("https://example.com?{bucket}.s3.amazonaws.com/"),
            format!("https://{bucket}-mine.s3.amazonaws.com/"),
            format!("https://mine.{bucket}.s3.amazonaws.com/"),
            "https://cloudformation-custom-resource-response-uswest2.s3.us-west-2.amazonaws.com/"
                .to_owned(),
            "https://169.254.169.254/latest/meta-data".to_owned(),
            String::new(),
        ] {
            assert!(
                !is_cloudformations(&url, "us-east-1", "amazonaws.com"),
                "{url}"
            );
        }
    }

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
