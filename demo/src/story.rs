//! The demo, step by step. All I/O is in the modules that it calls.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::args::Args;
use crate::cloud::{Bucket, DESTINATION_REGION, SOURCE_REGION};
use crate::console::{self, Meter, bytes, check, counted, say, step};
use crate::default_tree;
use crate::endpoint::LocalEndpoint;
use crate::error::Error;
use crate::expected::Expected;
use crate::lag::Times;
use crate::live::{self, Phase};
use crate::memory;
use crate::read_back::read_back;
use crate::report::{self, Cost};
use crate::requests::{RequestMeter, Requests};
use crate::settle::Settling;
use crate::source_tree::{self, Limits, SourceTree};
use crate::tandem_command::{End, Job, JobAnswer, Status, Tandem, Target};
use crate::upload::upload;

/// The two buckets of this run.
#[derive(Debug)]
pub struct Names {
    /// The source.
    pub source: String,
    /// The destination.
    pub destination: String,
    used: AtomicBool,
}

impl Names {
    /// Makes names that no other run has.
    pub fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let secs = since.unwrap_or_default().as_secs();
        let source = format!("tandem-demo-{secs:x}-{:x}", std::process::id());
        Self {
            destination: format!("{source}-replica"),
            source,
            used: AtomicBool::new(false),
        }
    }

    /// Whether the buckets may exist.
    pub fn are_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }
}

/// Everything that the steps use.
struct Demo<'a> {
    args: &'a Args,
    tandem: &'a Tandem,
    source: Bucket,
    destination: Bucket,
    meter: RequestMeter,
    settling: Settling<'a>,
    expected: Expected,
    costs: Vec<Cost>,
    /// The requests counted until the end of the last phase.
    requests: Requests,
}

/// Runs the steps. Returns `Ok` only if the two buckets agree in everything.
pub async fn tell(args: &Args, names: &Names) -> Result<(), Error> {
    let started = Instant::now();
    let endpoint = LocalEndpoint::from_environment()?;
    let tandem = Tandem::beside_this_program(
        Target::Local(endpoint.clone()),
        SOURCE_REGION,
        &args.stack_name,
    )?;
    let _: serde_json::Value = tandem.ask(&["rule", "list"]).await?;
    let tree = look_through_folder(args).await?;

    let mut demo = Demo {
        args,
        tandem: &tandem,
        source: Bucket::new(&endpoint, SOURCE_REGION, &names.source),
        destination: Bucket::new(&endpoint, DESTINATION_REGION, &names.destination),
        meter: RequestMeter::start(&endpoint),
        settling: Settling {
            tandem: &tandem,
            rule: &names.source,
            timeout: Duration::from_secs(args.timeout),
            dead_before: 0,
        },
        expected: Expected::default(),
        costs: Vec::new(),
        requests: Requests::default(),
    };
    demo.make_buckets(names).await?;
    demo.upload(&tree).await?;
    demo.backfill().await?;
    let probed = demo.change_live().await?;
    demo.read_back().await?;
    demo.show_figures(&probed).await?;
    demo.verify().await?;
    demo.end(started.elapsed()).await
}

/// Reads the folder to upload, before anything is created.
async fn look_through_folder(args: &Args) -> Result<SourceTree, Error> {
    let (asked, limits) = (args.dir.clone(), args.limits());
    step("A folder of real files");
    let looking = tokio::task::spawn_blocking(move || read_folder(asked, limits));
    let tree = looking
        .await
        .map_err(|error| Error::Unexpected(error.to_string()))??;
    say(format!(
        "{}: {}, {}",
        tree.root.display(),
        counted(tree.files.len(), "file"),
        bytes(tree.bytes)
    ));
    if let Some(Limits {
        files,
        bytes: bytes_max,
    }) = tree.cut_short_by
    {
        let limits = files
            .map(|files| counted(files, "file"))
            .into_iter()
            .chain(bytes_max.map(bytes));
        say(format!(
            "cut short: the folder has more, but at most {} are uploaded (--max-files, --max-bytes)",
            limits.collect::<Vec<_>>().join(" and ")
        ));
    }
    source_tree::summary(&tree.skipped).iter().for_each(say);
    if let Some(available) = memory::available_bytes().filter(|&left| tree.bytes > left / 5 * 4) {
        say(format!(
            "careful: the emulator keeps every object in memory, and {} are available",
            bytes(available)
        ));
    }
    Ok(tree)
}

fn read_folder(asked: Option<PathBuf>, limits: Limits) -> Result<SourceTree, Error> {
    let folder = asked.or_else(default_tree::find).ok_or_else(|| {
        Error::Refused("no folder with files was found; name one with --dir".to_owned())
    })?;
    source_tree::read(&folder, limits).map_err(|error| Error::Refused(error.to_string()))
}

impl Demo<'_> {
    async fn make_buckets(&mut self, names: &Names) -> Result<(), Error> {
        step("Two buckets");
        names.used.store(true, Ordering::Relaxed);
        self.source.create().await?;
        self.source.keep_versions().await?;
        self.destination.create().await?;
        say(format!(
            "source       {} in {SOURCE_REGION}, versioned",
            self.source.name
        ));
        say(format!(
            "destination  {} in {DESTINATION_REGION}",
            self.destination.name
        ));
        Ok(())
    }

    async fn upload(&mut self, tree: &SourceTree) -> Result<(), Error> {
        step("Historical objects: the folder is uploaded to the source");
        let started = Instant::now();
        let (uploaded, skipped) = upload(tree, &self.source).await?;
        source_tree::summary(&skipped).iter().for_each(say);
        let size = uploaded.iter().map(|file| file.bytes).sum();
        let historical = uploaded.into_iter().map(|file| (file.key.clone(), file));
        self.expected.historical = historical.collect();
        check(format!(
            "{}, {}, in {}; left out: {}",
            counted(self.expected.len(), "object"),
            bytes(size),
            console::duration(started.elapsed()),
            console::count(tree.skipped.len() + skipped.len())
        ));
        Ok(())
    }

    async fn backfill(&mut self) -> Result<(), Error> {
        step("A rule, with the historical objects");
        self.requests = self.meter.read().await?;
        let started = Instant::now();
        let (source, destination) = (self.source.name.clone(), self.destination.name.clone());
        let rule = ["--source", &source, "--destination", &destination];
        let create = [&["rule", "create"], &rule[..], &["--historical"]].concat();
        self.tandem.show(&create).await?;
        let status = self.settling.status().await?;
        self.settling.dead_before = status.live.backlog.dead_letter;
        self.settling.until_backfill_begins().await?;
        let watch = ["backfill", "status", &source, "--watch"];
        self.tandem.show(&watch).await?;
        let took = started.elapsed();
        let JobAnswer { job } = self.tandem.ask(&watch[..3]).await?;
        self.check_counts(&job)?;
        check(format!(
            "every object is counted once: {} listed = {} copied + {} equal + {} gone + {} failed \
             + {} transfers; {} in {}",
            job.listed,
            job.copied,
            job.equal,
            job.gone,
            job.failed,
            job.transfers,
            bytes(job.bytes_copied),
            console::duration(took)
        ));
        let objects = self.expected.len();
        self.settle("historical object", objects, Some(objects))
            .await?;
        Ok(())
    }

    fn check_counts(&self, job: &Job) -> Result<(), Error> {
        let adds_up = job.listed == job.copied + job.equal + job.gone + job.failed + job.transfers;
        let all_carried = job.copied + job.equal + job.transfers == self.expected.len() as u64;
        if job.state == "complete" && adds_up && all_carried && job.failed == 0 {
            return Ok(());
        }
        Err(Error::Unexpected(format!(
            "{} is {}, but its counts are not those of {}: {} listed, {} copied, {} equal, {} gone, {} failed, \
             {} transfers",
            job.id,
            job.state,
            counted(self.expected.len(), "object"),
            job.listed,
            job.copied,
            job.equal,
            job.gone,
            job.failed,
            job.transfers
        )))
    }

    async fn change_live(&mut self) -> Result<Times, Error> {
        step("Live: puts, rewrites and deletes at the source, awkward keys among them");
        let plain = usize::from(self.args.live_objects);
        let timeout = self.settling.timeout;
        let probed =
            live::probe(&self.source, &self.destination, &mut self.expected, timeout).await?;
        check(format!(
            "{} one by one, each arrived at the destination",
            counted(probed.len(), "put")
        ));
        self.settling.until_equal(self.expected.len()).await?;
        let writes = Some(probed.len());
        self.requests = self.count_requests(writes).await?;
        self.carry_out(live::puts(plain)).await?;
        self.carry_out(live::puts_in_parts()).await?;
        self.carry_out(live::rewrites(&self.expected, plain))
            .await?;
        self.carry_out(live::hot_keys()).await?;
        self.carry_out(live::deletes(&self.expected, plain)).await?;
        Ok(probed)
    }

    async fn carry_out(&mut self, phase: Phase) -> Result<(), Error> {
        let (name, operations, keys) = (phase.name, phase.operations(), phase.keys.len());
        let writes = phase.writes();
        let started = Instant::now();
        phase.carry_out(&self.source, &mut self.expected).await?;
        let sent = started.elapsed();
        let settled = self.settle(name, operations, writes).await?;
        check(format!(
            "{name}: {} on {}, sent in {}; both buckets agree {} later",
            counted(operations, "operation"),
            counted(keys, "key"),
            console::duration(sent),
            console::duration(settled)
        ));
        Ok(())
    }

    /// Waits until every change has been replicated, and records its requests. Returns how long it took.
    async fn settle(
        &mut self,
        phase: &'static str,
        operations: usize,
        writes: Option<usize>,
    ) -> Result<Duration, Error> {
        let settled = self.settling.until_equal(self.expected.len()).await?;
        let requests = self.count_requests(writes).await?;
        self.costs.push(Cost {
            phase,
            operations,
            requests: requests.since(&self.requests),
        });
        self.requests = requests;
        Ok(settled)
    }

    async fn count_requests(&self, writes: Option<usize>) -> Result<Requests, Error> {
        let _meter = Meter::waiting("counting the requests");
        self.meter.settled(&self.requests, writes).await
    }

    async fn read_back(&self) -> Result<(), Error> {
        step(
            "Read back: compare replicas with what was written: bytes, headers, metadata and tags",
        );
        let read = read_back(&self.destination, &self.expected).await?;
        check(format!(
            "{} and {} of the folder are as they were written; {} have no replica",
            counted(read.live, "live object"),
            counted(read.files, "file"),
            counted(read.gone, "deleted key")
        ));
        Ok(())
    }

    async fn show_figures(&self, probed: &Times) -> Result<(), Error> {
        step("Figures (measured on an emulator; on AWS they are different)");
        let Status { live, .. } = self.settling.status().await?;
        console::print(&report::lag(live.lag_ms, probed));
        console::print(&report::requests(&self.costs));
        Ok(())
    }

    async fn verify(&self) -> Result<(), Error> {
        step("Do the two buckets agree?");
        let objects = self.expected.len();
        let end = self.tandem.show(&["verify", &self.source.name]).await?;
        let found = self.settling.compare().await?;
        let adds_up = found.same == objects as u64 && found.source_bytes == found.destination_bytes;
        if end == End::Differences || !found.equal || !adds_up {
            return Err(Error::Unexpected(format!(
                "the buckets do not agree on {}: {} are the same",
                counted(objects, "object"),
                console::count(found.same)
            )));
        }
        check(format!(
            "{}, as many as were written and not deleted; no difference",
            counted(objects, "object")
        ));
        Ok(())
    }

    async fn end(&self, took: Duration) -> Result<(), Error> {
        if self.args.keep {
            say(format!(
                "the rule stays; see: tandem status {}",
                self.source.name
            ));
        } else {
            let delete = ["rule", "delete", &self.source.name, "--yes"];
            self.tandem.show(&delete).await?;
        }
        console::print(&format!(
            "\nDone in {}: everything was replicated, and both buckets agree.\n\
             \n\
             Next: make demo DIR=<your folder>         the same with your own files\n\
             \x20     make local                         a local AWS that stays up, to try things by hand\n\
             \x20     target/local/tandem --help         the other commands",
            console::duration(took)
        ));
        Ok(())
    }
}
