//! Many clusters in one host, and one fleet in two hosts.
//!
//! | question | module |
//! |---|---|
//! | what is a cluster here, and what is in it | [`clusters`] |
//! | how long until they take part | [`engage`] |
//! | what does one cost that is at rest | [`rest`] |
//! | how long is nobody at work when hosts come and go | [`handover`], as [`lookout`] sees it |
//!
//! `SETPOINT_FLEET_CLUSTERS` makes it smaller while something is looked for.

mod clusters;
mod engage;
mod handover;
mod lookout;
mod rest;

use setpoint_test_kube::audit::Level;
use setpoint_test_kube::{Kube, available};

use crate::Broken;
use crate::kube::objects::define;
use crate::kube::{groups, number};
use crate::report::Report;

/// Measures a part.
type Measure = fn(&Kube, &mut Report);

/// What is measured, by the name that the command line knows it.
pub(crate) const PARTS: [(&str, Measure); 3] =
    [("fleet.engage", engage::run), ("fleet.rest", rest::run), ("fleet.handover", handover::run)];

/// So many clusters are one fleet.
const CLUSTERS: usize = 100;
/// Bundles in each, with a source and a child each.
const EACH: usize = 3;

/// Measures these parts and prints their table.
pub(crate) fn run(parts: &[&str]) -> Result<(), Broken> {
    if !available() {
        // That was said, with what is missing.
        return Err(Broken);
    }
    // Every request is written down: they are counted.
    let kube = Kube::setup().audit(Level::Requests).start();
    define(&kube, &groups(1));
    let kube = &kube;
    crate::measure(&PARTS.map(|(part, measure)| (part, move |report: &mut Report| measure(kube, report))), parts)
}

fn clusters() -> usize {
    number("SETPOINT_FLEET_CLUSTERS", CLUSTERS)
}
