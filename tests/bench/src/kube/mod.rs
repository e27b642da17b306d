//! The same job against the same API server: the plugin `config-bundle` in the host, and two programs that do it with
//! kube-rs and with controller-runtime (design §10, last row).
//!
//! | question | module |
//! |---|---|
//! | who is measured, and how is it started | [`contender`] |
//! | what is there to be done, and when is it done | [`objects`] |
//! | 2 000 objects, edits, memory, idle | [`job`] |
//! | 20 controllers | [`controllers`] |
//! | 5 000 objects | [`large`] |
//! | how are figures shown beside each other | [`table`] |
//!
//! `SETPOINT_KUBE_OBJECTS` and `SETPOINT_KUBE_ROUNDS` make it smaller while something is looked for.

mod contender;
mod controllers;
mod job;
mod large;
pub(crate) mod objects;
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

pub(crate) use contender::groups;
use contender::{Contender, Prepared, Running};
use objects::Place;
use setpoint_test_kube::audit::Level;
use setpoint_test_kube::{Kube, available};
use table::Table;

use crate::Broken;

/// Measures a part.
type Measure = fn(&Kube, &mut Table);

/// What is measured, by the name that the command line knows it.
pub(crate) const PARTS: [(&str, Measure); 3] =
    [("kube.job", job::run), ("kube.controllers", controllers::run), ("kube.large", large::run)];

/// Measures these parts and prints their table.
pub(crate) fn run(parts: &[&str]) -> Result<(), Broken> {
    if !available() {
        // That was said, with what is missing.
        return Err(Broken);
    }
    // Every request is written down, whoever makes it: that costs all the same.
    let kube = Kube::setup().audit(Level::Requests).start();
    let mut table = Table::default();
    let mut result = Ok(());
    for (part, measure) in PARTS {
        if !parts.contains(&part) {
            continue;
        }
        // The message of the panic is on standard error already; the figures before it are not lost.
        if catch_unwind(AssertUnwindSafe(|| measure(&kube, &mut table))).is_err() {
            result = Err(Broken);
        }
    }
    print!("{}", table.text());
    result
}

/// A number that the environment may make smaller.
pub(crate) fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Starts a contender, and waits until all is as it shall be: how many seconds that took. None if it never was, which is
/// said: the others are measured all the same, and this one a round less.
fn converge(place: &Place<'_>, who: Contender, prepared: Prepared) -> Option<(Running, f64)> {
    let converging = place.converging();
    let began = Instant::now();
    let running = prepared.start();
    match converging.wait(|| running.log()) {
        Ok(_) => Some((running, began.elapsed().as_secs_f64())),
        Err(why) => {
            eprintln!("{}: not counted: {why}", who.name());
            None
        }
    }
}
