//! The contents of the buckets, the same for the functions and for other tools. No I/O.

use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, TimeDelta, Utc};
use hyper::body::Bytes;
use tandem_memory_s3::{Attributes, MemoryS3, Object};

use crate::args::Sizes;

/// The names of a source and its destination.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    pub source: &'static str,
    pub destination: &'static str,
}

/// The regions of a source and its destination.
pub type Regions = (&'static str, &'static str);

/// The regions for other tools, which sign requests for one region only.
pub const ONE_REGION: Regions = ("us-east-1", "us-east-1");

const TO_COPY: Pair = Pair {
    source: "bench-copy",
    destination: "bench-copy-replica",
};
const EQUAL: Pair = Pair {
    source: "bench-equal",
    destination: "bench-equal-replica",
};
const LIVE: Pair = Pair {
    source: "bench-live",
    destination: "bench-live-replica",
};

/// A source with objects, and an empty destination.
pub fn to_copy(server: &MemoryS3, sizes: &Sizes, regions: Regions) -> Pair {
    let objects = objects(sizes.objects(), sizes.object_bytes);
    make(server, TO_COPY, regions);
    server.put_all(TO_COPY.source, objects);
    TO_COPY
}

/// Two buckets with the same objects.
pub fn equal(server: &MemoryS3, sizes: &Sizes, regions: Regions) -> Pair {
    let objects = objects(sizes.equal_keys(), sizes.object_bytes);
    make(server, EQUAL, regions);
    server.put_all(EQUAL.source, objects.clone());
    server.put_all(EQUAL.destination, objects);
    EQUAL
}

/// A source with objects that were put just now, and an empty destination.
pub fn live(server: &MemoryS3, sizes: &Sizes, regions: Regions) -> Pair {
    make(server, LIVE, regions);
    server.put_all(LIVE.source, objects(sizes.puts(), sizes.object_bytes));
    LIVE
}

fn make(server: &MemoryS3, pair: Pair, (source, destination): Regions) {
    server.make_bucket(pair.source, source);
    server.make_bucket(pair.destination, destination);
}

/// Returns `count` objects in folders of a thousand. All have the same bytes, which are in memory once. They are some
/// seconds old, because an object that is copied in the second of its writing needs one more HEAD.
fn objects(count: usize, bytes: usize) -> Vec<(String, Arc<Object>)> {
    let body = Bytes::from(
        b"tandem "
            .iter()
            .copied()
            .cycle()
            .take(bytes)
            .collect::<Vec<u8>>(),
    );
    let at = DateTime::<Utc>::from(SystemTime::now()) - TimeDelta::seconds(10);
    let object = Arc::new(Object::new(body, Attributes::default(), at));
    let keys = (0..count).map(|n| format!("folder-{:03}/object-{n:07}.bin", n / 1_000));
    keys.map(|key| (key, object.clone())).collect()
}

/// Returns whether both buckets have the same keys with the same bytes.
pub fn agree(server: &MemoryS3, pair: Pair) -> bool {
    let of = |bucket: &str| -> Vec<(String, String)> {
        let objects = server.objects(bucket);
        let etag = |object: &Object| object.etag().to_owned();
        objects
            .into_iter()
            .map(|(key, object)| (key, etag(&object)))
            .collect()
    };
    of(pair.source) == of(pair.destination)
}
