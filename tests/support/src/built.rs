//! Where the binary and the components are. Both come from the environment, as they are built by
//! other commands than the tests.

use std::path::PathBuf;

/// The binary: `SETPOINT_BIN`.
///
/// # Panics
/// With the command that builds it, if it is not there.
pub fn binary() -> PathBuf {
    existing("SETPOINT_BIN", "cargo xtask build")
}

/// A component by the name of its plugin, out of the directory `SETPOINT_TEST_GUESTS`;
/// `hostile-v2` is the next version of `hostile`.
///
/// # Panics
/// With the command that builds it, if it is not there.
pub fn guest(plugin: &str) -> PathBuf {
    let file =
        existing("SETPOINT_TEST_GUESTS", "cargo xtask guests").join(format!("{}.wasm", plugin.replace('-', "_")));
    assert!(file.is_file(), "{} is not there; build it: cargo xtask guests", file.display());
    file
}

fn existing(variable: &str, remedy: &str) -> PathBuf {
    let Some(path) = std::env::var_os(variable).map(PathBuf::from) else {
        panic!("{variable} is not set; run the tests by `cargo xtask test`, or build by `{remedy}` and set it");
    };
    // Commands run in other directories than this one.
    let path = std::path::absolute(&path).unwrap_or(path);
    assert!(path.exists(), "{variable}: {} is not there; build it: {remedy}", path.display());
    path
}
