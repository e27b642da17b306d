//! Many controllers: in one host, or each in a process of its own.

use std::thread;
use std::time::Duration;

use setpoint_test_kube::Kube;

use super::contender::{Contender, groups};
use super::objects::{Place, define};
use super::table::{Budget, Table, mebibytes, milliseconds, seconds};
use super::{converge, number};
use crate::process::{cpu, peak, proportional, resident};

/// From three controllers on the host is to need less than both (design §10); twenty are what an installation has.
const CONTROLLERS: [usize; 2] = [3, 20];
/// Bundles of each kind.
const EACH: usize = 50;
const SETTLE: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(30);

pub(crate) fn run(kube: &Kube, table: &mut Table) {
    for controllers in CONTROLLERS {
        let groups = groups(controllers);
        define(kube, &groups);
        let each = number("SETPOINT_KUBE_OBJECTS", EACH).min(EACH);
        let place = Place { api: kube.api(), namespace: kube.namespace(), groups, each };
        for who in Contender::ALL {
            measure(kube, &place, who, table);
        }
    }
}

fn measure(kube: &Kube, place: &Place<'_>, who: Contender, table: &mut Table) {
    let controllers = place.groups.len();
    let kubeconfig = kube.kubeconfig_with_certificate(&format!("{}-of-{controllers}", who.name()), &["system:masters"]);
    let prepared = who.prepare(&place.groups, &kubeconfig, "");
    place.fill();
    let Some((running, took)) = converge(place, who, prepared) else { return place.clear() };
    thread::sleep(SETTLE);
    let mut add = |what: &str, budget, write, value| {
        table.add(
            &format!("{controllers} controllers, {} objects each: {what}", place.each),
            budget,
            write,
            who,
            value,
        );
    };
    add("start to all ready", Budget::None, seconds, took);
    add("CPU time for that", Budget::None, seconds, running.sum(cpu));
    add("memory, peaks added up", Budget::AtMostBoth, mebibytes, running.sum(peak) as f64);
    let used = running.sum(cpu);
    thread::sleep(IDLE);
    let used = running.sum(cpu) - used;
    add("idle: CPU time per minute", Budget::None, milliseconds, used * 1e3 * 60.0 / IDLE.as_secs_f64());
    add("memory at rest", Budget::AtMostBoth, mebibytes, running.sum(resident) as f64);
    add("memory at rest, shared pages once", Budget::AtMostBoth, mebibytes, running.sum(proportional) as f64);
    drop(running);
    place.clear();
}
