//! Setpoint alone with many objects: the first pass, one that finds nothing to do, resyncs, memory, a list anew.

use std::thread;
use std::time::{Duration, Instant};

use setpoint_test_kube::Kube;

use super::contender::{Contender, Running, groups};
use super::number;
use super::objects::{Place, define};
use super::table::{Budget, Table, count, mebibytes, milliseconds, seconds};
use crate::process::{cpu, forget_peak, peak, resident};

const OBJECTS: usize = 5_000;
const SETTLE: Duration = Duration::from_secs(5);
/// Short, so that there are some while they are waited for.
const RESYNC: Duration = Duration::from_secs(20);
/// A list that is due is made within this.
const RELISTED: Duration = Duration::from_secs(120);

pub(crate) fn run(kube: &Kube, table: &mut Table) {
    let groups = groups(1);
    define(kube, &groups);
    let objects = number("SETPOINT_KUBE_OBJECTS", OBJECTS);
    let place = Place { api: kube.api(), namespace: kube.namespace(), groups, each: objects };
    let kubeconfig = kube.kubeconfig_with_certificate("setpoint-large", &["system:masters"]);
    let who = Contender::Setpoint;
    let mut add =
        |what: &str, write, value| table.add(&format!("{objects} objects: {what}"), Budget::None, write, who, value);
    let config = format!("plugins:\n  '*':\n    tuning: {{resync: {}s}}\n", RESYNC.as_secs());
    let prepared = who.prepare(&place.groups, &kubeconfig, &config);
    let Running::Host(host) = prepared.start() else { return };
    thread::sleep(SETTLE);
    let empty = resident(host.pid());
    host.kill();

    place.fill();
    let converging = place.converging();
    let began = Instant::now();
    let host = host.start_again_without_waiting();
    converging.wait(|| host.log_tail()).unwrap_or_else(|why| panic!("{why}"));
    add("first pass, from the start of the process", seconds, began.elapsed().as_secs_f64());
    drop(converging);
    thread::sleep(SETTLE);
    add("memory, peak", mebibytes, peak(host.pid()) as f64);

    host.kill();
    let began = Instant::now();
    let host = host.start_again_without_waiting();
    host.all_synced(objects, Duration::from_secs(120));
    add("the same where all is as it shall be", seconds, began.elapsed().as_secs_f64());
    assert_eq!(host.writes(), 0, "nothing is to be written");
    thread::sleep(SETTLE);
    let each = (resident(host.pid()) - empty) as f64 / objects as f64;
    add("memory for each, with its source and its child, of 1.2 kB both", bytes, each);

    let before =
        (host.metric("setpoint_memo_hits_total", &[]), host.metric("setpoint_calls_total", &[]), cpu(host.pid()));
    thread::sleep(RESYNC * 2);
    let resyncs = host.metric("setpoint_memo_hits_total", &[]) - before.0;
    add("CPU time of a resync of all", milliseconds, (cpu(host.pid()) - before.2) * 1e3 * objects as f64 / resyncs);
    add("calls of the plugin in it", count, host.metric("setpoint_calls_total", &[]) - before.1);

    let relists = || host.metric("setpoint_relists_total", &[]);
    let (before, rest) = (relists(), resident(host.pid()));
    forget_peak(host.pid());
    // Started anew, the server knows nothing of versions that are older than it is: what is watched is listed anew.
    kube.start_again();
    // As many as there are watches of what there is much of.
    host.wait_within("everything is listed anew", RELISTED, |host| {
        (relists() >= before + 2.0 && host.ready()).then_some(())
    });
    thread::sleep(SETTLE);
    add("memory at rest", mebibytes, rest as f64);
    add("peak while everything is listed anew", mebibytes, peak(host.pid()) as f64);
    assert_eq!(host.writes(), 0, "nothing is to be written");
    drop(host);
    place.clear();
}

fn bytes(value: f64) -> String {
    format!("{value:.0} B")
}
