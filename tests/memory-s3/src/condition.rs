//! `If-Match` and `If-None-Match`, for reads and for writes that replace an object. No I/O.

use crate::object::Object;
use crate::refusal::{Code, Refusal};
use crate::request::S3Request;

/// Checks S3's conditional writes: refuses a request that may not replace the present object.
///
/// Source: S3 User Guide, "Conditional requests": `If-None-Match` takes `*` only; `If-Match` on a key that does
/// not exist is 404.
pub(crate) fn may_replace(
    request: &S3Request,
    key: &str,
    present: Option<&Object>,
) -> Result<(), Refusal> {
    match (request.header("if-none-match")?, present) {
        (None, _) | (Some("*"), None) => {}
        (Some("*"), Some(_)) => return Err(failed("If-None-Match")),
        (Some(_), _) => {
            return Err(Refusal::not_implemented(
                "If-None-Match other than * on a write",
            ));
        }
    }
    match request.header("if-match")? {
        None => Ok(()),
        Some(wanted) => match present {
            None => Err(Refusal::no_such_key(key)),
            Some(object) if matches(wanted, object) => Ok(()),
            Some(_) => Err(failed("If-Match")),
        },
    }
}

/// Refuses a request that may not read the object.
pub(crate) fn may_read(request: &S3Request, object: &Object) -> Result<(), Refusal> {
    if request
        .header("if-match")?
        .is_some_and(|wanted| !matches(wanted, object))
    {
        return Err(failed("If-Match"));
    }
    match request.header("if-none-match")? {
        Some(unwanted) if matches(unwanted, object) => Err(Refusal::new(
            Code::NotModified,
            "the object has not changed",
        )),
        _ => Ok(()),
    }
}

/// Refuses a request that may not copy the object.
pub(crate) fn may_copy(request: &S3Request, source: &Object) -> Result<(), Refusal> {
    if request
        .header("x-amz-copy-source-if-match")?
        .is_some_and(|wanted| !matches(wanted, source))
    {
        return Err(failed("x-amz-copy-source-If-Match"));
    }
    match request.header("x-amz-copy-source-if-none-match")? {
        Some(unwanted) if matches(unwanted, source) => {
            Err(failed("x-amz-copy-source-If-None-Match"))
        }
        _ => Ok(()),
    }
}

/// Whether a list of `ETag`s, or `*`, contains the object's. S3 also accepts them without quotes.
pub(crate) fn matches(wanted: &str, object: &Object) -> bool {
    wanted.split(',').map(str::trim).any(|wanted| {
        let wanted = wanted.strip_prefix("W/").unwrap_or(wanted);
        wanted == "*" || wanted.trim_matches('"') == object.etag
    })
}

pub(crate) fn failed(condition: &str) -> Refusal {
    Refusal::new(
        Code::PreconditionFailed,
        format!("the precondition {condition} does not hold"),
    )
}
