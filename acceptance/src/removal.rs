//! Finds what runs have made, and removes it. I/O: CloudFormation, S3, logs, EventBridge, and the `tandem` command.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_cloudformation::types::StackStatus;
use aws_sdk_s3::types::EncodingType;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt, stream};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tandem_demo::console;
use tandem_demo::error::Error;
use tandem_demo::tandem_command::Tandem;

use crate::account::Account;
use crate::args::Regions;
use crate::leftovers::{Place, Thing, stages};
use crate::names::{PREFIX, TAG};

/// How long a stack may take to be deleted.
const STACK_PATIENCE: Duration = Duration::from_mins(20);
/// How long requests that were in flight may still write to a bucket.
const BUCKET_PATIENCE: Duration = Duration::from_mins(3);
/// Requests in flight at once.
const AT_ONCE: usize = 16;
/// The time between two checks.
const PAUSE: Duration = Duration::from_secs(1);

/// The things that still exist. Shared, because a signal prints them while the removal goes on.
#[derive(Debug, Default)]
pub struct Left(Mutex<Vec<Thing>>);

impl Left {
    /// Returns all of them.
    pub fn now(&self) -> Vec<Thing> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, things: Vec<Thing>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = things;
    }

    fn remove(&self, thing: &Thing) {
        let mut things = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        things.retain(|other| other != thing);
    }
}

/// Removes things of an account.
#[derive(Debug)]
pub struct Removal<'a> {
    /// The account.
    pub account: &'a Account,
    /// The regions in which runs make things.
    pub regions: &'a Regions,
    /// The things that still exist.
    pub left: &'a Left,
}

impl Removal<'_> {
    /// Finds everything that runs have made: all runs, or this one.
    pub async fn find(&self, run: Option<&str>) -> Result<Vec<Thing>, Error> {
        let mut found = self.buckets().await?;
        // The stacks of a run between other regions are in the regions of its buckets.
        let mut regions: BTreeSet<String> = found
            .iter()
            .map(|thing| thing.place().region.clone())
            .collect();
        regions.extend([
            self.regions.source.clone(),
            self.regions.destination.clone(),
        ]);
        for region in &regions {
            found.extend(self.stacks(region).await?);
            found.extend(self.log_groups(region).await?);
            found.extend(self.event_rules(region).await?);
        }
        Ok(stages(found, run).into_iter().flatten().collect())
    }

    /// Removes these things. Returns those that it could not remove, with the reasons. It goes on if one thing fails.
    pub async fn remove(&self, things: Vec<Thing>, run: Option<&str>) -> Vec<(Thing, String)> {
        self.left.set(things.clone());
        let mut failed = Vec::new();
        for stage in stages(things, run) {
            let ends = join_all(stage.iter().map(|thing| self.remove_one(thing))).await;
            for (thing, end) in stage.into_iter().zip(ends) {
                match end {
                    Ok(()) => {
                        console::say(format!("removed {}", thing.shown()));
                        self.left.remove(&thing);
                    }
                    Err(error) => {
                        console::say(format!("✗ {} is still there: {error}", thing.shown()));
                        failed.push((thing, error.to_string()));
                    }
                }
            }
        }
        failed
    }

    async fn remove_one(&self, thing: &Thing) -> Result<(), Error> {
        let place = thing.place();
        match thing {
            Thing::CodeStack(_) => self.delete_stack(place).await,
            Thing::Stack(_) => {
                // If the stack's functions still work, they first delete its rules, which have attached notifications.
                if let Err(error) = self.delete_rules(place).await {
                    console::say(format!(
                        "the rules of {} could not be deleted one by one: {error}",
                        place.name
                    ));
                }
                self.delete_stack(place).await
            }
            Thing::EventRule(_) => self.delete_event_rule(place).await,
            Thing::Bucket(_) => self.delete_bucket(place).await,
            Thing::LogGroup(_) => self.delete_log_group(place).await,
        }
    }

    async fn stacks(&self, region: &str) -> Result<Vec<Thing>, Error> {
        let mut pages = self
            .account
            .cloudformation(region)
            .list_stacks()
            .into_paginator()
            .items()
            .send();
        let mut found = Vec::new();
        while let Some(stack) = pages.next().await {
            let stack = stack
                .map_err(|error| Error::aws(format!("listing the stacks of {region}"), &error))?;
            let name = stack.stack_name.unwrap_or_default();
            if name.starts_with(PREFIX) && stack.stack_status != Some(StackStatus::DeleteComplete) {
                let region = region.to_owned();
                found.push(Thing::stack(Place { region, name }));
            }
        }
        Ok(found)
    }

    /// Returns the buckets of runs, including those in other regions than this run's.
    async fn buckets(&self) -> Result<Vec<Thing>, Error> {
        let client = self.account.s3(&self.regions.source);
        let mut pages = client
            .list_buckets()
            .prefix(PREFIX)
            .into_paginator()
            .items()
            .send();
        let mut found = Vec::new();
        while let Some(bucket) = pages.next().await {
            let bucket =
                bucket.map_err(|error| Error::aws("listing the account's buckets", &error))?;
            let Some(name) = bucket.name.filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            // S3 returns the region if the request has a parameter ("ListBuckets"); an emulator may not.
            let region = match bucket.bucket_region {
                Some(region) => region,
                None => bucket_region(&client, &name).await?,
            };
            found.push(Thing::Bucket(Place { region, name }));
        }
        Ok(found)
    }

    async fn log_groups(&self, region: &str) -> Result<Vec<Thing>, Error> {
        let client = aws_sdk_cloudwatchlogs::Client::new(&self.account.in_region(region));
        let mut pages = client
            .describe_log_groups()
            .log_group_name_prefix(format!("/aws/lambda/{PREFIX}"))
            .into_paginator()
            .items()
            .send();
        let mut found = Vec::new();
        while let Some(group) = pages.next().await {
            let group = group.map_err(|error| {
                Error::aws(format!("listing the log groups of {region}"), &error)
            })?;
            let region = region.to_owned();
            found.extend(
                group
                    .log_group_name
                    .map(|name| Thing::LogGroup(Place { region, name })),
            );
        }
        Ok(found)
    }

    async fn event_rules(&self, region: &str) -> Result<Vec<Thing>, Error> {
        let client = aws_sdk_eventbridge::Client::new(&self.account.in_region(region));
        let listed = client
            .list_rules()
            .name_prefix(PREFIX)
            .send()
            .await
            .map_err(|error| {
                Error::aws(format!("listing the EventBridge rules of {region}"), &error)
            })?;
        let rules = listed.rules.unwrap_or_default().into_iter();
        Ok(rules
            .filter_map(|rule| rule.name)
            .map(|name| {
                Thing::EventRule(Place {
                    region: region.to_owned(),
                    name,
                })
            })
            .collect())
    }

    async fn delete_rules(&self, stack: &Place) -> Result<(), Error> {
        let tandem =
            Tandem::beside_this_program(self.account.target.clone(), &stack.region, &stack.name)?;
        let listed: Value = tandem.ask(&["rule", "list"]).await?;
        for rule in listed["rules"].as_array().into_iter().flatten() {
            let id = rule["id"].as_str().unwrap_or_default();
            let _: Value = tandem.ask(&["rule", "delete", id, "--yes"]).await?;
        }
        Ok(())
    }

    async fn delete_stack(&self, place: &Place) -> Result<(), Error> {
        let client = self.account.cloudformation(&place.region);
        let doing = format!("deleting the stack {}", place.name);
        client
            .delete_stack()
            .stack_name(&place.name)
            .send()
            .await
            .map_err(|error| Error::aws(&doing, &error))?;
        let started = Instant::now();
        loop {
            let status = self.account.stack_status(&place.region, &place.name);
            match status.await? {
                None | Some(StackStatus::DeleteComplete) => return Ok(()),
                Some(status @ StackStatus::DeleteFailed) => {
                    return Err(Error::Unexpected(format!("{doing}: it is {status}")));
                }
                Some(status) if started.elapsed() > STACK_PATIENCE => {
                    let waited = console::duration(started.elapsed());
                    return Err(Error::Unexpected(format!(
                        "{doing}: it is {status} after {waited}"
                    )));
                }
                Some(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn delete_event_rule(&self, place: &Place) -> Result<(), Error> {
        let client = aws_sdk_eventbridge::Client::new(&self.account.in_region(&place.region));
        let doing = format!("deleting the EventBridge rule {}", place.name);
        let listed = match client.list_targets_by_rule().rule(&place.name).send().await {
            Ok(listed) => listed,
            // The stack that it belonged to has taken it along.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(aws_sdk_eventbridge::operation::list_targets_by_rule::ListTargetsByRuleError::is_resource_not_found_exception) =>
            {
                return Ok(());
            }
            Err(error) => return Err(Error::aws(&doing, &error)),
        };
        let ids: Vec<String> = listed
            .targets
            .unwrap_or_default()
            .into_iter()
            .map(|target| target.id)
            .collect();
        if !ids.is_empty() {
            let request = client.remove_targets().rule(&place.name).set_ids(Some(ids));
            request
                .send()
                .await
                .map_err(|error| Error::aws(&doing, &error))?;
        }
        let request = client.delete_rule().name(&place.name);
        request
            .send()
            .await
            .map_err(|error| Error::aws(&doing, &error))?;
        Ok(())
    }

    async fn delete_log_group(&self, place: &Place) -> Result<(), Error> {
        let client = aws_sdk_cloudwatchlogs::Client::new(&self.account.in_region(&place.region));
        match client
            .delete_log_group()
            .log_group_name(&place.name)
            .send()
            .await
        {
            Ok(_) => Ok(()),
            // The stack that it belonged to has taken it along.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(aws_sdk_cloudwatchlogs::operation::delete_log_group::DeleteLogGroupError::is_resource_not_found_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(Error::aws(
                format!("deleting the log group {}", place.name),
                &error,
            )),
        }
    }

    async fn delete_bucket(&self, place: &Place) -> Result<(), Error> {
        let client = self.account.s3(&place.region);
        self.refuse_a_strangers_bucket(&client, &place.name).await?;
        let started = Instant::now();
        loop {
            abort_uploads(&client, &place.name).await?;
            empty(&client, &place.name).await?;
            match client.delete_bucket().bucket(&place.name).send().await {
                Ok(_) => return Ok(()),
                Err(error) => {
                    let error = Error::aws(format!("deleting the bucket {}", place.name), &error);
                    let is_written_to = error.to_string().contains("BucketNotEmpty");
                    if !is_written_to || started.elapsed() > BUCKET_PATIENCE {
                        return Err(error);
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Refuses a bucket that has objects but not a run's tag.
    async fn refuse_a_strangers_bucket(
        &self,
        client: &aws_sdk_s3::Client,
        name: &str,
    ) -> Result<(), Error> {
        let tags = client.get_bucket_tagging().bucket(name).send().await;
        let is_tagged = tags.is_ok_and(|tags| tags.tag_set.iter().any(|tag| tag.key == TAG));
        if is_tagged {
            return Ok(());
        }
        let listed = client
            .list_object_versions()
            .bucket(name)
            .max_keys(1)
            .send()
            .await
            .map_err(|error| Error::aws(format!("listing {name}"), &error))?;
        if listed.versions().is_empty() && listed.delete_markers().is_empty() {
            return Ok(());
        }
        Err(Error::Unexpected(format!(
            "it has objects but not the tag {TAG}, so it may not be a run's; remove it by hand if it is"
        )))
    }
}

async fn bucket_region(client: &aws_sdk_s3::Client, bucket: &str) -> Result<String, Error> {
    let located = client
        .get_bucket_location()
        .bucket(bucket)
        .send()
        .await
        .map_err(|error| Error::aws(format!("reading the region of {bucket}"), &error))?;
    let place = located.location_constraint;
    Ok(match place.as_ref().map_or("", |place| place.as_str()) {
        // S3 returns no name for this region.
        "" => "us-east-1".to_owned(),
        region => region.to_owned(),
    })
}

async fn abort_uploads(client: &aws_sdk_s3::Client, bucket: &str) -> Result<(), Error> {
    let listed = client
        .list_multipart_uploads()
        .bucket(bucket)
        .send()
        .await
        .map_err(|error| Error::aws(format!("listing the uploads of {bucket}"), &error))?;
    for upload in listed.uploads.unwrap_or_default() {
        let request = client.abort_multipart_upload().bucket(bucket);
        let request = request.set_key(upload.key).set_upload_id(upload.upload_id);
        // An upload that has ended meanwhile needs no abort. One that still exists makes deleting the bucket fail.
        let _ = request.send().await;
    }
    Ok(())
}

/// The most pages to delete from a bucket, so that a run ends even if the same page is listed again and again.
const PAGES_MAX: usize = 100;

async fn empty(client: &aws_sdk_s3::Client, bucket: &str) -> Result<(), Error> {
    empty_of_objects(client, bucket).await?;
    let doing = format!("emptying {bucket}");
    for _ in 0..PAGES_MAX {
        let page = client
            .list_object_versions()
            .bucket(bucket)
            .encoding_type(EncodingType::Url)
            .send()
            .await
            .map_err(|error| Error::aws(&doing, &error))?;
        let versions = page.versions().iter().map(|it| (it.key(), it.version_id()));
        let markers = page
            .delete_markers()
            .iter()
            .map(|it| (it.key(), it.version_id()));
        let objects: Vec<(String, Option<String>)> = versions
            .chain(markers)
            .map(|(key, version)| {
                let key = listed_key(key, page.encoding_type());
                (key, version.map(str::to_owned))
            })
            .collect();
        if objects.is_empty() {
            return Ok(());
        }
        delete(client, bucket, objects).await?;
    }
    Err(Error::Unexpected(format!(
        "{doing}: {PAGES_MAX} pages were deleted, but it is still not empty"
    )))
}

/// Deletes the objects of a plain listing. An emulator may not list the versions of a key that XML cannot contain.
async fn empty_of_objects(client: &aws_sdk_s3::Client, bucket: &str) -> Result<(), Error> {
    for _ in 0..PAGES_MAX {
        let page = client
            .list_objects_v2()
            .bucket(bucket)
            .encoding_type(EncodingType::Url)
            .send()
            .await
            .map_err(|error| Error::aws(format!("emptying {bucket}"), &error))?;
        let objects = page.contents().iter();
        let objects: Vec<(String, Option<String>)> = objects
            .map(|it| (listed_key(it.key(), page.encoding_type()), None))
            .collect();
        if objects.is_empty() {
            return Ok(());
        }
        delete(client, bucket, objects).await?;
    }
    Ok(())
}

/// Deletes objects one by one, because their keys may have characters that XML cannot contain.
async fn delete(
    client: &aws_sdk_s3::Client,
    bucket: &str,
    objects: Vec<(String, Option<String>)>,
) -> Result<(), Error> {
    let deletes = objects.into_iter().map(|(key, version)| {
        let request = client.delete_object().bucket(bucket).key(key);
        request.set_version_id(version).send()
    });
    stream::iter(deletes)
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await
        .map_err(|error| Error::aws(format!("emptying {bucket}"), &error))?;
    Ok(())
}

/// Decodes a key of a listing. S3 encodes it as in a form, and returns the encoding ("`ListObjectVersions`",
/// `encoding-type`). A server that returns none has not encoded it.
fn listed_key(key: Option<&str>, encoding: Option<&EncodingType>) -> String {
    let key = key.unwrap_or_default();
    if encoding != Some(&EncodingType::Url) {
        return key.to_owned();
    }
    let spaced = key.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded_as_s3_encodes_them() {
        let url = Some(&EncodingType::Url);
        assert_eq!(listed_key(Some("a+b%2Bc/%07%C3%A9"), url), "a b+c/\u{7}é");
        assert_eq!(listed_key(Some("a+b%20"), None), "a+b%20");
    }
}
