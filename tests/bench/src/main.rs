//! The budgets of the design as benchmarks: each figure beside its budget, with the conditions.
//! `cargo xtask bench` runs it in release; arguments name the parts. A figure beyond its budget is marked,
//! and somebody has to find out why; only a measurement that breaks off is a failure.

mod core;
mod host;
mod idle;
mod neighbours;
mod plugin;
mod report;
mod start;
mod warm;

use std::panic::{AssertUnwindSafe, catch_unwind};

use report::Report;

/// Measures a part.
type Measure = fn(&mut Report);

/// What is measured, by the name that the command line knows it.
const PARTS: [(&str, Measure); 6] = [
    ("core", core::run),
    ("plugin", plugin::run),
    ("host", host::run),
    ("start", start::run),
    ("neighbours", neighbours::run),
    ("idle", idle::run),
];

fn main() -> std::process::ExitCode {
    let only: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = only.iter().find(|name| !PARTS.iter().any(|(part, _)| part == name)) {
        let known: Vec<&str> = PARTS.iter().map(|(part, _)| *part).collect();
        eprintln!("error: there is no part {unknown:?}; known are {}", known.join(", "));
        return std::process::ExitCode::from(2);
    }
    let mut report = Report::new();
    let mut broken = false;
    for (part, run) in PARTS {
        if !only.is_empty() && !only.iter().any(|name| name == part) {
            continue;
        }
        // The message of the panic is on standard error already; the figures before it are not lost.
        if catch_unwind(AssertUnwindSafe(|| run(&mut report))).is_err() {
            report.row(part, "broke off; see above the table".into(), "—", Some(false));
            broken = true;
        }
    }
    report.print();
    if broken { std::process::ExitCode::FAILURE } else { std::process::ExitCode::SUCCESS }
}
