//! Measures what AWS's documentation does not specify, or what no emulator shows. I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_types::DateTime;
use futures::{StreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use tandem_demo::cloud::Bucket;
use tandem_demo::console;
use tandem_demo::error::Error;
use tandem_demo::object::Object;

use super::measures::FUNCTIONS;
use super::{Outcome, expect};
use crate::stage::Stage;

/// The time between two requests for an object that is not visible yet.
const LOOK_PAUSE: Duration = Duration::from_millis(250);
/// Pieces in which a throttled PUT is sent.
const CHUNKS: u32 = 64;
/// Functions that send messages to themselves, directly or through each other.
const LOOPING: [&str; 2] = ["backfill-shard", "copy-parts"];

/// Returns the bucket in which the facts are measured. No rule replicates it.
pub async fn scratch(stage: &Stage) -> Result<Bucket, Error> {
    let bucket = stage
        .account
        .bucket(&stage.regions.source, stage.names.bucket("scratch"));
    let found = bucket
        .client
        .head_bucket()
        .bucket(&bucket.name)
        .send()
        .await;
    if found.is_ok() {
        return Ok(bucket);
    }
    stage.make_bucket(&stage.regions.source, "scratch").await
}

/// The times of one write, in S3's own whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteTimes {
    began: i64,
    last_modified: i64,
    visible: i64,
}

impl WriteTimes {
    /// Renders the times as a line of the report.
    pub fn shown(&self, what: &str) -> String {
        let after_begin = self.last_modified - self.began;
        let before_visible = self.visible - self.last_modified;
        format!(
            "{what} was visible {} s after its request began; its Last-Modified is {after_begin} s after the request \
             began and {before_visible} s before it was visible",
            self.visible - self.began
        )
    }
}

/// Runs `writing` and measures when its object became visible. All times are S3's: they are the times of small objects
/// that are put before the write, and when the written object is first seen.
pub async fn times_of(
    stage: &Stage,
    bucket: &Bucket,
    key: &str,
    writing: impl Future<Output = Result<(), Error>>,
) -> Result<WriteTimes, Error> {
    let began = mark(bucket, "marks/began").await?;
    let looking = async {
        loop {
            if let Some(head) = bucket.head(key).await? {
                let visible = mark(bucket, "marks/visible").await?;
                return Ok::<_, Error>((secs(head.last_modified, key)?, visible));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    };
    let both = async { futures::try_join!(writing, looking) };
    let limit = stage.scale.patience + stage.scale.throttled;
    let ended = tokio::time::timeout(limit, both).await;
    let ((), (last_modified, visible)) = ended.map_err(|_| {
        Error::Unexpected(format!(
            "{key:?} did not become visible within {} s",
            limit.as_secs()
        ))
    })??;
    Ok(WriteTimes {
        began,
        last_modified,
        visible,
    })
}

/// Returns S3's current time.
async fn mark(bucket: &Bucket, key: &str) -> Result<i64, Error> {
    bucket.put(key, &Object::text("mark")).await?;
    let head = bucket.head(key).await?;
    secs(head.and_then(|head| head.last_modified), key)
}

fn secs(time: Option<DateTime>, key: &str) -> Result<i64, Error> {
    time.map(|time| time.secs())
        .ok_or_else(|| Error::Unexpected(format!("{key:?} has no Last-Modified")))
}

/// Measures a PUT whose bytes are sent slowly.
pub async fn throttled_put(stage: &Stage) -> Result<Outcome, Error> {
    const KEY: &str = "throttled/put";
    let scratch = scratch(stage).await?;
    let bytes = stage.scale.throttled_bytes;
    let body = slow_body(bytes, stage.scale.throttled);
    let request = scratch.client.put_object().bucket(&scratch.name).key(KEY);
    let request = request
        .content_length(i64::try_from(bytes).unwrap_or(i64::MAX))
        .body(ByteStream::from_body_1_x(body))
        .customize()
        // The payload is not signed, because its bytes cannot be read twice.
        .disable_payload_signing();
    let writing = async {
        let sent = request.send().await;
        sent.map(|_| ())
            .map_err(|error| scratch.error("putting", KEY, &error))
    };
    let times = times_of(stage, &scratch, KEY, writing).await?;
    let took = times.visible - times.began;
    // The times of marks are whole seconds.
    expect(
        took + 2 >= i64::try_from(stage.scale.throttled.as_secs()).unwrap_or(0),
        || {
            format!(
                "the PUT should have been sent within {:?}, but took {took} s",
                stage.scale.throttled
            )
        },
    )?;
    let what = format!(
        "a PUT of {} that was sent within {}",
        console::bytes(bytes),
        console::duration(stage.scale.throttled)
    );
    Ok(Outcome::Passed(vec![
        times.shown(&what),
        "a PUT of 5 GB was not tried, because sending it would take longer than the rest of the run"
            .to_owned(),
    ]))
}

/// Returns a body that sends `bytes` bytes, a piece at a time.
fn slow_body(
    bytes: u64,
    takes: Duration,
) -> StreamBody<
    impl futures::Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send + Sync + 'static,
> {
    let chunk = usize::try_from(bytes / u64::from(CHUNKS)).unwrap_or(0);
    let rest = usize::try_from(bytes % u64::from(CHUNKS)).unwrap_or(0);
    let pieces = stream::unfold(0, move |number| async move {
        let bytes = match number {
            CHUNKS if rest > 0 => rest,
            CHUNKS.. => return None,
            _ => chunk,
        };
        tokio::time::sleep(takes / CHUNKS).await;
        Some((Ok(Frame::data(Bytes::from(vec![b't'; bytes]))), number + 1))
    });
    // The client polls once more at the end.
    StreamBody::new(pieces.fuse())
}

/// Tests conditions on the destination of a COPY.
pub async fn conditions(stage: &Stage) -> Result<Outcome, Error> {
    let scratch = scratch(stage).await?;
    scratch
        .put("conditions/from", &Object::text("from"))
        .await?;
    let there = scratch
        .put("conditions/there", &Object::text("there"))
        .await?;
    let other = "\"00000000000000000000000000000000\"";
    let tries = [
        (
            "If-None-Match: * with an object at the destination",
            "conditions/there",
            None,
            Some("*"),
            false,
        ),
        (
            "If-None-Match: * without an object at the destination",
            "conditions/new",
            None,
            Some("*"),
            true,
        ),
        (
            "If-Match with another ETag",
            "conditions/there",
            Some(other),
            None,
            false,
        ),
        (
            "If-Match with its ETag",
            "conditions/there",
            Some(there.as_str()),
            None,
            true,
        ),
    ];
    let (mut seen, mut wrong) = (Vec::new(), Vec::new());
    for (what, key, if_match, if_none_match, holds) in tries {
        let request = scratch.client.copy_object().bucket(&scratch.name).key(key);
        let request = request.copy_source(scratch.copy_source("conditions/from"));
        let request = request.set_if_match(if_match.map(str::to_owned));
        let sent = request
            .set_if_none_match(if_none_match.map(str::to_owned))
            .send()
            .await;
        let (is_written, said) = match &sent {
            Ok(_) => (true, "written".to_owned()),
            Err(error) => {
                let status = error
                    .raw_response()
                    .map_or(0, |answer| answer.status().as_u16());
                (
                    false,
                    format!("{status} {}", error.code().unwrap_or("without a code")),
                )
            }
        };
        let is_right = is_written == holds && (holds || said.starts_with("412 "));
        if !is_right {
            wrong.push(format!("{what}: {said}"));
        }
        seen.push(format!("{what}: {said}"));
    }
    if stage.account.is_local() && !wrong.is_empty() {
        return Ok(Outcome::Skipped(format!(
            "the local cloud ignores conditions on a COPY's destination: {}",
            wrong.join("; ")
        )));
    }
    expect(wrong.is_empty(), || wrong.join("; "))?;
    Ok(Outcome::Passed(seen))
}

/// Reads each function's setting for recursive loops.
pub async fn recursion(stage: &Stage) -> Result<Outcome, Error> {
    let lambda = stage.account.lambda(&stage.regions.source);
    let mut found = BTreeMap::new();
    for function in FUNCTIONS {
        let name = format!("{}-{function}", stage.names.stack());
        let answer = lambda
            .get_function_recursion_config()
            .function_name(&name)
            .send()
            .await;
        let answer = answer.map_err(|error| {
            Error::aws(format!("reading the recursion config of {name}"), &error)
        })?;
        let setting = answer
            .recursive_loop
            .map_or_else(|| "none".to_owned(), |setting| setting.as_str().to_owned());
        found.insert(function, setting);
    }
    let seen: Vec<String> = found
        .iter()
        .map(|(function, setting)| format!("{function}: {setting}"))
        .collect();
    if stage.account.is_local() && found.values().all(|setting| setting != "Allow") {
        let why = "the local cloud's CloudFormation does not apply RecursiveLoop";
        return Ok(Outcome::Skipped(format!("{why}: {}", seen.join(", "))));
    }
    for (function, setting) in &found {
        let wanted = if LOOPING.contains(function) {
            "Allow"
        } else {
            "Terminate"
        };
        expect(setting == wanted, || {
            format!("{function} has RecursiveLoop {setting}, not {wanted}")
        })?;
    }
    Ok(Outcome::Passed(seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative_to_the_start_and_to_the_first_visibility() {
        let times = WriteTimes {
            began: 100,
            last_modified: 103,
            visible: 220,
        };
        assert_eq!(
            times.shown("a PUT"),
            "a PUT was visible 120 s after its request began; its Last-Modified is 3 s after the request began and \
             117 s before it was visible"
        );
    }

    #[tokio::test]
    async fn a_slow_body_has_all_its_bytes() {
        for bytes in [0, 1, 64, 1_000] {
            let frames: Vec<_> = slow_body(bytes, Duration::from_millis(64)).collect().await;
            let sent: usize = frames
                .into_iter()
                .map(|frame| frame.unwrap().into_data().unwrap().len())
                .sum();
            assert_eq!(sent as u64, bytes);
        }
    }
}
