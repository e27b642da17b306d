//! One controller: time to converge, requests, memory, edits, idle CPU.

use std::thread;
use std::time::Duration;

use setpoint_test_kube::Kube;

use super::contender::{Contender, groups};
use super::objects::{Place, define};
use super::table::{Budget, Table, count, mebibytes, milliseconds, seconds};
use super::{converge, number};
use crate::process::{cpu, peak, resident};
use crate::report::quantile;

const OBJECTS: usize = 2_000;
const ROUNDS: usize = 3;
const EDITS: usize = 200;
/// Between two edits.
const PAUSE: Duration = Duration::from_millis(50);
/// What comes after the last object is ready is over within this.
const SETTLE: Duration = Duration::from_secs(5);
/// So long nothing is done.
const IDLE: Duration = Duration::from_secs(30);

pub(crate) fn run(kube: &Kube, table: &mut Table) {
    let objects = number("SETPOINT_KUBE_OBJECTS", OBJECTS);
    let rounds = number("SETPOINT_KUBE_ROUNDS", ROUNDS);
    let groups = groups(1);
    define(kube, &groups);
    let place = Place { api: kube.api(), namespace: kube.namespace(), groups, each: objects };
    for round in 0..rounds {
        // Whoever comes first finds a server that is younger: each does once.
        for at in 0..Contender::ALL.len() {
            let who = Contender::ALL[(round + at) % Contender::ALL.len()];
            measure(kube, &place, who, round, table);
        }
    }
}

fn measure(kube: &Kube, place: &Place<'_>, who: Contender, round: usize, table: &mut Table) {
    let user = format!("{}-{round}", who.name());
    let kubeconfig = kube.kubeconfig_with_certificate(&user, &["system:masters"]);
    let prepared = who.prepare(&place.groups, &kubeconfig, "");
    place.fill();
    let requests = || {
        let audited = kube.audited_of(&user);
        let watches = audited.iter().filter(|one| one.verb() == "watch").count();
        let writes = audited.iter().filter(|one| one.is_write()).count();
        (audited.len() - watches - writes, writes)
    };
    let (reads_before, writes_before) = requests();
    let Some((running, took)) = converge(place, who, prepared) else { return place.clear() };
    thread::sleep(SETTLE);
    let (reads, writes) = requests();
    assert_eq!(place.children(), place.each, "each bundle has its child");
    let all = place.each;
    let mut add = |what: &str, budget, write, value| table.add(what, budget, write, who, value);
    add(&format!("{all} objects, start of the process to all ready"), Budget::AtMostBoth, seconds, took);
    add("CPU time of the process for that", Budget::None, seconds, running.sum(cpu));
    add("requests for that: reads", Budget::None, count, (reads - reads_before) as f64);
    add("requests for that: writes", Budget::None, count, (writes - writes_before) as f64);
    add("memory, peak", Budget::AtMostControllerRuntime, mebibytes, running.sum(peak) as f64);
    let edits = place.edits(EDITS.min(all), PAUSE);
    add("edit of a source to its child, p50", Budget::None, milliseconds, quantile(&edits, 0.5));
    add("edit of a source to its child, p99", Budget::None, milliseconds, quantile(&edits, 0.99));
    thread::sleep(SETTLE);
    let ((reads, writes), used) = (requests(), running.sum(cpu));
    thread::sleep(IDLE);
    let (reads_after, writes_after) = requests();
    let (used, asked) = (running.sum(cpu) - used, reads_after + writes_after - reads - writes);
    add("idle: CPU time per minute", Budget::None, milliseconds, used * 1e3 * 60.0 / IDLE.as_secs_f64());
    add("idle: requests", Budget::None, count, asked as f64);
    add("memory, at rest", Budget::AtMostControllerRuntime, mebibytes, running.sum(resident) as f64);
    drop(running);
    place.clear();
}
