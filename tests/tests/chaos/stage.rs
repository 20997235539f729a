//! The setting of the run: pairs of buckets, each with a different rule.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tandem_memory_s3::MemoryS3;
use tandem_tests::bucket::Bucket;
use tandem_tests::buckets::Buckets;
use tandem_tests::cloud::{Cloud, EAST, WEST, unique};
use tandem_tests::limits;
use tandem_tests::slow_copy::{Aside, SlowCopy};

use crate::operators::explained;

/// The minimum size of a part in the S3 in memory. The writers' parts are smaller than S3 itself allows.
const MEMORY_PART_BYTES_MIN: u64 = 1;

/// The cloud, and the pairs in it.
#[derive(Debug)]
pub struct Stage {
    /// The cloud.
    pub cloud: Cloud,
    /// An S3 that enforces the conditions on the destination of a copy, which the cloud's S3 ignores.
    pub memory: MemoryS3,
    /// The pairs.
    pub pairs: Vec<Pair>,
    /// The bucket of the jobs' lists of keys.
    pub lists: Bucket,
}

/// Two buckets and their rule.
#[derive(Debug)]
pub struct Pair {
    /// The pair's name in every run.
    pub name: &'static str,
    /// The buckets.
    pub buckets: Buckets,
    /// The rule's id.
    pub rule: String,
    /// The promise of the replicas.
    pub promise: Promise,
    /// The S3 that has the buckets.
    pub home: Home,
}

/// The promise of a pair's replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// The replicas become equal to their sources, and are deleted with them.
    Equal,
    /// The replicas become equal to their sources, and are kept when those are deleted.
    Covering,
    /// Only jobs write the replicas, in the mode `never`: other writers' objects stay.
    Never,
    /// Only jobs write the replicas, in the mode `if-older`: other writers' objects stay unless they are older.
    IfOlder,
}

/// The S3 that has a pair's buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// The S3 of the cloud, which sends notifications.
    Cloud,
    /// The S3 in memory, for which the test sends notifications.
    Memory,
}

impl Promise {
    /// Whether changes of the source are replicated as they happen.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Equal | Self::Covering)
    }

    fn policy(self) -> &'static str {
        match self {
            Self::Covering => "write",
            Self::Equal | Self::Never | Self::IfOlder => "full",
        }
    }
}

impl Stage {
    /// Makes the pairs and their rules, before faults happen.
    pub async fn set(cloud: Cloud) -> Self {
        let memory = MemoryS3::start().await.expect("an S3 in memory");
        memory.set_part_bytes_min(MEMORY_PART_BYTES_MIN);
        let mut pairs = Vec::new();
        for (name, versioned, promise, home) in [
            ("unversioned", false, Promise::Equal, Home::Cloud),
            ("versioned", true, Promise::Equal, Home::Cloud),
            ("write-only", false, Promise::Covering, Home::Cloud),
            ("strict", false, Promise::Equal, Home::Memory),
            ("never", false, Promise::Never, Home::Memory),
            ("if-older", false, Promise::IfOlder, Home::Memory),
        ] {
            let buckets = Buckets::new(&cloud, versioned).await;
            // The writers' parts are small.
            for bucket in [&buckets.source, &buckets.destination] {
                limits::set(&cloud, "part_bytes", &bucket.name, 1).await;
            }
            let policy = json!({"policy": promise.policy()});
            let (buckets, rule) = match home {
                Home::Cloud => {
                    let rule = cloud.rule(&buckets, policy).await;
                    (buckets, rule)
                }
                // The cloud has buckets of these names too, so that a rule can be created for them.
                Home::Memory => {
                    let rule = cloud.quiet_rule(&buckets, policy).await;
                    memory.make_bucket(&buckets.source.name, EAST);
                    memory.make_bucket(&buckets.destination.name, WEST);
                    (buckets.at(&cloud, &memory.url()), rule)
                }
            };
            pairs.push(Pair {
                name,
                buckets,
                rule,
                promise,
                home,
            });
        }
        let lists = Bucket::create(&cloud, EAST, unique("tandem-lists"), false).await;
        Self {
            cloud,
            memory,
            pairs,
            lists,
        }
    }

    /// The name of each bucket in every run, by its name in this run.
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

    /// The address of the S3 in memory, for each bucket that is there.
    pub fn elsewhere(&self) -> BTreeMap<String, String> {
        let pairs = self.pairs.iter().filter(|pair| pair.home == Home::Memory);
        let names = pairs.flat_map(|pair| {
            let Buckets {
                source,
                destination,
            } = &pair.buckets;
            [source.name.clone(), destination.name.clone()]
        });
        names.map(|name| (name, self.memory.url())).collect()
    }

    /// Creates the temporary buckets of slow copies in both S3s.
    pub async fn slow_copy(&self) -> SlowCopy {
        let bucket = Bucket::create(&self.cloud, WEST, unique("aside"), false).await;
        self.memory.make_bucket(&bucket.name, WEST);
        let in_memory = Aside {
            client: self.cloud.s3_at(&self.memory.url(), WEST),
            bucket: bucket.name.clone(),
        };
        let pairs = self.pairs.iter().filter(|pair| pair.home == Home::Memory);
        SlowCopy {
            aside: Aside {
                client: bucket.client,
                bucket: bucket.name,
            },
            elsewhere: pairs
                .map(|pair| (pair.buckets.destination.name.clone(), in_memory.clone()))
                .collect(),
        }
    }

    /// Deletes the rules, so that another run in the same cloud finds only its own.
    pub async fn strike(&self) {
        for pair in &self.pairs {
            let request = json!({"action": "delete", "rule": pair.rule});
            if let Err(error) = self.cloud.configure(request).await {
                eprintln!("cannot delete the rule of {}: {error:?}", pair.name);
            }
        }
    }
}

impl Pair {
    /// A job of the pair's rule, as `backfill` returns it.
    ///
    /// # Panics
    /// If its counts do not add up, which they must at any time.
    pub async fn job(&self, cloud: &Cloud, job_id: &str) -> Result<Value, String> {
        let request = json!({"action": "status", "rule": self.rule, "job_id": job_id});
        let answer = cloud.invoke("backfill", request.clone()).await;
        let job = answer.map_err(|error| explained(&request, &error))?["job"].take();
        let number = |field: &str| job[field].as_u64().unwrap_or_default();
        let parts = [
            "copied",
            "equal",
            "kept",
            "gone",
            "failed",
            "transfers",
            "missing",
            "different",
        ];
        let sum: u64 = parts.map(number).iter().sum();
        assert_eq!(number("listed"), sum, "{job}");
        Ok(job)
    }

    /// Checks that the replicas are as promised. The promises for other writers' objects are checked elsewhere.
    pub async fn agrees(&self) -> Result<(), String> {
        let agreement = match self.promise {
            Promise::Equal => self.buckets.agree("").await,
            Promise::Covering => self.buckets.covers("").await,
            Promise::Never | Promise::IfOlder => Ok(()),
        };
        agreement.map_err(|differences| format!("{}: {differences}", self.name))
    }
}
