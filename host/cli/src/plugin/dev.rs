//! `setpoint dev`: a host, and the sources of its plugins, built as they change.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use setpoint_runtime::config::Config;

use super::build::{build_in, ensure_target, is_crate};
use crate::args::{DevArgs, RunArgs, ServerArgs};
use crate::failure::Failure;
use crate::run;

/// Between looks at the sources.
const POLL: Duration = Duration::from_millis(300);
/// Directories below a crate that have no sources.
const NO_SOURCES: [&str; 4] = ["target", "plugins", "resources", "state"];
/// Cargo writes it itself.
const LOCK: &str = "Cargo.lock";

/// Builds the crates, runs a host, and builds what changes until the host is stopped. A build that fails leaves running
/// what runs.
pub(crate) fn dev(args: DevArgs, server: ServerArgs) -> Result<(), Failure> {
    let DevArgs { crates, setup, run: mut options } = args;
    let crates = if crates.is_empty() { vec![PathBuf::from(".")] } else { crates };
    crates.iter().try_for_each(|dir| is_crate(dir))?;
    ensure_target(setup)?;
    let plugins = plugins_of(&options)?;
    fs::create_dir_all(&plugins).map_err(|error| Failure::io(&plugins, &error))?;
    options.plugins = Some(plugins.clone());
    let builder = Builder::start(crates, plugins);
    // What runs at first is what the sources say, if they can be built.
    builder.first();
    let result = run::run(options, server);
    builder.stop();
    result
}

/// Where the host looks for plugins.
fn plugins_of(options: &RunArgs) -> Result<PathBuf, Failure> {
    if let Some(plugins) = &options.plugins {
        return Ok(plugins.clone());
    }
    let said = match &options.config {
        Some(config) => Config::load(config).map_err(|error| Failure::new(error.to_string()))?.plugins_dir,
        None => None,
    };
    Ok(said.unwrap_or_else(|| "plugins".into()))
}

/// A thread that looks and builds.
struct Builder {
    stopping: Arc<AtomicBool>,
    /// The process that compiles; 0 if there is none.
    compiles: Arc<AtomicU32>,
    first: mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Builder {
    fn start(crates: Vec<PathBuf>, plugins: PathBuf) -> Self {
        let (stopping, compiles) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (done, first) = mpsc::channel();
        let (stop, compiling) = (stopping.clone(), compiles.clone());
        let thread = thread::spawn(move || {
            let mut built: Vec<Option<Sources>> = crates.iter().map(|_| None).collect();
            while !stop.load(Ordering::Acquire) {
                for (dir, built) in crates.iter().zip(&mut built) {
                    let sources = sources(dir);
                    if built.as_ref() != Some(&sources) && !stop.load(Ordering::Acquire) {
                        // Whatever becomes of it: the same sources are not built twice.
                        *built = Some(sources);
                        build(dir, &plugins, &stop, &compiling);
                    }
                }
                // Nobody may listen any more.
                let _ = done.send(());
                thread::sleep(POLL);
            }
        });
        Self { stopping, compiles, first, thread }
    }

    /// Returns when each crate has been built once.
    fn first(&self) {
        let _ = self.first.recv();
    }

    fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        let pid = i32::try_from(self.compiles.load(Ordering::Acquire)).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.thread.join();
    }
}

fn build(dir: &Path, plugins: &Path, stopping: &AtomicBool, compiling: &AtomicU32) {
    let began = Instant::now();
    anstream::eprintln!("building {}", dir.display());
    let result = build_in(dir, plugins, &mut |pid| compiling.store(pid, Ordering::Release));
    compiling.store(0, Ordering::Release);
    match result {
        Ok(()) => anstream::eprintln!("built {} in {:.1} s", dir.display(), began.elapsed().as_secs_f64()),
        Err(_) if stopping.load(Ordering::Acquire) => {}
        Err(failure) => {
            failure.tell();
            anstream::eprintln!("{} is built again when it changes; what runs keeps running", dir.display());
        }
    }
}

/// Sizes and times of all files of a crate.
type Sources = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

fn sources(dir: &Path) -> Sources {
    let mut found = Sources::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        // What goes away while it is looked at is not there.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let hidden = name.starts_with('.');
            if metadata.is_dir() {
                // A link may lead back to where it is.
                let follows = !hidden && !NO_SOURCES.contains(&&*name) && !path.is_symlink();
                dirs.extend(follows.then_some(path));
            } else if !hidden && name != LOCK && !name.ends_with(".wasm") {
                found.insert(path, (metadata.len(), metadata.modified().ok()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn what_a_build_or_a_host_writes_is_no_source() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        for (path, is_source) in [
            ("Cargo.toml", true),
            ("Cargo.lock", false),
            ("src/lib.rs", true),
            ("src/deep/kind.crd.json", true),
            ("target/wasm32-wasip2/release/a.wasm", false),
            ("plugins/a.wasm", false),
            (".setpoint/state.redb", false),
            ("src/.lib.rs.swp", false),
        ] {
            let file = dir.path().join(path);
            fs::create_dir_all(file.parent().unwrap_or(dir.path()))?;
            let before = sources(dir.path());
            fs::write(&file, "x")?;
            assert_eq!(sources(dir.path()) != before, is_source, "{path}");
        }
        let before = sources(dir.path());
        fs::remove_file(dir.path().join("src/lib.rs"))?;
        assert_ne!(sources(dir.path()), before);
        Ok(())
    }

    #[test]
    fn the_plugins_directory_is_the_one_that_the_host_has() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let config = dir.path().join("setpoint.yaml");
        fs::write(&config, "apiVersion: config.setpoint.dev/v1alpha1\npluginsDir: mine\n")?;
        let config = config.display().to_string();
        let of = |flags: &[&str]| -> Result<PathBuf, Box<dyn std::error::Error>> {
            let cli = Cli::try_parse_from(["setpoint", "dev", "a-crate"].iter().chain(flags))?;
            let Command::Dev(args) = cli.command else { panic!("{cli:?}") };
            assert_eq!(args.crates, [PathBuf::from("a-crate")]);
            Ok(plugins_of(&args.run).map_err(|failure| failure.to_string())?)
        };
        assert_eq!(of(&["--config", &config])?, dir.path().join("mine"));
        assert_eq!(of(&["--config", &config, "--plugins", "given"])?, PathBuf::from("given"));
        Ok(())
    }
}
