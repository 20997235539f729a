//! Racing creations: if several need one bucket, one of them wins.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tandem_tests::bucket::Bucket;
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::{Cloud, EAST, FunctionError, WEST, unique};

use super::bucket_in;

const RACERS: usize = 50;

async fn race(cloud: &Cloud, pairs: Vec<Buckets>) {
    let creations = pairs.iter().map(|pair| cloud.create(pair, json!({})));
    let answers: Vec<Result<Value, FunctionError>> = futures::future::join_all(creations).await;
    let winners: Vec<&Value> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().ok())
        .collect();
    let losers: Vec<&FunctionError> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().err())
        .collect();
    assert_eq!(winners.len(), 1, "{losers:?}");
    for loser in losers {
        let in_use = loser.code == "BucketInUse" || loser.code == "RuleStateConflict";
        assert!(in_use, "{loser:?}");
    }
    let mut names = BTreeSet::new();
    for pair in &pairs {
        names.extend([pair.source.name.clone(), pair.destination.name.clone()]);
    }
    let text = |item: &tandem_tests::cloud::Item, name: &str| {
        item.get(name)
            .and_then(|value| value.as_s().ok())
            .cloned()
            .unwrap_or_default()
    };
    let items = cloud.items_with("").await;
    let claimed: BTreeSet<String> = items
        .iter()
        .filter(|item| text(item, "pk") == "bucket" && names.contains(&text(item, "sk")))
        .map(|item| text(item, "sk"))
        .collect();
    let winner = winners[0];
    let wanted = ["source", "destination"]
        .map(|end| winner[end]["bucket"].as_str().expect("a name").to_owned());
    assert_eq!(claimed, BTreeSet::from(wanted));
    let rules = items
        .iter()
        .filter(|item| text(item, "pk") == "rule" && names.contains(&text(item, "source_bucket")));
    assert_eq!(rules.count(), 1);
    for pair in &pairs {
        let ours = pair
            .source
            .notifications()
            .await
            .queue_configurations
            .unwrap_or_default();
        let wanted = if winner["source"]["bucket"] == json!(pair.source.name) {
            2
        } else {
            0
        };
        assert_eq!(ours.len(), wanted, "{ours:?}");
    }
}

// Promise: A rule is made wholly or not at all: the next creation takes over what a killed one has left, and of
// racing rules for one bucket one wins.
#[tokio::test]
async fn of_fifty_racing_rules_for_one_source_one_wins() {
    let cloud = Cloud::connect().await;
    let source = bucket_in(&cloud, EAST).await;
    let destinations = stream::iter((0..RACERS).map(|_| bucket_in(&cloud, WEST)));
    let destinations: Vec<Bucket> = destinations.buffer_unordered(16).collect().await;
    let pairs = destinations.into_iter().map(|destination| Buckets {
        source: source.clone(),
        destination,
    });
    race(&cloud, pairs.collect()).await;
}

// Promise: A rule is made wholly or not at all: the next creation takes over what a killed one has left, and of
// racing rules for one bucket one wins.
#[tokio::test]
async fn of_fifty_racing_rules_for_one_destination_one_wins() {
    let cloud = Cloud::connect().await;
    let destination = bucket_in(&cloud, WEST).await;
    let sources = stream::iter((0..RACERS).map(|_| bucket_in(&cloud, EAST)));
    let sources: Vec<Bucket> = sources.buffer_unordered(16).collect().await;
    let pairs = sources.into_iter().map(|source| Buckets {
        source,
        destination: destination.clone(),
    });
    race(&cloud, pairs.collect()).await;
}

/// The invocation of one creation is sent twice, one after the other and at once.
#[tokio::test]
async fn a_creation_that_is_repeated_with_its_token_returns_the_same_rule() {
    let cloud = Cloud::connect().await;
    for at_once in [false, true] {
        let buckets = Buckets::new(&cloud, false).await;
        let create = |token: Value| {
            cloud.configure(json!({
                "action": "create", "source": buckets.source.name, "destination": buckets.destination.name,
                "historical": true, "token": token,
            }))
        };
        let token = json!(unique("token"));
        let (first, again) = if at_once {
            futures::join!(create(token.clone()), create(token))
        } else {
            (create(token.clone()).await, create(token).await)
        };
        let (first, again) = (first.expect("a rule"), again.expect("the same rule"));
        assert_eq!(first, again);
        assert!(first["job_id"].is_string(), "{first}");
        let request = json!({"action": "list", "rule": first["rule"]["id"]});
        let jobs = cloud.invoke("backfill", request).await.expect("jobs");
        assert_eq!(jobs["jobs"].as_array().map(Vec::len), Some(1), "{jobs}");
        for token in [json!(unique("token")), Value::Null] {
            let error = create(token).await.expect_err("a refusal");
            assert_eq!(error.code, "BucketInUse", "{}", error.message);
        }
    }
}
