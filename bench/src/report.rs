//! Tables for people, JSON for programs, on standard output.

use std::collections::BTreeMap;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use indicatif::{BinaryBytes, HumanCount};
use serde::Serialize;

use crate::args::Output;
use crate::machine::Machine;
use crate::measured::{FunctionMeasured, FunctionsReport, Measured, PeersReport, Spread};

pub fn show_functions(report: &FunctionsReport, output: Output) {
    if output == Output::Json {
        return show_json(report);
    }
    println!("{}", machine_line(&report.machine));
    println!(
        "Functions {}; {} ms of latency per request; {} processes at once",
        report.binaries, report.latency_ms, report.workers
    );
    println!("\n{}", runs_table(&report.runs));
    println!("\n{}", functions_table(&report.functions));
}

pub fn show_peers(report: &PeersReport, output: Output) {
    if output == Output::Json {
        return show_json(report);
    }
    println!("{}", machine_line(&report.machine));
    println!("{} ms of latency per request", report.latency_ms);
    for tool in &report.tools {
        match &tool.version {
            Some(version) => println!("{}: {version}", tool.name),
            None => println!("{}: not installed ({})", tool.name, tool.install),
        }
        for problem in &tool.problems {
            println!("{}: {problem}", tool.name);
        }
    }
    let runs: Vec<&Measured> = report.tools.iter().flat_map(|tool| &tool.runs).collect();
    if !runs.is_empty() {
        println!("\n{}", runs_table(runs));
    }
}

pub fn show_address(url: &str) {
    println!("{url}");
    println!("path-style, region us-east-1, any credentials; Ctrl-C stops it");
}

fn show_json(report: &impl Serialize) {
    let text = serde_json::to_string_pretty(report).expect("a report is JSON");
    println!("{text}");
}

fn machine_line(machine: &Machine) -> String {
    format!(
        "{}, {} cores, {}, {}, {}",
        machine.cpu,
        machine.cores,
        BinaryBytes(machine.memory_bytes),
        machine.kernel,
        machine.rustc
    )
}

fn runs_table<'a>(runs: impl IntoIterator<Item = &'a Measured>) -> Table {
    let mut table = table(&[
        "what",
        "by",
        "objects",
        "seconds",
        "objects/s",
        "CPU s",
        "CPU µs/object",
        "requests/object",
        "requests",
        "peak memory",
    ]);
    for run in runs {
        table.add_row([
            run.what.clone(),
            run.by.clone(),
            HumanCount(run.objects).to_string(),
            format!("{:.2}", run.elapsed_ms as f64 / 1e3),
            format!("{:.0}", run.objects_per_sec),
            format!("{:.2}", run.cpu_ms as f64 / 1e3),
            format!("{:.0}", run.cpu_us_per_object),
            format!("{:.3}", run.requests_per_object),
            requests(&run.requests),
            BinaryBytes(run.peak_memory_bytes).to_string(),
        ]);
    }
    align_numbers(&mut table, 2..8);
    table
}

fn functions_table(functions: &[FunctionMeasured]) -> Table {
    let mut table = table(&[
        "function",
        "starts",
        "cold start, ms",
        "next answer, ms",
        "peak memory",
        "binary",
        "zipped",
    ]);
    for function in functions {
        table.add_row([
            function.name.clone(),
            function.starts.to_string(),
            spread(function.cold_start_ms),
            spread(function.warm_ms),
            BinaryBytes(function.peak_memory_bytes).to_string(),
            BinaryBytes(function.binary_bytes).to_string(),
            BinaryBytes(function.zipped_bytes).to_string(),
        ]);
    }
    align_numbers(&mut table, 1..7);
    table
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header.iter().copied());
    table
}

fn align_numbers(table: &mut Table, columns: std::ops::Range<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// Renders `7.1 / 7.4 / 9.0`: the least, the median, the greatest value.
fn spread(spread: Spread) -> String {
    let Spread { min, median, max } = spread;
    format!("{min:.1} / {median:.1} / {max:.1}")
}

/// Renders `10,000 CopyObject, 20 ListObjectsV2`, the most frequent first.
fn requests(counts: &BTreeMap<String, u64>) -> String {
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
    let texts = sorted
        .into_iter()
        .map(|(name, count)| format!("{} {name}", HumanCount(*count)));
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_listed_with_the_most_frequent_first() {
        let counts = [("HeadObject", 7), ("CopyObject", 10_000), ("A", 7)]
            .map(|(name, count)| (name.to_owned(), count));
        let text = requests(&counts.into());
        assert_eq!(text, "10,000 CopyObject, 7 A, 7 HeadObject");
    }
}
