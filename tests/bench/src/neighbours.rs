//! A well-behaved plugin beside each kind of hostile one (design §9.5), in the real binary.
//!
//! Objects of the well-behaved plugin are triggered at a constant rate, those of the hostile one at the
//! same. What counts is what the host says of each run: wait in the queue and call.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use setpoint_test_support::{Client, Host};

use crate::report::{Report, quantile};

const OBJECTS: usize = 400;
/// Not more than the runs that the host keeps of each object.
const ROUNDS: usize = 3;
/// Triggers per second, of each of both.
const RATE: f64 = 60.0;
/// What is behind when the load ends is waited for so long.
const BEHIND: Duration = Duration::from_secs(30);

const NEIGHBOUR: &str = "Workflow.muster.giantswarm.io";
const HOSTILE: &str = "Hostile.examples.setpoint.dev";

/// What hostile ones do, and how a person would say it.
const HOSTILITIES: [(&str, &str); 5] = [
    ("spin", "computes until the limit of CPU time"),
    ("allocate", "takes memory until the limit"),
    ("panic", "traps at once"),
    ("log-flood", "logs 2 000 lines in each call"),
    ("many-host-calls", "reads 10 001 times in each call"),
];

struct Figures {
    /// Of queue wait and call, milliseconds.
    p99: f64,
    /// Calls per second while the load lasted.
    throughput: f64,
    /// Runs behind `p99`.
    runs: usize,
}

fn workflows() -> String {
    (0..OBJECTS).fold(String::new(), |mut text, at| {
        // Writing to a String cannot fail, here and below.
        let _ = write!(
            text,
            "---\napiVersion: muster.giantswarm.io/v1alpha1\nkind: Workflow\nmetadata: {{name: w-{at}}}\n\
             spec:\n  steps:\n  - {{id: one, tool: x_one}}\n  - {{id: two, tool: x_two}}\n"
        );
        text
    })
}

fn hostiles(behaviour: &str) -> String {
    (0..OBJECTS).fold(String::new(), |mut text, at| {
        let _ = write!(
            text,
            "---\napiVersion: examples.setpoint.dev/v1alpha1\nkind: Hostile\nmetadata: {{name: h-{at}}}\n\
             spec: {{behaviour: {behaviour}}}\n"
        );
        text
    })
}

/// Triggers objects one after another at the rate, whatever becomes of them; answers how many.
fn load(client: &Client, kind: &str, letter: char, goes_on: impl Fn(usize) -> bool) -> usize {
    let began = Instant::now();
    let mut sent = 0;
    while goes_on(sent) {
        let due = Duration::from_secs_f64(sent as f64 / RATE);
        thread::sleep(due.saturating_sub(began.elapsed()));
        let path = Host::path(kind, &format!("{letter}-{}", sent % OBJECTS));
        // An object of the hostile one may not be there yet, or not be taken: that is the host's choice.
        let _ = client.post(&format!("/v1/reconciles/{path}/trigger"));
        sent += 1;
    }
    sent
}

fn calls(host: &Host) -> f64 {
    host.metric("setpoint_plugin_call_seconds_count", &["plugin=\"workflow\""])
}

fn measure(hostility: Option<&str>) -> Figures {
    let host = Host::setup().plugin("workflow").plugin("hostile").file("workflows.yaml", &workflows()).start();
    host.all_synced(OBJECTS, Duration::from_secs(60));
    host.at_rest();
    if let Some(behaviour) = hostility {
        host.write("hostiles.yaml", &hostiles(behaviour));
    }
    let over = AtomicBool::new(false);
    let before = calls(&host);
    let (sent, throughput) = thread::scope(|scope| {
        if hostility.is_some() {
            let client = Client::new(host.client().server());
            let over = &over;
            // Bounded for the case that nobody says that it is over.
            let goes_on = move |sent: usize| !over.load(Ordering::Relaxed) && sent < 10 * OBJECTS * ROUNDS;
            scope.spawn(move || load(&client, HOSTILE, 'h', goes_on));
        }
        let began = Instant::now();
        let sent = load(host.client(), NEIGHBOUR, 'w', |sent| sent < OBJECTS * ROUNDS);
        let throughput = (calls(&host) - before) / began.elapsed().as_secs_f64();
        over.store(true, Ordering::Relaxed);
        (sent, throughput)
    });
    // What waits longest counts as well. Two triggers of one object may be one call.
    let deadline = Instant::now() + BEHIND;
    while calls(&host) - before < sent as f64 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    let mut took: Vec<f64> = host
        .rows("Workflow")
        .iter()
        .flat_map(|row| row["runs"].as_array().cloned().unwrap_or_default())
        // Not the first one, for which everything waits at the start.
        .filter(|run| run["causes"].as_array().is_some_and(|causes| causes.iter().any(|cause| cause == "manual")))
        .filter_map(|run| {
            let call = run["call_ms"].as_u64().or(run["took_ms"].as_u64())?;
            Some((run["waited_ms"].as_u64()? + call) as f64)
        })
        .collect();
    took.sort_by(f64::total_cmp);
    Figures { p99: quantile(&took, 0.99), throughput, runs: took.len() }
}

pub(crate) fn run(report: &mut Report) {
    let alone = measure(None);
    let what = format!("a plugin alone, {OBJECTS} objects, {RATE} triggers/s: queue wait + call, p99");
    let figure = format!("{:.0} ms, {:.1} calls/s ({} runs)", alone.p99, alone.throughput, alone.runs);
    report.row(what, figure, "—", None);
    let longest = (2.0 * alone.p99).max(25.0);
    for (behaviour, meaning) in HOSTILITIES {
        let beside = measure(Some(behaviour));
        let share = beside.throughput / alone.throughput * 100.0;
        let what = format!("beside one at the same load that {meaning} (`{behaviour}`)");
        let figure =
            format!("{:.0} ms, {:.1} calls/s = {share:.0} % ({} runs)", beside.p99, beside.throughput, beside.runs);
        let held = beside.p99 <= longest && share > 45.0 && beside.runs > OBJECTS;
        report.row(what, figure, "≤ 2× or 25 ms, the larger; > 45 %", Some(held));
    }
}
