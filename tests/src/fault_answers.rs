//! What a sender receives for a request that failed: an error of its service, half an answer, or nothing.

use std::time::Duration;

use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use crate::fault_plan::Fault;
use crate::proxy::{Body, Seen, whole};

/// How long a connection without an answer stays open: longer than any function waits.
const SILENCE: Duration = Duration::from_secs(30);

/// Returns an error in the format of the request's service.
pub(crate) fn refusal(seen: &Seen, fault: Fault) -> Response<Body> {
    let (status, content_type, body) = if let Some((service, _)) = seen.operation.split_once('.') {
        let (status, code) = json_code(service, fault == Fault::SlowDown);
        let body = json!({"__type": code, "message": "made to fail"}).to_string();
        (status, "application/x-amz-json-1.0", body)
    } else {
        let (status, code) = s3_code(fault);
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>made to fail</Message></Error>"
        );
        (status, "application/xml", body)
    };
    let mut answer = Response::new(whole(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// Status and code of S3.
fn s3_code(fault: Fault) -> (u16, &'static str) {
    match fault {
        Fault::SlowDown => (503, "SlowDown"),
        Fault::ErrorInside200 | Fault::ErrorInside200Done | Fault::ErrorInside200Late => {
            (200, "InternalError")
        }
        _ => (500, "InternalError"),
    }
}

/// Status and code of the services that use JSON.
fn json_code(service: &str, slow_down: bool) -> (u16, &'static str) {
    match (service, slow_down) {
        ("DynamoDB", true) => (
            400,
            "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
        ),
        ("DynamoDB", false) => (500, "com.amazonaws.dynamodb.v20120810#InternalServerError"),
        (_, true) => (400, "com.amazonaws.sqs#RequestThrottled"),
        (_, false) => (500, "com.amazonaws.sqs#InternalFailure"),
    }
}

/// The first half of an answer, after which the connection breaks. If an answer has no body, all of it is lost.
pub(crate) fn cut_off(answer: Response<Bytes>) -> Result<Response<Body>, &'static str> {
    let (mut head, body) = answer.into_parts();
    if body.len() < 2 {
        return Err("the answer is lost");
    }
    head.headers.insert(CONTENT_LENGTH, body.len().into());
    let begins = Ok(Frame::data(body.slice(..body.len() / 2)));
    let breaks = Err(std::io::Error::other("cut off"));
    let body = StreamBody::new(futures::stream::iter([begins, breaks]));
    Ok(Response::from_parts(head, BodyExt::boxed(body)))
}

/// A body that is sent this long after the headers. S3 does this for `UploadPartCopy` and `CompleteMultipartUpload`,
/// when the work is done.
pub(crate) fn late(body: Bytes, delay: Duration) -> Body {
    let sent = async move {
        tokio::time::sleep(delay).await;
        Ok(Frame::data(body))
    };
    BodyExt::boxed(StreamBody::new(futures::stream::once(sent)))
}

/// Makes the sender wait for an answer that never arrives.
pub(crate) async fn silence() -> Result<Response<Body>, &'static str> {
    tokio::time::sleep(SILENCE).await;
    Err("no answer was sent")
}
