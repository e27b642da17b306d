//! The same call in an instance that answered calls before (rule A13).

use std::sync::Arc;

use setpoint_plugin::{Limits, Plugin};

use crate::plugin::measure;
use crate::report::{Report, quantile};

/// Calls of one instance before it is made anew.
const CALLS: u32 = 1_000;

pub(crate) fn run(report: &mut Report, runtime: &tokio::runtime::Runtime, plugin: &Arc<Plugin>) {
    let limits = Limits { warm_calls: Some(CALLS), ..Limits::default() };
    let (size, took) = measure(runtime, plugin, limits);
    let (p50, p99) = (quantile(&took, 0.5), quantile(&took, 0.99));
    let what = format!("the same {size} B in a warm instance of {CALLS} calls");
    report.row(format!("{what}, p50"), format!("{p50:.1} µs"), "≤ 10 µs", Some(p50 <= 10.0));
    report.row(format!("{what}, p99"), format!("{p99:.1} µs"), "—", None);
}
