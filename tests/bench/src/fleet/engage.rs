//! How long until clusters take part: all of them at the start of the host, and one that comes later.

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use setpoint_test_kube::{Kube, Relay};
use setpoint_test_support::Host;
use setpoint_test_support::place::looks_at;

use super::clusters::{Fleet, cluster, configure, prepared};
use super::{EACH, clusters};
use crate::kube::objects::Place;
use crate::process::cpu;
use crate::report::{Report, quantile};

/// So many come while the host runs, one after another.
const ADDED: usize = 20;
/// Namespaces of the hub with this label are clusters.
const LABEL: &str = "bench=added";
/// Between two that come.
const PAUSE: Duration = Duration::from_millis(300);
/// All take part within this.
const ENGAGED: Duration = Duration::from_secs(60);
/// Rare enough to cost the host nothing that is seen in the figures.
const LOOK: Duration = Duration::from_millis(25);

pub(crate) fn run(kube: &Kube, report: &mut Report) {
    let count = clusters();
    let fleet = Fleet::new(kube, count);
    let host = all(kube, &fleet, "", &format!("  added: {{namespaces: {{label: '{LABEL}'}}}}\n"), report);
    let added = added(kube, &host, report);
    drop(host);
    added.iter().for_each(Place::clear);
    fleet.clear();

    // Nothing arrives there, and no connection ends.
    let silent = Relay::to(0);
    silent.silence();
    let dead = kube.kubeconfig_at(&format!("https://127.0.0.1:{}", silent.port()));
    let mut config = "  dead:\n    list:\n".to_owned();
    for number in 0..count {
        // Writing to a String cannot fail.
        let _ = writeln!(config, "      dead-{number}: {{kubeconfig: {}}}", dead.display());
    }
    all(kube, &fleet, &format!(", beside {count} that never answer"), &config, report);
    fleet.clear();
}

/// Starts a host that has these clusters, and in its configuration more of them.
fn all(kube: &Kube, fleet: &Fleet<'_>, beside: &str, more: &str, report: &mut Report) -> Host {
    let count = clusters();
    let kubeconfig = kube.kubeconfig_with_certificate("fleet-engage", &["system:masters"]);
    let host = prepared(looks_at(&kubeconfig, &kube.namespace()));
    configure(&host, &format!("clusters:\n{}{more}", fleet.listed(&kubeconfig)));
    fleet.fill();
    let converging = fleet.converging();
    let began = Instant::now();
    let host = host.start_again_without_waiting();
    host.wait_within("all clusters take part", ENGAGED, |host| {
        let rows = host.json("/v1/clusters");
        let rows = rows["clusters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let live = |row: &&serde_json::Value| row["provider"] == "live" && row["state"] == "Engaged";
        let engaged = rows.iter().filter(live).count() == count;
        if !engaged {
            thread::sleep(LOOK);
        }
        engaged.then_some(())
    });
    let engaged = began.elapsed().as_secs_f64();
    converging.wait(|| host.log_tail()).unwrap_or_else(|why| panic!("{why}"));
    let (ready, used) = (began.elapsed().as_secs_f64(), cpu(host.pid()));
    let what = format!("{count} clusters, {EACH} objects each{beside}: start of the host to all");
    report.row(format!("{what} engaged"), format!("{engaged:.1} s"), "—", None);
    report.row(format!("{what} reconciled"), format!("{ready:.1} s, {used:.1} s of CPU time"), "—", None);
    host
}

/// Adds clusters to those that the host has: these.
fn added<'k>(kube: &'k Kube, host: &Host, report: &mut Report) -> Vec<Place<'k>> {
    let (label, value) = LABEL.split_once('=').unwrap_or_default();
    let places: Vec<Place<'k>> = (0..ADDED).map(|_| cluster(kube)).collect();
    let add = |place: &Place<'_>| {
        place.fill();
        let converging = place.converging_to(1);
        thread::sleep(PAUSE);
        let began = Instant::now();
        let labels = json!({"metadata": {"labels": {label: value}}});
        kube.api().merge(&format!("/api/v1/namespaces/{}", place.namespace), &labels).ok();
        converging.wait(|| host.log_tail()).unwrap_or_else(|why| panic!("{why}"));
        began.elapsed().as_secs_f64() * 1e3
    };
    let mut took: Vec<f64> = places.iter().map(add).collect();
    took.sort_by(f64::total_cmp);
    let figure = format!("p50 {:.0} ms, slowest of {ADDED}: {:.0} ms", quantile(&took, 0.5), quantile(&took, 1.0));
    let what = format!("a cluster that comes to {} others, from its label to its first object Ready", clusters());
    report.row(what, figure, "—", None);
    places
}
