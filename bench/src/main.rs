//! `tandem-bench`: measures the functions' own binaries, and other tools, against an S3 in memory that counts
//! its requests. Parses the arguments, measures, and writes tables or JSON.
//!
//! Modules in reading order: [`args`], [`fixtures`] (the contents of the buckets), [`usage`] (CPU and memory of a
//! process), [`measured`] (the result of a run), [`binaries`], [`stage`] (cloud, server, functions), then the
//! measurements: [`backfill`], [`live`], [`cold_start`], [`mod@peers`]; and the output: [`machine`], [`report`].

#![allow(
    clippy::expect_used,
    reason = "a bench that cannot continue prints why, and ends"
)]

mod args;
mod backfill;
mod binaries;
mod cold_start;
mod fixtures;
mod live;
mod machine;
mod measured;
mod peers;
mod report;
mod stage;
mod usage;

use std::process::ExitCode;

use clap::Parser;
use tandem_memory_s3::MemoryS3;

use crate::args::{Args, Command, Sizes};
use crate::measured::{FunctionsReport, PeersReport};
use crate::stage::Stage;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let bench = async {
        match &args.command {
            Command::Functions(which) => {
                let stage = Stage::set_up(which, &args.sizes).await;
                report::show_functions(&functions(&stage, &args.sizes).await, args.output);
            }
            Command::Peers => {
                let peers = peers(&args.sizes).await;
                report::show_peers(&peers, args.output);
            }
            Command::Serve { port } => serve(*port, &args.sizes).await,
        }
    };
    tokio::select! {
        () = bench => ExitCode::SUCCESS,
        // Functions and tools that still run are stopped with this process's runtime.
        _ = tokio::signal::ctrl_c() => ExitCode::from(130),
    }
}

async fn functions(stage: &Stage, sizes: &Sizes) -> FunctionsReport {
    let mut runs = vec![backfill::copy(stage, sizes).await];
    runs.push(backfill::compare(stage, sizes).await);
    runs.push(live::puts(stage, sizes).await);
    FunctionsReport {
        machine: machine::describe(),
        binaries: stage.binaries.kind.clone(),
        latency_ms: sizes.latency_ms,
        workers: sizes.workers,
        runs,
        functions: cold_start::of_all(stage, sizes).await,
    }
}

async fn peers(sizes: &Sizes) -> PeersReport {
    let server = MemoryS3::start().await.expect("a port");
    server.set_latency_of_all(sizes.latency());
    PeersReport {
        machine: machine::describe(),
        latency_ms: sizes.latency_ms,
        tools: peers::measure(&server, sizes).await,
    }
}

/// Keeps the server running, with the fixtures in it.
async fn serve(port: u16, sizes: &Sizes) {
    let address = ([127, 0, 0, 1], port).into();
    let server = MemoryS3::start_on(address).await.expect("the port is free");
    server.set_latency_of_all(sizes.latency());
    fixtures::to_copy(&server, sizes, fixtures::ONE_REGION);
    fixtures::equal(&server, sizes, fixtures::ONE_REGION);
    report::show_address(&server.url());
    std::future::pending::<()>().await;
}
