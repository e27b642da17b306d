//! What a cluster costs in which nothing happens: a host with many of them beside one that has a single one.

use std::thread;
use std::time::Duration;

use setpoint_test_kube::Kube;
use setpoint_test_support::Host;

use super::clusters::{Fleet, configure, prepared};
use super::{EACH, clusters};
use crate::process::{cpu, proportional, resident};
use crate::report::Report;

/// What was needed to start is given back before this.
const SETTLED: Duration = Duration::from_secs(20);
/// So long nothing is done.
const REST: Duration = Duration::from_secs(60);

/// A host, by what the server knows it as.
struct Resting<'k> {
    kube: &'k Kube,
    user: String,
    host: Host,
}

/// What a host has used until now.
struct Used {
    cpu: f64,
    requests: usize,
}

impl<'k> Resting<'k> {
    fn new(kube: &'k Kube, fleet: &Fleet<'k>, user: &str) -> Self {
        let kubeconfig = kube.kubeconfig_with_certificate(user, &["system:masters"]);
        let host = prepared([]);
        configure(&host, &format!("clusters:\n{}", fleet.listed(&kubeconfig)));
        fleet.fill();
        let host = host.start_again();
        Self { kube, user: user.to_owned(), host }
    }

    fn used(&self) -> Used {
        // A watch is written down when it has ended, and the next one has begun then.
        Used { cpu: cpu(self.host.pid()), requests: self.kube.audited_of(&self.user).len() }
    }

    /// Per minute, since then: CPU time in ms, and requests.
    fn since(&self, before: &Used) -> (f64, f64) {
        let (now, minutes) = (self.used(), REST.as_secs_f64() / 60.0);
        ((now.cpu - before.cpu) * 1e3 / minutes, (now.requests - before.requests) as f64 / minutes)
    }
}

pub(crate) fn run(kube: &Kube, report: &mut Report) {
    let count = clusters();
    let (single, many) = (Fleet::new(kube, 1), Fleet::new(kube, count));
    let one = Resting::new(kube, &single, "fleet-rest-one");
    let all = Resting::new(kube, &many, "fleet-rest-all");
    for (resting, clusters) in [(&one, 1), (&all, count)] {
        resting.host.all_synced(clusters * EACH, Duration::from_secs(60));
    }
    thread::sleep(SETTLED);
    let before = (one.used(), all.used());
    thread::sleep(REST);
    let ((cpu_of_one, requests_of_one), (cpu_of_all, requests_of_all)) = (one.since(&before.0), all.since(&before.1));
    let each = |of_one: f64, of_all: f64| (of_all - of_one) / (count - 1) as f64;
    let memory = |of: fn(u32) -> u64| {
        let of = |resting: &Resting<'_>| of(resting.host.pid()) as f64 / 1024.0;
        (each(of(&one), of(&all)), of(&one) / 1024.0, of(&all) / 1024.0)
    };
    let what = format!("idle cluster with {EACH} objects, of {count}");
    for (name, of) in [("resident", resident as fn(u32) -> u64), ("proportional (Pss)", proportional)] {
        let (each, of_one, of_all) = memory(of);
        let figure = format!("{each:.0} KiB; host with 1: {of_one:.1} MiB, with {count}: {of_all:.1} MiB");
        report.row(format!("{what}: memory, {name}"), figure, "—", None);
    }
    let figure = format!(
        "{:.2} per minute; host with 1: {requests_of_one:.0}, with {count}: {requests_of_all:.0}",
        each(requests_of_one, requests_of_all)
    );
    report.row(format!("{what}: API requests"), figure, "—", None);
    let figure = format!(
        "{:.2} ms per minute; host with 1: {cpu_of_one:.0} ms, with {count}: {cpu_of_all:.0} ms",
        each(cpu_of_one, cpu_of_all)
    );
    report.row(format!("{what}: CPU time"), figure, "—", None);
    drop((one, all));
    single.clear();
    many.clear();
}
