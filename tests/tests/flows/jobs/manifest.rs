//! Keys from a list instead of the bucket's own.

use chrono::TimeDelta;
use serde_json::json;
use tandem_memory_s3::{Attributes, Object};
use tandem_tests::cloud::EAST;

use super::{Jobs, counts, number};

const LISTS: &str = "tandem-lists";

/// Stores a list of keys, and returns where.
pub fn store_list(jobs: &Jobs, lines: &str) -> String {
    jobs.memory.make_bucket(LISTS, EAST);
    store(jobs, "keys.csv", lines.as_bytes().to_vec());
    format!("s3://{LISTS}/keys.csv")
}

fn store(jobs: &Jobs, key: &str, bytes: Vec<u8>) {
    let object = Object::new(bytes.into(), Attributes::default(), chrono::Utc::now());
    jobs.memory.put(LISTS, key, object);
}

async fn jobs() -> Jobs {
    let jobs = Jobs::new(json!({})).await;
    jobs.memory.make_bucket(LISTS, EAST);
    for key in ["a", "b", "red flower+1.jpg", "ü/\n", "not named"] {
        jobs.at_source(key, key, TimeDelta::days(1));
    }
    jobs.at_destination("only there", "only there", TimeDelta::days(1));
    jobs
}

fn compressed(text: &str) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gz, text.as_bytes()).expect("compressed");
    gz.finish().expect("compressed")
}

// Promise: A list of keys is carried over as it names them: a line that names another bucket fails alone, and a
// key that is only at the destination stays.
#[tokio::test]
async fn the_keys_that_a_csv_names_are_carried_and_no_others() {
    let jobs = jobs().await;
    let source = &jobs.buckets.source.name;
    let csv = format!(
        "{source},a\n\"{source}\",\"red+flower%2B1.jpg\",\"version\"\n{source},%C3%BC/%0A\r\n{source},gone\nfilms,a\n{source},only+there\n"
    );
    store(&jobs, "keys.csv", csv.into_bytes());
    let job = jobs
        .complete(json!({"manifest": "s3://tandem-lists/keys.csv"}))
        .await;
    // The line that names another bucket fails alone; what is only there stays.
    assert_eq!(
        counts(&job),
        [("listed", 6), ("copied", 3), ("gone", 2), ("failed", 1)],
        "{job}"
    );
    let found: Vec<String> = jobs.destination().into_keys().collect();
    assert_eq!(found, ["a", "only there", "red flower+1.jpg", "ü/\n"]);
    let again = jobs
        .complete(json!({"manifest": "s3://tandem-lists/keys.csv"}))
        .await;
    assert_eq!(number(&again, "equal"), 3, "{again}");
}

#[tokio::test]
async fn an_inventory_is_read_from_its_manifest_compressed_files_too() {
    let jobs = jobs().await;
    let source = &jobs.buckets.source.name;
    store(
        &jobs,
        "inventory/data/1.csv.gz",
        compressed(&format!(
            "\"{source}\",\"a\",\"1\"\n\"{source}\",\"b\",\"1\"\n"
        )),
    );
    store(
        &jobs,
        "inventory/data/2.csv",
        format!("\"{source}\",\"red+flower%2B1.jpg\",\"1\"\n").into_bytes(),
    );
    let manifest = json!({
        "sourceBucket": source, "destinationBucket": "arn:aws:s3:::tandem-lists", "version": "2016-11-30",
        "fileFormat": "CSV", "fileSchema": "Bucket, Key, Size",
        "files": [{"key": "inventory/data/1.csv.gz", "size": 1, "MD5checksum": "x"},
                  {"key": "inventory/data/2.csv", "size": 1, "MD5checksum": "x"}]
    });
    store(
        &jobs,
        "inventory/manifest.json",
        manifest.to_string().into_bytes(),
    );
    let job = jobs
        .complete(json!({"manifest": "s3://tandem-lists/inventory/manifest.json"}))
        .await;
    assert_eq!(counts(&job), [("listed", 3), ("copied", 3)]);
    assert_eq!(job["shards"]["total"], 2, "{job}");
}

#[tokio::test]
async fn a_long_list_is_gone_through_page_by_page_and_goes_on_where_it_was() {
    let jobs = Jobs::new(json!({})).await;
    jobs.memory.make_bucket(LISTS, EAST);
    jobs.fill_source(super::keys(1_300));
    let lines: String = super::keys(1_300).map(|key| key + "\n").collect();
    for (name, bytes) in [
        ("keys.csv", lines.clone().into_bytes()),
        ("keys.csv.gz", compressed(&lines)),
    ] {
        store(&jobs, name, bytes);
        jobs.start(json!({"manifest": format!("s3://tandem-lists/{name}")}))
            .await;
        let worker = jobs.worker().await;
        let messages = jobs.messages().await;
        // The worker dies in the second page.
        let copied = std::sync::atomic::AtomicUsize::new(0);
        let gate = jobs.s3.hold_before(move |seen| {
            let looks = seen.is("HeadObject") && !seen.key.is_empty();
            looks && copied.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 2_100
        });
        let answer = worker.begin(jobs.batch(&messages[0], 1));
        tokio::select! {
            () = gate.arrived() => {}
            () = async { answer.await.expect("an answer"); } => {}
        }
        worker.kill();
        gate.open();
        let worker = jobs.worker().await;
        jobs.expire_leases().await;
        jobs.acknowledged(&worker, &messages[0], 2).await;
        jobs.run_dry(&[worker]).await;
        let job = jobs.job().await;
        assert_eq!(job["state"], "complete", "{job}");
        assert_eq!(number(&job, "listed"), 1_300, "{job}");
        assert_eq!(jobs.source(), jobs.destination());
    }
}

#[tokio::test]
async fn a_list_that_is_none_is_refused_before_anything_begins() {
    let jobs = jobs().await;
    store(&jobs, "broken/manifest.json", b"{\"files\": 3}".to_vec());
    for (uri, said) in [
        ("s3://tandem-lists/nothing.csv", "there is no object"),
        (
            "s3://tandem-lists/broken/manifest.json",
            "is no S3 Inventory manifest",
        ),
        ("s3://tandem-nowhere/keys.csv", "cannot be found"),
    ] {
        let request = json!({"action": "start", "rule": jobs.rule, "manifest": uri});
        let (code, message) = jobs.refused(request).await;
        assert_eq!(code, "InvalidRequest", "{message}");
        assert!(message.contains(said) && message.contains(uri), "{message}");
    }
    let (code, _) = jobs
        .refused(json!({"action": "status", "rule": jobs.rule}))
        .await;
    assert_eq!(code, "JobNotFound");
}
