//! Jobs with a list of keys instead of a listing of the bucket.

use chrono::TimeDelta;
use serde_json::json;
use tandem_memory_s3::{Attributes, Object};
use tandem_tests::cloud::EAST;

use super::{Jobs, counts, number};

const LISTS: &str = "tandem-lists";

/// Stores a list of keys. Returns its address.
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
async fn the_keys_that_a_csv_names_are_copied_and_no_others() {
    let jobs = jobs().await;
    let source = &jobs.buckets.source.name;
    let csv = format!(
        "{source},a\n\"{source}\",\"red+flower%2B1.jpg\",\"version\"\n{source},%C3%BC/%0A\r\n{source},gone\nfilms,a\n{source},only+there\n"
    );
    store(&jobs, "keys.csv", csv.into_bytes());
    let job = jobs
        .complete(json!({"manifest": "s3://tandem-lists/keys.csv"}))
        .await;
    // The line that names another bucket fails alone. Objects that only the destination has stay.
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
async fn an_inventory_is_read_from_its_manifest_including_compressed_files() {
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
async fn a_long_list_is_processed_page_by_page_and_continues_after_a_death() {
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
            let is_head = seen.is("HeadObject") && !seen.key.is_empty();
            is_head && copied.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 2_100
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

/// Starts a job that has to be refused because of its list. Returns the message.
async fn refused(jobs: &Jobs, key: &str, bytes: Vec<u8>) -> String {
    store(jobs, key, bytes);
    let uri = format!("s3://{LISTS}/{key}");
    let request = json!({"action": "start", "rule": jobs.rule, "manifest": uri});
    let (code, message) = jobs.refused(request).await;
    assert_eq!(code, "InvalidRequest", "{key}: {message}");
    assert!(message.contains(&uri), "{key}: {message}");
    message
}

#[tokio::test]
async fn a_file_that_is_not_a_list_is_refused_at_the_start() {
    let jobs = jobs().await;
    store(&jobs, "broken/manifest.json", b"{\"files\": 3}".to_vec());
    for (uri, said) in [
        ("s3://tandem-lists/nothing.csv", "there is no such object"),
        (
            "s3://tandem-lists/broken/manifest.json",
            "is not an S3 Inventory manifest",
        ),
        ("s3://tandem-nowhere/keys.csv", "does not exist"),
    ] {
        let request = json!({"action": "start", "rule": jobs.rule, "manifest": uri});
        let (code, message) = jobs.refused(request).await;
        assert_eq!(code, "InvalidRequest", "{message}");
        assert!(message.contains(said) && message.contains(uri), "{message}");
    }
    let source = jobs.buckets.source.name.clone();
    let good = compressed(&format!("{source},a\n"));
    let mut damaged = good.clone();
    damaged[good.len() - 6] ^= 0xFF;
    for (key, bytes, said) in [
        (
            "named.csv.gz",
            format!("{source},a\n").into_bytes(),
            "is not gzip",
        ),
        ("empty.csv.gz", Vec::new(), "is not gzip"),
        ("cut.csv.gz", good[..good.len() - 3].to_vec(), "truncated"),
        ("cut.csv", good[..12].to_vec(), "truncated"),
        ("damaged.csv.gz", damaged, "damaged"),
        ("more.csv.gz", [good.as_slice(), b"x"].concat(), "follow"),
        ("utf16.csv", b"\xFF\xFEa\0\n\0".to_vec(), "UTF-16"),
        ("keys.parquet", b"PAR1\x15\x04".to_vec(), "Parquet"),
        ("keys.csv.zst", b"\x28\xB5\x2F\xFD\x04".to_vec(), "zstd"),
        ("percent.csv", b"a\n100%.txt\n".to_vec(), "line 2, column 4"),
        (
            "mixed.csv",
            "ü+1.txt\n".as_bytes().to_vec(),
            "line 1, column 1",
        ),
        ("latin.csv", b"caf\xE9\n".to_vec(), "line 1, column 4"),
        ("open.csv", b"a\n\"b\n".to_vec(), "line 2, column"),
    ] {
        let message = refused(&jobs, key, bytes).await;
        assert!(message.contains(said), "{key}: {message}");
    }
    let (code, _) = jobs
        .refused(json!({"action": "status", "rule": jobs.rule}))
        .await;
    assert_eq!(code, "JobNotFound");
}

// Promise: A list of keys is read wholly or refused, and the refusal of a wrong line names line and column: its
// separator, byte order mark, header, quotes and compression are recognised by its content, and no byte of it is passed
// over.
#[tokio::test]
async fn the_keys_of_a_list_are_copied_however_it_is_written_and_compressed() {
    let jobs = jobs().await;
    for key in ["f,g.txt", "a+b", "100%", " lead", "line\nbreak"] {
        jobs.at_source(key, key, TimeDelta::days(1));
    }
    let source = jobs.buckets.source.name.clone();
    let text = format!("{source},a\n{source},b\n{source},red+flower%2B1.jpg\n");
    let in_members = |at: usize| [compressed(&text[..at]), compressed(&text[at..])].concat();
    let (line, middle) = (source.len() + 3, source.len() + 9);
    let padded = [compressed(&text), compressed(""), vec![0; 600]].concat();
    for (key, list, fields, found) in [
        ("members.csv.gz", in_members(line), json!({}), 3),
        ("in-a-line.csv.gz", in_members(middle), json!({}), 3),
        ("padded.csv.gz", padded, json!({}), 3),
        ("no-suffix", compressed(&text), json!({}), 3),
        (
            "mark.csv",
            format!("\u{feff}{}", text.replace('\n', "\r\n")).into_bytes(),
            json!({}),
            3,
        ),
        (
            "semicolons.csv",
            format!("Bucket;Key\n{}", text.replace(',', ";")).into_bytes(),
            json!({}),
            3,
        ),
        (
            "tabs.tsv",
            text.replace(',', "\t").into_bytes(),
            json!({}),
            3,
        ),
        (
            "quoted.csv",
            format!("\"{source}\",\"f,g.txt\"\n").into_bytes(),
            json!({}),
            1,
        ),
        (
            "plain.csv",
            format!("{source},a+b\n{source},100%\n{source}, lead\n{source},\"line\nbreak\"\n")
                .into_bytes(),
            json!({"keys": "plain"}),
            4,
        ),
    ] {
        store(&jobs, key, list);
        let mut request = fields.as_object().cloned().expect("fields");
        request.insert("manifest".into(), json!(format!("s3://{LISTS}/{key}")));
        let job = jobs.complete(request.into()).await;
        let done = number(&job, "copied") + number(&job, "equal");
        assert_eq!(
            (number(&job, "listed"), done),
            (found, found),
            "{key}: {job}"
        );
        assert!(job["warning"].is_null(), "{key}: {job}");
    }
    for key in [
        "a",
        "b",
        "red flower+1.jpg",
        "f,g.txt",
        "a+b",
        "100%",
        " lead",
        "line\nbreak",
    ] {
        assert!(jobs.destination().contains_key(key), "{key}");
    }
}

/// Text that does not compress.
fn noise(bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(7);
    (0..bytes).map(|_| random.alphanumeric()).collect()
}

// Promise: A compressed list that is truncated or damaged, or is not what its name says, ends its job at once with
// the reason.
#[tokio::test]
async fn a_list_that_becomes_unreadable_later_ends_its_job_at_the_first_delivery() {
    let jobs = jobs().await;
    let source = jobs.buckets.source.name.clone();
    let row = |key: &str| format!("{source},{key},{}\n", noise(60_000));
    let whole = compressed(&(0..4).map(|_| row("a")).collect::<String>());
    let truncated = whole[..whole.len() - 20].to_vec();
    let rows = |last: &str| (0..75).map(|_| row("b")).collect::<String>() + &row(last);
    for (key, list, said) in [
        ("late.csv.gz", truncated, "truncated".to_owned()),
        // A bad line in the second part of the list. Its number still counts from the start of the list.
        (
            "late.csv",
            rows("50%").into_bytes(),
            format!("line 76, column {}", source.len() + 4),
        ),
    ] {
        store(&jobs, key, list);
        let uri = format!("s3://{LISTS}/{key}");
        let job = jobs.start(json!({"manifest": uri})).await;
        assert_eq!(job["state"], "running", "{job}");
        let worker = jobs.worker().await;
        for message in jobs.messages().await {
            assert!(jobs.acknowledged(&worker, &message, 1).await, "{key}");
        }
        let job = jobs.job().await;
        assert_eq!(job["state"], "failed", "{job}");
        let error = job["error"].as_str().expect("an error");
        assert!(error.contains(&said) && error.contains(&uri), "{error}");
    }
}

#[tokio::test]
async fn a_list_that_is_replaced_or_deleted_after_the_start_ends_its_job_at_the_first_delivery() {
    let jobs = jobs().await;
    let uri = store_list(&jobs, "a\n");
    jobs.start(json!({ "manifest": uri })).await;
    store_list(&jobs, "b\n");
    let worker = jobs.worker().await;
    for message in jobs.messages().await {
        assert!(jobs.acknowledged(&worker, &message, 1).await);
    }
    let job = jobs.job().await;
    assert_eq!(job["state"], "failed", "{job}");
    let error = job["error"].as_str().expect("an error");
    assert!(error.contains("start a new job"), "{error}");
    assert!(jobs.destination().keys().all(|key| key == "only there"));
}

// Promise: A finished job of which more than half of the listed keys do not exist has a warning, and the command
// ends with exit code 1.
#[tokio::test]
async fn a_list_of_missing_keys_causes_a_warning_unless_its_rows_expect_them() {
    let jobs = jobs().await;
    let uri = store_list(&jobs, "a\nnone\nnor+this\n");
    let job = jobs.complete(json!({ "manifest": uri })).await;
    assert_eq!(counts(&job), [("listed", 3), ("copied", 1), ("gone", 2)]);
    let warning = job["warning"].as_str().expect("a warning");
    assert!(warning.contains("2 of 3 keys"), "{warning}");
    // Old versions, and delete markers.
    let source = &jobs.buckets.source.name;
    let list = format!(
        "Bucket,Key,VersionId,IsLatest,IsDeleteMarker\n{source},a,v2,true,false\n{source},a,v1,false,false\n\
         {source},deleted,v4,true,true\n{source},deleted,v3,false,false\n{source},forgotten,v1,false,false\n"
    );
    let uri = store_list(&jobs, &list);
    let job = jobs.complete(json!({ "manifest": uri })).await;
    assert_eq!(counts(&job), [("listed", 5), ("equal", 2), ("kept", 3)]);
    assert!(job["warning"].is_null(), "{job}");
}

// Promise: A CSV report can be given back as a list of keys, and no cell of it begins like a spreadsheet's formula.
#[tokio::test]
async fn a_report_can_be_used_as_a_list_of_keys() {
    let jobs = jobs().await;
    let keys = ["=cmd|' /C calc'!A0", "'a", "-1+2", "a%20b"];
    for key in keys {
        jobs.at_source(key, key, TimeDelta::days(1));
    }
    let mut list = tandem_replication::key_list::report::COLUMNS.join(",");
    for key in keys {
        let cell = tandem_replication::key_list::report::cell(key);
        list.extend(["\n\"", &cell, "\",missing,,1,e,,,,"]);
    }
    list += "\nonly there,extra,,,,,1,e,\n";
    let uri = store_list(&jobs, &list);
    let job = jobs.complete(json!({ "manifest": uri })).await;
    assert_eq!(counts(&job), [("listed", 5), ("copied", 4), ("kept", 1)]);
    assert!(keys.iter().all(|key| jobs.destination().contains_key(*key)));
}

#[tokio::test]
async fn inventories_of_s3_and_oss_are_read_anywhere_and_other_formats_are_refused_by_name() {
    let jobs = jobs().await;
    let source = jobs.buckets.source.name.clone();
    let rows = format!(
        "\"{source}\",\"a\",\"v2\",\"true\",\"false\",\"5\"\n\"{source}\",\"a\",\"v1\",\"false\",\"false\",\"5\"\n\
         \"{source}\",\"deleted\",\"v3\",\"true\",\"true\",\"\"\n"
    );
    let data = format!("lists/of/{source}/weekly/data/5f2c.csv.gz");
    store(&jobs, &data, compressed(&rows));
    let manifest = |format: &str, file: &str, schema: &str| {
        json!({
            "sourceBucket": source, "destinationBucket": "arn:aws:s3:::tandem-lists", "version": "2016-11-30",
            "creationTimestamp": "1790000000000", "fileFormat": format, "fileSchema": schema,
            "files": [{"key": file, "size": 1, "MD5checksum": "x"}]
        })
        .to_string()
        .into_bytes()
    };
    let versions = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size";
    let nested = format!("lists/of/{source}/weekly/2026-11-24T00-00Z/manifest.json");
    store(&jobs, &nested, manifest("CSV", &data, versions));
    let job = jobs
        .complete(json!({"manifest": format!("s3://{LISTS}/{nested}")}))
        .await;
    assert_eq!(
        counts(&job),
        [("listed", 3), ("copied", 1), ("equal", 1), ("kept", 1)]
    );
    assert!(job["warning"].is_null(), "{job}");

    let none =
        json!({"sourceBucket": source, "fileFormat": "CSV", "fileSchema": versions, "files": []});
    store(&jobs, "none/manifest.json", none.to_string().into_bytes());
    let job = jobs
        .complete(json!({"manifest": format!("s3://{LISTS}/none/manifest.json")}))
        .await;
    assert_eq!(counts(&job), []);

    for (key, bytes, said) in [
        (
            "orc/manifest.json",
            manifest("ORC", "x.orc", "struct<bucket:string>"),
            "ORC",
        ),
        (
            "parquet/manifest.json",
            manifest("Parquet", "x.parquet", "message"),
            "Parquet",
        ),
        (
            "keyless/manifest.json",
            manifest("CSV", &data, "Bucket, Size"),
            "Bucket and Key",
        ),
        (
            "inner/manifest.json",
            manifest("CSV", &nested, versions),
            "another manifest",
        ),
        (
            "missing/manifest.json",
            manifest("CSV", "x.csv.gz", versions),
            "s3://tandem-lists/x.csv.gz",
        ),
        (
            "symlink.txt",
            b"s3://tandem-lists/x.csv.gz\n".to_vec(),
            "line 1, column 1",
        ),
        ("keys.json", b"[{\"key\": \"a\"}]".to_vec(), "JSON"),
    ] {
        let message = refused(&jobs, key, bytes).await;
        assert!(message.contains(said), "{key}: {message}");
    }
}
