//! A pair of buckets, and the comparison of a source with its replica.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use tandem_replication::object::PROVENANCE_KEY;

use crate::bucket::{Bucket, Listed};
use crate::cloud::{Cloud, EAST, WEST, unique};
use crate::eventually::eventually;

/// The number of differences that a message shows; it counts the rest.
const SHOWN_MAX: usize = 8;

/// A source and a destination for one test.
#[derive(Debug, Clone)]
pub struct Buckets {
    /// In the region of the stack.
    pub source: Bucket,
    /// In another region.
    pub destination: Bucket,
}

/// The properties of an object that have to be equal, besides its `ETag` and size.
#[derive(Debug, PartialEq, Eq)]
struct Looks {
    headers: [Option<String>; 5],
    metadata: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
}

impl Buckets {
    /// Makes two buckets, both with versions or both without.
    pub async fn new(cloud: &Cloud, versioned: bool) -> Self {
        Self::in_regions(cloud, EAST, WEST, versioned).await
    }

    /// Makes two buckets whose objects can be locked.
    pub async fn lockable(cloud: &Cloud) -> Self {
        let name = unique("pair");
        Self {
            source: Bucket::create_lockable(cloud, EAST, format!("{name}-source")).await,
            destination: Bucket::create_lockable(cloud, WEST, format!("{name}-replica")).await,
        }
    }

    /// Makes two buckets in these regions.
    pub async fn in_regions(
        cloud: &Cloud,
        source: &'static str,
        destination: &'static str,
        versioned: bool,
    ) -> Self {
        let name = unique("pair");
        Self {
            source: Bucket::create(cloud, source, format!("{name}-source"), versioned).await,
            destination: Bucket::create(cloud, destination, format!("{name}-replica"), versioned)
                .await,
        }
    }

    /// The buckets with the same names and regions in another S3.
    #[must_use]
    pub fn at(&self, cloud: &Cloud, url: &str) -> Self {
        let other = |bucket: &Bucket| Bucket {
            client: cloud.s3_at(url, bucket.region),
            ..bucket.clone()
        };
        Self {
            source: other(&self.source),
            destination: other(&self.destination),
        }
    }

    /// Waits until both agree, within the key prefix `scope`.
    pub async fn become_equal(&self, scope: &str, limit: Duration) {
        let what = format!(
            "{} becomes equal to {}",
            self.destination.name, self.source.name
        );
        eventually(&what, limit, async || self.agree(scope).await).await;
    }

    /// Waits until the replica of an object is equal to it.
    pub async fn arrive(&self, key: &str, limit: Duration) {
        let what = format!("{key:?} arrives");
        eventually(&what, limit, async || self.agree(key).await).await;
    }

    /// Waits until the destination has no such object.
    pub async fn vanish(&self, key: &str, limit: Duration) {
        eventually(
            &format!("the replica of {key:?} is deleted"),
            limit,
            async || match self.destination.head(key).await {
                None => Ok(()),
                Some(head) => Err(format!("{head:?}")),
            },
        )
        .await;
    }

    /// # Panics
    /// If the two do not agree within the key prefix `scope`; the message names the differences.
    pub async fn assert_equal(&self, scope: &str) {
        if let Err(differences) = self.agree(scope).await {
            panic!("the buckets differ: {differences}");
        }
    }

    /// Compares keys, `ETag` (or the source's, recorded on the replica), size, content headers, user
    /// metadata and tags.
    pub async fn agree(&self, scope: &str) -> Result<(), String> {
        self.compare(scope, true).await
    }

    /// The same comparison, but the destination may have more objects.
    pub async fn covers(&self, scope: &str) -> Result<(), String> {
        self.compare(scope, false).await
    }

    async fn compare(&self, scope: &str, extras_count: bool) -> Result<(), String> {
        let (source, replica) =
            futures::join!(self.source.list(scope), self.destination.list(scope));
        let mut differences = listed_differences(&source, &replica, extras_count);
        if differences.is_empty() {
            let keys: Vec<String> = source.keys().cloned().collect();
            let (sources, replicas) = futures::join!(
                self.source.looks(keys.clone()),
                self.destination.looks(keys)
            );
            differences = looks_differences(sources, replicas);
        }
        match differences.len() {
            0 => Ok(()),
            count => {
                differences.truncate(SHOWN_MAX);
                Err(format!("{count} differences: {}", differences.join("; ")))
            }
        }
    }
}

/// The differences that listings show. An `ETag` may differ where an object was uploaded in parts.
fn listed_differences(
    source: &BTreeMap<String, Listed>,
    replica: &BTreeMap<String, Listed>,
    extras_count: bool,
) -> Vec<String> {
    let mut differences = Vec::new();
    for (key, object) in source {
        match replica.get(key) {
            None => differences.push(format!("{key:?} is missing")),
            Some(other) if other.bytes != object.bytes => {
                differences.push(format!(
                    "{key:?} has {} bytes, not {}",
                    other.bytes, object.bytes
                ));
            }
            Some(other)
                if other.etag != object.etag && !is_of_parts(object) && !is_of_parts(other) =>
            {
                differences.push(format!("{key:?} is {}, not {}", other.etag, object.etag));
            }
            Some(_) => {}
        }
    }
    let extra = replica
        .keys()
        .filter(|key| extras_count && !source.contains_key(*key));
    differences.extend(extra.map(|key| format!("{key:?} is only at the destination")));
    differences
}

fn is_of_parts(object: &Listed) -> bool {
    object.etag.contains('-')
}

type LooksOfAll = BTreeMap<String, Option<(HeadObjectOutput, BTreeMap<String, String>)>>;

fn looks_differences(sources: LooksOfAll, mut replicas: LooksOfAll) -> Vec<String> {
    let mut differences = Vec::new();
    for (key, source) in sources {
        let replica = replicas.remove(&key).flatten();
        let (Some((source, source_tags)), Some((replica, replica_tags))) = (source, replica) else {
            differences.push(format!("{key:?} changed while it was compared"));
            continue;
        };
        let recorded = replica
            .metadata()
            .and_then(|metadata| metadata.get(PROVENANCE_KEY));
        let stands_for = recorded.map(|etag| format!("\"{etag}\""));
        if replica.e_tag() != source.e_tag() && stands_for.as_deref() != source.e_tag() {
            differences.push(format!(
                "{key:?} is {:?}, not {:?}",
                replica.e_tag(),
                source.e_tag()
            ));
        }
        let (source, replica) = (looks(&source, source_tags), looks(&replica, replica_tags));
        if source != replica {
            differences.push(format!("{key:?} has {replica:?}, not {source:?}"));
        }
    }
    differences
}

fn looks(head: &HeadObjectOutput, tags: BTreeMap<String, String>) -> Looks {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let mut metadata: BTreeMap<String, String> = head
        .metadata()
        .cloned()
        .unwrap_or_default()
        .into_iter()
        .collect();
    metadata.remove(PROVENANCE_KEY);
    Looks {
        headers: [
            owned(head.content_type()),
            owned(head.content_encoding()),
            owned(head.content_language()),
            owned(head.content_disposition()),
            owned(head.cache_control()),
        ],
        metadata,
        tags,
    }
}
