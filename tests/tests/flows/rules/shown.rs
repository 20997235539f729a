//! What a rule shows of itself, and how soon a change of it takes effect.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::{Cloud, EAST, WEST};
use tandem_tests::eventually::{SOON, eventually};
use tandem_tests::function_process::Start;

use super::bucket_in;

#[tokio::test]
async fn a_rule_is_found_by_its_id_by_either_bucket_and_in_the_list() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let fields = json!({"scope": {"prefixes": ["a/"]}, "policy": "write"});
    let made = cloud.create(&buckets, fields).await.expect("a rule");
    let expected = json!({
        "id": made["id"],
        "source": {"bucket": buckets.source.name, "region": EAST},
        "destination": {"bucket": buckets.destination.name, "region": WEST},
        "scope": {"prefixes": ["a/"]},
        "policy": "write",
        "options": {
            "storage_class": "keep", "encryption": "bucket", "kms_key": null, "tags": true, "acl": "reset",
            "object_lock": "bucket", "lifecycle_deletes": false, "destination_account": null,
            "reconcile": "never", "rpo_secs": 900, "notifications": "auto", "enable_eventbridge": false,
        },
        "historical": false,
        "notified_by": "bucket",
        "notified_since": null,
        "state": "enabled",
        "revision": 2,
        "created_at": made["created_at"],
        "updated_at": made["updated_at"],
        "paused_at": null,
        "destination_encryption": made["destination_encryption"],
    });
    assert_eq!(made, expected);
    for name in [
        made["id"].as_str().expect("an id"),
        &buckets.source.name,
        &buckets.destination.name,
    ] {
        assert_eq!(cloud.change("get", name).await, expected);
    }
    let list = cloud
        .configure(json!({"action": "list"}))
        .await
        .expect("a list");
    assert!(list["rules"].as_array().expect("rules").contains(&expected));
}

#[tokio::test]
async fn destinations_of_a_source_are_listed_with_the_reason_against_each() {
    let cloud = Cloud::connect().await;
    let (buckets, taken) = futures::join!(Buckets::new(&cloud, false), Buckets::new(&cloud, false));
    let (near, far) = futures::join!(bucket_in(&cloud, EAST), bucket_in(&cloud, "eu-west-1"));
    let rule = cloud.rule(&taken, json!({})).await;
    let request = json!({"action": "destinations", "source": buckets.source.name});
    let shown = cloud.configure(request).await.expect("destinations");
    assert_eq!(shown["source_region"], EAST);
    assert_eq!(
        shown["regions"],
        json!(["us-east-2", "us-west-1", "us-west-2"])
    );
    let about = |name: &str| {
        let all = shown["buckets"].as_array().expect("buckets");
        all.iter()
            .find(|bucket| bucket["bucket"] == json!(name))
            .cloned()
    };
    let free = about(&buckets.destination.name).expect("the free one");
    assert_eq!(
        (&free["available"], &free["region"]),
        (&json!(true), &json!(WEST)),
        "{free}"
    );
    assert_eq!(about(&buckets.source.name), None);
    for (bucket, why) in [
        (&taken.destination.name, rule.as_str()),
        (&near.name, "in the source's region"),
        (&far.name, "not in one region group"),
    ] {
        let refused = about(bucket).expect("every bucket is listed");
        assert_eq!(refused["available"], false);
        assert!(
            refused["reason"].as_str().expect("a reason").contains(why),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn progress_shows_counts_bytes_and_lag() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let rule = cloud.rule(&buckets, json!({})).await;
    let before = cloud.progress(&rule).await;
    assert_eq!(before["live"]["watermark"], Value::Null, "{before}");
    assert_eq!(
        before["live"]["lag_ms"],
        Value::Null,
        "never a made-up zero: {before}"
    );
    assert_eq!(before["historical"], Value::Null);
    let keys: Vec<String> = (0..10).map(|n| format!("key {n}")).collect();
    buckets.source.put_all(&keys, |_| vec![1; 100]).await;
    buckets.become_equal("", SOON).await;
    buckets.source.delete_all(&keys[..3]).await;
    buckets.become_equal("", SOON).await;
    let shown = eventually("the metrics arrive", SOON, async || {
        let shown = cloud.progress(&rule).await;
        let live = &shown["live"];
        let counts = (live["replicated"].as_u64(), live["deleted"].as_u64());
        if counts == (Some(10), Some(3)) {
            Ok(shown)
        } else {
            Err(shown.to_string())
        }
    })
    .await;
    let live = &shown["live"];
    assert_eq!(
        (&live["bytes"], &live["failed"], &shown["failures"]),
        (&json!(1_000), &json!(0), &json!(0)),
        "{shown}"
    );
    let lag = |name: &str| live["lag_ms"][name].as_f64().expect("a lag");
    assert!(
        lag("p50") > 0.0 && lag("p50") <= lag("p99") && lag("p99") <= lag("max"),
        "{shown}"
    );
    assert!(lag("max") < 60_000.0, "{shown}");
}

// Promise: The watermark moves on only while nothing waits in the stack's queues, and does not go back.
#[tokio::test]
async fn the_watermark_advances_only_while_no_message_waits() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let rule = cloud.quiet_rule(&buckets, json!({})).await;
    // The test has its own queues, because every other test uses those of the stack.
    let put_queue = cloud.own_queue().await;
    let mut start = Start::of(&cloud, "configure-rule").await;
    for queue in [
        "DELETE",
        "WORK",
        "PART",
        "PUT_DEAD",
        "DELETE_DEAD",
        "WORK_DEAD",
        "PART_DEAD",
    ] {
        start = start.variable(
            &format!("TANDEM_{queue}_QUEUE_URL"),
            cloud.own_queue().await,
        );
    }
    let function = start
        .variable("TANDEM_PUT_QUEUE_URL", &put_queue)
        .start()
        .await;
    let watermark = async || {
        let shown = function
            .invoke(json!({"action": "progress", "rule": rule}))
            .await
            .expect("progress");
        let at = shown["live"]["watermark"].as_str().map(|text| {
            text.parse::<tandem_replication::Timestamp>()
                .expect("a time")
        });
        (at, shown["live"]["backlog"].clone())
    };
    assert_eq!(
        watermark().await.0,
        None,
        "queue counts take a minute to settle"
    );
    let created = tandem_lambda::runtime::now() - chrono::TimeDelta::minutes(10);
    for item in cloud.items_with(&rule).await {
        if item["pk"] == AttributeValue::S("rule".to_owned()) {
            let mut older = item.clone();
            older.insert(
                "created_at".to_owned(),
                AttributeValue::S(created.to_rfc3339()),
            );
            let put = cloud.dynamodb.put_item().table_name(cloud.table().await);
            put.set_item(Some(older))
                .send()
                .await
                .expect("an older rule");
        }
    }
    let asked_at = tandem_lambda::runtime::now();
    let first = watermark().await.0.expect("nothing waits");
    let age = asked_at - first;
    assert!(
        age <= chrono::TimeDelta::seconds(60) && age > chrono::TimeDelta::seconds(50),
        "{age}"
    );
    cloud.send(&put_queue, "a waiting change").await;
    let (waiting, backlog) = watermark().await;
    assert_eq!(
        (waiting, &backlog["put"]),
        (Some(first), &json!(1)),
        "it neither moves nor disappears"
    );
    cloud.drain(&put_queue).await;
    assert!(watermark().await.0 > Some(first));
}

// Promise: A change of a rule takes effect within seconds: a remembered rule expires by the larger of the wall
// clock and the monotonic clock, and by a clock that was set back.
#[tokio::test]
async fn changes_of_a_rule_take_effect_within_seconds() {
    let cloud = Cloud::connect().await;
    let buckets = Buckets::new(&cloud, false).await;
    let rule = cloud.rule(&buckets, json!({})).await;
    buckets.source.put("before", "before").await;
    buckets.arrive("before", SOON).await;
    cloud.change("pause", &rule).await;
    let mut puts = 0;
    eventually("a put is deferred", Duration::from_secs(20), async || {
        puts += 1;
        buckets.source.put(&format!("put {puts}"), "").await;
        let held = cloud.progress(&rule).await["live"]["backlog"]["held"].clone();
        if held.as_u64() > Some(0) {
            Ok(())
        } else {
            Err(held.to_string())
        }
    })
    .await;
}
