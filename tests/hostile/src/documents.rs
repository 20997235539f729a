//! Real documents: the files in `events/`.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The events with which the function of this name can be invoked, in the order of the file names.
pub fn events(function: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../events")
        .join(function);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("a folder of events")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| serde_json::from_slice(&std::fs::read(path).expect("an event")).expect("JSON"))
        .collect()
}

/// The bodies of the SQS messages among the events of a function.
pub fn bodies(function: &str) -> Vec<Value> {
    let batches = events(function);
    batches
        .iter()
        .filter_map(|event| event["Records"].as_array())
        .flatten()
        .filter_map(|record| record["body"].as_str())
        .map(|body| serde_json::from_str(body).expect("JSON"))
        .collect()
}
