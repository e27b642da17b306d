//! The budgets of the design as benchmarks: each figure beside its budget, with the conditions.
//! `cargo xtask bench` runs it in release. Nothing here fails a build: a figure beyond its budget is
//! marked, and somebody has to find out why.

mod core;
mod host;
mod plugin;
mod report;

use report::Report;

fn main() {
    let only = std::env::args().nth(1);
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    let mut report = Report::new();
    if wanted("core") {
        core::run(&mut report);
    }
    if wanted("plugin") {
        plugin::run(&mut report);
    }
    if wanted("host") {
        host::run(&mut report);
    }
    report.print();
}
