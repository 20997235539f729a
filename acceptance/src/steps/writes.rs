//! Puts, deletes, tags, metadata, awkward keys, versions and KMS. I/O.

use std::collections::BTreeMap;

use aws_sdk_s3::types::{ServerSideEncryption, Tag, Tagging};
use futures::{StreamExt, TryStreamExt, stream};
use tandem_demo::awkward;
use tandem_demo::cloud::Bucket;
use tandem_demo::console;
use tandem_demo::error::Error;
use tandem_demo::object::Object;

use super::{Outcome, expect};
use crate::stage::{Kind, Replicated, Stage};

/// Requests in flight at once.
const AT_ONCE: usize = 16;

/// Tests puts, overwrites and deletes without versions.
pub async fn unversioned(stage: &Stage) -> Result<Outcome, Error> {
    change(stage, stage.plain().await?)
        .await
        .map(Outcome::Passed)
}

/// Tests puts, overwrites and deletes with versions.
pub async fn versioned(stage: &Stage) -> Result<Outcome, Error> {
    let replicated = stage.replicated("versioned", Kind::Versioned).await?;
    let mut seen = change(stage, &replicated).await?;
    let replica = &replicated.pair.replica;
    let listed = replica
        .client
        .list_object_versions()
        .bucket(&replica.name)
        .prefix("gone/")
        .send()
        .await
        .map_err(|error| Error::aws(format!("listing the versions of {}", replica.name), &error))?;
    let markers = listed.delete_markers().len();
    expect(markers > 0 && !listed.versions().is_empty(), || {
        format!(
            "{} has no delete markers above the versions that were deleted",
            replica.name
        )
    })?;
    seen.push(format!(
        "{} are above {}",
        console::counted(markers, "delete marker"),
        console::counted(listed.versions().len(), "version")
    ));
    Ok(Outcome::Passed(seen))
}

/// Puts objects, overwrites a third, and deletes a third.
async fn change(stage: &Stage, replicated: &Replicated) -> Result<Vec<String>, Error> {
    let source = &replicated.pair.source;
    let third = stage.scale.objects.div_ceil(3);
    let keys = |folder: &str| -> Vec<String> {
        (0..third)
            .map(|number| format!("{folder}/{number:04}"))
            .collect()
    };
    let (kept, rewritten, gone) = (keys("kept"), keys("rewritten"), keys("gone"));
    for keys in [&kept, &rewritten, &gone] {
        put_all(source, keys, "first").await?;
    }
    let (first, _) = stage.settle(replicated).await?;
    put_all(source, &rewritten, "second, and longer").await?;
    stream::iter(&gone)
        .map(|key| source.delete(key))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    let (second, objects) = stage.settle(replicated).await?;
    let rewritten_body = body(&rewritten[0], "second, and longer");
    let read = replicated.pair.replica.get(&rewritten[0]).await?;
    expect(
        read.as_ref()
            .is_some_and(|read| read.body == rewritten_body),
        || {
            format!(
                "the replica of {} does not have the bytes of its second writing",
                rewritten[0]
            )
        },
    )?;
    Ok(vec![
        format!(
            "{} puts arrived after {}",
            3 * u32::from(third),
            console::duration(first)
        ),
        format!(
            "{third} overwrites and {third} deletes arrived after {}; both sides have {objects} equal objects",
            console::duration(second)
        ),
    ])
}

fn body(key: &str, mark: &str) -> Vec<u8> {
    format!("{mark}: {key}").into_bytes()
}

async fn put_all(bucket: &Bucket, keys: &[String], mark: &str) -> Result<(), Error> {
    stream::iter(keys)
        .map(|key| async move { bucket.put(key, &Object::text(body(key, mark))).await })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<String>>()
        .await?;
    Ok(())
}

/// Tests a change of nothing but tags.
pub async fn tags(stage: &Stage) -> Result<Outcome, Error> {
    const KEY: &str = "tagged";
    if stage.account.is_local() {
        return Ok(Outcome::Skipped(
            "the local cloud sends no notification of a change of tags".to_owned(),
        ));
    }
    let replicated = stage.plain().await?;
    let (source, replica) = (&replicated.pair.source, &replicated.pair.replica);
    source.put(KEY, &Object::text("tagged")).await?;
    stage.settle(replicated).await?;
    let before = replica.head(KEY).await?;
    let wanted: BTreeMap<String, String> = [("colour", "red"), ("a+b=c", "d/e @:_")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    set_tags(source, KEY, &wanted).await?;
    let ((), took) = stage
        .until("the tags arrive", stage.scale.patience, async || {
            let tags = replica.get(KEY).await?.map(|object| object.tags);
            Ok(if tags.as_ref() == Some(&wanted) {
                Ok(())
            } else {
                Err(format!("{tags:?}"))
            })
        })
        .await?;
    let after = replica.head(KEY).await?;
    let identity = |head: &Option<aws_sdk_s3::operation::head_object::HeadObjectOutput>| {
        head.as_ref()
            .map(|head| (head.e_tag.clone(), head.last_modified))
    };
    expect(identity(&before) == identity(&after), || {
        "the replica was copied again, although only tags had changed".to_owned()
    })?;
    Ok(Outcome::Passed(vec![format!(
        "the tags were set after {}, without a copy",
        console::duration(took)
    )]))
}

async fn set_tags(
    bucket: &Bucket,
    key: &str,
    tags: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let unexpected = |error| Error::Unexpected(format!("tagging {key}: {error}"));
    let mut pairs = Vec::new();
    for (name, value) in tags {
        pairs.push(
            Tag::builder()
                .key(name)
                .value(value)
                .build()
                .map_err(unexpected)?,
        );
    }
    let tagging = Tagging::builder()
        .set_tag_set(Some(pairs))
        .build()
        .map_err(unexpected)?;
    let request = bucket
        .client
        .put_object_tagging()
        .bucket(&bucket.name)
        .key(key);
    let sent = request.tagging(tagging).send().await;
    sent.map_err(|error| bucket.error("tagging", key, &error))?;
    Ok(())
}

/// Tests everything that an object has besides its bytes, and a change of that.
pub async fn metadata(stage: &Stage) -> Result<Outcome, Error> {
    const KEY: &str = "dressed";
    let replicated = stage.plain().await?;
    let (source, replica) = (&replicated.pair.source, &replicated.pair.replica);
    source
        .put(KEY, &Object::text("dressed").dressed("its writer"))
        .await?;
    same(stage, source, replica, KEY).await?;
    source
        .replace_metadata(KEY, &Object::text("dressed").dressed("another writer"))
        .await?;
    let took = same(stage, source, replica, KEY).await?;
    Ok(Outcome::Passed(vec![format!(
        "five headers, two user metadata and two tags arrived, and a change of them after {}",
        console::duration(took)
    )]))
}

/// Waits until an object has arrived with its headers, metadata and tags.
async fn same(
    stage: &Stage,
    source: &Bucket,
    replica: &Bucket,
    key: &str,
) -> Result<std::time::Duration, Error> {
    let wanted = source.get(key).await?;
    let what = format!("{key} arrives with its headers, metadata and tags");
    let ((), took) = stage
        .until(&what, stage.scale.patience, async || {
            let found = replica.get(key).await?;
            Ok(if found == wanted {
                Ok(())
            } else {
                Err(format!("{found:?}, not {wanted:?}"))
            })
        })
        .await?;
    Ok(took)
}

/// Tests keys that tools often handle wrongly.
pub async fn awkward_keys(stage: &Stage) -> Result<Outcome, Error> {
    let replicated = stage.plain().await?;
    let source = &replicated.pair.source;
    let (mut kept, mut gone) = (awkward::keys("kept"), awkward::keys("gone"));
    kept.push("awkward/kept/year=2026/month=11/=.parquet".to_owned());
    gone.push("awkward/gone/year=2026/month=11/=.parquet".to_owned());
    put_all(source, &kept, "awkward").await?;
    put_all(source, &gone, "awkward").await?;
    let (arrived, _) = stage.settle(replicated).await?;
    for key in &gone {
        source.delete(key).await?;
    }
    let (went, _) = stage.settle(replicated).await?;
    for key in kept.iter().take(2) {
        let read = replicated.pair.replica.get(key).await?;
        expect(
            read.is_some_and(|read| read.body == body(key, "awkward")),
            || format!("the replica of {key:?} does not have its bytes"),
        )?;
    }
    Ok(Outcome::Passed(vec![format!(
        "{} awkward keys arrived after {}, and the deletes of {} after {}",
        kept.len() + gone.len(),
        console::duration(arrived),
        gone.len(),
        console::duration(went)
    )]))
}

/// Tests two buckets encrypted by KMS.
pub async fn kms(stage: &Stage) -> Result<Outcome, Error> {
    let replicated = stage.replicated("kms", Kind::Kms).await?;
    let source = &replicated.pair.source;
    let keys: Vec<String> = (0..10).map(|number| format!("secret/{number}")).collect();
    put_all(source, &keys, "secret").await?;
    let (first, _) = stage.settle(&replicated).await?;
    put_all(source, &keys, "secret again").await?;
    source.delete(&keys[9]).await?;
    let (second, objects) = stage.settle(&replicated).await?;
    let head = replicated.pair.replica.head(&keys[0]).await?;
    let encryption = head.and_then(|head| head.server_side_encryption);
    expect(encryption == Some(ServerSideEncryption::AwsKms), || {
        format!(
            "the replica of {} is encrypted by {encryption:?}, not by KMS",
            keys[0]
        )
    })?;
    let read = replicated.pair.replica.get(&keys[0]).await?;
    expect(
        read.is_some_and(|read| read.body == body(&keys[0], "secret again")),
        || {
            format!(
                "the replica of {} does not have the bytes of its second writing",
                keys[0]
            )
        },
    )?;
    Ok(Outcome::Passed(vec![format!(
        "{} puts arrived after {}; overwrites and a delete after {}; {objects} equal objects under aws:kms",
        keys.len(),
        console::duration(first),
        console::duration(second)
    )]))
}
