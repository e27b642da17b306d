//! The budgets of the design as benchmarks: each figure beside its budget, with the conditions.
//! `cargo xtask bench` runs it in release; arguments name the parts. A figure beyond its budget is marked,
//! and somebody has to find out why; only a measurement that breaks off is a failure.

mod core;
mod fleet;
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

/// What takes an API server: it has a table of its own, and is never measured unless asked for.
struct WithServer {
    /// One word for all of it.
    name: &'static str,
    parts: Vec<&'static str>,
    run: fn(&[&str]) -> Result<(), Broken>,
}

fn with_server() -> [WithServer; 2] {
    [
        WithServer { name: "kube", parts: names(&kube::PARTS), run: kube::run },
        WithServer { name: "fleet", parts: names(&fleet::PARTS), run: fleet::run },
    ]
}

fn names<M>(parts: &[(&'static str, M)]) -> Vec<&'static str> {
    parts.iter().map(|(part, _)| *part).collect()
}

fn main() -> std::process::ExitCode {
    let named: Vec<String> = std::env::args().skip(1).collect();
    let with_server = with_server();
    let parts_of = |word: &str| with_server.iter().find(|table| table.name == word).map(|table| table.parts.clone());
    let only: Vec<&str> = named.iter().flat_map(|word| parts_of(word).unwrap_or_else(|| vec![word.as_str()])).collect();
    let mut known = names(&PARTS);
    known.extend(with_server.iter().flat_map(|table| &table.parts));
    if let Some(unknown) = only.iter().find(|name| !known.contains(name)) {
        eprintln!("error: there is no part {unknown:?}; known are kube, fleet, {}", known.join(", "));
        return std::process::ExitCode::from(2);
    }
    let asked_for = |parts: &[&str]| only.iter().copied().filter(|name| parts.contains(name)).collect::<Vec<_>>();
    let alone = asked_for(&names(&PARTS));
    let mut broken = false;
    if only.is_empty() || !alone.is_empty() {
        broken |= measure(&PARTS, &alone).is_err();
    }
    for table in &with_server {
        let parts = asked_for(&table.parts);
        if !parts.is_empty() {
            broken |= (table.run)(&parts).is_err();
        }
    }
    if broken { std::process::ExitCode::FAILURE } else { std::process::ExitCode::SUCCESS }
}

/// One of the parts broke off. It was said already.
struct Broken;

/// Measures these of the parts, all if none is named, and prints their table.
fn measure<M: Fn(&mut Report)>(parts: &[(&'static str, M)], only: &[&str]) -> Result<(), Broken> {
    let mut report = Report::new();
    let mut result = Ok(());
    for (part, run) in parts {
        if !only.is_empty() && !only.contains(part) {
            continue;
        }
        // The message of the panic is on standard error already; the figures before it are not lost.
        if catch_unwind(AssertUnwindSafe(|| run(&mut report))).is_err() {
            report.row(*part, "broke off; see above the table".into(), "—", Some(false));
            result = Err(Broken);
        }
    }
    report.print();
    result
}
