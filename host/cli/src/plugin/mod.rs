//! `setpoint plugin`: writing, building, testing and looking at plugins, without a host.

mod build;
pub(crate) mod dev;
mod embedded;
mod inspect;
mod new;
pub(crate) mod rerun;
mod scenario;
mod sdk;
mod stage;
pub(crate) mod test;

use std::path::Path;
use std::sync::Arc;

use setpoint_plugin::{Plugin, PluginHost};

use crate::act;
use crate::args::{Globals, PluginCommand};
use crate::failure::Failure;

pub(crate) use scenario::read as read_text;

/// The target that plugins are built for.
const TARGET: &str = "wasm32-wasip2";

/// Does one of the subcommands.
pub(crate) fn run(command: PluginCommand, globals: &Globals) -> Result<(), Failure> {
    match command {
        PluginCommand::New(args) => new::new(&args),
        PluginCommand::Build(args) => build::build(&args),
        PluginCommand::Inspect(args) => inspect::inspect(&args),
        PluginCommand::Test(args) => test::test(&args),
        PluginCommand::Rollback(args) => act::rollback(&args, globals),
    }
}

/// Loads a plugin file as a host would.
pub(crate) fn load(host: &PluginHost, file: &Path) -> Result<Arc<Plugin>, Failure> {
    let bytes = std::fs::read(file).map_err(|error| Failure::io(file, &error))?;
    host.load(&bytes).map_err(|error| Failure::new(format!("{}: {error}", file.display())))
}

/// A size as people read it.
fn size(bytes: usize) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} KB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_said_in_the_unit_that_fits() {
        assert_eq!([size(999), size(108_000), size(2_349_000)], ["999 B", "108.0 KB", "2.3 MB"]);
    }

    #[test]
    fn a_file_that_is_no_plugin_is_an_error_with_its_name() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("a.wasm");
        let host = PluginHost::new(setpoint_plugin::HostOptions { max_instances: 1, ..Default::default() })?;
        let missing = load(&host, &file).map(|_| ()).map_err(|failure| failure.to_string());
        assert!(missing.is_err_and(|text| text.contains("a.wasm: ")));
        std::fs::write(&file, "<html>")?;
        let wrong = load(&host, &file).map(|_| ()).map_err(|failure| failure.to_string());
        assert!(wrong.is_err_and(|text| text.contains("a.wasm: this is not WebAssembly")));
        Ok(())
    }
}
