//! Makes objects of gigabytes without uploading them: server-side copies double a small object. I/O.

use std::time::Instant;

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::CompletedPart;
use futures::future::try_join_all;
use tandem_demo::cloud::Bucket;
use tandem_demo::console;
use tandem_demo::error::Error;
use tandem_demo::object::Object;

use super::{Outcome, expect};
use crate::stage::{Kind, Stage};

/// Bytes that are read at each offset where both sides are compared.
const SAMPLE_BYTES: u64 = 64 * 1024;

/// Makes the object of half the large one's size in the scratch bucket, unless it exists.
async fn part(stage: &Stage) -> Result<(Bucket, String), Error> {
    let scratch = super::facts::scratch(stage).await?;
    let ladder = stage.scale.ladder();
    let top = step_key(stage.scale.part_bytes());
    if scratch.head(&top).await?.is_some() {
        return Ok((scratch, top));
    }
    scratch
        .put(&step_key(ladder[0]), &Object::text(seed(ladder[0])))
        .await?;
    for two in ladder.windows(2) {
        let (last, next) = (step_key(two[0]), step_key(two[1]));
        join(&scratch, &last, 2, &scratch, &next).await?;
    }
    Ok((scratch, top))
}

fn step_key(bytes: u64) -> String {
    format!("large/{bytes}")
}

/// Returns pseudorandom bytes.
fn seed(bytes: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut seed = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default() + 8);
    while (seed.len() as u64) < bytes {
        // xorshift64: Marsaglia, "Xorshift RNGs", 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        seed.extend_from_slice(&state.to_le_bytes());
    }
    seed.truncate(usize::try_from(bytes).unwrap_or_default());
    seed
}

/// Makes an object of `times` parts, each of them a copy of another object.
async fn join(
    from: &Bucket,
    key: &str,
    times: i32,
    to: &Bucket,
    new_key: &str,
) -> Result<(), Error> {
    let begun = to
        .client
        .create_multipart_upload()
        .bucket(&to.name)
        .key(new_key)
        .send()
        .await;
    let begun = begun.map_err(|error| to.error("beginning the upload of", new_key, &error))?;
    let upload = begun.upload_id.unwrap_or_default();
    let copies = (1..=times).map(|number| {
        let request = to.client.upload_part_copy().bucket(&to.name).key(new_key);
        let request = request.upload_id(&upload).part_number(number);
        let request = request.copy_source(from.copy_source(key));
        async move {
            let copied = request.send().await;
            let copied = copied.map_err(|error| to.error("copying a part of", new_key, &error))?;
            let result = copied.copy_part_result;
            let part = CompletedPart::builder().part_number(number);
            let part = part.set_e_tag(result.as_ref().and_then(|result| result.e_tag.clone()));
            Ok(part.build())
        }
    });
    let parts = try_join_all(copies).await?;
    to.complete(new_key, &upload, parts).await
}

/// Replicates an object in parts of gigabytes.
pub async fn large_object(stage: &Stage) -> Result<Outcome, Error> {
    const KEY: &str = "large object";
    let began = Instant::now();
    let (scratch, half) = part(stage).await?;
    let replicated = stage.replicated("large", Kind::Plain).await?;
    let (source, replica) = (&replicated.pair.source, &replicated.pair.replica);
    join(&scratch, &half, 2, source, KEY).await?;
    let built = began.elapsed();
    let (took, _) = stage.settle(&replicated).await?;
    let (left, right) = (source.head(KEY).await?, replica.head(KEY).await?);
    let (Some(left), Some(right)) = (left, right) else {
        return Err(Error::Unexpected(
            "the large object is on one side only".to_owned(),
        ));
    };
    let bytes = i64::try_from(stage.scale.large_bytes()).unwrap_or(i64::MAX);
    for head in [&left, &right] {
        let found = head.content_length;
        expect(found == Some(bytes), || {
            format!("the large object has {found:?} bytes, not {bytes}")
        })?;
    }
    let layout = (parts_of(&left), parts_of(&right));
    expect(layout.0 == 2 && layout.1 == 2, || {
        format!(
            "the large object has {} parts and its replica {}, not 2 and 2",
            layout.0, layout.1
        )
    })?;
    let part = stage.scale.part_bytes();
    let sample = SAMPLE_BYTES.min(part);
    for from in [0, part / 2, part - sample, part, 2 * part - sample] {
        let (left, right) = (
            slice(source, KEY, from, sample).await?,
            slice(replica, KEY, from, sample).await?,
        );
        expect(left == right, || {
            format!("both sides differ in the {sample} bytes from {from}")
        })?;
    }
    let rate = stage.scale.large_bytes() as f64 / took.as_secs_f64() / f64::from(1 << 20);
    Ok(Outcome::Passed(vec![
        format!(
            "an object of {} in two parts was built by copies in {}",
            console::bytes(stage.scale.large_bytes()),
            console::duration(built)
        ),
        format!(
            "it was replicated in {}: {rate:.0} MiB/s",
            console::duration(took)
        ),
    ]))
}

/// Returns the number of parts that an `ETag` names.
fn parts_of(head: &HeadObjectOutput) -> u32 {
    let tag = head.e_tag().unwrap_or_default().trim_matches('"');
    tag.rsplit_once('-')
        .and_then(|(_, parts)| parts.parse().ok())
        .unwrap_or(0)
}

async fn slice(bucket: &Bucket, key: &str, from: u64, bytes: u64) -> Result<Vec<u8>, Error> {
    let request = bucket.client.get_object().bucket(&bucket.name).key(key);
    let request = request.range(format!("bytes={from}-{}", from + bytes - 1));
    let answer = request
        .send()
        .await
        .map_err(|error| bucket.error("reading", key, &error))?;
    let body = answer
        .body
        .collect()
        .await
        .map_err(|error| bucket.broken(key, &error))?;
    Ok(body.to_vec())
}

/// Measures the times of a large COPY.
pub async fn large_copy(stage: &Stage) -> Result<Outcome, Error> {
    const WHOLE: &str = "large/one and a half";
    const COPY: &str = "large/copied at once";
    let (scratch, _) = part(stage).await?;
    let half = step_key(stage.scale.part_bytes() / 2);
    join(&scratch, &half, 3, &scratch, WHOLE).await?;
    let request = scratch.client.copy_object().bucket(&scratch.name).key(COPY);
    let request = request.copy_source(scratch.copy_source(WHOLE));
    let writing = async {
        let copied = request.send().await;
        copied
            .map(|_| ())
            .map_err(|error| scratch.error("copying to", COPY, &error))
    };
    let times = super::facts::times_of(stage, &scratch, COPY, writing).await?;
    let what = format!("a COPY of {}", console::bytes(stage.scale.copied_bytes()));
    Ok(Outcome::Passed(vec![times.shown(&what)]))
}
