//! 200 MCP servers in one host: until all run, what the host takes, and what it does when nothing happens.

use std::thread;
use std::time::{Duration, Instant};

use setpoint_test_support::Host;
use setpoint_test_support::mcp::test_server;

use crate::process::{cpu, resident};
use crate::report::Report;

const SERVERS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(120);
/// So long nothing is done.
const IDLE: Duration = Duration::from_secs(30);

pub(crate) fn run(report: &mut Report) {
    let command = test_server();
    let mut setup = Host::setup().arg("--grant").arg("mcp-server=process").plugin("mcp-server");
    for at in 0..SERVERS {
        let text = format!(
            "apiVersion: muster.giantswarm.io/v1alpha1\nkind: MCPServer\nmetadata: {{name: s-{at}}}\n\
             spec: {{type: stdio, autoStart: true, command: {command:?}, args: [--stdio]}}\n"
        );
        setup = setup.file(&format!("s-{at}.yaml"), &text);
    }
    let began = Instant::now();
    let host = setup.start();
    host.wait_within("all servers run", PATIENCE, |host| {
        let rows = host.rows("MCPServer");
        let runs = rows.iter().filter(|row| row["columns"].to_string().contains("Running")).count();
        (runs == SERVERS).then_some(())
    });
    let took = began.elapsed();
    let what = format!("{SERVERS} MCPServers");
    report.row(format!("{what}, start of the host to all Running"), format!("{:.1} s", took.as_secs_f64()), "—", None);
    host.at_rest();
    let pid = host.pid();
    report.row(format!("{what}: resident, the servers aside"), format!("{} MiB", resident(pid) >> 20), "—", None);
    let counted = |host: &Host| (host.metric("setpoint_calls_total", &[]), host.writes());
    let (before, used) = (counted(&host), cpu(pid));
    thread::sleep(IDLE);
    let (used, after) = (cpu(pid) - used, counted(&host));
    let (calls, writes) = (after.0 - before.0, after.1 - before.1);
    let idle = format!("{what}, idle for {} s", IDLE.as_secs());
    report.row(
        format!("{idle}: calls, writes"),
        format!("{calls:.0}, {writes}"),
        "0, 0",
        Some((calls, writes) == (0.0, 0)),
    );
    let minutes = IDLE.as_secs_f64() / 60.0;
    report.row(format!("{idle}: CPU time"), format!("{:.0} ms per minute", used * 1e3 / minutes), "—", None);
}
