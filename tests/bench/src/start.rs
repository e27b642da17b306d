//! The real binary with many plugins whose code is compiled already: how long until it is ready.

use std::fs;
use std::time::{Duration, Instant};

use setpoint_test_support::{Host, built};

use crate::report::{Report, median};

const PLUGINS: usize = 50;
const STARTS: usize = 5;
/// Compiling all of them anew takes this at most.
const COMPILED: Duration = Duration::from_secs(300);

/// The plugin `config-bundle` under another name and with a kind in another group: all texts of it are
/// replaced by others of the same length.
pub(crate) fn variant(bytes: &[u8], number: usize) -> Vec<u8> {
    let mut variant = bytes.to_vec();
    for (text, other) in [
        ("examples.setpoint.dev", format!("exampl{number:02}.setpoint.dev")),
        ("config-bundle", format!("config-bund{number:02}")),
    ] {
        assert_eq!(text.len(), other.len());
        let places: Vec<usize> =
            variant.windows(text.len()).enumerate().filter(|(_, w)| *w == text.as_bytes()).map(|(at, _)| at).collect();
        assert!(!places.is_empty(), "{text} is not in the component");
        for at in places {
            variant[at..at + other.len()].copy_from_slice(other.as_bytes());
        }
    }
    variant
}

fn running(host: &Host) -> usize {
    host.list("/v1/plugins").iter().filter(|plugin| plugin["state"] == "Running").count()
}

pub(crate) fn run(report: &mut Report) {
    let bytes = fs::read(built::guest("config-bundle")).unwrap_or_else(|error| panic!("config-bundle: {error}"));
    let mut host = Host::setup().start();
    for number in 0..PLUGINS {
        let (new, file) = (format!("p{number:02}.new"), format!("p{number:02}.wasm"));
        fs::write(host.plugins().join(&new), variant(&bytes, number))
            .and_then(|()| fs::rename(host.plugins().join(&new), host.plugins().join(&file)))
            .unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    host.wait_within("all plugins run", COMPILED, |host| (running(host) == PLUGINS).then_some(()));
    let mut took = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        host.kill();
        let began = Instant::now();
        host = host.start_again();
        took.push(began.elapsed().as_secs_f64() * 1e3);
        assert_eq!(running(&host), PLUGINS, "ready, and some plugins do not run");
    }
    let worst = took.iter().copied().fold(0.0, f64::max);
    let middle = median(&mut took);
    let what = format!("start with {PLUGINS} plugins, code cache filled, to ready on an empty source");
    let figure = format!("{middle:.0} ms, the slowest of {STARTS}: {worst:.0} ms");
    report.row(what, figure, "≤ 500 ms", Some(middle <= 500.0));
}
