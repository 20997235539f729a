//! The requests of Terraform for a resource whose life it manages.

use serde_json::{Value, json};

use super::Declared;

fn input(declared: &Declared, more: &Value) -> Value {
    let mut input = json!({
        "source": declared.buckets.source.name,
        "destination": declared.buckets.destination.name,
    });
    let more = more.as_object().cloned().unwrap_or_default();
    input.as_object_mut().expect("an object").extend(more);
    input
}

fn request(action: &str, input: &Value, before: &Value) -> Value {
    let mut request = input.clone();
    request["tf"] = json!({"action": action, "prev_input": before});
    request
}

#[tokio::test]
async fn a_resource_is_made_changed_and_destroyed_and_each_may_be_repeated() {
    let declared = Declared::new().await;
    let cloud = &declared.cloud;
    let first = input(
        &declared,
        &json!({"scope": {"prefixes": ["in/"]}, "options": {"tags": false}}),
    );
    let create = request("create", &first, &Value::Null);
    let created = cloud.configure(create.clone()).await.expect("a rule");
    let again = cloud.configure(create).await.expect("the same rule");
    assert_eq!(created["rule"], again["rule"]);
    assert_eq!(declared.counts().await, (1, 2));

    let second = input(&declared, &json!({"policy": "write", "historical": true}));
    let updated = cloud
        .configure(request("update", &second, &first))
        .await
        .expect("a rule");
    assert_eq!(updated["rule"]["id"], created["rule"]["id"]);
    assert_eq!(updated["rule"]["scope"], "all");
    assert_eq!(updated["rule"]["policy"], "write");
    assert_eq!(updated["rule"]["options"]["tags"], true);
    assert!(updated["job_id"].is_string(), "{updated}");

    let delete = request("delete", &second, &second);
    let deleted = cloud
        .configure(delete.clone())
        .await
        .expect("a rule that is gone");
    assert_eq!(deleted["rule"]["id"], created["rule"]["id"]);
    assert_eq!(declared.counts().await, (0, 0));
    let gone = cloud.configure(delete).await.expect("nothing to do");
    assert_eq!(gone, json!({"rule": null}));
}

#[tokio::test]
async fn the_next_change_makes_a_deleted_rule_again() {
    let declared = Declared::new().await;
    let cloud = &declared.cloud;
    let first = input(&declared, &json!({}));
    let created = cloud
        .configure(request("create", &first, &Value::Null))
        .await;
    let id = created.expect("a rule")["rule"]["id"].take();
    cloud.change("delete", id.as_str().expect("an id")).await;
    let second = input(&declared, &json!({"policy": "write"}));
    let updated = cloud
        .configure(request("update", &second, &first))
        .await
        .expect("a rule");
    assert_eq!(
        (&updated["rule"]["id"], &updated["rule"]["policy"]),
        (&id, &json!("write"))
    );
}

#[tokio::test]
async fn other_buckets_bad_input_and_a_rule_made_by_hand_are_refused() {
    let declared = Declared::new().await;
    let cloud = &declared.cloud;
    let first = input(&declared, &json!({}));
    let by_hand = cloud.rule(&declared.buckets, json!({})).await;
    let error = cloud
        .configure(request("create", &first, &Value::Null))
        .await
        .expect_err("a refusal");
    assert_eq!(error.code, "BucketInUse");
    assert!(error.message.contains(&by_hand), "{error:?}");
    // Destroying a resource that was never created leaves the other rule alone.
    let gone = cloud.configure(request("delete", &first, &first)).await;
    assert_eq!(gone, Ok(json!({"rule": null})));
    assert_eq!(declared.counts().await, (1, 2));

    let renamed = input(&declared, &json!({"destination": "another-bucket"}));
    let error = cloud
        .configure(request("update", &renamed, &first))
        .await
        .expect_err("a refusal");
    assert!(error.message.contains("replace the resource"), "{error:?}");
    let unknown = input(&declared, &json!({"polcy": "full"}));
    let error = cloud
        .configure(request("create", &unknown, &Value::Null))
        .await
        .expect_err("a refusal");
    assert!(error.message.contains("unknown field `polcy`"), "{error:?}");
}
