//! The acceptance run on the local cloud: it passes, and it removes what it has made, however it ends.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tandem_tests::cloud::Cloud;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Mutex;

/// The prefix of the names of everything that a run makes.
const PREFIX: &str = "tandem-acceptance-";
/// Steps that need something which the local cloud does not have or does not report.
const MAY_BE_SKIPPED: [&str; 4] = ["cold-starts", "conditions", "recursion", "tags"];
/// Longer than any of these tests on a busy machine.
const PATIENCE: Duration = Duration::from_mins(10);

/// Serialises the runs, because `--clean` removes what other runs are using.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A run in progress, with its output so far.
struct Run {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: String,
}

impl Run {
    fn start(arguments: &[&str], report: &Path) -> Self {
        let mut child = Command::new(program())
            .arg("--local")
            .args(arguments)
            .arg("--report")
            .arg(report)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the acceptance run starts");
        let stdout = child.stdout.take().expect("its output");
        Self {
            child,
            lines: BufReader::new(stdout).lines(),
            said: String::new(),
        }
    }

    /// Waits for a line that contains `text`.
    async fn says(&mut self, text: &str) {
        while let Some(line) = self.next_line().await {
            if line.contains(text) {
                return;
            }
        }
        panic!("the run ended without {text:?}:\n{}", self.said);
    }

    async fn next_line(&mut self) -> Option<String> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.expect("a line in time").expect("text");
        if let Some(line) = &line {
            println!("{line}");
            self.said.push_str(line);
            self.said.push('\n');
        }
        line
    }

    async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it is still running").to_string();
        let sent = Command::new("kill").args([name, &id]).status().await;
        assert!(sent.expect("kill").success());
    }

    /// Waits for the end of the run. Returns its whole output, too.
    async fn end(mut self) -> (ExitStatus, String) {
        while self.next_line().await.is_some() {}
        let status = self.child.wait().await.expect("its end");
        (status, self.said)
    }
}

/// The program, in the folder above that of the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("this test's path");
    let folder = test
        .parent()
        .and_then(Path::parent)
        .expect("cargo's folder");
    folder.join("tandem-acceptance")
}

fn report(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("report.json")).expect("a report");
    serde_json::from_str(&text).expect("JSON")
}

/// Everything in the cloud that a run may have made.
async fn left(cloud: &Cloud) -> Vec<String> {
    let mut found = Vec::new();
    let buckets = cloud.s3("us-east-1").list_buckets().send().await;
    let buckets = buckets.expect("buckets").buckets.unwrap_or_default();
    found.extend(buckets.into_iter().filter_map(|bucket| bucket.name));
    for region in ["us-east-1", "us-west-2"] {
        let region = aws_config::Region::new(region);
        let config = cloud.config.to_builder().region(region).build();
        let lambda = aws_sdk_lambda::Client::new(&config);
        let functions = lambda.list_functions().send().await.expect("functions");
        let functions = functions.functions.unwrap_or_default().into_iter();
        found.extend(functions.filter_map(|function| function.function_name));
        let dynamodb = aws_sdk_dynamodb::Client::new(&config);
        let tables = dynamodb.list_tables().send().await.expect("tables");
        found.extend(tables.table_names.unwrap_or_default());
        let sqs = aws_sdk_sqs::Client::new(&config);
        let queues = sqs.list_queues().send().await.expect("queues");
        found.extend(queues.queue_urls.unwrap_or_default());
    }
    found.retain(|name| name.contains(PREFIX));
    found
}

#[tokio::test]
async fn the_acceptance_run_passes_on_the_local_cloud_and_leaves_nothing() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let cloud = Cloud::connect().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (status, said) = Run::start(&[], folder.path()).end().await;
    assert!(status.success(), "{status}:\n{said}");
    let report = report(folder.path());
    assert_eq!(report["passed"], true, "{report}");
    let steps = report["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 21, "{report}");
    for step in steps {
        let (name, verdict) = (step["name"].as_str().expect("a name"), &step["verdict"]);
        let is_fine = verdict["is"] == "passed" || MAY_BE_SKIPPED.contains(&name);
        assert!(is_fine, "{name}: {verdict}");
        assert_ne!(verdict["is"], "failed", "{name}: {verdict}");
    }
    let markdown = std::fs::read_to_string(folder.path().join("report.md")).expect("a report");
    assert!(markdown.contains("- verdict: passed"), "{markdown}");
    assert_eq!(left(&cloud).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_run_that_is_interrupted_twice_removes_everything_and_prints_what_is_still_there() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let cloud = Cloud::connect().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut run = Run::start(&["--only", "unversioned,large-object"], folder.path());
    run.says("unversioned: puts").await;
    run.says("unversioned: puts").await;
    run.signal("-INT").await;
    run.says("removing everything").await;
    run.signal("-INT").await;
    run.says("the removal goes on; still there").await;
    let (status, said) = run.end().await;
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("everything is removed"), "{said}");
    let report = report(folder.path());
    assert_eq!(
        (&report["interrupted"], &report["passed"]),
        (&Value::Bool(true), &Value::Bool(false))
    );
    assert_eq!(report["left"], Value::Array(Vec::new()));
    assert_eq!(left(&cloud).await, Vec::<String>::new());
}

#[tokio::test]
async fn clean_names_and_removes_what_a_killed_run_has_left() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let cloud = Cloud::connect().await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut run = Run::start(&["--only", "unversioned"], folder.path());
    run.says("unversioned: puts").await;
    run.says("unversioned: puts").await;
    run.signal("-KILL").await;
    run.end().await;
    let remains = left(&cloud).await;
    assert!(!remains.is_empty());
    let (status, said) = Run::start(&["--clean"], folder.path()).end().await;
    assert_eq!(status.code(), Some(0), "{said}");
    let bucket = remains.iter().find(|name| name.ends_with("-artifacts"));
    assert!(said.contains(bucket.expect("a bucket").as_str()), "{said}");
    assert_eq!(left(&cloud).await, Vec::<String>::new());
}
