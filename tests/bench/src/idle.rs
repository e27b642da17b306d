//! A host that has nothing to do (design §9.6): no calls, no disk writes, no growing memory.
//! `SETPOINT_IDLE_SECONDS` says for how long (180; the soak takes an hour).

use std::thread;
use std::time::{Duration, Instant};

use setpoint_test_support::Host;

use crate::process::{cpu, resident, written};
use crate::report::Report;

const WORKFLOWS: usize = 1_000;
const USUAL: u64 = 180;
/// What was needed to start is given back before this.
const SETTLED: Duration = Duration::from_secs(60);
const SAMPLE: Duration = Duration::from_secs(5);

fn seconds() -> u64 {
    std::env::var("SETPOINT_IDLE_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(USUAL)
}

/// The slope of a line through points, by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), point| {
        (above + (point.0 - x) * (point.1 - y), below + (point.0 - x) * (point.0 - x))
    });
    above / below
}

pub(crate) fn run(report: &mut Report) {
    let mut setup = Host::setup().plugin("workflow").plugin("config-bundle");
    for at in 0..WORKFLOWS {
        let text = format!(
            "apiVersion: muster.giantswarm.io/v1alpha1\nkind: Workflow\nmetadata: {{name: w-{at}}}\n\
             spec: {{steps: [{{id: one, tool: x_one}}]}}\n"
        );
        setup = setup.file(&format!("{:02}/w-{at}.yaml", at / 100), &text);
    }
    let host = setup.start();
    host.all_synced(WORKFLOWS, Duration::from_secs(120));
    host.at_rest();
    let calls = |host: &Host| host.metric("setpoint_calls_total", &[]);
    let calls_before = calls(&host);
    thread::sleep(SETTLED);
    let pid = host.pid();
    let memory = || resident(pid) as f64 / 1024.0 / 1024.0;
    let (cpu_before, written_before, memory_before, began) = (cpu(pid), written(pid), memory(), Instant::now());
    let length = Duration::from_secs(seconds());
    let mut points = vec![(0.0, memory_before)];
    while began.elapsed() < length {
        thread::sleep(SAMPLE.min(length.saturating_sub(began.elapsed())));
        points.push((began.elapsed().as_secs_f64() / 3_600.0, memory()));
    }
    // Nobody asked the host anything until here.
    let (cpu_used, bytes, memory_after) = (cpu(pid) - cpu_before, written(pid) - written_before, memory());
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let called = calls(&host) - calls_before;
    let what = format!("idle with {WORKFLOWS} objects and 2 plugins for {minutes:.0} min");
    report.row(format!("{what}: calls of plugins"), format!("{called:.0}"), "0", Some(called == 0.0));
    report.row(format!("{what}: written to disk"), format!("{bytes} B"), "0", Some(bytes == 0));
    let growth = (memory_after / memory_before - 1.0) * 100.0;
    let figure = format!("{memory_before:.1} MiB {growth:+.2} %, slope {:+.2} MiB/h", slope(&points));
    report.row(format!("{what}: resident after a minute, and since"), figure, "≤ + 1 %", Some(growth <= 1.0));
    let figure = format!("{:.1} ms per minute", cpu_used * 1e3 / minutes);
    report.row(format!("{what}: CPU time"), figure, "—", None);
}
