//! The figures at the end, as tables. No I/O.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};

use crate::console;
use crate::lag::Times;
use crate::requests::Requests;
use crate::tandem_command::Lag;

/// The requests of a phase.
#[derive(Debug)]
pub struct Cost {
    /// The phase.
    pub phase: &'static str,
    /// Operations at the source, or historical objects.
    pub operations: usize,
    /// The requests that the functions sent for them.
    pub requests: Requests,
}

/// Renders the requests for each operation, by phase.
pub fn requests(costs: &[Cost]) -> String {
    let header = ["at the source", "done", "S3 requests", "each", "of which"];
    let mut table = table(&header);
    for cost in costs {
        let each = |count: u64| format!("{:.2}", count as f64 / cost.operations.max(1) as f64);
        let parts: Vec<String> = cost
            .requests
            .by_operation()
            .into_iter()
            .map(|(operation, count)| format!("{operation} {}", each(count)))
            .collect();
        table.add_row([
            cost.phase.to_owned(),
            console::count(cost.operations),
            console::count(cost.requests.total()),
            each(cost.requests.total()),
            parts.join(", "),
        ]);
    }
    right(table, 1..=3)
}

/// Renders the lag that the functions measured, and the lag that the demo measured.
pub fn lag(measured: Option<Lag>, probed: &Times) -> String {
    let mut table = table(&["lag", "p50", "p99", "max"]);
    let unknown = || "unknown".to_owned();
    let ms = |ms: f64| format!("{ms:.0} ms");
    let figures = measured.map(|lag| [lag.p50, lag.p99, lag.max].map(ms));
    let [p50, p99, max] = figures.unwrap_or_else(|| [unknown(), unknown(), unknown()]);
    table.add_row([
        "measured by the functions: from the change to the replica, all changes".to_owned(),
        p50,
        p99,
        max,
    ]);
    let shown = |time: Option<Duration>| time.map_or_else(unknown, console::duration);
    table.add_row([
        format!(
            "measured by the demo: from the answer to the put to the replica, {} puts one by one",
            probed.len()
        ),
        shown(probed.percentile(50)),
        shown(probed.percentile(99)),
        shown(probed.max()),
    ]);
    right(table, 1..=3)
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.iter().map(Cell::new));
    table
}

fn right(mut table: Table, columns: std::ops::RangeInclusive<usize>) -> String {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_shown_for_each_operation() {
        let cost = Cost {
            phase: "put",
            operations: 0,
            requests: Requests::default(),
        };
        assert!(requests(&[cost]).contains("0.00"));
    }

    #[test]
    fn an_unknown_lag_is_not_shown_as_zero() {
        let shown = lag(None, &Times::default());
        assert_eq!(shown.matches("unknown").count(), 6);
    }
}
