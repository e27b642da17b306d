//! The budgets of the design as benchmarks: each figure beside its budget, with the conditions.
//! `cargo xtask bench` runs it in release; arguments name the parts. A figure beyond its budget is marked,
//! and somebody has to find out why; only a measurement that breaks off is a failure.

mod core;
mod host;
mod idle;
mod kube;
mod neighbours;
mod plugin;
mod process;
mod report;
mod servers;
mod start;
mod warm;

use std::panic::{AssertUnwindSafe, catch_unwind};

use report::Report;

/// Measures a part.
type Measure = fn(&mut Report);

/// What is measured, by the name that the command line knows it.
const PARTS: [(&str, Measure); 7] = [
    ("core", core::run),
    ("plugin", plugin::run),
    ("host", host::run),
    ("start", start::run),
    ("neighbours", neighbours::run),
    ("servers", servers::run),
    ("idle", idle::run),
];

fn main() -> std::process::ExitCode {
    let named: Vec<String> = std::env::args().skip(1).collect();
    let mut only: Vec<&str> = named.iter().map(String::as_str).collect();
    // One word for all that takes an API server.
    if let Some(at) = only.iter().position(|name| *name == "kube") {
        only.splice(at..=at, kube::PARTS.map(|(part, _)| part));
    }
    let known: Vec<&str> = PARTS.iter().map(|(part, _)| *part).chain(kube::PARTS.map(|(part, _)| part)).collect();
    if let Some(unknown) = only.iter().find(|name| !known.contains(name)) {
        eprintln!("error: there is no part {unknown:?}; known are kube, {}", known.join(", "));
        return std::process::ExitCode::from(2);
    }
    let (with_server, alone): (Vec<&str>, Vec<&str>) =
        only.iter().partition(|name| kube::PARTS.iter().any(|(part, _)| part == *name));
    let mut broken = false;
    if only.is_empty() || !alone.is_empty() {
        broken |= measure(&alone).is_err();
    }
    // With tables of their own, and never unless asked for: they take an API server, and programs to compare with.
    if !with_server.is_empty() {
        broken |= kube::run(&with_server).is_err();
    }
    if broken { std::process::ExitCode::FAILURE } else { std::process::ExitCode::SUCCESS }
}

/// One of the parts broke off. It was said already.
struct Broken;

/// Measures these parts, all if there are none, and prints their table.
fn measure(only: &[&str]) -> Result<(), Broken> {
    let mut report = Report::new();
    let mut result = Ok(());
    for (part, run) in PARTS {
        if !only.is_empty() && !only.contains(&part) {
            continue;
        }
        // The message of the panic is on standard error already; the figures before it are not lost.
        if catch_unwind(AssertUnwindSafe(|| run(&mut report))).is_err() {
            report.row(part, "broke off; see above the table".into(), "—", Some(false));
            result = Err(Broken);
        }
    }
    report.print();
    result
}
