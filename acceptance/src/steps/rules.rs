//! Rules other than those of the command: with EventBridge, as code, and in a circle. I/O.

use std::time::{Duration, Instant};

use aws_sdk_cloudformation::types::StackStatus;
use aws_sdk_s3::types::{EventBridgeConfiguration, NotificationConfiguration};
use serde_json::{Value, json};
use tandem_demo::cloud::Bucket;
use tandem_demo::console;
use tandem_demo::error::Error;
use tandem_demo::object::Object;

use super::{Outcome, expect};
use crate::stage::{Kind, Replicated, Stage, create_rule};

/// How long a circle is watched.
const CIRCLE_PATIENCE: Duration = Duration::from_mins(3);
/// The time between two checks of a circle's writes.
const CIRCLE_PAUSE: Duration = Duration::from_secs(1);

/// Tests a rule whose notifications arrive through EventBridge.
pub async fn eventbridge(stage: &Stage) -> Result<Outcome, Error> {
    let pair = stage.make_pair("events", Kind::Plain).await?;
    send_to_eventbridge(&pair.source).await?;
    let request = json!({
        "action": "create",
        "source": pair.source.name,
        "destination": pair.replica.name,
        "options": {"notifications": "eventbridge"},
    });
    let (region, stack) = (&stage.regions.source, stage.names.stack());
    let rule = match stage.account.configure(region, &stack, &request).await? {
        Ok(created) => created["rule"]["id"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        Err(refusal) if refusal.message.contains("unknown field `notifications`") => {
            return Ok(Outcome::Skipped(format!(
                "this version has no rule option \"notifications\": {}",
                refusal.message
            )));
        }
        Err(refusal) => {
            let problem = format!(
                "the rule was refused: {}: {}",
                refusal.code, refusal.message
            );
            return Err(Error::Unexpected(problem));
        }
    };
    let replicated = Replicated { pair, rule };
    let source = &replicated.pair.source;
    for number in 0..10 {
        source
            .put(&format!("event {number}+é"), &Object::text("event"))
            .await?;
    }
    let (put, _) = stage.settle(&replicated).await?;
    source.delete("event 0+é").await?;
    source.put("event 1+é", &Object::text("once more")).await?;
    let (deleted, objects) = stage.settle(&replicated).await?;
    Ok(Outcome::Passed(vec![format!(
        "ten puts arrived after {}, an overwrite and a delete after {}; both sides have {objects} equal objects",
        console::duration(put),
        console::duration(deleted)
    )]))
}

async fn send_to_eventbridge(bucket: &Bucket) -> Result<(), Error> {
    let configuration = NotificationConfiguration::builder()
        .event_bridge_configuration(EventBridgeConfiguration::builder().build())
        .build();
    let request = bucket
        .client
        .put_bucket_notification_configuration()
        .bucket(&bucket.name);
    let sent = request
        .notification_configuration(configuration)
        .send()
        .await;
    sent.map_err(|error| Error::aws(format!("enabling EventBridge for {}", bucket.name), &error))?;
    Ok(())
}

/// Tests a rule that a CloudFormation stack declares.
pub async fn rule_as_code(stage: &Stage) -> Result<Outcome, Error> {
    let pair = stage.make_pair("code", Kind::Plain).await?;
    pair.source
        .put("before the rule", &Object::text("historical"))
        .await?;
    let (name, region) = (stage.names.code_stack(), &stage.regions.source);
    let template = json!({
        "Resources": {"Replication": {"Type": "Custom::ReplicationRule", "Properties": {
            "ServiceToken": {"Fn::ImportValue": format!("{}-configure-rule", stage.names.stack())},
            "ServiceTimeout": 240,
            "Source": pair.source.name,
            "Destination": pair.replica.name,
            "Historical": true,
        }}},
        "Outputs": {"Rule": {"Value": {"Ref": "Replication"}}},
    });
    let client = stage.account.cloudformation(region);
    let request = client
        .create_stack()
        .stack_name(&name)
        .template_body(template.to_string());
    request
        .send()
        .await
        .map_err(|error| Error::aws(format!("creating the stack {name}"), &error))?;
    let created = comes_to(stage, &name, &StackStatus::CreateComplete).await?;
    let rule = stage.account.stack_output(region, &name, "Rule").await?;
    let replicated = Replicated { pair, rule };
    let source = &replicated.pair.source;
    source.put("after the rule", &Object::text("live")).await?;
    let (carried, _) = stage.settle(&replicated).await?;
    let request = client.delete_stack().stack_name(&name);
    request
        .send()
        .await
        .map_err(|error| Error::aws(format!("deleting the stack {name}"), &error))?;
    let deleted = comes_to(stage, &name, &StackStatus::DeleteComplete).await?;
    let listed: Value = stage.tandem.ask(&["rule", "list"]).await?;
    expect(!listed.to_string().contains(&replicated.rule), || {
        format!(
            "the stack is deleted, but its rule {} still exists",
            replicated.rule
        )
    })?;
    Ok(Outcome::Passed(vec![format!(
        "the stack was ready after {}, its objects after {}, and it was deleted with its rule after {}",
        console::duration(created),
        console::duration(carried),
        console::duration(deleted)
    )]))
}

/// Waits until a stack has the wanted status.
async fn comes_to(stage: &Stage, name: &str, wanted: &StackStatus) -> Result<Duration, Error> {
    let what = format!("the stack {name} reaches {wanted}");
    let region = &stage.regions.source;
    let ((), took) = stage
        .until(&what, stage.scale.patience, async || {
            let status = stage.account.stack_status(region, name).await?;
            let status = status.unwrap_or(StackStatus::DeleteComplete);
            Ok(if status == *wanted {
                Ok(())
            } else {
                Err(status.to_string())
            })
        })
        .await?;
    Ok(took)
}

/// Tests a rule and its reverse, in two stacks.
pub async fn circle(stage: &Stage) -> Result<Outcome, Error> {
    let replicated = stage.replicated("circle", Kind::Plain).await?;
    let Replicated { pair, .. } = &replicated;
    let back = create_rule(&stage.back, &pair.replica.name, &pair.source.name).await;
    let back = match back {
        Ok(rule) => rule,
        Err(Error::Command { code: 2, said, .. }) => {
            let names = [&pair.source.name, &pair.replica.name];
            expect(
                names.iter().any(|name| said.contains(name.as_str())),
                || {
                    format!(
                        "the reverse rule is refused, but the reason names neither bucket: {said}"
                    )
                },
            )?;
            stage.settle(&replicated).await?;
            let said = said.trim_start_matches([':', '\n']).trim();
            return Ok(Outcome::Passed(vec![format!(
                "the reverse rule is refused: {said}"
            )]));
        }
        Err(error) => return Err(error),
    };
    let ended = ends(stage, &pair.source, &pair.replica).await;
    // Delete the reverse rule first, because a circle that does not end costs more with every second.
    let _: Value = stage.back.ask(&["rule", "delete", &back, "--yes"]).await?;
    let writes = ended?;
    Ok(Outcome::Passed(vec![format!(
        "the reverse rule is accepted; after one put each side was written at most {writes} times, and then no more"
    )]))
}

/// Writes one object into a circle, and waits until the writes end. Returns how many writes were seen.
async fn ends(stage: &Stage, here: &Bucket, there: &Bucket) -> Result<usize, Error> {
    const KEY: &str = "round and round";
    here.put(KEY, &Object::text("once")).await?;
    let (began, mut changed) = (Instant::now(), Instant::now());
    let (mut last, mut writes) = (None, 0);
    loop {
        let heads = (here.head(KEY).await?, there.head(KEY).await?);
        let times = (
            heads.0.and_then(|head| head.last_modified),
            heads.1.and_then(|head| head.last_modified),
        );
        if last != Some(times) {
            (last, changed) = (Some(times), Instant::now());
            writes += 1;
        }
        if changed.elapsed() > stage.scale.quiet && times.1.is_some() {
            return Ok(writes);
        }
        if began.elapsed() > CIRCLE_PATIENCE.min(stage.scale.patience) {
            return Err(Error::Unexpected(format!(
                "two rules in a circle are accepted, and write {KEY:?} for ever: {writes} changes in {}",
                console::duration(began.elapsed())
            )));
        }
        tokio::time::sleep(CIRCLE_PAUSE).await;
    }
}
