//! Where it all happens: pairs of buckets, each with a rule of another kind.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::Cloud;

/// The cloud, and the pairs in it.
#[derive(Debug)]
pub struct Stage {
    /// The cloud.
    pub cloud: Cloud,
    /// The pairs.
    pub pairs: Vec<Pair>,
}

/// Two buckets and their rule.
#[derive(Debug)]
pub struct Pair {
    /// What it is called in every run.
    pub name: &'static str,
    /// The buckets.
    pub buckets: Buckets,
    /// The rule's id.
    pub rule: String,
    /// Whether the replica of what is deleted stays.
    pub keeps_deletes: bool,
}

impl Stage {
    /// Makes the pairs and their rules, in fair weather.
    pub async fn set(cloud: Cloud) -> Self {
        let mut pairs = Vec::new();
        for (name, versioned, policy) in [
            ("unversioned", false, "full"),
            ("versioned", true, "full"),
            ("write-only", false, "write"),
        ] {
            let buckets = Buckets::new(&cloud, versioned).await;
            let rule = cloud.rule(&buckets, json!({"policy": policy})).await;
            pairs.push(Pair {
                name,
                buckets,
                rule,
                keeps_deletes: policy == "write",
            });
        }
        Self { cloud, pairs }
    }

    /// The buckets' names, each with what it is called in every run.
    pub fn bucket_names(&self) -> BTreeMap<String, String> {
        let names = self.pairs.iter().flat_map(|pair| {
            let Buckets {
                source,
                destination,
            } = &pair.buckets;
            [(source, "source"), (destination, "replica")]
                .map(|(bucket, side)| (bucket.name.clone(), format!("{} {side}", pair.name)))
        });
        names.collect()
    }

    /// Ends the rules, so that another run in the same cloud finds only its own.
    pub async fn strike(&self) {
        for pair in &self.pairs {
            let request = json!({"action": "delete", "rule": pair.rule});
            if let Err(error) = self.cloud.configure(request).await {
                eprintln!("the rule of {} stays: {error:?}", pair.name);
            }
        }
    }
}

impl Pair {
    /// A job of its rule, as `backfill` shows it.
    ///
    /// # Panics
    /// If its counts do not add up, which they have to at any time.
    pub async fn job(&self, cloud: &Cloud, job_id: &str) -> Result<Value, String> {
        let request = json!({"action": "status", "rule": self.rule, "job_id": job_id});
        let answer = cloud.invoke("backfill", request).await;
        let job = answer.map_err(|error| format!("{error:?}"))?["job"].take();
        let number = |field: &str| job[field].as_u64().unwrap_or_default();
        let parts = ["copied", "equal", "gone", "failed", "transfers"].map(number);
        assert_eq!(number("listed"), parts.iter().sum::<u64>(), "{job}");
        Ok(job)
    }

    /// Whether the replicas are what they should be.
    pub async fn agrees(&self) -> Result<(), String> {
        let agreement = if self.keeps_deletes {
            self.buckets.covers("").await
        } else {
            self.buckets.agree("").await
        };
        agreement.map_err(|differences| format!("{}: {differences}", self.name))
    }
}
