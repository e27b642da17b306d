//! The real binary on real files: 10 000 objects, and the way of one edit.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::plugin::guests;
use crate::report::{Report, quantile, resident};

struct Host {
    child: Child,
    server: String,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary() -> PathBuf {
    std::env::var_os("SETPOINT_BIN").map_or_else(|| PathBuf::from("target/release/setpoint"), PathBuf::from)
}

fn start(dir: &Path) -> Option<Host> {
    let child = Command::new(binary())
        .arg("run")
        .args(["--listen", "127.0.0.1:0", "--log-level", "error"])
        .arg("--plugins")
        .arg(dir.join("plugins"))
        .arg("--resources")
        .arg(dir.join("resources"))
        .arg("--state")
        .arg(dir.join("state"))
        .stdout(Stdio::null())
        .spawn()
        .ok()?;
    let mut host = Host { child, server: String::new() };
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        let text = std::fs::read_to_string(dir.join("state/host.json")).unwrap_or_default();
        if let Some(server) =
            serde_json::from_str::<Value>(&text).ok().and_then(|v| Some(v["server"].as_str()?.to_owned()))
        {
            host.server = server;
            return Some(host);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    None
}

impl Host {
    fn get(&self, path: &str) -> Option<Value> {
        setpoint_test_support::get_json(&format!("{}{path}", self.server))
    }

    fn wait(&self, path: &str, at_most: Duration, every: Duration, done: impl Fn(&Value) -> bool) -> bool {
        let deadline = Instant::now() + at_most;
        while Instant::now() < deadline {
            if self.get(path).is_some_and(|value| done(&value)) {
                return true;
            }
            std::thread::sleep(every);
        }
        false
    }
}

fn workflow(name: &str, steps: usize) -> String {
    let steps: String = (0..steps).map(|at| format!("  - id: step-{at}\n    tool: x_tool_{at}\n")).collect();
    format!(
        "apiVersion: muster.giantswarm.io/v1alpha1\nkind: Workflow\nmetadata:\n  name: {name}\nspec:\n  description: a workflow\n  steps:\n{steps}"
    )
}

fn prepare(count: usize) -> Option<tempfile::TempDir> {
    let dir = tempfile::tempdir().ok()?;
    for part in ["plugins", "resources"] {
        std::fs::create_dir_all(dir.path().join(part)).ok()?;
    }
    std::fs::copy(guests().join("workflow.wasm"), dir.path().join("plugins/workflow.wasm")).ok()?;
    for number in 0..count {
        let sub = dir.path().join(format!("resources/{:02}", number / 100));
        std::fs::create_dir_all(&sub).ok()?;
        let name = format!("workflow-{number:05}");
        std::fs::write(sub.join(format!("{name}.yaml")), workflow(&name, 3)).ok()?;
    }
    Some(dir)
}

pub(crate) fn run(report: &mut Report) {
    many(report);
    edit(report);
}

fn many(report: &mut Report) {
    const FILES: usize = 10_000;
    let what = format!("{FILES} YAML files, start to all Synced");
    let Some(dir) = prepare(FILES) else {
        return report.row(what, "SKIPPED: guests are not built; run cargo xtask guests".into(), "≤ 3 s", None);
    };
    // The code cache is filled by a start without files.
    let empty = dir.path().join("resources");
    let aside = dir.path().join("aside");
    let _ = std::fs::rename(&empty, &aside);
    let _ = std::fs::create_dir_all(&empty);
    drop(start(dir.path()));
    let _ = std::fs::remove_dir_all(dir.path().join("state/host.json"));
    let _ = std::fs::remove_file(dir.path().join("state/host.json"));
    let _ = std::fs::remove_dir(&empty);
    let _ = std::fs::rename(&aside, &empty);
    let _ = std::fs::remove_file(dir.path().join("state/state.redb"));
    let began = Instant::now();
    let Some(host) = start(dir.path()) else {
        return report.row(what, "the host did not start".into(), "≤ 3 s", Some(false));
    };
    let synced = host.wait("/v1/overview", Duration::from_secs(120), Duration::from_millis(50), |v| {
        v["status_summary"]["synced"] == FILES
    });
    let took = began.elapsed().as_secs_f64();
    let memory = resident(&host.child.id().to_string()) / 1024 / 1024;
    let figure = if synced { format!("{took:.2} s, {memory} MiB resident") } else { "not synced in 120 s".into() };
    report.row(what, figure, "≤ 3 s", Some(synced && took <= 3.0));
}

fn edit(report: &mut Report) {
    const EDITS: usize = 60;
    let what = "edit of one file to its status, idle host";
    let Some(dir) = prepare(1) else {
        return report.row(what, "SKIPPED: guests are not built; run cargo xtask guests".into(), "p50 ≤ 20 ms", None);
    };
    let Some(host) = start(dir.path()) else {
        return report.row(what, "the host did not start".into(), "p50 ≤ 20 ms", Some(false));
    };
    let file = dir.path().join("resources/00/workflow-00000.yaml");
    let path = "/v1/objects/local/muster.giantswarm.io/Workflow/default/workflow-00000";
    let mut took = Vec::new();
    for round in 0..EDITS {
        let steps = 1 + round % 7;
        if !host.wait(path, Duration::from_secs(10), Duration::from_millis(1), |v| {
            v["object"]["status"]["stepCount"].is_u64()
        }) {
            return report.row(what, "the object was not reconciled".into(), "p50 ≤ 20 ms", Some(false));
        }
        // An idle host: beyond the debounce of the edit before.
        std::thread::sleep(Duration::from_millis(600));
        let began = Instant::now();
        let _ = std::fs::write(&file, workflow("workflow-00000", steps));
        if host.wait(path, Duration::from_secs(10), Duration::from_millis(1), |v| {
            v["object"]["status"]["stepCount"] == steps
        }) {
            took.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    took.sort_by(f64::total_cmp);
    let (p50, p99) = (quantile(&took, 0.5), quantile(&took, 0.99));
    let figure = format!("p50 {p50:.1} ms, p99 {p99:.1} ms ({} edits, polled each ms over HTTP)", took.len());
    report.row(what, figure, "p50 ≤ 20 ms", Some(p50 <= 20.0 && took.len() == EDITS));
}
