//! `cargo xtask soak`: what CI does in small, at full size, and its result as a page of the docs.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::step::{Failure, begin, cannot_start, cargo, end, with_built};
use crate::{PROFILE, bench, commands, fuzz, machine, page, paths};

/// Seeds of the simulation, unless told.
pub(crate) const SEEDS: u64 = 100_000;
/// Seeds between two looks at the clock.
const BLOCK: u64 = 5_000;
const KILLS: u64 = 300;
/// A host is killed and started about so often in a minute.
const KILLS_PER_MINUTE: u64 = 40;
const IDLE_SECONDS: u64 = 3_600;
const IDLE_SECONDS_AT_LEAST: u64 = 60;

/// How much of each is done.
struct Size {
    seeds: u64,
    /// No block of seeds begins later than this after the first.
    simulation: Option<Duration>,
    kills: u64,
    fuzz_seconds: u64,
    idle_seconds: u64,
}

impl Size {
    /// All of it, or what fits: a quarter of the time for each of the four, building not counted.
    fn of(seeds: u64, minutes: Option<u64>, targets: u64) -> Self {
        let Some(minutes) = minutes else {
            return Self {
                seeds,
                simulation: None,
                kills: KILLS,
                fuzz_seconds: fuzz::SECONDS,
                idle_seconds: IDLE_SECONDS,
            };
        };
        let quarter = minutes * 60 / 4;
        Self {
            seeds,
            simulation: Some(Duration::from_secs(quarter)),
            kills: (quarter * KILLS_PER_MINUTE / 60).clamp(1, KILLS),
            fuzz_seconds: (quarter / targets.max(1)).clamp(1, fuzz::SECONDS),
            idle_seconds: quarter.clamp(IDLE_SECONDS_AT_LEAST, IDLE_SECONDS),
        }
    }
}

/// What came of one part.
struct Row {
    what: &'static str,
    size: String,
    result: String,
    held: bool,
}

/// Runs everything, whatever fails; prints the table and writes it into the docs.
pub(crate) fn soak(seeds: u64, minutes: Option<u64>) -> Result<(), Failure> {
    let size = Size::of(seeds, minutes, fuzz::targets()?.len() as u64);
    let conditions = machine::conditions(PROFILE);
    commands::guests()?;
    commands::build()?;
    let mut rows = vec![simulate(&size)?, kill(&size)?, fuzzed(&size)?];
    bench::build()?;
    let (idle, measured) = bench::measure(&["idle"], Some(size.idle_seconds))?;
    rows.push(Row {
        what: "idle host",
        size: format!("{} min", size.idle_seconds / 60),
        result: "the rows below".into(),
        held: measured.is_ok() && !idle.contains("**no**"),
    });
    let text = format!("{conditions}\n\n{}\n{idle}", table(&rows));
    println!("{text}");
    page::write(&paths::root().join("docs/soak.md"), page::FIGURES, &text)?;
    let broken: Vec<&str> = rows.iter().filter(|row| !row.held).map(|row| row.what).collect();
    if broken.is_empty() { Ok(()) } else { Err(format!("not all is well: {}", broken.join(", "))) }
}

fn table(rows: &[Row]) -> String {
    let mut table = String::from("| what | size | result | held |\n|---|---|---|---|\n");
    for Row { what, size, result, held } in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| {what} | {size} | {result} | {} |", if *held { "yes" } else { "**no**" });
    }
    table
}

/// A test file of the workspace, its output shown and returned: standard output, and whether it passed.
fn tests(file: &str, filter: Option<&str>, settings: &[(&str, String)]) -> Result<(String, bool), Failure> {
    let what =
        format!("{file} {}", settings.iter().map(|(name, value)| format!("{name}={value} ")).collect::<String>());
    let began = begin(what.trim_end());
    let mut command = cargo();
    command.args(["test", "--workspace", "--profile", PROFILE, "--test", file]);
    command.args(filter).args(["--", "--nocapture"]);
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    let output = shown(with_built(&mut command, PROFILE))?;
    end(what.trim_end(), began);
    Ok(output)
}

/// Standard output and error together, as what a test says when it fails goes to the latter.
fn shown(command: &mut Command) -> Result<(String, bool), Failure> {
    let output = command.output().map_err(|error| cannot_start(command, &error))?;
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    if !output.status.success() {
        println!("{text}");
    }
    Ok((text, output.status.success()))
}

/// Blocks of seeds, each over all cores, until all were played or the time is up.
fn simulate(size: &Size) -> Result<Row, Failure> {
    let began = Instant::now();
    let (mut played, mut failed) = (0, Vec::new());
    while played < size.seeds && size.simulation.is_none_or(|most| began.elapsed() < most) {
        let block = BLOCK.min(size.seeds - played);
        let settings = [("SETPOINT_FIRST_SEED", played.to_string()), ("SETPOINT_SEEDS", block.to_string())];
        let (output, passed) = tests("simulation", Some("keep_every_promise"), &settings)?;
        let seeds = failing(&output);
        if !passed && seeds.is_empty() {
            return Err("the simulation did not come to its end; see above".into());
        }
        failed.extend(seeds);
        played += block;
        println!("   {played} seeds, {:.0}/s", played as f64 / began.elapsed().as_secs_f64());
    }
    // Known seeds are played in each block.
    failed.sort_unstable();
    failed.dedup();
    let rate = played as f64 / began.elapsed().as_secs_f64();
    let held = failed.is_empty() && played > 0;
    let names: Vec<&str> = failed.iter().take(20).map(String::as_str).collect();
    let result = match held {
        true => format!("none fails; {rate:.0}/s"),
        false => format!("fail, among others: {}", names.join(", ")),
    };
    let size =
        format!("{played} seeds; of each one world, one with processes, and one with a cluster that comes and goes");
    Ok(Row { what: "simulation", size, result, held })
}

/// The worlds that a run of the simulation names as failing, by what replays them.
fn failing(output: &str) -> Vec<String> {
    let names = ["SETPOINT_SEED=", "SETPOINT_SERVERS_SEED=", "SETPOINT_FLEET_SEED=", "SETPOINT_SHARDS_SEED="];
    let lines = output.lines().map(str::trim_start).filter(|line| names.iter().any(|name| line.starts_with(name)));
    lines.filter_map(|line| Some(line.split(':').next()?.to_owned())).collect()
}

fn kill(size: &Size) -> Result<Row, Failure> {
    let began = Instant::now();
    let (_, held) = tests("kills", None, &[("SETPOINT_KILLS", size.kills.to_string())])?;
    let took = began.elapsed().as_secs();
    let result = if held { format!("nothing lost; {took} s") } else { "something is lost; see the output".into() };
    Ok(Row { what: "kills at random instants under load", size: format!("{} kills", size.kills), result, held })
}

/// Guided by coverage where that is possible, else the bounded runs of CI for longer.
fn fuzzed(size: &Size) -> Result<Row, Failure> {
    let (how, result) = if fuzz::is_there() {
        ("guided by coverage", fuzz::fuzz(None, size.fuzz_seconds))
    } else {
        let (_, held) = tests("targets", None, &[("SETPOINT_FUZZ_SECONDS", size.fuzz_seconds.to_string())])?;
        ("random mutations", if held { Ok(()) } else { Err("a promise is broken; see the output".to_owned()) })
    };
    let held = result.is_ok();
    let result = match result {
        Ok(()) => format!("no promise broken; {how}"),
        Err(error) => error.lines().collect::<Vec<_>>().join("; "),
    };
    let size = format!("{} targets, {} s each", fuzz::targets()?.len(), size.fuzz_seconds);
    Ok(Row { what: "fuzz targets", size, result, held })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_seeds_are_read_from_what_the_simulation_says() {
        let output = "2 of 5000 seeds fail; replay one:\n  SETPOINT_SEED=17: a\n  SETPOINT_SEED=4 SETPOINT_OPERATORS=0: panic: b\n";
        assert_eq!(failing(output), ["SETPOINT_SEED=17", "SETPOINT_SEED=4 SETPOINT_OPERATORS=0"]);
        assert_eq!(failing("  SETPOINT_FLEET_SEED=5: a\nSETPOINT_SEEDS=9\n"), ["SETPOINT_FLEET_SEED=5"]);
        assert!(failing("seed 3: fine").is_empty());
    }

    #[test]
    fn what_is_bounded_fits_and_nothing_is_left_out() {
        let whole = Size::of(SEEDS, None, 11);
        assert_eq!((whole.kills, whole.fuzz_seconds, whole.idle_seconds), (300, 60, 3_600));
        let short = Size::of(SEEDS, Some(8), 11);
        assert_eq!((short.kills, short.fuzz_seconds, short.idle_seconds), (80, 10, 120));
        let shortest = Size::of(SEEDS, Some(0), 11);
        assert!(shortest.kills >= 1 && shortest.fuzz_seconds >= 1 && shortest.idle_seconds >= 60);
    }
}
