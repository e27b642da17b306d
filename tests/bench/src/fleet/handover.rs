//! Two hosts that share a fleet, with leases as they are by default: for how long nobody acts on a shard when a host
//! comes, stops, is killed, or is killed and started again at once.

use setpoint_test_kube::Kube;
use setpoint_test_support::Host;
use setpoint_test_support::place::looks_at;

use super::clusters::{Fleet, configure, prepared};
use super::lookout::{Lookout, Process, Seen};
use crate::kube::number;
use crate::report::{Report, median};

/// Clusters beside the hub, each a shard.
const SHARED: usize = 20;
/// A pause that is worth a word.
const NOTICED: f64 = 0.1;

/// How long shards were without a host that moved from one to another.
#[derive(Default)]
struct Moved {
    pauses: Vec<f64>,
    /// How many moved each time.
    counts: Vec<String>,
    /// Of those that stayed where they were, the longest.
    stayed: f64,
    /// How long each time took, in seconds, written.
    took: Vec<String>,
}

impl Moved {
    /// Adds those that were acted on by one of these processes before.
    fn add(&mut self, seen: &Seen, from: impl Fn(Process) -> bool) {
        let mut count = 0;
        for (shard, before) in &seen.before {
            let pause = seen.nobody.get(shard).copied().unwrap_or_default();
            if seen.after.get(shard) == Some(before) {
                self.stayed = self.stayed.max(pause);
            } else if from(*before) {
                count += 1;
                self.pauses.push(pause);
            }
        }
        self.counts.push(count.to_string());
        self.took.push(format!("{:.1}", seen.took));
    }

    fn row(mut self, what: &str, shards: usize, report: &mut Report) {
        let counts = self.counts.join(", ");
        let mut figure = if self.pauses.is_empty() {
            format!("{counts} moved")
        } else {
            let longest = self.pauses.iter().copied().fold(0.0, f64::max);
            format!("{counts} moved; median {:.2} s, at most {longest:.2} s", median(&mut self.pauses))
        };
        if self.stayed >= NOTICED {
            figure.push_str(&format!("; one that stayed: {:.2} s", self.stayed));
        }
        figure.push_str(&format!("; all over after {} s", self.took.join(", ")));
        report.row(format!("{shards} shards, 2 hosts: {what}: time without a host"), figure, "—", None);
    }
}

pub(crate) fn run(kube: &Kube, report: &mut Report) {
    let fleet = Fleet::new(kube, number("SETPOINT_FLEET_CLUSTERS", SHARED).min(SHARED));
    let shards = fleet.len() + 1;
    let hub = kube.namespace();
    let prepare = |user: &str| {
        let kubeconfig = kube.kubeconfig_with_certificate(user, &["system:masters"]);
        let host = prepared(looks_at(&kubeconfig, &hub).into_iter().chain(["--leader-elect".to_owned()]));
        let sharding = format!("kubernetes:\n  lease: {{namespace: {hub}}}\n  sharding: {{enabled: true}}\n");
        configure(&host, &format!("{sharding}clusters:\n{}", fleet.listed(&kubeconfig)));
        host
    };
    let (first, second) = (prepare("fleet-first"), prepare("fleet-second"));
    fleet.fill();
    let lookout = Lookout::new();
    let start = |host: Host| {
        let host = host.start_again_without_waiting();
        let process = lookout.add(&host);
        (host, process)
    };
    let (first, staying) = start(first);
    lookout.begin();
    lookout.settled("one host", shards);

    let mut came = Moved::default();
    let mut join = |host: Host| {
        lookout.begin();
        let (host, process) = start(host);
        came.add(&lookout.settled("a host comes", shards), |from| from == staying);
        (host, process)
    };
    let mut stopped = Moved::default();
    let (second, process) = join(second);
    lookout.begin();
    let (status, _) = second.terminate();
    assert!(status.success(), "{status}\n{}", second.log_tail());
    lookout.remove(process);
    stopped.add(&lookout.settled("a host stops", shards), |from| from == process);

    let mut killed = Moved::default();
    let (second, process) = join(second);
    lookout.begin();
    second.kill();
    lookout.remove(process);
    killed.add(&lookout.settled("a host is killed", shards), |from| from == process);

    let (mut lost, mut handed) = (Moved::default(), Moved::default());
    let (second, process) = join(second);
    lookout.begin();
    second.kill();
    lookout.remove(process);
    let (second, _) = start(second);
    let seen = lookout.settled("a host is killed and started again", shards);
    lost.add(&seen, |from| from == process);
    handed.add(&seen, |from| from == staying);

    came.row("one comes (3 times), what is handed over to it", shards, report);
    stopped.row("one stops (SIGTERM), what it had", shards, report);
    killed.row("one is killed, what it had", shards, report);
    lost.row("one is killed and at once started again, what it had", shards, report);
    handed.row("the same, what the other one hands over to it", shards, report);
    drop((first, second, lookout));
    fleet.clear();
}
