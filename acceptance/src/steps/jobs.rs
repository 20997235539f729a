//! A job that is handed on many times, a paused rule, failures and their retry, verify and repair. I/O.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tandem_demo::cloud::Bucket;
use tandem_demo::console;
use tandem_demo::error::Error;
use tandem_demo::object::Object;
use tandem_demo::tandem_command::{Backlog, Comparison, JobAnswer, Status};

use super::{Outcome, expect};
use crate::stage::{Kind, Replicated, Stage, list};

/// The time between two requests for the state of a job that takes minutes.
const JOB_PAUSE: Duration = Duration::from_secs(2);

/// The job that is handed on, once it has started.
#[derive(Debug)]
pub struct HandOns {
    replicated: Replicated,
    job: String,
}

/// Starts the job. Its objects are put into the source before the rule is created.
pub async fn begin_hand_ons(stage: &Stage) -> Result<HandOns, Error> {
    let pair = stage.make_pair("job", Kind::Plain).await?;
    for number in 0..stage.scale.hand_on_objects() {
        pair.source
            .put(
                &format!("old/{number:04}"),
                &Object::text(format!("old {number}")),
            )
            .await?;
    }
    let replicated = stage.with_rule(pair).await?;
    let rate = stage.scale.objects_per_sec.to_string();
    let words = [
        "backfill",
        "start",
        &replicated.rule,
        "--objects-per-sec",
        &rate,
        "--concurrency",
        "1",
    ];
    let started: JobAnswer = stage.tandem.ask(&words).await?;
    Ok(HandOns {
        replicated,
        job: started.job.id,
    })
}

/// Waits for the job, and counts its hand-ons.
pub async fn hand_ons(stage: &Stage, begun: Option<&HandOns>) -> Result<Outcome, Error> {
    let Some(HandOns { replicated, job }) = begun else {
        return Err(Error::Unexpected(
            "the job could not be started; see above".to_owned(),
        ));
    };
    let words = ["backfill", "status", &replicated.rule, "--job", job];
    let limit = stage.scale.hand_ons_take() * 2 + stage.scale.patience;
    let (done, _) = stage
        .until("the backfill completes", limit, async || {
            let answer: JobAnswer = stage.tandem.ask(&words).await?;
            if answer.job.state == "running" || answer.job.state == "planning" {
                tokio::time::sleep(JOB_PAUSE).await;
                return Ok(Err(format!("{:?}", answer.job)));
            }
            Ok(Ok(answer.job))
        })
        .await?;
    let objects = stage.scale.hand_on_objects();
    expect(
        done.state == "complete" && done.copied == objects && done.failed == 0,
        || format!("the job should have copied {objects} objects, but is {done:?}"),
    )?;
    let status: Status = stage.tandem.ask(&["status", &replicated.rule]).await?;
    let dead = status.live.backlog.dead_letter;
    expect(dead == 0, || {
        format!("{dead} messages are in the dead-letter queues")
    })?;
    let epochs = epochs(stage, job).await?;
    let longest = epochs.iter().copied().max().unwrap_or(0);
    // The first message of a shard has epoch 1, and each hand-on raises it.
    let handed_on = longest.saturating_sub(1);
    expect(handed_on >= stage.scale.hand_ons_min, || {
        format!(
            "the longest chain has {handed_on} hand-ons, fewer than {}; the shards' epochs are {epochs:?}",
            stage.scale.hand_ons_min
        )
    })?;
    Ok(Outcome::Passed(vec![format!(
        "{objects} objects in {}; one shard was handed on {handed_on} times, each time by the previous worker",
        console::counted(epochs.len(), "shard")
    )]))
}

/// Reads the epochs of a job's shards from the table.
async fn epochs(stage: &Stage, job: &str) -> Result<Vec<u64>, Error> {
    let region = &stage.regions.source;
    let stack = stage.names.stack();
    let table = stage
        .account
        .stack_output(region, &stack, "RuleTableName")
        .await?;
    let client = aws_sdk_dynamodb::Client::new(&stage.account.in_region(region));
    let mut items = client
        .scan()
        .table_name(&table)
        .consistent_read(true)
        .filter_expression("contains(pk, :job) AND attribute_exists(epoch)")
        .expression_attribute_values(":job", AttributeValue::S(job.to_owned()))
        .into_paginator()
        .items()
        .send();
    let mut epochs = Vec::new();
    while let Some(item) = items.next().await {
        let item = item.map_err(|error| Error::aws(format!("reading {table}"), &error))?;
        let epoch = item
            .get("epoch")
            .and_then(|epoch| epoch.as_n().ok()?.parse().ok());
        epochs.push(epoch.unwrap_or(0));
    }
    Ok(epochs)
}

/// Pauses the rule, and changes the source meanwhile.
pub async fn pause(stage: &Stage) -> Result<Outcome, Error> {
    let replicated = stage.plain().await?;
    let Replicated { pair, rule } = replicated;
    pair.source
        .put("pause/deleted", &Object::text("before"))
        .await?;
    stage.settle(replicated).await?;
    let _: Value = stage.tandem.ask(&["rule", "pause", rule]).await?;
    // A function remembers a rule for five seconds (`rule_cache.rs`), and may still be working on earlier messages.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let before = list(&pair.replica, "pause/").await?;
    for number in 0..10 {
        pair.source
            .put(&format!("pause/{number}"), &Object::text("meanwhile"))
            .await?;
    }
    pair.source.delete("pause/deleted").await?;
    tokio::time::sleep(stage.scale.paused).await;
    let after = list(&pair.replica, "pause/").await?;
    expect(before == after, || {
        format!("the rule is paused, but its destination changed to {after:?}")
    })?;
    let ((backlog, waiting), _) = stage
        .until("the changes wait", stage.scale.patience, async || {
            let status: Status = stage.tandem.ask(&["status", rule]).await?;
            let backlog = status.live.backlog;
            Ok(match backlog.waiting() {
                waiting @ 11.. => Ok((backlog, waiting)),
                _ => Err(format!("{backlog:?}")),
            })
        })
        .await?;
    let _: Value = stage.tandem.ask(&["rule", "resume", rule]).await?;
    let (took, _) = stage.settle(replicated).await?;
    let Backlog { held, .. } = backlog;
    Ok(Outcome::Passed(vec![format!(
        "nothing was written in {}; {waiting} changes waited, {held} of them as deferred keys; both sides were equal {} \
         after the rule was resumed",
        console::duration(stage.scale.paused),
        console::duration(took)
    )]))
}

/// Denies copies, lets some fail, and retries them after the denial is removed.
pub async fn failures(stage: &Stage) -> Result<Outcome, Error> {
    const REASON: &str = "DstPutObjectNotPermitted";
    let replicated = stage.plain().await?;
    let Replicated { pair, rule } = replicated;
    stage.settle(replicated).await?;
    deny_writes(&pair.replica, "denied/").await?;
    for number in 0..3 {
        pair.source
            .put(&format!("denied/{number}"), &Object::text("denied"))
            .await?;
    }
    let words = ["failures", "list", "--rule", rule, "--reason", REASON];
    let ((), took) = stage
        .until(
            "three failures are listed",
            stage.scale.patience,
            async || {
                let listed: Value = stage.tandem.ask(&words).await?;
                let count = listed["failures"].as_array().map_or(0, Vec::len);
                Ok(if count == 3 {
                    Ok(())
                } else {
                    Err(format!("{count} are: {listed}"))
                })
            },
        )
        .await?;
    let denied = list(&pair.replica, "denied/").await?;
    expect(denied.is_empty(), || {
        format!("{denied:?} arrived although the bucket denies them")
    })?;
    let request = pair
        .replica
        .client
        .delete_bucket_policy()
        .bucket(&pair.replica.name);
    let removed = request.send().await;
    removed.map_err(|error| {
        Error::aws(
            format!("removing the policy of {}", pair.replica.name),
            &error,
        )
    })?;
    // A changed bucket policy does not take effect everywhere at once (Amazon S3 guide, "Bucket policies").
    let ((), retried) = stage
        .until(
            "a retry replicates all three",
            stage.scale.patience,
            async || {
                let _: Value = stage
                    .tandem
                    .ask(&["failures", "retry", "--rule", rule])
                    .await?;
                tokio::time::sleep(JOB_PAUSE).await;
                let listed: Value = stage
                    .tandem
                    .ask(&["failures", "list", "--rule", rule])
                    .await?;
                let count = listed["failures"].as_array().map_or(0, Vec::len);
                Ok(if count == 0 {
                    Ok(())
                } else {
                    Err(format!("{count} are left"))
                })
            },
        )
        .await?;
    stage.settle(replicated).await?;
    Ok(Outcome::Passed(vec![
        format!(
            "three failures with the reason {REASON} were listed after {}",
            console::duration(took)
        ),
        format!(
            "they were replicated {} after the cause was removed",
            console::duration(retried)
        ),
    ]))
}

async fn deny_writes(bucket: &Bucket, prefix: &str) -> Result<(), Error> {
    // The partition is that of the region; a bucket's ARN names neither region nor account.
    let partition = match bucket.region() {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    };
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": format!("arn:{partition}:s3:::{}/{prefix}*", bucket.name),
        }],
    });
    let request = bucket.client.put_bucket_policy().bucket(&bucket.name);
    let put = request.policy(policy.to_string()).send().await;
    put.map_err(|error| Error::aws(format!("setting the policy of {}", bucket.name), &error))?;
    Ok(())
}

/// Damages the destination, and checks that Tandem finds and repairs it.
pub async fn verify(stage: &Stage) -> Result<Outcome, Error> {
    let replicated = stage.plain().await?;
    let Replicated { pair, rule } = replicated;
    for key in ["verify/missing", "verify/different"] {
        pair.source.put(key, &Object::text(key)).await?;
    }
    let (_, objects) = stage.settle(replicated).await?;
    pair.replica.delete("verify/missing").await?;
    pair.replica
        .put("verify/different", &Object::text("something else"))
        .await?;
    pair.replica
        .put("verify/extra", &Object::text("extra"))
        .await?;
    let found: Comparison = stage.tandem.ask(&["verify", rule]).await?;
    let counts = (found.missing, found.different, found.extra);
    expect(counts == (1, 1, 1) && !found.equal, || {
        format!("verify found {counts:?} missing, different and extra objects, not one of each")
    })?;
    let _: Value = stage
        .tandem
        .ask(&["verify", rule, "--repair", "--yes"])
        .await?;
    let (took, after) = stage.settle(replicated).await?;
    expect(objects == after, || {
        format!("the repair changed {objects} objects to {after}")
    })?;
    Ok(Outcome::Passed(vec![format!(
        "one missing, one different and one extra object were found among {objects}; both sides were equal {} after the \
         repair",
        console::duration(took)
    )]))
}
