//! The limits of AWS that the local cloud enforces (`local/limits.py`). A test can change them for its own resources.

use hyper::Request;
use serde_json::json;

use crate::cloud::Cloud;
use crate::proxy::Upstream;

/// Sets the limit of one account, queue or bucket.
///
/// # Panics
/// If the local cloud has no such limit.
pub async fn set(cloud: &Cloud, limit: &str, of: &str, value: u64) {
    let document = json!({"limit": limit, "of": of, "value": value}).to_string();
    let request = Request::put("/_tandem/limits").body(());
    let (head, ()) = request.expect("a request").into_parts();
    let upstream = Upstream::new(&cloud.endpoint);
    let answer = upstream.pass(head, document.into()).await;
    let answer = answer.expect("the local cloud answers");
    assert!(answer.status().is_success(), "{answer:?}");
}
